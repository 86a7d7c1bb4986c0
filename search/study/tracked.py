"""A study's folder as the runs that a tracker shows of it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from search.config.study import StudyConfig
from search.config.transfer import MODEL
from search.fit.length_control import control_length
from search.study.earlier import without
from search.study.folder import StudyFolder, saved_policies
from search.tracking.config import TrackingConfig, redact, tracking_uri, where_to_look
from search.tracking.mlflow_tracker import MlflowTracker, log_file, write
from search.tracking.projection import Projection
from search.tracking.saved_view import colour
from search.tracking.system_metrics import SystemMetrics, samples
from search.tracking.tracker import (
    STUDY,
    Dataset,
    MemoryTracker,
    SavedPolicy,
    Scalar,
    Status,
    StepPoint,
    TrackedRun,
)
from search.trials.attempts import Attempt, Attempts, read_attempts
from search.trials.design_point import Trial, digest
from search.trials.record import TrialRecord
from trainers.spec import SeedResult
from trainers.training.telemetry import summed

LENGTH_CONTROLLED = "reward_length_controlled"
RESULTS = (
    "recommendation.json",
    "fit.json",
    "trials.csv",
    "transfer.csv",
    "report.html",
    "plots",
    "config.yaml",
)


def open_study(folder: StudyFolder, tracking: TrackingConfig, identity: str, dataset: Dataset) -> None:
    """Note in the folder what a tracker shows of the study as a whole, now that it begins or goes on."""
    kept = folder.read_json("study.json") or {}
    before = kept.get("started_ms") if kept.get("identity") == identity else None
    folder.note_study(
        identity=identity,
        started_ms=before or int(time.time() * 1000),
        status="RUNNING",
        pool={**vars(dataset), "source": redact(dataset.source)},
        tracked_at=redact(tracking_uri(tracking, folder.path)),
    )


def close_study(folder: StudyFolder, status: Status) -> None:
    """Note how the study ended."""
    began = (folder.read_json("study.json") or {}).get("started_ms", 0)
    folder.note_study(status=status, ended_ms=max(began, int(time.time() * 1000)))


@contextmanager
def tracked(
    folder: StudyFolder, config: StudyConfig, identity: str, dataset: Dataset
) -> Iterator[tuple[Projection, Attempts]]:
    """Track the study while the block runs; it ends as FINISHED, FAILED or, when interrupted, KILLED."""
    attempts = settle(folder, identity)
    open_study(folder, config.tracking, identity, dataset)
    projection = follow(folder, config, held=True)
    projection.changed()
    status: Status = "FAILED"
    try:
        with _sampled(folder, config.tracking, projection):
            yield projection, attempts
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        attempts.stop()
        with suppress(OSError):  # a full disk has told its own error by now
            close_study(folder, status)
        projection.changed()
        projection.close(config.tracking.close_timeout)


@contextmanager
def _sampled(folder: StudyFolder, config: TrackingConfig, projection: Projection) -> Iterator[None]:
    """Sample the use of the machine meanwhile, where that is asked for."""
    if config.uri == "none" or not config.log_system_metrics:
        yield
        return
    sampler = SystemMetrics(folder.samples, config.system_metrics_interval, projection.changed)
    sampler.start()
    try:
        yield
    finally:
        sampler.stop.set()


class StudyRuns:
    """Reads a folder, each time it is called, as the study's run and those of its trials.

    A pure function of `study.json`, `base.json`, `trials/`, `attempts/` and the results. A trial's file is
    read again only where it has changed.
    """

    def __init__(self, folder: StudyFolder, config: StudyConfig) -> None:
        self._folder, self._config = folder, config
        self._kept: dict[str, tuple[Any, TrackedRun]] = {}

    def __call__(self) -> list[TrackedRun]:
        study = self._folder.read_json("study.json") or {}
        kept = self._folder.base(study["identity"])
        base = kept["base"]["reward"] if kept else None
        dataset = Dataset(**study["pool"])
        attempts = read_attempts(self._folder.attempts, study["identity"])
        done = {path.stem: path for path in sorted(self._folder.trials.glob("*.json"))}
        started = [one for one in attempts.values() if one.state != "PLANNED" and one.key not in done]
        trials = [
            *(self._finished(path, attempts.get(key), dataset, base) for key, path in done.items()),
            *(_unfinished(one, self._config.name, dataset) for one in started),
            *(
                _earlier(one, self._config.name, dataset, study["started_ms"], base)
                for one in self._earlier()
            ),
        ]
        if study["status"] == "FINISHED":
            trials = self._length_controlled(self._with_best_policy(trials), kept)
        return [self._study(study, base, dataset), *sorted(trials, key=lambda run: run.started_ms)]

    def _study(self, study: Mapping[str, Any], base: float | None, dataset: Dataset) -> TrackedRun:
        config, over = self._config, study["status"] == "FINISHED"
        files = [self._folder.path / name for name in RESULTS]
        return TrackedRun(
            key=STUDY,
            name=config.name,
            status=study["status"],
            started_ms=study["started_ms"],
            ended_ms=None if study["status"] == "RUNNING" else study["ended_ms"],
            params=study_params(config),
            tags={"pool": dataset.name, "model": config.model.name, "identity": study["identity"]},
            metrics={"base_reward": base},
            dataset=dataset,
            files=[path for path in files if over and path.exists()],
        )

    def _earlier(self) -> list[TrialRecord]:
        """Trials made elsewhere; a training that this study has made too is shown as its own."""
        earlier = self._folder.earlier()
        return without(earlier, self._folder.records().values()) if earlier else []

    def _with_best_policy(self, trials: list[TrackedRun]) -> list[TrackedRun]:
        """The trials, the best one of them with its policy where the configuration has it registered."""
        name = self._config.tracking.register_as
        if not name or not (saved := saved_policies(self._folder.records().values())):
            return trials
        best, location = saved[-1]
        policy = SavedPolicy(location=location, name=name)
        return [replace(run, policy=policy) if run.key == best else run for run in trials]

    def _length_controlled(self, trials: list[TrackedRun], kept: dict[str, Any] | None) -> list[TrackedRun]:
        """The trials with their length-controlled rewards, which depend on all of them together.

        As a step at the time of the newest: a tracker shows the latest value, also after the study went on.
        """
        base = SeedResult.from_dict(kept["base"]) if kept and "answers" in kept["base"] else None
        if (found := control_length(list(self._folder.records().values()), base)) is None:
            return trials
        newest = max(self._folder.finished().values())
        steps = {
            trial: StepPoint(step=0, metrics={LENGTH_CONTROLLED: fmean(rewards)}, timestamp_ms=newest)
            for trial, rewards in found.rewards.items()
        }
        return [
            replace(run, steps=[*run.steps, steps[run.key]]) if run.key in steps else run for run in trials
        ]

    def _finished(
        self, path: Path, attempt: Attempt | None, dataset: Dataset, base: float | None
    ) -> TrackedRun:
        written = path.stat()
        stamp = (written.st_mtime_ns, written.st_size, attempt, base)
        if path.stem not in self._kept or self._kept[path.stem][0] != stamp:
            record = self._folder.record(path.stem)
            ended = written.st_mtime_ns // 1_000_000
            began = ended - int(record.seconds * 1000)
            if attempt:
                began, ended = attempt.started_ms, attempt.ended_ms or max(ended, attempt.started_ms)
            run = _finished(record, self._config.name, dataset, base, began, ended)
            self._kept[path.stem] = stamp, run
        return self._kept[path.stem][1]


def study_params(config: StudyConfig) -> dict[str, Scalar]:
    """The study's settings that are compared between studies."""
    return {
        "budget": config.budget,
        "unit": config.cost.unit,
        "seed": config.seed,
        "model": config.model.name,
        "algorithm": config.trainer.algorithm.name,
        config.trainer.matching: getattr(config.trainer, config.trainer.matching),
        "reward": config.reward.kind,
    }


