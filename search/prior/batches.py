"""The next batch of labels: new prompts, more responses or raters for labelled ones, or no more at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from math import floor
from typing import Any, TypeAlias

import numpy as np
from scipy.special import stdtr

from base.errors import InsufficientDataError
from search.config.cost import CostModel, Labelling, Split, largest_split
from search.config.scale import UNIT, RewardScale
from search.fit.forecast import Forecast
from search.prior.shape import Floats

SHARES = (0.25, 0.5, 0.75, 1.0)  # of a batch that may go into topping up
# Buying stops when a gain above the margin is less likely than this.
CHANCE = 0.05

Predict = Callable[[Sequence[Split]], Forecast]


@dataclass(frozen=True)
class Labels:
    """What a prompt has: so many labelled responses, each judged by `raters` raters.

    `raters` is None where their number is not part of the question, as in `Labelling`.
    """

    responses: int
    raters: int | None = None

    def of(self, prompts: int) -> Split:
        """The split of so many prompts that are labelled so."""
        return Split(prompts, self.responses, self.raters)

    def further(self, responses: Sequence[int], raters: Sequence[int | None]) -> list[Labels]:
        """What topping up may make of it: more responses by as many raters, or more raters for the same."""
        more = [replace(self, responses=k) for k in responses if k > self.responses]
        return more + [replace(self, raters=r) for r in raters if r and self.raters and r > self.raters]

    def __str__(self) -> str:
        return f"{self.responses}{Labelling(self.raters)}"


Holding: TypeAlias = Mapping[Labels, int]  # prompts by what they have


@dataclass(frozen=True)
class TopUp:
    """`prompts` labelled prompts get what `to` has more than `have`: responses, or raters."""

    prompts: int
    have: Labels
    to: Labels

    @property
    def raters(self) -> int:
        """Further raters for each response; 0 where it is responses that are added."""
        return (self.to.raters or 0) - (self.have.raters or 0)

    def cost(self, prices: CostModel) -> float:
        """What the further labels cost; those at hand are paid."""
        return prices.of(self.to.of(self.prompts)) - prices.of(self.have.of(self.prompts))

    def to_dict(self) -> dict[str, Any]:
        """Numbers of responses, and of raters where they are part of the question."""
        found = {"prompts": self.prompts, "have": self.have.responses, "to": self.to.responses}
        return found | rater_fields(self.have, self.to)

    def __str__(self) -> str:
        more, have = self.to.responses - self.have.responses, str(self.have)
        what = f"{more} more responses"
        if self.have.raters is not None:
            what = _count(self.raters, "more rater") if self.raters else _count(more, "more response")
            have = f"{_count(self.have.responses, 'response')} with {_count(self.have.raters, 'rater')}"
        return f"{what} for {self.prompts:,} prompts that have {have}"


def rater_fields(have: Labels, to: Labels) -> dict[str, int]:
    """The raters that a prompt's responses have and get, as output names them; none where nobody asks."""
    if to.raters is None:
        return {}
    return {"have_raters": have.raters or 0, "to_raters": to.raters}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    labelled: Holding = field(default_factory=dict)  # before the batch
    scale: RewardScale = UNIT

    def to_dict(self) -> dict[str, Any]:
        """As `apportion plan --after ... --json` prints it."""
        return vars(self) | {
            "new": self.new and asdict(self.new),
            "top_up": self.top_up and self.top_up.to_dict(),
            "labelled": {str(labels): prompts for labels, prompts in self.labelled.items()},
            "scale": self.scale.name,
            "text": self.text(),
        }

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
        what = [_new_prompts(self.new) if self.new else "", str(self.top_up or "")]
        return (
            f"next batch: {' and '.join(part for part in what if part)}, for {self.cost:,.10g} {self.unit}: "
            f"expected to add {show(self.gain)} {interval}"
        )


def _new_prompts(new: Split) -> str:
    return f"{new} new prompts x responses{'' if new.raters is None else ' x raters'}"


def next_batch(
    predict: Predict,
    labelled: Holding,
    *,
    left: float,
    cost_model: CostModel,
    responses: Sequence[int],
    raters: Sequence[int | None] = (None,),
    new_prompts: int | None,
    margin: float,
    doubt: Predict | None = None,
    scale: RewardScale = UNIT,
) -> Batch:
    """The batch within `left` with the highest expected reward of all labels together.

    `responses` and `raters` are the numbers that can be predicted (None: raters are not part of the
    question), `new_prompts` how many prompts could still be had (None: no limit). Unequal labelling counts as
    the mean over its prompts of equal labelling with as many prompts in all. A stop
    has to hold by `doubt` too, where it is given: few trials are soon too sure. Raises InsufficientDataError
    where nothing is labelled yet, and where `left` buys nothing.
    """
    known = _known(responses, raters)
    now = _countable(labelled, known)
    if not now:
        by = "" if known[0].raters is None else f" by {_count(known[0].raters, 'rater')}"
        raise InsufficientDataError(
            f"no prompt has {known[0].responses} labelled responses{by} yet: ask for the first batch with "
            "`apportion plan --budget`"
        )
    can = list(options(labelled, left, cost_model, responses, raters, new_prompts))
    if not can:
        further = "response" if known[0].raters is None else "response or rater"
        raise InsufficientDataError(
            f"{left:g} {cost_model.unit} buys neither a new prompt nor a further {further} for a labelled one"
        )
    holdings = [now, *(_countable(after, known) for _, _, after in can)]
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


