"""MLflow in a sqlite file: what its limits, its locks and a killed study do to what it shows."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from support.paths import ROOT, TESTS
from support.tracked_studies import POOL, STEPS, Study, runs_at

from search.cli import main
from search.tracking.mlflow_tracker import MlflowTracker
from search.tracking.projection import Projection
from search.tracking.tracker import STUDY, Dataset, StepPoint, TrackedRun


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(tmp_path: Path, made_database: Path) -> Path:
    """A study's folder with an empty database of its own."""
    path = tmp_path / "study"
    path.mkdir()
    shutil.copy(made_database, path)
    return path


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def all_runs(folder: Path) -> dict[str, Any]:
    return runs_at(uri_of(folder))


def tracker(folder: Path, study: str = "study") -> MlflowTracker:
    opened = MlflowTracker(
        uri_of(folder), study=study, experiment="demo", artifacts=folder.as_uri(), log=logging.NullHandler()
    )
    opened.known()
    return opened


RUN = TrackedRun(key=STUDY, name="demo", status="RUNNING", started_ms=1)


def test_more_than_one_call_of_mlflow_takes_and_names_it_refuses(folder: Path) -> None:
    shown = tracker(folder)
    shown.put(TrackedRun(**{**vars(RUN), "params": {f"field{i}": i for i in range(250)}}))
    steps = [
        StepPoint(step=i, metrics={"loss": 1 / (i + 1), "../b//c$": math.nan}, timestamp_ms=i)
        for i in range(1200)
    ]
    shown.put(
        TrackedRun(
            key="k",
            name="k",
            status="FINISHED",
            started_ms=1,
            ended_ms=2,
            params={"odd key (!) ü": "x" * 9000},
            tags={"note": "y" * 9000},
            metrics={"baseline.log n": 2.0, "worst": math.inf},
            steps=steps,
        )
    )
    runs = all_runs(folder)
    assert len(runs["study"].data.params) == 250
    assert runs["k"].data.metrics["baseline.log n"] == 2.0
    assert math.isnan(runs["k"].data.metrics["b/c_"])
    assert len(MlflowClient(uri_of(folder)).get_metric_history(runs["k"].info.run_id, "loss")) == 1200


def test_more_runs_than_one_page_of_mlflow_holds_are_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = tracker(folder)
    for key in (STUDY, *"abcd"):
        shown.put(TrackedRun(key=key, name=key, status="RUNNING", started_ms=1))
    search = MlflowClient.search_runs
    monkeypatch.setattr(MlflowClient, "search_runs", lambda *a, **k: search(*a, **{**k, "max_results": 2}))
    assert tracker(folder).known().keys() == {STUDY, *"abcd"}


def test_times_are_those_of_the_trials_not_of_their_delivery(folder: Path) -> None:
    with Study(folder).running() as study:
        before = int(time.time() * 1000)
        study.start("k")
        time.sleep(0.05)
        study.finish("k")
        after = int(time.time() * 1000)
        time.sleep(0.5)
    info = all_runs(folder)["k"].info
    assert before <= info.start_time < info.end_time <= after + 2  # each event has a millisecond of its own


def test_a_curve_is_shown_when_its_seed_ends_and_not_twice_when_the_trial_does(folder: Path) -> None:
    client = MlflowClient(uri_of(folder))

    def curve(seed: int) -> list[int]:
        run = all_runs(folder)["k"].info.run_id
        return [m.step for m in client.get_metric_history(run, f"seed_{seed}.loss")]

    with Study(folder).running() as study:
        study.start("k")
        study.end_seed("k", 0)
        study.flush()
        assert all_runs(folder)["k"].info.status == "RUNNING"
        assert curve(0) == STEPS and curve(1) == []
        study.finish("k")
        study.flush()
        assert curve(0) == STEPS and curve(1) == STEPS


def test_the_pool_is_noted_with_its_digest_on_every_run(folder: Path) -> None:
    for _ in range(2):
        with Study(folder).running() as study:
            study.start("running")
            study.train("k")
    runs = all_runs(folder)
    assert runs.keys() == {"study", "k", "running"}
    for run in runs.values():
        (given,) = run.inputs.dataset_inputs
        assert given.dataset.name == "demo pool"
        assert POOL.digest.startswith(given.dataset.digest)
        assert json.loads(given.dataset.profile) == POOL.profile


def test_the_best_policy_is_registered_once(folder: Path) -> None:
    (folder / "policy").mkdir()
    (folder / "policy" / "model.safetensors").write_text("w")
    for _ in range(2):
        with Study(folder, register_as="best").running() as study:
            study.start("k")
            study.finish("k", policy=str(folder / "policy"))
    client = MlflowClient(uri_of(folder))
    (version,) = client.search_model_versions("name = 'best'")
    assert version.run_id == all_runs(folder)["k"].info.run_id
    assert version.source.endswith("/artifacts/policy")


