"""The reference study's trials, and differences between them with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import yaml
from scipy import stats

from search.config.cost import Split
from search.fit.curve import DiversityCurve
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials
from studies.gather import csv_of


@dataclass(frozen=True)
class Reference:
    """The trials of one algorithm, and the reward of the model that all started from."""

    name: str
    records: Sequence[TrialRecord]
    base: float

    @cached_property
    def random(self) -> dict[Split, TrialRecord]:
        """Trials with random prompts."""
        return {record.split: record for record in self.records if record.selection == "random"}

    @cached_property
    def curve(self) -> DiversityCurve:
        """D over the prompts, as the trials had it."""
        by_size = {record.prompts: record.diversity for record in self.random.values()}
        sizes = sorted(by_size)
        return DiversityCurve(tuple(sizes), tuple(by_size[size] for size in sizes))

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of a seed's reward about its trial's mean, pooled."""
        squares = sum(float(np.var(record.rewards)) * len(record.rewards) for record in self.records)
        return float((squares / self.df) ** 0.5)

    @property
    def df(self) -> int:
        return sum(len(record.rewards) - 1 for record in self.records)

    def contrast(self, weighed: Iterable[tuple[TrialRecord, float]]) -> tuple[float, float]:
        """A sum of weighed trial means, and how far its 95% interval reaches to either side."""
        terms = list(weighed)
        value = sum(weight * record.reward for record, weight in terms)
        variance = sum(weight**2 / len(record.rewards) for record, weight in terms)
        return float(value), float(stats.t.ppf(0.975, self.df) * self.deviation * variance**0.5)

    def difference(self, first: Split, second: Split) -> tuple[float, float] | None:
        """The first's reward less the second's; None where one was not trained."""
        if first not in self.random or second not in self.random:
            return None
        return self.contrast([(self.random[first], 1), (self.random[second], -1)])


def read(name: str) -> Reference | None:
    """That study, where it has two trials."""
    path = csv_of(f"reference-{name}")
    if not path.exists() or len(trials := read_trials(path)) < 2:
        return None
    base = yaml.safe_load(path.with_suffix(".yaml").read_text())["base_reward"]
    return Reference(name, trials, float(base))


def said(effect: tuple[float, float] | None) -> str:
    """An effect with its interval, and whether it is seen."""
    if effect is None:
        return "not trained"
    value, reach = effect
    verdict = "seen" if value > reach else "refuted" if value < -reach else "cannot tell"
    return f"{value:+.3f} ({value - reach:+.3f} to {value + reach:+.3f}): {verdict}"
