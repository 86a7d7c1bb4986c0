"""MLflow in a sqlite file: what its limits, its locks and a killed study do to what it shows."""

from __future__ import annotations

import json
import math
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from base.errors import ApportionError, ConfigError
from search.tracking.config import TrackingConfig
from search.tracking.mlflow_tracker import MlflowTracker, open_tracker, replay
from search.tracking.tracker import Dataset, MemoryTracker, StepPoint

QUIET = TrackingConfig(log_system_metrics=False)


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def track(tmp_path: Path, made_database: Path) -> Iterator[Callable[..., MlflowTracker]]:
    opened: list[MlflowTracker] = []

    def start(config: TrackingConfig = QUIET) -> MlflowTracker:
        if not (tmp_path / "mlflow.db").exists():
            shutil.copy(made_database, tmp_path)
        opened.append(MlflowTracker(config, tmp_path))
        return opened[-1]

    yield start
    for tracker in opened:
        tracker.close(0)


def all_runs(folder: Path) -> dict[str, object]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    keys = [run.data.tags["apportion.key"] for run in runs]
    assert len(keys) == len(set(keys)), "two runs of one key"
    return dict(zip(keys, runs, strict=True))


def begin(tracker: MlflowTracker, *keys: str) -> None:
    tracker.start_study(name="demo", params={"budget": 100}, tags={})
    for key in keys:
        tracker.start_trial(key, params={"prompts": 10}, tags={})


def test_more_than_one_call_of_mlflow_takes_and_names_it_refuses(track, tmp_path: Path) -> None:
    tracker = track()
    tracker.start_study(name="demo", params={f"field{i}": i for i in range(250)}, tags={})
    tracker.start_trial("k", params={"odd key (!) ü": "x" * 9000}, tags={"note": "y" * 9000})
    points = [
        StepPoint(step=i, metrics={"loss": 1 / (i + 1), "../b//c$": math.nan}, timestamp_ms=i)
        for i in range(1200)
    ]
    tracker.log_steps("k", points)
    tracker.finish_trial("k", metrics={"rivals.log n": 2.0, "worst": math.inf}, status="FINISHED")
    assert tracker.close(240), tracker.pending()
    runs = all_runs(tmp_path)
    assert len(runs["study"].data.params) == 250
    assert runs["k"].data.metrics["rivals.log n"] == 2.0
    assert math.isnan(runs["k"].data.metrics["b/c_"])
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(client.get_metric_history(runs["k"].info.run_id, "loss")) == 1200
    assert not (tmp_path / "tracking" / "mlflow.log").read_text().count("refused")


def test_times_are_those_of_the_events_not_of_their_delivery(track, tmp_path: Path) -> None:
    tracker = track()
    before = int(time.time() * 1000)
    begin(tracker, "k")
    tracker.finish_trial("k", metrics={"reward": 0.5}, status="FINISHED")
    after = int(time.time() * 1000)
    assert tracker.close(240)
    info = all_runs(tmp_path)["k"].info
    assert before <= info.start_time < info.end_time <= after + 2  # each event has a millisecond of its own


def test_the_pool_is_noted_with_its_digest(track, tmp_path: Path) -> None:
    tracker = track()
    begin(tracker)
    for _ in range(2):
        tracker.log_dataset(
            Dataset(
                name="demo pool", digest="0123456789abcdef" * 4, source="pool.jsonl", profile={"prompts": 3}
            )
        )
    assert tracker.close(240)
    (dataset,) = all_runs(tmp_path)["study"].inputs.dataset_inputs
    assert dataset.dataset.name == "demo pool"
    assert ("0123456789abcdef" * 4).startswith(dataset.dataset.digest)
    assert json.loads(dataset.dataset.profile) == {"prompts": 3}


def test_the_best_policy_is_registered_once(track, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "model.safetensors").write_text("w")
    for _ in range(2):
        tracker = track()
        begin(tracker, "k")
        tracker.register_policy(str(tmp_path / "policy"), key="k", name="best")
        assert tracker.close(240)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (version,) = client.search_model_versions("name = 'best'")
    assert version.run_id == all_runs(tmp_path)["k"].info.run_id
    assert version.source.endswith("/artifacts/policy")


def test_a_policy_in_an_object_store_is_registered_where_it_is(track, tmp_path: Path) -> None:
    tracker = track()
    begin(tracker, "k")
    tracker.register_policy("s3://bucket/study/policies/p", key="k", name="best")
    assert tracker.close(240)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (version,) = client.search_model_versions("name = 'best'")
    assert version.source == "s3://bucket/study/policies/p"
    assert version.run_id == all_runs(tmp_path)["k"].info.run_id


