"""How many trials fit: into the cluster as it stands, and into what it may grow to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from support.paths import ROOT

from base.errors import ConfigError
from search.cluster.capacity import concurrent_trials, largest, trials_held
from search.cluster.connection import how_to_see
from search.config.study import StudyConfig
from trainers.config.trainer import ResourcesConfig

HEAD = {"CPU": 0.0}
LIMITS = {
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "small": {"resources": {"CPU": 2}, "max_workers": 4},
        "gpu": {"resources": {"CPU": 8, "GPU": 2}, "max_workers": 3},
    },
}


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    path = tmp_path / "launcher.yaml"
    path.write_text(yaml.safe_dump(LIMITS))
    return path


def study(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], **sections: Any) -> StudyConfig:
    """A study on a cluster that Ray reports as `nodes`."""
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64.0}}])
    return StudyConfig.model_validate({"budget": 1, "pool": {}, "trainer": {"batch_prompts": 64}, **sections})


def at_a_time(config: StudyConfig) -> int:
    return concurrent_trials(config.cluster, config.resources, config.search.max_concurrent)


@pytest.mark.parametrize(
    ("resources", "fits"),
    [
        ({"cpus_per_worker": 1}, 4),
        ({"cpus_per_worker": 2}, 2),
        ({"cpus_per_worker": 0.5}, 8),
        ({"cpus_per_worker": 1, "workers": 3}, 1),
        ({"cpus_per_worker": 3}, 0),  # four CPUs, but no machine has three
        ({"cpus_per_worker": 1, "gpus_per_worker": 1}, 1),
    ],
)
def test_workers_lie_whole_on_a_machine(resources: dict[str, float], fits: int) -> None:
    nodes = [({"CPU": 2.0, "GPU": 1.0}, 1), ({"CPU": 2.0}, 1)]
    assert trials_held(nodes, ResourcesConfig.model_validate(resources)) == fits


def test_a_cluster_is_taken_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert at_a_time(study(monkeypatch, [HEAD, {"CPU": 4.0}])) == 4


def test_one_that_grows_is_counted_at_its_largest(monkeypatch: pytest.MonkeyPatch, limits: Path) -> None:
    cluster = {"autoscaling": str(limits)}
    # Three of the machines with a GPU, and two small ones: max_workers is 5.
    assert at_a_time(study(monkeypatch, [HEAD], cluster=cluster)) == 3 * 8 + 2 * 2
    on_gpus = study(monkeypatch, [HEAD], cluster=cluster, resources={"gpus_per_worker": 1})
    assert at_a_time(on_gpus) == 3 * 2


def test_a_cluster_larger_than_its_file_says_is_believed(
    monkeypatch: pytest.MonkeyPatch, limits: Path
) -> None:
    assert at_a_time(study(monkeypatch, [{"CPU": 99.0}], cluster={"autoscaling": str(limits)})) == 99


def test_the_user_may_ask_for_fewer_or_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert at_a_time(study(monkeypatch, [{"CPU": 4.0}], search={"max_concurrent": 2})) == 2
    assert at_a_time(study(monkeypatch, [HEAD], search={"max_concurrent": 6})) == 6


@pytest.mark.parametrize("asked", [0, 3])
def test_what_can_never_be_placed_is_refused(
    monkeypatch: pytest.MonkeyPatch, limits: Path, asked: int
) -> None:
    config = study(
        monkeypatch,
        [HEAD],
        cluster={"autoscaling": str(limits)},
        resources={"workers": 1, "cpus_per_worker": 4, "gpus_per_worker": 4},
        search={"max_concurrent": asked},
    )
    with pytest.raises(ConfigError) as error:
        at_a_time(config)
    assert "resources.gpus_per_worker 4" in str(error.value)
    assert "may grow to 1 x 0 CPUs, 0 GPUs; " in str(error.value) and "3 x 8 CPUs, 2 GPUs" in str(error.value)
    assert "which holds 0" in str(error.value)


def test_a_cluster_that_does_not_grow_says_how_it_might(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="the cluster is 1 x 0 CPUs.*set search.max_concurrent if"):
        at_a_time(study(monkeypatch, [HEAD]))


@pytest.mark.parametrize("text", ["", "max_workers: 3", "a: [", "max_workers: many\nhead_node_type: h"])
def test_a_file_that_does_not_say_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "launcher.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="does not say how far the cluster may grow"):
        largest(path, ResourcesConfig())


def test_the_repositorys_own_files_say_how_far_they_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cluster.yaml", "clusters/gcp.yaml"):
        config = study(
            monkeypatch, [HEAD], cluster={"autoscaling": str(ROOT / name)}, resources={"gpus_per_worker": 1}
        )
        assert at_a_time(config) == 8, name


def test_the_way_to_watch_is_said_on_a_cluster_alone() -> None:
    assert how_to_see({}) == ""
    said = how_to_see({"APPORTION_VIEW": "ray attach cluster.yaml -p 8265 -p 5000"})
    assert "ray attach cluster.yaml -p 8265 -p 5000" in said and "http://127.0.0.1:5000 (MLflow)" in said
