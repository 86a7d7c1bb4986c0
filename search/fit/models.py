"""The candidate models of reward: what stands for the number of prompts, and how responses enter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pools.response_choice import CHOICES
from search.config.cost import PLAIN, Split
from search.fit.observations import Floats, Labellings, Observations, labellings

Structure = Literal[
    "no slope",
    "one line",
    "shared slope",
    "line per k",
    "saturating",
    "saturating lines",
    "peaked",
    "past studies",
]
STRUCTURES: tuple[Structure, ...] = (
    "one line",
    "shared slope",
    "line per k",
    "saturating",
    "saturating lines",
)
PREDICTORS = ("diversity", "log prompts", "inverse root prompts")


@dataclass(frozen=True)
class Points:
    """Where reward is known or wanted: equally long arrays of prompts, responses and diversity.

    `group` and `labelling` as in `Observations`; None: this study's own, and plainly labelled.
    """

    prompts: Floats
    responses: Floats
    diversity: Floats
    group: Floats | None = None
    labelling: Labellings | None = None

    @classmethod
    def of(cls, observations: Observations) -> Points:
        found = observations
        return cls(found.prompts, found.responses, found.diversity, found.group, found.labelling)

    @classmethod
    def at(cls, splits: Sequence[Split], diversity: Sequence[float]) -> Points:
        """Splits of this study, prompts with that `diversity` each."""
        return cls(
            np.array([split.prompts for split in splits], float),
            np.array([split.responses for split in splits], float),
            np.array(diversity, float),
            labelling=labellings([split.labelling for split in splits]),
        )


@dataclass(frozen=True)
class Model:
    """reward = design @ coefficients, with k the number of responses and x the predictor.

    | structure | design |
    |---|---|
    | no slope | a(k) |
    | one line | a + b x |
    | shared slope | a(k) + b x |
    | line per k | a(k) + b(k) x |
    | saturating | a + c/k + b x |
    | saturating lines | a + c/k + (b + d/k) x |
    | peaked | a(k) + b x + c x^2, which may rise and fall |
    | past studies | a + b L + c K + d L K, in doublings of prompts (L) and of responses (K) |

    Between tried k, a(k) and b(k) are interpolated in log k. Each group of trials that lies higher or lower
    as a whole adds a coefficient, by how much. Where trials differ in how they were labelled there are more:
    what each doubling of raters adds, and each further way of choosing responses and kind of labels. With
    `apart` each number of raters has its own, and all of these may depend on log prompts and on 1/k.
    """

    structure: Structure
    predictor: str = ""
    apart: bool = False

    @property
    def name(self) -> str:
        name = f"{self.structure} on {self.predictor}" if self.predictor else self.structure
        return f"{name}, labelling apart" if self.apart else name

    def design(self, at: Points, tried: Observations) -> Floats:
        """Design matrix [points, coefficients] for points seen from the trials `tried`."""
        own = np.zeros_like(at.prompts) if at.group is None else at.group
        offsets = own[:, None] == tried.others
        labelled = labelling_gained(at, tried, self.apart)
        return np.column_stack([self._curve(at, tried), labelled, offsets]).astype(float)

    def _curve(self, at: Points, tried: Observations) -> Floats:
        """The columns that depend on prompts, responses and diversity."""
        one, inverse, factor = (
            np.ones_like(at.responses),
            1 / at.responses,
            _factor(at.responses, tried.levels),
        )
        if self.structure == "no slope":
            return factor
        if self.structure == "past studies":
            return doublings(at.prompts, at.responses)
        x = predictor_values(self.predictor, at, tried)
        if self.structure == "one line":
            return np.column_stack([one, x])
        if self.structure == "shared slope":
            return np.column_stack([factor, x])
        if self.structure == "line per k":
            return np.column_stack([factor, factor * x[:, None]])
        if self.structure == "peaked":
            centred = x - predictor_values(self.predictor, Points.of(tried), tried).mean()
            return np.column_stack([factor, centred, centred**2])
        if self.structure == "saturating":
            return np.column_stack([one, inverse, x])
        return np.column_stack([one, inverse, x, x * inverse])

    def slope_rows(self, tried: Observations) -> Floats:
        """Rows that turn coefficients into the slope on x at each tried k; empty where there is none."""
        if self.structure == "no slope":
            return np.empty((0, 0))
        levels = np.array(tried.levels, float)
        still = Points(np.full_like(levels, np.e), levels, np.zeros_like(levels))
        return np.asarray(self._at(still, tried, 1.0) - self._at(still, tried, 0.0))

    def _at(self, at: Points, tried: Observations, x: float) -> Floats:
        return Model(self.structure, "fixed").design(
            Points(np.full_like(at.prompts, x), at.responses, at.diversity), tried
        )


def labelling_gained(at: Points, tried: Observations, apart: bool) -> Floats:
    """Columns of what more raters, other choices of responses and kinds of labels add: see `Model`.

    None for what is equal in all trials.
    """
    if not tried.varies_labelling:
        return np.empty((len(at.prompts), 0))
    raters, known = raters_of(at), tuple(int(r) for r in np.unique(raters_of(tried)))
    chosen = [choice_of(at) == choice for choice in np.unique(choice_of(tried))[1:]]
    chosen += [human_share_of(at) == share for share in np.unique(human_share_of(tried))[:-1]]
    if not apart:
        doubled = [np.log2(raters)] * (len(known) > 1)
        return np.column_stack([*doubled, *chosen, np.empty((len(raters), 0))])
    more = np.column_stack([_factor(raters, known)[:, 1:], *chosen])
    size = np.log(at.prompts / tried.prompts.max())[:, None]
    by_responses = [more / at.responses[:, None]] * (len(tried.levels) > 1)
    return np.column_stack([more, more * size, *by_responses])


def labelling_of(at: Points | Observations) -> Labellings:
    """How each point is labelled."""
    return labellings([PLAIN] * len(at.prompts)) if at.labelling is None else at.labelling


def raters_of(at: Points | Observations) -> Floats:
    """Raters at each point; 1 where the pool's scores are taken."""
    return np.array([one.raters or 1 for one in labelling_of(at)], float)


