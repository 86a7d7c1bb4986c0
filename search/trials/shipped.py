"""The finished studies that are installed with the project."""

from __future__ import annotations

from pathlib import Path

from base.errors import InsufficientDataError


def find_trials(path: Path) -> Path:
    """`path` where it exists, else the shipped study that it names, as `studies/song2024_pro.csv` does.

    Raises InsufficientDataError, naming the shipped ones, where there is neither.
    """
    if path.exists():
        return path
    import studies

    folder = Path(str(studies.__file__)).parent
    shipped = folder / f"{path.name.removesuffix('.csv')}.csv"
    if path.parent.name in ("", "studies") and shipped.is_file():
        return shipped
    choices = ", ".join(sorted(each.stem for each in folder.glob("*.csv")))
    raise InsufficientDataError(
        f"{path} is neither a study folder nor a CSV of trials; those that ship are {choices}"
    )
