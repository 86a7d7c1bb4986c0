"""Which prompts a trial labels, and what is measured on them before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from factories import planned

from metrics.config import RewardConfig
from metrics.tokens import TokenTable
from pools.config import PoolConfig
from pools.sources import load_pool
from pools.types import Pool
from search.execution.draw import choose_orders, measure
from search.execution.trial import setup_at
from search.trials.design_point import Trial
from trainers.config.trainer import EvaluationConfig, ModelConfig, TrainerConfig
from trainers.spec import TrialSetup


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_pool(PoolConfig(path="demo"), seed=0, min_responses=2)[0]


@pytest.fixture(scope="module")
def tokens(pool: Pool) -> TokenTable:
    """Words stand in for tokens: the demo's grammar has few enough of them."""
    vocabulary: dict[str, int] = {}
    rows = [
        [vocabulary.setdefault(word, len(vocabulary)) for word in e.prompt.text.split()] for e in pool.train
    ]
    return TokenTable.from_lists(rows)


def trial(prompts: int, selection: str = "random") -> Trial:
    strength = 0.0 if selection == "random" else 1.0
    return planned(prompts, 2, budget_fraction=1.0, selection=selection, strength=strength)


@pytest.mark.parametrize("selection", ["random", "diverse", "narrow"])
def test_smaller_draws_are_prefixes_of_larger_ones(pool: Pool, tokens: TokenTable, selection: str) -> None:
    small, large = (choose_orders(pool, tokens, trial(n, selection)) for n in (20, 60))
    for seed in (0, 1):
        assert small[seed] == large[seed][:20]
        assert len(set(large[seed])) == 60
    assert large[0] != large[1]


def test_selections_differ_in_diversity_and_not_in_length(pool: Pool, tokens: TokenTable) -> None:
    scores, lengths = {}, {}
    for selection in ("narrow", "random", "diverse"):
        orders = choose_orders(pool, tokens, trial(100, selection))
        scores[selection], baselines = measure(pool, tokens, orders)
        lengths[selection] = baselines["mean_prompt_tokens"]
    assert scores["narrow"] < scores["random"] < scores["diverse"]
    mean = fmean(tokens.lengths.tolist())
    assert lengths["narrow"] == pytest.approx(mean, rel=0.02)
    assert lengths["diverse"] == pytest.approx(mean, rel=0.02)


def test_embeddings_add_their_rivals_for_the_chosen_prompts_alone(pool: Pool, tokens: TokenTable) -> None:
    vectors = np.zeros((len(pool.train), 3), np.float32)
    vectors[:, 0] = 1.0
    vectors[[5, 6]] = [0.0, 1.0, 0.0]
    apart = measure(pool, tokens, {0: [4, 5]}, vectors)[1]
    alike = measure(pool, tokens, {0: [5, 6]}, vectors)[1]
    assert (apart["embedding_distance"], apart["vendi_score"]) == pytest.approx((1.0, 2.0))
    assert (alike["embedding_distance"], alike["vendi_score"]) == pytest.approx((0.0, 1.0))
    assert "vendi_score" not in measure(pool, tokens, {0: [4, 5]})[1]


def test_a_study_of_twenty_trials_tokenises_its_pool_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer is counted where every tokenisation goes through; trials get the table."""
    from metrics import tokens as tokens_module
    from search.config.load import load_config
    from search.study import inputs as material
    from search.terminal.display import Display

    texts: list[int] = []
    encode = tokens_module.tokenize

    def counted(batch: Iterable[str], *args: Any) -> TokenTable:
        held = list(batch)
        texts.append(len(held))
        return encode(held, *args)

    monkeypatch.setattr(material, "tokenize", counted)
    monkeypatch.setattr(tokens_module, "tokenize", counted)
    table = material.tokenize_pool(load_config("demo").model.name, pool, Display())
    for prompts in range(9, 189, 9):
        measure(pool, table, choose_orders(pool, table, trial(prompts, "diverse")))
    assert texts == [len(pool.train)]


def test_a_setting_changes_one_thing_of_the_setup() -> None:
    own = TrialSetup(
        model=ModelConfig(name="small", prompt_format="plain"),
        trainer=TrainerConfig(),
        evaluation=EvaluationConfig(),
        reward=RewardConfig(),
    )
    at = {
        name: setup_at(planned(8, 2, hyperparameters=((name, value),)).point, own)
        for name, value in (("model.name", "large"), ("trainer.algorithm.name", "dpo"), ("trainer.steps", 9))
    }
    assert setup_at(planned(8, 2).point, own) == own
    model = at["model.name"]
    assert (model.model.name, model.model.prompt_format, model.reward_base) == ("large", "plain", "small")
    assert model.trainer == own.trainer
    assert at["trainer.algorithm.name"].trainer.algorithm.name == "dpo"
    assert at["trainer.steps"].trainer.steps == 9 and at["trainer.steps"].model == own.model
