"""How often could anyone be right with a third of the grid's samples? Two yardsticks for `benchmarks.search`.

    python -m benchmarks.search_bound

`informed`, on the ground whose best number of responses lies in between: a planner who knows beforehand
that rewards lie on a line of D for each k, how slopes vary, the noise of a seed, and which three k contend,
and who spreads seeds over the four budget fractions so that the three rewards of the whole budget become
as sure as they can. It decides all of that in advance; one that looked at results on the way could do
somewhat better.

`direct`, on any ground: one who knows which two splits contend and trains nothing else, at the whole budget.
The last line is one JSON object.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.search import DEVIATION, FRACTIONS, INTERIOR, curve, grid_samples, grounds
from search.plan.space import Space

SLOPE_DEVIATION = (0.0073 - 0.0043) / 12**0.5  # of the uniform distribution that slopes are drawn from
DRAWS = 400_000
INTERIOR_GROUND = "interior k"
CONTENDERS = (3, 4, 6)
MOST_SEEDS = 8  # at one split; keeps the enumeration short


def third(name: str) -> float:
    """A third of the grid's samples on a ground, in trainings of the whole budget."""
    ground = grounds()[name]
    return grid_samples(Space(ground.config(seeds=1, seed=0))) / 3 / ground.budget


def variance(responses: int, seeds: Sequence[int]) -> float:
    """Of the whole budget's reward, known from so many seeds at each budget fraction, and the prior."""
    whole = grounds()[INTERIOR_GROUND].budget / responses
    offsets = np.array(
        [curve().at(int(whole * budget_fraction)) for budget_fraction in FRACTIONS]
    ) - curve().at(int(whole))
    design = np.stack([np.ones(len(FRACTIONS)), offsets], axis=1)
    known = (design * np.array(seeds)[:, None]).T @ design / DEVIATION["PRO"] ** 2
    return float(np.linalg.inv(known + np.diag([1e-9, SLOPE_DEVIATION**-2]))[0, 0])


def least_variance(responses: int, most: float) -> NDArray[np.float64]:
    """[100]: the least variance that can be had for at most 1, 2, ... 100 hundredths of `most` trainings."""
    best = np.full(101, np.inf)
    for seeds in itertools.product(
        *(range(int(min(most / budget_fraction, MOST_SEEDS)) + 1) for budget_fraction in FRACTIONS)
    ):
        work = float(np.dot(FRACTIONS, seeds))
        if 0 < work <= most:
            place = int(np.ceil(100 * work / most))
            best[place] = min(best[place], variance(responses, seeds))
    return np.minimum.accumulate(best)[1:]


def informed() -> float:
    """Share of replays in which the best of the three contenders comes out best."""
    work = third(INTERIOR_GROUND)
    tables = {k: least_variance(k, work) for k in CONTENDERS}
    noise = np.random.default_rng(0).normal(size=(DRAWS, len(CONTENDERS)))
    truth = np.array([INTERIOR[k] for k in CONTENDERS])
    found = []
    for share in range(20, 61, 5):  # of the best k; the other two get the rest in equal parts
        shares = [share if k == 4 else (100 - share) // 2 for k in CONTENDERS]
        deviations = np.sqrt([tables[k][part - 1] for k, part in zip(CONTENDERS, shares, strict=True)])
        found.append(float(np.mean(np.argmax(truth + noise * deviations, axis=1) == CONTENDERS.index(4))))
    return max(found)


def direct(name: str, gap: float) -> float:
    """Probability that the better of two splits, `gap` apart, has the better mean."""
    seeds = third(name) / 2
    return float(ndtr(gap / (grounds()[name].deviation * (2 / seeds) ** 0.5)))


def main() -> None:
    found = {
        "informed, interior k": informed(),
        "direct, Helpful": direct("Table 1, PRO, OPT-1.3B, Helpful", 0.0035),
    }
    for name, share in found.items():
        print(f"{name}: right in {share:.1%}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
