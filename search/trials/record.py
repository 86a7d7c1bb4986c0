"""What one finished trial leaves behind: the record that the fit, the tables and the tracker all read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from statistics import fmean, stdev
from typing import Any

from pools.response_choice import ResponseChoice
from search.config.cost import Labelling, Split
from search.config.hyperparameters import Scalar
from search.trials.design_point import DesignPoint
from trainers.spec import SeedResult


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A design point, trained once for each entry of `results`.

    `trial` is its key within the study. `cost` is what the labels of its split cost, in the unit of the
    study's cost model. `diversity` is D of the selected prompts (Song et al. 2024), `baselines` holds what
    it is compared with, by name; both are averaged over the seeds' draws. `seconds` is the time it took.
    `earlier` names, for each seed that was trained elsewhere, where it comes from; `group` is the name of
    trials whose rewards may lie higher or lower as a whole than this study's ("": they may not).
    """

    trial: str
    point: DesignPoint
    cost: float
    diversity: float
    results: tuple[SeedResult, ...]
    baselines: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    earlier: Mapping[int, str] = field(default_factory=dict)
    group: str = ""

    @property
    def prompts(self) -> int:
        return self.point.prompts

    @property
    def responses(self) -> int:
        return self.point.responses

    @property
    def raters(self) -> int | None:
        return self.point.raters

    @property
    def agreement(self) -> float | None:
        return self.point.agreement

    @property
    def response_choice(self) -> ResponseChoice:
        return self.point.response_choice

    @property
    def human_share(self) -> float | None:
        return self.point.human_share

    @property
    def labelling(self) -> Labelling:
        return self.point.labelling

    @property
    def split(self) -> Split:
        return self.point.split

    @property
    def selection(self) -> str:
        return self.point.selection

    @property
    def strength(self) -> float:
        return self.point.strength

    @property
    def hyperparameters(self) -> dict[str, Scalar]:
        return dict(self.point.hyperparameters)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result.seed for result in self.results)

    @property
    def is_earlier(self) -> bool:
        """Whether none of its seeds was trained in this study."""
        return all(seed in self.earlier for seed in self.seeds)

    @property
    def rewards(self) -> tuple[float, ...]:
        """The mean held-out reward of each seed."""
        return tuple(result.reward for result in self.results)

    @property
    def reward(self) -> float:
        """Mean reward over the seeds."""
        return fmean(self.rewards)

    @property
    def reward_se(self) -> float | None:
        """Standard error of `reward` over the seeds; None for a single seed, which says nothing of noise."""
        if len(self.results) < 2:
            return None
        return float(stdev(self.rewards) / len(self.results) ** 0.5)

    @property
    def domain_rewards(self) -> dict[str, float]:
        """Mean reward by domain of the held-out prompts, over the seeds."""
        return {
            domain: fmean(result.domain_rewards[domain] for result in self.results)
            for domain in self.results[0].domain_rewards
        }

    @property
    def further_rewards(self) -> dict[str, float]:
        """Mean reward by each further reward model that has judged all seeds."""
        names = list(self.results[0].further_rewards)
        return {
            name: fmean(result.further_rewards[name] for result in self.results)
            for name in names
            if all(name in result.further_rewards for result in self.results)
        }

    @property
    def trained_tokens(self) -> int:
        return sum(result.trained_tokens for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """As kept in the study's folder, and read by `from_dict`."""
        return asdict(self) | {"point": self.point.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TrialRecord:
        """The inverse of `to_dict`, and of its way through JSON."""
        results = tuple(map(SeedResult.from_dict, value["results"]))
        earlier = {int(seed): source for seed, source in value.get("earlier", {}).items()}
        point = DesignPoint.from_dict(value["point"])
        return cls(**{**value, "point": point, "results": results, "earlier": earlier})

    def with_seeds(self, seeds: Collection[int]) -> TrialRecord | None:
        """The same of these seeds alone; None where it has none of them."""
        results = tuple(result for result in self.results if result.seed in seeds)
        earlier = {seed: source for seed, source in self.earlier.items() if seed in seeds}
        return replace(self, results=results, earlier=earlier) if results else None


def pooled(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """One record for each split, draw and hyperparameters: repetitions are further seeds of one trial."""
    merged: dict[tuple[str, DesignPoint], TrialRecord] = {}
    for record in records:
        name = record.group, replace(record.point, budget_fraction=None)
        merged[name] = _together(merged[name], record) if name in merged else record
    return sorted(merged.values(), key=lambda record: (record.cost, record.responses, record.selection))


def _together(one: TrialRecord, other: TrialRecord) -> TrialRecord:
    seeds = len(one.results), len(other.results)

    def mean(a: float, b: float) -> float:
        return (a * seeds[0] + b * seeds[1]) / sum(seeds)

    return replace(
        one,
        results=tuple(sorted(one.results + other.results, key=attrgetter("seed"))),
        diversity=mean(one.diversity, other.diversity),
        baselines={name: mean(value, other.baselines[name]) for name, value in one.baselines.items()},
        seconds=one.seconds + other.seconds,
        earlier={**one.earlier, **other.earlier},
    )
