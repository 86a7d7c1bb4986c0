"""The policy that is trained: log-probabilities of responses under a Hugging Face causal language model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from trainers.models import without_adapters
from trainers.policy import attention, flex
from trainers.policy.batching import Batch, Ranking, collate, pack
from trainers.policy.visibility import row_blocks, row_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Path = Literal["auto", "segments", "flex", "mask", "plain"]
_CHUNK = 1024  # predicted tokens whose scores over the vocabulary exist at one time
_ROWS = 8  # rows of a chunk that are float32 at one time on a CPU: they fit into its cache
_NO_MASK = torch.ones(1, 1, 1, 1)
_RESHAPED = ("final_logit_softcapping", "attn_logit_softcapping", "logit_scale", "logits_scaling")


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

    Each prompt is encoded once for all its responses where the model's attention can be replaced, and every
    response with its own copy of the prompt, padded, where it cannot: `reason` then says why, and is None
    otherwise. Sharing is first checked on a few tokens, unless the weights are sharded (ZeRO-3). On a GPU
    FlexAttention is checked too; `no_flex` says why it is not used, and is None where it is.
    Parameters are used through their modules only, so that the hooks of ZeRO-3 gather them.
    """

    def __init__(self, model: PreTrainedModel, path: Path = "auto") -> None:
        super().__init__()
        self.model = model
        lm = without_adapters(model)
        # In a tuple, so that the parts are not registered a second time.
        self._parts = (lm, getattr(lm, lm.base_model_prefix), lm.get_output_embeddings())
        self._path: Path = path
        self._window = _window(lm.config)
        self.reason = _obstacle(*self._parts)
        self.no_flex: str | None = "the model was not on a GPU when FlexAttention would have been tried"
        if self.reason is None and path != "plain":
            attention.register()
            lm.set_attn_implementation(attention.ATTENTION)
            if path == "auto" and _on_gpu(lm):
                self.no_flex = None  # so that `path` is flex while it is checked
                self.no_flex = self._flex_obstacle()
            if self.path != "flex":
                self.reason = self._disagreement()

    @property
    def path(self) -> Path:
        """How prompts are encoded: `segments` on a CPU, `flex` or a dense `mask` on a GPU, or `plain`."""
        if self.reason is not None:
            return "plain"
        if self._path != "auto":
            return self._path
        if not _on_gpu(self._parts[0]):
            return "segments"
        return "flex" if self.no_flex is None else "mask"

    @property
    def note(self) -> str | None:
        """What a user should know about how prompts are encoded, or None."""
        if self.path == "mask":
            return f"attention goes through a dense mask, T x T for a row of T tokens: {self.no_flex}"
        if self.reason is not None:
            return f"each response is encoded with its own copy of the prompt: {self.reason}"
        return None

    def forward(self, batch: Batch) -> ResponseLogps:
        """Summed log-probability and token count of each response of `batch`."""
        within = self._window is None or int(batch.positions.max()) < self._window
        logps = self._shared(batch) if self.path != "plain" and within else self._plain(batch)
        total = logps.new_zeros(batch.responses).index_add(0, batch.owners, logps)
        return ResponseLogps(total, batch.owners.bincount(minlength=batch.responses).to(total))

    @torch.no_grad()
    def _disagreement(self) -> str | None:
        """Why encoding by `path` is not correct, from a check on a few tokens; None if it is."""
        lm = self._parts[0]
        if any(parameter.numel() == 0 or parameter.is_meta for parameter in lm.parameters()):
            return None
        training = lm.training
        lm.eval()
        ids = [(7 * i + 3) % lm.config.vocab_size for i in range(9)]
        batch = collate([Ranking(ids[:3], (ids[3:6], ids[6:]), (1.0, 0.0))]).to(lm.device)
        gap = float((self._shared(batch) - self._plain(batch)).abs().max())
        lm.train(training)
        if gap <= (1e-3 if lm.dtype in (torch.float32, torch.float64) else 0.25):
            return None
        return f"{type(lm).__name__} scores shared prompts differently (by {gap:.2g} nats a token)"

    def _flex_obstacle(self) -> str | None:
        """Why FlexAttention cannot be used on the model's device, from checks without and with the model."""
        lm = self._parts[0]
        obstacle = flex.obstacle(*attention_shape(lm.config), lm.dtype, lm.device)
        if obstacle is not None:
            return obstacle
        try:
            return self._disagreement()
        except Exception as error:  # of a layer whose shape is not what the configuration says
            return flex.failure(error)

    def _shared(self, batch: Batch) -> Tensor:
        """Log-probability [N] of each predicted token, prompts encoded once."""
        _, backbone, head = self._parts
        ids, positions, device = batch.input_ids, batch.positions, batch.input_ids.device
        # A four-dimensional mask keeps transformers from building its own; not every model takes a BlockMask.
        if self.path == "segments":
            layout: dict[str, Any] = {"attention_mask": _NO_MASK, "segments": batch.segments}
        elif self.path == "flex":
            total = flex.padded_length(len(ids))
            ids, positions = (pad(row, (0, total - len(row))) for row in (ids, positions))
            layout = {"attention_mask": _NO_MASK, "blocks": row_blocks(batch.segments, total, device)}
        else:
            layout = {"attention_mask": row_mask(batch.segments, device)}
        row = backbone(input_ids=ids[None], position_ids=positions[None], use_cache=False, **layout)
        hidden = row.last_hidden_state[0].index_select(0, batch.sources)
        return _chunked(head, hidden, batch.targets)

    def _plain(self, batch: Batch) -> Tensor:
        """The same [N], from one padded sequence for each response."""
        pairs = list(_sequences(batch))
        ids = pad_sequence([torch.cat(pair) for pair in pairs], batch_first=True)
        lengths = torch.tensor([len(prompt) + len(response) for prompt, response in pairs], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        logits = self._parts[0](input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        parts = [logits[i, len(p) - 1 : len(p) + len(r)] for i, (p, r) in enumerate(pairs)]
        return _pick(torch.cat(parts), batch.targets)


def _chunked(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """Log-probability [N] of `targets` after `hidden` [N, D], with the scores of one chunk at a time.

    The last chunk's scores are kept for the backward pass, which starts there; the others are recomputed.
    """
    *earlier, last = zip(torch.split(hidden, _CHUNK), torch.split(targets, _CHUNK), strict=True)
    recomputed = [checkpoint(_scored, head, *chunk, use_reentrant=False) for chunk in earlier]
    return torch.cat([*recomputed, _scored(head, *last)])


def _scored(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    return _pick(head(hidden), targets)


def _pick(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of `targets` [N] under `logits` [N, V], in float32 at least."""
    picked: Tensor = _LogSoftmaxAt.apply(logits, targets)  # type: ignore[no-untyped-call]
    return picked


class _LogSoftmaxAt(torch.autograd.Function):
    """log_softmax(logits)[target] in float32 at least, a few rows at a time on a CPU.

    The gradient overwrites the scores, which are as large as all weights of a small model: a second
    backward pass through the same graph is an error.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        ctx.precise = torch.promote_types(logits.dtype, torch.float32)
        ctx.rows = _ROWS if logits.device.type == "cpu" else len(logits)
        ctx.save_for_backward(logits, targets)
        parts = zip(torch.split(logits, ctx.rows), torch.split(targets, ctx.rows), strict=True)
        picked = [
            rows.log_softmax(-1, dtype=ctx.precise).gather(1, target[:, None]) for rows, target in parts
        ]
        return torch.cat(picked)[:, 0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, targets = ctx.saved_tensors
        parts = (torch.split(tensor, ctx.rows) for tensor in (logits, targets, grads[0][:, None]))
        for rows, target, grad in zip(*parts, strict=True):
            share = rows.softmax(-1, dtype=ctx.precise).mul_(-grad)
            rows.copy_(share.scatter_add_(1, target[:, None], grad))
        return logits, None


def _sequences(batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Prompt and response ids (without the last token) of each response."""
    for segment in batch.segments:
        row = batch.input_ids[segment.start : segment.stop]
        prompt, *responses = torch.split(row, [segment.prompt, *segment.responses])
        yield from ((prompt, response) for response in responses)


def _window(config: Any) -> int | None:
    """The narrowest attention window of all layers (tokens), where one is limited."""
    limits = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(limit) for limit in limits if limit), default=None)


def _on_gpu(lm: Any) -> bool:
    return bool(lm.device.type == "cuda")


def attention_shape(config: Any) -> tuple[int, int, int]:
    """Heads, groups of heads that share keys and values, and the width of a head."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    groups = getattr(text, "num_key_value_heads", None) or heads
    return heads, groups, getattr(text, "head_dim", None) or text.hidden_size // heads


def _obstacle(lm: Any, backbone: nn.Module, head: nn.Module | None) -> str | None:
    """Why prompts cannot be shared with this architecture, or None."""
    name = type(lm).__name__
    if not lm.is_backend_compatible():
        return f"{name} does not let its attention be replaced"
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return f"{name} takes no position ids"
    odd = [key for key in _RESHAPED if getattr(lm.config, key, None) not in (None, 1)]
    odd += ["attention sinks"] if any(key.endswith("sinks") for key, _ in lm.named_parameters()) else []
    if odd or head is None:
        return f"{name} computes scores of its own ({', '.join(odd) or 'no output head'})"
    return None


def with_reference(
    policy: nn.Module, rankings: Sequence[Ranking], *, max_tokens: int, device: torch.device | str
) -> list[Ranking]:
    """The rankings with `reference` computed by the current `policy`: call it once, before training."""
    filled: list[Ranking] = []
    for indices in pack(rankings, max_tokens):
        chosen = [rankings[i] for i in indices]
        with torch.no_grad():
            totals = policy(collate(chosen).to(device)).total.tolist()
        for ranking in chosen:
            filled.append(replace(ranking, reference=tuple(totals[: len(ranking.scores)])))
            totals = totals[len(ranking.scores) :]
    return filled
