"""Who is equal, who is the runner-up, and where doubt lies: one judgement, of one set of splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from support.paper import study

from search.config.cost import CostModel, Split
from search.fit.curve import DiversityCurve
from search.fit.decision import Decision, decide
from search.fit.fit import fit_trials
from search.fit.forecast import Forecast
from search.fit.question import Question
from search.plan.belief import Belief, believe

MARGIN = 0.01


def decision(
    *splits: tuple[Split, float, float],
    untried: Sequence[Split] = (),
    between: Sequence[Split] = (),
) -> Decision:
    """The first of `splits` judged against the others: each with its reward and its `exceeds`.

    `untried` have no trial; neither have those `between`, nor any other with as many responses.
    """
    found = tuple(split for split, *_ in splits)
    rewards = np.array([[reward for _, reward, _ in splits]])
    size = len(splits)
    return Decision(
        splits=found,
        forecast=Forecast(np.ones(1), rewards, 1e-4 * np.eye(size)[None], np.array([1e6])),
        margin=MARGIN,
        contenders=tuple(split not in between for split in found),
        tried=tuple(split not in (*untried, *between) for split in found),
        exceeds=np.array([exceeds for *_, exceeds in splits]),
        behind=np.zeros(size),
        enough=0.8,
        alone=0.5,
        best=np.ones(size) / size,
    )


BEST, EQUAL, THIRD, HALF = Split(96, 2), Split(64, 3), Split(48, 4), Split(48, 2)


def test_an_equal_is_no_runner_up_however_likely_it_is_better() -> None:
    found = decision((BEST, 0.50, 0.0), (EQUAL, 0.495, 0.3), (THIRD, 0.48, 0.1))
    assert found.equals == [1] and found.runner_up == 2
    assert found.doubt == 1, "trials at it tell most of whether the first is good enough"


def test_where_all_are_equal_there_is_no_runner_up() -> None:
    found = decision((BEST, 0.50, 0.0), (EQUAL, 0.495, 0.3))
    assert found.runner_up is None and found.doubt == 1
    assert decision((BEST, 0.50, 0.0)).doubt is None


def test_an_untried_neighbour_is_named_only_where_it_is_more_than_twice_as_likely() -> None:
    def named(neighbour: float, other: float, untried: Sequence[Split] = (HALF,)) -> int | None:
        splits = (BEST, 0.50, 0.0), (HALF, 0.48, neighbour), (THIRD, 0.47, other)
        return decision(*splits, untried=untried).runner_up

    assert named(0.08, 0.05) == 2 and named(0.12, 0.05) == 1
    assert named(0.08, 0.05, untried=()) == 1, "with a trial of its own it counts in full"
    splits = (BEST, 0.50, 0.0), (EQUAL, 0.48, 0.08), (THIRD, 0.47, 0.05)
    assert decision(*splits, untried=[EQUAL]).runner_up == 1, "of other responses it is another choice"


def test_responses_that_no_trial_has_may_be_equal_and_never_the_runner_up() -> None:
    found = decision((BEST, 0.50, 0.0), (EQUAL, 0.48, 0.0), (THIRD, 0.47, 0.0), between=[EQUAL])
    assert found.runner_up == 2
    near = decision((BEST, 0.50, 0.0), (EQUAL, 0.495, 0.0), (THIRD, 0.47, 0.0), between=[EQUAL])
    assert near.equals == [1]


def test_where_none_has_a_chance_the_best_of_other_responses_is_named() -> None:
    found = decision((BEST, 0.50, 0.0), (HALF, 0.48, 0.008), (THIRD, 0.47, 0.001))
    assert found.runner_up == 2
    alone = decision((BEST, 0.50, 0.0), (HALF, 0.48, 0.001), (Split(24, 2), 0.47, 0.002))
    assert alone.runner_up == 2, "there are no others"


@pytest.mark.parametrize("seed", range(3))
def test_equals_count_in_the_probability_that_the_choice_is_good_enough(seed: int) -> None:
    records = study(seed, noise=0.02)
    fit, curve = fit_trials(records), DiversityCurve.from_trials(records)
    question = Question(12_000, CostModel(), curve, (2, 3, 4), None)
    found = decide(fit, question, question.splits(fit), MARGIN, 0)
    assert found.equals and found.runner_up not in found.equals
    assert found.enough <= 1 - found.exceeds.max() + 0.02, "0.02: by draws"
    assert np.all((found.exceeds >= 0) & (found.exceeds + found.behind <= 1 + 1e-9))
    belief = believe(records, question, MARGIN)
    assert isinstance(belief, Belief) and found.doubt is not None
    assert (belief.best, belief.runner_up) == (found.splits[0], found.splits[found.doubt])
    assert belief.prob_within_margin == found.enough
