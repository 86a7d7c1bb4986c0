"""A round trip through a real Label Studio: tasks imported, annotated by its API, exported, read back.

It brings Django and pins of its own, so it is installed in an environment of its own:
`python -m venv ls && ls/bin/pip install label-studio`, then `PATH=$PWD/ls/bin:$PATH pytest -m slow ...`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripted_rater import results, texts_shown

from annotation.labels.label_studio import CONFIG
from annotation.labels.tasks import Asked, Kind, plan_tasks
from annotation.labels.tools import read_ratings, write_tasks
from pools.types import Example, Prompt, Response

LABEL_STUDIO = shutil.which("label-studio")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
TO_NAME = {"ranking": "responses", "better": "left,right", "verdict": "prompt_text"}
QUIET = {  # nothing leaves the machine
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "False",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Server:
    """Label Studio on a loopback port; `call` asks its API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def call(self, path: str, body: object = None) -> Any:
        """The JSON of a GET or, with a body, a POST."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.loads(reply.read())

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if LABEL_STUDIO is None:
        pytest.skip("label-studio is not on the PATH: the round trip through a real one is NOT tested")
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = {
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    own = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder), "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | quiet | own
    account = ["--username", "ann@example.org", "--password", "secret-secret", "--user-token", TOKEN]
    command = [
        LABEL_STUDIO,
        "start",
        "--no-browser",
        "--data-dir",
        str(folder),
        "--port",
        str(port),
        *account,
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env | QUIET, cwd=folder)
    made = Server(port)
    try:
        until = time.monotonic() + 500
        while not made.is_up():
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2000:]
            time.sleep(1)
        yield made
    finally:
        process.terminate()
        process.wait(30)


def rank(texts: list[str]) -> list[int] | None:
    """The ranks this test gives: by the first digit of a response; none of the third prompt."""
    return None if any(" of 2" in text for text in texts) else [1 + int(text[0]) for text in texts]


@pytest.mark.parametrize("kind", ["ranking", "pairwise", "rating"])
def test_what_is_annotated_there_is_read_here(server: Server, tmp_path: Path, kind: Kind) -> None:
    texts = [[f"{place // 2 * 2} {place} of {n} <b>&" for place in range(4)] for n in range(4)]  # two ties
    examples = [
        Example(Prompt(f"prompt {n}"), tuple(Response(t, 0.0) for t in own)) for n, own in enumerate(texts)
    ]
    tasks = plan_tasks([Asked(one, 1) for one in examples], kind=kind, raters=["ann"], seed=0)
    write_tasks(tmp_path / "out", "label-studio", tasks, kind, {})
    config = (tmp_path / "out" / CONFIG).read_text()
    project = server.call("/api/projects", {"title": kind, "label_config": config})["id"]
    server.call(f"/api/projects/{project}/import", json.loads((tmp_path / "out" / "ann.json").read_text()))
    for task in server.call(f"/api/projects/{project}/tasks?page_size=100"):
        annotate(server, task)
    expected = {task.id: rank([response.text for response in task.shown]) for task in tasks}
    for shape in ("JSON", "JSON_MIN"):
        path = tmp_path / f"{shape}.json"
        path.write_text(json.dumps(server.call(f"/api/projects/{project}/export?exportType={shape}")))
        found = {rating.task: rating for rating in read_ratings(path)}
        assert found.keys() == expected.keys()
        for name, ranks in expected.items():
            values = [value for _, value in sorted(found[name].values.items())]
            assert order(values, kind) == order([float(each) for each in ranks or []], "ranking"), (
                shape,
                name,
            )
            assert found[name].seconds == 12.5
            assert found[name].rater is not None


def order(values: list[float], kind: str) -> list[int]:
    """Places of the values among their distinct ones, the best first."""
    levels = sorted(set(values), reverse=kind == "rating")
    return [levels.index(value) for value in values]


def annotate(server: Server, task: dict[str, Any]) -> None:
    """Annotate one task as `rank` ranks it."""
    data = task["data"]
    made = [
        {
            "from_name": name,
            "to_name": TO_NAME.get(name, name.replace("rating", "response")),
            "type": type,
            "value": value,
        }
        for name, type, value in results(data, rank(texts_shown(data)))
    ]
    server.call(f"/api/tasks/{task['id']}/annotations/", {"result": made, "lead_time": 12.5})
