"""The first sight of each n-gram, over many small pieces and many forgotten n-grams, against a set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics import firsts as module
from metrics.firsts import Firsts, first_seen
from metrics.ngrams import NgramTable
from metrics.tokens import offsets_of

WIDE = st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 1])
ROWS = st.lists(st.lists(WIDE, max_size=6), max_size=12)


def table_of(rows: list[list[int]], kind: type = np.uint32) -> NgramTable:
    return NgramTable(
        np.array([code for row in rows for code in row], kind), offsets_of([len(row) for row in rows])
    )


def brute_force(rows: list[list[int]]) -> list[int]:
    seen: set[int] = set()
    gains = []
    for row in rows:
        gains.append(len(set(row) - seen))
        seen |= set(row)
    return gains


@pytest.fixture(params=["tiny", "small", "no cache to speak of", "as shipped"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"tiny": (1, 2, 0), "small": (4, 5, 3), "no cache to speak of": (2, 1, 100)}.get(request.param)
    for name, value in zip(("_BLOCK", "_SLOTS", "_SLACK"), given or (), strict=False):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
@pytest.mark.parametrize("rounds", range(3))
def test_many_prompts_in_pieces(kind: type, rounds: int) -> None:
    random = np.random.default_rng(rounds)
    rows = [random.zipf(1.3, size=random.integers(0, 30)).clip(max=500).tolist() for _ in range(200)]
    firsts = Firsts()
    for start in range(0, 200, 37):
        firsts.add(table_of(rows[start : start + 37], kind))
    assert firsts.distinct() == sum(brute_force(rows))  # while some are gathered unsorted
    assert firsts.per_prompt().tolist() == brute_force(rows)
    assert firsts.codes().tolist() == sorted({code for row in rows for code in row})
    assert firsts.totals().tolist() == list(map(len, rows))
    assert firsts.total == sum(map(len, rows))
    assert firsts.held == firsts.distinct()


def test_every_code_of_few_bits_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also 0, as which an empty slot reads, and 1, which marks the slot of 0."""
    monkeypatch.setattr(module, "_BLOCK", 2)
    monkeypatch.setattr(module, "_SLOTS", 3)
    for kind in (np.uint32, np.uint64):
        firsts = Firsts()
        firsts.add(table_of([[*range(8), *range(8)], [0, 0, 1, 1, 0]], kind))
        assert firsts.distinct() == 8
        assert firsts.per_prompt().tolist() == [8, 0]


@given(ROWS)
def test_codes_as_wide_as_can_be(rows: list[list[int]]) -> None:
    assert first_seen(table_of(rows)).tolist() == brute_force(rows)
    wide = [[code << 32 | code for code in row] for row in rows]
    assert first_seen(table_of(wide, np.uint64)).tolist() == brute_force(rows)


def test_counting_goes_on_after_a_question() -> None:
    firsts = Firsts()
    assert firsts.distinct() == 0
    firsts.add(table_of([[5, 6]]))
    assert firsts.distinct() == 2
    firsts.add(table_of([[6, 7], []]))
    assert firsts.per_prompt().tolist() == [2, 1, 0]
