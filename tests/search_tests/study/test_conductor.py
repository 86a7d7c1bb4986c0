"""Two lives of a study in one folder, driven by hand: plan, Optuna, ledger and terminal together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from factories import record
from rich.console import Console
from support.tracked_studies import nowhere

from search.config.cost import Split
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.plan import Plan
from search.plan.proposals import Proposals
from search.plan.space import Space
from search.plan.step import Stop, Train, Wait
from search.study.conductor import Conductor
from search.study.folder import StudyFolder
from search.study.ledger import Ledger
from search.terminal.display import Display
from search.trials.attempts import Attempts
from search.trials.design_point import Trial
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials

TREE = {
    "budget": 4800,
    "pool": {"path": "demo"},
    "search": {"budget_fractions": [0.125, 0.5, 1.0], "trials": 30},
}
CONFIG = StudyConfig.model_validate(TREE)
ELSEWHERE = StudyConfig.model_validate({**TREE, "transfer": {"algorithms": ["sft"], "lrs": [1e-6]}})
SIZES = (10, 100, 1_000, 10_000)
CURVE = DiversityCurve(SIZES, tuple(2 * float(np.log(n)) for n in SIZES))


class Life:
    """One run of the study, from its start to its end or its death."""

    def __init__(self, path: Path, config: StudyConfig = CONFIG) -> None:
        self.console = Console(record=True, width=300, file=(path / "terminal").open("w"))
        display, folder, space = Display(self.console), StudyFolder(path / "study"), Space(config)
        folder.path.mkdir(exist_ok=True)
        folder.adopt(config)
        self.ledger = Ledger(config, folder, display, nowhere(), Attempts(folder.attempts, "study"))
        self.proposals = Proposals(space, identity="study", url=f"sqlite:///{folder.optuna}")
        self.conductor = Conductor(Plan(space, CURVE), self.proposals, self.ledger, display)

    def train(self, trial: Trial) -> TrialRecord:
        key, point = trial.key("study"), trial.point
        generator = np.random.default_rng([int(key, 16), *trial.seeds])
        mean = 0.3 + 0.02 * point.responses + 0.01 * float(np.log(point.prompts / 1000))
        rewards = [float(mean + generator.normal(0, 0.003)) for _ in trial.seeds]
        return record(trial, *rewards, key=key, cost=0, diversity=CURVE.at(point.prompts))

    def run(self, trials: int = 100) -> list[Trial]:
        """Train up to so many points, one at a time."""
        done: list[Trial] = []
        while len(done) < trials and isinstance(step := self.conductor.next(), Train):
            self.conductor.started(step.trial)
            self.conductor.finished(self.train(step.trial))
            done.append(step.trial)
        return done

    def optuna_keys(self) -> list[str]:
        return [t.user_attrs["trial"] for t in self.proposals.trials if t.state.name == "COMPLETE"]


def test_a_killed_study_goes_on_where_it_was_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    undisturbed = Life(whole).run()
    first = Life(killed)
    before = first.run(4)
    lost = first.conductor.next()  # started, then the process dies
    assert isinstance(lost, Train)

    second = Life(killed)
    after = second.run()
    assert after[0] == lost.trial
    assert before + after == undisturbed
    assert isinstance(second.conductor.stopped, Stop) and second.conductor.stopped.decided
    assert sorted(second.optuna_keys()) == sorted(second.ledger.finished_trials)
    assert "RUNNING" not in {t.state.name for t in second.proposals.trials}

    third = Life(killed)
    assert not third.conductor.look_ahead() and third.run() == []


def test_trials_under_other_settings_follow_the_search_and_stay_out_of_it(tmp_path: Path) -> None:
    alone, more = tmp_path / "alone", tmp_path / "more"
    alone.mkdir()
    more.mkdir()
    plain, life = Life(alone), Life(more, ELSEWHERE)
    own, done = plain.run(), life.run()
    tags = [trial.point.transfer for trial in done]
    assert done[: len(own)] == own and "" not in tags[len(own) :]
    assert set(tags[len(own) :]) == {"algorithm sft", "learning rate 1e-06"}
    assert life.ledger.finished_trials == plain.ledger.finished_trials
    assert life.conductor.to_dict() == plain.conductor.to_dict()
    assert [r.trial for r in life.conductor.records] == [r.trial for r in plain.conductor.records]
    assert sorted(life.optuna_keys()) == sorted(plain.optuna_keys())
    tables = [life.ledger.folder.path / name for name in ("trials.csv", "transfer.csv")]
    assert [len(read_trials(table)) for table in tables] == [len(plain.ledger.records), 6]
    seen = life.conductor.standing(2)
    assert seen.finished == len(done) and seen.best == plain.conductor.standing(2).best
    said = life.console.export_text()
    assert said.count("the study stops: ") == 1 and "next 1,200 x 4 algorithm.name=sft: does it carry" in said


def test_a_study_killed_among_other_settings_goes_on_there(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    undisturbed = Life(whole, ELSEWHERE).run()
    first = Life(killed, ELSEWHERE)
    before = first.run(len(undisturbed) - 4)
    lost = first.conductor.next()
    assert isinstance(lost, Train) and lost.trial.point.transfer
    second = Life(killed, ELSEWHERE)
    after = second.run()
    assert after[0] == lost.trial and before + after == undisturbed
    third = Life(killed, ELSEWHERE)
    assert not third.conductor.look_ahead() and third.run() == []


def test_settings_that_are_added_later_are_tried_without_a_new_search(tmp_path: Path) -> None:
    own = Life(tmp_path).run()
    added = Life(tmp_path, ELSEWHERE)
    assert added.conductor.look_ahead()
    done = added.run()
    assert own and all(trial.point.transfer for trial in done)


def test_every_trial_says_what_is_believed_and_why_it_goes_on(tmp_path: Path) -> None:
    life = Life(tmp_path)
    points = life.run()
    said = [line for line in life.console.export_text().splitlines() if line.startswith("next ")]
    assert len(said) == len(points)
    assert "pilot, 1 of 6" in said[0] and "leads" in said[-1] and "Optuna" in said[6]
    kept = life.conductor.to_dict()["stopped"]
    assert kept["decided"] and kept["reason"].startswith("decided: ")
    assert json.loads(json.dumps(life.conductor.to_dict())) == life.conductor.to_dict()
    same, other = (life.conductor.notes(Split(n, k)) for n, k in ((1200, 4), (1600, 3)))
    assert same == {"why the study stopped": kept["reason"]}
    assert "the fit recommends 1,600 x 3" in other["the search and the fit"]


def test_it_waits_while_the_pilot_runs_and_is_not_asked_again_until_something_ends(tmp_path: Path) -> None:
    life = Life(tmp_path)
    running: list[Trial] = []
    while isinstance(step := life.conductor.next(), Train):
        running.append(step.trial)
    assert len(running) == 6 and isinstance(step, Wait) and isinstance(life.conductor.next(), Wait)
    life.conductor.failed(running[0], "the worker died")
    again = life.conductor.next()
    assert isinstance(again, Train) and again.trial.point == running[0].point
    assert isinstance(life.conductor.next(), Wait)
    for trial in (again.trial, *running[1:]):
        life.conductor.finished(life.train(trial))
    assert isinstance(step := life.conductor.next(), Train) and step.trial.point.budget_fraction == 1.0
    states = [t.state.name for t in life.proposals.trials]
    assert states.count("FAIL") == 1 and states.count("COMPLETE") == 6


def test_the_terminal_is_shown_what_runs_what_was_best_and_what_is_believed(tmp_path: Path) -> None:
    life = Life(tmp_path)
    first = life.conductor.next()
    assert isinstance(first, Train) and life.conductor.standing(2).running == []
    life.conductor.started(first.trial)
    assert [trial.label for trial in life.conductor.standing(2).running] == [first.trial.label]
    life.conductor.finished(life.train(first.trial))
    life.run(6)
    lost = life.conductor.next()
    assert isinstance(lost, Train)
    life.conductor.started(lost.trial)
    life.conductor.failed(lost.trial, "the worker died")
    life.conductor.next()

    seen = life.conductor.standing(2)
    assert (seen.finished, seen.failed, seen.trials, seen.running) == (7, 1, CONFIG.search.trials, [])
    best = max(life.ledger.records, key=lambda record: record.reward)
    assert seen.best == (f"{best.prompts:,} x {best.responses}", best.reward)
    assert "leads" in seen.belief and seen.seconds_left is None  # these trials took no time
