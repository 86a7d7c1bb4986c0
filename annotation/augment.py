"""New prompts from a language model: only those that are no near-copies, and that raise diversity most."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from annotation.proposers import Proposer
from metrics.ngrams import pack_ngrams
from metrics.tokens import TokenTable, tokenize
from pools.selection import select_order

SHOTS = 8  # pool prompts shown to the model for each proposal
NEAR, TOO_NEAR_HELD_OUT = 0.7, 0.5  # estimated Jaccard similarity of character 5-grams
_PERMUTATIONS, _SHINGLE = 128, 5
_NUMBERING = re.compile(r"^\s*(?:\d+[.)]|[-*])\s*")


@dataclass
class Account:
    """What became of the proposals."""

    proposed: int = 0
    unusable: int = 0
    near_pool: int = 0
    near_held_out: int = 0
    chosen: list[Proposal] = field(default_factory=list)


@dataclass(frozen=True)
class Proposal:
    """A model-made prompt, its tokens, and how many bigrams it adds to the pool and those before it."""

    text: str
    tokens: int
    gain: int


def augment(
    pool: Sequence[str],
    held_out: Sequence[str],
    proposer: Proposer,
    tokenizer: Any,
    *,
    prompts: int,
    oversample: float = 4.0,
    seed: int = 0,
    progress: Callable[[str, float], None] = lambda label, share: None,
) -> Account:
    """Up to `prompts` new prompts for `pool`, those first that add most.

    The proposer is asked for `oversample` times as many. Left out are those shorter or longer than 95 of
    100 prompts of the pool on that side, those whose character 5-grams overlap with a pool prompt or an
    earlier proposal by 0.7 (Jaccard, estimated by MinHash), and with a held-out prompt by 0.5. Of the rest
    the greedy selection of `pools.selection` takes those with the most bigrams that the pool lacks, among
    proposals of like length and with the pool's mean length kept as far as they allow. `progress` is told
    what is done, in words and as a share.
    """
    account = Account()
    low, high = _usual_lengths(pool, tokenizer)
    sieve = NearCopies(pool, held_out)
    kept: list[str] = []
    asked = round(prompts * oversample)
    for text in proposer.propose(_shots(pool, seed), asked):
        account.proposed += 1
        progress(f"{account.proposed} of {asked} proposed, {len(kept)} of use", account.proposed / asked)
        line = _NUMBERING.sub("", text.strip().partition("\n")[0]).strip().strip('"')
        if not low <= len(tokenize([line], tokenizer).ids) <= high:
            account.unusable += 1
        elif sieve.near_held_out(line):
            account.near_held_out += 1
        elif sieve.near_pool(line):
            account.near_pool += 1
        else:
            sieve.add(line)
            kept.append(line)
    account.chosen = _most_diverse(pool, kept, tokenizer, min(prompts, len(kept)), seed)
    return account


class NearCopies:
    """Finds texts that nearly repeat one of the pool, or of the held-out prompts (MinHash, by datasketch)."""

    def __init__(self, pool: Sequence[str], held_out: Sequence[str]) -> None:
        from datasketch import MinHashLSH

        self._pool = MinHashLSH(threshold=NEAR, num_perm=_PERMUTATIONS)
        self._held_out = MinHashLSH(threshold=TOO_NEAR_HELD_OUT, num_perm=_PERMUTATIONS)
        for index, made in _minhashes(pool):
            self._pool.insert(f"pool {index}", made)
        for index, made in _minhashes(held_out):
            self._held_out.insert(index, made)
        self._added = 0

    def near_pool(self, text: str) -> bool:
        """Whether a pool prompt, or a text added since, is near."""
        return self._near(self._pool, text)

    def near_held_out(self, text: str) -> bool:
        """Whether a held-out prompt is near."""
        return self._near(self._held_out, text)

    def add(self, text: str) -> None:
        """From now on this text counts as one of the pool."""
        for _, made in _minhashes([text]):
            self._pool.insert(f"added {self._added}", made)
        self._added += 1

    def _near(self, index: Any, text: str) -> bool:
        return any(index.query(made) for _, made in _minhashes([text]))


def _minhashes(texts: Sequence[str]) -> Iterator[tuple[int, Any]]:
    from datasketch import MinHash

    for index, text in enumerate(texts):
        plain = " ".join(text.casefold().split())
        made = MinHash(num_perm=_PERMUTATIONS, seed=1)
        made.update_batch(
            [plain[i : i + _SHINGLE].encode(errors="replace") for i in range(max(len(plain) - 4, 1))]
        )
        yield index, made


def _usual_lengths(pool: Sequence[str], tokenizer: Any) -> tuple[int, int]:
    lengths = tokenize(pool, tokenizer).lengths
    low, high = np.quantile(lengths, [0.05, 0.95])
    return max(int(low), 2), max(int(high), 2)


def _shots(pool: Sequence[str], seed: int) -> Iterator[list[str]]:
    """Without end, a few prompts of the pool, each on one line, drawn anew each time."""
    rng = random.Random(seed)
    lines = [" ".join(text.split()) for text in pool]
    short = [line for line in lines if len(line) <= 500] or [line[:500] for line in lines]
    while True:
        yield rng.sample(short, min(SHOTS, len(short)))


def _most_diverse(
    pool: Sequence[str], proposals: Sequence[str], tokenizer: Any, prompts: int, seed: int
) -> list[Proposal]:
    held, new = tokenize(pool, tokenizer), tokenize(proposals, tokenizer)
    packed = pack_ngrams(TokenTable.concatenate([new, held]), 2)
    order, gains = select_order(
        packed.slice(0, len(new)),
        new.lengths,
        kind="diverse",
        seed=seed,
        prompts=prompts,
        given=packed.slice(len(new), len(packed)),
        mean_length=float(held.lengths.mean()),
    )
    return [
        Proposal(proposals[index], int(new.lengths[index]), int(gain))
        for index, gain in zip(order, gains, strict=True)
    ]
