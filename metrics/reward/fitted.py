"""A reward model fitted on a pool's own scores: a linear head on the base model's frozen features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from base.errors import RewardError
from base.files import write_whole
from metrics.config import RewardConfig
from metrics.reward.base import RewardSource, check_pairs, checked_scores
from metrics.reward.bradley_terry import (
    Matrix,
    Vector,
    accuracy,
    cross_fit,
    fit,
    pairs_of,
)
from metrics.reward.features import Features, Progress
from pools.types import Example, Prompt

WEIGHTS_FILE = "head.safetensors"
FACTS_FILE = "head.json"
TRUSTED_ACCURACY = 0.6
_PROBE = (Prompt("Name three colours of the rainbow."), "Red, green and violet.")
_PROBE_LIKENESS = 0.95  # rounding on another device leaves 0.999, another model far less
_WINDOW_FIELDS = ("max_prompt_tokens", "max_response_tokens")


@dataclass(frozen=True)
class FittedReport:
    """How often a fitted head ranks the better of two answers first, on prompts that it was not fitted on.

    `accuracy` is over `pairs` pairs of unequal scores from `prompts` prompts, each scored by a head fitted
    on other prompts; `accuracy_se` counts prompts, not pairs, as independent. `length_accuracy` is that of
    "the longer answer is better". `warning` is empty unless the head should not be trusted.
    """

    prompts: int
    pairs: int
    accuracy: float
    accuracy_se: float
    length_accuracy: float
    l2: float
    warning: str


class FittedReward:
    """Sigmoid of the head's value, which has mean 0 and standard deviation 1 over the answers of the fit.

    Reads an artifact of `fit_reward_model`, and needs the base model whose features that head was fitted on;
    raises `RewardError` where files are missing or the base model is another.
    """

    def __init__(self, artifact: Path, *, base_model: str, config: RewardConfig, device: str) -> None:
        weights, probe, facts = _read(artifact)
        window = {field: facts[field] for field in _WINDOW_FIELDS}
        self._features = Features(base_model, config=config.model_copy(update=window), device=device)
        self._weights, self._bias = weights, float(facts["bias"])
        self._check_base_model(artifact, base_model, probe)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """See `RewardModel.score`."""
        check_pairs(prompts, responses)
        values = self._features(prompts, responses) @ self._weights + self._bias
        return checked_scores(expit(values).tolist(), expected=len(prompts))

    def _check_base_model(self, artifact: Path, base_model: str, probe: Matrix) -> None:
        if self._features.width != len(self._weights):
            raise RewardError(
                f"the head in {artifact} reads {len(self._weights)} features, "
                f"but {base_model!r} has {self._features.width}; it was fitted on another base model"
            )
        likeness = float(np.corrcoef(_probe(self._features), probe)[0, 1])
        if not likeness > _PROBE_LIKENESS:
            raise RewardError(
                f"the features of {base_model!r} correlate at {likeness:.2f} with those that the head in "
                f"{artifact} was fitted on; it was fitted on another base model"
            )


def load(config: RewardConfig, source: RewardSource) -> FittedReward:
    """The head in `source.artifact`; RewardError where none has been fitted yet."""
    if source.artifact is None:
        raise RewardError('reward.kind is "fitted" but no head has been fitted yet: there is no artifact')
    return FittedReward(source.artifact, base_model=source.base_model, config=config, device=source.device)


class FitSample(NamedTuple):
    """The prompts that a head is fitted on, and the generator that draws the folds next."""

    examples: Sequence[Example]
    rng: np.random.Generator


def fit_sample(examples: Sequence[Example], config: RewardConfig, *, seed: int) -> FitSample:
    """At most `config.fit_prompts` of those examples that have responses with unequal scores.

    Raises `RewardError` where there are fewer than two a fold. Only those drawn are kept in memory.
    """
    rng = np.random.default_rng(seed)
    unequal = (
        len({response.score for response in example.responses}) > 1 and example.compared != ()
        for example in examples
    )
    usable = np.flatnonzero(np.fromiter(unequal, np.bool_, len(examples)))
    needed = 2 * config.fit_folds
    if len(usable) < needed:
        raise RewardError(
            f"{len(usable)} of {len(examples)} train prompts have answers with unequal scores; "
            f'reward.kind "fitted" needs at least {needed} with reward.fit_folds {config.fit_folds}'
        )
    drawn = rng.permutation(len(usable))[: config.fit_prompts]
    return FitSample([examples[int(index)] for index in usable[drawn]], rng)


def fit_reward_model(
    sample: FitSample,
    *,
    base_model: str,
    directory: Path,
    config: RewardConfig,
    device: str,
    progress: Progress | None = None,
) -> FittedReport:
    """Fit a Bradley-Terry head on the scores of a sample and write it to `directory` (no pickle).

    `base_model` is a local directory or a hub id. Features are the whole cost: one forward pass over each
    answer, cut to the configured window; `progress` is called with the number of answers read after each
    batch. The report's accuracy is cross-fitted; the head that is written is fitted on all prompts drawn.
    """
    drawn, rng = sample
    prompts = [example.prompt for example in drawn for _ in example.responses]
    texts = [response.text for example in drawn for response in example.responses]
    scores = [[response.score for response in example.responses] for example in drawn]
    pairs = pairs_of(scores, [example.compared for example in drawn])
    extract = Features(base_model, config=config, device=device)
    features = extract(prompts, texts, progress)
    standard, scale = _standardised(features)
    values, l2 = cross_fit(standard, pairs, folds=config.fit_folds, rng=rng)
    raw, bias = _unit_spread(features, fit(standard, pairs, l2=l2) / scale)
    share, error = accuracy(values, pairs)
    report = FittedReport(
        prompts=len(drawn),
        pairs=len(pairs),
        accuracy=share,
        accuracy_se=error,
        length_accuracy=accuracy(np.array([len(text) for text in texts]), pairs)[0],
        l2=l2,
        warning=_warning(share),
    )
    facts = {"bias": bias, "base_model": base_model, "report": asdict(report)}
    facts |= {field: getattr(config, field) for field in _WINDOW_FIELDS}
    _write(directory, {"weights": raw, "probe": _probe(extract)}, facts)
    return report


def _standardised(features: Matrix) -> tuple[Vector, Vector]:
    """Features with mean 0 and standard deviation 1, in float64, and what each was divided by."""
    exact = features.astype(np.float64)
    spread = exact.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    return (exact - exact.mean(0)) / scale, scale


def _warning(share: float) -> str:
    if share >= TRUSTED_ACCURACY:
        return ""
    return (
        f"the fitted reward ranks the better of two answers first in only {share:.1%} of unseen pairs "
        f"(0.5 is chance, {TRUSTED_ACCURACY} the minimum to trust): its rewards say little about quality"
    )


def _unit_spread(features: Matrix, weights: Vector) -> tuple[Vector, float]:
    """Weights and bias that give the values of `features` mean 0 and standard deviation 1."""
    values = features @ weights
    spread = float(values.std()) or 1.0
    return weights / spread, -float(values.mean()) / spread


def _probe(features: Features) -> Matrix:
    """[F]: the base model's features of one fixed answer, which identify the model."""
    probe: Matrix = features([_PROBE[0]], [_PROBE[1]])[0]
    return probe


def _write(directory: Path, tensors: dict[str, Any], facts: dict[str, Any]) -> None:
    from safetensors.numpy import save

    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / WEIGHTS_FILE, save(tensors))
    write_whole(directory / FACTS_FILE, json.dumps(facts, indent=2) + "\n")


def _read(directory: Path) -> tuple[Vector, Matrix, dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        facts: dict[str, Any] = json.loads((directory / FACTS_FILE).read_text(encoding="utf-8"))
        tensors = load_file(directory / WEIGHTS_FILE)
        float(facts["bias"]), *(int(facts[field]) for field in _WINDOW_FIELDS)
        return tensors["weights"], tensors["probe"], facts
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RewardError(f"{directory} holds no readable fitted reward: {reason}") from error
