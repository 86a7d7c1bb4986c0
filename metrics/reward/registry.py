"""Reward models: what judges the answers of a trained policy, each behind the protocol `RewardModel`."""

from __future__ import annotations

from pathlib import Path

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.base import RewardModel
from metrics.reward.timed import TimedReward
from metrics.reward.verifier import VerifierReward

__all__ = ["RewardModel", "load_reward_model"]


def load_reward_model(
    config: RewardConfig, *, artifact: Path | None, base_model: str, device: str
) -> RewardModel:
    """The reward model that `config` names, ready to score on `device` ("cpu", "cuda:0").

    `artifact` is the directory written by `fit_reward_model`, and `base_model` the model whose features
    that head reads; only `fitted` needs them. Raises `RewardError` where the model cannot be loaded.
    torch is imported only for `hf` and `fitted`. Scoring takes `config.timeout` seconds at most.
    """
    model = _load(config, artifact, base_model, device)
    return TimedReward(model, seconds=config.timeout)


def _load(config: RewardConfig, artifact: Path | None, base_model: str, device: str) -> RewardModel:
    if config.kind == "verifier":
        return VerifierReward(config.function)
    if config.kind == "hf":
        from metrics.reward.hf import HFReward

        assert config.model is not None
        return HFReward(config.model, config=config, device=device)
    if artifact is None:
        raise RewardError('reward.kind is "fitted" but no head has been fitted yet: there is no artifact')
    from metrics.reward.fitted import FittedReward

    return FittedReward(artifact, base_model=base_model, config=config, device=device)
