"""The message about rows that no format knows: columns, nearest format, the mapping that would read them."""

from __future__ import annotations

from collections.abc import Sequence

from pools.formats.draft import Fields
from pools.formats.pairs import is_about
from pools.formats.prompt import PROMPT
from pools.formats.table import FORMATS
from pools.formats.values import number_of


def explained(row: Fields) -> str:
    """The columns of a row, the format that it is nearest to and what it lacks, and a mapping to give."""
    columns = [str(name) for name in row]
    return f"the columns are {', '.join(columns) or '(none)'}. {nearest(row)} {mapping(row)}"


def nearest(row: Fields) -> str:
    """The format whose columns are most nearly all there, and those that are missing."""
    there = {name for name, value in row.items() if value is not None}

    def fit(name: str) -> tuple[float, int]:
        needs = FORMATS[name].needs
        met = sum(not there.isdisjoint(group) for group in needs)
        return met / len(needs), met

    best = max((name for name in FORMATS if len(FORMATS[name].needs) > 1), key=fit)
    if not fit(best)[1]:
        return "No format has any of them."
    missing = [group for group in FORMATS[best].needs if there.isdisjoint(group)]
    if not missing:
        return f"Format {best} is the nearest, but their values are not of its kind."
    return f"Format {best} is the nearest; it lacks {' and '.join(_or(sorted(group)) for group in missing)}."


def mapping(row: Fields) -> str:
    """A mapping for these columns, as an example of what to write."""
    prompt, answers = prompt_and_others(row)
    answers = answers or ["COLUMN"]
    numbers = [str(name) for name, value in row.items() if _is_number(value)]
    scores = numbers if len(numbers) == len(answers) else ["COLUMN"] * len(answers)
    listed = f"{{prompt: {prompt}, responses: [{', '.join(answers)}], scores: [{', '.join(scores)}]}}"
    first = answers[0]
    second = answers[1] if len(answers) > 1 else "COLUMN"
    return (
        f"Say which column is which with pool.columns: {listed}, or "
        f"{{prompt: {prompt}, chosen: {first}, rejected: {second}}}"
    )


def prompt_and_others(row: Fields) -> tuple[str, list[str]]:
    """The column that is likeliest the prompt, and those whose texts may be responses."""
    texts = [
        str(name)
        for name, value in row.items()
        if isinstance(value, str | list | dict)
        and value
        and not is_about(str(name))
        and not _is_number(value)
    ]
    prompt = next((name for name in PROMPT if name in texts), texts[0] if texts else "COLUMN")
    return prompt, [name for name in texts if name != prompt]


def _or(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return shown if len(names) == 1 else f"one of ({shown})"


def _is_number(value: object) -> bool:
    number = number_of(value)
    return isinstance(number, int | float) and not isinstance(number, bool)
