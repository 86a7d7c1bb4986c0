"""Diversity of a stream of prompts in bounded memory: exact up to a limit, then by a sketch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from base.errors import PoolError
from metrics.diversity import EXPONENT, ORDER, score
from metrics.firsts import Firsts
from metrics.heaps import Curve, HeapsFit, fit_heaps, nested_curve
from metrics.hyperloglog import DistinctSketch
from metrics.ngrams import pack_ngrams
from metrics.tokens import TokenTable

EXACT_LIMIT = 50_000_000  # n-grams and prompts held by the exact count: about 2 GB
_PIECE = 2048  # prompts taken at once
Engine = Literal["auto", "exact", "approximate"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a stream of prompts amounts to; `error` is the relative standard error of `distinct`."""

    prompts: int
    tokens: int
    total: int
    distinct: float
    error: float = 0.0
    curve: Curve | None = None

    def diversity(self, exponent: float = EXPONENT) -> float:
        """D = prompts ** exponent x distinct / total; see `metrics.diversity.diversity`."""
        return score(self.prompts, self.distinct, self.total, exponent)

    def heaps(self, exponent: float = EXPONENT) -> HeapsFit | None:
        """Heaps' law over the nested curve, where there is one long enough."""
        return fit_heaps(self.curve, exponent=exponent) if self.curve else None


def nested_diversity_at(
    tokens: TokenTable,
    order: NDArray[np.int64],
    prompts: NDArray[np.int64],
    *,
    limit: int = EXACT_LIMIT,
) -> NDArray[np.float64]:
    """D of the first n of `order` (indices into `tokens`), for each n of `prompts`; shape as `prompts`.

    `metrics.diversity.nested_diversity` of the tokens in that order, with one piece of them in memory at a
    time; past `limit` distinct n-grams and prompts an estimate (`StreamCounter`).
    """
    vocabulary = int(tokens.ids.max(initial=0)) + 1
    counter = StreamCounter(vocabulary, limit=limit)
    for start in range(0, len(order), _PIECE):
        counter.add(tokens.take(order[start : start + _PIECE]))
    return counter.diversity_at(prompts)


class StreamCounter:
    """Counts n-grams of token tables as they come.

    `exact` holds every distinct n-gram, and raises PoolError past `limit` (distinct n-grams and prompts
    together, about 40 bytes each while they are merged). `approximate` holds a sketch of 256 kB and its
    error is that of `metrics.hyperloglog`. `auto` starts exactly and switches to a sketch past the limit.
    `vocabulary` is more than every token id.
    """

    def __init__(
        self, vocabulary: int, *, order: int = ORDER, engine: Engine = "auto", limit: int = EXACT_LIMIT
    ) -> None:
        self._vocabulary, self._order, self._engine, self._limit = vocabulary, order, engine, limit
        self._firsts: Firsts | None = None if engine == "approximate" else Firsts()
        self._sketch = DistinctSketch()
        self._prompts = self._tokens = self._total = 0
        self._points: list[tuple[float, float, float]] = []

    def add(self, tokens: TokenTable) -> None:
        """Add these prompts."""
        ngrams = pack_ngrams(tokens, self._order, self._vocabulary)
        self._prompts += len(tokens)
        self._tokens += len(tokens.ids)
        self._total += len(ngrams.codes)
        if self._firsts is None:
            self._sketch.add(ngrams.codes)
            self._mark()
            return
        self._firsts.add(ngrams)
        if self._held() > self._limit and self._firsts.distinct() + self._prompts > self._limit:
            self._leave_exact()

    def result(self) -> Measured:
        """Everything added so far."""
        if self._firsts is not None:
            distinct: float = self._firsts.distinct()
            curve = nested_curve(self._firsts.per_prompt(), self._firsts.totals())
        else:
            distinct = self._sketch.estimate()
            self._points.append((self._prompts, distinct, self._total))
            curve = Curve(*np.array(self._points, np.float64).T)
        return Measured(
            prompts=self._prompts,
            tokens=self._tokens,
            total=self._total,
            distinct=distinct,
            error=0.0 if self._firsts is not None else DistinctSketch.STANDARD_ERROR,
            curve=curve,
        )

    def diversity_at(self, prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """D of the first n prompts added, for each n of `prompts`: exact, or read off the sketch's curve."""
        if self._firsts is not None:
            totals = np.cumsum(self._firsts.totals())[prompts - 1]
            distinct = np.cumsum(self._firsts.per_prompt())[prompts - 1]
        else:
            known = self.result().curve
            assert known is not None
            distinct, totals = (
                np.exp(np.interp(np.log(prompts), np.log(known.prompts), np.log(np.maximum(values, 1))))
                for values in (known.distinct, known.total)
            )
        shares: NDArray[np.float64] = distinct / np.maximum(totals, 1)
        return prompts.astype(np.float64) ** EXPONENT * shares

    def _held(self) -> int:
        assert self._firsts is not None
        return self._firsts.held + self._prompts

    def _mark(self) -> None:
        """A point of the curve whenever the prompts have grown by a tenth."""
        if not self._points or self._prompts >= 1.1 * self._points[-1][0]:
            self._points.append((self._prompts, self._sketch.estimate(), self._total))

    def _leave_exact(self) -> None:
        assert self._firsts is not None
        if self._engine == "exact":
            raise PoolError(
                f"more than {self._limit:,} distinct n-grams and prompts, the limit of the exact count: "
                "raise it (--limit, 40 bytes each), count on a cluster (--engine ray) or approximately "
                "(--engine approximate)"
            )
        curve = nested_curve(self._firsts.per_prompt(), self._firsts.totals())
        self._points = list(zip(curve.prompts, curve.distinct, curve.total, strict=True))
        self._sketch.add(self._firsts.codes())
        self._firsts = None
