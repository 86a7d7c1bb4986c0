"""Which prompts to label first: at random, or greedily so that they say as much, or as little, new as can be.

Works on arrays alone: the caller packs the prompts' n-grams (`metrics.ngrams.pack_ngrams`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from base.errors import PoolError

Selection: TypeAlias = Literal["random", "diverse", "narrow"]
Indices: TypeAlias = NDArray[np.int64]

_LOOKAHEAD = 8  # strata to choose between when mean length is put right


class Ngrams(Protocol):
    """N-grams of prompts as integers: prompt i owns `codes[offsets[i]:offsets[i + 1]]`."""

    @property
    def codes(self) -> NDArray[Any]:
        """All n-grams, in prompt order; equal integers are equal n-grams."""
        ...

    @property
    def offsets(self) -> Indices:
        """Where each prompt's n-grams begin, with the end last: shape [prompts + 1]."""
        ...


def select_order(
    ngrams: Ngrams,
    lengths: ArrayLike,
    *,
    kind: str,
    strength: float = 1.0,
    seed: int = 0,
    prompts: int | None = None,
    shuffled: Sequence[int] | Indices | None = None,
    given: Ngrams | None = None,
    mean_length: float | None = None,
) -> tuple[Indices, Indices]:
    """The first `prompts` (all, for None) indices in labelling order, and how many n-grams each one adds.

    `random` takes them as `shuffled` has them (by default a shuffle of positions by `seed`). `diverse` takes
    the prompt with the most n-grams that no chosen one holds, `narrow` that with the fewest, each among
    prompts of about its own length: more words hold more n-grams, and a free choice would be one of length.
    Strata of equal size are made by length (`lengths`: tokens of each prompt) and visited in rounds, in a
    shuffled order; while those chosen are too long in the mean, a stratum of shorter ones may come first, and
    only the shorter half of a stratum is open, and the other way round. So the mean length stays within 2% of
    the pool's, or off by no more than one prompt as long as the longest makes it.
    `strength`, from 0 to 1, is the chance that a pick is greedy and not the next of the shuffle among those
    open. Ties go to the earlier in the shuffle.

    N-grams of `given` (prompts that are labelled already, packed to compare) count as held from the start;
    `mean_length` is the mean to keep to, where that is not the mean of `lengths`.

    The same arguments give the same order on any machine, and n prompts are the first n of n + 1; with a
    `shuffled` that looks at content alone, the order in the file does not matter either.
    """
    count = len(ngrams.offsets) - 1
    limit = count if prompts is None else prompts
    _check(kind, strength, limit, count)
    if not count:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    start = np.random.default_rng(seed).permutation(count) if shuffled is None else np.array(shuffled)
    if kind == "random":
        return _in_order(_Cover(ngrams, np.arange(count), given), start[:limit])
    strata = _Strata.by_length(np.asarray(lengths), start)
    cover = _Cover(ngrams, strata.members, given)
    control = _LengthControl(strata, mean_length)
    rng = random.Random(seed)
    return _greedy(cover, strata, control, limit, lambda: rng.random() < strength, kind)


def _check(kind: str, strength: float, prompts: int, count: int) -> None:
    if kind not in get_args(Selection):
        raise PoolError(f'selection "{kind}" is none of {", ".join(get_args(Selection))}')
    if not 0 <= strength <= 1:
        raise PoolError(f"selection strength {strength} is not between 0 and 1")
    if not 0 <= prompts <= count:
        raise PoolError(f"{prompts} prompts were asked of {count}")


class _Cover:
    """Which n-grams the chosen prompts hold, and what each prompt would add; prompts go by their position.

    Position i is prompt `members[i]`. Every position owns one more entry that never
    counts, so that none is empty.
    """

    def __init__(self, ngrams: Ngrams, members: Indices, given: Ngrams | None = None) -> None:
        codes = ngrams.codes if given is None else np.concatenate([ngrams.codes, given.codes])
        ranks = _ranked(codes)
        dense, held = np.split(ranks, [len(ngrams.codes)])
        distinct = int(dense.max(initial=-1)) + 1
        position = np.empty(len(members), np.int64)
        position[members] = np.arange(len(members))
        owners = np.concatenate([np.repeat(position, np.diff(ngrams.offsets)), np.arange(len(members))])
        joint = owners << 32 | np.concatenate([dense, np.full(len(members), distinct)])
        joint.sort()
        joint = joint[np.concatenate([[True], joint[1:] != joint[:-1]])]
        self._ids = (joint & 0xFFFFFFFF).astype(np.int32)
        self._bounds = np.searchsorted(joint >> 32, np.arange(len(members) + 1))
        self._new = np.ones(distinct + 1, np.int32)
        self._new[distinct] = 0
        self._new[held[held < distinct]] = 0

    def gains(self, start: int, stop: int) -> NDArray[np.int32]:
        """How many new n-grams each of these positions would add now."""
        low, high = self._bounds[start], self._bounds[stop]
        return np.add.reduceat(self._new.take(self._ids[low:high]), self._bounds[start:stop] - low)

    def take(self, position: int) -> int:
        """Choose this prompt; returns what it added."""
        ids = self._ids[self._bounds[position] : self._bounds[position + 1]]
        added = int(self._new[ids].sum())
        self._new[ids] = 0
        return added


