"""What goes wrong with ratings and raters: named, counted, dropped or kept by its rule."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from annotation.labels.key import Shown, response_id
from annotation.labels.rating import Rating
from annotation.labels.reading_time import too_fast, too_slow, words
from annotation.ratings.findings import RULES
from annotation.ratings.labelled import Labelled, label, lines_of
from base.errors import PoolError
from pools.types import Example, Prompt, Response

K, WORDS = 4, 100
RIGHT = [1.0, 2.0, 3.0, 4.0]  # the rank of each response of a prompt
Answer = Callable[[Shown, random.Random], Mapping[int, float]]


def examples(count: int) -> list[Example]:
    return [
        Example(Prompt(f"prompt {n}"), tuple(Response(f"{place} of {n}", 0.0) for place in range(K)))
        for n in range(count)
    ]


def shown_to(rater: str, pool: list[Example], seed: int = 0) -> list[Shown]:
    rng, found = random.Random(f"{rater}:{seed}"), []
    for number, example in enumerate(pool):
        names = [response_id(response.text) for response in example.responses]
        rng.shuffle(names)
        found.append(Shown(f"{rater}-{number}", rater, "ranking", example.prompt.key, tuple(names), WORDS))
    return found


def truth(pool: list[Example]) -> dict[str, float]:
    return {
        response_id(response.text): rank
        for example in pool
        for response, rank in zip(example.responses, RIGHT, strict=True)
    }


class Raters:
    """Simulated raters of one pool, and what they said."""

    def __init__(self, prompts: int) -> None:
        self.pool = examples(prompts)
        self.key: dict[str, Shown] = {}
        self.ratings: list[Rating] = []
        self._truth = truth(self.pool)

    def add(self, rater: str, answer: Answer, *, seconds: float | None = 40) -> None:
        rng = random.Random(rater)
        for shown in shown_to(rater, self.pool):
            self.key[shown.task] = shown
            self.ratings.append(Rating(shown.task, answer(shown, rng), seconds=seconds, location=shown.task))

    def honest(self, shown: Shown, rng: random.Random, errors: float = 0.1) -> Mapping[int, float]:
        """The true order with neighbours exchanged now and then."""
        order = sorted(range(K), key=lambda place: self._truth[shown.responses[place]])
        for place in range(K - 1):
            if rng.random() < errors:
                order[place], order[place + 1] = order[place + 1], order[place]
        return {place: rank + 1.0 for rank, place in enumerate(order)}

    def label(self, **options: object) -> Labelled:
        return label(self.pool, self.ratings, self.key, **options)  # type: ignore[arg-type]


@pytest.fixture
def raters() -> Raters:
    """Three honest raters of sixty prompts."""
    made = Raters(60)
    for name in ("ann", "bob", "cem"):
        made.add(name, made.honest)
    return made


def named(found: Labelled, reason: str) -> list[str]:
    finding = found.findings.found.get(reason)
    return [what.partition(" (")[0] for what in finding.first] if finding else []


def test_honest_raters_are_never_named(raters: Raters) -> None:
    found = raters.label()
    assert found.findings.found == {}
    assert len(found.kept) == 180


def test_a_rater_who_returns_the_order_shown_is_named_and_dropped(raters: Raters) -> None:
    raters.add("idle", lambda shown, rng: {place: place + 1.0 for place in range(K)})
    found = raters.label()
    assert named(found, "order_shown") == ["idle"]
    assert {each.rater for each in found.kept} == {"ann", "bob", "cem"}
    assert "order_shown: 1 rater, dropped" in "\n".join(lines_of(found))
    kept = raters.label(keep=["order_shown", "chance"])
    assert {each.rater for each in kept.kept} == {"ann", "bob", "cem", "idle"}
    assert not kept.findings.found["order_shown"].dropped


def test_one_who_answers_as_shown_now_and_then_is_not(raters: Raters) -> None:
    def half(shown: Shown, rng: random.Random) -> Mapping[int, float]:
        return {place: place + 1.0 for place in range(K)} if rng.random() < 0.5 else raters.honest(shown, rng)

    raters.add("half", half)
    assert named(raters.label(), "order_shown") == []


def test_few_answers_in_the_order_shown_are_luck() -> None:
    raters = Raters(4)  # 1 in 24 ** 4
    raters.add("ann", raters.honest)
    raters.add("new", lambda shown, rng: {place: place + 1.0 for place in range(K)})
    assert named(raters.label(), "order_shown") == []


def test_spammers_and_who_contradicts_everybody_are_named() -> None:
    raters = Raters(500)
    for name in ("ann", "bob", "cem"):
        raters.add(name, raters.honest)

    def guess(shown: Shown, rng: random.Random) -> Mapping[int, float]:
        return dict(enumerate(rng.sample([1.0, 2.0, 3.0, 4.0], K)))

    raters.add("guess", guess)
    raters.add("ties", lambda shown, rng: dict.fromkeys(range(K), 1.0))
    raters.add("against", lambda shown, rng: {p: 5 - r for p, r in raters.honest(shown, rng).items()})
    found = raters.label()
    assert named(found, "chance") == ["guess", "ties"]
    assert named(found, "contradicts") == ["against"]
    assert {each.rater for each in found.kept} == {"ann", "bob", "cem"}
    assert found.raters["against"].reliability < 0.2 < 0.8 < found.raters["ann"].reliability
    assert found.agreement.raters["guess"] < found.agreement.raters["ann"]


def test_answers_quicker_than_reading_are_dropped_and_hasty_raters_named(raters: Raters) -> None:
    raters.add("dash", raters.honest, seconds=2)
    raters.ratings[0] = Rating(raters.ratings[0].task, raters.ratings[0].values, seconds=1)
    raters.ratings[1] = Rating(raters.ratings[1].task, raters.ratings[1].values, seconds=5000)
    found = raters.label()
    assert named(found, "hasty_rater") == ["dash"]
    assert named(found, "too_fast") == ["ann"]
    assert len(named(found, "too_slow")) == 1
    assert len(found.kept) == 179  # the slow one counts


def test_rows_that_cannot_count_are_counted(raters: Raters) -> None:
    first, second, third, fourth, fifth, sixth = raters.ratings[:6]
    raters.ratings[5] = Rating(sixth.task, {0: 1.0, 1: float("nan")})
    raters.ratings += [
        Rating("t-unknown", {0: 1.0}),
        Rating(first.task, first.values, at=first.at),  # the same again
        Rating(second.task, {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0}, at="2026-02-02"),  # thought better of
        Rating(third.task, {9: 1.0, 0: 2.0}, at="1"),
        Rating(fourth.task, {}, at="1"),
        Rating(fifth.task, {0: 1.0, 2: 2.0}, at="1"),
    ]
    found = raters.label()
    counts = {reason: finding.count for reason, finding in found.findings.found.items()}
    assert counts == {
        "unknown_task": 1,
        "repeated": 1,
        "revised": 4,
        "unknown_response": 1,
        "cannot_judge": 1,
        "incomplete": 1,
        "bad_value": 1,
    }
    assert len(found.kept) == 180 - 3
    revised = next(e for e in found.kept if e.rater == "ann" and e.prompt == raters.key[second.task].prompt)
    assert list(revised.values.values()) == [4.0, 3.0, 2.0, 1.0]


def test_missing_tasks_and_a_prompt_that_left_the_pool(raters: Raters) -> None:
    del raters.ratings[:5]
    gone = raters.pool.pop()
    found = raters.label()
    assert found.findings.found["unanswered"].count == 5
    assert found.findings.found["unknown_prompt"].count == 3
    assert all(each.prompt != gone.prompt.key for each in found.kept)


def test_who_a_rater_is(raters: Raters) -> None:
    raters.ratings = [Rating(each.task, each.values, rater="1") for each in raters.ratings]
    assert {each.rater for each in raters.label().kept} == {"1"}
    assert {each.rater for each in raters.label(raters_by_key=True).kept} == {"ann", "bob", "cem"}


def test_nothing_left_is_an_error_that_says_why(raters: Raters) -> None:
    with pytest.raises(PoolError, match="unknown_task: 180 ratings, dropped"):
        label(raters.pool, raters.ratings, {}, keep=[])
    with pytest.raises(PoolError, match="--keep nonsense: one of too_fast"):
        raters.label(keep=["nonsense"])


def test_words_and_the_time_they_take() -> None:
    assert words("Don't count: 3 words, or 7?") == 7
    assert words("こんにちは世界") == 4  # about two characters a word
    assert words("") == 0
    assert too_fast(1000, 59) and not too_fast(1000, 61)
    assert too_slow(2380, 6001) and not too_slow(2380, 5999)
    assert not too_slow(5, 599)  # judging takes time too


def test_every_reason_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "labels.md").read_text()
    for reason, rule in RULES.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{reason}`"))
        assert row.rstrip(" |").endswith("dropped" if rule.drop else "kept"), row


def test_findings_are_plain_values(raters: Raters) -> None:
    raters.ratings.append(Rating("t-unknown", {0: 1.0}))
    assert json.dumps(raters.label().findings.to_dict())
