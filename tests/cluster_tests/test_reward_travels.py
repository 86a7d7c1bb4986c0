"""A reward model that was fitted on one machine judges on another: its files travel, not a path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_models import byte_tokenizer, tiny_llama

from base.errors import NonRetryableError, RewardError
from metrics.config import RewardConfig
from metrics.reward.fitted import RewardFit, fit_sample
from pools.types import Example, MemoryExamples, Pool, Prompt, Response
from search.execution.trial import setup_at
from search.study.folder import StudyFolder
from search.trials.design_point import DesignPoint
from trainers.config.trainer import EvaluationConfig, ModelConfig, TrainerConfig
from trainers.models import load_policy
from trainers.spec import TrialSetup
from trainers.trial.evaluator import Evaluator
from trainers.trial.job import prepare
from trainers.workers.local import LocalContext


@pytest.fixture
def setup(tmp_path: Path) -> TrialSetup:
    tiny_llama(vocab_size=300, max_position_embeddings=512).save_pretrained(tmp_path / "model")
    byte_tokenizer(chat=True).save_pretrained(tmp_path / "model")
    return TrialSetup(
        model=ModelConfig(name=str(tmp_path / "model"), max_prompt_tokens=32, max_response_tokens=16),
        trainer=TrainerConfig(dtype="fp32"),
        evaluation=EvaluationConfig(max_new_tokens=4),
        reward=RewardConfig(kind="fitted", fit_head="frozen", force=True),
    )


def stored(folder: Path) -> LocalContext:
    return LocalContext(checkpoints=folder / "checkpoints" / "prepare")


def test_what_was_fitted_elsewhere_judges_here_and_after_a_restart(setup: TrialSetup, tmp_path: Path) -> None:
    train = MemoryExamples(
        Example(Prompt(f"Say {n}."), tuple(Response(f"{n} " * k, score=k) for k in (1, 2, 3)))
        for n in range(12)
    )
    pool = Pool(name="counting", train=train, held_out=(Example(Prompt("Say more."), ()),))
    prepared = prepare(setup, pool, sample=fit_sample(train, setup.reward, seed=0), context=stored(tmp_path))
    assert set(prepared.reward_artifact) == {"head.json", "head.safetensors"}
    assert sum(map(len, prepared.reward_artifact.values())) < 10_000

    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    assert folder.kept_reward_model() == {}
    folder.keep_reward_model(prepared.reward_artifact)
    kept = folder.kept_reward_model()
    assert kept == prepared.reward_artifact

    worker = Evaluator(replace(setup, reward_artifact=kept), pool, LocalContext())
    again = worker.judge(load_policy(setup.model.name, dtype="fp32"), sharded=False)
    assert again.rewards == prepared.base.rewards


def test_a_fitted_reward_reads_the_studys_model_whichever_is_trained(
    setup: TrialSetup, tmp_path: Path
) -> None:
    train = MemoryExamples(
        Example(Prompt(f"Say {n}."), tuple(Response(f"{n} " * k, score=k) for k in (1, 2, 3)))
        for n in range(12)
    )
    pool = Pool(name="counting", train=train, held_out=(Example(Prompt("Say more."), ()),))
    prepared = prepare(setup, pool, sample=fit_sample(train, setup.reward, seed=0), context=stored(tmp_path))
    tiny_llama(vocab_size=300, max_position_embeddings=512, hidden_size=48).save_pretrained(
        tmp_path / "other"
    )
    byte_tokenizer(chat=True).save_pretrained(tmp_path / "other")

    point = DesignPoint(prompts=4, responses=2, hyperparameters=(("model.name", str(tmp_path / "other")),))
    there = setup_at(point, replace(setup, reward_artifact=prepared.reward_artifact))
    worker = Evaluator(there, pool, LocalContext())
    assert worker.path == str(tmp_path / "other")
    judged = worker.judge(load_policy(worker.path, dtype="fp32"), sharded=False)
    assert 0 <= judged.rewards[0] <= 1
    with pytest.raises(RewardError, match="another base model|features"):
        Evaluator(replace(there, reward_base=""), pool, LocalContext())


def test_what_knows_less_than_length_is_refused_with_both_figures_and_not_fitted_again_where_forced(
    setup: TrialSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = MemoryExamples(
        Example(Prompt(f"Say {n}."), tuple(Response("same " * k, score=k) for k in (1, 2, 3)))
        for n in range(12)
    )
    pool = Pool(name="counting", train=train, held_out=(Example(Prompt("Say more."), ()),))
    # All answers look the same.
    blind = RewardConfig(kind="fitted", fit_folds=2, fit_head="best", max_response_tokens=1)
    sample, context = fit_sample(train, blind, seed=0), stored(tmp_path)
    with pytest.raises(NonRetryableError, match=r"50.0% of unseen .* in 100.0%: .*reward.force: true"):
        prepare(replace(setup, reward=blind), pool, sample=sample, context=context)
    assert context.updates[0].keys() == {"fitted"} and 0 < context.updates[0]["fitted"] < 1

    monkeypatch.setattr(RewardFit, "run", None)
    forced = blind.model_copy(update={"force": True})
    prepared = prepare(replace(setup, reward=forced), pool, sample=sample, context=context)
    assert prepared.reward_report is not None and prepared.reward_report["length_accuracy"] == 1.0
    assert prepared.base.rewards == (0.5,)
