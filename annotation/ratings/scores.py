"""Scores of responses with their standard errors: by reliability, by Bradley-Terry, or by majority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from annotation.judging.judge import Scores
from annotation.ratings.findings import Findings
from annotation.ratings.intake import Judgement
from annotation.ratings.reliability import Strengths, fit_strengths
from annotation.ratings.votes import Floats, Votes, votes_of

Method = Literal["reliability", "bradley_terry", "majority"]
# Named where it is 99% certain that a rater is no better than a guess, or worse.
CHANCE, AGAINST, SURE = 0.55, 0.45, 2.326


@dataclass(frozen=True)
class Rater:
    """How often a rater is right, by the others, and the standard error of that."""

    reliability: float
    error: float

    @property
    def suspicion(self) -> str:
        """The reason in `findings.RULES` for which this rater is named; empty for most."""
        surely_below = self.reliability + SURE * self.error
        return "contradicts" if surely_below < AGAINST else "chance" if surely_below < CHANCE else ""


def raters_of(votes: Votes, fitted: Strengths) -> dict[str, Rater]:
    """The raters by name."""
    rows = zip(votes.raters, fitted.reliability, fitted.reliability_se, strict=True)
    return {name: Rater(float(found), float(error)) for name, found, error in rows}


def drop_unreliable(
    judgements: Sequence[Judgement], prompts: Mapping[str, Sequence[str]], findings: Findings
) -> tuple[list[Judgement], dict[str, Rater]]:
    """Without raters who surely guess or contradict the others; and all raters, these included."""
    votes = votes_of(judgements, prompts)
    found = raters_of(votes, fit_strengths(votes))
    dropped = set()
    for name, rater in found.items():
        reason = rater.suspicion
        if reason and findings.add(reason, f"{name} ({rater.reliability:.2f} +- {rater.error:.2f})"):
            dropped.add(name)
    return [each for each in judgements if each.rater not in dropped], found


def scores_of(votes: Votes, method: Method) -> list[Scores]:
    """For each prompt the scores of its responses, in [0, 1]; None for one that no vote is about.

    A score is the probability of being preferred to the prompt's average response that was judged, or its
    share of majorities, to 9 digits, so that ties stay ties. Scores compare within a prompt only.
    """
    judged = np.zeros((len(votes.counts), votes.width), bool)
    judged[votes.prompt, votes.better] = judged[votes.prompt, votes.worse] = True
    if method == "majority":
        values, errors = _majorities(votes)
    else:
        values, errors = _preferred(fit_strengths(votes, learn_raters=method == "reliability"), judged)
    rows = zip(values.round(9).tolist(), errors.tolist(), judged.tolist(), votes.counts, strict=True)
    return [
        Scores(
            tuple(value if met else None for value, met in zip(own[:count], known, strict=False)),
            tuple(error[:count]),
        )
        for own, error, known, count in rows
    ]


def _preferred(fitted: Strengths, judged: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Scores and errors by the delta method, of strengths against the mean of those judged."""
    width = judged.shape[1]
    mean = judged / np.maximum(judged.sum(1, keepdims=True), 1)
    centre = np.eye(width) - mean[:, None, :]
    leads = np.einsum("pij,pj->pi", centre, fitted.values)
    spread = np.einsum("pij,pjk,pik->pi", centre, fitted.covariance, centre)
    scores = expit(leads)
    return scores, scores * (1 - scores) * np.sqrt(np.maximum(spread, 0))


def _majorities(votes: Votes) -> tuple[Floats, Floats]:
    """Each response's share of the others that most raters hold it above; a tie is half of one.

    The error is that of its mean share of votes, each pair's being binomial with one vote more either way.
    """
    wins = np.zeros((len(votes.counts), votes.width, votes.width))
    np.add.at(wins, (votes.prompt, votes.better, votes.worse), votes.weight)
    losses = wins.transpose(0, 2, 1)
    met = wins + losses > 0
    ahead = np.where(met, (np.sign((wins - losses).round(9)) + 1) / 2, 0)
    opponents = np.maximum(met.sum(2), 1)
    share = (wins + 1) / (wins + losses + 2)
    variance = np.where(met, share * (1 - share) / (wins + losses + 2), 0)
    return ahead.sum(2) / opponents, np.sqrt(variance.sum(2)) / opponents
