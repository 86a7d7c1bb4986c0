"""The points that a study may try, and the names by which they are known."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property
from typing import Any

from base.errors import ConfigError
from search.config.cost import Split, largest_split
from search.config.hyperparameters import Choices, Domain, Scalar, default_hyperparameters, domains, value_of
from search.config.study import Selection, StudyConfig
from search.trials.design_point import Point


def seeded(config: StudyConfig, place: Point, used: Collection[int]) -> Point:
    """`place` with the first seeds, from the study's own on, that it has not been trained with."""
    free = (seed for seed in range(config.seed, config.seed + len(used) + config.search.seeds))
    fresh = [seed for seed in free if seed not in used]
    return replace(place, seeds=tuple(fresh[: config.search.seeds]))


class Space:
    """All places that a study may try: what the budget pays for and the pool holds, and nothing else.

    Raises ConfigError where some number of responses can be had at no budget fraction.
    """

    def __init__(self, config: StudyConfig, *, max_prompts: int | None = None) -> None:
        self.config, self.max_prompts = config, max_prompts
        self.hyperparameters = domains(config.search.space, config.trainer)
        self.budget_fractions = {k: self._budget_fractions(k) for k in config.search.responses}

    @cached_property
    def default_hyperparameters(self) -> tuple[tuple[str, Scalar], ...]:
        """The configuration's own values of the fields that are searched, or the middle of their space."""
        return tuple(sorted(default_hyperparameters(self.config.trainer, self.hyperparameters).items()))

    def known(self, point: Point) -> Point:
        """`point` with the settings that this space knows it by, whatever was searched when it was trained.

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

    def place(
        self,
        responses: int,
        budget_fraction: float,
        draw: tuple[Selection, float] | None = None,
        hyperparameters: tuple[tuple[str, Scalar], ...] | None = None,
    ) -> Point:
        """The place with these coordinates; by default the first way of drawing and the own settings."""
        selection, strength = draw or self.draws[0]
        return Point(
            prompts=self._split(responses, budget_fraction).prompts,
            responses=responses,
            budget_fraction=budget_fraction,
            selection=selection,
            strength=strength,
            hyperparameters=self.default_hyperparameters if hyperparameters is None else hyperparameters,
        )

    def whole(self, responses: int) -> float:
        """The largest spend that can be had with so many responses."""
        return self.budget_fractions[responses][-1]

    def budget_fraction_name(self, responses: int) -> str:
        """What `walk` calls the spend: where not all numbers of responses have the same, each has its own."""
        return (
            "budget_fraction"
            if len(set(self.budget_fractions.values())) == 1
            else f"budget_fraction at {responses} responses"
        )

    def grid(self) -> list[Point]:
        """Every place with the study's own settings, in an order that can be cut anywhere.

        The whole budget comes first, since that is what is asked; then the smaller budget fractions, which give the
        relation between diversity and reward its spread; the first way of drawing comes before the others.
        """
        levels = sorted(
            {
                budget_fraction
                for budget_fractions in self.budget_fractions.values()
                for budget_fraction in budget_fractions
            },
            reverse=True,
        )
        return [
            self.place(responses, budget_fraction, draw)
            for draw in self.draws
            for budget_fraction in levels
            for responses in self.config.search.responses
            if budget_fraction in self.budget_fractions[responses]
        ]

    def walk(self, decide: Callable[[str, Domain], Any]) -> Point:
        """The place that `decide` leads to: it is asked for each coordinate by name, and what that may be.

        A coordinate whose values depend on another's has the other in its name, so that each name always
        stands for the same values and only places that can be had are ever reached.
        """
        hyperparameters = {name: decide(name, domain) for name, domain in self.hyperparameters.items()}
        responses = decide("responses", Choices(tuple(self.budget_fractions)))
        budget_fraction = decide(
            self.budget_fraction_name(responses), Choices(self.budget_fractions[responses])
        )
        selection = decide("selection", Choices(tuple(self.config.search.selections)))
        strength = 0.0
        if selection != "random":
            strength = decide("strength", Choices(tuple(self.config.search.strengths)))
        return self.place(
            responses, budget_fraction, (selection, strength), tuple(sorted(hyperparameters.items()))
        )

    def notes(self) -> list[str]:
        """What was asked for and cannot be had, one line each."""
        asked = set(self.config.search.budget_fractions)
        return [
            f"{responses} responses: budget fractions {', '.join(f'{s:.3g}' for s in sorted(asked - set(budget_fractions)))} of "
            f"the budget pay for no prompt, or for more than the pool's {self.max_prompts:,}; "
            f"tried are {', '.join(f'{s:.3g}' for s in budget_fractions)}"
            for responses, budget_fractions in self.budget_fractions.items()
            if self.max_prompts is not None and asked - set(budget_fractions)
        ]

    def _budget_fractions(self, responses: int) -> tuple[float, ...]:
        """Spends that pay for different numbers of prompts; where the pool ends, what all of it costs."""
        config, found = self.config, dict[int, float]()
        for budget_fraction in sorted(config.search.budget_fractions):
            split = largest_split(config.cost, config.budget * budget_fraction, responses, None)
            if split is None:
                continue
            if self.max_prompts is None or split.prompts <= self.max_prompts:
                found[split.prompts] = budget_fraction
            elif self.max_prompts not in found:
                found[self.max_prompts] = config.cost.cost(self.max_prompts, responses) / config.budget
        if not found:
            raise ConfigError(
                f"search.responses {responses} at search.budget_fractions up to {max(config.search.budget_fractions)} of the "
                f"budget {config.budget:g} {config.cost.unit} pays for no prompt at all: raise the budget"
            )
        return tuple(found.values())

    def _split(self, responses: int, budget_fraction: float) -> Split:
        split = largest_split(
            self.config.cost, self.config.budget * budget_fraction, responses, self.max_prompts
        )
        assert split is not None, (responses, budget_fraction)
        return split


def check_responses(config: StudyConfig, max_responses: int) -> None:
    """Raise ConfigError where the pool's prompts have fewer responses than the study wants to try."""
    if (largest := max(config.search.responses)) > max_responses:
        raise ConfigError(
            f"search.responses holds {largest}, but the pool's prompts have no more than {max_responses} "
            f"responses: leave {largest} out"
        )
