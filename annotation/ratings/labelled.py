"""A pool with the labels that came back: scores with their errors, all ratings, and how far raters agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotation.judging.judge import Scores
from annotation.labels.key import Shown, response_id
from annotation.labels.rating import Rating
from annotation.pool_file import as_judged, judged_by, row_of, stamp
from annotation.ratings.agreement import Agreement, agreement
from annotation.ratings.findings import Findings
from annotation.ratings.intake import Judgement, drop_careless, habits_of, of_each_rater, take_in
from annotation.ratings.reliability import fit_strengths
from annotation.ratings.scores import Method, Rater, drop_unreliable, raters_of, scores_of
from annotation.ratings.votes import votes_of
from base.errors import PoolError
from pools.types import Example

DIGITS = 6


@dataclass(frozen=True)
class Labelled:
    """What ratings made of a pool's train part; `read` are all judgements, `kept` those that count.

    `scores` has an entry for each example, in its order.
    """

    examples: Sequence[Example]
    scores: Sequence[Scores]
    read: Sequence[Judgement]
    kept: Sequence[Judgement]
    raters: Mapping[str, Rater]
    agreement: Agreement
    findings: Findings
    method: Method


def label(
    examples: Sequence[Example],
    ratings: Sequence[Rating],
    key: Mapping[str, Shown],
    *,
    method: Method = "reliability",
    keep: Collection[str] = (),
    raters_by_key: bool = False,
    seed: int = 0,
) -> Labelled:
    """Check the ratings, measure agreement, and score the responses of `examples`.

    Agreement and reliabilities are those of all raters who read what they judged, before any is dropped for
    guessing or contradicting. PoolError where nothing is left.
    """
    findings = Findings(keep)
    pool = {e.prompt.key: [response_id(each.text) for each in e.responses] for e in examples}
    known = {prompt: frozenset(names) for prompt, names in pool.items()}
    read = take_in(ratings, key, known, findings, raters_by_key=raters_by_key)
    careful = drop_careless(read, findings)
    votes = votes_of(careful, pool)
    fitted = fit_strengths(votes)
    raters = raters_of(votes, fitted)
    kept = drop_unreliable(careful, raters, findings)
    if not kept:
        raise PoolError("\n".join(["no rating is left:", *findings.lines()]))
    unchanged = len(kept) == len(careful)
    return Labelled(
        examples,
        scores_of(votes, method, fitted) if unchanged else scores_of(votes_of(kept, pool), method),
        read,
        kept,
        raters,
        agreement(careful, seed=seed),
        findings,
        method,
    )


def rows_of(
    labelled: Labelled, held_out: Sequence[Example], *, judge_scores: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows of our own schema: judged responses of judged prompts, and the held-out part as it is.

    With `judge_scores` the scores that the pool had are a judge's, and stay beside the new ones.
    """
    by_prompt: dict[str, list[Judgement]] = defaultdict(list)
    for each in labelled.kept:
        by_prompt[each.prompt].append(each)
    for example, scores in zip(labelled.examples, labelled.scores, strict=True):
        own = by_prompt.get(example.prompt.key, [])
        example = as_judged(example) if judge_scores else example
        if responses := _responses(example, scores, own):
            row = row_of(example.prompt, "train") | {"responses": responses}
            alpha = labelled.agreement.prompts.get(example.prompt.key)
            yield row if alpha is None else row | {"agreement": round(alpha, DIGITS)}
    for example in held_out:
        row = row_of(example.prompt, "held_out")
        scored = [response.to_dict() for response in example.responses]
        yield row | ({"responses": scored} if scored else {})


def _responses(example: Example, scores: Scores, own: Sequence[Judgement]) -> list[dict[str, Any]]:
    indices = [index for index, value in enumerate(scores.values) if value is not None]
    names = [response_id(example.responses[index].text) for index in indices]
    number = {name: index for index, name in enumerate(names)}
    rows = []
    for index, name in zip(indices, names, strict=True):
        response, value = example.responses[index], scores.values[index]
        assert value is not None
        rows.append(
            {
                "text": response.text,
                "score": round(value, DIGITS),
                "score_se": round(scores.errors[index], DIGITS),
                "source": response.source,
                "ratings": [_rating(each, name, number) for each in own if name in each.values],
                **judged_by(response),
            }
        )
    return rows


def _rating(judgement: Judgement, name: str, number: Mapping[str, int]) -> dict[str, Any]:
    """One rating; `among` names the responses, by their indices in the row, where it was not about all."""
    value = judgement.values[name]
    whole = int(value) if value == int(value) else value
    row: dict[str, Any] = {"rater": judgement.rater, judgement.measure: whole}
    if len(judgement.values) < len(number):
        row["among"] = sorted(number[each] for each in judgement.values if each in number)
    return row


def made_of(labelled: Labelled) -> dict[str, Any]:
    """What the pool's header says of its scores."""
    raters = {
        name: {"judgements": habits.judgements, **_figures(labelled, name)}
        for name, habits in _habits(labelled)
    }
    interval = labelled.agreement.interval_95
    return {
        "by": f"{_people(labelled)}, by {_HOW[labelled.method]}",
        "method": labelled.method,
        "alpha": _rounded(labelled.agreement.alpha),
        "alpha_95": interval and [_rounded(bound) for bound in interval],
        "raters": raters,
        "findings": labelled.findings.to_dict(),
        **stamp(),
    }


_HOW = {
    "reliability": "Bradley-Terry with their reliabilities",
    "bradley_terry": "Bradley-Terry",
    "majority": "majority",
}


def _people(labelled: Labelled) -> str:
    count = len({each.rater for each in labelled.kept})
    return f"{count} rater{'s' if count > 1 else ''}"


def _figures(labelled: Labelled, name: str) -> dict[str, Any]:
    rater = labelled.raters.get(name)
    return {
        "alpha": _rounded(labelled.agreement.raters.get(name)),
        "reliability": _rounded(rater.reliability if rater else None),
        "reliability_se": _rounded(rater.error if rater else None),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _habits(labelled: Labelled) -> Iterator[tuple[str, Any]]:
    return ((name, habits_of(own)) for name, own in of_each_rater(labelled.read).items())


def lines_of(labelled: Labelled) -> Iterator[str]:
    """The account for reading: counts, agreement, raters, and what was wrong."""
    kept, total = len(labelled.kept), len(labelled.read)
    yield f"{kept:,} of {total:,} judgements count, by {_people(labelled)}"
    found = labelled.agreement
    if found.alpha is None or found.interval_95 is None:
        yield "agreement: nothing was judged by two raters, so it cannot be told, nor who is reliable"
    else:
        low, high = found.interval_95
        yield f"agreement: Krippendorff's alpha {found.alpha:.3f} (95% interval {low:.3f} to {high:.3f})"
    for name, habits in _habits(labelled):
        rater, alpha = labelled.raters.get(name), found.raters.get(name)
        parts = [f"{habits.judgements:,} judgements"]
        parts += [f"right {rater.reliability:.2f} +- {rater.error:.2f}"] if rater and found.raters else []
        parts += [f"alpha {alpha:.2f}"] if alpha is not None else []
        parts += [f"median {habits.median_seconds:.0f} s"] if habits.median_seconds is not None else []
        parts += [f"{habits.as_shown:.0%} in the order shown"]
        yield f"  {name}: {', '.join(parts)}"
    yield from labelled.findings.lines()
