"""A study in MLflow: one run for the study, one nested run for each trial."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from base.sqlite import sqlite_path, sqlite_uri
from search.tracking.config import redact, where_to_look
from search.tracking.saved_view import COLOUR_TAG, VIEW, VIEW_TAG, saved_view, understood
from search.tracking.tracker import (
    STUDY,
    Rejected,
    SavedPolicy,
    StepPoint,
    TrackedRun,
    UploadFailed,
    numbers,
    plain,
)

T = TypeVar("T")
# What a run is found by, the digest of what it was last given in full, and up to which sample it has them.
STUDY_TAG, KEY_TAG, DIGEST_TAG, SAMPLES_TAG = (
    f"apportion.{name}" for name in ("study", "key", "digest", "samples")
)
LIMITS = {"params": 100, "tags": 100, "metrics": 1000}  # of one call of MLflow's log_batch
VERSION_TIMEOUT_S = 5  # for a server to say its version
DIGEST_LENGTH = 36  # longest digest of a dataset that MLflow keeps
_PERMANENT = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST"}
_CHATTER = ("mlflow", "alembic", "urllib3")
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the projection retries; MLflow's own takes four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass
class _Known:
    """A run that MLflow has."""

    run: str
    digest: str = ""
    params: Mapping[str, str] = field(default_factory=dict)


class MlflowTracker:
    """Shows the study whose identity is `study` in MLflow, in an experiment that is made where it is missing.

    Runs are found by tags before they are created, and carry the digest of what they were given: all that
    makes repeating harmless lies in MLflow itself. `artifacts` is the URI for files, None where the server
    has a store of its own. What MLflow prints goes to `log`.
    """

    def __init__(
        self, uri: str, *, study: str, experiment: str, artifacts: str | None, log: logging.Handler
    ) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        for source in _CHATTER:
            logging.getLogger(source).handlers, logging.getLogger(source).propagate = [log], False
        self._views, self._log_file = understood(_version_at(uri)), log
        self._uri, self._study, self._experiment, self._artifacts = uri, study, experiment, artifacts
        _create_database(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment_id = ""
        self._runs: dict[str, _Known] = {}

    def known(self) -> Mapping[str, str]:
        if STUDY not in self._runs or not self._active(STUDY):
            self._experiment_id = self._open_experiment()
            self._keep_view()
            self._runs = self._search()
        return {key: known.digest for key, known in self._runs.items()}

    def put(self, run: TrackedRun) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._put(run)
        except MlflowException as error:
            if error.error_code not in _PERMANENT or not self._active(
                run.key if run.key in self._runs else STUDY
            ):
                raise
            raise Rejected(str(error)) from error
        self._keep_files(run)
        self._client.set_tag(self._runs[run.key].run, DIGEST_TAG, run.digest)
        self._runs[run.key].digest = run.digest

    def sampled(self) -> int:
        if STUDY not in self._runs:
            return 0
        return int(self._client.get_run(self._runs[STUDY].run).data.tags.get(SAMPLES_TAG, 0))

    def sample(self, points: Sequence[StepPoint]) -> None:
        if study := self._runs.get(STUDY):
            self._log(study.run, metrics=_metrics(points))
            self._client.set_tag(study.run, SAMPLES_TAG, str(points[-1].step + 1))

    def where(self) -> str:
        return where_to_look(self._uri, self._experiment_id, VIEW if self._views else "")

    def _active(self, key: str) -> bool:
        """Whether MLflow still has the run that stands for `key`."""
        from mlflow.exceptions import MlflowException

        if key not in self._runs:
            return False
        try:
            return bool(self._client.get_run(self._runs[key].run).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _open_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            tags = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on its runs
            return str(
                self._client.create_experiment(self._experiment, artifact_location=self._artifacts, tags=tags)
            )
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _keep_view(self) -> None:
        """Keep the comparison of trials as a view of the experiment's page, where MLflow has such views."""
        from mlflow.exceptions import MlflowException

        if not self._views:
            return
        experiment = self._client.get_experiment(self._experiment_id)
        view = saved_view(int(experiment.creation_time or 0))
        try:
            if experiment.tags.get(VIEW_TAG) != view:
                self._client.set_experiment_tag(self._experiment_id, VIEW_TAG, view)
        except MlflowException as error:
            if error.error_code not in _PERMANENT:
                raise
            self._views = False
            write(self._log_file, f"the comparison of trials is not a saved view here: {error}")

    def _search(self) -> dict[str, _Known]:
        """The study's runs by key; of two, made because an answer came too late, the later one is deleted."""
        found: dict[str, _Known] = {}
        page: Any = None
        while page is None or page.token:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{STUDY_TAG}` = '{self._study}'",
                order_by=["attributes.start_time ASC"],
                page_token=page.token if page else None,
            )
            for run in page:
                key, digest = run.data.tags[KEY_TAG], run.data.tags.get(DIGEST_TAG, "")
                one, other = found.get(key), _Known(run.info.run_id, digest, run.data.params)
                found[key] = one if one and (one.digest or not digest) else other
                if one:
                    self._client.delete_run((other if found[key] is one else one).run)
        return found

    def _put(self, run: TrackedRun) -> None:
        """Everything but files."""
        from mlflow.entities import Metric, Param, RunTag

        known = self._runs.get(run.key) or self._create(run)
        params = {_name(name): value for name, value in plain(run.params).items()}
        missing = {name: value for name, value in params.items() if name not in known.params}
        time_ms = run.started_ms if run.ended_ms is None else run.ended_ms
        finals = [Metric(_name(name), value, time_ms, 0) for name, value in numbers(run.metrics).items()]
        self._log(
            known.run,
            params=[Param(name, value) for name, value in missing.items()],
            tags=[RunTag(_name(name), value) for name, value in self._tags(run).items()],
            metrics=_metrics(run.steps) + finals,
        )
        known.params = {**params, **known.params}
        self._log_dataset(known.run, run)
        if run.status == "RUNNING":
            self._client.update_run(known.run, status=run.status)
        else:
            self._client.set_terminated(known.run, status=run.status, end_time=run.ended_ms)

    def _tags(self, run: TrackedRun) -> dict[str, str]:
        if run.key == STUDY:
            return {**plain(run.tags), "role": "study"}
        coloured = {COLOUR_TAG: run.colour} if run.colour else {}
        parent = {"mlflow.parentRunId": self._runs[STUDY].run}
        return {**plain(run.tags), **coloured, "role": "trial", **parent}

    def _create(self, run: TrackedRun) -> _Known:
        if run.key != STUDY and STUDY not in self._runs:
            raise Rejected("the run of its study is not shown")
        created = self._client.create_run(
            self._experiment_id,
            start_time=run.started_ms,
            run_name=run.name,
            tags={STUDY_TAG: self._study, KEY_TAG: run.key},
        )
        self._runs[run.key] = _Known(str(created.info.run_id))
        return self._runs[run.key]

    def _log(self, run: str, **entities: Sequence[Any]) -> None:
        """`log_batch` in as few calls as its limits allow."""
        chunks = [[(kind, some) for some in _chunks(items, LIMITS[kind])] for kind, items in entities.items()]
        for call in zip_longest(*chunks):
            self._client.log_batch(run, synchronous=True, **dict(filter(None, call)))

    def _log_dataset(self, run_id: str, run: TrackedRun) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if run.dataset is None:
            return
        dataset = Dataset(
            name=run.dataset.name,
            digest=run.dataset.digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": redact(run.dataset.source)}),
            profile=json.dumps(run.dataset.profile),
        )
        tags = [InputTag("mlflow.data.context", run.dataset.context)]
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])

    def _keep_files(self, run: TrackedRun) -> None:
        try:
            for path in run.files:
                self._upload(self._runs[run.key].run, path)
            if run.policy:
                self._register(self._runs[run.key].run, run.policy)
        except FileNotFoundError as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            self._active(STUDY)  # raises where the service itself is in trouble
            raise UploadFailed(f"{type(error).__name__}: {error}") from error

    def _upload(self, run: str, path: Path) -> None:
        if path.is_dir():
            self._client.log_artifacts(run, str(path), artifact_path=path.name)
        elif path.exists():
            self._client.log_artifact(run, str(path))
        else:
            raise FileNotFoundError(path)

    def _register(self, run: str, policy: SavedPolicy) -> None:
        from mlflow.exceptions import MlflowException

        source, name = policy.location.removeprefix("file://"), policy.name
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


def log_file(path: Path) -> logging.Handler:
    """A handler that writes to the file `path`, once there is something to write, and leaves out secrets."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def write(log: logging.Handler, text: str) -> None:
    """Add a line to a log."""
    log.handle(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _version_at(uri: str) -> str:
    """The version of MLflow whose page shows what is at `uri`: a server's own, which may be older.

    That of this client where there is no server, or where it does not say.
    """
    from mlflow import __version__
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if not uri.startswith(("http://", "https://")):
        return str(__version__)
    try:
        answer = http_request(
            get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=VERSION_TIMEOUT_S
        )
    except MlflowException:  # what it is asked next says why it does not answer
        return str(__version__)
    said = answer.text.strip()
    return said if answer.status_code == 200 and re.match(r"\d+\.\d+", said) else str(__version__)


def _create_database(uri: str) -> None:
    """Make a missing sqlite file beside its path and move it there whole.

    MLflow needs seconds for its tables, and cannot go on from a file that was left half made.
    """
    from mlflow.tracking import MlflowClient

    path = sqlite_path(uri)
    if path is None or path.exists():
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    MlflowClient(tracking_uri=sqlite_uri(partial)).search_experiments(max_results=1)
    os.replace(partial, path)


def _metrics(points: Sequence[StepPoint]) -> list[Any]:
    from mlflow.entities import Metric

    return [
        Metric(_name(name), value, int(point.timestamp_ms), int(point.step))
        for point in points
        for name, value in numbers(point.metrics).items()
    ]


def _name(text: str) -> str:
    """`text` as a name that MLflow accepts: of its alphabet, and no path that could be written otherwise."""
    parts = re.sub(r"[^\w\-. /:]", "_", text).split("/")
    return "/".join(part for part in parts if part.strip("."))[:250] or "_"


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
