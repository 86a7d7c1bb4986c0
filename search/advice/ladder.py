"""What the sizes that were tried say of the advice at a target size: leads, never without their interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from search.config.cost import Split
from search.config.scale import RewardScale
from search.config.transfer import MODEL
from search.fit.fit import Fit
from search.fit.forecast import Forecast, format_probability
from search.fit.ladder import Rung, climb
from search.fit.question import Question, predict
from search.fit.target import believe_target, in_order
from search.trials.record import TrialRecord

Interval = tuple[float, float, float]  # expected, and its 95% interval


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """A forecast for a model of `target` parameters from models of `sizes` parameters.

    `leads` are those of the other splits over `advised` (reward), `responses` and `prompts` what a doubling
    of each is worth. `still_best` is the probability that no other split is better than `advised` by
    more than the margin. `extrapolated`: the target lies beyond the sizes that were tried.
    """

    target: float
    sizes: tuple[float, ...]
    advised: Split
    splits: tuple[Split, ...]
    leads: tuple[Interval, ...]
    responses: Interval
    prompts: Interval
    still_best: float
    extrapolated: bool
    scale: RewardScale

    def sentence(self) -> str:
        """The forecast in one line."""
        sizes = ", ".join(map(_millions, sorted(self.sizes)))
        beyond = ", extrapolated beyond them" if self.extrapolated else ""
        leads = "; ".join(
            f"{split} ahead of it by {self._text(lead)}"
            for split, lead in zip(self.splits, self.leads, strict=True)
        )
        sure = format_probability(self.still_best)
        return (
            f"At {_millions(self.target)} parameters (from models of {sizes}{beyond}) {self.advised} is as "
            f"good as any tried with probability {sure}: {leads}. There a doubling of responses is worth "
            f"{self._text(self.responses)}, one of prompts {self._text(self.prompts)}."
        )

    def _text(self, value: Interval) -> str:
        mean, low, high = (self.scale.text(one, sign=True) for one in value)
        return f"{mean} (95% {low} to {high})"

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {name: value for name, value in asdict(self).items() if name != "scale"}


def ladder(
    records: Sequence[TrialRecord],
    fit: Fit,
    question: Question,
    splits: Sequence[Split],
    target: float | None,
    *,
    margin: float,
    seed: int = 0,
) -> Ladder | None:
    """The forecast at `target` parameters; `splits` are the contenders, the advised one first.

    `records` are the trials under other settings, of which those of other models count. None without a
    target, or while fewer than two sizes are known at which two of the splits were trained.
    """
    own = parameters_of(fit.records)
    if target is None or own is None:
        return None
    sizes = _sizes(records)
    common = in_order(
        [split for split in splits if all(split in {one.split for one in found} for found in sizes.values())]
    )
    if not sizes or len(common) < 2 or common[0] != splits[0]:
        return None
    contrast = np.eye(len(common))[1:] - np.eye(len(common))[:1]
    rungs = [Rung(own, predict(fit, common, question.curve).combine(contrast))]
    for size, found in sizes.items():
        there = believe_target(found, common, margin, scale=fit.scale)
        if there is not None:
            rungs.append(Rung(size, there.forecast.combine(contrast)))
    if len({rung.parameters for rung in rungs}) < 2:
        return None
    found_there = climb(common, own, rungs, target, fit.scale.high - fit.scale.low)
    leads = found_there.leads.draws(seed)
    return Ladder(
        target=target,
        sizes=tuple(rung.parameters for rung in rungs),
        advised=common[0],
        splits=common[1:],
        leads=_intervals(found_there.leads),
        responses=_intervals(found_there.gains)[0],
        prompts=_intervals(found_there.gains)[1],
        still_best=float(np.mean(leads.max(axis=1) <= margin)),
        extrapolated=found_there.extrapolated,
        scale=fit.scale,
    )


def parameters_of(records: Sequence[TrialRecord]) -> float | None:
    """Parameters of the model that these trials trained; None where that was not kept."""
    found = [result.telemetry.get("parameters") for record in records for result in record.results]
    return next((float(one) for one in found if one), None)


def _sizes(records: Sequence[TrialRecord]) -> dict[float, list[TrialRecord]]:
    """The trials of other models, by how many parameters these have."""
    found: dict[float, list[TrialRecord]] = {}
    for record in records:
        if MODEL in dict(record.point.hyperparameters) and (size := parameters_of([record])) is not None:
            found.setdefault(size, []).append(record)
    return found


def _intervals(of: Forecast) -> tuple[Interval, ...]:
    low, high = of.interval()
    return tuple((float(m), float(a), float(b)) for m, a, b in zip(of.mean, low, high, strict=True))


def _millions(parameters: float) -> str:
    return f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"
