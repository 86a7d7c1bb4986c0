"""A real `mlflow server` on loopback that is killed, comes back, is slow, or loses its answers."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from support.mlflow_server import Server
from support.tracked_studies import STEPS, Study

from search.cli import main

pytestmark = pytest.mark.slow


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
    if not life.answers():
        life.start()
    client = MlflowClient(life.uri)
    for run in life.runs().values():
        client.delete_run(run.info.run_id)


@pytest.fixture
def study(server: Server, tmp_path: Path) -> Study:
    return Study(tmp_path / "study", uri=server.uri)


def keys(count: int) -> list[str]:
    return [f"key{number}" for number in range(count)]


def assert_whole(server: Server, count: int) -> None:
    runs = server.runs()
    parent = runs.pop("study")
    assert parent.info.status == "FINISHED"
    assert sorted(runs) == keys(count)
    client = MlflowClient(server.uri)
    for run in runs.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.info.status, run.data.metrics["reward"]) == ("FINISHED", 0.5)
        for seed in (0, 1):
            assert [m.step for m in client.get_metric_history(run.info.run_id, f"seed_{seed}.loss")] == STEPS


def test_a_study_on_a_server_with_files_pool_and_policy(server: Server, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "weights").write_text("w")
    study = Study(tmp_path / "study", uri=server.uri, register_as="best")
    (study.folder.path / "report.html").write_text("r")
    with study.running() as life:
        life.train("key0")
        life.start("key1")
        life.finish("key1", policy=str(tmp_path / "policy"))
    assert_whole(server, 2)
    client = MlflowClient(server.uri)
    (version,) = client.search_model_versions("name = 'best'")
    assert [f.path for f in client.list_artifacts(version.run_id, "policy")] == ["policy/weights"]
    parent = server.runs()["study"]
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"config.yaml", "report.html"}
    assert all(run.inputs.dataset_inputs[0].dataset.name == "demo pool" for run in server.runs().values())
    assert life.projection.where().startswith(f"{server.uri}/#/experiments/")


def test_a_server_killed_midway_and_back_after_seconds_has_everything(server: Server, study: Study) -> None:
    longest = 0.0
    with study.running() as life:
        for key in keys(8):
            if key == "key3":
                life.flush()
                server.kill()
                threading.Timer(3, server.start).start()
            begun = time.perf_counter()
            life.train(key)
            longest = max(longest, time.perf_counter() - begun)
    assert longest < 1
    assert life.projection.pending() == ""
    assert_whole(server, 8)


def test_a_server_dead_for_good_ends_in_time_and_all_is_sent_later(server: Server, tmp_path: Path) -> None:
    study = Study(tmp_path / "study", uri=server.uri, close_timeout=2)
    with study.running() as life:
        life.train("key0")
        server.kill()
        life.train("key1", "key2")
        begun = time.perf_counter()
    assert time.perf_counter() - begun < 6
    assert "are not in http://127.0.0.1" in life.projection.pending()
    server.start()
    assert main(["sync", str(study.folder.path), "--timeout", "240"]) == 0
    assert_whole(server, 3)


def test_a_server_whose_database_is_made_anew_midway_is_filled_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server is killed, its database deleted, and it comes back at the same port with an empty one."""
    server = Server(tmp_path)
    server.start()
    study = Study(tmp_path / "study", uri=server.uri)
    try:
        with study.running() as life:
            life.train("key0", "key1")
            life.flush()
            server.forget()
            life.train("key2")
            life.flush()
            assert sorted(server.runs()) == ["key0", "key1", "key2", "study"]
        server.forget()
        for _ in range(2):
            assert main(["sync", str(study.folder.path), "--timeout", "240"]) == 0
            assert_whole(server, 3)
    finally:
        server.kill()


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
    others = set(threading.enumerate())
    proxy = Proxy(server.port, delay=0.4)
    study = Study(tmp_path / "study", uri=proxy.uri, close_timeout=0.5)
    begun = time.perf_counter()
    with study.running() as life:
        life.train(*keys(2))
        assert time.perf_counter() - begun < 2
        begun = time.perf_counter()
    assert life.projection.pending()
    assert time.perf_counter() - begun < 3
    proxy.delay = 0.0
    for thread in threading.enumerate():  # with its process it would be gone: here it ends what it is at
        if thread.name == "tracking" and thread not in others:
            thread.join(30)
    assert main(["sync", str(study.folder.path), "--timeout", "240"]) == 0
    proxy.shutdown()
    proxy.server_close()
    assert_whole(server, 2)


def test_lost_answers_make_no_second_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of request takes effect once without the caller learning of it."""
    monkeypatch.setattr("search.tracking.projection.PAUSES", (0.1,))
    lost: set[str] = set()

    def lose(request: str) -> bool:
        first = request not in lost
        lost.add(request)
        return first

    proxy = Proxy(server.port, lose=lose)
    with Study(tmp_path / "study", uri=proxy.uri).running() as life:
        life.train(*keys(2))
    assert life.projection.pending() == ""
    proxy.shutdown()
    proxy.server_close()
    assert {"POST /api/2.0/mlflow/runs/create", "POST /api/2.0/mlflow/runs/log-batch"} < lost
    assert_whole(server, 2)
