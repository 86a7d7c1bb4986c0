"""Whether further seeds can still tell the contenders apart, on the prompts that are held out."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from search.config.cost import Split
from search.fit.curve import DiversityCurve
from search.fit.noise import held_out_part, noise_budget, trainings_of
from search.fit.question import points
from search.fit.ways import gap_of, held_out_between
from search.plan.belief import Belief
from search.trials.record import TrialRecord


def seeds_cannot_tell(
    belief: Belief,
    records: Sequence[TrialRecord],
    pair: tuple[Split, Split],
    margin: float,
    confidence: float,
) -> str:
    """Why no number of seeds tells the two splits of `pair` apart, or "" where some may.

    With endless seeds their gap still has the variance that the prompts held out give it (`held_out_part`).
    Where a gap of the upper end of the belief's 95% interval, with the margin, would not stand out from the
    lower end of that variance's, seeds buy certainty about these prompts and about no others.
    """
    trainings = trainings_of(records)
    floor = held_out_between(pair, trainings, records)
    if floor is None:
        return ""
    least = floor.interval_95[0] ** 0.5
    if max(map(abs, belief.gap_95)) + margin >= stats.norm.ppf(confidence) * least:
        return ""
    held_out = len(next(iter(trainings.values())))
    return (
        f"more seeds cannot tell {pair[0]} from {pair[1]}: the {held_out:,} held-out prompts alone give the "
        f"gap a standard deviation of {least:.2g} or more"
    )


def cheapest_way(
    belief: Belief, records: Sequence[TrialRecord], pair: tuple[Split, Split], curve: DiversityCurve
) -> str:
    """The cheapest way to tell the two apart, as words to go on a reason; "" where none can be named."""
    trainings = trainings_of(records)
    noise = noise_budget(trainings)
    if belief.ensemble is None or noise is None:
        return ""
    floor = held_out_between(pair, trainings, records) or held_out_part(trainings)
    forecast, variance = belief.ensemble.forecast(points(pair, curve)), belief.ensemble.seed_variance
    gap = gap_of(pair, forecast, variance, noise, floor, records)
    ways = gap.ways() if gap else []
    return f"; the cheapest way to decide: {ways[0].sentence()}" if ways else ""
