"""The reward model that a configuration names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from metrics.config import REWARD_MODELS, RewardConfig
from metrics.reward.base import RewardModel, RewardSource
from metrics.reward.timed import TimedReward


def load_reward_model(
    config: RewardConfig, *, artifact: Path | None, base_model: str, device: str
) -> RewardModel:
    """The reward model that `config` names, ready to score on `device` ("cpu", "cuda:0").

    `artifact` is the directory written by `fit_reward_model`, and `base_model` the model whose features
    that head reads; only `fitted` needs them. Raises `RewardError` where the model cannot be loaded.
    torch is imported only for `hf` and `fitted`. Scoring takes `config.timeout` seconds at most.
    """
    module = import_module(REWARD_MODELS[config.kind])
    model: RewardModel = module.load(config, RewardSource(artifact, base_model, device))
    return TimedReward(model, seconds=config.timeout)
