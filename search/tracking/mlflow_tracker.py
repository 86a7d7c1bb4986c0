"""The one file that talks to MLflow: delivers a study's spooled events to a server or a database.

`python -m search.tracking.mlflow_tracker FOLDER` sends what a study's folder still holds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from base.errors import ApportionError, ConfigError
from search.tracking.config import ENVIRONMENT, TrackingConfig, redact, tracking_uri, where_to_look
from search.tracking.spool import Event, Spool, recorded_target
from search.tracking.spooled import Rejected, SpooledTracker
from search.tracking.tracker import MemoryTracker, Scalar, Status, StepPoint, Tracker

T = TypeVar("T")
STUDY_TAG, KEY_TAG = "apportion.study", "apportion.key"
EXPERIMENT = "experiment"  # travels among the tags of `start_study`: a spool is replayed without a config
EXPERIMENT_ID = ":experiment"  # stands among the ids of runs; no trial has such a key
LIMITS = {"params": 100, "tags": 100, "metrics": 1000}  # of one call of MLflow's log_batch
DIGEST_LENGTH = 36  # longest digest of a dataset that MLflow keeps
_PERMANENT = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}
_CHATTER = ("mlflow", "alembic", "urllib3")
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the spool is the retry; MLflow's own takes four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def open_tracker(config: TrackingConfig, folder: Path) -> Tracker:
    """The tracker of the study in `folder`; returns at once, MLflow is imported in a background thread."""
    return MemoryTracker() if config.uri == "none" else MlflowTracker(config, folder)


class MlflowTracker(SpooledTracker):
    """Shows a study in MLflow: one run for the study, one nested run for each trial.

    `folder` is the study's; its subfolder `tracking` holds the spool, what MLflow printed and what it
    refused. Raises ApportionError where another process is using that folder.
    """

    def __init__(self, config: TrackingConfig, folder: Path) -> None:
        self._folder, self._experiment = folder.absolute(), config.experiment
        uri = tracking_uri(config, self._folder)
        spool = Spool(spool_folder(folder), target=redact(uri))
        log = _log_file(spool_folder(folder) / "mlflow.log")
        super().__init__(
            spool,
            lambda: MlflowSink(uri, study=spool.study, folder=self._folder, log=log),
            where=lambda: where_to_look(uri, spool.ids.get(EXPERIMENT_ID, "")),
            note=lambda text: _write(log, text),
        )
        self._sampler = SystemMetrics(self, config.system_metrics_interval)
        self._samples = config.log_system_metrics

    def start_study(self, *, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> None:
        super().start_study(name=name, params=params, tags={**tags, EXPERIMENT: self._experiment or name})
        if self._samples and not self._sampler.is_alive():
            self._sampler.start()

    def finish_study(self, *, metrics: Mapping[str, float | None], status: Status) -> None:
        self._sampler.stop.set()
        super().finish_study(metrics=metrics, status=status)

    def close(self, timeout_s: float) -> bool:
        self._sampler.stop.set()
        return super().close(timeout_s)

    def pending(self) -> str:
        waiting = super().pending()
        command = shlex.join([sys.executable, "-m", "search.tracking.mlflow_tracker", str(self._folder)])
        return waiting and f"{waiting}. Resuming the study sends them; so does: {command}"


class MlflowSink:
    """Carries out events through an `MlflowClient`. Runs are found by tags before they are created."""

    def __init__(self, uri: str, *, study: str, folder: Path, log: logging.Handler) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        for source in _CHATTER:
            logging.getLogger(source).handlers, logging.getLogger(source).propagate = [log], False
        self._study = study
        _create_database(uri)
        self._client = MlflowClient(tracking_uri=uri)
        served = uri.startswith("http") or uri == "databricks"
        self._artifacts = None if served else (folder / "mlartifacts").as_uri()
        self._handlers = {
            "start_study": self._start_study,
            "start_trial": self._start_trial,
            "log_steps": self._log_steps,
            "finish": self._finish,
            "log_artifact": self._log_artifact,
            "log_dataset": self._log_dataset,
            "register_policy": self._register_policy,
        }

    def knows(self, ids: Mapping[str, str]) -> bool:
        from mlflow.exceptions import MlflowException

        if "" not in ids:
            return True
        try:
            return bool(self._client.get_run(ids[""]).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def apply(self, event: Event, ids: dict[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._handlers[event["do"]](event, ids)
        except MlflowException as error:
            if error.error_code not in _PERMANENT or event["do"] == "start_study" or not self.knows(ids):
                raise
            raise Rejected(str(error)) from error
        except (KeyError, TypeError, FileNotFoundError) as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error

    def _open_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            tags = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on its runs
            return str(self._client.create_experiment(name, artifact_location=self._artifacts, tags=tags))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _start_study(self, event: Event, ids: dict[str, str]) -> None:
        tags = dict(event["tags"])
        experiment = tags.pop(EXPERIMENT)
        if "" not in ids:
            ids[EXPERIMENT_ID] = self._open_experiment(experiment)
        self._start("", event, {**tags, "role": "study"}, ids)

    def _start_trial(self, event: Event, ids: dict[str, str]) -> None:
        own_tags = {"role": "trial", "mlflow.parentRunId": _known(ids, "")}
        self._start(event["key"], event, {**event["tags"], **own_tags}, ids)

    def _start(self, key: str, event: Event, tags: Mapping[str, str], ids: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        run = ids.get(key) or next(iter(self._with_key(key, ids)), None)
        present = self._reopen(run) if run else {}
        run = ids[key] = run or self._create(key, event, ids)
        missing = {_name(k): str(v) for k, v in event["params"].items() if _name(k) not in present}
        self._log(
            run,
            params=[Param(name, value) for name, value in missing.items()],
            tags=[RunTag(_name(name), str(value)) for name, value in tags.items()],
        )

    def _reopen(self, run: str) -> dict[str, str]:
        """The parameters that the run has."""
        self._client.update_run(run, status="RUNNING")
        return dict(self._client.get_run(run).data.params)

    def _create(self, key: str, event: Event, ids: Mapping[str, str]) -> str:
        run = self._client.create_run(
            ids[EXPERIMENT_ID],
            start_time=event["time_ms"],
            run_name=event["name"],
            tags={STUDY_TAG: self._study, KEY_TAG: key or "study"},
        )
        return str(run.info.run_id)

    def _with_key(self, key: str, ids: Mapping[str, str]) -> list[str]:
        runs = self._client.search_runs(
            [ids[EXPERIMENT_ID]],
            f"tags.`{STUDY_TAG}` = '{self._study}' and tags.`{KEY_TAG}` = '{key or 'study'}'",
            order_by=["attributes.start_time ASC"],
        )
        return [run.info.run_id for run in runs]

    def _log(self, run: str, **entities: Sequence[Any]) -> None:
        """`log_batch` in as few calls as its limits allow."""
        chunks = [[(kind, some) for some in _chunks(items, LIMITS[kind])] for kind, items in entities.items()]
        for call in zip_longest(*chunks):
            self._client.log_batch(run, synchronous=True, **dict(filter(None, call)))

    def _log_steps(self, event: Event, ids: dict[str, str]) -> None:
        from mlflow.entities import Metric

        for key, points in event["series"].items():
            if key not in ids:
                continue
            metrics = [
                Metric(_name(name), value, time_ms, step)
                for step, time_ms, values in points
                for name, value in values.items()
            ]
            self._log(ids[key], metrics=metrics)

    def _finish(self, event: Event, ids: dict[str, str]) -> None:
        from mlflow.entities import Metric

        run = _known(ids, event["key"])
        values = event["metrics"].items()
        self._log(run, metrics=[Metric(_name(k), v, event["time_ms"], 0) for k, v in values])
        self._client.set_terminated(run, status=event["status"], end_time=event["time_ms"])
        # A run whose creation was answered too late was created again.
        for twin in self._with_key(event["key"], ids):
            if twin != run:
                self._client.delete_run(twin)

    def _log_artifact(self, event: Event, ids: dict[str, str]) -> None:
        self._upload(_known(ids, event["key"]), Path(event["path"]))

    def _upload(self, run: str, path: Path) -> None:
        if path.is_dir():
            self._client.log_artifacts(run, str(path), artifact_path=path.name)
        elif path.exists():
            self._client.log_artifact(run, str(path))
        else:
            raise FileNotFoundError(path)

    def _log_dataset(self, event: Event, ids: dict[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        note = event["dataset"]
        dataset = Dataset(
            name=note["name"],
            digest=note["digest"][:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": note["source"]}),
            profile=json.dumps(note["profile"]),
        )
        tags = [InputTag("mlflow.data.context", note["context"])]
        self._client.log_inputs(_known(ids, ""), datasets=[DatasetInput(dataset, tags)])

    def _register_policy(self, event: Event, ids: dict[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        run, source, name = _known(ids, event["key"]), event["path"], event["name"]
        if "://" not in source:
            self._upload(run, Path(source))
            source = f"{self._client.get_run(run).info.artifact_uri}/{Path(source).name}"
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if not any(v.run_id == run for v in self._client.search_model_versions(f"name = '{name}'")):
            self._client.create_model_version(name, source, run_id=run, await_creation_for=0)


class SystemMetrics(threading.Thread):
    """Samples the use of this machine, under the names that MLflow's page of system metrics reads."""

    def __init__(self, tracker: SpooledTracker, interval_s: float) -> None:
        super().__init__(name="system-metrics", daemon=True)
        self._tracker, self._interval = tracker, interval_s
        self.stop = threading.Event()

    def run(self) -> None:
        step = 0
        monitors: list[Any] = []
        while not self.stop.wait(self._interval):
            monitors = monitors or _monitors()
            values: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                values.update(monitor.aggregate_metrics())
                monitor.clear_metrics()
            metrics = {f"system/{name}": value for name, value in values.items()}
            now = int(time.time() * 1000)
            self._tracker.log_steps(None, [StepPoint(step=step, metrics=metrics, timestamp_ms=now)])
            step += 1


