"""The what-if panel of the report: budget, prices and limits move, the answer is redrawn in the page.

The page computes what `apportion recommend` computes, from the same models: their designs over the numbers of
prompts, their mean coefficients, and joint draws of the coefficients and of the lack of fit. Means are those
of the fit; intervals and probabilities come from the draws.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2, norm, qmc

from pools.response_choice import BY_JUDGE
from search.advice.recommendation import Recommendation
from search.config.cost import Labelling
from search.fit.ensemble import NEGLIGIBLE, Ensemble
from search.fit.fit import Fit
from search.fit.least_squares import Solution
from search.fit.models import Points
from search.fit.observations import BEYOND, Floats, labellings
from search.fit.question import Question, fewest_prompts, points, tried_splits

DRAWS = 4096  # a power of two, for Sobol's sequence
# Numbers of prompts at which designs are kept: up to so many times the most tried, in steps of this ratio.
REACH, STEP = 1000, 1.12
HERE = Path(__file__).parent


def panel(fit: Fit, question: Question, answer: Recommendation) -> str:
    """The panel as HTML with its own style, script and data; empty where the trials identify no line."""
    if fit.ensemble is None:
        return ""
    data = _payload(fit, fit.ensemble, question, answer)
    page = _text("what_if.html")
    for name, part in {
        "{{style}}": _text("vendor/uPlot.min.css") + _text("what_if.css"),
        "{{plot}}": _text("vendor/uPlot.iife.min.js"),
        "{{script}}": _text("what_if.js"),
        "{{unit}}": escape(question.cost_model.unit),
        "{{labelling}}": _labelling(answer),
        "{{data}}": json.dumps(data).replace("<", "\\u003c"),
    }.items():
        page = page.replace(name, part)
    return page


def _labelling(answer: Recommendation) -> str:
    """Whose labels these are, and that the panel keeps the recommended way of labelling; "" for the plain."""
    if not answer.labelling:
        return ""
    kept = "Rewards here are those of the recommended way of labelling; other raters change the price alone."
    return escape(f" {answer.labelling} {kept}")


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _payload(fit: Fit, ensemble: Ensemble, question: Question, answer: Recommendation) -> dict[str, Any]:
    responses, sizes = question.known(fit), _sizes(fit, question)
    return {
        "budget": answer.budget,
        "cost": question.cost_model.model_dump(mode="json")
        | ({} if answer.best.raters is None else {"raters": answer.best.raters}),
        "judged": _judged(answer.best.labelling),
        "max_prompts": question.max_prompts,
        "margin": answer.margin,
        "bounds": [b if np.isfinite(b) else None for b in (fit.scale.low, fit.scale.high)],
        "decimals": fit.scale.decimals,
        "responses": responses,
        "tried": {
            "prompts": float(fit.observed.prompts.max()),
            "fewest": float(fit.observed.prompts.min()),
            "fewest_by_responses": list(fewest_prompts(fit.observed, responses).values()),
            "splits": _tried(fit, ensemble, question, responses, answer.best.labelling),
            "beyond": BEYOND,
            "diversity": float(fit.observed.diversity.max()),
            "responses": [int(k) for k in fit.observed.levels],
        },
        "sizes": _packed(np.log(sizes)),
        "diversity": _packed(np.array([question.curve.at(n) for n in sizes])),
        **_models(ensemble, question, responses, sizes, answer.best.labelling),
    }


def _judged(labelling: Labelling) -> dict[str, Any]:
    """What `CostModel.cost_per_prompt` needs of a labelling: people's share, and what a judge scores."""
    share = 1 if labelling.human_share is None else labelling.human_share
    return {"human": share, "labels": share < 1, "chosen_by": labelling.response_choice in BY_JUDGE}


def _tried(
    fit: Fit, ensemble: Ensemble, question: Question, responses: list[int], labelling: Labelling
) -> list[list[float]]:
    """[prompts, responses, seeds, reward] of every split tried with random prompts, labelled so, in order.

    Seeds are those that speak for the split beside the models, as in `Ensemble.forecast`.
    """
    tried = tried_splits(fit.observed)
    splits = [split for split in tried if split.responses in responses and split.labelling == labelling]
    own = ensemble.own(points(splits, question.curve))
    return [[s.prompts, s.responses, *map(float, said)] for s, *said in zip(splits, *own, strict=True)]


