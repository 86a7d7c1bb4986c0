"""How often prompts were visited: where that differs, splits are compared at different training lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from search.config.cost import Split
from search.trials.record import TrialRecord

# Visits to prompts of every training: how many, where all make equally many (matching by steps); even, where
# each prompt is visited as often (by epochs); None, where only trained tokens tell.
Visits: TypeAlias = float | Literal["even"] | None

# Visits that differ by less than this factor are equal; tokens by more, since texts differ in length.
EVEN, EVEN_TOKENS = 1.25, 1.5


def training_length(records: Sequence[TrialRecord], best: Split, visits: Visits) -> str:
    """Says that splits were visited unequally often, and which run would tell; "" where they were not.

    Where visits are unknown trained tokens per prompt stand for them, among trials of as many responses.
    """
    if visits == "even":
        return ""
    labels = best.responses, best.labelling
    same = [r for r in records if (r.responses, r.labelling) == labels and r.selection == "random"]
    amounts = {r.split: _per_prompt(r, visits) for r in same}
    known = {split: amount for split, amount in amounts.items() if amount}
    even = EVEN_TOKENS if visits is None else EVEN
    if best not in known or max(known.values()) < even * min(known.values()):
        return ""
    other = max(known, key=lambda split: max(known[split] / known[best], known[best] / known[split]))
    return f"{_told(best, other, known, exact=visits is not None)} {_run(best, other, known, visits)}"


def _per_prompt(record: TrialRecord, visits: float | None) -> float:
    return (record.trained_tokens / len(record.seeds) if visits is None else visits) / record.prompts


def _told(best: Split, other: Split, amounts: dict[Split, float], exact: bool) -> str:
    more, less = sorted((best, other), key=lambda split: -amounts[split])
    if exact:
        seen = f"visited {_often(amounts[more])}, one of {less} {_often(amounts[less])}"
    else:
        seen = f"trained on {amounts[more] / amounts[less]:.3g} times as much as one of {less}"
    return (
        f"Not the labels alone differ: a prompt of {more} was {seen}, so the comparison is one of training "
        "length too."
    )


def _often(visits: float) -> str:
    return "once" if f"{visits:.3g}" == "1" else f"{visits:.3g} times"


def _run(best: Split, other: Split, amounts: dict[Split, float], visits: float | None) -> str:
    """The run that would tell: the split that was visited less often, trained as long as the other."""
    shorter, longer = sorted((best, other), key=lambda split: amounts[split])
    factor = amounts[longer] / amounts[shorter]
    how = "trainer.matching: epochs"
    if visits is not None:
        how += f", trainer.epochs: {amounts[longer]:.3g}"
    return f"To tell, train {shorter} {factor:.3g} times as long ({how})."
