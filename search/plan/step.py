"""What a plan says is to be done next: what Tune's side of a study needs of it, and no more.

Trials' own processes import this; the plan itself would bring them the libraries of the statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from search.trials.design_point import Trial

if TYPE_CHECKING:
    from search.plan.belief import Belief, Undecided


@dataclass(frozen=True)
class Prepare:
    """Do what must precede the first trial."""


@dataclass(frozen=True)
class Train:
    """Run `trial` next, and why."""

    trial: Trial
    why: str
    belief: Belief | Undecided | None = None


@dataclass(frozen=True)
class Wait:
    """Nothing to start until a running trial has ended."""


@dataclass(frozen=True)
class Stop:
    """Train no more: the split is `decided`, or something else ends the study."""

    reason: str
    decided: bool
    belief: Belief | Undecided | None = None


Step: TypeAlias = Prepare | Train | Wait | Stop
