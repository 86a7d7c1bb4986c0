"""Past studies, what they say of the next one, and the pilot that would say more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from support.paper import study, trial
from support.paths import ROOT

from base.errors import InsufficientDataError
from search.cli import main
from search.config.cost import CostModel, Split
from search.fit.fit import fit_trials
from search.fit.observations import Observations
from search.prior.answer import answer
from search.prior.candidate import from_past_studies
from search.prior.hierarchy import DEVIATION, learn_prior
from search.prior.past_studies import PastStudy, learn, past_studies
from search.prior.pilot import best_pilot
from search.prior.shape import rows
from search.trials.record import TrialRecord
from search.trials.trials_csv import write_trials

SPLITS = [Split(n, k) for n in (1_500, 6_000, 24_000) for k in (2, 3, 4)]


def made_up(shape: np.ndarray, generator: np.random.Generator, noise: float = 0.004) -> PastStudy:
    """A study whose rewards follow `shape`, two seeds a split."""
    means = rows(SPLITS) @ shape
    records = [
        trial(split.prompts, split.responses, tuple(mean + generator.normal(0, noise, 2)))
        for split, mean in zip(SPLITS, means, strict=True)
    ]
    return PastStudy(f"made up {generator.integers(10**6)}", "a test", tuple(records))


def shapes(count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.normal([0.5, 0.008, 0.03, 0.0], [0.03, 0.003, 0.01, 0.002], (count, 4))


def test_it_recovers_a_known_shape() -> None:
    generator = np.random.default_rng(0)
    prior = learn_prior([made_up(shape, generator) for shape in shapes(12, generator)])
    assert prior.mean == pytest.approx([0.5, 0.008, 0.03, 0.0], abs=0.02)
    assert prior.mean[1] == pytest.approx(0.008, abs=0.003)
    assert 0.003 < prior.seed_variance**0.5 < 0.006


def test_few_studies_leave_it_wide_and_none_at_the_start() -> None:
    generator = np.random.default_rng(1)
    studies = [made_up(shape, generator) for shape in shapes(12, generator)]
    wide, narrow = (np.diag(learn_prior(studies[:n]).covariance) for n in (1, 12))
    assert (wide > narrow).all()
    assert (np.diag(learn_prior([]).covariance) > DEVIATION**2).all()


def test_intervals_cover_studies_that_are_not_yet_seen() -> None:
    generator, inside = np.random.default_rng(2), []
    for _ in range(20):
        drawn = shapes(6, generator)
        prior = learn_prior([made_up(shape, generator) for shape in drawn[:5]])
        low, high = prior.forecast(SPLITS).interval()
        truth = rows(SPLITS) @ drawn[5]
        inside.append(np.mean((low <= truth) & (truth <= high)))
    assert np.mean(inside) > 0.9


def test_trials_of_the_study_itself_overrule_the_prior() -> None:
    generator = np.random.default_rng(3)
    prior = learn_prior([made_up(shape, generator) for shape in shapes(5, generator)])
    odd = np.array([0.4, -0.01, -0.02, 0.0])
    after = prior.given(made_up(odd, generator).records)
    assert after.mean == pytest.approx(odd, abs=0.01)
    assert (np.diag(after.covariance) < np.diag(prior.covariance)).all()


def test_updating_is_the_closed_form_of_a_single_normal_part() -> None:
    """Against ordinary Bayesian linear regression with the prior's only part."""
    generator = np.random.default_rng(4)
    prior = learn_prior([made_up(shape, generator) for shape in shapes(5, generator)])
    top = int(prior.weights.argmax())
    one = type(prior)(np.ones(1), prior.means[[top]], prior.covariances[[top]], 1e-5, prior.studies)
    records = made_up(np.array([0.5, 0.01, 0.02, 0.001]), generator).records
    x = rows([record.split for record in records])
    y = np.array([record.reward for record in records])
    precision = np.linalg.inv(one.covariances[0]) + x.T @ x * 2 / 1e-5
    mean = np.linalg.solve(precision, np.linalg.solve(one.covariances[0], one.means[0]) + x.T @ y * 2 / 1e-5)
    after = one.given(records)
    assert after.means[0] == pytest.approx(mean, rel=1e-6)
    assert after.covariances[0] == pytest.approx(np.linalg.inv(precision), rel=1e-5, abs=1e-12)


