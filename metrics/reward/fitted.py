"""A reward model fitted on a pool's own scores: a linear head on the base model's features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from base.errors import RewardError
from base.files import write_whole
from metrics.config import RewardConfig
from metrics.reward.base import RewardSource, check_pairs, checked_scores
from metrics.reward.bradley_terry import (
    CrossFit,
    Matrix,
    Vector,
    accuracy,
    cross_fit,
    fit,
    pairs_of,
)
from metrics.reward.calibration import calibrate
from metrics.reward.features import Features, Progress
from metrics.reward.low_rank import Change, apply_change
from metrics.reward.reading import Frozen, read_answers
from metrics.reward.report import FittedReport, Share, check_is_reward, warning
from metrics.reward.tuned import EPOCHS, Below, Tuner
from pools.types import Example, Prompt

WEIGHTS_FILE = "head.safetensors"
FACTS_FILE = "head.json"
ARTIFACT = (WEIGHTS_FILE, FACTS_FILE)
_FOLD, _END = "tuned-", "head"
_PROBE = (Prompt("Name three colours of the rainbow."), "Red, green and violet.")
_PROBE_LIKENESS = 0.95  # rounding on another device leaves 0.999, another model far less
_WINDOW_FIELDS = ("max_prompt_tokens", "max_response_tokens")


class FittedReward:
    """Sigmoid of the head's value, which has mean 0 and standard deviation 1 over the answers of the fit.

    Reads an artifact of `fit_reward_model`, and needs the base model whose features that head was fitted on;
    raises `RewardError` where files are missing or the base model is another.
    """

    def __init__(self, artifact: Path, *, base_model: str, config: RewardConfig, device: str) -> None:
        tensors, facts = _read(artifact)
        weights, probe = tensors.pop("weights"), tensors.pop("probe")
        window = {field: facts[field] for field in _WINDOW_FIELDS}
        self._features = Features(base_model, config=config.model_copy(update=window), device=device)
        self._weights, self._bias = weights, float(facts["bias"])
        self._check_width(artifact, base_model)
        apply_change(self._features.model, tensors)
        self._check_base_model(artifact, base_model, probe)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """See `RewardModel.score`."""
        check_pairs(prompts, responses)
        values = self._features(prompts, responses) @ self._weights + self._bias
        return checked_scores(expit(values).tolist(), expected=len(prompts))

    def _check_width(self, artifact: Path, base_model: str) -> None:
        if self._features.width != len(self._weights):
            raise RewardError(
                f"the head in {artifact} reads {len(self._weights)} features, "
                f"but {base_model!r} has {self._features.width}; it was fitted on another base model"
            )

    def _check_base_model(self, artifact: Path, base_model: str, probe: Matrix) -> None:
        likeness = float(np.corrcoef(_probe(self._features), probe)[0, 1])
        if not likeness > _PROBE_LIKENESS:
            raise RewardError(
                f"the features of {base_model!r} correlate at {likeness:.2f} with those that the head in "
                f"{artifact} was fitted on; it was fitted on another base model"
            )


def load(config: RewardConfig, source: RewardSource) -> FittedReward:
    """The head in `source.artifact`; RewardError where none was fitted, or `check_is_reward` says no."""
    if source.artifact is None:
        raise RewardError('reward.kind is "fitted" but no head has been fitted yet: there is no artifact')
    check_is_reward(read_report(source.artifact), force=config.force)
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


def stages(config: RewardConfig) -> list[str]:
    """What a fit consists of, in order: a tuned head for each fold, unless it stays frozen, and the end."""
    folds = [f"{_FOLD}{fold}" for fold in range(config.fit_folds)]
    return [*(folds if config.fit_head == "best" else []), _END]


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

    All `stages` of a `RewardFit`, one after another; those whose files are in `directory` are not repeated.
    """
    fitting = RewardFit(
        sample,
        base_model=base_model,
        directory=directory,
        config=config,
        device=device,
        progress=progress,
    )
    for stage in stages(config):
        fitting.run(stage)
    return read_report(directory)


