"""What a study found, in one value: what its report, the terminal and the tracker show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from base.errors import InsufficientDataError
from search.advice.carry_over import CarryOver
from search.advice.cheapest import NoiseAdvice, advise_on_noise
from search.advice.other_rewards import OtherReward, other_rewards
from search.advice.prediction import Check, check_predictions
from search.advice.recommend import recommend
from search.advice.recommendation import Recommendation
from search.advice.tuning import PerSplit
from search.advice.visits import Visits
from search.config.scale import ScaleName
from search.fit.ensemble import Candidate
from search.fit.fit import Fit, fit_trials
from search.fit.length_control import LengthControl, control_length
from search.fit.question import Question
from search.trials.record import TrialRecord
from trainers.spec import SeedResult


@dataclass(frozen=True, kw_only=True)
class StudyAnalysis:
    """The trials that answer a question, the fit over them, and what is recommended.

    `fit` and `recommendation` are both None where the trials are insufficient data; `why_not` is the reason.
    `base_reward` is the base model's, None where it is not known. `notes` are facts and assumptions by name.
    `checks` compare what earlier trials predicted with what came. `visits` are those of
    `search.advice.visits`. `length` holds the length-controlled rewards, where answers are known, and
    `others` the advice by these and by further reward models. `carried` is what trials under other settings
    say of the advice, None where no study stands behind the trials. `reward_doubt` says why what judged
    should not be called a reward, "" unless it was forced. `tuned` holds the contenders' own best
    hyperparameters, None where they were tuned once or not at all. `noise` says where the noise comes from
    and how to decide, None where rewards are not known prompt by prompt.
    """

    name: str
    records: Sequence[TrialRecord]
    question: Question
    fit: Fit | None = None
    recommendation: Recommendation | None = None
    why_not: str = ""
    base_reward: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    visits: Visits = None
    length: LengthControl | None = None
    others: Sequence[OtherReward] = ()
    carried: CarryOver | None = None
    reward_doubt: str = ""
    tuned: PerSplit | None = None
    noise: NoiseAdvice | None = None

    def cautions(self) -> list[str]:
        """What to know before the answer is believed: of the reward, the base model, the hyperparameters."""
        doubt = [self.reward_doubt] if self.reward_doubt else []
        tuned = self.tuned.sentences() if self.tuned else []
        return [*doubt, *self.not_above_base(), *tuned]

    def not_above_base(self) -> list[str]:
        """A warning where the recommended split is not seen to beat the base model; else nothing."""
        if self.recommendation is None or self.base_reward is None:
            return []
        best, text = self.recommendation.best, self.recommendation.scale.text
        if best.interval_95[0] > self.base_reward:
            return []
        return [
            f"{best.split} is not seen to beat the base model, whose reward is {text(self.base_reward)}: "
            "before you buy labels, see whether longer training or another learning rate does."
        ]

    def results(self) -> dict[str, Any]:
        """The contents of fit.json and recommendation.json, by file name; none without a recommendation."""
        if self.fit is None or self.recommendation is None:
            return {}
        answer = {
            **self.recommendation.to_dict(),
            "base_reward": self.base_reward,
            "reward_doubt": self.reward_doubt,
            "above_base": None if self.base_reward is None else not self.not_above_base(),
            "predictions": [check.to_dict() for check in self.checks],
            "length_control": self.length.to_dict() if self.length else None,
            "other_rewards": [other.to_dict() for other in self.others],
            "transfer": self.carried.to_dict() if self.carried else None,
            "tuning": self.tuned.to_dict() if self.tuned else None,
            "noise": self.noise.to_dict() if self.noise else None,
        }
        return {"fit.json": self.fit.to_dict(), "recommendation.json": answer}


def analyse(
    name: str,
    records: Sequence[TrialRecord],
    question: Question,
    *,
    seed: int = 0,
    base_reward: float | None = None,
    notes: Mapping[str, str] | None = None,
    scale: ScaleName = "unit",
    margin: float | None = None,
    visits: Visits = None,
    further: Sequence[Candidate] = (),
    base: SeedResult | None = None,
    elsewhere: Sequence[TrialRecord] = (),
) -> StudyAnalysis:
    """Fit `records`, whose rewards are on `scale`, and answer `question`.

    `seed` is that of the draws behind the probabilities; `margin` and `visits` as in `recommend`; `further`
    are models that the fit counts beside its own; `base` is the base model's result, for length control;
    `elsewhere` are trials under other hyperparameters, for what they say of the noise.
    """
    fit, answer, noise, why_not = None, None, None, ""
    length, others = control_length(records, base), tuple[OtherReward, ...]()
    try:
        fit = fit_trials(records, scale, further)
        answer = recommend(fit, question, seed=seed, margin=margin, visits=visits)
        noise = advise_on_noise(fit, question, answer, elsewhere)
        others = other_rewards(
            records,
            question,
            length,
            margin=answer.margin,
            scale=scale,
            seed=seed,
            prior=bool(further),
        )
    except InsufficientDataError as error:
        fit, why_not = None, str(error)
    return StudyAnalysis(
        name=name,
        records=records,
        question=question,
        fit=fit,
        recommendation=answer,
        why_not=why_not,
        base_reward=base_reward,
        notes=notes or {},
        checks=check_predictions(records, scale),
        visits=visits,
        length=length,
        others=others,
        noise=noise,
    )
