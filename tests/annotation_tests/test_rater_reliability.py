"""Strengths and reliabilities: against closed forms, against simulated raters, against majority vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy.stats import kendalltau

from annotation.ratings.intake import Judgement
from annotation.ratings.reliability import PRIOR_SPREAD, fit_strengths
from annotation.ratings.scores import CHANCE, raters_of, scores_of
from annotation.ratings.votes import Floats, Votes, pair_weight, votes_of

HONEST = {"55": 0.55, "65": 0.65, "75": 0.75, "85": 0.85, "95": 0.95}
RELIABILITY = {**HONEST, "spam-a": 0.5, "spam-b": 0.5, "adversary": 0.1}


def simulated(seed: int, prompts: int, responses: int, raters: Mapping[str, float]) -> tuple[Floats, Votes]:
    """True strengths, and votes on all pairs, right as often as each rater is reliable; 30% are missing."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(prompts, responses))
    first, second = np.triu_indices(responses, 1)
    who, prompt, pair = np.nonzero(rng.random((len(raters), prompts, 1)).repeat(len(first), 2) > 0.3)
    right = rng.random(len(who)) < np.array(list(raters.values()))[who]
    ahead = truth[prompt, first[pair]] > truth[prompt, second[pair]]
    better = np.where(ahead == right, first[pair], second[pair])
    worse = first[pair] + second[pair] - better
    counts = np.full(prompts, responses)
    return truth, Votes(prompt, better, worse, who, np.ones(len(who)), counts, tuple(raters))


def taus(truth: Floats, votes: Votes, method: str) -> Floats:
    """Kendall's tau of scores and truth for each prompt."""
    scores = scores_of(votes, method)  # type: ignore[arg-type]
    return np.array([kendalltau(row, each.values).statistic for row, each in zip(truth, scores, strict=True)])


def test_reliabilities_beat_the_majority_and_name_whom_they_should() -> None:
    truth, votes = simulated(0, prompts=300, responses=6, raters=RELIABILITY)
    noisy, majority = taus(truth, votes, "reliability"), np.nan_to_num(taus(truth, votes, "majority"))
    gain = noisy - majority
    rng = np.random.default_rng(0)
    low, high = np.percentile([rng.choice(gain, len(gain)).mean() for _ in range(1000)], [2.5, 97.5])
    means = f"{noisy.mean():.3f}, by majority {majority.mean():.3f}"
    print(f"Kendall's tau {means}: +{gain.mean():.3f} (95% interval {low:.3f} to {high:.3f})")
    assert low > 0.2
    found = raters_of(votes, fit_strengths(votes))
    assert {name: rater.suspicion for name, rater in found.items() if rater.suspicion} == {
        "spam-a": "chance",
        "spam-b": "chance",
        "adversary": "contradicts",
    }


def test_honest_raters_alone_are_ranked_at_least_as_well_as_by_majority() -> None:
    truth, votes = simulated(1, prompts=80, responses=4, raters={"a": 0.8, "b": 0.8, "c": 0.8})
    noisy, plain = taus(truth, votes, "reliability"), np.nan_to_num(taus(truth, votes, "majority"))
    assert noisy.mean() > plain.mean() - 0.02


@pytest.mark.parametrize("seed", range(3))
def test_with_few_labels_nobody_is_named(seed: int) -> None:
    _, votes = simulated(seed, prompts=10, responses=3, raters=RELIABILITY)
    found = raters_of(votes, fit_strengths(votes))
    assert not any(rater.suspicion == "chance" for rater in found.values())
    assert all(found[name].suspicion == "" for name in HONEST)


def test_one_rater_alone_is_neither_praised_nor_blamed() -> None:
    _, votes = simulated(2, prompts=40, responses=4, raters={"only": 0.6})
    rater = raters_of(votes, fit_strengths(votes))["only"]
    assert rater.reliability == pytest.approx(0.8, abs=1e-6)  # the prior's: nothing was learnt
    assert rater.error > 0.15 and rater.reliability > CHANCE


