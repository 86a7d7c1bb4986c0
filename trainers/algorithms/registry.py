"""Preference algorithms, chosen by name."""

from __future__ import annotations

from trainers.algorithms.base import Algorithm
from trainers.algorithms.dpo import DPO
from trainers.algorithms.pairs import Pairs
from trainers.algorithms.plackett_luce import PlackettLuce
from trainers.algorithms.pro import PRO
from trainers.algorithms.rrhf import RRHF
from trainers.algorithms.sft import SFT
from trainers.algorithms.simpo import SimPO
from trainers.config.algorithm import AlgorithmConfig


def make_algorithm(config: AlgorithmConfig) -> Algorithm:
    """The algorithm that `config` names, with its constants."""
    pairs = Pairs.of(config)
    match config.name:
        case "sft":
            return SFT(config.sft_target, config.sft_temperature)
        case "pro":
            return PRO(config.sft_weight)
        case "plackett_luce":
            return PlackettLuce(config.beta or 1.0)
        case "rrhf":
            return RRHF()
        case "dpo":
            return DPO(pairs, config.beta or 0.1)
        case "simpo":
            return SimPO(pairs, config.beta or 2.0, config.target_margin)