def replay(folder: Path, config: TrackingConfig | None = None, *, timeout_s: float = 60.0) -> int:
    """Send what the study in `folder` has spooled, to where it was bound; how many events still wait.

    Another place is taken from `config.uri` or MLFLOW_TRACKING_URI, and then receives the study whole.
    """
    target = recorded_target(spool_folder(folder))
    config = config or TrackingConfig()
    if not (config.uri or os.environ.get(ENVIRONMENT)):
        if "***" in target:
            raise ConfigError(f"the study was tracked at {target}: set {ENVIRONMENT} to it, secrets included")
        config = config.model_copy(update={"uri": target})
    if not (spool_folder(folder) / "events.jsonl").exists():
        raise ApportionError(f"{folder} holds no tracked study: {spool_folder(folder)} is missing")
    tracker = MlflowTracker(config, folder)
    tracker.close(timeout_s)
    return tracker.waiting


def spool_folder(folder: Path) -> Path:
    """Where the study in `folder` keeps its spool."""
    return folder.absolute() / "tracking"


def _create_database(uri: str) -> None:
    """Make a missing sqlite file beside its place and move it there whole.

    MLflow needs seconds for its tables, and cannot go on from a file that was left half made.
    """
    from mlflow.tracking import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    os.replace(partial, path)


def _known(ids: Mapping[str, str], key: str) -> str:
    if key not in ids:
        raise Rejected("it was never started")
    return ids[key]


def _name(text: str) -> str:
    """`text` as a name that MLflow accepts: of its alphabet, and no path that could be written otherwise."""
    parts = re.sub(r"[^\w\-. /:]", "_", text).split("/")
    return "/".join(part for part in parts if part.strip("."))[:250] or "_"


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(Exception):  # no NVIDIA GPU, or no library to ask it
        monitors.append(GPUMonitor())
    return monitors


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _log_file(path: Path) -> logging.Handler:
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def _write(log: logging.Handler, text: str) -> None:
    log.handle(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))


if __name__ == "__main__":
    try:
        left = replay(Path(sys.argv[1]))
    except (ApportionError, IndexError) as error:
        sys.exit(f"usage: python -m search.tracking.mlflow_tracker FOLDER ({error})")
    sys.exit(f"{left} events still wait" if left else 0)