def test_lifts_over_the_base_where_it_is_known() -> None:
    generator = np.random.default_rng(5)
    plain = made_up(np.array([0.5, 0.008, 0.03, 0.0]), generator)
    known = PastStudy(plain.name, plain.source, plain.records, 1, base_reward=0.4)
    assert learn_prior([known], over_base=True).mean[0] == pytest.approx(0.1, abs=0.02)
    unknown = learn_prior([plain], over_base=True)
    assert unknown.mean[0] == pytest.approx(0.0, abs=1e-6)  # it says nothing of the level
    assert unknown.mean[2] == pytest.approx(0.03, abs=0.01)  # and as much as ever of the rest


def test_a_pilot_pays_where_the_studies_disagree_and_never_claims_more_than_there_is_to_lose() -> None:
    generator = np.random.default_rng(6)
    either = [
        [0.5, 0.004, 0.03, 0.0],
        [0.5, 0.02, 0.002, 0.0],
        [0.5, 0.02, 0.0, 0.0],
        [0.5, 0.004, 0.03, 0.0],
    ]
    prior = learn_prior([made_up(np.array(shape), generator) for shape in either])
    pilot = best_pilot(
        prior, budget=48_000, cost_model=CostModel(), responses=(2, 3, 4), max_prompts=None, seed=0
    )
    assert pilot is not None
    assert 0 < pilot.gain <= pilot.loss_now
    assert pilot.cost <= 0.35 * 48_000
    assert all(split.prompts <= pilot.labelled.prompts for split in pilot.trials)


def test_the_warning_about_few_labels_and_the_edge() -> None:
    prior = learn_prior(past_studies([ROOT / "studies"]))
    few = answer(prior, budget=600, cost_model=CostModel(), responses=(2, 3, 4))
    assert "2502.11284" in few.text() and "Extrapolated" in few.text()
    many = answer(prior, budget=48_000, cost_model=CostModel(), responses=(2, 3, 4))
    assert "2502.11284" not in many.text() and "Extrapolated" not in many.text()
    assert many.best.split == Split(12_000, 4)
    with pytest.raises(InsufficientDataError, match="buys no prompt"):
        answer(prior, budget=1, cost_model=CostModel(), responses=(2, 3, 4))


def test_the_shipped_studies_have_a_source_and_overlaps_count_once() -> None:
    studies = past_studies([ROOT / "studies"])
    assert len(studies) >= 5
    assert all(s.source != "not given" for s in studies)
    assert len({tuple((r.prompts, r.responses, r.reward) for r in s.records) for s in studies}) == len(
        studies
    )
    assert not any("PRO, OPT-1.3B, Global" in s.name for s in studies)


