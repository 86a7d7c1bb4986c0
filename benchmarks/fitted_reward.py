"""How often fitted heads order unseen pairs of a scored pool as its scores do, beside length alone.

    python -m benchmarks.fitted_reward [--pool demo] [--prompts 160] [--folder KEPT] [--quick]

A head on the frozen base model and one over tuned layers are cross-fitted on the same prompts. What is read
and tuned is kept in `--folder`, so that a run that was ended goes on where it was. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.progress import Progress

from metrics.config import RewardConfig
from metrics.reward.fitted import RewardFit, fit_sample, read_report, stages
from pools.config import PoolConfig
from pools.sources import load_pool
from pools.types import Example
from trainers.models import resolve_model

QUICK = 24


def main() -> None:
    args = _arguments()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        pool, _ = load_pool(PoolConfig(path=args.pool, held_out_prompts=1), seed=0, min_responses=2)
        examples = [_fewer(example, args.responses) for example in pool.train]
        config = RewardConfig(
            kind="fitted",
            fit_head="best",
            fit_prompts=QUICK if args.quick else args.prompts,
            fit_folds=args.folds,
            max_prompt_tokens=args.max_prompt_tokens,
            max_response_tokens=args.max_response_tokens,
            batch_tokens=args.batch_tokens,
        )
        with Progress() as shown:
            bar = shown.add_task("answers read or trained on")
            fitting = RewardFit(
                fit_sample(examples, config, seed=args.seed),
                base_model=resolve_model(args.model),
                directory=folder,
                config=config,
                device=args.device,
                progress=lambda answers: shown.advance(bar, answers),
            )
            shown.update(bar, total=fitting.answers)
            for stage in stages(config):
                fitting.run(stage)
        report = read_report(folder)
    for name, text in report.notes().items():
        print(f"{name}: {text}")
    baseline = {"baseline": report.length_rule[0], "baseline_accuracy": report.length_rule[1]}
    print(json.dumps({**asdict(report), **baseline, "seconds": time.perf_counter() - started}))


def _fewer(example: Example, responses: int | None) -> Example:
    """The first responses of an example; all of them where pairs are named."""
    if responses is None or example.compared is not None:
        return example
    return replace(example, responses=example.responses[:responses])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pool", default="demo", help="scored pool, in any format that is read")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} prompts")
    parser.add_argument("--model", default="embedded:smollm2-135m", help="base model")
    parser.add_argument("--prompts", type=int, default=160, help="prompts that heads are fitted on")
    parser.add_argument("--responses", type=int, help="of each prompt (default: all)")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--max-prompt-tokens", type=int, default=64)
    parser.add_argument("--max-response-tokens", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="keeps what was read and tuned")
    return parser.parse_args()


if __name__ == "__main__":
    main()
