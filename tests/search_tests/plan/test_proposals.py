"""Optuna's history over two lives of a study, in a real sqlite file, driven by hand."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from search.config.study import StudyConfig
from search.plan.plan import seeded
from search.plan.proposals import Proposals, database_url
from search.plan.space import Space
from search.trials.design_point import Trial


def space(**search: Any) -> Space:
    tree = {"budget": 4800, "pool": {"path": "demo"}, "search": {"budget_fractions": [0.5, 1.0], **search}}
    return Space(StudyConfig.model_validate(tree), max_prompts=3000)


def opened(path: Path, of: Space | None = None) -> Proposals:
    return Proposals(of or space(), identity="study", url=f"sqlite:///{path}")


def states(of: Proposals) -> Counter[str]:
    return Counter(trial.state.name for trial in of.trials)


def trained(of: Space, count: int) -> dict[str, Trial]:
    points = [seeded(of.config, point, ()) for point in of.grid()[:count]]
    return {point.key("study"): point for point in points}


def test_after_a_kill_every_finished_trial_is_there_once_and_none_runs_for_ever(tmp_path: Path) -> None:
    of = space()
    first = opened(tmp_path / "optuna.db", of)
    first.restore({})
    points = trained(of, 4)
    for key, point in points.items():
        first.start(key, point)
    done = list(points)
    first.finish(done[0], 0.5)
    first.finish(done[1], None)
    first.propose({"budget_fraction": 1.0})
    assert states(first) == {"COMPLETE": 1, "FAIL": 1, "RUNNING": 3}

    # The process is killed here. The third trial was kept in the folder before Optuna heard of it.
    finished = {done[0]: (points[done[0]], 0.5), done[2]: (points[done[2]], 0.6)}
    second = opened(tmp_path / "optuna.db", of)
    second.restore(finished)
    assert states(second) == {"COMPLETE": 2}
    assert [t.user_attrs["trial"] for t in second.trials] == list(finished)
    assert [t.value for t in second.trials] == [0.5, 0.6]

    third = opened(tmp_path / "optuna.db", of)
    before = third.trials
    third.restore(finished)
    assert third.trials == before and states(third) == {"COMPLETE": 2}


def test_a_lost_database_is_made_again_from_the_folder(tmp_path: Path) -> None:
    of = space()
    finished = {key: (point, 0.5) for key, point in trained(of, 3).items()}
    proposals = opened(tmp_path / "optuna.db", of)
    proposals.restore(finished)
    assert states(proposals) == {"COMPLETE": 3}


def test_proposals_come_from_the_history_and_can_be_had(tmp_path: Path) -> None:
    of = space(responses=[2, 3, 4, 5, 6])
    proposals = opened(tmp_path / "optuna.db", of)
    cheap = [seeded(of.config, of.point(k, 0.5), ()) for k in of.fractions]
    proposals.restore({p.key("study"): (p, 0.9 if p.point.responses == 6 else 0.1) for p in cheap})
    found: list[int] = []
    for _ in range(8):
        point = proposals.propose({"budget_fraction": 1.0})
        assert point is not None and point in of.grid() and point.budget_fraction == 1.0
        trial = seeded(of.config, point, range(2 * len(found)))
        proposals.start(trial.key("study"), trial)
        proposals.finish(trial.key("study"), 0.95 if point.responses == 6 else 0.15)
        found.append(point.responses)
    assert found.count(6) >= 4
    assert states(proposals) == {"COMPLETE": 13}


def test_a_proposal_that_is_not_taken_up_does_not_stay_running(tmp_path: Path) -> None:
    proposals = opened(tmp_path / "optuna.db")
    proposals.restore({})
    proposals.propose({})
    proposals.propose({})
    (key, point), *_ = trained(space(), 6).items()
    proposals.start(key, point)
    proposals.finish(key, 0.5)
    assert "RUNNING" not in states(proposals) and states(proposals)["COMPLETE"] == 1


def test_a_changed_space_starts_another_history_with_the_trials_that_lie_in_it(tmp_path: Path) -> None:
    before = space(responses=[2, 3, 4])
    finished = {key: (point, 0.5) for key, point in trained(before, 6).items()}
    opened(tmp_path / "optuna.db", before).restore(finished)
    after = opened(tmp_path / "optuna.db", space(responses=[3, 4, 6]))
    after.restore(finished)
    assert {trial.params["responses"] for trial in after.trials} == {3, 4} and len(after.trials) == 4
    assert after.propose({}) is not None
    assert [after.holds(trial.point) for trial, _ in finished.values()].count(True) == 4


def test_settings_are_optunas_own_parameters(tmp_path: Path) -> None:
    asked = {
        "trainer.learning_rate": {"low": 1e-6, "high": 1e-4, "log": True},
        "trainer.batch_prompts": [8, 16],
    }
    of = space(space=asked)
    proposals = opened(tmp_path / "optuna.db", of)
    proposals.restore({})
    point = proposals.propose({"responses": 2, "budget_fraction": 1.0})
    assert point is not None and point.split == of.point(2, 1.0).split
    hyperparameters = dict(point.hyperparameters)
    assert 1e-6 <= float(hyperparameters["trainer.learning_rate"]) <= 1e-4 and hyperparameters[
        "trainer.batch_prompts"
    ] in (
        8,
        16,
    )


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_the_other_samplers_propose_too(sampler: str, tmp_path: Path) -> None:
    of = space(sampler=sampler)
    proposals = opened(tmp_path / "optuna.db", of)
    proposals.restore({key: (point, 0.5) for key, point in trained(of, 3).items()})
    assert proposals.propose({"budget_fraction": 1.0}) in of.grid()


def test_a_database_that_fails_ends_nothing_and_is_mended_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.plan.proposals.LOCKED_S", 0.2)
    of, path = space(), tmp_path / "optuna.db"
    said: list[str] = []
    proposals = Proposals(of, identity="study", url=f"sqlite:///{path}", warn=said.append)
    proposals.restore({})
    points = trained(of, 2)
    (one, other) = points
    proposals.start(one, points[one])
    with sqlite3.connect(path) as blocker:
        blocker.execute("begin exclusive")
        proposals.finish(one, 0.5)
        proposals.start(other, points[other])
        proposals.finish(other, 0.6)
        assert proposals.propose({}) in of.grid()
        proposals.mend()
    assert len(said) == 1 and "locked" in said[0] and "mended" in said[0]
    again = opened(path, of)
    again.restore({one: (points[one], 0.5), other: (points[other], 0.6)})
    assert states(again) == {"COMPLETE": 2}


def test_a_database_that_has_failed_is_mended_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.plan.proposals.LOCKED_S", 0.2)
    of, path = space(), tmp_path / "optuna.db"
    proposals = opened(path, of)
    proposals.restore({})
    points = trained(of, 3)
    with sqlite3.connect(path) as blocker:
        blocker.execute("begin exclusive")
        for key, trial in points.items():
            proposals.start(key, trial)
            proposals.finish(key, 0.5)
    assert not states(opened(path, of))
    proposals.mend()
    assert states(opened(path, of)) == {"COMPLETE": 3}


def test_passwords_stay_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPTUNA_PASSWORD", "secret")
    asked = "postgresql://study:$OPTUNA_PASSWORD@host/optuna"
    assert database_url(asked, "unused") == "postgresql://study:secret@host/optuna"
    assert database_url("", "/folder/optuna.db") == "sqlite:////folder/optuna.db"


def test_a_file_that_is_no_database_is_said_and_ends_nothing(tmp_path: Path) -> None:
    of, path = space(), tmp_path / "optuna.db"
    path.write_text("not a database, and long enough for sqlite to notice" * 20)
    said: list[str] = []
    proposals = Proposals(of, identity="study", url=f"sqlite:///{path}", warn=said.append)
    proposals.restore({key: (point, 0.5) for key, point in trained(of, 2).items()})
    assert states(proposals) == {"COMPLETE": 2} and proposals.propose({}) in of.grid()
    assert len(said) == 1 and "file is not a database" in said[0]