def _known(responses: Sequence[int], raters: Sequence[int | None]) -> list[Labels]:
    """Every number of responses with every number of raters, rising."""
    rising = sorted(set(responses)), sorted(set(raters), key=lambda r: r or 0)
    return [Labels(k, r) for k, r in product(*rising)]


def _countable(labelled: Holding, known: Sequence[Labels]) -> Counter[Labels]:
    """The labels that a prediction can count: too few are none, too many are the most `known`.

    Raters in between are counted as they are: fewer would credit a further one with what is there already.
    """
    least, most = known[0], known[-1]
    found: Counter[Labels] = Counter()
    for has, prompts in labelled.items():
        if prompts and has.responses >= least.responses and (has.raters or 0) >= (least.raters or 0):
            raters = has.raters and most.raters and min(has.raters, most.raters)
            found[Labels(min(has.responses, most.responses), raters)] += prompts
    return found


def options(
    labelled: Holding,
    left: float,
    cost_model: CostModel,
    responses: Sequence[int],
    raters: Sequence[int | None],
    new_prompts: int | None,
) -> Iterator[tuple[Split | None, TopUp | None, Holding]]:
    """All that `left` may buy: new prompts alone, or topping up first and new prompts, labelled alike, with
    the rest."""
    known = _known(responses, raters)
    further = {has: has.further(responses, raters) for has, prompts in labelled.items() if prompts}
    for to in dict.fromkeys([*known, *(one for found in further.values() for one in found)]):
        new = _largest(to, left, cost_model, new_prompts)
        if new is not None and to in known:
            yield new, None, bought(labelled, new, None)
        for have in (has for has, found in further.items() if to in found):
            for share in SHARES:
                top_up = _top_up(TopUp(labelled[have], have, to), share * left, cost_model)
                if top_up is None:
                    continue
                new = _largest(to, left - top_up.cost(cost_model), cost_model, new_prompts)
                yield new, top_up, bought(labelled, new, top_up)


def _largest(to: Labels, money: float, cost_model: CostModel, limit: int | None) -> Split | None:
    return largest_split(cost_model, money, to.responses, limit, Labelling(to.raters))


def _top_up(wanted: TopUp, money: float, cost_model: CostModel) -> TopUp | None:
    """As many of the prompts as `money` tops up."""
    each = replace(wanted, prompts=1).cost(cost_model)
    prompts = wanted.prompts if each <= 0 else min(wanted.prompts, floor(money / each * (1 + 1e-12)))
    return replace(wanted, prompts=prompts) if prompts > 0 else None


def bought(labelled: Holding, new: Split | None, top_up: TopUp | None) -> Counter[Labels]:
    """Prompts by what they have, after a batch."""
    after = Counter(labelled)
    if top_up is not None:
        after[top_up.have] -= top_up.prompts
        after[top_up.to] += top_up.prompts
    if new is not None:
        after[Labels(new.responses, new.raters)] += new.prompts
    return after


def _cost(new: Split | None, top_up: TopUp | None, cost_model: CostModel) -> float:
    cost = cost_model.of(new) if new is not None else 0.0
    return cost + top_up.cost(cost_model) if top_up is not None else cost


def _together(predict: Predict, holdings: Sequence[Holding]) -> Forecast:
    """Joint belief about the rewards of several holdings of labels."""
    splits = {split for holding in holdings for split in _parts(holding)}
    ordered = sorted(splits, key=lambda split: (split.prompts, split.responses, split.raters or 0))
    columns = {split: i for i, split in enumerate(ordered)}
    matrix = np.zeros((len(holdings), len(columns)))
    for row, holding in enumerate(holdings):
        for split, share in _parts(holding).items():
            matrix[row, columns[split]] = share
    return predict(list(columns)).combine(matrix)


def _parts(holding: Holding) -> dict[Split, float]:
    total = sum(holding.values())
    return {labels.of(total): prompts / total for labels, prompts in holding.items() if prompts}


def _difference(row: int, size: int) -> Floats:
    contrast = np.zeros((1, size))
    contrast[0, 0], contrast[0, row] = -1, 1
    return contrast


def _doubted(doubt: Predict | None, holdings: Sequence[Holding], margin: float) -> float:
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
