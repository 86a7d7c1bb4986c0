"""configs/paper_*.yaml say what the published scripts of Song et al. 2024 do."""

from __future__ import annotations

import pytest

from search.config.cost import largest_split
from search.config.load import load_config
from search.config.study import StudyConfig

MODELS = {"paper_opt1.3b": ("facebook/opt-1.3b", 2e-5), "paper_llama7b": ("huggyllama/llama-7b", 5e-6)}


@pytest.fixture(params=MODELS)
def paper(request: pytest.FixtureRequest) -> StudyConfig:
    config = load_config(f"{request.param}.yaml")
    assert (config.model.name, config.trainer.learning_rate) == MODELS[request.param]
    return config


def test_training(paper: StudyConfig) -> None:
    model, trainer = paper.model, paper.trainer
    assert (trainer.algorithm.name, trainer.algorithm.sft_weight) == ("pro", 0.05)
    assert (trainer.matching, trainer.steps, trainer.batch_prompts) == ("steps", 4000, 112)
    assert (trainer.schedule, trainer.warmup_fraction, trainer.weight_decay) == ("constant", 0.0, 0.01)
    assert (trainer.grad_clip, trainer.dtype, trainer.zero_stage) == (1.0, "bf16", 2)
    assert (model.max_prompt_tokens + model.max_response_tokens, model.max_response_tokens) == (512, 128)
    assert trainer.lora.rank == 0, "the whole model is trained"


def test_evaluation(paper: StudyConfig) -> None:
    assert paper.checkpoints.every == paper.evaluation.every == 500
    assert paper.evaluation.max_new_tokens == 128
    assert set(paper.evaluation.stop) == {"Human:", "human:", "Assistant:", "assistant:"}
    assert paper.reward.model == "OpenAssistant/oasst-rm-2-pythia-6.9b-epoch-1"
    assert paper.dev_reward is not None
    assert paper.dev_reward.model == "OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5"


def test_splits_and_seeds(paper: StudyConfig) -> None:
    splits = {
        largest_split(paper.cost, paper.budget * budget_fraction, responses, None)
        for budget_fraction in paper.search.budget_fractions
        for responses in paper.search.responses
    }
    table = {(24_000, 2), (16_000, 3), (12_000, 4), (3_000, 2), (2_000, 3), (1_500, 4)}
    assert {(split.prompts, split.responses) for split in splits if split} == table
    assert paper.search.trials == len(table)
    assert (paper.seed, paper.search.seeds) == (42, 3), "42, 43 and 44"
