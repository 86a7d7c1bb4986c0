"""A study that goes on from trials made elsewhere: what is taken, what is refused, where it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from factories import planned, record
from rich.console import Console
from support.tracked_studies import nowhere

from base.errors import ConfigError
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.plan import Plan
from search.plan.proposals import Proposals
from search.plan.space import Space
from search.plan.step import Train
from search.study.conductor import Conductor
from search.study.earlier import earlier_trials, go_on, told, without
from search.study.folder import StudyFolder
from search.study.ledger import Ledger
from search.study.summary import trials_table
from search.study.tracked import StudyRuns, open_study
from search.terminal.display import Display
from search.tracking.tracker import Dataset
from search.trials.attempts import Attempts
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials, write_trials

DIGEST = "0123456789ab"
BASE: dict[str, Any] = {
    "budget": 96,
    "pool": {"path": "demo"},
    "search": {"plan": "grid", "responses": [2, 4], "budget_fractions": [0.5, 1.0], "trials": 2, "seeds": 2},
}


def config(**more: Any) -> StudyConfig:
    search = {**BASE["search"], **more.pop("search", {})}
    return StudyConfig.model_validate({**BASE, **more, "search": search})


def trials() -> list[TrialRecord]:
    """All of the grid but 24 x 4, and one split outside it."""
    return [
        record(planned(n, k), 0.4 + n / 1000, 0.42 + n / 1000, key=f"{n}x{k}", diversity=float(np.log(n)))
        for n, k in ((24, 2), (48, 2), (12, 4), (6, 4))
    ]


def table(path: Path, made_with: StudyConfig | None, pool: str = DIGEST) -> Path:
    """A CSV of the trials, with a YAML beside it that says what they were made with."""
    write_trials(path, trials())
    if made_with is not None:
        facts = {"pool_digest": pool, "base_reward": 0.39, "configuration": made_with.model_dump(mode="json")}
        path.with_suffix(".yaml").write_text(yaml.safe_dump(facts))
    return path


def taken(tmp_path: Path, path: Path, **more: Any) -> list[TrialRecord]:
    """The earlier trials of a study that names `path`."""
    search = {"earlier": str(path), **more.pop("search", {})}
    space = Space(config(search=search, **more), max_prompts=192)
    return earlier_trials(space, DIGEST, StudyFolder(tmp_path / "own")).trials


def test_trials_made_the_same_way_are_taken_at_this_studys_prices(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config(budget=1000, name="theirs", search={"responses": [2, 8]}))
    found = taken(tmp_path, path, cost={"per_prompt": 1})
    assert [(one.prompts, one.responses) for one in found] == [(24, 2), (48, 2), (12, 4), (6, 4)]
    assert [one.cost for one in found] == [24 + 48, 48 + 96, 12 + 48, 6 + 24]
    assert all(one.earlier == {0: str(path), 1: str(path)} and one.is_earlier for one in found)
    assert told(found) == f"4 trials (8 seeds) of {path}"


@pytest.mark.parametrize(
    ("made_with", "named"),
    [
        ({"trainer": {"dtype": "fp32"}}, "trainer.dtype = 'fp32', not 'bf16'"),
        ({"model": {"name": "org/other"}}, "model.name = 'org/other', not 'embedded:smollm2-135m'"),
        ({"evaluation": {"max_new_tokens": 7}}, "evaluation.max_new_tokens = 7, not 128"),
        ({"reward": {"kind": "fitted"}}, "reward.kind = 'fitted'"),
        ({"trainer": {"algorithm": {"name": "sft"}}}, "trainer.algorithm.name = 'sft', not 'pro'"),
    ],
)
def test_trials_made_otherwise_are_refused_by_the_name_of_what_differs(
    tmp_path: Path, made_with: dict[str, Any], named: str
) -> None:
    path = table(tmp_path / "theirs.csv", config(**made_with))
    with pytest.raises(ConfigError, match="theirs.csv") as refused:
        taken(tmp_path, path)
    assert named in str(refused.value) and "search.earlier_group: own" in str(refused.value)


def test_another_pool_or_no_word_of_how_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another pool"):
        taken(tmp_path, table(tmp_path / "pool.csv", config(), pool="feedfeedfeed"))
    with pytest.raises(ConfigError, match="nothing says how"):
        taken(tmp_path, table(tmp_path / "bare.csv", None))
    with pytest.raises(ConfigError, match=r"studies/song2024_pro.csv"):
        taken(tmp_path, Path("studies/song2024_pro.csv"))


def test_the_seed_matters_only_where_a_reward_depends_on_it(tmp_path: Path) -> None:
    fitted = {"reward": {"kind": "fitted"}}
    assert taken(tmp_path, table(tmp_path / "a.csv", config(seed=5)))
    with pytest.raises(ConfigError, match="seed = 5, not 0"):
        taken(tmp_path, table(tmp_path / "b.csv", config(seed=5, **fitted)), **fitted)


def test_what_cannot_be_compared_may_be_a_group_of_its_own(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config(trainer={"dtype": "fp32"}), pool="other")
    found = taken(tmp_path, path, search={"earlier_group": "own"})
    assert {one.group for one in found} == {str(path)} and len(found) == 4


def study_folder(path: Path, made_with: StudyConfig, records: list[TrialRecord]) -> StudyFolder:
    folder = StudyFolder(path)
    path.mkdir()
    folder.adopt(made_with)
    for one in records:
        folder.save(one)
    folder.note_study(pool={"digest": DIGEST}, identity="theirs")
    folder.write_json("base.json", {"identity": "theirs", "base": {"reward": 0.38}, "reward_report": None})
    return folder


def test_a_colleagues_folder_is_read_while_it_grows(tmp_path: Path) -> None:
    theirs = study_folder(tmp_path / "theirs", config(name="theirs"), trials()[:2])
    assert len(taken(tmp_path, theirs.path)) == 2
    theirs.save(trials()[2])
    assert len(taken(tmp_path, theirs.path)) == 3
    space = Space(config(search={"earlier": str(theirs.path)}), max_prompts=192)
    assert earlier_trials(space, DIGEST, StudyFolder(tmp_path / "own")).base_reward == 0.38
    with pytest.raises(ConfigError, match="own folder"):
        earlier_trials(Space(config(search={"earlier": [str(theirs.path)]})), DIGEST, theirs)
    with pytest.raises(ConfigError, match="holds no study"):
        taken(tmp_path, tmp_path)


def test_a_csv_has_its_rewards_prompt_by_prompt_from_the_table_beside_it(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config())
    (tmp_path / "held_out").mkdir()
    rows = "trial,seed,0,1\n24x2,0,0.25,1.0\n24x2,1,0.5,0.5\n48x2,0,0.0,1.0\n"
    (tmp_path / "held_out" / "theirs.csv").write_text(rows)
    found = [[result.rewards for result in one.results] for one in taken(tmp_path, path)]
    assert found == [[(0.25, 1.0), (0.5, 0.5)], [(0.0, 1.0), ()], [(), ()], [(), ()]]


def test_a_training_that_comes_twice_counts_once(tmp_path: Path) -> None:
    one, other = (table(tmp_path / f"{name}.csv", config()) for name in "ab")
    search = {"earlier": [str(one), str(other)]}
    space = Space(config(search=search), max_prompts=192)
    found = earlier_trials(space, DIGEST, StudyFolder(tmp_path)).trials
    assert len(found) == 4 and {*found[0].earlier.values()} == {str(one)}
    own = record(planned(24, 2, seeds=(1, 2)), 0.5, 0.5, key="own")
    assert [left.seeds for left in without(found[:2], [own])] == [(0,), (0, 1)]


CURVE = DiversityCurve((1, 192), (0.0, float(np.log(192))))


class Opened:
    """A study in its own folder that goes on from `path`."""

    def __init__(self, tmp_path: Path, path: Path, **search: Any) -> None:
        self.config = config(search={"earlier": str(path), **search})
        self.space = Space(self.config, max_prompts=192)
        self.folder = StudyFolder(tmp_path / "own")
        self.folder.path.mkdir(exist_ok=True)
        self.folder.adopt(self.config)
        self.said: list[str] = []
        go_on(self.space, DIGEST, self.folder, self.said.append)
        self.console = Console(record=True, width=120, file=(tmp_path / "terminal").open("w"))
        display = Display(self.console)
        attempts = Attempts(self.folder.attempts, "study")
        self.ledger = Ledger(self.config, self.folder, display, nowhere(), attempts)
        self.proposals = Proposals(self.space, identity="study", url=f"sqlite:///{self.folder.optuna}")
        self.conductor = Conductor(Plan(self.space, CURVE), self.proposals, self.ledger, display)

    def train(self) -> TrialRecord:
        step = self.conductor.next()
        assert isinstance(step, Train), step
        self.conductor.started(step.trial)
        done = record(step.trial, 0.5, 0.52, diversity=CURVE.at(step.trial.point.prompts))
        self.conductor.finished(done)
        return done


def test_the_grid_trains_what_was_left_out_and_its_limits_count_nothing_else(tmp_path: Path) -> None:
    study = Opened(tmp_path, table(tmp_path / "theirs.csv", config()))
    assert study.train().point.label == "24 x 4"
    assert study.conductor.look_ahead() is False
    assert "every point of the grid is trained" in study.conductor.reason
    assert {record.point.label for record in study.conductor.records} == {
        "24 x 2", "48 x 2", "12 x 4", "6 x 4", "24 x 4",
    }  # fmt: skip


def test_more_seeds_at_an_earlier_point_are_new_ones(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config())
    study = Opened(tmp_path, path, plan="adaptive", responses=[2], confidence=0.9999)
    seeds = [study.train().seeds for _ in range(2)]
    assert all(min(found) >= 2 for found in seeds)


def test_tables_and_runs_say_which_trials_are_earlier(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config())
    study = Opened(tmp_path, path)
    study.train()
    again = {one.point.label: one for one in read_trials(study.folder.path / "trials.csv")}
    assert again["24 x 2"].is_earlier and not again["24 x 4"].earlier
    console = Console(record=True, width=140)
    console.print(trials_table(study.ledger.records, 0.3))
    lines = {line[:20].strip(): line for line in console.export_text().splitlines()}
    assert sum("2 earlier" in line for line in lines.values()) == 4
    open_study(study.folder, study.config.tracking, "study", Dataset(name="pool", digest="d", source="pool"))
    runs = {run.key: run for run in StudyRuns(study.folder, study.config)()}
    assert runs[f"{path}: 24x2"].tags["earlier"] == str(path)
    assert runs[f"{path}: 24x2"].metrics["reward"] == pytest.approx(0.434)
    assert sum("earlier" in run.tags for run in runs.values()) == 4
    assert {run.status for run in runs.values() if "earlier" in run.tags} == {"FINISHED"}
    assert {run.dataset.digest for run in runs.values() if run.dataset} == {"d"}
    assert all(run.dataset for run in runs.values())


def test_runs_of_a_group_of_its_own_name_it_and_no_pool(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config(trainer={"dtype": "fp32"}), pool="other")
    study = Opened(tmp_path, path, earlier_group="own")
    study.train()
    open_study(study.folder, study.config.tracking, "study", Dataset(name="pool", digest="d", source="pool"))
    runs = [run for run in StudyRuns(study.folder, study.config)() if "earlier" in run.tags]
    assert [(run.tags["group"], run.dataset) for run in runs] == [(str(path), None)] * 4


def test_the_base_models_reward_is_taken_over_with_them(tmp_path: Path) -> None:
    study = Opened(tmp_path, table(tmp_path / "theirs.csv", config()))
    assert study.ledger.base_reward == 0.39
    again = study.folder.path.with_name("apart")
    again.mkdir()
    apart = Opened(again, tmp_path / "theirs.csv", earlier_group="own")
    assert apart.ledger.base_reward is None


def test_optunas_history_holds_the_earlier_trials(tmp_path: Path) -> None:
    study = Opened(tmp_path, table(tmp_path / "theirs.csv", config()))
    held = [trial.user_attrs["trial"] for trial in study.proposals.trials]
    assert sorted(held) == ["12x4", "24x2", "48x2"]  # 6 x 4 is at no budget fraction of the space


def test_without_them_none_is_left_from_an_earlier_run(tmp_path: Path) -> None:
    study = Opened(tmp_path, table(tmp_path / "theirs.csv", config()))
    assert len(study.folder.earlier()) == 4
    assert study.said == [f"going on from {told(study.folder.earlier())}"]
    theirs, said = told(study.folder.earlier()), list[str]()
    go_on(Space(config(), max_prompts=192), DIGEST, study.folder, said.append)
    assert said == [f"left out, since search.earlier names them no longer: {theirs}"]
    assert study.folder.earlier() == [] and json.loads((study.folder.path / "earlier.json").read_text())


def test_trials_on_labels_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "theirs.csv", config())
    with pytest.raises(ConfigError, match=r"search.agreement = None, not 0.75"):
        taken(tmp_path, path, search={"agreement": 0.75})
    with pytest.raises(ConfigError, match="labels of another kind"):
        taken(tmp_path, path, search={"raters": [1, 3]})
    with pytest.raises(ConfigError, match="labels of another kind"):
        taken(tmp_path, path, search={"labels": ["human"]})


def test_choices_of_responses_come_along_with_earlier_trials(tmp_path: Path) -> None:
    path, search = table(tmp_path / "theirs.csv", config()), {"response_choices": ["random", "spread"]}
    assert {one.response_choice for one in taken(tmp_path, path, search=search)} == {"random"}
    write_trials(path, [record(planned(24, 2, response_choice="spread"), 0.4, 0.5, key="s"), *trials()])
    found = taken(tmp_path, path, search=search)
    assert [one.response_choice for one in found] == ["spread", *["random"] * 4]
    assert [one.point.budget_fraction for one in found][:2] == [0.5, 0.5]
    # A study that asks for random responses alone keeps the others and does not answer with them.
    assert len(taken(tmp_path, path)) == 5