class RewardFit:
    """A reward model being fitted: each stage leaves its files in `directory`, which is of this fit alone.

    `base_model` is a local directory or a hub id. A linear head is fitted on frozen features; unless
    `config.fit_head` is "frozen", the last layers under it are tuned as well, and whichever head orders more
    of the unseen pairs is written. Both are cross-fitted on the same folds; what is written is fitted on
    all prompts drawn. `progress` is called with the number of answers read, or trained on, after each batch;
    `answers` is how many there will be. Raises RewardError where the model cannot be loaded.
    """

    def __init__(
        self,
        sample: FitSample,
        *,
        base_model: str,
        directory: Path,
        config: RewardConfig,
        device: str,
        progress: Progress | None = None,
    ) -> None:
        self._drawn, self._rng = sample
        self._base_model, self._directory = base_model, directory
        self._config, self._device = config, device
        self._progress: Progress = progress or (lambda _: None)
        self._texts = [response.text for example in self._drawn for response in example.responses]
        scores = [[response.score for response in example.responses] for example in self._drawn]
        self._pairs = pairs_of(scores, [example.compared for example in self._drawn])

    @property
    def answers(self) -> int:
        """The most answers of which `progress` will tell, counted as often as they are read."""
        once, folds = len(self._texts), self._config.fit_folds
        return once if self._config.fit_head == "frozen" else once * (1 + EPOCHS * folds)

    def run(self, stage: str) -> None:
        """Do one stage, unless that is done."""
        if self.done(stage):
            return
        if stage == _END:
            self._finish()
        else:
            self._tune_fold(int(stage.removeprefix(_FOLD)), self._fold_file(stage))

    def done(self, stage: str) -> bool:
        """Whether the stage's files are there."""
        return (self._directory / FACTS_FILE if stage == _END else self._fold_file(stage)).exists()

    def _tune_fold(self, number: int, path: Path) -> None:
        """Tune on the other folds' pairs; keep the values of this fold's rows.

        Those of the frozen head where it is not known how the model keeps its layers.
        """
        fold, rows = self._linear.folds[number], self._linear.folds[number].left_out.rows
        head = fold.weights / self._frozen.scale
        if not self._features.layers:
            _save(path, {"rows": rows, "values": self._linear.values[rows]})
            return
        with self._tuner.fitted(fold.rest, head, seed=self._seed + number + 1, progress=self._progress):
            _save(path, {"rows": rows, "values": self._tuner.values(rows, head)})

    def _finish(self) -> None:
        """Choose between the heads, fit the better one on all prompts, and write it with its report."""
        found = {"frozen": self._linear.values}
        if self._config.fit_head == "best":
            found["tuned"] = self._tuned_values()
        shares = {name: accuracy(values, self._pairs)[0] for name, values in found.items()}
        best = max(shares, key=lambda name: shares[name])
        weights = fit(self._frozen.standard, self._pairs, l2=self._linear.l2) / self._frozen.scale
        if best == "frozen":
            self._write(best, weights, self._frozen.features @ weights, {}, found[best], shares)
            return
        with self._tuner.fitted(self._pairs, weights, seed=self._seed, progress=self._progress) as tuned:
            values = self._tuner.values(np.arange(len(self._texts)), weights)
            self._write(best, weights, values, tuned.change(), found[best], shares)

    def _write(
        self,
        head: str,
        weights: Vector,
        values: Vector,
        change: Change,
        unseen: Vector,
        shares: Mapping[str, float],
    ) -> None:
        """Write the head, scaled so that the `values` of its own answers have mean 0 and deviation 1.

        `unseen` are the values by heads that were fitted on other prompts.
        """
        spread = float(values.std()) or 1.0
        report = self._report(head, unseen, shares, spread)
        facts = {"bias": -float(values.mean()) / spread, "base_model": self._base_model}
        facts |= {"report": asdict(report)}
        facts |= {field: getattr(self._config, field) for field in _WINDOW_FIELDS}
        tensors = {"weights": weights / spread, "probe": _probe(self._features), **change}
        _save(self._directory / WEIGHTS_FILE, tensors)
        write_whole(self._directory / FACTS_FILE, json.dumps(facts, indent=2) + "\n")

    def _report(self, head: str, unseen: Vector, shares: Mapping[str, float], spread: float) -> FittedReport:
        share, error = accuracy(unseen, self._pairs)
        lengths = np.array([len(text) for text in self._texts])
        parts = [fold.left_out for fold in self._linear.folds]
        known = calibrate([unseen[part.better] - unseen[part.worse] for part in parts])
        return FittedReport(
            head=head,
            prompts=len(self._drawn),
            pairs=len(self._pairs),
            accuracy=share,
            accuracy_se=error,
            length_accuracy=accuracy(lengths, self._pairs)[0],
            l2=self._linear.l2,
            warning=warning(share),
            frozen_accuracy=shares["frozen"],
            tuned_accuracy=shares.get("tuned"),
            temperature=known.temperature / spread,
            log_loss=known.log_loss,
            calibration_error=known.error,
            domains=self._domains(unseen, lengths),
        )

    def _domains(self, unseen: Vector, lengths: Vector) -> dict[str, Share]:
        """Both accuracies in each domain of the prompts; none where there is but one."""
        domains = np.array([example.prompt.domain or "other" for example in self._drawn])
        of_pairs = domains[self._pairs.prompt]
        names = np.unique(of_pairs)
        if len(names) < 2:
            return {}
        parts = {str(name): self._pairs.where(of_pairs == name) for name in names}
        return {
            name: Share(len(part), accuracy(unseen, part)[0], accuracy(lengths, part)[0])
            for name, part in parts.items()
        }

    def _tuned_values(self) -> Vector:
        """Each row's value by the layers that were tuned on other prompts; 0 for rows without a pair."""
        values = np.zeros(len(self._texts))
        for stage in stages(self._config):
            if stage != _END:
                tensors = _load_tensors(self._fold_file(stage))
                values[tensors["rows"]] = tensors["values"]
        return values

    def _fold_file(self, stage: str) -> Path:
        return self._directory / f"{stage}.safetensors"

    # read once, whichever stage comes first

    @cached_property
    def _features(self) -> Features:
        return Features(self._base_model, config=self._config, device=self._device)

    @cached_property
    def _below(self) -> Below:
        below = Below(self._features.layers)
        with below.recorded():
            _probe(self._features)  # a first sight of what the layers return
        return below

    @cached_property
    def _frozen(self) -> Frozen:
        prompts = [example.prompt for example in self._drawn for _ in example.responses]
        rows = self._features.rows(prompts, self._texts)
        return read_answers(
            self._features,
            rows,
            below=self._below,
            folder=self._directory,
            progress=self._progress,
            keep=self._config.fit_head == "best",
        )

    @cached_property
    def _linear(self) -> CrossFit:
        return cross_fit(self._frozen.standard, self._pairs, folds=self._config.fit_folds, rng=self._rng)

    @cached_property
    def _seed(self) -> int:
        """Of the tuning: drawn after the folds, so that a fit that resumes draws the same."""
        assert self._linear is not None
        return int(self._rng.integers(2**31))

    @cached_property
    def _tuner(self) -> Tuner:
        return Tuner(self._features, self._below, self._frozen.rows, self._frozen.states)


def read_report(directory: Path) -> FittedReport:
    """The report of the head in `directory`."""
    facts = _read(directory)[1]
    return FittedReport.from_dict(facts["report"])


def _probe(features: Features) -> Matrix:
    """[F]: the base model's features of one fixed answer, which identify the model."""
    probe: Matrix = features([_PROBE[0]], [_PROBE[1]])[0]
    return probe


def _save(path: Path, tensors: Mapping[str, Any]) -> None:
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(dict(tensors)))


def _load_tensors(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path)


def _read(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of the head in `directory`, and its facts."""
    from safetensors import SafetensorError

    try:
        facts: dict[str, Any] = json.loads((directory / FACTS_FILE).read_text(encoding="utf-8"))
        tensors = _load_tensors(directory / WEIGHTS_FILE)
        float(facts["bias"]), *(int(facts[field]) for field in _WINDOW_FIELDS)
        _ = tensors["weights"], tensors["probe"]
        return tensors, facts
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise RewardError(f"{directory} holds no readable fitted reward: {reason}") from error
