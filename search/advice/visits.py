"""How often prompts were visited: where that differs, splits are compared at different training lengths."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Literal, TypeAlias

from search.config.cost import Split
from search.trials.record import TrialRecord

# Visits to prompts of every training: how many, where all make equally many (matching by steps); even, where
# each prompt is visited as often (by epochs); None, where only trained tokens tell.
Visits: TypeAlias = float | Literal["even"] | None

# Visits that differ by less than this factor are equal; tokens by more, since texts differ in length.
EVEN, EVEN_TOKENS = 1.25, 1.5


def training_length(
    records: Sequence[TrialRecord],
    best: Split,
    behind: Collection[Split],
    equals: Collection[Split],
    visits: Visits,
) -> str:
    """Says where the advice may be owed to unequal visits, and which run would tell; "" where it is not.

    `best` is compared with the splits `behind` it, and those that count as its `equals`. A split that is
    behind though its prompts were visited more often is so in spite of that: nothing is said of it. Where
    visits are unknown trained tokens per prompt stand for them, among trials of as many responses.
    """
    if visits == "even":
        return ""
    exact, even = visits is not None, EVEN_TOKENS if visits is None else EVEN
    known = _per_prompt(records, best, visits, [best, *behind, *equals])
    if best not in known:
        return ""
    ahead = {split: known[best] / known[split] for split in known if split in behind}
    if owed := {split: factor for split, factor in ahead.items() if factor >= even}:
        other = max(owed, key=lambda split: owed[split])
        return f"{_lead_of(best, other, known, exact)} {_run(best, other, known, exact)}"
    level = {split: known[best] / known[split] for split in known if split in equals}
    if owed := {split: max(one, 1 / one) for split, one in level.items() if max(one, 1 / one) >= even}:
        other = max(owed, key=lambda split: owed[split])
        return f"{_level(best, other, known, exact)} {_run(best, other, known, exact)}"
    return ""


def _per_prompt(
    records: Sequence[TrialRecord], best: Split, visits: float | None, splits: Sequence[Split]
) -> dict[Split, float]:
    """Visits, or trained tokens, per prompt of one training, for those of `splits` where they are known.

    Tokens are of trials with as many responses as `best`, labelled so. Those of a group of its own were
    trained in another way.
    """
    if visits is not None:
        return {split: visits / split.prompts for split in splits}
    labels, tokens = (best.responses, best.labelling), dict[Split, list[float]]()
    for record in records:
        same = (record.responses, record.labelling) == labels and record.selection == "random"
        if same and not record.group and record.split in splits and record.trained_tokens:
            each = record.trained_tokens / len(record.seeds) / record.prompts
            tokens.setdefault(record.split, []).append(each)
    return {split: fmean(amounts) for split, amounts in tokens.items()}


def _lead_of(best: Split, other: Split, amounts: Mapping[Split, float], exact: bool) -> str:
    return (
        f"Not the labels alone differ: {_seen(best, other, amounts, exact)}, so the comparison is one of "
        "training length too."
    )


def _level(best: Split, other: Split, amounts: Mapping[Split, float], exact: bool) -> str:
    return (
        f"That {other} is equal to {best} is known at this training length alone: "
        f"{_seen(best, other, amounts, exact)}."
    )


def _seen(best: Split, other: Split, amounts: Mapping[Split, float], exact: bool) -> str:
    """How often a prompt of the one that was visited more was seen, beside one of the other."""
    less, more = sorted((best, other), key=lambda split: amounts[split])
    if exact:
        return (
            f"a prompt of {more} was visited {_often(amounts[more])}, one of {less} {_often(amounts[less])}"
        )
    times = amounts[more] / amounts[less]
    return f"a prompt of {more} was trained on about {times:.2g} times as many tokens as one of {less}"


def _often(times: float) -> str:
    return {"1": "once", "2": "twice"}.get(text := f"{times:.3g}", f"{text} times")


def _run(best: Split, other: Split, amounts: Mapping[Split, float], exact: bool) -> str:
    """The run that would tell: the split that was visited less often, trained as long as the other."""
    shorter, longer = sorted((best, other), key=lambda split: amounts[split])
    factor, how = amounts[longer] / amounts[shorter], "trainer.matching: epochs"
    if exact:
        how += f", trainer.epochs: {amounts[longer]:.3g}"
        return f"To tell, train {shorter} {_often(factor)} as long ({how})."
    return f"To tell, train {shorter} about {factor:.2g} times as long ({how})."
