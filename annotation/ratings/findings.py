"""What was wrong with ratings and raters: named, counted, and dropped or kept by the rule of its kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from base.errors import PoolError

_SHOWN = 5


class Rule(NamedTuple):
    """What a reason means, what it is about, and whether it is dropped unless asked otherwise."""

    meaning: str
    of: Literal["rating", "rater", "task"]
    drop: bool


RULES = {
    "unknown_task": Rule("a task that no key has", "rating", True),
    "unknown_prompt": Rule("a task of a prompt or response that the pool does not have", "rating", True),
    "unknown_response": Rule("a response that the task did not show", "rating", True),
    "bad_value": Rule("a rank or rating that is no finite number", "rating", True),
    "repeated": Rule("the same answer by the same rater again: one is kept", "rating", True),
    "revised": Rule("another answer by the same rater later: the last is kept", "rating", True),
    "cannot_judge": Rule("the rater could not judge", "rating", True),
    "incomplete": Rule("not all responses were ranked: those that were count", "rating", False),
    "too_fast": Rule("quicker than anyone reads", "rating", True),
    "too_slow": Rule("ten times as long as reading takes, or more", "rating", False),
    "unanswered": Rule("a task without an answer", "task", False),
    "hasty_rater": Rule("more than half of the answers quicker than anyone reads", "rater", True),
    "order_shown": Rule("the responses came back in the order in which they were shown", "rater", True),
    "contradicts": Rule("reliably the opposite of what the others say", "rater", True),
    "chance": Rule("no better than guessing", "rater", True),
}


@dataclass
class Finding:
    """One reason: how often, the first few, and whether they were dropped."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    dropped: bool = False


class Findings:
    """All that was found; `keep` names reasons for which nothing is dropped."""

    def __init__(self, keep: Collection[str] = ()) -> None:
        if unknown := [reason for reason in keep if not (reason in RULES and keepable(reason))]:
            choices = ", ".join(reason for reason in RULES if keepable(reason))
            raise PoolError(f"--keep {unknown[0]}: one of {choices} was expected")
        self._keep = frozenset(keep)
        self.found: dict[str, Finding] = {}

    def add(self, reason: str, what: str) -> bool:
        """Count one; returns whether it is to be dropped."""
        drop = RULES[reason].drop and reason not in self._keep
        finding = self.found.setdefault(reason, Finding(dropped=drop))
        finding.count += 1
        if len(finding.first) < _SHOWN or RULES[reason].of == "rater":
            finding.first.append(what)
        return drop

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {reason: dict(vars(found)) for reason, found in self.found.items()}

    def lines(self) -> Iterator[str]:
        """For reading, in the order of the rules."""
        for reason, rule in RULES.items():
            if found := self.found.get(reason):
                what = f"{found.count:,} {rule.of}{'s' if found.count > 1 else ''}"
                done = "dropped" if found.dropped else "kept"
                more = ", ..." if found.count > len(found.first) else ""
                yield f"{reason}: {what}, {done} ({rule.meaning}): {'; '.join(found.first)}{more}"


def keepable(reason: str) -> bool:
    """Whether `--keep` may name it: it is dropped by rule, and there is something to keep."""
    return reason in ("too_fast", "hasty_rater", "order_shown", "contradicts", "chance")