def test_a_file_that_is_gone_is_noted_and_passed_over(track, tmp_path: Path) -> None:
    tracker = track()
    begin(tracker)
    tracker.log_artifact(tmp_path / "never.html")
    tracker.finish_study(metrics={"slope": 1.0}, status="FINISHED")
    assert tracker.close(240)
    assert all_runs(tmp_path)["study"].info.status == "FINISHED"
    log = (tmp_path / "tracking" / "mlflow.log").read_text()
    assert "refused: log_artifact" in log and "never.html" in log


def test_a_resumed_study_goes_on_in_its_run(track, tmp_path: Path) -> None:
    first = track()
    begin(first, "a", "b")
    first.finish_trial("a", metrics={"reward": 0.5}, status="FINISHED")
    first.finish_trial("b", metrics={}, status="KILLED")
    first.finish_study(metrics={}, status="KILLED")
    assert first.close(240)
    killed = all_runs(tmp_path)

    second = track()
    begin(second, "b")
    assert second.flush(240)
    assert all_runs(tmp_path)["study"].info.status == "RUNNING"
    second.finish_trial("b", metrics={"reward": 0.6}, status="FINISHED")
    second.finish_study(metrics={}, status="FINISHED")
    assert second.close(240)
    finished = all_runs(tmp_path)
    assert {k: r.info.run_id for k, r in finished.items()} == {k: r.info.run_id for k, r in killed.items()}
    assert {r.info.status for r in finished.values()} == {"FINISHED"}


def test_two_studies_of_one_name_in_one_database_stay_apart(track, tmp_path: Path) -> None:
    config = QUIET.model_copy(update={"uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "shared"})
    here = track(config)
    begin(here, "k")
    assert here.close(240)
    there = MlflowTracker(config, tmp_path / "other")
    begin(there, "k")
    assert there.close(240)
    client = MlflowClient(config.uri)
    experiment = client.get_experiment_by_name("shared").experiment_id
    runs = client.search_runs([experiment], "tags.role = 'trial'")
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 2


def test_a_database_that_vanished_is_filled_again(track, tmp_path: Path, made_database: Path) -> None:
    first = track()
    begin(first, "a")
    assert first.close(240)
    shutil.move(tmp_path / "mlflow.db", tmp_path / "lost.db")
    config = QUIET.model_copy(update={"uri": f"sqlite:///{tmp_path}/new/mlflow.db"})
    (tmp_path / "new").mkdir()
    shutil.copy(made_database, tmp_path / "new")
    shutil.copy(made_database, tmp_path / "kept.db")
    second = track(config)  # another place
    begin(second, "b")
    assert second.close(240)
    assert set(all_runs(tmp_path / "new")) == {"study", "a", "b"}
    shutil.copy(tmp_path / "kept.db", tmp_path / "new" / "mlflow.db")  # the same place, emptied
    third = track(config)
    begin(third, "c")
    assert third.close(240)
    assert set(all_runs(tmp_path / "new")) == {"study", "a", "b", "c"}


def test_a_run_created_twice_by_a_late_answer_is_swept(track, tmp_path: Path) -> None:
    tracker = track()
    begin(tracker, "k")
    assert tracker.flush(240)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run = all_runs(tmp_path)["k"]
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("apportion.")}
    client.create_run(run.info.experiment_id, tags=tags)
    tracker.finish_trial("k", metrics={"reward": 0.5}, status="FINISHED")
    assert tracker.close(240)
    assert all_runs(tmp_path)["k"].info.run_id == run.info.run_id


def test_the_machine_is_sampled_into_the_study(track, tmp_path: Path) -> None:
    tracker = track(TrackingConfig(system_metrics_interval=0.1))
    begin(tracker)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.3)
        assert tracker.flush(240)
        if metrics := [m for m in all_runs(tmp_path)["study"].data.metrics if m.startswith("system/")]:
            break
    assert "system/cpu_utilization_percentage" in metrics
    assert "system/system_memory_usage_megabytes" in metrics


