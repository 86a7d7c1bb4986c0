"""The best policy of a training, taken aside and put back."""

from __future__ import annotations

import torch
from support.tiny_models import tiny_llama

from trainers.training.best import BestPolicy


def test_the_best_evaluation_comes_back_whatever_was_trained_since() -> None:
    model = tiny_llama()
    for parameter in model.lm_head.parameters():
        parameter.requires_grad = False
    best, weights = BestPolicy(), {}
    for step, reward in enumerate((0.2, 0.6, 0.6, 0.1), start=1):
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += step
        best.update(reward, step, model)
        weights[step] = {name: value.clone() for name, value in model.state_dict().items()}
    assert (best.reward, best.step) == (0.6, 2)  # the earlier of equals
    best.restore(model)
    assert all(torch.equal(value, weights[2][name]) for name, value in model.state_dict().items())
    assert "lm_head.weight" not in best.weights  # what is not trained is not copied
