"""Token ids of many prompts in two flat arrays, filled once by the fast tokenizer in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_TOKENS = 512  # each prompt is cut to its first 512 tokens (Song et al. 2024)
_BATCH = 4096  # prompts handed to the tokenizer at once: enough for all cores, little enough for memory


@dataclass(frozen=True)
class TokenTable:
    """The token ids of n prompts, one after the other.

    `ids` is int32 of shape [tokens]; `offsets` is int64 of shape [n + 1], rising from 0 to `len(ids)`:
    prompt i owns `ids[offsets[i]:offsets[i + 1]]`. Being two plain arrays, a table travels through Ray's
    object store, or a memory map, without a copy.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def from_lists(cls, rows: Iterable[Sequence[int]]) -> TokenTable:
        """The table of these rows of token ids."""
        kept = list(rows)
        offsets = offsets_of([len(row) for row in kept])
        return cls(np.fromiter(chain.from_iterable(kept), np.int32, count=int(offsets[-1])), offsets)

    @classmethod
    def concatenate(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """One table with the prompts of all `tables`, in order."""
        lengths = [table.lengths for table in tables]
        ids = [table.ids for table in tables]
        offsets = offsets_of(np.concatenate(lengths) if lengths else [])
        return cls(np.concatenate(ids) if ids else np.empty(0, np.int32), offsets)

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each prompt, shape [n]."""
        return np.diff(self.offsets)

    def take(self, indices: ArrayLike) -> TokenTable:
        """The table of the prompts at `indices`, in that order (repeats allowed, not negative ones)."""
        chosen = np.asarray(indices, dtype=np.int64)
        starts = self.offsets[chosen]
        lengths = self.offsets[chosen + 1] - starts
        offsets = offsets_of(lengths)
        shift = np.repeat(starts - offsets[:-1], lengths)
        return TokenTable(self.ids[shift + np.arange(offsets[-1])], offsets)

    def slice(self, start: int, stop: int) -> TokenTable:
        """The table of prompts `start` to `stop` (exclusive), sharing this table's memory."""
        low, high = self.offsets[start], self.offsets[stop]
        return TokenTable(self.ids[low:high], self.offsets[start : stop + 1] - low)


def offsets_of(lengths: ArrayLike) -> NDArray[np.int64]:
    """Where each row starts in a flat array, with the end last: shape [n + 1]."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64), dtype=np.int64)])


def tokenize(texts: Iterable[str], tokenizer: Any, max_tokens: int = MAX_TOKENS) -> TokenTable:
    """Token ids of `texts`, without special tokens, each cut to its first `max_tokens`.

    `tokenizer` is a `transformers` tokenizer or a `tokenizers.Tokenizer`; it is not changed, and any
    truncation or padding set on it is ignored. A fast tokenizer works on all cores. An empty text
    gives a row of no tokens.
    """
    return TokenTable.concatenate(list(token_batches(texts, tokenizer, max_tokens)))


def token_batches(
    texts: Iterable[str], tokenizer: Any, max_tokens: int = MAX_TOKENS, batch: int = _BATCH
) -> Iterator[TokenTable]:
    """As `tokenize`, but yields a table for each `batch` texts, so that a stream need not fit in memory."""
    encode = _encoder(tokenizer)
    stream = iter(texts)
    while chunk := list(islice(stream, batch)):
        yield TokenTable.from_lists(ids[:max_tokens] for ids in encode(chunk))


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the largest id that `tokenizer` can give, added tokens included."""
    return max(tokenizer.get_vocab().values(), default=0) + 1


def _encoder(tokenizer: Any) -> Any:
    """A function from a list of texts to a list of lists of ids."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(fast, "encode_batch_fast"):  # a tokenizer written in Python
        return lambda chunk: tokenizer(chunk, add_special_tokens=False)["input_ids"]
    if fast.truncation or fast.padding:
        fast = type(fast).from_str(fast.to_str())
        fast.no_truncation()
        fast.no_padding()
    return lambda chunk: [row.ids for row in fast.encode_batch_fast(chunk, add_special_tokens=False)]
