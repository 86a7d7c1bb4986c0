"""The preference algorithm that a configuration names."""

from __future__ import annotations

from importlib import import_module

from trainers.algorithms.base import Algorithm
from trainers.config.algorithm import LOSSES, AlgorithmConfig


def make_algorithm(config: AlgorithmConfig) -> Algorithm:
    """The algorithm that `config` names, with its constants."""
    module, _, name = LOSSES[config.name].path.partition(":")
    algorithm: Algorithm = getattr(import_module(module), name).of(config)
    return algorithm
