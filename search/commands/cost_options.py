"""The cost model on the command line: one --cost.FIELD for each of its fields."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from base.errors import ConfigError
from search.config.cost import CostModel


def add_cost_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    costs = parser.add_argument_group("cost model")
    for name, info in CostModel.model_fields.items():
        costs.add_argument(
            f"--cost.{name}", metavar="VALUE", help=f"{info.description}; default {info.default}"
        )


def cost_model_of(args: argparse.Namespace, known: Mapping[str, Any]) -> CostModel:
    """The cost model of `known` fields and, before them, those that were given.

    Raises ConfigError naming each wrong field.
    """
    given = {
        name: value for name in CostModel.model_fields if (value := getattr(args, f"cost.{name}")) is not None
    }
    try:
        return CostModel.model_validate({**known, **given})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'prices'}: {e['msg']} (got {e['input']!r})"
            for e in error.errors()
        )
        raise ConfigError(f"cost model: {problems}") from None
