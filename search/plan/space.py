"""The design points that a study may try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from base.errors import ConfigError
from pools.selection import Selection
from search.config.cost import Split, largest_split
from search.config.hyperparameters import (
    Choices,
    Domain,
    default_hyperparameters,
    domains,
    value_of,
)
from search.config.study import StudyConfig
from search.trials.design_point import DesignPoint, Hyperparameters


class Space:
    """All design points that a study may try: what the budget pays for and the pool holds, nothing else.

    Raises ConfigError where a response count is unaffordable at every budget fraction.
    """

    def __init__(self, config: StudyConfig, *, max_prompts: int | None = None) -> None:
        self.config, self.max_prompts = config, max_prompts
        self.hyperparameters = domains(config.search.space, config.trainer)
        self.fractions = {k: self._fractions(k) for k in config.search.responses}

    @cached_property
    def default_hyperparameters(self) -> Hyperparameters:
        """The configuration's own values of the fields that are searched, or the middle of their range."""
        return tuple(sorted(default_hyperparameters(self.config.trainer, self.hyperparameters).items()))

    def known(self, point: DesignPoint) -> DesignPoint:
        """`point` with the hyperparameters that this space knows it by, whatever was searched at the time.

        A field that it does not name had the configuration's own value; one that is searched no longer
        counts only where it differs from that value.
        """
        trainer, given = self.config.trainer, dict(point.hyperparameters)
        found = {name: given.get(name, value_of(trainer, name)) for name in self.hyperparameters}
        other = {name: value for name, value in given.items() if value != value_of(trainer, name)}
        return replace(point, hyperparameters=tuple(sorted((found | other).items())))

    @property
    def draws(self) -> list[tuple[Selection, float]]:
        """Ways of drawing prompts, each with how far it departs from a random draw."""
        search = self.config.search
        return [
            (selection, strength)
            for selection in search.selections
            for strength in ((0.0,) if selection == "random" else search.strengths)
        ]

    def point(
        self,
        responses: int,
        fraction: float,
        draw: tuple[str, float] | None = None,
        hyperparameters: Hyperparameters | None = None,
    ) -> DesignPoint:
        """The point with these coordinates; by default the first way of drawing, default hyperparameters."""
        selection, strength = draw or self.draws[0]
        return DesignPoint(
            prompts=self._split(responses, fraction).prompts,
            responses=responses,
            budget_fraction=fraction,
            selection=selection,
            strength=strength,
            hyperparameters=self.default_hyperparameters if hyperparameters is None else hyperparameters,
        )

    def whole(self, responses: int) -> float:
        """The largest budget fraction that can be had with so many responses."""
        return self.fractions[responses][-1]

    def fraction_name(self, responses: int) -> str:
        """What `walk` calls the budget fraction: each number of responses has its own where they differ."""
        same = len(set(self.fractions.values())) == 1
        return "budget_fraction" if same else f"budget_fraction at {responses} responses"

    def grid(self) -> list[DesignPoint]:
        """Every point with the default hyperparameters, in an order that can be cut anywhere.

        The whole budget comes first, since that is what is asked; then the smaller fractions, which give the
        relation between diversity and reward its spread; the first way of drawing comes before the others.
        """
        levels = sorted({one for fractions in self.fractions.values() for one in fractions}, reverse=True)
        return [
            self.point(responses, fraction, draw)
            for draw in self.draws
            for fraction in levels
            for responses in self.config.search.responses
            if fraction in self.fractions[responses]
        ]

    def walk(self, decide: Callable[[str, Domain], Any]) -> DesignPoint:
        """The point that `decide` leads to: it is asked for each coordinate by name, and what that may be.

        A coordinate whose values depend on another's has the other in its name, so that each name always
        stands for the same values and only points that can be had are ever reached.
        """
        hyperparameters = {name: decide(name, domain) for name, domain in self.hyperparameters.items()}
        responses = decide("responses", Choices(tuple(self.fractions)))
        fraction = decide(self.fraction_name(responses), Choices(self.fractions[responses]))
        selection = decide("selection", Choices(tuple(self.config.search.selections)))
        strength = 0.0
        if selection != "random":
            strength = decide("strength", Choices(tuple(self.config.search.strengths)))
        return self.point(responses, fraction, (selection, strength), tuple(sorted(hyperparameters.items())))

    def notes(self) -> list[str]:
        """What was asked for and cannot be had, one line each."""
        asked = set(self.config.search.budget_fractions)
        return [
            f"{responses} responses: budget fractions {_listed(sorted(asked - set(fractions)))} pay for no "
            f"prompt, or for more than the pool's {self.max_prompts:,}; tried are {_listed(fractions)}"
            for responses, fractions in self.fractions.items()
            if self.max_prompts is not None and asked - set(fractions)
        ]

    def _fractions(self, responses: int) -> tuple[float, ...]:
        """Fractions that pay for different numbers of prompts; where the pool ends, what all of it costs."""
        config, found = self.config, dict[int, float]()
        for fraction in sorted(config.search.budget_fractions):
            split = largest_split(config.cost, config.budget * fraction, responses, None)
            if split is None:
                continue
            if self.max_prompts is None or split.prompts <= self.max_prompts:
                found[split.prompts] = fraction
            elif self.max_prompts not in found:
                found[self.max_prompts] = config.cost.cost(self.max_prompts, responses) / config.budget
        if not found:
            raise ConfigError(
                f"search.responses {responses} at search.budget_fractions up to "
                f"{max(config.search.budget_fractions)} of the budget {config.budget:g} {config.cost.unit} "
                "pays for no prompt at all: raise the budget"
            )
        return tuple(found.values())

    def _split(self, responses: int, fraction: float) -> Split:
        split = largest_split(self.config.cost, self.config.budget * fraction, responses, self.max_prompts)
        assert split is not None, (responses, fraction)
        return split


def check_responses(asked: Sequence[int], max_responses: int) -> None:
    """Raise ConfigError where the pool's prompts have fewer responses than the study wants to try."""
    if (largest := max(asked)) > max_responses:
        raise ConfigError(
            f"search.responses holds {largest}, but the pool's prompts have no more than {max_responses} "
            f"responses: leave {largest} out"
        )


def _listed(fractions: list[float] | tuple[float, ...]) -> str:
    return ", ".join(f"{fraction:.3g}" for fraction in fractions)