def choice_of(at: Points | Observations) -> Floats:
    """The number of each point's way of choosing responses, 0 for random."""
    return np.array([CHOICES.index(one.response_choice) for one in labelling_of(at)], float)


def human_share_of(at: Points | Observations) -> Floats:
    """The share of people's labels at each point; 1 where kinds are not told apart."""
    shares = (one.human_share for one in labelling_of(at))
    return np.array([1 if share is None else share for share in shares], float)


def predictor_values(name: str, at: Points, tried: Observations) -> Floats:
    """The predictor at some points; each grows with the number of prompts."""
    if name == "diversity":
        return at.diversity
    if name == "log prompts":
        return np.asarray(np.log(at.prompts))
    if name == "inverse root prompts":
        return np.asarray(-1 / np.sqrt(at.prompts / tried.prompts.max()))
    if name in ("prompts", "fixed"):
        return at.prompts
    return tried.baselines[name]  # a baseline metric is known for the trials alone


def _factor(responses: Floats, levels: tuple[int, ...]) -> Floats:
    unit = np.eye(len(levels))
    return np.column_stack([np.interp(np.log(responses), np.log(levels), column) for column in unit])


# The middle of the published splits: prompts, responses.
CENTRE = (6_000, 3)


def doublings(prompts: Floats, responses: Floats) -> Floats:
    """Rows [points, 4]: 1, L = log2(prompts / 6,000), K = log2(responses / 3), and L K.

    Responses enter by their logarithm, so each further response adds less: k to k + 1 adds
    log2((k + 1) / k) of a doubling, 0.58 from 2 to 3 and 0.42 from 3 to 4.
    """
    size, more = np.log2(prompts / CENTRE[0]), np.log2(responses / CENTRE[1])
    return np.column_stack([np.ones_like(size), size, more, size * more])