def test_a_finished_study_is_learnt_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APPORTION_STUDIES", str(tmp_path / "own"))
    folder = tmp_path / "my-study"
    folder.mkdir()
    write_trials(folder / "trials.csv", study(1))
    (folder / "study.json").write_text(json.dumps({"name": "my-study", "base_reward": 0.3}))
    assert main(["plan", "--learn", str(folder)]) == 0
    assert main(["plan", "--learn", str(folder)]) == 0  # once more replaces it
    capsys.readouterr()
    assert main(["plan", "--budget", "4800", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["studies"].count("my-study") == 1
    assert found["basis"] == f"prior only, from {len(found['studies'])} studies"


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InsufficientDataError, match="no trials.csv"):
        learn(tmp_path, tmp_path / "own")
    one = tmp_path / "one.csv"
    write_trials(one, [record for record in study(1)][:1])
    with pytest.raises(InsufficientDataError, match="fewer than two splits"):
        learn(one, tmp_path / "own")
    with pytest.raises(InsufficientDataError, match="no past study"):
        past_studies([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "-3"], "--budget is -3"),
        (["--budget", "4800", "--task", "nix"], "in the name of no past study"),
        (["--budget", "4800", "--responses", "two"], "'two'"),
        (["--budget", "4800", "--cost.per_prompt", "-1"], "per_prompt"),
        (["--after", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_it_needs_neither_torch_nor_ray_nor_statsmodels() -> None:
    code = (
        "import sys\nfrom search.cli import main\n"
        "assert main(['plan', '--budget', '4800']) == 0\n"
        "heavy = {'torch', 'ray', 'deepspeed', 'mlflow', 'transformers', 'statsmodels'}\n"
        "heavy &= sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("prior only, from ")


TABLE = [(1_500, 2, 50.1), (1_500, 4, 52.3), (12_000, 2, 53.9), (12_000, 4, 56.2), (24_000, 4, 57.0)]


def learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rewards: list[str], name: str) -> PastStudy:
    """The only study that is counted: the splits of TABLE with these rewards."""
    monkeypatch.setenv("APPORTION_STUDIES", str(tmp_path / "own"))
    monkeypatch.setattr("search.prior.past_studies.SHIPPED", tmp_path / "none")
    lines = [f"{n},{k},{n / 1000},{text}" for (n, k, _), text in zip(TABLE, rewards, strict=True)]
    source = tmp_path / f"{name}.csv"
    source.write_text("\n".join(["prompts,responses,diversity,reward,reward_se", *lines]))
    return learn(source)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["plan", "--budget", "48000", "--json", *arguments]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_means_in_percent_with_standard_errors_are_learnt_and_answered_in_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = learnt(tmp_path, monkeypatch, [f"{reward}%,0.4" for *_, reward in TABLE], "percent")
    assert study.scale == "unit" and study.records[0].reward == pytest.approx(0.501)
    assert study.records[0].reward_se == pytest.approx(0.004)
    unit, percent = asked(capsys), asked(capsys, "--scale", "percent")
    assert percent["splits"][0]["split"] == unit["splits"][0]["split"]
    assert percent["splits"][0]["reward"] == pytest.approx(100 * unit["splits"][0]["reward"])
    assert percent["margin"] == 0.2 and percent["splits"][0]["interval_95"][1] < 100


def test_raw_scores_answer_on_their_own_scale_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learnt(tmp_path, monkeypatch, [f"{reward / 2 - 30},0.2" for *_, reward in TABLE], "logits")
    found = asked(capsys, "--scale", "any")
    best = found["splits"][0]
    assert -6 < best["reward"] < 0 < best["interval_95"][1]  # one study: wide, and bounded by nothing
    assert (best["split"]["responses"], found["scale"]) == (4, "any")
    assert main(["plan", "--budget", "48000"]) == 2
    assert "no past study with rewards on --scale unit" in capsys.readouterr().err


def test_past_studies_are_scored_as_if_each_trial_were_left_out() -> None:
    """The closed form against the prior updated with the other trials, for a prior of one part."""
    generator = np.random.default_rng(5)
    prior = learn_prior([made_up(shape, generator) for shape in shapes(4, generator)])
    prior = replace(prior, weights=np.ones(1), means=prior.means[:1], covariances=prior.covariances[:1])
    records = [trial(n, k, (0.4 + 0.01 * i,)) for i, (n, k, _) in enumerate(TABLE)]
    observed = Observations.from_records(records)
    scores = from_past_studies(prior)(observed).solutions[0].log_score
    for i, split in enumerate(map(Split, map(int, observed.prompts), map(int, observed.responses))):
        rest = prior.given([record for record in records if record.split != split]).forecast([split])
        spread = (rest.spreads[0, 0] ** 2 + prior.seed_variance) ** 0.5
        assert scores[i] == pytest.approx(norm.logpdf(observed.reward[i], rest.mean[0], spread), rel=1e-6)


def test_past_studies_weigh_in_a_fit_they_agree_with_and_not_where_responses_bend() -> None:
    generator = np.random.default_rng(6)
    drawn = shapes(6, generator)
    past = from_past_studies(learn_prior([made_up(shape, generator) for shape in drawn[:5]]))
    bend = {2: 0.0, 3: 0.03, 4: -0.05}  # no shape of theirs peaks at 3 responses

    def weight(bent: bool) -> float:
        records = [
            rescored(record, bent * bend[record.responses]) for record in made_up(drawn[5], generator).records
        ]
        fit = fit_trials(records, further=(past,))
        assert fit.ensemble is not None
        return sum(m.weight for m in fit.ensemble.members if m.model.name == "past studies")

    assert weight(False) > 0.01 and weight(True) == 0


def rescored(record: TrialRecord, by: float) -> TrialRecord:
    return replace(record, results=tuple(replace(one, reward=one.reward + by) for one in record.results))