def test_a_policy_in_an_object_store_is_registered_where_it_is(folder: Path) -> None:
    with Study(folder, register_as="best").running() as study:
        study.start("k")
        study.finish("k", policy="s3://bucket/study/policies/p")
    client = MlflowClient(uri_of(folder))
    (version,) = client.search_model_versions("name = 'best'")
    assert version.source == "s3://bucket/study/policies/p"
    assert version.run_id == all_runs(folder)["k"].info.run_id


def test_a_file_that_is_gone_is_noted_and_passed_over(folder: Path) -> None:
    gone = {"key": "a", "name": "a", "files": [folder / "never.html"]}
    ended = {"status": "FINISHED", "ended_ms": 2}
    runs = [RUN, *(TrackedRun(**{**vars(RUN), **ended, **one}) for one in (gone, {"key": "b", "name": "b"}))]
    noted: list[str] = []
    shown = Projection(lambda: runs, lambda: tracker(folder), target="here", where="", note=noted.append)
    shown.changed()
    assert shown.close(240)
    assert {key: run.info.status for key, run in all_runs(folder).items()} == {
        "study": "RUNNING",
        "a": "FINISHED",
        "b": "FINISHED",
    }
    assert len(noted) == 1 and "refused: a" in noted[0] and "never.html" in noted[0]


