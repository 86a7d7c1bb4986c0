"""Studies that are over: ours and published ones under `studies/`, and those that a user adds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from base.errors import InsufficientDataError
from base.files import write_whole
from search.config.scale import ScaleName, known_scale
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_json, read_trials, scale_of, write_trials

SHIPPED = Path(__file__).parents[2] / "studies"
OWN = "APPORTION_STUDIES"  # environment variable: the folder of the user's own studies


@dataclass(frozen=True)
class PastStudy:
    """The random trials of one pool, model and algorithm. Rewards are on `scale`; percent are made `unit`.

    `averaged` is how many seeds one row of the CSV is the mean of: published tables print means alone.
    `base_reward` is the untrained model's, None where nobody has said it.
    """

    name: str
    source: str
    records: tuple[TrialRecord, ...]
    averaged: int = 1
    base_reward: float | None = None
    scale: ScaleName = "unit"

    @property
    def responses(self) -> tuple[int, int]:
        """Fewest and most responses per prompt that were tried."""
        tried = [record.responses for record in self.records]
        return min(tried), max(tried)

    @property
    def prompts(self) -> tuple[int, int]:
        """Fewest and most prompts that were tried."""
        tried = [record.prompts for record in self.records]
        return min(tried), max(tried)


def own_folder() -> Path:
    """The folder of `apportion plan --learn`: $APPORTION_STUDIES, or ~/.local/share/apportion/studies."""
    return Path(os.environ.get(OWN) or Path.home() / ".local" / "share" / "apportion" / "studies")


def past_studies(folders: Iterable[Path] | None = None) -> list[PastStudy]:
    """Every study of the folders (default: the shipped ones and the user's), by name.

    A CSV `NAME.csv` has its source in `NAME.json`. One that this file says not to count (`"counts": false`,
    such as a published average over other studies here) is left out. Raises InsufficientDataError for a file
    that cannot be read, naming it, and where there is no study at all.
    """
    searched = list(folders) if folders is not None else [SHIPPED, own_folder()]
    files = [path for folder in searched if folder.is_dir() for path in sorted(folder.glob("*.csv"))]
    found = [study for path in files if (study := read_study(path)) is not None]
    if not found:
        places = ", ".join(str(folder) for folder in searched)
        raise InsufficientDataError(
            f"no past study in {places}: add one with `apportion plan --learn FOLDER`"
        )
    return sorted(found, key=lambda study: study.name)


def read_study(path: Path) -> PastStudy | None:
    """One CSV of trials with what its JSON says of it; None where that says not to count it."""
    beside = path.with_suffix(".json")
    said: dict[str, Any] = read_json(beside) if beside.exists() else {}
    if not said.get("counts", True):
        return None
    try:
        records = read_trials(path)
        scale = known_scale(said["scale"]) if "scale" in said else scale_of(path, records)
        study = PastStudy(
            name=str(said.get("name", path.stem)),
            source=str(said.get("source", "not given")),
            records=_random(records, path),
            averaged=int(said.get("seeds_averaged", 1)),
            base_reward=None if said.get("base_reward") is None else float(said["base_reward"]),
            scale=scale,
        )
        return replace(resized(study, 100), scale="unit") if scale == "percent" else study
    except (TypeError, ValueError) as error:
        raise InsufficientDataError(f"{beside}: {error}") from error


def resized(study: PastStudy, size: float, centre: float = 0.0) -> PastStudy:
    """The same study with every reward less `centre`, in units of `size`."""
    records = tuple(
        replace(r, results=tuple(replace(one, reward=(one.reward - centre) / size) for one in r.results))
        for r in study.records
    )
    base = study.base_reward
    return replace(study, records=records, base_reward=None if base is None else (base - centre) / size)


def _random(records: Sequence[TrialRecord], path: Path) -> tuple[TrialRecord, ...]:
    kept = tuple(record for record in records if record.selection == "random")
    if len({(record.prompts, record.responses) for record in kept}) < 2:
        raise InsufficientDataError(
            f"{path} holds fewer than two splits with random prompts: nothing to learn"
        )
    return kept


def learn(folder: Path, into: Path | None = None) -> PastStudy:
    """Keep the trials of a finished study, or of a CSV of trials, among the user's own studies.

    Learning the same study again replaces it. Raises InsufficientDataError where there is nothing to learn.
    """
    study = _of_folder(folder) if folder.is_dir() else read_study(folder)
    if study is None:
        raise InsufficientDataError(f"{folder} says of itself that it is not to be counted")
    target = into or own_folder()
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{study.name}.csv"
    write_trials(path, study.records)
    said = {
        "name": study.name,
        "source": study.source,
        "seeds_averaged": study.averaged,
        "base_reward": study.base_reward,
        "scale": study.scale,
    }
    write_whole(path.with_suffix(".json"), json.dumps(said, indent=1))
    return study


def _of_folder(folder: Path) -> PastStudy:
    if not (folder / "trials.csv").exists():
        raise InsufficientDataError(f"{folder} holds no trials.csv: is it the folder of a finished study?")
    said = read_json(folder / "study.json")
    best = said.get("hyperparameters", {})
    records = [r for r in read_trials(folder / "trials.csv") if r.hyperparameters == best]
    name = str(said.get("name", folder.resolve().name))
    return PastStudy(name, str(folder.resolve()), _random(records, folder), 1, said.get("base_reward"))
