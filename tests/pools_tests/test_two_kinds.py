"""Labels of two kinds: people's where the judge is least sure, and nothing of one kind in the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from base.errors import PoolError
from metrics.reward.people import agreement_with_people
from pools.raters import RaterLabels
from pools.two_kinds import ORDER, two_kinds
from pools.types import Example, Prompt, Response


def example(
    name: str, people: tuple[float, ...], judge: tuple[float, ...], error: float | None = None
) -> Example:
    pairs = zip(people, judge, strict=True)
    answers = (Response(f"{name}{i}", p, "", (), j, error) for i, (p, j) in enumerate(pairs))
    return Example(Prompt(name), tuple(answers))


def scores(of: Example) -> dict[str, float]:
    return {response.text: response.score for response in of.responses}


AGAINST = [example(f"p{i}-", (0.0, 1.0), (float(i + 1), 0.0)) for i in range(5)]  # margins 1 to 5


def by_people(found: list[Example]) -> list[bool]:
    """Which of AGAINST have people's order, whose second response is the better."""
    return [one.responses[0].text.endswith("-1") for one in found]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.39, 1), (0.4, 2), (0.6, 3), (1.0, 5)])
def test_people_label_their_share_where_the_judge_is_least_sure(share: float, count: int) -> None:
    found = two_kinds(AGAINST, share, ORDER, 0)
    assert by_people(found) == [place < count for place in range(5)]
    assert [one.prompt for one in found] == [one.prompt for one in AGAINST]
    turned = two_kinds(AGAINST[::-1], share, ORDER, 0)
    assert turned == found[::-1]


def test_a_large_margin_with_a_larger_error_is_less_sure() -> None:
    wide = example("wide", (0.0, 1.0), (3.0, 0.0), 4.0)
    narrow = example("narrow", (0.0, 1.0), (1.0, 0.0), 0.1)
    found = two_kinds([narrow, wide], 0.5, ORDER, 0)
    assert [one.responses[0].text for one in found] == ["narrow0", "wide1"]
    bare = [replace(one, responses=tuple(replace(r, judge_score_se=None) for r in one.responses))
            for one in (narrow, wide)]  # fmt: skip
    assert [one.responses[0].text for one in two_kinds(bare, 0.5, ORDER, 0)] == ["narrow1", "wide0"]


def test_labels_are_orders_so_that_scales_do_not_matter() -> None:
    ours = example("p", (0.1, 0.2, 0.9), (500.0, 100.0, 900.0))
    (people,), (judge,) = (two_kinds([ours], share, ORDER, 0) for share in (1.0, 0.0))
    assert scores(people) == {"p0": 0.0, "p1": 0.5, "p2": 1.0}
    assert scores(judge) == {"p0": 0.5, "p1": 0.0, "p2": 1.0}


def test_the_judges_labels_hold_nothing_of_peoples() -> None:
    """Not even where the judge is undecided, or where people compared some pairs only."""
    first = []
    for i in range(400):
        ours = example(f"p{i}-", (1.0, 0.0), (0.5, 0.5))
        other = example(f"p{i}-", (0.0, 1.0), (0.5, 0.5))
        partly = Example(ours.prompt, ours.responses, ())
        (found,), *same = (two_kinds([one], 0.0, ORDER, 3) for one in (ours, other, partly))
        assert [scores(one) for (one,) in same] == [scores(found)] * 2
        assert all(one.compared is None for (one,) in same)
        first.append(found.responses[0].text.endswith("-0"))
    assert 0.4 < np.mean(first) < 0.6


def test_peoples_labels_may_be_those_of_raters() -> None:
    raters = RaterLabels(3, 0.5)
    found = two_kinds(AGAINST, 0.4, raters, 2)
    assert found[:2] == [raters.of(one, 2) for one in AGAINST[:2]]


def test_all_of_people_needs_no_judge_and_any_less_does() -> None:
    bare = [Example(Prompt("p"), (Response("a", 1.0), Response("b", 0.0)))]
    assert scores(two_kinds(bare, 1.0, ORDER, 0)[0]) == {"a": 1.0, "b": 0.0}
    with pytest.raises(PoolError, match="judge_score"):
        two_kinds(bare, 0.5, ORDER, 0)


class ByLength:
    def score(self, prompts: list[Prompt], responses: list[str]) -> list[float]:
        return [min(len(text) / 10, 1) for text in responses]


def test_the_yardstick_is_held_against_people() -> None:
    texts = {"a": 1.0, "bbb": 2.0, "cc": 3.0, "dd": 3.0}
    held_out = [Example(Prompt("p"), tuple(Response(text, score) for text, score in texts.items()))]
    # of five unequal pairs: a below three, bbb wrongly above cc and dd
    assert agreement_with_people(ByLength(), held_out) == "0.600 of 5 held-out pairs"  # type: ignore[arg-type]
    assert agreement_with_people(ByLength(), [Example(Prompt("p"), ())]).startswith("unknown")  # type: ignore[arg-type]
