"""Rankings as token ids, packed into rows in which every prompt's tokens appear once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metrics.chat import Style
from pools.subset import renumbered
from pools.types import Compared, Example
from trainers.prompt_format import tokenize_prompt, tokenize_response


@dataclass(frozen=True)
class Ranking:
    """One prompt with its responses as token ids, best first.

    `scores` falls (ties allowed) along the responses. `reference` holds each response's summed
    log-probability under the frozen reference policy, for the algorithms that need one; `key` identifies
    the prompt in messages (`Prompt.key`). `compared` holds the pairs (better, worse) that were labelled where
    those are not all of unequal scores (see `pools.types.Example`).
    """

    prompt_ids: list[int]
    response_ids: tuple[list[int], ...]
    scores: tuple[float, ...]
    reference: tuple[float, ...] | None = None
    key: str = ""
    compared: Compared | None = None

    @property
    def tokens(self) -> int:
        """Tokens to encode: the prompt once, each response without its last token (only predicted)."""
        return len(self.prompt_ids) + sum(len(ids) - 1 for ids in self.response_ids)

    def keep(self, indices: Iterable[int]) -> Ranking:
        """The same prompt with the responses at `indices` (in rising order) only."""
        chosen = sorted(set(indices))
        return replace(
            self,
            response_ids=tuple(self.response_ids[i] for i in chosen),
            scores=tuple(self.scores[i] for i in chosen),
            reference=None if self.reference is None else tuple(self.reference[i] for i in chosen),
            compared=renumbered(self.compared, chosen),
        )


@dataclass(frozen=True)
class TokenizeReport:
    """What tokenising changed: counts over all examples given."""

    rankings: int
    rankings_dropped: int
    prompts_truncated: int
    responses_truncated: int
    duplicate_responses: int


def tokenize_rankings(
    examples: Sequence[Example],
    tokenizer: Any,
    *,
    style: Style = "auto",
    max_prompt_tokens: int = 512,
    max_response_tokens: int = 128,
) -> tuple[list[Ranking], TokenizeReport]:
    """Examples as rankings, responses by falling score (ties in the pool's order).

    Of responses with identical tokens (cut to the same beginning, say) only the best is kept; an example
    of two or more responses that is left with one has no ranking to learn and is dropped.
    """
    rankings: list[Ranking] = []
    cut_prompts = cut_responses = duplicates = 0
    for example in examples:
        prompt, cut = tokenize_prompt(example.prompt, tokenizer, style=style, max_tokens=max_prompt_tokens)
        order = sorted(range(len(example.responses)), key=lambda index: -example.responses[index].score)
        ordered = [example.responses[index] for index in order]
        encoded = [
            tokenize_response(response.text, tokenizer, style=style, max_tokens=max_response_tokens)
            for response in ordered
        ]
        first = {tuple(ids): i for i, (ids, _) in reversed(list(enumerate(encoded)))}
        cut_prompts += cut
        cut_responses += sum(was_cut for _, was_cut in encoded)
        duplicates += len(encoded) - len(first)
        if len(first) > 1 or len(encoded) == 1:
            ids, scores = tuple(ids for ids, _ in encoded), tuple(r.score for r in ordered)
            compared = renumbered(example.compared, order)
            whole = Ranking(prompt, ids, scores, key=example.prompt.key, compared=compared)
            rankings.append(whole.keep(first.values()))
    dropped = len(examples) - len(rankings)
    return rankings, TokenizeReport(len(rankings), dropped, cut_prompts, cut_responses, duplicates)


@dataclass(frozen=True)
class Segment:
    """One ranking's part of the row: its prompt, then its responses one after the other."""

    start: int
    prompt: int
    responses: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + self.prompt + sum(self.responses)


@dataclass(frozen=True)
class Batch:
    """Rankings packed without padding into one row of T tokens, with N predicted tokens of R responses.

    A response's positions continue its prompt's, whatever lies between them in the row.
    """

    input_ids: Tensor  # [T] int64
    positions: Tensor  # [T] int64, from 0 at each prompt's first token
    sources: Tensor  # [N] int64: the index in the row whose hidden state predicts the token
    targets: Tensor  # [N] int64: the predicted token
    owners: Tensor  # [N] int64: the response, 0..R-1, that the predicted token belongs to
    scores: Tensor  # [R] float64, so that margins and ties are as in the pool
    reference: Tensor | None  # [R] float32: summed log-probability under the reference policy
    segments: tuple[Segment, ...]
    sizes: tuple[int, ...]  # responses of each ranking
    compared: tuple[Compared | None, ...]  # of each ranking, see `Ranking`

    @property
    def rankings(self) -> int:
        """Number of rankings."""
        return len(self.sizes)

    @property
    def responses(self) -> int:
        """Number of responses, R."""
        return sum(self.sizes)

    @property
    def tokens(self) -> int:
        """Number of tokens encoded, T."""
        return int(self.input_ids.numel())

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


def collate(rankings: Sequence[Ranking]) -> Batch:
    """Pack rankings into one row; the order of rankings and responses is kept."""
    ids: list[int] = []
    positions: list[int] = []
    sources: list[int] = []
    segments: list[Segment] = []
    for ranking in rankings:
        start, length = len(ids), len(ranking.prompt_ids)
        assert length > 0 and all(ranking.response_ids), "an empty prompt or response predicts nothing"
        ids += ranking.prompt_ids
        positions += range(length)
        for response in ranking.response_ids:
            here = len(ids)
            sources += [start + length - 1, *range(here, here + len(response) - 1)]
            ids += response[:-1]
            positions += range(length, length + len(response) - 1)
        segments.append(Segment(start, length, tuple(len(r) - 1 for r in ranking.response_ids)))
    responses = [response for ranking in rankings for response in ranking.response_ids]
    owners = [i for i, response in enumerate(responses) for _ in response]
    return Batch(
        input_ids=torch.tensor(ids),
        positions=torch.tensor(positions),
        sources=torch.tensor(sources),
        targets=torch.tensor([token for response in responses for token in response]),
        owners=torch.tensor(owners),
        scores=torch.tensor([score for ranking in rankings for score in ranking.scores], dtype=torch.float64),
        reference=_references(rankings),
        segments=tuple(segments),
        sizes=tuple(len(ranking.response_ids) for ranking in rankings),
        compared=tuple(ranking.compared for ranking in rankings),
    )


def _references(rankings: Sequence[Ranking]) -> Tensor | None:
    if any(ranking.reference is None for ranking in rankings):
        return None
    return torch.tensor([value for ranking in rankings for value in ranking.reference or ()])


def pack(rankings: Sequence[Ranking], max_tokens: int) -> list[list[int]]:
    """Indices of `rankings` cut, in order, into micro-batches of at most `max_tokens` encoded tokens.

    A ranking longer than that is a micro-batch of its own. Order is kept so that what is trained when
    does not depend on the budget.
    """
    batches: list[list[int]] = []
    room = 0
    for index, ranking in enumerate(rankings):
        if not batches or ranking.tokens > room:
            batches.append([])
            room = max_tokens
        batches[-1].append(index)
        room -= ranking.tokens
    return batches