@dataclass(frozen=True)
class _Strata:
    """Prompts grouped by length: stratum s holds `members[bounds[s]:bounds[s + 1]]`, in shuffled order.

    `visits` goes through all strata once, shuffled, then once more, until each is used up; `lengths` goes
    with `members`.
    """

    members: Indices
    bounds: list[int]
    visits: list[int]
    lengths: NDArray[np.float64]

    @classmethod
    def by_length(cls, lengths: NDArray[Any], shuffled: Indices) -> _Strata:
        count = len(shuffled)
        rank = np.empty(count, np.int64)
        rank[shuffled] = np.arange(count)
        size = min(max(count // 50, 4), 128)  # enough to choose from, near enough in length
        groups = np.array_split(np.lexsort((rank, lengths)), max(count // size, 1))
        groups = [group[np.argsort(rank[group])] for group in groups]
        members = np.concatenate(groups)
        sizes = np.array([len(group) for group in groups])
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        rounds = np.arange(count) - np.repeat(bounds[:-1], sizes)
        visits = np.repeat(np.arange(len(groups)), sizes)[np.lexsort((rank[members], rounds))]
        return cls(members, bounds.tolist(), visits.tolist(), lengths[members].astype(np.float64))


class _LengthControl:
    """Which stratum is visited next, and which of its prompts are open, so that mean length stays."""

    def __init__(self, strata: _Strata, mean: float | None = None) -> None:
        self._lengths = strata.lengths
        self._mean = float(strata.lengths.mean()) if mean is None else mean
        pairs = zip(strata.bounds, strata.bounds[1:], strict=False)
        self._means = [float(strata.lengths[a:b].mean()) for a, b in pairs]
        self._coming = iter(strata.visits[_LOOKAHEAD:])
        self._window = strata.visits[:_LOOKAHEAD]
        self._excess = 0.0
        self._in_turn = False

    def next_stratum(self) -> int:
        """The next in turn or, every second time, the one among the next few that mends mean length most."""
        self._in_turn = not self._in_turn
        offs = [abs(self._excess + self._means[stratum] - self._mean) for stratum in self._window]
        stratum = self._window.pop(0 if self._in_turn else offs.index(min(offs)))
        self._window += [following for following in [next(self._coming, None)] if following is not None]
        return stratum

    def open(self, left: NDArray[np.bool_], start: int, stop: int, stratum: int) -> NDArray[np.bool_]:
        """Those left of a stratum that do not add to the excess or, where there is none, all left."""
        off = (self._lengths[start:stop] - self._means[stratum]) * self._excess
        mending = left[start:stop] & (off <= 0)
        return mending if mending.any() else left[start:stop]

    def picked(self, position: int) -> None:
        """Take note of which prompt was chosen."""
        self._excess += float(self._lengths[position]) - self._mean


def _greedy(
    cover: _Cover,
    strata: _Strata,
    control: _LengthControl,
    limit: int,
    is_greedy: Callable[[], bool],
    kind: str,
) -> tuple[Indices, Indices]:
    sign = 1 if kind == "diverse" else -1
    left = np.ones(len(strata.members), np.bool_)
    order, gains = np.empty(limit, np.int64), np.empty(limit, np.int64)
    for step in range(limit):
        stratum = control.next_stratum()
        start, stop = strata.bounds[stratum], strata.bounds[stratum + 1]
        worth: NDArray[Any] = control.open(left, start, stop, stratum)
        if is_greedy():
            worth = np.where(worth, sign * cover.gains(start, stop), np.iinfo(np.int32).min)
        position = start + int(worth.argmax())
        left[position] = False
        control.picked(position)
        order[step], gains[step] = strata.members[position], cover.take(position)
    return order, gains


def _ranked(codes: NDArray[Any]) -> Indices:
    """Each code as a number from 0 on, in the order of first sight."""
    import pyarrow

    ranks: Indices = pyarrow.array(codes).dictionary_encode().indices.to_numpy().astype(np.int64)
    return ranks


def _in_order(cover: _Cover, order: Indices) -> tuple[Indices, Indices]:
    return order.astype(np.int64), np.array([cover.take(int(index)) for index in order], np.int64)
