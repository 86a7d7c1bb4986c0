"""The policy that is trained: log-probabilities of responses under a Hugging Face causal language model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from trainers import attention
from trainers.batching import Batch, Ranking, collate, pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Path = Literal["segments", "mask", "plain"]
_CHUNK = 512  # predicted tokens whose scores over the vocabulary exist at one time


class ResponseLogps(NamedTuple):
    """What algorithms work on, for each of R responses."""

    total: Tensor  # [R] float32: summed log-probability (nats)
    tokens: Tensor  # [R] float32: number of predicted tokens

    @property
    def mean(self) -> Tensor:
        """[R]: log-probability per token."""
        return self.total / self.tokens


class Policy(nn.Module):
    """A causal language model (also under peft) that scores packed rankings.

    Each prompt is encoded once for all its responses where the model can be told who sees whom;
    `path` says how (`segments` on a CPU, one dense `mask` on a GPU) or that it cannot (`plain`: every
    response with its own copy of the prompt, padded), and `reason` why. Parameters are used through
    their modules only, so the hooks of ZeRO-3 gather them.
    """

    def __init__(
        self, model: PreTrainedModel, path: Literal["auto", "segments", "mask", "plain"] = "auto"
    ) -> None:
        super().__init__()
        self.model = model
        lm: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._parts = (
            lm,
            getattr(lm, lm.base_model_prefix),
            lm.get_output_embeddings(),
        )  # a tuple: no submodules
        self.reason = _obstacle(*self._parts)
        self.path: Path = _choose(path, self.reason, lm.device)
        self._window = getattr(lm.config, "sliding_window", None)
        if self.path != "plain":
            attention.register()
            lm.set_attn_implementation(attention.ATTENTION)

    def forward(self, batch: Batch) -> ResponseLogps:
        """Summed log-probability and token count of each response of `batch`."""
        shared = self.path != "plain" and not self._beyond_window(batch)
        logps = self._shared(batch) if shared else self._plain(batch)
        total = torch.zeros(batch.responses, device=logps.device).index_add(0, batch.owners, logps)
        return ResponseLogps(total, batch.owners.bincount(minlength=batch.responses).float())

    def _shared(self, batch: Batch) -> Tensor:
        """Log-probability [N] of each predicted token, prompts encoded once."""
        _, backbone, head = self._parts
        if self.path == "segments":  # a four-dimensional mask keeps transformers from building its own
            layout: dict[str, Any] = {"attention_mask": torch.ones(1, 1, 1, 1), "segments": batch.segments}
        else:
            layout = {"attention_mask": attention.row_mask(batch.segments, batch.input_ids.device)}
        row = backbone(
            input_ids=batch.input_ids[None], position_ids=batch.positions[None], use_cache=False, **layout
        )
        hidden = row.last_hidden_state[0].index_select(0, batch.sources)
        chunks = zip(torch.split(hidden, _CHUNK), torch.split(batch.targets, _CHUNK), strict=True)
        return torch.cat([_checkpointed(head, part, targets) for part, targets in chunks])

    def _plain(self, batch: Batch) -> Tensor:
        """The same [N], from one padded sequence for each response."""
        pairs = list(_sequences(batch))
        ids = pad_sequence([torch.cat(pair) for pair in pairs], batch_first=True)
        lengths = torch.tensor([len(prompt) + len(response) for prompt, response in pairs], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        logits = self._parts[0](input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        parts = [logits[i, len(p) - 1 : len(p) + len(r)] for i, (p, r) in enumerate(pairs)]
        return _pick(torch.cat(parts), batch.targets)

    def _beyond_window(self, batch: Batch) -> bool:
        return self._window is not None and int(batch.positions.max()) >= int(self._window)


def _checkpointed(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """Scores over the vocabulary are made again for the backward pass instead of kept."""
    result: Tensor = checkpoint(lambda part: _pick(head(part), targets), hidden, use_reentrant=False)
    return result


def _pick(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of `targets` [N] under `logits` [N, V], in float32."""
    return -nn.functional.cross_entropy(logits.float(), targets, reduction="none")


def _sequences(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Prompt and response ids (without the last token) of each response."""
    for segment in batch.segments:
        row = batch.input_ids[segment.start : segment.stop]
        prompt, *responses = torch.split(row, [segment.prompt, *segment.responses])
        yield from ((prompt, response) for response in responses)


def _obstacle(lm: Any, backbone: nn.Module, head: nn.Module | None) -> str | None:
    """Why prompts cannot be shared with this model, or None."""
    name = type(lm).__name__
    if not getattr(lm, "_supports_attention_backend", False):
        return f"{name} does not let its attention be replaced"
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return f"{name} takes no position ids"
    odd = [
        key
        for key in ("final_logit_softcapping", "attn_logit_softcapping", "logit_scale")
        if getattr(lm.config, key, None)
    ]
    if odd or head is None:
        return f"{name} changes its scores by {', '.join(odd) or 'a head of its own'}"
    return None


def _choose(asked: str, obstacle: str | None, device: torch.device) -> Path:
    if obstacle or asked == "plain":
        return "plain"
    if asked == "auto":
        return "mask" if device.type == "cuda" else "segments"
    return asked  # type: ignore[return-value]


def with_reference(
    policy: nn.Module, rankings: Sequence[Ranking], *, max_tokens: int, device: torch.device | str
) -> list[Ranking]:
    """The rankings with `reference` filled in by `policy` as it stands: call it once, before training."""
    from dataclasses import replace

    filled: list[Ranking] = []
    for indices in pack(rankings, max_tokens):
        chosen = [rankings[i] for i in indices]
        with torch.no_grad():
            totals = policy(collate(chosen).to(device)).total.tolist()
        for ranking in chosen:
            filled.append(replace(ranking, reference=tuple(totals[: len(ranking.scores)])))
            totals = totals[len(ranking.scores) :]
    return filled
