"""A study as one would write it in an afternoon, beside ours: `python -m benchmarks.afternoon [--quick]`.

The peer is a plain Ray Tune grid whose trials are `TorchTrainer`s of one worker that run TRL's `SFTTrainer`
on the best of k responses, padded and otherwise as it comes, and answer held-out prompts with transformers'
`generate`, batch by batch in arrival order. Ours is `python search/run.py` with the same splits, seeds,
steps, batches, learning rate, precision and held-out prompts of the demo pool, one trial at a time. Both
judge answers by the demo's verifier. The peer judges no base model, fits nothing and reports rewards alone.

    wall_s      from the command to its end: Ray's start, the trainings, and ours the base model and report
    trials_s    from the first trial's start to the last one's end

The peer runs in an environment of its own (`benchmarks._peer_environment`). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._peer_environment import PEER, ROOT, run_inside

STEPS, BATCH, RATE, HELD_OUT = 6, 8, 2e-4, 48
TOKENS, EVALUATED_TOGETHER = 24, 16
POOL = ROOT / "pools" / "demo" / "demo.jsonl.gz"


def ours(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Our study, by the command that users run."""
    fields = {
        "search.responses": ",".join(str(split[1]) for split in args.splits),
        "search.budget_fractions": "1.0", "search.trials": len(args.splits), "search.seeds": args.seeds,
        "search.max_concurrent": 1, "trainer.steps": args.steps, "pool.held_out_prompts": HELD_OUT,
        "output-dir": folder / "ours",
    }  # fmt: skip
    options = [part for name, value in fields.items() for part in (f"--{name}", str(value))]
    started = time.time()
    command = [sys.executable, str(ROOT / "search" / "run.py"), str(ROOT / "configs" / "demo_alone.yaml")]
    # Its exit status is 1 where the answer is undecided.
    if subprocess.run([*command, *options], cwd=ROOT, stdout=subprocess.DEVNULL).returncode > 1:
        raise SystemExit("our study did not end")
    trials = [json.loads(path.read_text()) for path in sorted((folder / "ours" / "trials").glob("*.json"))]
    rewards = {f"{t['point']['prompts']}x{t['point']['responses']}": _mean_reward(t) for t in trials}
    spent = sum(float(trial["seconds"]) for trial in trials)
    return {"wall_s": time.time() - started, "trials_s": spent, "rewards": rewards}


def _mean_reward(trial: dict[str, Any]) -> float:
    return round(statistics.fmean(float(seed["reward"]) for seed in trial["results"]), 4)


def peer(args: argparse.Namespace) -> dict[str, Any]:
    """The afternoon's study; runs inside the peer's environment."""
    import ray
    from ray import tune

    started = time.time()
    # Workers leave the folder of the driver.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": _paths()})
    space = {
        "split": tune.grid_search([list(split) for split in args.splits]),
        "seeds": args.seeds, "steps": args.steps, "model": args.model,
    }  # fmt: skip
    once = tune.TuneConfig(max_concurrent_trials=1)
    run = tune.RunConfig(storage_path=str(args.folder), verbose=0)
    began = time.time()
    found = tune.Tuner(_trial, param_space=space, tune_config=once, run_config=run).fit()
    ended = time.time()
    rewards = {}
    for result in found:
        if result.error:
            raise SystemExit(str(result.error))
        assert result.metrics is not None and result.config is not None
        rewards["x".join(map(str, result.config["split"]))] = round(float(result.metrics["reward"]), 4)
    ray.shutdown()
    return {"wall_s": time.time() - started, "trials_s": ended - began, "rewards": rewards}


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _trial(config: dict[str, Any]) -> None:
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    where = RunConfig(storage_path=tempfile.mkdtemp())
    trainer = TorchTrainer(
        _train, train_loop_config=config, scaling_config=ScalingConfig(num_workers=1), run_config=where
    )
    metrics = trainer.fit().metrics
    assert metrics is not None
    tune.report({"reward": metrics["reward"]})


def _train(config: dict[str, Any]) -> None:
    """Each seed: draw prompts, fine-tune on their best responses, judge the answers."""
    import ray.train
    import torch

    torch.set_num_threads(1)
    rewards = [_reward(config, seed) for seed in range(config["seeds"])]
    with tempfile.TemporaryDirectory() as folder:  # Ray Train keeps no metrics without a checkpoint
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"reward": statistics.fmean(rewards)}, checkpoint=checkpoint)


def _reward(config: dict[str, Any], seed: int) -> float:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    prompts, responses = config["split"]
    tokenizer = AutoTokenizer.from_pretrained(config["model"])
    model = AutoModelForCausalLM.from_pretrained(config["model"], dtype=torch.float32)
    drawn = random.Random(seed).sample(_rows("train"), prompts)
    pairs = [
        {"prompt": row["prompt"], "completion": max(row["responses"][:responses], key=_score)["text"]}
        for row in drawn
    ]
    with tempfile.TemporaryDirectory() as folder:
        options = SFTConfig(
            output_dir=folder, use_cpu=True, bf16=False, max_steps=config["steps"], seed=seed,
            per_device_train_batch_size=BATCH, learning_rate=RATE, report_to="none", disable_tqdm=True,
            save_strategy="no",
        )  # fmt: skip
        data = Dataset.from_list(pairs)
        SFTTrainer(model, args=options, train_dataset=data, processing_class=tokenizer).train()
    return _judged(model, tokenizer)


def _judged(model: Any, tokenizer: Any) -> float:
    import torch

    from pools.demo.verifier import score
    from pools.types import Prompt

    tokenizer.padding_side = "left"
    model.eval()
    rows, scores = _rows("held_out")[:HELD_OUT], []
    for first in range(0, len(rows), EVALUATED_TOGETHER):
        part = rows[first : first + EVALUATED_TOGETHER]
        inputs = tokenizer([row["prompt"] for row in part], return_tensors="pt", padding=True)
        with torch.no_grad():
            answers = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        texts = tokenizer.batch_decode(answers[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        scores += [
            score(Prompt(row["prompt"], meta=row["meta"]), text)
            for row, text in zip(part, texts, strict=True)
        ]
    return statistics.fmean(scores)


def _rows(part: str) -> list[dict[str, Any]]:
    with gzip.open(POOL, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row for row in rows if row.get("part") == part]


def _score(response: dict[str, Any]) -> float:
    return float(response["score"])


def _split(text: str) -> tuple[int, int]:
    prompts, responses = text.split("x")
    return int(prompts), int(responses)


def main() -> None:
    from trainers.models import resolve_model

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, one split, two steps")
    parser.add_argument("--splits", nargs="+", type=_split, default=[(24, 4), (48, 2)], metavar="NxK")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.splits, args.seeds, args.steps = args.splits[:1], 1, 2
    if args.inside:
        (args.folder / "peer.json").write_text(json.dumps(peer(args)))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["ours"] = ours(args, folder)
        inside = ["--inside", "--folder", name, *sys.argv[1:], "--model", resolve_model(args.model)]
        if run_inside("benchmarks.afternoon", inside, "ray[tune,train]"):
            raise SystemExit("the peer's study did not end")
        found["peer"] = json.loads((folder / "peer.json").read_text())
    times = [key for key in found["ours"] if key.endswith("_s")]
    ratios = {key.removesuffix("_s"): round(found["peer"][key] / found["ours"][key], 2) for key in times}
    for side in found.values():
        side.update({key: round(side[key], 1) for key in times})
    print(json.dumps({"benchmark": "afternoon", "peer": PEER, "steps": args.steps, **found, "ratio": ratios}))


if __name__ == "__main__":
    main()
