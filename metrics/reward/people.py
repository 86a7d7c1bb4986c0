"""How far a reward model agrees with people, on prompts that nothing was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from metrics.reward.base import RewardModel
from pools.raters import unequal_pairs
from pools.types import Example


def agreement_with_people(model: RewardModel, held_out: Sequence[Example]) -> str:
    """The share of pairs of held-out responses that the model orders as their scores do, in words.

    Ties of the model count half; pairs that people hold equal, or never compared, not at all.
    """
    prompts = [example.prompt for example in held_out for _ in example.responses]
    texts = [response.text for example in held_out for response in example.responses]
    scores, alike = iter(model.score(prompts, texts)), list[float]()
    for example in held_out:
        found = [next(scores) for _ in example.responses]
        for better, worse in unequal_pairs(example):
            lead = found[better] - found[worse]
            alike.append(0.5 if lead == 0 else float(lead > 0))
    if not alike:
        return "unknown: no held-out prompt has responses that people told apart"
    return f"{fmean(alike):.3f} of {len(alike):,} held-out pairs"
