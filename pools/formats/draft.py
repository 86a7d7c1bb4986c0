"""What a format makes of a row: prompt, answers and scores where they lie, before anything is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

Fields: TypeAlias = Mapping[str, Any]
Turn: TypeAlias = dict[str, Any]

# What several rows of one prompt are. alone: a row is one whole labelling, and a second one repeats it.
# scores: rows add responses, whose scores share one scale. pairs: rows are comparisons, whose scores say
# only which of their own responses is the better.
Rows = Literal["alone", "scores", "pairs"]


class Answer(NamedTuple):
    """One response as the row has it."""

    text: object
    score: object
    source: object = ""
    ratings: object = None
    judge_score: object = None
    judge_score_se: object = None


class Draft(NamedTuple):
    """A row's example before checking; `prompt` is a text or a list of role/content turns.

    `meta` is None where there is none. `notes` are keys of `pools.flaws.NOTES`: what a reader of the report
    should know of this row.
    """

    prompt: object
    answers: Sequence[Answer]
    domain: object = ""
    part: object = ""
    meta: object = None
    rows: Rows = "alone"
    notes: tuple[str, ...] = ()
