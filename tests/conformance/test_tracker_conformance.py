"""What every tracker owes a study: the in-memory twin and MLflow (a sqlite file) pass the same suite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from search.tracking.config import TrackingConfig
from search.tracking.mlflow_tracker import MlflowTracker
from search.tracking.tracker import Dataset, MemoryTracker, StepPoint, TrackedRun, Tracker

QUIET = TrackingConfig(log_system_metrics=False)
FINAL = {"reward", "reward_se", "slope"}


@dataclass
class Harness:
    """A tracker and a way to see what it shows, the same for each kind."""

    tracker: Tracker
    folder: Path

    def view(self) -> tuple[TrackedRun | None, dict[str, TrackedRun]]:
        assert self.tracker.flush(240), self.tracker.pending()
        if isinstance(self.tracker, MemoryTracker):
            return _plain(self.tracker.study), {k: _plain(v) for k, v in self.tracker.trials.items()}
        return view_of_mlflow(f"sqlite:///{self.folder}/mlflow.db")


def _plain(run: TrackedRun | None) -> TrackedRun | None:
    if run:
        run.params = {k: str(v) for k, v in run.params.items()}
        run.steps = {k: sorted(v) for k, v in run.steps.items()}
        run.artifacts.sort()
    return run


def view_of_mlflow(uri: str) -> tuple[TrackedRun | None, dict[str, TrackedRun]]:
    """What a reader of the MLflow UI would find of the one study at `uri`."""
    client = MlflowClient(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(experiments, run_view_type=ViewType.ALL)
    by_key = {run.data.tags["apportion.key"]: run for run in runs}
    assert len(by_key) == len(runs), "two runs of one key"
    parent = by_key.pop("study", None)
    for run in by_key.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    shown = {key: _shown(client, run) for key, run in by_key.items()}
    return (_shown(client, parent) if parent else None), shown


def _shown(client: MlflowClient, run) -> TrackedRun:
    own = ("mlflow.", "apportion.")
    series = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return TrackedRun(
        name=run.info.run_name,
        params=dict(run.data.params),
        tags={k: v for k, v in run.data.tags.items() if not k.startswith(own)},
        metrics={k: v for k, v in run.data.metrics.items() if k in FINAL},
        steps={k: sorted((m.step, m.value) for m in v) for k, v in series.items() if k not in FINAL},
        artifacts=sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        status=run.info.status,
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow made once: its tables take most of a short test's time."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(params=["memory", "mlflow"])
def harness(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Iterator[Harness]:
    shutil.copy(empty_database, tmp_path)
    tracker = MemoryTracker() if request.param == "memory" else MlflowTracker(QUIET, tmp_path)
    yield Harness(tracker, tmp_path)
    tracker.close(240)


def point(step: int, **metrics: float) -> StepPoint:
    return StepPoint(step=step, metrics=metrics, timestamp_ms=1_700_000_000_000 + step)


def test_a_study_with_two_trials_is_shown_whole(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.start_study(name="demo", params={"budget": 4800}, tags={"model": "smol"})
    for k, status in ((2, "FINISHED"), (3, "FAILED")):
        tracker.start_trial(
            f"key{k}", params={"responses": k, "budget_fraction": 0.5}, tags={"a": "b"}, name=f"9x{k}"
        )
        tracker.log_steps(f"key{k}", [point(0, loss=2.0), point(1, loss=1.0)])
        tracker.finish_trial(f"key{k}", metrics={"reward": 0.5, "reward_se": None}, status=status)
    tracker.finish_study(metrics={"slope": 0.01}, status="KILLED")

    study, trials = harness.view()

    assert study == TrackedRun(
        "demo", {"budget": "4800"}, {"model": "smol", "role": "study"}, {"slope": 0.01}, status="KILLED"
    )
    assert set(trials) == {"key2", "key3"}
    assert trials["key3"] == TrackedRun(
        "9x3",
        {"responses": "3", "budget_fraction": "0.5"},
        {"a": "b", "role": "trial"},
        {"reward": 0.5},
        {"loss": [(0, 2.0), (1, 1.0)]},
        status="FAILED",
    )


def test_a_key_started_again_goes_on_with_its_run(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.start_study(name="demo", params={}, tags={})
    tracker.start_trial("k", params={"prompts": 10}, tags={"seeds": "1"})
    tracker.finish_trial("k", metrics={"reward": 0.5}, status="KILLED")
    tracker.start_trial("k", params={"prompts": 99, "responses": 2}, tags={"seeds": "2"})
    _, trials = harness.view()
    assert trials["k"].status == "RUNNING"
    assert trials["k"].params == {"prompts": "10", "responses": "2"}

    tracker.finish_trial("k", metrics={"reward": 0.6}, status="FINISHED")
    _, trials = harness.view()

    assert list(trials) == ["k"]
    assert trials["k"].metrics == {"reward": 0.6}
    assert trials["k"].tags["seeds"] == "2"
    assert trials["k"].status == "FINISHED"


def test_trials_that_were_not_finished_are_known(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.start_study(name="study", params={}, tags={})
    for key in "abc":
        tracker.start_trial(key, params={}, tags={})
    for key in "ab":
        tracker.finish_trial(key, metrics={}, status="FINISHED")
    tracker.start_trial("b", params={}, tags={})
    assert sorted(tracker.unfinished()) == ["b", "c"]


def test_of_two_figures_the_later_counts(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.start_study(name="demo", params={}, tags={})
    for slope in (0.9, 0.1):
        tracker.finish_study(metrics={"slope": slope}, status="FINISHED")
    study, _ = harness.view()
    assert study is not None and study.metrics == {"slope": 0.1}


def test_a_study_started_again_reopens_its_run(harness: Harness) -> None:
    tracker = harness.tracker
    for status in ("KILLED", "FINISHED"):
        tracker.start_study(name="demo", params={"seed": 1}, tags={})
        study, _ = harness.view()
        assert study is not None and study.status == "RUNNING"
        tracker.finish_study(metrics={}, status=status)
    study, _ = harness.view()
    assert study is not None and study.status == "FINISHED"


def test_repeated_steps_are_counted_once(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.start_study(name="demo", params={}, tags={})
    tracker.start_trial("k", params={}, tags={})
    for _ in range(2):  # as after a restart from a checkpoint
        tracker.log_steps("k", [point(0, loss=2.0), point(1, loss=1.5)])
        tracker.log_steps(None, [point(0, believed=0.4)])
    study, trials = harness.view()
    assert trials["k"].steps == {"loss": [(0, 2.0), (1, 1.5)]}
    assert study is not None and study.steps == {"believed": [(0, 0.4)]}


def test_what_was_never_started_is_dropped(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.log_steps("ghost", [point(0, loss=1.0)])
    tracker.finish_trial("ghost", metrics={"reward": 1.0}, status="FINISHED")
    tracker.finish_study(metrics={}, status="FINISHED")
    assert harness.view() == (None, {})

    tracker.start_study(name="demo", params={}, tags={})
    tracker.log_steps("ghost", [point(0, loss=1.0)])
    study, trials = harness.view()
    assert study is not None and study.status == "RUNNING"
    assert trials == {}


def test_artifacts_go_to_the_trial_or_to_the_study(harness: Harness) -> None:
    tracker, files = harness.tracker, harness.folder / "files"
    (files / "policy").mkdir(parents=True)
    (files / "policy" / "weights").write_text("w")
    (files / "report.html").write_text("r")
    tracker.start_study(name="demo", params={}, tags={})
    tracker.start_trial("k", params={}, tags={})
    tracker.log_artifact(files / "report.html")
    for _ in range(2):
        tracker.log_artifact(files / "policy", key="k")
    study, trials = harness.view()
    assert study is not None and study.artifacts == ["report.html"]
    assert trials["k"].artifacts == ["policy"]


def test_everything_is_delivered_at_close(harness: Harness) -> None:
    tracker = harness.tracker
    tracker.start_study(name="demo", params={}, tags={})
    tracker.log_dataset(Dataset(name="pool", digest="d" * 64, source="pool.jsonl", profile={"prompts": 3}))
    assert tracker.close(240)
    assert tracker.pending() == ""
    assert tracker.where()


KEYS = st.sampled_from(["a", "b", "c"])
STATUS = st.sampled_from(["FINISHED", "FAILED", "KILLED"])
VALUE = st.floats(0, 1, width=32)
CALLS = st.one_of(
    st.tuples(st.just("start_trial"), KEYS, st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))),
    st.tuples(
        st.just("log_steps"), KEYS | st.none(), st.lists(st.tuples(st.integers(0, 5), VALUE), max_size=3)
    ),
    st.tuples(st.just("finish_trial"), KEYS, st.tuples(VALUE, STATUS)),
    st.tuples(st.just("finish_study"), st.none(), st.tuples(VALUE, STATUS)),
    st.tuples(st.just("start_study"), st.none(), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))),
)


def act(tracker: Tracker, call) -> None:
    do, key, rest = call
    if do == "start_trial":
        tracker.start_trial(key, params=rest, tags={"t": str(sorted(rest))})
    elif do == "start_study":
        tracker.start_study(name="demo", params=rest, tags={})
    elif do == "log_steps":
        tracker.log_steps(key, [point(step, loss=value) for step, value in rest])
    elif do == "finish_trial":
        tracker.finish_trial(key, metrics={"reward": rest[0]}, status=rest[1])
    else:
        tracker.finish_study(metrics={"slope": rest[0]}, status=rest[1])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALLS, min_size=1, max_size=12))
def test_any_story_ends_as_in_the_twin_even_told_twice(
    calls, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> None:
    folder = tmp_path_factory.mktemp("study")
    shutil.copy(empty_database, folder)
    calls = [("start_study", None, {}), *calls]
    twin = Harness(MemoryTracker(), folder)
    for call in calls:
        act(twin.tracker, call)
    for told in (calls, []):  # the second time, the spool hands out the same events again
        harness = Harness(MlflowTracker(QUIET, folder), folder)
        for call in told:
            act(harness.tracker, call)
        seen = harness.view()
        harness.tracker.close(240)
        assert seen == twin.view()
        (folder / "tracking" / "state.json").unlink()
