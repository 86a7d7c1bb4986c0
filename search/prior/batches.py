"""The next batch of labels: new prompts, more responses for labelled ones, or no more at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import floor
from typing import Any

import numpy as np
from scipy.special import stdtr

from base.errors import InsufficientDataError
from search.config.cost import CostModel, Split
from search.config.scale import UNIT, RewardScale
from search.fit.forecast import Forecast
from search.prior.shape import Floats

SHARES = (0.25, 0.5, 0.75, 1.0)  # of a batch that may go into topping up
# Buying stops when a gain above the margin is less likely than this.
CHANCE = 0.05

Predict = Callable[[Sequence[Split]], Forecast]


@dataclass(frozen=True)
class TopUp:
    """`prompts` labelled prompts get `to - have` further responses each."""

    prompts: int
    have: int
    to: int

    def __str__(self) -> str:
        return f"{self.to - self.have} more responses for {self.prompts:,} prompts that have {self.have}"


@dataclass(frozen=True)
class Batch:
    """What to label next, `gain` being the reward that it is expected to add over the labels at hand.

    `probability` is that of a gain above the practical margin; where it is small, `stop` is set and the rest
    says what is forgone.
    """

    new: Split | None
    top_up: TopUp | None
    cost: float
    gain: float
    gain_95: tuple[float, float]
    probability: float
    margin: float
    stop: bool
    unit: str
    left: float
    labelled: dict[int, int] = field(default_factory=dict)  # responses -> prompts, before the batch
    scale: RewardScale = UNIT

    def to_dict(self) -> dict[str, Any]:
        """As `apportion plan --after ... --json` prints it."""
        return {**asdict(self), "scale": self.scale.name, "text": self.text()}

    def text(self) -> str:
        """The advice in one sentence."""
        show = partial(self.scale.text, more=1)
        interval = f"(95% interval {show(self.gain_95[0])} to {show(self.gain_95[1])})"
        if self.stop:
            return (
                f"stop: another {self.left:,.10g} {self.unit} are expected to add {show(self.gain)} "
                f"{interval}; a gain above your margin of {self.margin:g} has probability "
                f"{self.probability:.2f}"
            )
        what = [f"{self.new} new prompts x responses" if self.new else "", str(self.top_up or "")]
        return (
            f"next batch: {' and '.join(part for part in what if part)}, for {self.cost:,.10g} {self.unit}: "
            f"expected to add {show(self.gain)} {interval}"
        )


def next_batch(
    predict: Predict,
    labelled: Mapping[int, int],
    *,
    left: float,
    cost_model: CostModel,
    responses: Sequence[int],
    new_prompts: int | None,
    margin: float,
    doubt: Predict | None = None,
    scale: RewardScale = UNIT,
) -> Batch:
    """The batch within `left` with the highest expected reward of all labels together.

    `labelled` says how many prompts have how many labelled responses; `responses` are the numbers that can be
    predicted, `new_prompts` how many prompts could still be had (None: no limit). Unequal labelling counts as
    the mean over its prompts of equal labelling with as many prompts in all. A stop
    has to hold by `doubt` too, where it is given: few trials are soon too sure. Raises InsufficientDataError
    where nothing is labelled yet, and where `left` buys nothing.
    """
    now = _countable(labelled, responses)
    if not now:
        raise InsufficientDataError(
            f"no prompt has {min(responses)} labelled responses yet: ask for the first batch with "
            "`apportion plan --budget`"
        )
    can = list(options(labelled, left, cost_model, sorted(set(responses)), new_prompts))
    if not can:
        raise InsufficientDataError(
            f"{left:g} {cost_model.unit} buys neither a new prompt nor a further response for a labelled one"
        )
    holdings = [now, *(_countable(after, responses) for _, _, after in can)]
    forecast = _together(predict, holdings)
    best = 1 + int(np.argmax(forecast.mean[1:]))
    gain = forecast.combine(_difference(best, len(can) + 1))
    probability = max(_above(gain, margin), _doubted(doubt, holdings, margin))
    low, high = gain.interval()
    new, top_up, _ = can[best - 1]
    return Batch(
        new=new, top_up=top_up, cost=_cost(new, top_up, cost_model), gain=float(gain.mean[0]),
        gain_95=(float(low[0]), float(high[0])), probability=probability, margin=margin,
        stop=probability < CHANCE, unit=cost_model.unit, left=left, labelled=dict(labelled), scale=scale,
    )  # fmt: skip


def _countable(labelled: Mapping[int, int], responses: Sequence[int]) -> dict[int, int]:
    """The labels that a prediction can count: too few responses are none, too many are the most known."""
    found: dict[int, int] = {}
    for k, prompts in labelled.items():
        if prompts and k >= min(responses):
            found[min(k, max(responses))] = found.get(min(k, max(responses)), 0) + prompts
    return found


def options(
    labelled: Mapping[int, int],
    left: float,
    cost_model: CostModel,
    responses: Sequence[int],
    new_prompts: int | None,
) -> Iterator[tuple[Split | None, TopUp | None, dict[int, int]]]:
    """All that `left` may buy: new prompts alone, or topping up first and new prompts with the rest."""
    for k in responses:
        new = _new(k, left, cost_model, new_prompts)
        if new is not None:
            yield new, None, bought(labelled, new, None)
        for have, prompts in labelled.items():
            if have >= k or not prompts:
                continue
            for share in SHARES:
                top_up = _top_up(TopUp(prompts, have, k), share * left, cost_model)
                if top_up is None:
                    continue
                rest = left - _cost(None, top_up, cost_model)
                new = _new(k, rest, cost_model, new_prompts)
                yield new, top_up, bought(labelled, new, top_up)


def _new(k: int, money: float, cost_model: CostModel, limit: int | None) -> Split | None:
    each = cost_model.cost_per_prompt(k)
    if each <= 0:
        return Split(limit, k) if limit else None
    prompts = floor(money / each * (1 + 1e-12))
    prompts = prompts if limit is None else min(prompts, limit)
    return Split(prompts, k) if prompts > 0 else None


def _top_up(wanted: TopUp, money: float, cost_model: CostModel) -> TopUp | None:
    each = cost_model.cost_per_prompt(wanted.to) - cost_model.cost_per_prompt(wanted.have)
    prompts = wanted.prompts if each <= 0 else min(wanted.prompts, floor(money / each * (1 + 1e-12)))
    return TopUp(prompts, wanted.have, wanted.to) if prompts > 0 else None


def bought(labelled: Mapping[int, int], new: Split | None, top_up: TopUp | None) -> dict[int, int]:
    """Prompts by their number of responses, after a batch."""
    after = dict(labelled)
    if top_up is not None:
        after[top_up.have] -= top_up.prompts
        after[top_up.to] = after.get(top_up.to, 0) + top_up.prompts
    if new is not None:
        after[new.responses] = after.get(new.responses, 0) + new.prompts
    return after


def _cost(new: Split | None, top_up: TopUp | None, cost_model: CostModel) -> float:
    cost = cost_model.cost(new.prompts, new.responses) if new is not None else 0.0
    if top_up is not None:
        cost += cost_model.cost(top_up.prompts, top_up.to) - cost_model.cost(top_up.prompts, top_up.have)
    return cost


def _together(predict: Predict, holdings: Sequence[Mapping[int, int]]) -> Forecast:
    """Joint belief about the rewards of several holdings of labels."""
    splits = {split for holding in holdings for split in _parts(holding)}
    ordered = sorted(splits, key=lambda split: (split.prompts, split.responses))
    columns = {split: i for i, split in enumerate(ordered)}
    matrix = np.zeros((len(holdings), len(columns)))
    for row, holding in enumerate(holdings):
        for split, share in _parts(holding).items():
            matrix[row, columns[split]] = share
    return predict(list(columns)).combine(matrix)


def _parts(holding: Mapping[int, int]) -> dict[Split, float]:
    total = sum(holding.values())
    return {Split(total, k): prompts / total for k, prompts in holding.items() if prompts}


def _difference(row: int, size: int) -> Floats:
    contrast = np.zeros((1, size))
    contrast[0, 0], contrast[0, row] = -1, 1
    return contrast


def _doubted(doubt: Predict | None, holdings: Sequence[Mapping[int, int]], margin: float) -> float:
    """The largest probability of a gain above the margin that another predictor gives any option."""
    if doubt is None:
        return 0.0
    forecast = _together(doubt, holdings)
    gains = [forecast.combine(_difference(row, len(holdings))) for row in range(1, len(holdings))]
    return max(_above(gain, margin) for gain in gains)


def _above(gain: Forecast, margin: float) -> float:
    """Probability that the gain exceeds the margin."""
    spread = np.maximum(gain.spreads[:, 0], 1e-12)
    return float(gain.weights @ stdtr(gain.dfs, (gain.means[:, 0] - margin) / spread))
