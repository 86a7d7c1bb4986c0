"""The printed address of a study shows its comparison with no click, in a real MLflow and a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import planned, record
from mlflow.tracking import MlflowClient
from support.browser import chromium
from support.mlflow_server import Server
from support.tracked_studies import Running, Study

from search.tracking.config import where_to_look
from search.tracking.saved_view import VIEW, VIEW_TAG, saved_view, understood


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
    client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, "something else")
    with study.running() as running:
        train(running, *SPLITS[1:2])
        running.flush()
    assert client.get_experiment(experiment.experiment_id).tags[VIEW_TAG] == kept


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    with chromium("the saved view") as browser:
        yield browser.new_page(viewport={"width": 1500, "height": 1000})


@pytest.mark.slow
def test_the_address_opens_the_comparison_with_no_click(tmp_path: Path, page: Any) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        study = Study(tmp_path / "study", uri=server.uri)
        with study.running() as running:
            train(running, *SPLITS)
            running.flush()
        experiment = MlflowClient(server.uri).get_experiment_by_name("demo")
        assert experiment is not None
        page.goto(where_to_look(server.uri, experiment.experiment_id, VIEW))
        page.get_by_text("Reward and diversity").first.wait_for(timeout=120_000)
        page.locator(".js-plotly-plot").nth(1).wait_for(timeout=120_000)
        shown = page.inner_text("body")
        assert "apportion: reward and diversity" in shown, "not listed under Views"
        assert all(f"{prompts} x {responses}" in shown for prompts, responses in SPLITS)
        titles = [text.lower() for text in page.locator(".js-plotly-plot").all_inner_texts()]
        assert any("diversity" in text and "reward" in text for text in titles)
    finally:
        server.kill()
