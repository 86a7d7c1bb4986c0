"""Trials as arrays, checked once: what every fit reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from base.errors import InsufficientDataError
from pools.response_choice import ResponseChoice
from search.config.cost import Labelling
from search.config.scale import UNIT, RewardScale
from search.trials.record import TrialRecord

# Beyond the trials counts from here on: a hair more prompts than the largest trial had is no extrapolation.
BEYOND = 1.05

Floats = NDArray[np.float64]
Labellings = NDArray[np.object_]  # of Labelling


def labellings(found: Sequence[Labelling]) -> Labellings:
    """The same as an array."""
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


@dataclass(frozen=True, eq=False)
class Observations:
    """One entry per trial, in an order that does not depend on the order of the records.

    `reward` is the mean over the trial's `seeds` (a count); `scatter` is the sum of squares of its
    seeds' rewards about that mean. `varied` marks trials whose prompts were not drawn at random, `earlier`
    those that were trained elsewhere. `group` is 0 for trials whose rewards are comparable with this study's;
    trials of any other number lie higher or lower by one amount. `labelling` holds how each was labelled.
    """

    prompts: Floats
    responses: Floats
    diversity: Floats
    reward: Floats
    seeds: Floats
    scatter: Floats
    varied: NDArray[np.bool_]
    earlier: NDArray[np.bool_]
    group: Floats
    labelling: Labellings
    baselines: dict[str, Floats]

    @classmethod
    def from_records(cls, records: Sequence[TrialRecord], scale: RewardScale = UNIT) -> Observations:
        """Check and collect; trials with the same split, selection and diversity stay apart."""
        if len(records) < 2:
            raise InsufficientDataError(
                f"{len(records)} trial is no ground for a comparison: run at least two splits"
            )
        for record in records:
            _check(record, scale)
        ordered = sorted(records, key=_canonical)
        shared = set.intersection(*(set(record.baselines) for record in ordered))
        groups = ["", *groups_of(ordered)]
        return cls(
            prompts=np.array([record.prompts for record in ordered], float),
            responses=np.array([record.responses for record in ordered], float),
            diversity=np.array([record.diversity for record in ordered], float),
            reward=np.array([np.mean(sorted(record.rewards)) for record in ordered], float),
            seeds=np.array([len(record.rewards) for record in ordered], float),
            scatter=np.array([np.var(sorted(r.rewards)) * len(r.rewards) for r in ordered], float),
            varied=np.array([record.selection != "random" for record in ordered], bool),
            earlier=np.array([record.is_earlier for record in ordered], bool),
            group=np.array([groups.index(record.group) for record in ordered], float),
            labelling=labellings([record.labelling for record in ordered]),
            baselines={
                name: np.array([r.baselines[name] for r in ordered], float) for name in sorted(shared)
            },
        )

    @cached_property
    def random(self) -> NDArray[np.bool_]:
        """Trials whose mean reward is itself a reward of a split: random prompts, no group of their own."""
        return np.asarray(~self.varied & (self.group == 0))

    @cached_property
    def others(self) -> Floats:
        """Numbers of the groups that lie higher or lower as a whole."""
        return np.unique(self.group[self.group > 0])

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Numbers of responses that were tried, increasing."""
        return tuple(int(k) for k in np.unique(self.responses))

    @property
    def labellings(self) -> tuple[Labelling, ...]:
        """Ways of labelling that were tried, the plainest first."""
        return tuple(sorted(set(self.labelling[self.group == 0]), key=lambda one: one.rank))

    @property
    def rater_levels(self) -> tuple[int | None, ...]:
        """Numbers of raters that were tried, increasing; None alone where the pool's scores were taken."""
        return tuple(sorted({one.raters for one in self.labellings if one.raters})) or (None,)

    @property
    def choices(self) -> tuple[ResponseChoice, ...]:
        """Ways of choosing responses that were tried, `random` first."""
        return tuple(dict.fromkeys(one.response_choice for one in self.labellings))

    @property
    def kinds(self) -> tuple[float | None, ...]:
        """Shares of people's labels that were tried, falling; None where kinds are not told apart."""
        return tuple(sorted({one.human_share for one in self.labellings}, key=lambda share: -(share or 0)))

    @cached_property
    def varies_labelling(self) -> bool:
        """Whether trials differ in how they were labelled."""
        return len(set(self.labelling)) > 1

    @property
    def count(self) -> int:
        return len(self.reward)

    @cached_property
    def noise_df(self) -> float:
        """Degrees of freedom of the seeds' own scatter: 0 where every trial has one seed."""
        return float(np.sum(self.seeds - 1))

    @property
    def noise_variance(self) -> float | None:
        """Variance of one seed's reward about its trial's mean, pooled over all trials."""
        return float(self.scatter.sum() / self.noise_df) if self.noise_df else None

    @property
    def several_sizes(self) -> bool:
        """Whether some number of responses, labelled in one way, was tried at two numbers of prompts."""
        sizes: dict[tuple[float, Labelling], set[float]] = {}
        for n, k, labelling in zip(self.prompts, self.responses, self.labelling, strict=True):
            sizes.setdefault((k, labelling), set()).add(n)
        return any(len(found) > 1 for found in sizes.values())

    def keep(self, chosen: NDArray[np.bool_]) -> Observations:
        """The chosen trials alone."""
        arrays = {
            name: getattr(self, name)[chosen] for name in self.__dataclass_fields__ if name != "baselines"
        }
        return Observations(
            **arrays, baselines={name: values[chosen] for name, values in self.baselines.items()}
        )


def groups_of(records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Names of the groups that lie higher or lower as a whole, in the order of their numbers from 1 on."""
    return tuple(sorted({record.group for record in records} - {""}))


def _canonical(record: TrialRecord) -> tuple[object, ...]:
    split = record.responses, record.prompts, record.labelling.rank
    return (*split, record.diversity, record.selection, sorted(record.rewards), record.group)


def _check(record: TrialRecord, scale: RewardScale) -> None:
    where = f"trial {record.trial!r} ({record.prompts:,} x {record.responses})"
    if record.prompts < 1 or record.responses < 1:
        raise InsufficientDataError(f"{where}: prompts and responses must be 1 or more")
    if not record.rewards:
        raise InsufficientDataError(f"{where}: it has no reward; run it, or leave it out")
    if not isfinite(record.diversity) or record.diversity < 0:
        raise InsufficientDataError(
            f"{where}: diversity {record.diversity} is not a finite number of 0 or more"
        )
    for reward in record.rewards:
        if not isfinite(reward) or not scale.holds(reward):
            within = "" if scale.name == "any" else f" within {scale.low:g} and {scale.high:g}"
            raise InsufficientDataError(f"{where}: reward {reward} is not a finite number{within}")
