"""A reward model that is a plain Python function, found by name in an installed module."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from base.errors import RewardError, did_you_mean
from metrics.config import RewardConfig
from metrics.reward.base import RewardSource, check_pairs, checked_scores
from pools.types import Prompt

Verifier = Callable[[Prompt, str], float]


class VerifierReward:
    """Calls `module:function` once for each pair, as `function(prompt, response) -> float in [0, 1]`."""

    def __init__(self, function: str) -> None:
        self._name = function
        self._verify = import_function(function)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """See `RewardModel.score`; an exception in the function becomes a `RewardError` naming the prompt."""
        check_pairs(prompts, responses)
        pairs = zip(prompts, responses, strict=True)
        scores = [self._one(index, prompt, response) for index, (prompt, response) in enumerate(pairs)]
        return checked_scores(scores, expected=len(prompts))

    def _one(self, index: int, prompt: Prompt, response: str) -> float:
        try:
            return self._verify(prompt, response)
        except Exception as error:
            where = f"prompt {index} ({prompt.text[:60]!r})"
            raise RewardError(f"{self._name} failed on {where}: {type(error).__name__}: {error}") from error


def load(config: RewardConfig, source: RewardSource) -> VerifierReward:
    """The verifier that `config.function` names."""
    return VerifierReward(config.function)


def import_function(name: str) -> Verifier:
    """The function that `name` ("module:function") stands for; raises `RewardError` saying what is missing.

    Modules are found as `import` finds them; a path to a file is rejected, so that a configuration
    never runs code that was not installed.
    """
    module_name, colon, attribute = name.partition(":")
    if not (colon and attribute.isidentifier() and all(map(str.isidentifier, module_name.split(".")))):
        raise RewardError(f"{name!r} is not of the form module:function, such as pools.demo.verifier:score")
    module = _import_module(module_name)
    if not hasattr(module, attribute):
        near = did_you_mean(attribute, [known for known in vars(module) if not known.startswith("_")])
        raise RewardError(f"module {module_name!r} has no {attribute!r}{near}")
    function: Verifier = getattr(module, attribute)
    if not callable(function):
        raise RewardError(f"{name} is a {type(function).__name__}, not a function of a prompt and a response")
    return function


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RewardError(
            f"cannot import {name!r}: no module named {error.name!r} is installed (on every node)"
        ) from error
    except Exception as error:
        raise RewardError(f"importing {name!r} failed: {type(error).__name__}: {error}") from error
