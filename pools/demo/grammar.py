"""Requests with one to three constraints that a program can check, drawn by a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from base.errors import PoolError
from pools.types import Prompt

Constraint = dict[str, Any]

OPENINGS = (
    "Today", "Perhaps", "Imagine", "Yesterday", "Never", "Listen", "Remember", "Sometimes", "Because", "Once",
    "Everyone", "Honestly", "Slowly", "Nobody", "Tomorrow", "Finally",
)  # fmt: skip

COUNT_NAMES = {1: "one", 2: "two", 3: "three"}

# (source of chance, words that a prompt may ask for) -> a constraint and how the prompt puts it
Maker = Callable[[random.Random, Sequence[str]], tuple[Constraint, str]]


def _counted(kind: str, counts: tuple[int, ...], wordings: tuple[str, ...]) -> Maker:
    def make(rng: random.Random, _: Sequence[str]) -> tuple[Constraint, str]:
        count = rng.choice(counts)
        name = COUNT_NAMES.get(count, str(count))
        text = rng.choice(wordings).format(n=name, s="" if count == 1 else "s")
        return {"kind": kind, "count": count}, text

    return make


def _plain(kind: str, wordings: tuple[str, ...], **fields: str) -> Maker:
    def make(rng: random.Random, _: Sequence[str]) -> tuple[Constraint, str]:
        return {"kind": kind, **fields}, rng.choice(wordings)

    return make


def _include(rng: random.Random, words: Sequence[str]) -> tuple[Constraint, str]:
    word = rng.choice(words)
    wording = rng.choice(('Use the word "{w}".', 'The word "{w}" must appear.', 'Mention "{w}".'))
    return {"kind": "include", "word": word}, wording.format(w=word)


def _opening(rng: random.Random, _: Sequence[str]) -> tuple[Constraint, str]:
    word = rng.choice(OPENINGS)
    wording = rng.choice(
        ('Begin with the word "{w}".', 'Start your answer with "{w}".', 'Let "{w}" be the first word.')
    )
    return {"kind": "opening", "word": word}, wording.format(w=word)


# Group -> its constraints. A prompt takes at most one of each group, so that no two contradict each other.
GROUPS: dict[str, tuple[Maker, ...]] = {
    "length": (
        _counted("sentences", (1, 2), ("Use exactly {n} sentence{s}.",
                 "Answer in exactly {n} sentence{s}.",
                 "Your answer must have {n} sentence{s}, no more and no fewer.")),
        _counted("max_sentences", (1, 2), ("Write at most {n} sentence{s}.",
                 "No more than {n} sentence{s}, please.")),
        _counted("max_words", (6, 8, 10, 12, 15), ("Use at most {n} words.",
                 "Do not use more than {n} words.", "Keep it to {n} words or fewer.")),
        _counted("bullets", (2, 3), ("Answer with {n} bullet points.", "Give exactly {n} bullet points.")),
    ),
    "word": (_include,),
    "opening": (_opening,),
    "ending": (
        _plain("ending", ("End with a question mark.", "Finish on a question."), mark="?"),
        _plain("ending", ("End with an exclamation mark.", "Close with an exclamation mark."), mark="!"),
    ),
    "case": (
        _plain("lower", ("Use lowercase letters only.", "Write everything in lowercase.")),
        _plain("upper", ("Use capital letters only.", "WRITE EVERYTHING IN CAPITALS.")),
    ),
    "comma": (_plain("without", ("Do not use any commas.", "Write without commas."), mark=","),),
}  # fmt: skip
_GROUP_WEIGHTS = {"length": 7, "word": 3, "opening": 3, "ending": 1, "case": 1, "comma": 1}


_LONG_WORD = re.compile(r"\b[a-z]{5,12}\b")


def make_prompts(
    requests: Mapping[str, Sequence[str]], *, train: int, held_out: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """`train` and `held_out` prompts of one request each, with constraints drawn by `seed`.

    `requests` are those of each family, no two alike. A prompt has its family as `domain` and its constraints
    in `meta["constraints"]`; the families follow each other in turn. More held-out prompts never change the
    train prompts. Raises `PoolError` where there are fewer requests than prompts asked for.
    """
    in_turn = list(_in_turn(requests))
    if len(in_turn) < train + held_out:
        raise PoolError(f"{len(in_turn)} requests cannot make the {train + held_out} prompts asked for")
    rng = random.Random(seed)
    words = sorted({word for _, request in in_turn for word in _LONG_WORD.findall(request)})
    prompts = [_prompt(rng, family, request, words) for family, request in in_turn[: train + held_out]]
    return prompts[:train], prompts[train:]


def _in_turn(requests: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Family and request, one of each family at a time."""
    columns = ([(family, request) for request in mine] for family, mine in requests.items())
    return (entry for entry in chain.from_iterable(zip_longest(*columns)) if entry)


def _prompt(rng: random.Random, family: str, request: str, words: Sequence[str]) -> Prompt:
    chosen = [rng.choice(GROUPS[group])(rng, words) for group in _groups(rng)]
    content = " ".join([request, *(text for _, text in chosen)])
    return Prompt(content, domain=family, meta={"constraints": [constraint for constraint, _ in chosen]})


def _groups(rng: random.Random) -> list[str]:
    """One to three groups without repetition, likelier ones more often, in random order."""
    left = dict(_GROUP_WEIGHTS)
    groups = []
    for _ in range(rng.choice((1, 2, 2, 3))):
        (group,) = rng.choices(tuple(left), weights=tuple(left.values()))
        groups.append(group)
        del left[group]
    return groups