def test_a_resumed_study_goes_on_in_its_run(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Study(folder).running() as study:
        study.train("a")
        study.start("b")
        raise KeyboardInterrupt
    killed = all_runs(folder)
    assert {key: run.info.status for key, run in killed.items()} == {
        "study": "KILLED",
        "a": "FINISHED",
        "b": "KILLED",
    }
    with Study(folder).running() as study:
        study.start("b")
        study.flush()
        assert {all_runs(folder)[key].info.status for key in ("study", "b")} == {"RUNNING"}
        study.finish("b")
    finished = all_runs(folder)
    assert {k: r.info.run_id for k, r in finished.items()} == {k: r.info.run_id for k, r in killed.items()}
    assert {r.info.status for r in finished.values()} == {"FINISHED"}


def test_two_studies_of_one_name_in_one_database_stay_apart(folder: Path, tmp_path: Path) -> None:
    uri = uri_of(folder)
    for path in (folder, tmp_path / "other"):
        with Study(path, uri=uri, experiment="shared").running() as study:
            study.train("k")
        time.sleep(0.01)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("shared").experiment_id
    trials = client.search_runs([experiment], "tags.role = 'trial'")
    assert len({run.data.tags["mlflow.parentRunId"] for run in trials}) == 2
    studies = client.search_runs([experiment], "tags.role = 'study'")
    assert {run.data.tags["identity"] for run in studies} == {"identity"}


def test_a_database_that_vanished_is_filled_again(folder: Path, made_database: Path, tmp_path: Path) -> None:
    with Study(folder).running() as study:
        study.train("a")
    (folder / "mlflow.db").unlink()
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(made_database, new)
    with Study(folder, uri=uri_of(new)).running() as study:  # another place
        study.train("b")
    assert set(all_runs(new)) == {"study", "a", "b"}
    shutil.copy(made_database, new)  # the same place, emptied
    with Study(folder, uri=uri_of(new)).running() as study:
        study.train("c")
    assert set(all_runs(new)) == {"study", "a", "b", "c"}


def test_a_database_that_is_emptied_while_the_study_runs_is_filled_again(folder: Path) -> None:
    with Study(folder).running() as study:
        study.train("a")
        study.flush()
        client = MlflowClient(uri_of(folder))
        for run in all_runs(folder).values():
            client.delete_run(run.info.run_id)
        assert all_runs(folder) == {}
        study.train("b")
    assert {key: run.info.status for key, run in all_runs(folder).items()} == dict.fromkeys(
        ("study", "a", "b"), "FINISHED"
    )


def test_a_run_created_twice_by_a_late_answer_is_swept(folder: Path) -> None:
    with Study(folder).running() as study:
        study.start("k")
        study.flush()
        run = all_runs(folder)["k"]
        tags = {name: value for name, value in run.data.tags.items() if name.startswith("apportion.")}
        MlflowClient(uri_of(folder)).create_run(run.info.experiment_id, tags=tags)
    with Study(folder).running() as study:
        study.train("k")
    assert all_runs(folder)["k"].info.run_id == run.info.run_id


def test_the_machine_is_sampled_into_the_study(folder: Path) -> None:
    metrics: list[str] = []
    with Study(folder, log_system_metrics=True, system_metrics_interval=0.1).running() as study:
        deadline = time.monotonic() + 120
        while not metrics and time.monotonic() < deadline:
            time.sleep(0.3)
            study.flush()
            metrics = [m for m in all_runs(folder)["study"].data.metrics if m.startswith("system/")]
    assert "system/cpu_utilization_percentage" in metrics
    assert "system/system_memory_usage_megabytes" in metrics
    client, run = MlflowClient(uri_of(folder)), all_runs(folder)["study"].info.run_id
    history = client.get_metric_history(run, "system/cpu_utilization_percentage")
    assert [m.step for m in history] == list(range(len(history)))


def test_nothing_is_printed_and_no_secret_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    pool = Dataset(name="pool", digest="d", source="s3://key:hunter2@bucket", profile=POOL.profile)
    with Study(tmp_path, close_timeout=0).running(pool) as study:
        deadline = time.monotonic() + 120
        while "Connection refused" not in study.projection.pending() and time.monotonic() < deadline:
            time.sleep(0.1)
        told = study.projection.pending() + study.projection.where()
    assert "127.0.0.1" in told and "hunter2" not in told
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not any(b"hunter2" in content for content in written)
    assert capfd.readouterr() == ("", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["sync", str(tmp_path)]) == 2
    assert "set MLFLOW_TRACKING_URI" in capfd.readouterr().err


def test_what_no_server_took_is_shown_later(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with Study(tmp_path / "offline", close_timeout=0.2).running() as study:
        study.train("k")
    assert f"apportion sync {tmp_path / 'offline'}" in study.projection.pending()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    command = ["sync", str(tmp_path / "offline"), "--timeout"]
    assert main([*command, "1"]) == 1  # still bound for where it was tracked last
    assert "are not in http://127.0.0.1:9 yet (" in capsys.readouterr().out
    assert main([*command, "240", "--uri", uri_of(folder)]) == 0
    assert "1 finished trials of demo are in MLflow: " in capsys.readouterr().out
    assert {key: run.info.status for key, run in all_runs(folder).items()} == {
        "study": "FINISHED",
        "k": "FINISHED",
    }
    (experiment,) = {e.name for e in MlflowClient(uri_of(folder)).search_experiments()} - {"Default"}
    assert experiment == "demo"


def test_a_folder_without_a_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err


def test_a_folder_in_which_a_study_runs_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study(folder)
    with study.folder.locked(), study.running():
        assert main(["sync", str(folder)]) == 2
    assert "another study is running" in capsys.readouterr().err


def test_tracking_can_be_switched_off(tmp_path: Path) -> None:
    with Study(tmp_path, uri="none").running() as study:
        study.train("k")
        study.flush()
    assert "in memory" in study.projection.where()
    assert not list(tmp_path.rglob("mlflow*"))


def test_the_study_starts_without_importing_mlflow() -> None:
    code = "import search.study.tracked, sys; print({'mlflow', 'torch', 'ray'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.slow
def test_a_database_locked_by_another_writer_delays_and_loses_nothing(folder: Path) -> None:
    with Study(folder).running() as study:
        study.train("a")
        study.flush()
        other = sqlite3.connect(folder / "mlflow.db", check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(8, other.rollback)  # longer than sqlite's own patience, 5 s
        release.start()
        begun = time.perf_counter()
        study.train("b")
        assert time.perf_counter() - begun < 1
        study.flush()
        release.join()
        other.close()
        assert time.perf_counter() - begun > 7
    assert set(all_runs(folder)) == {"study", "a", "b"}


RUNNING = f"""
import sys
import time
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(TESTS)!r}]
from support.tracked_studies import Study
with Study(Path(sys.argv[1]), close_timeout=float(sys.argv[2])).running() as study:
    study.train(*(f"key{{number}}" for number in range(12)))
    study.start("last")
    study.end_seed("last", 0)
    print("told", flush=True)
    if sys.argv[3] == "die":
        study.projection.flush(float(sys.argv[2]))
        time.sleep(600)  # until it is killed, however soon all was sent
print(study.projection.pending() == "", flush=True)
"""


@pytest.mark.slow
def test_a_study_killed_at_any_time_ends_with_one_run_for_each_key(folder: Path) -> None:
    for pause in (0.0, 2.5, 5.0):
        command = [sys.executable, "-c", RUNNING, str(folder), "240", "die"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "told\n"
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert main(["sync", str(folder), "--timeout", "240"]) == 0
    runs = all_runs(folder)
    assert len(runs) == 14
    assert {key for key, run in runs.items() if run.info.status == "KILLED"} == {"study", "last"}
    assert all(
        run.data.metrics.get("reward") == 0.5 and run.info.status == "FINISHED"
        for key, run in runs.items()
        if key.startswith("key")
    )
    client = MlflowClient(uri_of(folder))
    curve = client.get_metric_history(runs["last"].info.run_id, "seed_0.loss")
    assert [m.step for m in curve] == STEPS


@pytest.mark.slow
def test_a_process_whose_service_is_dead_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls, never answers
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        command = [sys.executable, "-c", RUNNING, str(tmp_path), "4", "end"]
        begun = time.perf_counter()
        assert subprocess.check_output(command, text=True) == "told\nFalse\n"
        assert time.perf_counter() - begun < 60


def test_a_database_left_half_made_is_made_anew(tmp_path: Path) -> None:
    """MLflow, killed while it makes its tables, leaves a file that it can never open again."""
    (tmp_path / "mlflow.db.partial").write_bytes(b"SQLite format 3\x00 and then nothing")
    with Study(tmp_path).running() as study:
        study.train("k")
    assert all_runs(tmp_path)["k"].info.status == "FINISHED"
    assert not (tmp_path / "mlflow.db.partial").exists()
