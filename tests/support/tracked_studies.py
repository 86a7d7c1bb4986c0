"""Studies that train nothing: what a run writes into its folder, and the tracker that follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from factories import planned, record
from mlflow.tracking import MlflowClient

from search.config.study import StudyConfig
from search.study.folder import StudyFolder
from search.study.tracked import tracked
from search.tracking.projection import Projection
from search.tracking.tracker import Dataset, MemoryTracker
from search.trials.attempts import Attempts
from search.trials.design_point import Trial
from trainers.spec import SeedResult

POOL = Dataset(
    name="demo pool",
    digest="0123456789abcdef" * 4,
    source="pool.jsonl",
    profile={"train_prompts": 3000, "held_out_prompts": 20},
)
STEPS = [0, 1, 2, 3, 4]


def trial(prompts: int = 10) -> Trial:
    return planned(prompts, 2, budget_fraction=1.0)


HISTORY = [{"step": float(step), "loss": 1.0 / (step + 1)} for step in STEPS]


def result(seed: int) -> SeedResult:
    return record(trial(), 0.5, 0.5, history=HISTORY).results[seed]


class Running:
    """A study as it runs: each call writes what a ledger would."""

    def __init__(self, folder: StudyFolder, projection: Projection, attempts: Attempts) -> None:
        self.folder, self.projection, self.attempts = folder, projection, attempts

    def start(self, *keys: str) -> None:
        for key in keys:
            self.attempts.planned(key, trial())
            self.attempts.started(key, trial())
        self.projection.changed()

    def end_seed(self, key: str, seed: int) -> None:
        self.attempts.seed_ended(key, result(seed))
        self.projection.changed()

    def finish(self, key: str, **more: Any) -> None:
        self.folder.save(record(trial(), 0.5, 0.5, key=key, history=HISTORY, **more))
        self.attempts.ended(key, "FINISHED")
        self.projection.changed()

    def train(self, *keys: str) -> None:
        for key in keys:
            self.start(key)
            self.finish(key)

    def fail(self, key: str) -> None:
        self.attempts.ended(key, "FAILED")
        self.projection.changed()

    def flush(self) -> None:
        assert self.projection.flush(240), self.projection.pending()


class Study:
    """A folder and its configuration; `close_timeout` is long unless said otherwise."""

    def __init__(self, path: Path, *, name: str = "demo", **tracking: Any) -> None:
        sections = {"tracking": {"log_system_metrics": False, "close_timeout": 240.0, **tracking}}
        kept = {} if "register_as" not in tracking else {"checkpoints": {"keep_policies": "all"}}
        self.config = StudyConfig.model_validate(
            {"name": name, "budget": 4800, "pool": {"path": "demo"}, **sections, **kept}
        )
        self.folder = StudyFolder(path)
        path.mkdir(parents=True, exist_ok=True)
        self.folder.adopt(self.config)

    @contextmanager
    def running(self, dataset: Dataset = POOL) -> Iterator[Running]:
        with tracked(self.folder, self.config, "identity", dataset) as (projection, attempts):
            yield Running(self.folder, projection, attempts)


def nowhere() -> Projection:
    """Tracking that is switched off."""
    return Projection(tuple, MemoryTracker, target="memory", where="")


def runs_at(uri: str) -> dict[str, Any]:
    """All runs at an MLflow server or database, by key; the study's own is called study."""
    client = MlflowClient(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    keys = [run.data.tags["apportion.key"] for run in runs]
    assert len(keys) == len(set(keys)), "two runs of one key"
    return dict(zip(keys, runs, strict=True))
