"""The shape of reward over splits in one study: four numbers, and what its trials say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.config.cost import Split
from search.fit.models import doublings
from search.prior.past_studies import PastStudy
from search.trials.record import TrialRecord

Floats = NDArray[np.float64]

# reward = level + doubling * L + responses * K + interaction * L * K (`search.fit.models.doublings`).
NAMES = ("level", "gain per doubling of prompts", "gain per doubling of responses", "interaction")
# A study's own residuals count against the noise of all studies as if that had so many degrees of freedom.
SHARED_DF = 4.0
# Spread of one seed's reward where no study measures any.
USUAL_DEVIATION = 0.01


def rows(splits: Sequence[Split]) -> Floats:
    """Rows [splits, 4] that turn the four numbers of a study into expected rewards."""
    pairs = np.array([(split.prompts, split.responses) for split in splits], float).reshape(-1, 2)
    return doublings(pairs[:, 0], pairs[:, 1])


@dataclass(frozen=True, eq=False)
class Evidence:
    """What trials say of a study's four numbers, as a normal likelihood in information form.

    `precision` [4, 4] = X'WX / s^2 and `weighted` [4] = X'Wy / s^2, where trial i weighs W_i seeds and s^2 is
    the variance of one seed. Trials that do not identify a number leave `precision` singular.
    """

    precision: Floats
    weighted: Floats
    seed_variance: float


def evidence(study: PastStudy, seed_variance: float, *, over_base: bool = False) -> Evidence:
    """The evidence of one study, given the variance of one seed.

    With `over_base` rewards are lifts over the base model; a study whose base reward is not known then says
    nothing of the level, and as much as ever of the rest.
    """
    x, y, seeds = _arrays(study)
    if over_base and study.base_reward is None:
        return _without_level(x, y, seeds, seed_variance)
    shift = study.base_reward if over_base and study.base_reward is not None else 0.0
    return _evidence(x, y - shift, seeds, seed_variance)


def trials_evidence(records: Sequence[TrialRecord], seed_variance: float) -> Evidence:
    """The evidence of the trials of a study that is not over."""
    study = PastStudy("", "", tuple(record for record in records if record.selection == "random"))
    return _evidence(*_arrays(study), seed_variance)


def _evidence(x: Floats, y: Floats, seeds: Floats, seed_variance: float) -> Evidence:
    weighted = x.T * (seeds / seed_variance)
    return Evidence(weighted @ x, weighted @ y, seed_variance)


def _without_level(x: Floats, y: Floats, seeds: Floats, seed_variance: float) -> Evidence:
    """The level integrated out under a flat prior: the Schur complement of its row and column."""
    full = _evidence(x, y, seeds, seed_variance)
    cross = full.precision[:, 0] / full.precision[0, 0]
    return Evidence(
        full.precision - np.outer(cross, full.precision[0]),
        full.weighted - cross * full.weighted[0],
        seed_variance,
    )


def _arrays(study: PastStudy) -> tuple[Floats, Floats, Floats]:
    x = rows([record.split for record in study.records])
    y = np.array([record.reward for record in study.records])
    return x, y, np.array([len(record.rewards) * study.averaged for record in study.records], float)


def seed_variances(studies: Sequence[PastStudy]) -> list[float]:
    """Variance of one seed's reward about the shape, for each study.

    Scatter of seeds and residuals of the shape together, drawn towards the geometric mean of all studies.
    """
    found = [_residual(study) for study in studies]
    known = [squares / df for squares, df in found if df > 0 and squares > 0]
    shared = float(np.exp(np.mean(np.log(known)))) if known else USUAL_DEVIATION**2
    return [(squares + SHARED_DF * shared) / (df + SHARED_DF) for squares, df in found]


def _residual(study: PastStudy) -> tuple[float, float]:
    """(sum of squares in units of one seed, degrees of freedom) about the study's own least-squares shape."""
    x, y, seeds = _arrays(study)
    root = np.sqrt(seeds)
    solved, _, rank, _ = np.linalg.lstsq(x * root[:, None], y * root, rcond=1e-9)
    residual = float(np.sum(seeds * (y - x @ solved) ** 2))
    within = sum(float(np.sum((np.array(r.rewards) - r.reward) ** 2)) for r in study.records)
    return residual + within * study.averaged, float(
        len(y) - rank + sum(len(r.rewards) - 1 for r in study.records)
    )
