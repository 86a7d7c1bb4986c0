"""The judge that a configuration names."""

from __future__ import annotations

from annotation.config import JudgeConfig
from annotation.endpoint import Endpoint
from annotation.journal import Journal
from annotation.judging.judge import Judge, RewardJudge
from annotation.judging.llm import PairwiseJudge, PointwiseJudge
from annotation.purse import Purse
from metrics.reward.registry import load_reward_model
from trainers.models import resolve_model


def load_judge(config: JudgeConfig, journal: Journal, purse: Purse, *, seed: int) -> Judge:
    """The judge, ready to score; RewardError where a reward model cannot be loaded."""
    if config.kind == "reward":
        return _reward_judge(config, journal)
    endpoint = Endpoint(config.model, purse)
    if config.kind == "pointwise":
        return PointwiseJudge(config, endpoint, journal)
    return PairwiseJudge(config, endpoint, journal, seed=seed)


def _reward_judge(config: JudgeConfig, journal: Journal) -> RewardJudge:
    reward, device = config.reward, "cpu"
    if reward.kind != "verifier":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    base = resolve_model(config.head_model) if reward.kind == "fitted" else ""
    model = load_reward_model(reward, artifact=config.head, base_model=base, device=device)
    by = f"fitted ({config.head})" if reward.kind == "fitted" else reward.source
    return RewardJudge(model, by, journal)
