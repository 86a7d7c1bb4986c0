"""The candidate models of reward: what stands for the number of prompts, and how responses enter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from search.config.cost import Split
from search.fit.observations import Floats, Observations

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

    `group` and `raters` as in `Observations`; None: this study's own, and the pool's scores.
    """

    prompts: Floats
    responses: Floats
    diversity: Floats
    group: Floats | None = None
    raters: Floats | None = None

    @classmethod
    def of(cls, observations: Observations) -> Points:
        found = observations
        return cls(found.prompts, found.responses, found.diversity, found.group, found.raters)

    @classmethod
    def at(cls, splits: Sequence[Split], diversity: Sequence[float]) -> Points:
        """Splits of this study, prompts with that `diversity` each."""
        return cls(
            np.array([split.prompts for split in splits], float),
            np.array([split.responses for split in splits], float),
            np.array(diversity, float),
            raters=np.array([split.raters or 0 for split in splits], float),
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
    as a whole adds a coefficient, by how much. Where trials differ in their number of raters there are more:
    what each doubling of them adds or, with `levels`, what each number of them adds to the fewest, which may
    depend on log prompts and on 1/k.
    """

    structure: Structure
    predictor: str = ""
    raters: Literal["doublings", "levels"] = "doublings"

    @property
    def name(self) -> str:
        name = f"{self.structure} on {self.predictor}" if self.predictor else self.structure
        return name if self.raters == "doublings" else f"{name}, raters apart"

    def design(self, at: Points, tried: Observations) -> Floats:
        """Design matrix [points, coefficients] for points seen from the trials `tried`."""
        own = np.zeros_like(at.prompts) if at.group is None else at.group
        offsets = own[:, None] == tried.others
        raters = raters_gained(at, tried, self.raters == "levels")
        return np.column_stack([self._curve(at, tried), raters, offsets]).astype(float)

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


def raters_gained(at: Points, tried: Observations, levels: bool) -> Floats:
    """Columns of what more raters add: see `Model`; no column where trials do not differ in raters."""
    if not tried.varies_raters:
        return np.empty((len(at.prompts), 0))
    raters = np.maximum(raters_of(at), 1)
    if not levels:
        return np.asarray(np.log2(raters)[:, None])
    known = tuple(int(r) for r in np.unique(np.maximum(tried.raters, 1)))
    more = _factor(raters, known)[:, 1:]
    size = np.log(at.prompts / tried.prompts.max())[:, None]
    by_responses = [more / at.responses[:, None]] * (len(tried.levels) > 1)
    return np.column_stack([more, more * size, *by_responses])


def raters_of(at: Points) -> Floats:
    """Raters at each point, 0 where the pool's scores are taken."""
    return np.zeros_like(at.prompts) if at.raters is None else at.raters


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
