"""The advice by another reward of the same trainings: length-controlled, or another reward model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from base.errors import InsufficientDataError
from search.config.cost import Split
from search.config.scale import RewardScale, ScaleName
from search.fit.agreement import Agreement, paired_agreement
from search.fit.decision import Decision, decide
from search.fit.fit import Fit, fit_trials
from search.fit.length_control import LengthControl
from search.fit.question import Question
from search.trials.record import TrialRecord

LENGTH_CONTROLLED = "length control"


@dataclass(frozen=True, kw_only=True)
class OtherReward:
    """What one question's answer is by another reward, beside that by the reward that decides.

    `advised` is the split that the deciding reward recommends from the same trials, `best` the other's.
    `lead` is the predicted lead of `best` over `advised` by the other reward, which is right with
    `probability`; the advice `changes` where it is above the margin. `agreement` is of their rankings of the
    splits that were tried. `ground` says which trials both answers stand on, where those are not all that
    the recommendation stands on.
    """

    name: str
    advised: Split
    best: Split
    lead: float
    probability: float
    changes: bool
    agreement: Agreement
    scale: RewardScale
    ground: str = ""

    def sentence(self) -> str:
        """One line: which advice this reward gives, and how far it ranks splits like the deciding one."""
        who = "Under length control" if self.name == LENGTH_CONTROLLED else f"By {self.name}"
        who += f", {self.ground}," if self.ground else ""
        tau = f"Kendall's tau of the rankings {self.agreement.text()}"
        if self.changes:
            lead = f"ahead by {self.scale.text(self.lead)} (probability {self.probability:.2f})"
            return f"{who} the advice changes: {self.best}, not {self.advised}, {lead}; {tau}."
        return f"{who} the advice is the same, {self.advised}; {tau}."

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {
            "name": self.name,
            "advised": asdict(self.advised),
            "best": asdict(self.best),
            "lead": self.lead,
            "probability": self.probability,
            "changes": self.changes,
            "agreement": asdict(self.agreement),
            "ground": self.ground,
        }


def other_rewards(
    records: Sequence[TrialRecord],
    question: Question,
    length: LengthControl | None,
    *,
    margin: float,
    scale: ScaleName,
    seed: int,
    prior: bool = False,
) -> tuple[OtherReward, ...]:
    """The advice under length control, where that is known, and by each further reward model of the trials.

    `prior` says that the recommendation also stands on past studies, which know none of these rewards.
    """
    found = [] if length is None else [(LENGTH_CONTROLLED, length.rewards)]
    found += [(name, _further(records, name)) for name in further_names(records)]
    answers = (
        _compared(name, records, rewards, question, margin=margin, scale=scale, seed=seed)
        for name, rewards in found
    )
    ground = "without past studies" if prior else ""
    return tuple(replace(answer, ground=answer.ground or ground) for answer in answers if answer is not None)


def further_names(records: Sequence[TrialRecord]) -> list[str]:
    """Names of the reward models that judged trainings beside the deciding one, in their order."""
    return list(dict.fromkeys(name for r in records for o in r.results for name in o.further_rewards))


def _further(records: Sequence[TrialRecord], name: str) -> dict[str, tuple[float, ...]]:
    """Rewards of seeds by trial, for the trials all of whose seeds this model has judged."""
    return {
        record.trial: tuple(result.further_rewards[name] for result in record.results)
        for record in records
        if all(name in result.further_rewards for result in record.results)
    }


def _compared(
    name: str,
    records: Sequence[TrialRecord],
    rewards: Mapping[str, Sequence[float]],
    question: Question,
    *,
    margin: float,
    scale: ScaleName,
    seed: int,
) -> OtherReward | None:
    """Both answers from the trials that both rewards know; None where they are insufficient data."""
    kept = [record for record in records if record.trial in rewards and not record.group]
    random = [record for record in kept if record.selection == "random"]
    if len(random) < 2:
        return None
    try:
        fit = fit_trials([_with_rewards(record, rewards[record.trial]) for record in kept], scale)
        advised = _decision(fit_trials(kept, scale), question, margin, seed)
        found = _decision(fit, question, margin, seed, advised.splits)
    except InsufficientDataError:
        return None
    index = found.splits.index(advised.splits[0])
    lead = float(found.forecast.mean[0] - found.forecast.mean[index])
    return OtherReward(
        name=name,
        advised=advised.splits[0],
        best=found.splits[0],
        lead=lead,
        probability=found.forecast.probability(0, index) if index else 1.0,
        changes=lead > margin,
        agreement=paired_agreement(
            [record.rewards for record in random], [rewards[record.trial] for record in random], seed
        ),
        scale=fit.scale,
        ground="" if len(kept) == len(records) else f"from the {len(kept)} of {len(records)} trials it knows",
    )


def _decision(
    fit: Fit, question: Question, margin: float, seed: int, splits: Sequence[Split] | None = None
) -> Decision:
    """The judgement of `splits`, by default of all that are feasible."""
    feasible = splits or question.splits(fit)
    if not feasible:
        raise InsufficientDataError("no split of these trials is within the budget")
    return decide(fit, question, feasible, margin, seed)


def _with_rewards(record: TrialRecord, rewards: Sequence[float]) -> TrialRecord:
    results = zip(record.results, rewards, strict=True)
    return replace(record, results=tuple(replace(result, reward=reward) for result, reward in results))
