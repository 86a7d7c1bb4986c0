"""Selection against an exhaustive greedy on sets, and what it promises of length, nesting and diversity."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import PoolError
from metrics.diversity import diversity
from metrics.ngrams import pack_ngrams
from metrics.tokens import TokenTable
from pools.selection import _LengthControl, _Strata, select_order

ROWS = st.lists(st.lists(st.integers(0, 4), max_size=8), max_size=30)


def picks(rows: list[list[int]], **options: object) -> tuple[list[int], list[int]]:
    table = TokenTable.from_lists(rows)
    order, gains = select_order(pack_ngrams(table, 2), table.lengths, **options)  # type: ignore[arg-type]
    return order.tolist(), gains.tolist()


def bigrams(row: list[int]) -> set[tuple[int, int]]:
    return set(zip(row, row[1:], strict=False))


def exhaustive(
    rows: list[list[int]], kind: str, strength: float, seed: int, shuffled: list[int]
) -> tuple[list[int], list[int]]:
    """The same length control, but every gain of every open prompt worked out anew from sets."""
    strata = _Strata.by_length(np.array([len(row) for row in rows]), np.array(shuffled))
    control, rng = _LengthControl(strata), random.Random(seed)
    left = np.ones(len(rows), np.bool_)
    seen: set[tuple[int, int]] = set()
    order, gains = [], []
    for _ in rows:
        stratum = control.next_stratum()
        start, stop = strata.bounds[stratum], strata.bounds[stratum + 1]
        open_places = start + np.flatnonzero(control.open(left, start, stop, stratum))
        worth = {place: len(bigrams(rows[strata.members[place]]) - seen) for place in open_places.tolist()}
        if rng.random() >= strength:
            worth = dict.fromkeys(worth, 0)
        best = max(worth.values()) if kind == "diverse" else min(worth.values())
        candidates = [place for place, value in worth.items() if value == best]
        place = min(candidates, key=lambda place: shuffled.index(strata.members[place]))
        index = int(strata.members[place])
        left[place] = False
        control.picked(place)
        order.append(index)
        gains.append(len(bigrams(rows[index]) - seen))
        seen |= bigrams(rows[index])
    return order, gains


@given(ROWS, st.sampled_from(["diverse", "narrow"]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 9))
def test_same_picks_as_the_exhaustive_greedy(
    rows: list[list[int]], kind: str, strength: float, seed: int
) -> None:
    if rows:
        shuffled = random.Random(seed).sample(range(len(rows)), len(rows))
        expected = exhaustive(rows, kind, strength, seed, shuffled)
        assert picks(rows, kind=kind, strength=strength, seed=seed, shuffled=shuffled) == expected


@given(ROWS, st.sampled_from(["random", "diverse", "narrow"]), st.data())
def test_every_order_is_nested_and_takes_each_prompt_once(
    rows: list[list[int]], kind: str, data: st.DataObject
) -> None:
    prompts = data.draw(st.integers(0, len(rows)))
    order, gains = picks(rows, kind=kind, seed=3)
    assert sorted(order) == list(range(len(rows)))
    assert sum(gains) == len(set().union(*map(bigrams, rows)))
    assert picks(rows, kind=kind, seed=3, prompts=prompts) == (order[:prompts], gains[:prompts])


@given(ROWS, st.sampled_from(["random", "diverse", "narrow"]), st.randoms())
def test_the_order_in_the_file_does_not_matter(rows: list[list[int]], kind: str, rng: random.Random) -> None:
    moved = rng.sample(range(len(rows)), len(rows))  # moved[i] is where row i came from
    first, _ = picks(rows, kind=kind, shuffled=range(len(rows)))
    second, _ = picks(
        [rows[i] for i in moved], kind=kind, shuffled=[moved.index(i) for i in range(len(rows))]
    )
    assert [moved[index] for index in second] == first


def zipf_rows(count: int, seed: int = 0) -> list[list[int]]:
    """Prompts of one and the same source, of very different lengths."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(3.2, 0.8, count), 3, 512).astype(int)
    return [(rng.zipf(1.4, size) % 2000).tolist() for size in lengths]


@pytest.fixture(scope="module")
def pool() -> TokenTable:
    return TokenTable.from_lists(zipf_rows(2000))


def chosen(pool: TokenTable, kind: str, strength: float, prompts: int, seed: int = 0) -> TokenTable:
    order, _ = select_order(
        pack_ngrams(pool, 2), pool.lengths, kind=kind, strength=strength, prompts=prompts, seed=seed
    )
    return pool.take(order)


@pytest.mark.parametrize("kind", ["diverse", "narrow"])
@pytest.mark.parametrize("seed", range(3))
def test_mean_length_is_that_of_the_pool_all_along(pool: TokenTable, kind: str, seed: int) -> None:
    order, _ = select_order(pack_ngrams(pool, 2), pool.lengths, kind=kind, strength=1.0, seed=seed)
    fair = pool.lengths.mean() * np.arange(1, len(pool) + 1)
    excess = abs(np.cumsum(pool.lengths[order]) - fair)
    assert (excess <= np.maximum(0.02 * fair, pool.lengths.max())).all()
    assert (excess <= 0.02 * fair)[800:].all()


def test_strength_moves_diversity_smoothly_at_one_number_of_prompts(pool: TokenTable) -> None:
    scale = [("narrow", 1.0), ("narrow", 0.5), ("diverse", 0.0), ("diverse", 0.5), ("diverse", 1.0)]
    scores = [diversity(chosen(pool, kind, strength, 400)) for kind, strength in scale]
    assert scores == sorted(scores)
    assert scores[-1] > 1.1 * scores[2] > 1.2 * scores[0]


def test_without_length_control_the_shortest_prompts_win(pool: TokenTable) -> None:
    """All these prompts come from one source: none is more diverse than another, some are shorter."""
    shortest = pool.take(np.argsort(pool.lengths, kind="stable")[:400])
    assert diversity(shortest) > 1.25 * diversity(chosen(pool, "diverse", 0.0, 400))
    assert shortest.lengths.mean() < 0.5 * pool.lengths.mean()


def test_what_cannot_be_chosen_is_said() -> None:
    with pytest.raises(PoolError, match="3 prompts were asked of 2"):
        picks([[1], [2]], kind="random", prompts=3)
    with pytest.raises(PoolError, match='"wide" is none of random, diverse, narrow'):
        picks([[1]], kind="wide")
    with pytest.raises(PoolError, match="strength 1.5"):
        picks([[1]], kind="narrow", strength=1.5)


@given(ROWS, ROWS)
def test_what_is_given_counts_as_held(rows: list[list[int]], given_rows: list[list[int]]) -> None:
    packed = pack_ngrams(TokenTable.from_lists(rows + given_rows), 2)
    new, held = packed.slice(0, len(rows)), packed.slice(len(rows), len(packed))
    lengths = [len(row) for row in rows]
    _, gains = select_order(new, lengths, kind="diverse", given=held)
    assert sum(gains) == len(set().union(*map(bigrams, rows)) - set().union(*map(bigrams, given_rows)))


def test_another_mean_length_is_kept_to_where_the_prompts_allow(pool: TokenTable) -> None:
    mean = 1.3 * pool.lengths.mean()
    packed = pack_ngrams(pool, 2)
    order, _ = select_order(packed, pool.lengths, kind="diverse", mean_length=mean, prompts=200)
    unmoved, _ = select_order(packed, pool.lengths, kind="diverse", prompts=200)
    assert pool.lengths[unmoved].mean() < pool.lengths[order].mean() <= 1.02 * mean
