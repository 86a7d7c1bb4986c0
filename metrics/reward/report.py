"""What a fitted reward model is worth on unseen prompts, and whether it may be called one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from base.errors import RewardError

TRUSTED_ACCURACY = 0.6


@dataclass(frozen=True)
class Share:
    """Of `pairs` pairs of a domain: how many the head orders as their scores do, and how many length does."""

    pairs: int
    accuracy: float
    length_accuracy: float


@dataclass(frozen=True, kw_only=True)
class FittedReport:
    """How often a fitted head ranks the better of two answers first, on prompts that it was not fitted on.

    `accuracy` is over `pairs` pairs of unequal scores from `prompts` prompts, each scored by a head fitted
    on other prompts; `accuracy_se` counts prompts, not pairs, as independent. `length_accuracy` is that of
    "the longer answer is better". `frozen_accuracy` and `tuned_accuracy` are those of the two heads, of which
    `head` is the chosen one; None where that head was not tried. `temperature`, `log_loss` and
    `calibration_error` as in `metrics.reward.calibration`, the first in units of the reward's logit.
    `domains` is empty for a pool of one domain. `warning` is empty unless the head should not be trusted.
    """

    head: str = "frozen"
    prompts: int
    pairs: int
    accuracy: float
    accuracy_se: float
    length_accuracy: float
    l2: float
    warning: str
    frozen_accuracy: float | None = None
    tuned_accuracy: float | None = None
    temperature: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    domains: Mapping[str, Share] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> FittedReport:
        """The inverse of `dataclasses.asdict`, and of its way through JSON."""
        known = {one.name for one in fields(cls)} & value.keys()
        found = {name: value[name] for name in known}
        domains = {name: Share(**share) for name, share in found.pop("domains", {}).items()}
        return cls(**found, domains=domains)

    @property
    def length_rule(self) -> tuple[str, float]:
        """What length alone would say, whichever way is right more often, and how often that is."""
        if self.length_accuracy >= 0.5:
            return "longer is better", self.length_accuracy
        return "shorter is better", 1 - self.length_accuracy

    @property
    def doubt(self) -> str:
        """Why this is not called a reward; "" where the head does at least as well as length alone."""
        rule, length = self.length_rule
        if self.accuracy >= length:
            return ""
        return (
            f"the fitted reward ranks the better of two answers first in {self.accuracy:.1%} of unseen "
            f'pairs, and "{rule}" alone does so in {length:.1%}'
        )

    def notes(self) -> dict[str, str]:
        """What the terminal and the report say of it, by name."""
        rule, length = self.length_rule
        tried = {"frozen": self.frozen_accuracy, "tuned": self.tuned_accuracy}
        others = [f"{name} head {share:.1%}" for name, share in tried.items() if share and name != self.head]
        beside = ", ".join([*others, f'"{rule}" {length:.1%}'])
        notes = {
            "reward model": f"{self.head} head; picks the better of two answers in {self.accuracy:.1%} "
            f"(standard error {self.accuracy_se:.1%}) of {self.pairs:,} pairs from {self.prompts:,} prompts "
            f"that it was not fitted on ({beside})"
        }
        if self.temperature is not None:
            notes["reward model calibration"] = (
                f"an answer whose logit is higher by d is the better one with probability sigmoid(d / "
                f"{self.temperature:.2f}); on unseen pairs log loss {self.log_loss:.3f} (a coin: 0.693), "
                f"expected calibration error {self.calibration_error:.3f}"
            )
        if self.domains:
            notes["reward model by domain"] = "; ".join(
                f"{name} {share.accuracy:.1%} of {share.pairs:,} pairs (length {share.length_accuracy:.1%})"
                for name, share in self.domains.items()
            )
        if self.warning:
            notes["reward model warning"] = self.warning
        if self.doubt:
            notes["reward model forced"] = f"{self.doubt}: used all the same (reward.force)"
        return notes


def check_is_reward(report: FittedReport, *, force: bool) -> None:
    """Raise RewardError, naming both figures, where length alone does better, unless that is forced."""
    if report.doubt and not force:
        tune = "" if report.tuned_accuracy else "tune its last layers too (reward.fit_head: best), "
        raise RewardError(
            f"{report.doubt}: it is not called a reward. Give it more scored prompts (reward.fit_prompts) or "
            f"longer windows (reward.max_response_tokens), {tune}choose reward.kind hf or verifier, or force "
            "it with reward.force: true, which the report will say"
        )


def warning(accuracy: float) -> str:
    """Why a head of this accuracy on unseen pairs should not be trusted; "" where it may be."""
    if accuracy >= TRUSTED_ACCURACY:
        return ""
    return (
        f"the fitted reward ranks the better of two answers first in only {accuracy:.1%} of unseen pairs "
        f"(0.5 is chance, {TRUSTED_ACCURACY} the minimum to trust): its rewards say little about quality"
    )
