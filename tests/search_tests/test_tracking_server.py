"""A real `mlflow server` on loopback that is killed, comes back, is slow, or loses its answers."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from search.tracking.config import TrackingConfig
from search.tracking.mlflow_tracker import MlflowTracker, replay
from search.tracking.tracker import Dataset, StepPoint

pytestmark = pytest.mark.slow


class Server:
    """An `mlflow server` with its own database, at one port for all its lives."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 240
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.1)

    def kill(self) -> None:
        """End it and its workers, as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=10) as answer:
            return bool(answer.status == 200)
        return False

    def runs(self) -> dict[str, object]:
        client = MlflowClient(self.uri)
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        keys = [run.data.tags["apportion.key"] for run in runs]
        assert len(keys) == len(set(keys)), "two runs of one key"
        return dict(zip(keys, runs, strict=True))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(life: Server) -> Iterator[Server]:
    """The module's server, emptied of runs; a test may kill it."""
    yield life
    if not life._answers():
        life.start()
    client = MlflowClient(life.uri)
    for run in life.runs().values():
        client.delete_run(run.info.run_id)


def study(tracker: MlflowTracker, trials: range, during: Callable[[int], None] = lambda number: None) -> None:
    tracker.start_study(name="demo", params={"budget": 100}, tags={})
    for number in trials:
        key = f"key{number}"
        tracker.start_trial(key, params={"prompts": number, "responses": 2}, tags={})
        during(number)
        for step in range(5):
            tracker.log_steps(
                key, [StepPoint(step=step, metrics={"loss": 1.0 / (step + 1)}, timestamp_ms=step)]
            )
        tracker.finish_trial(key, metrics={"reward": 0.5, "diversity": number}, status="FINISHED")
    tracker.finish_study(metrics={"slope": 0.1}, status="FINISHED")


def assert_whole(server: Server, trials: range) -> None:
    runs = server.runs()
    parent = runs.pop("study")
    assert parent.info.status == "FINISHED"
    assert set(runs) == {f"key{number}" for number in trials}
    client = MlflowClient(server.uri)
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.info.status, run.data.metrics["reward"]) == ("FINISHED", 0.5)
        assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2, 3, 4]


def config(uri: str) -> TrackingConfig:
    return TrackingConfig(uri=uri, log_system_metrics=False)


def test_a_study_on_a_server_with_files_pool_and_policy(server: Server, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "weights").write_text("w")
    tracker = MlflowTracker(config(server.uri), tmp_path)
    study(tracker, range(2))
    tracker.log_dataset(Dataset(name="pool", digest="0" * 64, source="pool.jsonl"))
    tracker.register_policy(str(tmp_path / "policy"), key="key1", name="best")
    assert tracker.close(240), tracker.pending()
    assert_whole(server, range(2))
    client = MlflowClient(server.uri)
    (version,) = client.search_model_versions("name = 'best'")
    assert [f.path for f in client.list_artifacts(version.run_id, "policy")] == ["policy/weights"]
    assert tracker.where().startswith(f"{server.uri}/#/experiments/")


def test_a_server_killed_midway_and_back_after_seconds_has_everything(server: Server, tmp_path: Path) -> None:
    tracker = MlflowTracker(config(server.uri), tmp_path)
    longest = 0.0

    def kill_then_revive(number: int) -> None:
        nonlocal longest
        if number == 3:
            assert tracker.waiting < 1000 and tracker.flush(240)
            server.kill()
            threading.Timer(3, server.start).start()
        begun = time.perf_counter()
        tracker.log_steps(None, [StepPoint(step=number, metrics={"done": number}, timestamp_ms=number)])
        longest = max(longest, time.perf_counter() - begun)

    study(tracker, range(8), kill_then_revive)
    assert longest < 1
    assert tracker.close(240), tracker.pending()
    assert_whole(server, range(8))


def test_a_server_dead_for_good_ends_in_time_and_all_is_sent_later(server: Server, tmp_path: Path) -> None:
    tracker = MlflowTracker(config(server.uri), tmp_path)
    study(tracker, range(3), lambda number: server.kill() if number == 1 else None)
    begun = time.perf_counter()
    assert not tracker.close(2)
    assert time.perf_counter() - begun < 6
    assert "wait in" in tracker.pending()
    server.start()
    assert replay(tmp_path, TrackingConfig(log_system_metrics=False), timeout_s=240) == 0
    assert_whole(server, range(3))


class Proxy(ThreadingHTTPServer):
    """Stands before the server: holds each request for `delay` s, and throws some answers away."""

    def __init__(self, port: int, *, delay: float = 0.0, lose: Callable[[str], bool] = lambda _: False):
        super().__init__(("127.0.0.1", 0), Relay)
        self.server_port_behind, self.delay, self.lose = port, delay, lose
        self.uri = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Relay(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay)
        behind = http.client.HTTPConnection("127.0.0.1", self.server.server_port_behind)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        self.close_connection = True
        if self.server.lose(f"{self.command} {self.path.partition('?')[0]}"):
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Not wanted among a test's output."""


def test_a_slow_server_holds_up_nobody(server: Server, tmp_path: Path) -> None:
    proxy = Proxy(server.port, delay=0.4)
    tracker = MlflowTracker(config(proxy.uri), tmp_path)
    begun = time.perf_counter()
    study(tracker, range(2))
    assert time.perf_counter() - begun < 2
    begun = time.perf_counter()
    assert not tracker.close(0.5)
    assert time.perf_counter() - begun < 3
    proxy.delay = 0.0
    for thread in threading.enumerate():  # with its process it would be gone: here it ends what it is at
        if thread.name == "tracking":
            thread.join(30)
    assert replay(tmp_path, config(proxy.uri), timeout_s=240) == 0
    proxy.shutdown()
    proxy.server_close()
    assert_whole(server, range(2))


def test_lost_answers_make_no_second_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of request takes effect once without the caller learning of it."""
    monkeypatch.setattr("search.tracking.spooled.PAUSES", (0.1,))
    lost: set[str] = set()

    def lose(request: str) -> bool:
        first = request not in lost
        lost.add(request)
        return first

    proxy = Proxy(server.port, lose=lose)
    tracker = MlflowTracker(config(proxy.uri), tmp_path)
    study(tracker, range(2))
    assert tracker.close(240), tracker.pending()
    proxy.shutdown()
    proxy.server_close()
    assert {"POST /api/2.0/mlflow/runs/create", "POST /api/2.0/mlflow/runs/log-batch"} < lost
    assert_whole(server, range(2))
