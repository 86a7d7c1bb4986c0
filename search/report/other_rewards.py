"""The report's section on rewards beside the deciding one: length-controlled, and other reward models'."""

from __future__ import annotations

from statistics import fmean

from search.advice.analysis import StudyAnalysis
from search.advice.other_rewards import further_names
from search.fit.length_control import LengthControl
from search.report import markup


def headlines(study: StudyAnalysis) -> list[str]:
    """What belongs into the report's first lines: other advice, or another ranking, by another reward."""
    return [other.sentence() for other in study.others if other.changes or other.agreement.tau < 1]


def other_rewards(study: StudyAnalysis) -> list[str]:
    """The section; nothing where neither answers nor further reward models are known."""
    names = further_names(study.records)
    if study.length is None and not names:
        return []
    length = [_reading(study.length)] if study.length else []
    return [
        markup.heading("By other rewards"),
        markup.bullets([other.sentence() for other in study.others]),
        *map(markup.paragraph, length),
        _table(study, names),
    ]


def _reading(length: LengthControl) -> str:
    """What length does to the reward, in words."""
    low, high = length.interval_95
    if not length.unit:
        return "All answers are as long as the base model's, so length control changes nothing."
    return (
        f"Length control reads each reward at the length of the base model's answer to the same prompt "
        f"({length.base_length:,.0f} characters on average). Within a training and a prompt, an answer "
        f"{length.unit:,.0f} characters longer goes with {length.per_unit:+.4f} of reward, and the longest "
        f"with {length.slope:+.4f} (95% interval {low:+.4f} to {high:+.4f}). That is how the rewards go with "
        "length, whatever the cause: a policy that learnt to answer more fully, and better, loses by it too."
    )


def _table(study: StudyAnalysis, names: list[str]) -> str:
    """One row a trial: its reward, and those by other means."""
    assert study.fit is not None
    text, length = study.fit.scale.text, study.length
    head = ["trial", "split", "reward"]
    head += ["length-controlled", "length of answers (characters)"] if length else []
    rows = []
    for record in study.records:
        cells = [record.trial, record.point.label, text(record.reward, more=1)]
        if length:
            known = record.trial in length.rewards
            cells.append(text(fmean(length.rewards[record.trial]), more=1) if known else "")
            cells.append(f"{fmean(length.lengths[record.trial]):,.0f}" if known else "")
        means = record.further_rewards
        rows.append([*cells, *(text(means[name], more=1) if name in means else "" for name in names)])
    return markup.table([*head, *names], rows)