def settle(folder: StudyFolder, identity: str) -> Attempts:
    """The folder's attempts, of which none runs any more; nor does the study, should it say so."""
    attempts, study = Attempts(folder.attempts, identity), folder.read_json("study.json") or {}
    attempts.settle(folder.finished())
    if study.get("status") == "RUNNING":
        ends = [one.ended_ms or one.started_ms for one in attempts.all().values()]
        folder.note_study(status="KILLED", ended_ms=max([study["started_ms"], *ends]))
    return attempts


def follow(folder: StudyFolder, config: StudyConfig, *, held: bool = False) -> Projection:
    """Bring the tracker in line with the study in `folder`, which `open_study` has noted, from now on.

    Returns at once: MLflow is imported in a background thread, by a `held` projection not before its release.
    """
    if config.tracking.uri == "none":
        memory = MemoryTracker()
        return Projection(tuple, lambda: memory, target="memory", where=memory.where())
    uri, study = tracking_uri(config.tracking, folder.path), folder.read_json("study.json") or {}
    folder.logs.mkdir(exist_ok=True)
    log = log_file(folder.logs / "mlflow.log")
    served = uri.startswith("http") or uri == "databricks"
    tracker = partial(
        MlflowTracker,
        uri,
        study=digest({"identity": study["identity"], "started_ms": study["started_ms"]}),
        experiment=config.tracking.experiment or config.name,
        artifacts=None if served else (folder.path / "mlartifacts").as_uri(),
        log=log,
    )
    return Projection(
        StudyRuns(folder, config),
        tracker,
        target=redact(uri),
        where=where_to_look(uri),
        samples=partial(samples, folder.samples),
        note=partial(write, log),
        held=held,
        retry="Resuming the study brings them there; so does: "
        + shlex.join(["apportion", "sync", str(folder.path)]),
    )


