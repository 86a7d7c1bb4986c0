"""How distinct n-grams grow with text (Heaps' law), and where diversity stops growing with prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.diversity import EXPONENT

_POINTS = 60
_REACH = 100  # how many times the prompts seen an extrapolated peak may lie


@dataclass(frozen=True)
class Curve:
    """Distinct and all n-grams of the first `prompts`, at rising numbers of prompts; arrays of one shape."""

    prompts: NDArray[np.float64]
    distinct: NDArray[np.float64]
    total: NDArray[np.float64]


@dataclass(frozen=True)
class HeapsFit:
    """`distinct = constant x total ** exponent`, and what follows for diversity.

    `recent_exponent` is the slope over the last half of the prompts. `peak_prompts` is where diversity is,
    or by a parabola in the logarithms will be, largest; None where it rises on past 100 times the prompts
    seen. `peak_seen`: whether the curve itself has passed it.
    """

    constant: float
    exponent: float
    recent_exponent: float
    peak_prompts: float | None
    peak_seen: bool


def nested_curve(gains: NDArray[np.int64], totals: NDArray[np.int64]) -> Curve:
    """The curve of prompts in order, each adding `gains` distinct and `totals` all n-grams; few points."""
    count = len(gains)
    points = np.unique(np.geomspace(1, max(count, 1), _POINTS).astype(np.int64))[: count or None]
    if not count:
        points = points[:0]
    distinct, total = (np.cumsum(values).astype(np.float64)[points - 1] for values in (gains, totals))
    return Curve(points.astype(np.float64), distinct, total)


def fit_heaps(curve: Curve, *, exponent: float = EXPONENT) -> HeapsFit | None:
    """Heaps' law (Heaps 1978) by least squares in the logarithms, each octave of prompts weighing the same.

    Diversity is prompts ** exponent x distinct / total: with prompts of a steady length it grows for as
    long as the slope is over 1 - exponent (1/2 for D of Song et al.). Real slopes fall as text grows, so the
    straight line overstates what is far ahead; the peak is read off a parabola instead, and is a guess
    outside the curve. None for fewer than eight points of at least 20 prompts (16 to 20 of the fewest).
    """
    good = (curve.prompts >= 20) & (curve.distinct > 0)
    if good.sum() < 8:
        return None
    prompts, distinct, total = (
        np.log(values[good]) for values in (curve.prompts, curve.distinct, curve.total)
    )
    slope, intercept = np.polyfit(total, distinct, 1)
    recent = prompts >= prompts[-1] - np.log(2)
    peak, seen = _peak(prompts, exponent * prompts + distinct - total)
    return HeapsFit(
        constant=float(np.exp(intercept)),
        exponent=float(slope),
        recent_exponent=float(np.polyfit(total[recent], distinct[recent], 1)[0])
        if recent.sum() > 1
        else float(slope),
        peak_prompts=peak,
        peak_seen=seen,
    )


def _peak(prompts: NDArray[np.float64], score: NDArray[np.float64]) -> tuple[float | None, bool]:
    """Where the logarithm of diversity is largest, in prompts, and whether that lies within the curve."""
    top = int(np.argmax(score))
    if top < len(score) - 1 and score[top] - score[-1] > 0.005:  # clear of the last points' noise
        return float(np.exp(prompts[top])), True
    half = prompts >= (prompts[0] + prompts[-1]) / 2
    square, line, _ = np.polyfit(prompts[half], score[half], 2)
    if square >= 0:
        return None, False
    peak = -line / (2 * square)
    return (
        (float(np.exp(max(peak, prompts[-1]))), False)
        if peak < prompts[-1] + np.log(_REACH)
        else (None, False)
    )
