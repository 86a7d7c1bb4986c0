"""What the trials say of how prompts were labelled: by whom, how often, and which of their responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pools.response_choice import BY_JUDGE
from search.config.cost import Labelling
from search.fit.decision import Decision, lead
from search.fit.fit import Fit


def told_of_labelling(fit: Fit, decision: Decision) -> str:
    """Where labels come from and what was varied, in sentences; "" for scores of random responses."""
    parts = _raters(fit), _choices(fit, decision), _kinds(fit, decision)
    return " ".join(part for part in parts if part)


def _raters(fit: Fit) -> str:
    levels = [str(r) for r in fit.observed.rater_levels if r is not None]
    if not levels:
        return ""
    assumed = sorted({r.agreement for r in fit.records if r.raters and r.agreement is not None})
    whose = "Labels are those of raters, and no agreement is assumed"
    if assumed:
        figures = ", ".join(f"{agreement:g}" for agreement in assumed)
        whose = f"Labels are simulated: assumed agreement {figures} of one rater with the pool's scores"
    if len(levels) > 1:
        return f"{whose}; tried were {_listed(levels)} raters."
    return f"{whose}; raters were not varied: {levels[0]} a response."


def _choices(fit: Fit, decision: Decision) -> str:
    """How far the best split of each choice of responses is ahead of the best with random ones."""
    choices = fit.observed.choices
    if choices == ("random",):
        return ""
    if len(choices) == 1:
        return f"Responses were chosen in one way alone: {choices[0]}."
    best = _best_of_each(decision, lambda labelling: labelling.response_choice)
    if "random" not in best:
        return ""
    held = [_held(fit, decision, index, best["random"]) for name, index in best.items() if name != "random"]
    if not held:
        return ""
    judged = " (margins by a judge's scores)" if set(choices) & set(BY_JUDGE) else ""
    return (
        f"Choices of responses{judged}, their best splits over the best with random responses: "
        f"{'; '.join(held)}. One is recommended only where its interval excludes 0."
    )


def _kinds(fit: Fit, decision: Decision) -> str:
    """The best split of each kind of labels: a mixture never stands alone."""
    shares = {share for share in fit.observed.kinds if share is not None}
    if not shares:
        return ""
    if len(shares) == 1 and shares <= {0, 1}:
        return f"All labels are of one kind: {Labelling(human_share=shares.pop()).labels}."
    best = _best_of_each(decision, lambda labelling: labelling.labels)
    names = [Labelling(human_share=share).labels for share in sorted(shares | {0.0, 1.0}, reverse=True)]
    found = [_of_kind(fit, decision, name, best.get(name)) for name in names]
    return f"By kind of labels (human: all by people; judge: all by a judge): {'; '.join(found)}."


def _of_kind(fit: Fit, decision: Decision, name: str, index: int | None) -> str:
    if index is None:
        return f"{name}: none was tried within the budget"
    text, forecast = fit.scale.text, decision.forecast
    low, high = (float(fit.scale.clip(end)[index]) for end in forecast.interval())
    mean = text(float(fit.scale.clip(forecast.mean)[index]))
    return f"{decision.splits[index]}, {mean} ({text(low)} to {text(high)})"


def _best_of_each(decision: Decision, kind: Callable[[Labelling], str]) -> dict[str, int]:
    """The index of the split with the highest predicted reward of each kind."""
    found: dict[str, int] = {}
    for index in sorted(range(len(decision.splits)), key=lambda index: -decision.forecast.mean[index]):
        found.setdefault(kind(decision.splits[index].labelling), index)
    return found


def _held(fit: Fit, decision: Decision, index: int, random: int) -> str:
    gap, low, high = lead(decision.forecast, index, random)
    text = fit.scale.text
    figures = f"{text(gap, sign=True)} (95% interval {text(low, sign=True)} to {text(high, sign=True)})"
    return f"{decision.splits[index].response_choice} {figures}"


def assumed_of_labelling(fit: Fit) -> list[str]:
    """What the answer takes for granted of labelling, a sentence each."""
    observed = fit.observed
    found = []
    if observed.rater_levels == (None,):
        found.append("The pool's scores are taken as they are: how many raters give them was not varied.")
    if len(observed.labellings) > 1:
        found.append(
            "More raters, other choices of responses and kinds of labels add to the reward independently of "
            "each other."
        )
    if observed.choices == ("random",):
        found.append("Responses that are labelled are chosen at random: other choices were not tried.")
    return found


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
