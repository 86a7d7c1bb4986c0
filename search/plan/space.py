"""The design points that a study may try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

from base.errors import ConfigError
from pools.response_choice import ResponseChoice
from pools.selection import Selection
from search.config.cost import CostModel, Labelling, Split, largest_split
from search.config.hyperparameters import (
    Choices,
    Domain,
    Scalar,
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
        self.labellings = config.labellings
        self._by_labelling = {
            (k, how): self._fractions(k, how) for how in self.labellings for k in config.search.responses
        }
        self.fractions = {k: self.fractions_of(k, self.labellings[0]) for k in config.search.responses}

    def fractions_of(self, responses: int, labelling: Labelling) -> tuple[float, ...]:
        """Budget fractions that can be had with so many responses, labelled so, rising.

        `fractions` are those of the plainest labelling.
        """
        return self._by_labelling[responses, labelling]

    @property
    def labelled(self) -> list[tuple[int, Labelling]]:
        """Every number of responses with every way of labelling them."""
        return list(self._by_labelling)

    def coordinates(self, labelling: Labelling) -> dict[str, Scalar]:
        """Of its fields, those in which the ways of labelling differ."""
        return {
            name: value
            for name, value in vars(labelling).items()
            if value is not None and len({getattr(one, name) for one in self.labellings}) > 1
        }

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
        labelling: Labelling | None = None,
    ) -> DesignPoint:
        """The point with these coordinates.

        By default the first way of drawing, default hyperparameters, and the plainest labelling.
        """
        selection, strength = draw or self.draws[0]
        labelling = labelling or self.labellings[0]
        return DesignPoint(
            prompts=self._split(responses, fraction, labelling).prompts,
            responses=responses,
            budget_fraction=fraction,
            selection=selection,
            strength=strength,
            hyperparameters=self.default_hyperparameters if hyperparameters is None else hyperparameters,
            agreement=None if labelling.raters is None else self.config.search.agreement,
            **vars(labelling),
        )

    def whole(self, responses: int, labelling: Labelling | None = None) -> float:
        """The largest budget fraction with so many responses, labelled so (None: in the plainest way)."""
        return self.fractions_of(responses, labelling or self.labellings[0])[-1]

    def fraction_name(self, responses: int, labelling: Labelling) -> str:
        """What `walk` calls the budget fraction: each number of responses has its own where they differ.

        So has each way of labelling, where several are tried.
        """
        if len(set(self._by_labelling.values())) == 1:
            return "budget_fraction"
        how = "".join(f", {name} {value}" for name, value in self.coordinates(labelling).items())
        return f"budget_fraction at {responses} responses{how}"

    def hyperparameter_name(self, name: str, responses: int) -> str:
        """What `walk` calls a hyperparameter; each number of responses has its own if tuned per split."""
        return f"{name} at {responses} responses" if self.config.search.tune == "per_split" else name

    def fixed_hyperparameters(self, values: Hyperparameters) -> dict[str, Scalar]:
        """These values by the names that `walk` calls them, whatever the number of responses."""
        return {self.hyperparameter_name(name, k): value for name, value in values for k in self.fractions}

    @cached_property
    def combinations(self) -> list[Hyperparameters]:
        """All hyperparameters, in order, where every one of them is a choice; else none."""
        found = [
            [(name, value) for value in domain.values]
            for name, domain in sorted(self.hyperparameters.items())
            if isinstance(domain, Choices)
        ]
        return list(product(*found)) if len(found) == len(self.hyperparameters) else []

    def grid(self) -> list[DesignPoint]:
        """Every point with the default hyperparameters, in an order that can be cut anywhere.

        The whole budget comes first, since that is what is asked; then the smaller fractions, which give the
        relation between diversity and reward its spread; the first way of drawing comes before the others.
        """
        levels = sorted({one for fractions in self._by_labelling.values() for one in fractions}, reverse=True)
        return [
            self.point(responses, fraction, draw, None, labelling)
            for draw in self.draws
            for fraction in levels
            for responses in self.config.search.responses
            for labelling in self.labellings
            if fraction in self.fractions_of(responses, labelling)
        ]

    def walk(self, decide: Callable[[str, Domain], Any]) -> DesignPoint:
        """The point that `decide` leads to: it is asked for each coordinate by name, and what that may be.

        A coordinate whose values depend on another's has the other in its name, so that each name always
        stands for the same values and only points that can be had are ever reached.
        """
        responses = decide("responses", Choices(tuple(self.fractions)))
        hyperparameters = {
            name: decide(self.hyperparameter_name(name, responses), domain)
            for name, domain in self.hyperparameters.items()
        }
        labelling = self._walk_labelling(decide)
        fractions = self.fractions_of(responses, labelling)
        fraction = decide(self.fraction_name(responses, labelling), Choices(fractions))
        selection = decide("selection", Choices(tuple(self.config.search.selections)))
        strength = 0.0
        if selection != "random":
            strength = decide("strength", Choices(tuple(self.config.search.strengths)))
        values = tuple(sorted(hyperparameters.items()))
        return self.point(responses, fraction, (selection, strength), values, labelling)

    def _walk_labelling(self, decide: Callable[[str, Domain], Any]) -> Labelling:
        left = list(self.labellings)
        for name in reversed(vars(left[0])):  # whose labels first: a judge has no raters
            values = tuple(dict.fromkeys(getattr(one, name) for one in left))
            if len(values) > 1:
                chosen = decide(name, Choices(values))
                left = [one for one in left if getattr(one, name) == chosen]
        return left[0]

    def notes(self) -> list[str]:
        """What was asked for and cannot be had, one line each."""
        asked = set(self.config.search.budget_fractions)
        return [
            f"{_of(responses, how)}: budget fractions {_listed(sorted(asked - set(fractions)))} pay for "
            f"no prompt, or for more than the pool's {self.max_prompts:,}; tried are {_listed(fractions)}"
            for (responses, how), fractions in self._by_labelling.items()
            if self.max_prompts is not None and asked - set(fractions)
        ]

    def _fractions(self, responses: int, labelling: Labelling) -> tuple[float, ...]:
        """Fractions that pay for different numbers of prompts; where the pool ends, what all of it costs."""
        config, found = self.config, dict[int, float]()
        for fraction in sorted(config.search.budget_fractions):
            split = largest_split(config.cost, config.budget * fraction, responses, None, labelling)
            if split is None:
                continue
            if self.max_prompts is None or split.prompts <= self.max_prompts:
                found[split.prompts] = fraction
            elif self.max_prompts not in found:
                most = Split.of(self.max_prompts, responses, labelling)
                found[self.max_prompts] = config.cost.of(most) / config.budget
        if not found:
            with_raters = "" if labelling.raters is None else f" with search.raters {labelling.raters}"
            with_raters += f" and {labelling.labels} labels" if labelling.labels else ""
            raise ConfigError(
                f"search.responses {responses}{with_raters} at search.budget_fractions up to "
                f"{max(config.search.budget_fractions)} of the budget {config.budget:g} {config.cost.unit} "
                "pays for no prompt at all: raise the budget"
            )
        return tuple(found.values())

    def _split(self, responses: int, fraction: float, labelling: Labelling) -> Split:
        amount = self.config.budget * fraction
        split = largest_split(self.config.cost, amount, responses, self.max_prompts, labelling)
        assert split is not None, (responses, fraction, labelling)
        return split


def check_responses(asked: Sequence[int], max_responses: int) -> None:
    """Raise ConfigError where the pool's prompts have fewer responses than the study wants to try."""
    if (largest := max(asked)) > max_responses:
        raise ConfigError(
            f"search.responses holds {largest}, but the pool's prompts have no more than {max_responses} "
            f"responses: leave {largest} out"
        )