def test_nothing_is_printed_and_no_secret_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    tracker = open_tracker(QUIET, tmp_path)
    tracker.start_study(name="demo", params={"source": "s3://key:hunter2@bucket"}, tags={})
    deadline = time.monotonic() + 120
    while "Connection refused" not in tracker.pending() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not tracker.close(0)
    told = tracker.pending() + tracker.where()
    assert "127.0.0.1" in told and "hunter2" not in told
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(b"hunter2" in content for content in written)
    assert capfd.readouterr() == ("", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        replay(tmp_path)


def test_what_was_spooled_can_be_sent_later(tmp_path: Path, made_database: Path) -> None:
    uri = f"sqlite:///{tmp_path}/sub/mlflow.db"
    dead = QUIET.model_copy(update={"uri": "http://127.0.0.1:9"})
    tracker = open_tracker(dead, tmp_path / "study")
    begin(tracker, "k")
    assert not tracker.close(0.2)
    assert "-m search.tracking.mlflow_tracker" in tracker.pending()
    (tmp_path / "sub").mkdir()
    shutil.copy(made_database, tmp_path / "sub")
    assert replay(tmp_path / "study", QUIET.model_copy(update={"uri": uri})) == 0
    assert set(all_runs(tmp_path / "sub")) == {"study", "k"}
    (experiment,) = {e.name for e in MlflowClient(uri).search_experiments()} - {"Default"}
    assert experiment == "demo"


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ApportionError, match="holds no tracked study"):
        replay(tmp_path)


def test_tracking_can_be_switched_off(tmp_path: Path) -> None:
    assert isinstance(open_tracker(TrackingConfig(uri="none"), tmp_path), MemoryTracker)
    assert not any(tmp_path.iterdir())


def test_the_study_starts_without_importing_mlflow() -> None:
    code = "import search.tracking.mlflow_tracker, sys; print({'mlflow', 'torch', 'ray'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.slow
def test_a_database_locked_by_another_writer_delays_and_loses_nothing(track, tmp_path: Path) -> None:
    tracker = track()
    begin(tracker, "a")
    assert tracker.flush(240)
    other = sqlite3.connect(tmp_path / "mlflow.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(8, other.rollback)  # longer than sqlite's own patience, 5 s
    release.start()
    begun = time.perf_counter()
    tracker.start_trial("b", params={}, tags={})
    assert time.perf_counter() - begun < 1
    assert tracker.close(240)
    release.join()
    other.close()
    assert time.perf_counter() - begun > 7
    assert set(all_runs(tmp_path)) == {"study", "a", "b"}


STUDY = """
import sys
from pathlib import Path
from search.tracking.mlflow_tracker import open_tracker
from search.tracking import StepPoint
from search.tracking_config import TrackingConfig
tracker = open_tracker(TrackingConfig(log_system_metrics=False), Path(sys.argv[1]))
tracker.start_study(name="demo", params={}, tags={})
for number in range(12):
    key = f"key{number}"
    tracker.start_trial(key, params={"prompts": number}, tags={})
    tracker.log_steps(key, [StepPoint(step=1, metrics={"loss": 1.0}, timestamp_ms=1)])
    tracker.finish_trial(key, metrics={"reward": 0.5}, status="FINISHED")
tracker.finish_study(metrics={}, status="FINISHED")
print("told", flush=True)
delivered = tracker.close(float(sys.argv[2]))
print(delivered, flush=True)
"""


@pytest.mark.slow
def test_a_study_killed_at_any_time_ends_with_one_run_for_each_key(track, tmp_path: Path) -> None:
    track().close(240)
    for pause in (0.0, 2.5):
        command = [sys.executable, "-c", STUDY, str(tmp_path), "240"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "told\n"
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert subprocess.check_output([*command[:-1], "240"], text=True) == "told\nTrue\n"
    runs = all_runs(tmp_path)
    assert len(runs) == 13
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert all(run.data.metrics.get("reward") == 0.5 for key, run in runs.items() if key != "study")


@pytest.mark.slow
def test_a_process_whose_service_is_dead_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, never answers
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        command = [sys.executable, "-c", STUDY, str(tmp_path), "4"]
        begun = time.perf_counter()
        assert subprocess.check_output(command, text=True) == "told\nFalse\n"
        assert time.perf_counter() - begun < 60


def test_a_database_left_half_made_is_made_anew(tmp_path: Path) -> None:
    """MLflow, killed while it makes its tables, leaves a file that it can never open again."""
    (tmp_path / "mlflow.db.partial").write_bytes(b"SQLite format 3\x00 and then nothing")
    tracker = open_tracker(TrackingConfig(log_system_metrics=False), tmp_path)
    tracker.start_study(name="s", params={}, tags={})
    tracker.finish_study(metrics={"base_reward": 0.5}, status="FINISHED")
    assert tracker.close(120)
    assert (tmp_path / "mlflow.db").exists() and not (tmp_path / "mlflow.db.partial").exists()
