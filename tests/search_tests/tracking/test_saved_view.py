"""The printed address of a study shows its comparison with no click, in a real MLflow and a real browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from factories import planned, record
from mlflow.tracking import MlflowClient
from support.browser import chromium
from support.mlflow_server import Server
from support.tracked_studies import Running, Study

from search.tracking.mlflow_tracker import MlflowTracker, log_file
from search.tracking.saved_view import COLOURS, VIEW, VIEW_TAG, colour, saved_view, understood


def train(running: Running, *splits: tuple[int, int]) -> None:
    for prompts, responses in splits:
        trial = planned(prompts, responses, budget_fraction=1.0)
        key, rewards = f"{prompts}x{responses}", (0.4 + responses / 100, 0.41 + responses / 100)
        running.attempts.planned(key, trial)
        running.attempts.started(key, trial)
        running.folder.save(record(trial, *rewards, key=key, diversity=prompts**0.2))
        running.attempts.ended(key, "FINISHED")
    running.projection.changed()


SPLITS = ((12, 8), (24, 4), (48, 2), (24, 8), (48, 4))


def test_a_view_is_what_mlflows_page_reads_and_the_same_each_time() -> None:
    view = json.loads(saved_view(7))
    assert saved_view(7) == saved_view(7) and len(saved_view(7)) <= 5_000  # MLflow's limit of a tag
    assert (view["createdAt"], view["updatedAt"]) == (7, 7)
    state = json.loads(view["state"])
    sections = {one["uuid"] for one in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert [chart["type"] for chart in state["compareRunCharts"]] == ["SCATTER", "CONTOUR", "PARALLEL"]


@pytest.mark.parametrize(
    ("version", "has"), [("3.17.2", True), ("4.0", True), ("3.16.1", False), ("2.9", False)]
)
def test_only_versions_that_have_views_are_given_one(version: str, has: bool) -> None:
    assert understood(version) is has


def test_trials_with_more_responses_are_darker() -> None:
    assert len({colour(k) for k in (1, 2, 3, 4, 5, 6, 7, 8)}) == 8 and colour(20) == colour(8)

    def light(dot: str) -> float:
        return sum(int(dot[at : at + 2], 16) * part for at, part in ((1, 0.3), (3, 0.59), (5, 0.11)))

    assert np.all(np.diff([light(one) for one in COLOURS]) < 0)


class Answers(BaseHTTPRequestHandler):
    """What the tracker asks of a server at first; `/version` answers with `version`, or else in its way."""

    version = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rpartition("/")[2]
        self.asked.append(path)
        if path == "version":
            if self.version == "late":
                time.sleep(1)
            return self._send(self.version.encode(), 404 if self.version == "unknown" else 200)
        experiment = {"experiment_id": "1", "name": "demo", "lifecycle_stage": "active", "creation_time": 7}
        return self._send(json.dumps({"experiment": experiment}).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append(self.path.rpartition("/")[2])
        self._send(b"{}")

    def _send(self, content: bytes, status: int = 200) -> None:
        with suppress(BrokenPipeError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("3.17.2", True),
        ("3.5.0", False),
        ("unknown", True),
        ("late", True),
        ("<html>not a version</html>", True),
    ],
)
def test_a_server_of_another_version_is_given_no_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, has: bool
) -> None:
    """One that does not say its version counts as of this client's, which has views."""
    monkeypatch.setattr("search.tracking.mlflow_tracker.VERSION_TIMEOUT_S", 0.2)
    handler = type("Server", (Answers,), {"version": version, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    try:
        log = log_file(tmp_path / "log")
        tracker = MlflowTracker(uri, study="s", experiment="demo", artifacts=None, log=log)
        assert tracker.known() == {}
    finally:
        server.shutdown()
        server.server_close()
    assert handler.asked.count("version") == 1
    assert ("set-experiment-tag" in handler.asked) is has
    assert (f"viewStateShareKey={VIEW}" in tracker.where()) is has
    assert tracker.where().startswith(f"{uri}/#/experiments/1/runs?")


@pytest.mark.slow
def test_the_view_is_written_once_and_mended(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    with study.running() as running:
        train(running, *SPLITS[:1])
        running.flush()
        address = running.projection.where()
    assert f"viewStateShareKey={VIEW}" in address
    client = MlflowClient(f"sqlite:///{study.folder.path}/mlflow.db")
    [experiment] = client.search_experiments(filter_string="name = 'demo'")
    kept = experiment.tags[VIEW_TAG]
    [run] = client.search_runs([experiment.experiment_id], "tags.role = 'trial'")
    assert run.data.tags["mlflow.runColor"] == colour(SPLITS[0][1])
    client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, "something else")
    with study.running() as running:
        train(running, *SPLITS[1:2])
        running.flush()
    assert client.get_experiment(experiment.experiment_id).tags[VIEW_TAG] == kept


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a study of SPLITS on a server, as it is printed at the end."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder)
    try:
        server.start()
        with Study(folder / "study", uri=server.uri).running() as running:
            train(running, *SPLITS)
            running.flush()
        yield running.projection.where()
    finally:
        server.kill()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """The page at that address, its first chart drawn; so wide that no column is out of sight."""
    with chromium("the saved view") as browser:
        opened = browser.new_page(viewport={"width": 2400, "height": 1000})
        opened.set_default_timeout(240_000)
        opened.goto(address)
        opened.get_by_text("Reward and diversity").first.wait_for()
        opened.locator(".js-plotly-plot").first.wait_for()
        yield opened


# A chart of MLflow's as plotly drew it: its axes' titles, and its points with their colours.
PLOTS = """plots => plots.map(plot => {
    const text = axis => axis.title.text
    const points = plot.data[plot.data.length - 1]
    const {x, y, marker} = points
    return {kinds: plot.data.map(trace => trace.type),
            axes: [text(plot.layout.xaxis), text(plot.layout.yaxis)],
            points: x.map((_, row) => [x[row], y[row], marker.color[row]])}
})"""


@pytest.mark.slow
def test_the_address_opens_the_comparison_with_no_click(page: Any) -> None:
    page.locator(".js-plotly-plot").nth(1).wait_for()
    page.locator(".parcoords").wait_for()
    shown = page.inner_text("body")
    assert "apportion: reward and diversity" in shown, "not listed under Views"
    assert all(f"{prompts} x {responses}" in shown for prompts, responses in SPLITS)
    scatter, contour = page.locator(".js-plotly-plot").evaluate_all(PLOTS)
    assert (scatter["kinds"], scatter["axes"]) == (["scatter"], ["diversity", "reward"])
    drawn = {(round(x, 6), round(y, 6), dot) for x, y, dot in scatter["points"]}
    assert drawn == {(round(n**0.2, 6), round(0.405 + k / 100, 6), colour(k)) for n, k in SPLITS}
    assert (contour["kinds"], contour["axes"]) == (["contour", "scatter"], ["diversity", "responses"])
    axes = page.locator(".parcoords").inner_text().split()
    assert [name for name in axes if name.isalpha()] == ["prompts", "responses", "diversity", "reward"]


# The cells of MLflow's table, row by row, by the names of their columns.
ROWS = """rows => rows.map(row => Object.fromEntries([...row.querySelectorAll("[role=gridcell]")].map(
    cell => [cell.getAttribute("col-id").replace(/.*`(.*)`/, "$1"), cell.innerText])))"""


@pytest.mark.slow
def test_its_list_shows_the_same_trials_with_their_columns_best_first(page: Any) -> None:
    page.locator("label:has(input[name=runs-view-mode][value=TABLE])").click()
    for name in ("reward", "diversity", "prompts", "responses", "seeds"):
        page.locator(f"[role=columnheader][col-id$='`{name}`']").wait_for()
    cells = page.locator(".ag-center-cols-container [role=row]")
    cells.nth(len(SPLITS) - 1).wait_for()
    rows = sorted(cells.evaluate_all(ROWS), key=lambda row: -float(row["reward"]))
    assert rows == cells.evaluate_all(ROWS), "not best first"
    assert {(int(row["prompts"]), int(row["responses"]), int(row["seeds"])) for row in rows} == {
        (*split, 2) for split in SPLITS
    }
    assert {round(float(row["diversity"]), 6) for row in rows} == {round(n**0.2, 6) for n, _ in SPLITS}
