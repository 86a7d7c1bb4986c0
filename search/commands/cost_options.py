"""The cost model on the command line: one --cost.FIELD for each of its fields."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from search.commands.fields import add_fields, given
from search.config.cost import CostModel
from search.config.load import checked


def add_cost_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_fields(parser, CostModel, title="cost", prefix="cost.")


def cost_model_of(args: argparse.Namespace, known: Mapping[str, Any]) -> CostModel:
    """The cost model of `known` fields and, before them, those that were given.

    Raises ConfigError naming each wrong field.
    """
    return checked(CostModel, dict(known), given(args, CostModel, prefix="cost."), "cost model")
