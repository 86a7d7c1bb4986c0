"""What raters are asked: prompts in labelling order, each with some responses, shuffled and blinded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, TypeAlias

from annotation.sampling.sampler import turns_of
from base.errors import PoolError
from pools.subset import digest
from pools.types import Example, Prompt, Response

Kind: TypeAlias = Literal["ranking", "pairwise", "rating"]
LOWEST, HIGHEST = 1, 5  # of a rating
_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}


class LabelSplit(NamedTuple):
    """`prompts` prompts with `responses` responses each, every one of them judged by `raters` raters."""

    prompts: int
    responses: int
    raters: int


def label_split(text: str) -> LabelSplit:
    """The split in "1200x4x2", or "1200x4" for one rater; PoolError where it is none."""
    found = re.fullmatch(r"\s*(\d+)\s*x\s*(\d+)(?:\s*x\s*(\d+))?\s*", text.replace(",", ""))
    prompts, responses, raters = (int(part or 1) for part in found.groups()) if found else (0, 0, 0)
    if prompts < 1 or responses < 2 or raters < 1:
        raise PoolError(
            f'--split "{text}" is no split: prompts x responses x raters were expected, as in 1200x4x2, with '
            "at least 2 responses (a single one cannot be compared)"
        )
    return LabelSplit(prompts, responses, raters)


class Asked(NamedTuple):
    """A prompt with the responses that so many raters are to judge, none of them one of `not_by`."""

    example: Example
    raters: int
    not_by: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Task:
    """What one rater judges at once: a prompt, and responses in the order in which they are `shown`.

    `rank` is the prompt's rank in labelling order, from 1. The `id` gives nothing away.
    """

    id: str
    rater: str
    rank: int
    prompt: Prompt
    shown: tuple[Response, ...]


def rater_names(given: Sequence[str], count: int) -> list[str]:
    """The names given, or rater-1, rater-2, ...; PoolError where too few, doubled or no file names."""
    names = list(given) or [f"rater-{number}" for number in range(1, count + 1)]
    if len(names) < count:
        raise PoolError(f"--raters names {', '.join(names)}, but {count} are asked for a response")
    if len({name.casefold() for name in names}) < len(names):
        raise PoolError(f"--raters names one twice: {', '.join(names)}")
    if odd := [name for name in names if not re.fullmatch(r"\w[\w.@-]{0,63}", name)]:
        raise PoolError(f'--raters: "{odd[0]}" names files, so letters, digits, . _ @ - are allowed')
    return names


def enough_names(asked: Sequence[Asked]) -> list[str]:
    """The first of rater-1, rater-2, ... that are enough for every prompt."""
    names = rater_names([], max(one.raters for one in asked))
    while any(len(set(names) - one.not_by) < one.raters for one in asked):
        names = rater_names([], len(names) + 1)
    return names


def plan_tasks(asked: Sequence[Asked], *, kind: Kind, raters: Sequence[str], seed: int) -> list[Task]:
    """The tasks of all raters: every prompt goes to as many of them as it asks for, who get equally many.

    Orders depend on seed, rater and texts alone. A prompt is one task, or one for each pair where the
    kind is pairwise; the pairs of a prompt stay together. PoolError where too few may judge a prompt.
    """
    load = dict.fromkeys(raters, 0)
    tasks: list[Task] = []
    for rank, one in enumerate(asked, 1):
        guard = one.example.prompt.guard
        drawn = {name: digest(seed, f"{guard}:{name}") for name in raters if name not in one.not_by}
        if len(drawn) < one.raters:
            raise PoolError(
                f"--raters names {', '.join(raters)}, but {one.raters} are asked to judge "
                f"{one.example.prompt.text[:60]!r} besides {', '.join(sorted(one.not_by))}, who did"
            )
        for rater in sorted(drawn, key=lambda name: (load[name], drawn[name]))[: one.raters]:
            load[rater] += 1
            tasks += _tasks_of(one.example, rank, rater, kind, seed)
    return tasks


def _tasks_of(example: Example, rank: int, rater: str, kind: Kind, seed: int) -> Iterator[Task]:
    salt = f"{rater}:{example.prompt.key}"
    groups: list[tuple[Response, ...]] = [example.responses]
    if kind == "pairwise":
        pairs = combinations(example.responses, 2)
        groups = sorted(pairs, key=lambda pair: digest(seed, f"{salt}:{pair[0].text}\0{pair[1].text}"))
    for group in groups:
        texts = "\0".join(response.text for response in group)
        drawn = {each.text: digest(seed, f"{salt}:{texts}:{each.text}") for each in group}
        shown = tuple(sorted(group, key=lambda each: drawn[each.text]))
        # A letter in front: a spreadsheet would read 12e45678 as a number.
        name = "t" + hashlib.sha256(f"{seed}:{salt}:{kind}:{texts}".encode()).hexdigest()[:15]
        yield Task(name, rater, rank, example.prompt, shown)


def shown_prompt(prompt: Prompt) -> str:
    """The prompt as one text: its words, or the turns of a dialogue, each with its speaker."""
    turns = turns_of(prompt)
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].content
    return "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in turns)


def name_of(index: int) -> str:
    """What the response with an index, from 0, is called in every tool."""
    return f"response_{index + 1}"


def place_of(name: object) -> int:
    """The index, from 0, of `name_of`; ValueError for any other name."""
    found = re.fullmatch(r"(?:response|rating)_([1-9]\d*)", str(name))
    if found is None:
        raise ValueError(name)
    return int(found[1]) - 1


def by_rater(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """The tasks of each rater in order, raters by name."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.rater, []).append(task)
    return dict(sorted(found.items()))
