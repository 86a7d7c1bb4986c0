"""Responses from Ray's workers: our own generation in a Ray Data stage, or Ray Data's LLM processor and vLLM.

Both want a Ray that is started; the driver only reads results as they come.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from annotation.config import ModelSource, SamplingConfig
from annotation.sampling.sampler import Drawn, Failed, Request, Results, Unit, messages_of, with_system
from base.errors import ApportionError

_BLOCKS = 2000  # at most: a unit is a block of its own up to there
_SEEDS = 2**31
_ENGINE_KEPT = "__inference_error__"


class RaySampler:
    """`LocalSampler` on `source.workers` workers, each with its own copy of the model.

    A unit's texts are those of one process with `cpus_per_worker` threads on the same kind of machine.
    """

    def __init__(self, source: ModelSource, sampling: SamplingConfig) -> None:
        self.unit = source.batch
        self._source, self._sampling = source, sampling

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        """See `Sampler.sample`, but all units are taken at once."""
        import ray.data

        rows = [{"number": number, "unit": pickle.dumps(list(unit))} for number, unit in enumerate(units)]
        data = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS)).map(
            _Worker,
            fn_constructor_args=(self._source, self._sampling),
            compute=ray.data.ActorPoolStrategy(size=min(self._source.workers, len(rows))),
            num_cpus=self._source.cpus_per_worker,
            num_gpus=self._source.gpus_per_worker,
        )
        for row in data.iter_rows():
            shared = self._source.workers
            yield (
                int(row["number"]),
                [replace(each, seconds=each.seconds / shared) for each in pickle.loads(row["results"])],
            )


class _Worker:
    """A copy of the model on one of Ray's workers."""

    def __init__(self, source: ModelSource, sampling: SamplingConfig) -> None:
        import torch

        from annotation.sampling.local import LocalSampler

        torch.set_num_threads(source.cpus_per_worker)
        self._sampler = LocalSampler(source, sampling)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        [(_, results)] = self._sampler.sample([pickle.loads(row["unit"])])
        return {"number": row["number"], "results": pickle.dumps(results)}


class VllmSampler:
    """vLLM on `source.workers` replicas of `source.gpus_per_worker` GPUs, by Ray Data's LLM processor.

    Each response has its own seed; vLLM batches as it goes, so that rounding may still differ between runs.
    """

    unit = 1

    def __init__(self, source: ModelSource, sampling: SamplingConfig) -> None:
        self._sampling = sampling
        self._processor = vllm_processor(source, sampling)

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        """See `Sampler.sample`, but all units are taken at once."""
        import ray.data

        rows = [asked(number, unit[0], self._sampling) for number, unit in enumerate(units)]
        for row in self._processor(ray.data.from_items(rows)).iter_rows():
            yield int(row["number"]), [drawn(row, self._sampling)]


def vllm_processor(source: ModelSource, sampling: SamplingConfig) -> Any:
    """Ray Data's processor for that model; ApportionError where vLLM is not installed.

    Rows in and out are those of `asked` and `drawn`.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    template = sampling.chat_template
    stage = {"chat_template": template.read_text(encoding="utf-8")} if template is not None else {}
    config = vLLMEngineProcessorConfig(
        model_source=source.name,
        engine_kwargs={
            "tensor_parallel_size": source.gpus_per_worker,
            "max_model_len": sampling.max_prompt_tokens + sampling.max_tokens,
            "enable_prefix_caching": True,
        },
        concurrency=source.workers,
        batch_size=source.batch,
        chat_template_stage={"enabled": True, **stage},
        should_continue_on_error=True,
    )
    try:
        return build_processor(config, preprocess=_prepared, postprocess=_told)
    except ImportError as error:
        raise ApportionError(
            f'engine "vllm" needs vLLM on every worker: pip install "ray[llm]" there ({error})'
        ) from error


def asked(number: int, request: Request, sampling: SamplingConfig) -> dict[str, Any]:
    """A row for the processor: the request's number, its turns, and vLLM's sampling parameters."""
    parameters = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed % _SEEDS,
        "stop": list(sampling.stop),
    }
    messages = messages_of(with_system(request.prompt, sampling.system_prompt))
    return {"number": number, "messages": messages, "sampling_params": parameters}


def drawn(row: Mapping[str, Any], sampling: SamplingConfig) -> Drawn | Failed:
    """The result in a row that the processor gave back."""
    if row.get(_ENGINE_KEPT):
        return Failed(str(row[_ENGINE_KEPT]))
    written = int(row["num_generated_tokens"])
    text = str(row["generated_text"]).strip()
    return Drawn(text, int(row["num_input_tokens"]), written, written >= sampling.max_tokens)


def _prepared(row: dict[str, Any]) -> dict[str, Any]:
    return row


def _told(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("number", "generated_text", "num_input_tokens", "num_generated_tokens", _ENGINE_KEPT)
    return {name: row[name] for name in kept if name in row}
