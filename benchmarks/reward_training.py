"""A reward model from a scored pool, ours beside TRL's: `python -m benchmarks.reward_training [--quick]`.

Both learn from the best and the worst response to each of some prompts of the demo pool, and then order those
of prompts that neither has seen. Ours is the `fitted` head: one reading of the responses and a linear head
(`frozen`), and what a study does, which also tunes the last layers and keeps the better (`best`); both
cross-fit in four folds to say how far to believe them. The peer is TRL's `RewardTrainer` as it comes, one
epoch: every weight is trained, and nothing is said of unseen prompts. It runs in an environment of its own
(`benchmarks._peer_environment`). Same model, precision and thread; seconds are CPU seconds of the process
from the loaded pool to the model. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks._peer_environment import PEER, run_inside

EMBEDDED = "embedded:smollm2-135m"
Pair = dict[str, str]


def ours(path: str, train: Sequence[Any], test: Sequence[Pair], head: str) -> dict[str, float]:
    """CPU seconds of the fit, and the share of unseen pairs in order."""
    from metrics.config import RewardConfig
    from metrics.reward.fitted import FittedReward, fit_reward_model, fit_sample
    from pools.types import Prompt

    config = RewardConfig(
        kind="fitted", fit_head=head, fit_prompts=len(train), max_prompt_tokens=64, max_response_tokens=32,
        batch_tokens=2048,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        fit_reward_model(
            fit_sample(train, config, seed=0), base_model=path, directory=Path(folder), config=config,
            device="cpu",
        )  # fmt: skip
        seconds = time.process_time() - started
        reward = FittedReward(Path(folder), base_model=path, config=config, device="cpu")
        prompts = [Prompt(pair["prompt"]) for pair in test]
        better = reward.score(prompts, [pair["chosen"] for pair in test])
        worse = reward.score(prompts, [pair["rejected"] for pair in test])
    return {"seconds": round(seconds, 1), "accuracy": _share(better, worse)}


def peer(path: str, train: Sequence[Pair], test: Sequence[Pair]) -> dict[str, float]:
    """The same of TRL's trainer; runs inside the peer's environment."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer  # type: ignore[import-not-found]

    started = time.process_time()
    tokenizer = AutoTokenizer.from_pretrained(path)
    with tempfile.TemporaryDirectory() as folder:
        options = RewardConfig(
            output_dir=folder, use_cpu=True, bf16=False, num_train_epochs=1, report_to="none",
            disable_tqdm=True, save_strategy="no",
        )  # fmt: skip
        trainer = RewardTrainer(
            path, args=options, train_dataset=Dataset.from_list(list(train)), processing_class=tokenizer
        )
        trainer.train()
    seconds = time.process_time() - started
    model = trainer.model.eval()

    def value(prompt: str, response: str) -> float:
        ids = tokenizer(prompt + response + tokenizer.eos_token, return_tensors="pt")
        with torch.no_grad():
            return float(model(**ids).logits[0, 0])

    better = [value(pair["prompt"], pair["chosen"]) for pair in test]
    worse = [value(pair["prompt"], pair["rejected"]) for pair in test]
    return {"seconds": round(seconds, 1), "accuracy": _share(better, worse)}


def _share(better: Sequence[float], worse: Sequence[float]) -> float:
    return round(sum(a > b for a, b in zip(better, worse, strict=True)) / len(better), 3)


def drawn(prompts: int) -> tuple[list[Any], list[Pair], list[Pair]]:
    """Examples with two responses for ours, the same as pairs for the peer, and the pairs of the rest."""
    from pools.config import PoolConfig
    from pools.sources import load_pool

    pool, _ = load_pool(PoolConfig(path="demo", held_out_prompts=1), seed=0, min_responses=2)
    found: list[tuple[Any, Pair]] = []
    for example in pool.train:
        ranked = sorted(example.responses, key=lambda response: response.score)
        worst, best = ranked[0], ranked[-1]
        if best.score > worst.score:
            pair = {"prompt": example.prompt.text, "chosen": best.text, "rejected": worst.text}
            found.append((replace(example, responses=(best, worst)), pair))
    train, test = found[:prompts], found[prompts:]
    return [one for one, _ in train], [pair for _, pair in train], [pair for _, pair in test]


def main() -> None:
    from trainers.models import resolve_model

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="16 prompts")
    parser.add_argument("--prompts", type=int, default=112, help="prompts to learn from, of about 160")
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.inside:
        job = json.loads((args.inside / "job.json").read_text())
        (args.inside / "peer.json").write_text(json.dumps(peer(**job)))
        return
    path = resolve_model(args.model)
    examples, train, test = drawn(16 if args.quick else args.prompts)
    found = {f"ours, {head}": ours(path, examples, test, head) for head in ("frozen", "best")}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "job.json").write_text(json.dumps({"path": path, "train": train, "test": test}))
        if code := run_inside("benchmarks.reward_training", ["--inside", folder]):
            sys.exit(code)
        found["peer"] = json.loads((Path(folder) / "peer.json").read_text())
    for name, figures in found.items():
        print(name, json.dumps(figures), flush=True)
    ratios = {name: round(found["peer"]["seconds"] / found[name]["seconds"], 2) for name in list(found)[:2]}
    sizes = {"pairs": len(train), "unseen": len(test)}
    print(json.dumps({"benchmark": "reward_training", "peer": PEER, **sizes, **found, "ratio": ratios}))


if __name__ == "__main__":
    main()
