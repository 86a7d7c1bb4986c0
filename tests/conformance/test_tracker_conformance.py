"""What every tracker owes a study: the in-memory twin and MLflow (a sqlite file) pass the same suite."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from search.tracking.mlflow_tracker import MlflowTracker
from search.tracking.tracker import (
    STUDY,
    Dataset,
    MemoryTracker,
    Rejected,
    ShownRun,
    StepPoint,
    TrackedRun,
    Tracker,
)

FINAL = {"reward", "reward_se", "slope"}


@dataclass
class Harness:
    """A tracker and a way to see what it shows, the same for each kind."""

    tracker: Tracker
    folder: Path

    def view(self) -> dict[str, ShownRun]:
        if isinstance(self.tracker, MemoryTracker):
            for run in self.tracker.runs.values():
                run.steps = {name: sorted(series) for name, series in run.steps.items()}
            return self.tracker.runs
        return view_of_mlflow(f"sqlite:///{self.folder}/mlflow.db")


def mlflow_tracker(folder: Path) -> MlflowTracker:
    return MlflowTracker(
        f"sqlite:///{folder}/mlflow.db",
        study="study",
        experiment="demo",
        artifacts=(folder / "mlartifacts").as_uri(),
        log=logging.NullHandler(),
    )


def view_of_mlflow(uri: str) -> dict[str, ShownRun]:
    """What a reader of the MLflow UI would find of the one study at `uri`."""
    client = MlflowClient(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, run_view_type=ViewType.ALL)
    by_key = {run.data.tags["apportion.key"]: run for run in runs}
    assert len(by_key) == len(runs), "two runs of one key"
    for key, run in by_key.items():
        if key != STUDY:
            assert run.data.tags["mlflow.parentRunId"] == by_key[STUDY].info.run_id
    return {key: _shown(client, run) for key, run in by_key.items()}


def _shown(client: MlflowClient, run: Any) -> ShownRun:
    own = ("mlflow.", "apportion.")
    series = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return ShownRun(
        name=run.info.run_name,
        params=dict(run.data.params),
        tags={k: v for k, v in run.data.tags.items() if not k.startswith(own)},
        metrics={k: v for k, v in run.data.metrics.items() if k in FINAL},
        steps={k: sorted((m.step, m.value) for m in v) for k, v in series.items() if k not in FINAL},
        files=sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        datasets=sorted(given.dataset.name for given in run.inputs.dataset_inputs),
        status=run.info.status,
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow made once: its tables take most of a short test's time."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(params=["memory", "mlflow"])
def harness(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Harness:
    shutil.copy(empty_database, tmp_path)
    tracker = MemoryTracker() if request.param == "memory" else mlflow_tracker(tmp_path)
    assert tracker.known() == {}
    return Harness(tracker, tmp_path)


def point(step: int, **metrics: float) -> StepPoint:
    return StepPoint(step=step, metrics=metrics, timestamp_ms=1_700_000_000_000 + step)


def study(status: Any = "RUNNING", **more: Any) -> TrackedRun:
    return TrackedRun(
        **{"key": STUDY, "name": "demo", "status": status, "started_ms": 1, **ended(status), **more}
    )


def trial(key: str, status: Any = "FINISHED", **more: Any) -> TrackedRun:
    return TrackedRun(**{"key": key, "name": key, "status": status, "started_ms": 2, **ended(status), **more})


def ended(status: str) -> dict[str, int]:
    return {} if status == "RUNNING" else {"ended_ms": 3}


def test_a_study_with_two_trials_is_shown_whole(harness: Harness) -> None:
    pool = Dataset(name="pool", digest="d" * 64, source="pool.jsonl", profile={"prompts": 3})
    put = harness.tracker.put
    put(
        study(
            "KILLED", params={"budget": 4800}, tags={"model": "smol"}, metrics={"slope": 0.01}, dataset=pool
        )
    )
    for k, status in ((2, "FINISHED"), (3, "FAILED")):
        put(
            trial(
                f"key{k}",
                status,
                name=f"9x{k}",
                params={"responses": k, "budget_fraction": 0.5},
                tags={"a": "b"},
                metrics={"reward": 0.5, "reward_se": None},
                steps=[point(0, loss=2.0), point(1, loss=1.0)],
                dataset=pool,
            )
        )
    shown = harness.view()
    assert shown.keys() == {STUDY, "key2", "key3"}
    assert shown[STUDY] == ShownRun(
        "demo",
        {"budget": "4800"},
        {"model": "smol", "role": "study"},
        {"slope": 0.01},
        datasets=["pool"],
        status="KILLED",
    )
    assert shown["key3"] == ShownRun(
        "9x3",
        {"responses": "3", "budget_fraction": "0.5"},
        {"a": "b", "role": "trial"},
        {"reward": 0.5},
        {"loss": [(0, 2.0), (1, 1.0)]},
        datasets=["pool"],
        status="FAILED",
    )


def test_a_run_goes_on_under_its_key(harness: Harness) -> None:
    put = harness.tracker.put
    put(study())
    put(trial("k", "KILLED", params={"prompts": 10}, tags={"seeds": "1"}, metrics={"reward": 0.5}))
    put(trial("k", "RUNNING", params={"prompts": 99, "responses": 2}, tags={"seeds": "2"}))
    shown = harness.view()["k"]
    assert shown.status == "RUNNING"
    assert shown.params == {"prompts": "10", "responses": "2"}

    put(trial("k", ended_ms=9, metrics={"reward": 0.6}))
    assert harness.view().keys() == {STUDY, "k"}
    shown = harness.view()["k"]
    assert shown.metrics == {"reward": 0.6}
    assert shown.tags["seeds"] == "2"
    assert shown.status == "FINISHED"


def test_what_it_was_given_in_full_is_known_by_its_digest(harness: Harness) -> None:
    tracker, one, other = harness.tracker, trial("a"), trial("b", params={"prompts": 1})
    for run in (study(), one, other):
        tracker.put(run)
    assert tracker.known() == {STUDY: study().digest, "a": one.digest, "b": other.digest}
    assert one.digest != trial("a", status="KILLED").digest
    again = mlflow_tracker(harness.folder) if isinstance(tracker, MlflowTracker) else tracker
    assert again.known() == tracker.known()


def test_of_two_figures_the_later_counts(harness: Harness) -> None:
    for time_ms, slope in enumerate((0.9, 0.1), 3):
        harness.tracker.put(study("FINISHED", metrics={"slope": slope}, ended_ms=time_ms))
    assert harness.view()[STUDY].metrics == {"slope": 0.1}


def test_a_study_that_goes_on_reopens_its_run(harness: Harness) -> None:
    for status in ("KILLED", "FINISHED"):
        harness.tracker.put(study(params={"seed": 1}))
        assert harness.view()[STUDY].status == "RUNNING"
        harness.tracker.put(study(status, params={"seed": 1}))
    assert harness.view()[STUDY].status == "FINISHED"


def test_repeated_steps_are_counted_once(harness: Harness) -> None:
    curve, samples = [point(0, loss=2.0), point(1, loss=1.5)], [point(0, busy=0.4), point(1, busy=0.5)]
    harness.tracker.put(study())
    assert harness.tracker.sampled() == 0
    for _ in range(2):  # as after a restart from a checkpoint
        harness.tracker.put(trial("k", steps=curve))
        harness.tracker.sample(samples)
    assert harness.view()["k"].steps == {"loss": [(0, 2.0), (1, 1.5)]}
    assert harness.view()[STUDY].steps == {"busy": [(0, 0.4), (1, 0.5)]}
    assert harness.tracker.sampled() == 2


def test_a_trial_needs_its_study(harness: Harness) -> None:
    with pytest.raises(Rejected):
        harness.tracker.put(trial("ghost"))
    assert harness.view() == {}


def test_files_are_with_the_trial_or_with_the_study(harness: Harness) -> None:
    files = harness.folder / "files"
    (files / "policy").mkdir(parents=True)
    (files / "policy" / "weights").write_text("w")
    (files / "report.html").write_text("r")
    with_report = study("FINISHED", files=[files / "report.html"])
    harness.tracker.put(with_report)
    for _ in range(2):
        harness.tracker.put(trial("k", files=[files / "policy"]))
    assert harness.view()[STUDY].files == ["report.html"]
    assert harness.view()["k"].files == ["policy"]
    (files / "report.html").write_text("another")
    assert study("FINISHED", files=[files / "report.html"]).digest != with_report.digest


def test_it_says_where_to_look(harness: Harness) -> None:
    harness.tracker.put(study())
    assert harness.tracker.where()


KEYS = st.sampled_from(["a", "b", "c", STUDY])
STATUS = st.sampled_from(["RUNNING", "FINISHED", "FAILED", "KILLED"])
VALUE = st.floats(0, 1, width=32)
RUNS = st.tuples(
    KEYS,
    STATUS,
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)),
    st.lists(st.tuples(st.integers(0, 5), VALUE), max_size=3),
    VALUE,
)


def run_of(time_ms: int, key: str, status: str, params: Any, steps: Any, reward: float) -> TrackedRun:
    return TrackedRun(
        key=key,
        name=key,
        status=status,  # type: ignore[arg-type]
        started_ms=1,
        ended_ms=time_ms,
        params=params,
        tags={"t": str(sorted(params))},
        metrics={"reward": reward},
        steps=[point(step, loss=value) for step, value in steps],
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=st.lists(RUNS, min_size=1, max_size=12))
def test_any_story_ends_as_in_the_twin_even_shown_twice(
    story: list[Any], tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> None:
    folder = tmp_path_factory.mktemp("study")
    shutil.copy(empty_database, folder)
    runs = [study(name=STUDY), *(run_of(time_ms, *one) for time_ms, one in enumerate(story, 3))]
    twin = Harness(MemoryTracker(), folder)
    for run in runs:
        twin.tracker.put(run)
    last = {run.key: run for run in runs}
    for shown in (runs, last.values()):  # the second time as another process would that knows the end alone
        tracker = mlflow_tracker(folder)
        tracker.known()
        for run in shown:
            tracker.put(run)
        seen = Harness(tracker, folder).view()
        assert seen == twin.view()
