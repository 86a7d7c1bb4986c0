"""Scores a response by how far it keeps the constraints of its prompt: the reward of the demo pool."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from base.errors import RewardError
from pools.types import Prompt

Constraint = Mapping[str, Any]

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]*]*(?:\s+|$)")
_NUMBERING = re.compile(r"^[ \t]*\d+[.)][ \t]", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[-*•–]|\d+[.)])[ \t]+\S", re.MULTILINE)


def score(prompt: Prompt, response: str) -> float:
    """Mean over the prompt's constraints of how far each is kept, in [0, 1]; 0 for an empty response.

    `prompt.meta["constraints"]` lists them (see `pools.demo.grammar`). Counting constraints give partial
    credit by distance, the others all or nothing. Raises `RewardError` for a prompt without constraints
    or with an unknown one.
    """
    constraints = prompt.meta.get("constraints")
    if not constraints:
        raise RewardError(f"prompt {prompt.text[:60]!r} has no meta['constraints'] to verify")
    if not response.strip():
        return 0.0
    return fmean(kept(constraint, response) for constraint in constraints)


def kept(constraint: Constraint, response: str) -> float:
    """How far `response` keeps one constraint, in [0, 1]."""
    kind = constraint.get("kind")
    check = _CHECKS.get(str(kind))
    if check is None:
        raise RewardError(f"unknown constraint {kind!r}; known are {', '.join(sorted(_CHECKS))}")
    return float(check(constraint, response))


def words(text: str) -> list[str]:
    """The words of `text`, lower-cased, without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


def sentences(text: str) -> int:
    """Sentences in `text`: runs of words closed by . ! ? or an ellipsis.

    An unclosed rest counts as one; the number before a list item does not close a sentence.
    """
    plain = _NUMBERING.sub("", text)
    return sum(bool(_WORD.search(piece)) for piece in _SENTENCE_END.split(plain))


def bullets(text: str) -> int:
    """Lines of `text` that are list items: a dash, star, dot or number, a space and some text."""
    return len(_BULLET.findall(text))


def _nearness(count: int, wanted: int) -> float:
    """1 at the wanted count, falling linearly to 0 at none or at double."""
    return max(0.0, 1.0 - abs(count - wanted) / wanted)


def _at_most(count: int, limit: int) -> float:
    """1 up to the limit, falling linearly to 0 at double."""
    return 1.0 if count <= limit else _nearness(count, limit)


def _opens_with(constraint: Constraint, response: str) -> bool:
    return bool(words(response)[:1] == [constraint["word"].lower()])


def _includes(constraint: Constraint, response: str) -> bool:
    return str(constraint["word"]).lower() in words(response)


def _ends_with(constraint: Constraint, response: str) -> bool:
    return bool(response.rstrip().rstrip("\"'”’)*").endswith(constraint["mark"]))


def _lower(_: Constraint, response: str) -> float:
    """A quarter is lost with each word that holds a capital."""
    capitalised = sum(1 for word in _WORD.findall(response) if word != word.lower())
    return max(0.0, 1.0 - capitalised / 4)


_CHECKS: dict[str, Callable[[Constraint, str], float]] = {
    "sentences": lambda constraint, response: _nearness(sentences(response), constraint["count"]),
    "max_sentences": lambda constraint, response: _at_most(sentences(response), constraint["count"]),
    "max_words": lambda constraint, response: _at_most(len(words(response)), constraint["count"]),
    "bullets": lambda constraint, response: _nearness(bullets(response), constraint["count"]),
    "include": _includes,
    "opening": _opens_with,
    "ending": _ends_with,
    "without": lambda constraint, response: constraint["mark"] not in response,
    "lower": _lower,
    "upper": lambda constraint, response: response == response.upper(),
}