def test_one_vote_gives_the_strengths_of_its_closed_form() -> None:
    one = np.array([0])
    votes = Votes(one, one, one + 1, one, np.ones(1), np.array([2]), ("a",))
    lead = np.ptp(fit_strengths(votes, learn_raters=False).values[0])
    # Most probable lead d of two normal strengths: 1 - sigmoid(d) = d / (2 spread ** 2).
    assert 1 / (1 + np.exp(lead)) == pytest.approx(lead / (2 * PRIOR_SPREAD**2), abs=1e-4)


def test_errors_are_as_large_as_the_scores_are_off() -> None:
    """Of raters that follow the model, with strengths from the prior, 95% intervals cover the truth.

    The normal approximation is a little too narrow where all votes agree: about 90% are covered.
    """
    rng = np.random.default_rng(3)
    prompts, responses, raters = 300, 4, 3
    truth = rng.normal(0, PRIOR_SPREAD, (prompts, responses))
    prompt, rater, pair = (each.ravel() for each in np.indices((prompts, raters, 6)))
    first, second = (places[pair] for places in np.triu_indices(responses, 1))
    lead = truth[prompt, first] - truth[prompt, second]
    ahead = rng.random(len(lead)) < 1 / (1 + np.exp(-lead))
    better, worse = np.where(ahead, first, second), np.where(ahead, second, first)
    counts = np.full(prompts, responses)
    votes = Votes(prompt, better, worse, rater, np.ones(len(lead)), counts, ("a", "b", "c"))
    fitted = fit_strengths(votes, learn_raters=False)
    leads = truth[:, 0] - truth[:, 1]
    found = fitted.values[:, 0] - fitted.values[:, 1]
    spread = fitted.covariance
    error = np.sqrt(spread[:, 0, 0] + spread[:, 1, 1] - 2 * spread[:, 0, 1])
    covered = float((np.abs(found - leads) < 1.96 * error).mean())
    assert 0.87 < covered < 0.98


@pytest.mark.parametrize("k", [2, 3, 4, 8])
def test_pairs_of_a_ranking_weigh_what_the_ranking_tells(k: int) -> None:
    """Information of Plackett and Luce's model on one strength, at equal strengths, by simulating stages."""
    stages = [(m / k) * (1 / m) * (1 - 1 / m) for m in range(1, k + 1)]
    assert pair_weight(k) * (k - 1) / 4 == pytest.approx(sum(stages))
    assert pair_weight(2) == 1 and pair_weight(1) == 0


def judged(rater: str, ranks: Sequence[float]) -> Judgement:
    values = {name: rank for name, rank in zip("abcd", ranks, strict=False)}
    return Judgement(rater, "p", values, "rank", None, False, 0.0, False)


@pytest.mark.parametrize("method", ["reliability", "bradley_terry", "majority"])
def test_ties_stay_ties_and_the_unjudged_stay_without_score(method: str) -> None:
    votes = votes_of([judged("x", [1, 2, 2]), judged("y", [1, 2, 2])], {"p": list("abcd"), "q": list("ef")})
    row, empty = scores_of(votes, method)  # type: ignore[arg-type]
    assert row.values[0] > row.values[1] == row.values[2]  # type: ignore[operator]
    assert row.values[3] is None and empty.values == (None, None)
    assert all(error > 0 for error in row.errors[:3])


def test_the_majority_decides_each_pair() -> None:
    said = [judged("x", [1, 2, 3]), judged("y", [1, 3, 2]), judged("z", [2, 1, 3])]
    (row,) = scores_of(votes_of(said, {"p": list("abc")}), "majority")
    assert row.values == (1.0, 0.5, 0.0)


def test_more_votes_make_smaller_errors() -> None:
    few = votes_of([judged("x", [1, 2])], {"p": list("ab")})
    many = votes_of([judged(f"r{n}", [1 + n % 2, 2 - n % 2]) for n in range(40)], {"p": list("ab")})
    for method in ("bradley_terry", "majority"):
        (one,), (other,) = scores_of(few, method), scores_of(many, method)  # type: ignore[arg-type]
        assert other.errors[0] < one.errors[0] / 2
