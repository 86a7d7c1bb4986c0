"""vLLM as the engine that answers held-out prompts: in the worker's own process, with weights from memory."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoConfig

from base.errors import TrainingError, loading
from trainers.models import DTYPES, without_adapters
from trainers.policy.attention import answering
from trainers.policy.policy import attention_shape

# How far vLLM's tokens may be from the model's own likeliest ones (nats, mean of an answer). Rounding turns
# near ties, which cost next to nothing; weights that did not arrive cost several nats.
TOLERANCE = 0.25
_SPARE = 256  # tokens of the cache that its division into blocks may take
_QUIET = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}


class AnswerEngine(Protocol):
    """What answers prompts in place of our own generation."""

    def answer(
        self,
        model: Any,
        prompt_ids: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        eos_ids: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[int]]:
        """Token ids of the greedy answer of `model` to each prompt, as `generate` would return them."""


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What an engine is made for.

    The architecture at `path` in `dtype` (fp32, bf16, fp16), prompts and answers of `longest` tokens together
    at most, and room for the keys and values of `cached` tokens. `device` and `workers` are those of the
    training: each worker has an engine of its own.
    """

    path: str
    dtype: str
    longest: int
    cached: int
    device: str = "cpu"
    workers: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device.startswith("cuda")


class VllmEngine:
    """An engine of vLLM in this process that answers with the weights which a model has at that moment.

    It is made with random weights, so that one which never arrives shows: of each call the longest answer is
    compared with what the model itself would say. On a GPU its memory is given up between two calls.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """A collective where there are several workers.

        vLLM sets the seeds of all random generators of the process. Raises TrainingError with vLLM's own
        reason where it cannot run this model here.
        """
        os.environ.update(_QUIET | os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
        self.settings = settings
        with loading(f'"{settings.path}" into vLLM', TrainingError):
            self._llm = _started(settings)
        self._sleep()

    @torch.no_grad()
    def answer(
        self,
        model: Any,
        prompt_ids: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        eos_ids: Sequence[int],
        stop: Sequence[str] = (),
    ) -> list[list[int]]:
        """See `AnswerEngine.answer`. Raises TrainingError where vLLM does not answer as `model` does."""
        from vllm import SamplingParams

        parameters = SamplingParams(
            temperature=0,
            max_tokens=max_new_tokens,
            stop_token_ids=list(eos_ids),
            stop=list(stop),
            detokenize=bool(stop),
            skip_special_tokens=False,
        )
        with self._awake():
            self._load(model)
            asked = [{"prompt_token_ids": list(ids)} for ids in prompt_ids]
            rows = self._llm.generate(asked, parameters, use_tqdm=False)
        answers = [list(row.outputs[0].token_ids) for row in rows]
        gap = distance(model, *max(zip(prompt_ids, answers, strict=True), key=lambda pair: len(pair[1])))
        if not gap <= TOLERANCE:
            raise TrainingError(
                f'vLLM does not answer as "{self.settings.path}" itself does, whose likeliest tokens are '
                f"{gap:.2g} nats above those chosen: take evaluation.engine own"
            )
        return [ids[:-1] if ids and ids[-1] in eos_ids else ids for ids in answers]

    def close(self) -> None:
        """Give its memory back; it answers no more."""
        if self.settings.on_gpu:
            self._llm.wake_up()  # what sleeps is not freed
        del self._llm
        gc.collect()

    def _load(self, model: Any) -> None:
        """Give the engine the weights of `model`, layer by layer, from memory to memory."""
        weights = weights_of(model, tied=self.settings.on_gpu)
        with loading(f'the weights of "{self.settings.path}" into vLLM', TrainingError):
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """Within the block the engine holds its memory."""
        if self.settings.on_gpu:
            torch.cuda.empty_cache()  # the training's allocator keeps what it does not use now
            self._llm.wake_up()
        try:
            yield
        finally:
            self._sleep()

    def _sleep(self) -> None:
        if self.settings.on_gpu:
            self._llm.sleep(level=1)


def distance(model: Any, ids: Sequence[int], answer: Sequence[int]) -> float:
    """How far the tokens of an answer are from the likeliest of `model` after the same text (nats, mean)."""
    with answering(model):
        logits = model(
            input_ids=torch.tensor([[*ids, *answer]], device=model.device), logits_to_keep=len(answer) + 1
        ).logits[0, :-1]
    scores = logits.float().log_softmax(-1).cpu()
    chosen = scores.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return float((scores.max(-1).values - chosen).mean())


def sizes(settings: EngineSettings) -> tuple[int, int]:
    """The longest sequence (tokens), which ends where the model's positions do, and the cache (bytes)."""
    config = AutoConfig.from_pretrained(settings.path, trust_remote_code=False)
    text, (_, groups, width) = config.get_text_config(), attention_shape(config)
    longest = min(settings.longest, getattr(text, "max_position_embeddings", None) or settings.longest)
    token = 2 * text.num_hidden_layers * groups * width * getattr(torch, DTYPES[settings.dtype]).itemsize
    return longest, token * (max(settings.cached, longest) + _SPARE)


_kept: VllmEngine | None = None


def kept_engine(settings: EngineSettings) -> VllmEngine:
    """This process's engine for `settings`, made once; one for others is closed before."""
    global _kept
    if _kept is not None and _kept.settings != settings:
        _kept.close()
        _kept = None
    _kept = _kept or VllmEngine(settings)
    return _kept


def weights_of(model: Any, *, tied: bool) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of the model's weights as a checkpoint of it has them.

    Adapters are merged into copies, one layer at a time. Where the output head shares the embeddings'
    weights, these come once if `tied`, else under both names.
    """
    lm = without_adapters(model)
    for name, parameter in lm.named_parameters(remove_duplicate=tied):
        owner, _, leaf = name.rpartition(".")
        weight = parameter.detach()
        if ".lora_" in name:
            continue
        if owner.endswith(".base_layer"):
            owner = owner.removesuffix(".base_layer")
            layer = lm.get_submodule(owner)
            if leaf == "weight":
                weight = weight + layer.get_delta_weight(*layer.active_adapters)
        yield f"{owner}.{leaf}", weight


def _started(settings: EngineSettings) -> Any:
    from vllm import LLM

    # On a CPU vLLM packs the head's weights, and a reload would not reach those that are tied.
    device: dict[str, Any] = (
        {"enable_sleep_mode": True} if settings.on_gpu else {"hf_overrides": {"tie_word_embeddings": False}}
    )
    if settings.workers > 1:
        device["distributed_executor_backend"] = "external_launcher"  # takes the training's process group
    longest, cache_bytes = sizes(settings)
    try:
        return LLM(
            settings.path,
            dtype=DTYPES[settings.dtype],
            load_format="dummy",
            generation_config="vllm",
            max_model_len=longest,
            kv_cache_memory_bytes=cache_bytes,
            gpu_memory_utilization=0.05,  # only what must be free at first: the cache's size is given
            enable_prefix_caching=False,  # its content would be that of earlier weights
            enforce_eager=True,  # an evaluation is shorter than compiling
            **device,
        )
    except ValidationError as error:  # whose first line says only how many there are
        raise TrainingError(f'vLLM refuses "{settings.path}": {error.errors()[0]["msg"]}') from error