def _finished(
    record: TrialRecord, study: str, dataset: Dataset | None, base: float | None, began: int, ended: int
) -> TrackedRun:
    trial = Trial(record.point, record.seeds)
    return TrackedRun(
        key=record.trial,
        name=trial.label,
        status="FINISHED",
        started_ms=began,
        ended_ms=ended,
        params=_params(trial),
        tags=_tags(trial, study),
        metrics=_metrics(record, base) | summed(result.telemetry for result in record.results),
        steps=[point for one in record.results for point in _steps(one.seed, one.history, began)],
        dataset=dataset,
        colour=colour(record.responses),
    )


def _earlier(record: TrialRecord, study: str, dataset: Dataset, began: int, base: float | None) -> TrackedRun:
    """A trial made elsewhere, at the time when this study began: when it was trained is not known here.

    Its pool is this study's, or else it would have been refused; a group of its own may have any other.
    """
    run = _finished(record, study, None if record.group else dataset, base, began, began)
    source = ", ".join(dict.fromkeys(record.earlier.values()))
    group = {"group": record.group} if record.group else {}
    return replace(run, key=f"{source}: {record.trial}", tags={**run.tags, "earlier": source, **group})


def _unfinished(attempt: Attempt, study: str, dataset: Dataset) -> TrackedRun:
    """A trial without a record: it runs, has failed, or was killed."""
    assert attempt.state != "PLANNED"
    return TrackedRun(
        key=attempt.key,
        name=attempt.trial.label,
        status=attempt.state,
        started_ms=attempt.started_ms,
        ended_ms=attempt.ended_ms,
        params=_params(attempt.trial),
        tags=_tags(attempt.trial, study),
        steps=[
            point
            for curve in attempt.curves
            for point in _steps(curve.seed, curve.history, attempt.started_ms)
        ],
        dataset=dataset,
        colour=colour(attempt.trial.point.responses),
    )


LABELLED = ("raters", "agreement", "human_share")


def _tags(trial: Trial, study: str) -> dict[str, str]:
    point = trial.point
    words = {name: value for name, value in point.hyperparameters if isinstance(value, str)}
    transfer = {"transfer": point.transfer} if point.transfer else {}
    return {
        "study": study,
        "selection": point.selection,
        "response_choice": point.response_choice,
        **words,
        **transfer,
    }


def _params(trial: Trial) -> dict[str, Scalar]:
    """Numbers alone: MLflow's parallel coordinates leave out a parameter that is a word somewhere."""
    point = trial.point
    numbers = {name: value for name, value in point.hyperparameters if not isinstance(value, str)}
    return {
        **numbers,
        "prompts": point.prompts,
        "responses": point.responses,
        "budget_fraction": point.budget_fraction or 0.0,
        "strength": point.strength,
        "seeds": len(trial.seeds),
        **{name: value for name in LABELLED if (value := getattr(point, name)) is not None},
    }


def _metrics(record: TrialRecord, base_reward: float | None) -> dict[str, float | None]:
    return {
        "reward": record.reward,
        "reward_se": record.reward_se,
        "diversity": record.diversity,
        "cost": record.cost,
        "seconds": record.seconds,
        # Of another model the base model's reward is not known.
        "lift": None
        if base_reward is None or MODEL in record.hyperparameters
        else record.reward - base_reward,
        **{f"baseline.{name}": value for name, value in record.baselines.items()},
        **{f"domain.{name}": value for name, value in record.domain_rewards.items()},
        # By place in the configuration: not all names of models are names that a metric may have.
        **{
            f"further_reward.{place}": value for place, value in enumerate(record.further_rewards.values(), 1)
        },
    }


def _steps(seed: int, history: Sequence[Mapping[str, float]], began: int) -> list[StepPoint]:
    """Timestamps are the trial's start, so that a point is the same whenever it is sent."""
    return [
        StepPoint(
            step=int(row["step"]),
            metrics={f"seed_{seed}.{name}": value for name, value in row.items() if name != "step"},
            timestamp_ms=began,
        )
        for row in history
    ]
