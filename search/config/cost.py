"""What labels cost, and which splits a budget can pay for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log2
from typing import Literal

from pydantic import Field, model_validator

from base.settings import Settings
from pools.response_choice import BY_JUDGE, CHOICES, ResponseChoice


@dataclass(frozen=True)
class Labelling:
    """How the prompts of a split are labelled, however many responses each has.

    `raters` judge every response; None where their number is not part of the question: then
    `CostModel.raters` are paid for. `response_choice` is how the responses that are labelled are chosen from
    all that a prompt has (`pools.response_choice`). `human_share` is the share of prompts that people label,
    and a judge the others (`pools.two_kinds`); None where kinds of labels are not told apart.
    """

    raters: int | None = None
    response_choice: ResponseChoice = "random"
    human_share: float | None = None

    @property
    def labels(self) -> str:
        """Whose labels: human, judge, mixed with the share of people's; "" where kinds are not told apart."""
        if self.human_share is None:
            return ""
        return {1.0: "human", 0.0: "judge"}.get(self.human_share, f"mixed {self.human_share:g}")

    def __str__(self) -> str:
        """What follows a number of responses, as in ` x 3 spread`; nothing where it is the plain way."""
        raters = "" if self.raters is None else f" x {self.raters}"
        words = ["" if self.response_choice == "random" else self.response_choice, self.labels]
        return " ".join([raters, *filter(None, words)])

    @property
    def rank(self) -> tuple[int, float, int]:
        """By what labellings are sorted: the plainest comes first."""
        human = 1 if self.human_share is None else self.human_share
        return CHOICES.index(self.response_choice), 1 - human, self.raters or 0


PLAIN = Labelling()


@dataclass(frozen=True)
class Split:
    """`prompts` prompts with `responses` labelled responses each; the rest as in `Labelling`."""

    prompts: int
    responses: int
    raters: int | None = None
    response_choice: ResponseChoice = "random"
    human_share: float | None = None

    @classmethod
    def of(cls, prompts: int, responses: int, labelling: Labelling) -> Split:
        """The split that is labelled so."""
        return cls(prompts, responses, **vars(labelling))

    @property
    def labelling(self) -> Labelling:
        return Labelling(self.raters, self.response_choice, self.human_share)

    def __str__(self) -> str:
        return f"{self.prompts:,} x {self.responses}{self.labelling}"


class CostModel(Settings):
    """Prices of one study's labels. By default only annotations count: cost = prompts x responses."""

    per_prompt: float = Field(default=0.0, ge=0, description="price of collecting one prompt (units)")
    per_response: float = Field(
        default=0.0, ge=0, description="price of writing one response that is labelled (units)"
    )
    per_annotation: float = Field(
        default=1.0, ge=0, description="price of one response judged once by one rater (units)"
    )
    per_comparison: float = Field(
        default=0.0, ge=0, description="price of one pair compared once by one rater (units)"
    )
    comparisons: Literal["pairs", "sort"] = Field(
        default="pairs",
        description="comparisons that rank k responses: all k(k-1)/2 pairs, or ceil(k log2 k) by sorting",
    )
    raters: int = Field(
        default=1,
        ge=1,
        description="raters who judge each response or pair, unless search.raters says how many (count)",
    )
    per_judged: float = Field(
        default=0.0, ge=0, description="price of one response scored by a judge, not by people (units)"
    )
    per_generated: float = Field(
        default=0.0, ge=0, description="price of generating one candidate response (units)"
    )
    generated: int = Field(
        default=0,
        ge=0,
        description="candidates generated for each prompt, labelled or not; never under responses (count)",
    )
    unit: str = Field(
        "annotations", min_length=1, description="name of the unit that prices and budget are in"
    )

    @model_validator(mode="after")
    def _something_costs(self) -> CostModel:
        prices = (
            self.per_prompt,
            self.per_response,
            self.per_annotation,
            self.per_comparison,
            self.per_judged,
            self.per_generated,
        )
        if not any(prices):
            raise ValueError(
                "every price is 0: at least one of per_prompt, per_response, per_annotation, "
                "per_comparison, per_judged, per_generated must be positive"
            )
        return self

    def cost_per_prompt(self, responses: int, labelling: Labelling = PLAIN) -> float:
        """Cost of one prompt with `responses` responses labelled so, in the mean over prompts."""
        rated = self.per_annotation * responses + self.per_comparison * self.comparisons_for(responses)
        written = self.per_response * responses + self.per_generated * max(self.generated, responses)
        human = 1 if labelling.human_share is None else labelling.human_share
        judged = self.per_judged * self._judged(responses, labelling)
        return self.per_prompt + written + human * (labelling.raters or self.raters) * rated + judged

    def _judged(self, responses: int, labelling: Labelling) -> int:
        """Responses of a prompt that a judge scores: all candidates where they are chosen by its scores."""
        if labelling.response_choice in BY_JUDGE:
            return max(self.generated, responses)
        return responses if labelling.human_share is not None and labelling.human_share < 1 else 0

    def price_of_candidates(self, choice: ResponseChoice) -> str:
        """The name of what candidates that responses are chosen from cost; "" where they are free.

        Random responses need no other candidates.
        """
        if choice != "random" and self.per_generated:
            return "cost.per_generated"
        return "cost.per_judged" if choice in BY_JUDGE and self.per_judged else ""

    def comparisons_for(self, responses: int) -> int:
        """Comparisons that one rater makes to rank `responses` responses."""
        if responses < 2:
            return 0
        if self.comparisons == "pairs":
            return responses * (responses - 1) // 2
        return ceil(responses * log2(responses))

    def cost(self, prompts: int, responses: int, labelling: Labelling = PLAIN) -> float:
        """Cost of labelling `prompts` prompts with `responses` responses each, in `unit`."""
        return prompts * self.cost_per_prompt(responses, labelling)

    def of(self, split: Split) -> float:
        """Cost of a split, in `unit`."""
        return self.cost(split.prompts, split.responses, split.labelling)


def largest_split(
    cost_model: CostModel,
    budget: float,
    responses: int,
    max_prompts: int | None,
    labelling: Labelling = PLAIN,
) -> Split | None:
    """The most prompts with `responses` responses, labelled so, that `budget` pays for.

    None where it pays for none, or where they are free and nothing limits them.
    """
    each = cost_model.cost_per_prompt(responses, labelling)
    # A hair of slack, so that 0.3 / 0.1 buys three.
    affordable = floor(budget / each * (1 + 1e-12)) if each > 0 else inf
    prompts = affordable if max_prompts is None else min(affordable, max_prompts)
    return Split.of(int(prompts), responses, labelling) if 1 <= prompts < inf else None


def feasible_splits(
    cost_model: CostModel,
    budget: float,
    *,
    responses: Sequence[int],
    max_prompts: int | None = None,
    labelling: Labelling = PLAIN,
) -> list[Split]:
    """For each number of responses the largest split within `budget`, fewest responses first."""
    splits = (largest_split(cost_model, budget, k, max_prompts, labelling) for k in sorted(set(responses)))
    return [split for split in splits if split is not None]