def _sizes(fit: Fit, question: Question) -> Floats:
    """Even steps in log prompts, and the curve's own points, between which D is a line in log prompts."""
    most = float(fit.observed.prompts.max()) * REACH
    even = np.exp(np.linspace(0, np.log(most), 1 + int(np.ceil(np.log(most) / np.log(STEP)))))
    return np.unique(np.concatenate([even, np.array(question.curve.prompts, float)]))


def _models(
    ensemble: Ensemble, question: Question, responses: list[int], sizes: Floats, labelling: Labelling
) -> dict[str, Any]:
    parts = list(_parts(ensemble))
    used = sorted({number for _, number, _ in parts})
    width = max(solution.coefficients.size for *_, solution in parts)
    weights = np.array([weight for weight, *_ in parts]) / sum(weight for weight, *_ in parts)
    means = np.zeros((len(parts), width))
    for row, (_, _, solution) in enumerate(parts):
        means[row, : solution.coefficients.size] = weights[row] * solution.coefficients
    diversity = np.array([question.curve.at(n) for n in sizes])
    designs = np.zeros((len(used), len(responses), len(sizes), width))
    for row, number in enumerate(used):
        for column, k in enumerate(responses):
            same = np.full(len(sizes), float(k))
            at = Points(sizes, same, diversity, labelling=labellings([labelling] * len(sizes)))
            found = ensemble.members[number].model.design(at, ensemble.observed)
            designs[row, column, :, : found.shape[1]] = found
    chosen, coefficients, misfit = _draws(parts, weights, width)
    return {
        "width": width,
        "parts": {
            "model": [used.index(number) for _, number, _ in parts],
            "weight": list(weights),
            "ratio": [solution.ratio for *_, solution in parts],
            "mean": _packed(means, "<f8"),
        },
        "designs": _packed(designs),
        "draws": DRAWS,
        "part": _packed(chosen, "<u2"),
        "coefficients": _packed(coefficients),
        "misfit": _packed(misfit),
        "noise": _packed(np.random.default_rng(0).standard_normal(DRAWS)),
    }


def _parts(ensemble: Ensemble) -> Iterator[tuple[float, int, Solution]]:
    """(weight, number of the member, solution) of every part that the ensemble's own forecast counts."""
    for number, member in enumerate(ensemble.members):
        for solution, share in zip(member.solutions, member.shares, strict=True):
            if member.weight * share >= NEGLIGIBLE:
                yield member.weight * float(share), number, solution


def _draws(
    parts: list[tuple[float, int, Solution]], weights: Floats, width: int
) -> tuple[Floats, Floats, Floats]:
    """Joint draws: the part of each, its coefficients [draws, width], the scale of its lack of fit [draws].

    Sobol's sequence (Sobol 1967), scrambled with a fixed seed: intervals come out several times closer to
    the exact ones than with independent draws.
    """
    uniform = qmc.Sobol(2 + width, seed=0).random(DRAWS)
    uniform = np.clip(uniform, 1e-9, 1 - 1e-9)
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), uniform[:, 0]), len(parts) - 1)
    normal = norm.ppf(uniform[:, 2:])
    coefficients, misfit = np.zeros((DRAWS, width)), np.zeros(DRAWS)
    for index, (_, _, solution) in enumerate(parts):
        here = chosen == index
        heavy = np.sqrt(solution.df / chi2.ppf(uniform[here, 1], solution.df)) * solution.scale
        size = solution.coefficients.size
        values, vectors = np.linalg.eigh(solution.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        coefficients[here, :size] = solution.coefficients + heavy[:, None] * (normal[here, :size] @ root.T)
        misfit[here] = heavy * np.sqrt(solution.ratio)
    return chosen, coefficients, misfit


def _packed(values: Floats, kind: str = "<f4") -> str:
    """Numbers as base64 of little-endian binary, row by row."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
