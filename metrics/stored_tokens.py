"""Token ids that need not fit in memory: a table over two mapped files, which travels as their path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.tokens import MAX_TOKENS, TokenTable, token_batches


@dataclass(frozen=True)
class StoredTokens(TokenTable):
    """The table that `store_tokens` wrote to `folder`; the system holds as much of it as it has room for."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> StoredTokens:
        """The table in `folder`; raises OSError where there is none."""
        return cls(_mapped(folder / "ids", np.int32), _mapped(folder / "offsets", np.int64), folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredTokens.open, (self.folder,)


def store_tokens(
    texts: Iterable[str], tokenizer: Any, folder: Path, max_tokens: int = MAX_TOKENS
) -> StoredTokens:
    """As `metrics.tokens.tokenize`, with one batch in memory at a time and the rest in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ids").open("wb") as ids, (folder / "offsets").open("wb") as offsets:
        end = 0
        offsets.write(np.zeros(1, np.int64).tobytes())
        for table in token_batches(texts, tokenizer, max_tokens):
            ids.write(table.ids.tobytes())
            offsets.write((table.offsets[1:] + end).tobytes())
            end += len(table.ids)
    return StoredTokens.open(folder)


def _mapped(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, kind)
    return np.memmap(path, kind, "r")
