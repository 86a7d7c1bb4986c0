"""Does the advice carry over? A few splits under other settings, beside what they are worth in the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

import numpy as np

from search.advice.ladder import Ladder, ladder
from search.config.cost import Split
from search.config.scale import RewardScale
from search.config.transfer import AXES
from search.fit.agreement import Agreement, agreement
from search.fit.fit import Fit
from search.fit.forecast import Forecast, format_probability
from search.fit.question import Question, predict
from search.fit.target import Verdict, believe_target
from search.trials.record import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Lead:
    """By how much a split is better than the advised one, in the study and under another setting (reward)."""

    split: Split
    here: float
    here_95: tuple[float, float]
    there: float
    there_95: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What the trials under one setting say of the advised split.

    `still_best` is the probability that none of the other splits tried there is better than `advised` by more
    than the margin, `runner_up_better` that the one of them which most probably is better, is better.
    Where the first is high enough the advice *carries over*, where the second is, it is *reversed*, else it
    is *open*. `best` is the best split there, `agreement` that of the rankings here and there.
    """

    setting: str
    advised: Split
    best: Split
    leads: tuple[Lead, ...]
    still_best: float
    runner_up_better: float
    agreement: Agreement
    verdict: Verdict
    trials: int
    seeds: int
    scale: RewardScale

    def sentence(self) -> str:
        """One line: whether the advice holds there, and the rankings' agreement."""
        sure = format_probability(self.still_best)
        tau = f"Kendall's tau of the rankings {self.agreement.text()}"
        lead = max(self.leads, key=lambda one: one.there)
        ahead = f"{lead.split} is ahead of {self.advised} by {self.scale.text(lead.there)}"
        if self.verdict == "carries over":
            said = f"the advice carries over: {self.advised} is as good as any tried (probability {sure})"
        elif self.verdict == "reversed":
            sure = format_probability(self.runner_up_better)
            said = f"the advice is reversed: {ahead} (better by more than the margin with probability {sure})"
        else:
            better = f"; {ahead}" if lead.there > 0 else ""
            said = f"it is open whether {self.advised} is as good as any tried (probability {sure}){better}"
        return f"Under {self.setting} {said}; {tau}; {self.trials} trials, {self.seeds} seeds."

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {name: value for name, value in asdict(self).items() if name != "scale"}


@dataclass(frozen=True, kw_only=True)
class CarryOver:
    """Every setting that the advice was tried under, and the names of what was not tested.

    `advised` is the split among those tried there that is nearest to the recommended one. `ladder` is the
    forecast for a target size, None where none was asked for or too few sizes were tried.
    """

    tried: tuple[Carried, ...]
    not_tested: tuple[str, ...]
    ladder: Ladder | None = None

    def line(self) -> str:
        """All of it in a line for the terminal; "" where nothing was tried."""
        if not self.tried:
            return ""
        said = [f"{one.setting}: {one.verdict} ({format_probability(one.still_best)})" for one in self.tried]
        missing = f". Not tested: {', '.join(self.not_tested)}" if self.not_tested else ""
        return f"Does it carry over (probability still as good as any)? {'; '.join(said)}{missing}."

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {
            "tried": [one.to_dict() for one in self.tried],
            "not_tested": list(self.not_tested),
            "ladder": self.ladder.to_dict() if self.ladder else None,
        }


def carry_over(
    records: Sequence[TrialRecord],
    fit: Fit,
    question: Question,
    recommended: Split,
    *,
    asked: Sequence[str] = (),
    further_rewards: bool = False,
    target_parameters: float | None = None,
    margin: float,
    confidence: float,
    seed: int = 0,
) -> CarryOver:
    """Judge `records`, the trials under other settings, beside the study's own `fit`.

    `asked` are the settings that the study was to try: one without enough trials is not tested. `confidence`
    is what settles a setting either way (`Target.verdict`); `further_rewards` says whether other reward
    models judged too; `target_parameters` as in `Ladder.target`.
    """
    found = []
    for setting in dict.fromkeys(record.point.transfer for record in records):
        under = [record for record in records if record.point.transfer == setting]
        judged = _carried(setting, under, fit, question, recommended, margin, confidence, seed)
        found += [judged] if judged is not None else []
    done = {one.setting for one in found}
    missing = [
        axis.other for axis in AXES if not any(one.startswith(f"{axis.name} ") for one in [*done, *asked])
    ]
    unfinished = [name for name in asked if name not in done]
    rewards = [] if further_rewards else ["another reward model"]
    contenders = list(dict.fromkeys(record.split for record in records))
    contenders.sort(key=lambda split: _distance(split, recommended))
    return CarryOver(
        tried=tuple(found),
        not_tested=(*unfinished, *missing, *rewards),
        ladder=ladder(records, fit, question, contenders, target_parameters, margin=margin, seed=seed),
    )


def _carried(
    setting: str,
    records: Sequence[TrialRecord],
    fit: Fit,
    question: Question,
    recommended: Split,
    margin: float,
    confidence: float,
    seed: int,
) -> Carried | None:
    """The judgement of one setting; None where its trials are no ground for any."""
    known = {record.split for record in fit.records}  # all that can be predicted without a line
    tried = {record.split for record in records if fit.ensemble or record.split in known}
    nearest = sorted(tried, key=lambda split: _distance(split, recommended))
    if not nearest:
        return None
    target = believe_target(records, nearest, margin, scale=fit.scale)
    if target is None:
        return None
    here = predict(fit, target.splits, question.curve)
    there = target.forecast
    draws = here.draws(seed), there.draws(seed + 1)
    return Carried(
        setting=setting,
        advised=target.splits[0],
        best=target.splits[int(np.argmax(there.mean))],
        leads=_leads(target.splits, here, there),
        still_best=target.still_best,
        runner_up_better=target.runner_up_better,
        agreement=agreement(here.mean, there.mean, draws),
        verdict=target.verdict(confidence),
        trials=len(records),
        seeds=sum(len(record.results) for record in records),
        scale=fit.scale,
    )


def _distance(split: Split, other: Split) -> tuple[float, float, bool]:
    """How far a split is from another: in responses, then in prompts (on a log scale), then in labelling."""
    more, larger = log(split.responses / other.responses), log(split.prompts / other.prompts)
    return abs(more), abs(larger), split.labelling != other.labelling


def _leads(splits: Sequence[Split], here: Forecast, there: Forecast) -> tuple[Lead, ...]:
    """Each other split's lead over the first."""
    contrast = np.eye(len(splits))[1:] - np.eye(len(splits))[:1]
    gaps = here.combine(contrast), there.combine(contrast)
    ends = [gap.interval() for gap in gaps]
    return tuple(
        Lead(
            split=split,
            here=float(gaps[0].mean[i]),
            here_95=(float(ends[0][0][i]), float(ends[0][1][i])),
            there=float(gaps[1].mean[i]),
            there_95=(float(ends[1][0][i]), float(ends[1][1][i])),
        )
        for i, split in enumerate(splits[1:])
    )