def check_choices(
    choices: Sequence[ResponseChoice], responses: Sequence[int], candidates: int, cost: CostModel
) -> None:
    """Raise ConfigError where no response is left out, or where candidates that are chosen from are not paid.

    `choices` are those that are not random, `candidates` the most responses that a prompt of the pool has.
    """
    if min(responses) >= candidates:
        raise ConfigError(
            f'search.response_choices holds "{choices[0]}", but prompts of the pool have {candidates} '
            f"responses and search.responses is {', '.join(map(str, responses))}: there is nothing to "
            "choose, so ask for fewer responses or leave search.response_choices out"
        )
    if any(map(cost.price_of_candidates, choices)) and cost.generated < candidates:
        raise ConfigError(
            f'search.response_choices holds "{choices[0]}", which chooses from up to {candidates} responses '
            f"of the pool, but cost.generated pays for {cost.generated}: set cost.generated {candidates}"
        )


def check_raters(asked: Sequence[int], fewest: int) -> None:
    """Raise ConfigError where some prompt was rated by fewer raters than the study wants to try."""
    if fewest < 1:
        raise ConfigError(
            f"search.raters is {list(asked)}, but some prompt of the pool has no ratings of single raters "
            "(`apportion label import` writes them): state what one rater is worth with search.agreement "
            "(such as 0.75), or leave search.raters out"
        )
    if (most := max(asked)) > fewest:
        raise ConfigError(
            f"search.raters holds {most}, but some prompt of the pool was rated by only {fewest}: leave "
            f"{most} out, or that prompt"
        )


def _of(responses: int, labelling: Labelling) -> str:
    chosen = "" if labelling.response_choice == "random" else f"{labelling.response_choice} "
    raters = "" if labelling.raters is None else f" with {labelling.raters} raters"
    kind = f", {labelling.labels} labels" if labelling.labels else ""
    return f"{responses} {chosen}responses{raters}{kind}"


def _listed(fractions: list[float] | tuple[float, ...]) -> str:
    return ", ".join(f"{fraction:.3g}" for fraction in fractions)
