"""What a training step costs beside TRL's: `python -m benchmarks.peers [--quick] [--hh FILE] [--long FILE]`.

The peer is installed, pinned, into an environment of the benchmark's own in `~/.cache/apportion`, where both
sides run in one process and in turn: the same weights, token ids, precision, optimiser (torch's AdamW) and
thread. A step is loss, backward pass and update; reference log-probabilities are given to both. Figures are
medians over rounds of CPU seconds of the process, after a round to warm up where there are several, and the
peak of memory beyond what was held before.

    dpo k=2        one pair a prompt
    dpo k=4 all    every pair of four responses: six a prompt
    dpo k=4 ends   the best against the worst of four
    sft            the best of four; the peer padded (`sft`) and packed without padding (`sft packed`)

TRL runs as it comes, which recomputes activations in the backward pass; `kept` is TRL with
`gradient_checkpointing=False`, where its activations fit (`--kept`). Losses are compared where the formulas
agree, against a reference that differs from the policy. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks._metered import metered
from benchmarks._peer_environment import PEER, run_inside
from benchmarks.train_step import add_data_options, hh_rankings, load_model, real_answers
from trainers.algorithms.base import Algorithm
from trainers.algorithms.dpo import DPO
from trainers.algorithms.pairs import Pairs
from trainers.algorithms.sft import SFT
from trainers.models import load_tokenizer, resolve_model
from trainers.policy.batching import Ranking, collate
from trainers.policy.policy import Policy, with_reference

EMBEDDED = "embedded:smollm2-135m"
LEARNING_RATE = 1e-6

Step = Callable[[], Tensor]
Example = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One line of the table: our algorithm over rankings, and what the peer is given for them."""

    name: str
    algorithm: Algorithm
    rankings: list[Ranking]
    packed: bool = False

    @property
    def same_loss(self) -> bool:
        """Whether ours, a mean over prompts, is TRL's: of SFT that is a mean over tokens."""
        return isinstance(self.algorithm, DPO)


def ours(model: Any, case: Case) -> Step:
    """Our step."""
    policy = Policy(model)
    batch = collate(case.rankings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)

    def step() -> Tensor:
        loss = case.algorithm.loss(policy(batch), batch).total
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach() / len(case.rankings)

    return step


def peers(model: Any, tokenizer: Any, case: Case, kept: bool, folder: str) -> Step:
    """TRL's step on the same tokens."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    shared: dict[str, Any] = {
        "output_dir": folder, "use_cpu": True, "bf16": False, "max_length": None, "report_to": "none",
        "learning_rate": LEARNING_RATE, "gradient_checkpointing": not kept, "disable_tqdm": True,
    }  # fmt: skip
    dummy = {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]}
    if isinstance(case.algorithm, DPO):
        config = DPOConfig(**shared, precompute_ref_log_probs=True, beta=case.algorithm.beta)
        trainer = DPOTrainer(
            model, args=config, train_dataset=Dataset.from_dict(dummy), processing_class=tokenizer
        )
        inputs = trainer.data_collator(pairs_of(case))
    else:
        config = SFTConfig(**shared, packing=False, padding_free=case.packed)
        texts = Dataset.from_dict({"prompt": ["a"], "completion": ["b"]})
        trainer = SFTTrainer(model, args=config, train_dataset=texts, processing_class=tokenizer)
        inputs = trainer.data_collator(best_of(case))
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # as its own loop sets it

    def step() -> Tensor:
        loss: Tensor = trainer.training_step(model, dict(inputs))
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        return loss.detach()

    return step


def pairs_of(case: Case) -> list[Example]:
    """The pairs of every ranking, as TRL's collator takes them."""
    assert isinstance(case.algorithm, DPO)
    found = []
    for ranking in case.rankings:
        assert ranking.reference is not None
        for better, worse in case.algorithm.pairs.draw(ranking.scores):
            found.append(
                {
                    "prompt_ids": ranking.prompt_ids,
                    "chosen_ids": ranking.response_ids[better],
                    "rejected_ids": ranking.response_ids[worse],
                    "ref_chosen_logps": ranking.reference[better],
                    "ref_rejected_logps": ranking.reference[worse],
                }
            )
    return found


def best_of(case: Case) -> list[Example]:
    """The best response of every ranking, as TRL's collator takes it."""
    return [
        {
            "input_ids": ranking.prompt_ids + ranking.response_ids[0],
            "completion_mask": [0] * len(ranking.prompt_ids) + [1] * len(ranking.response_ids[0]),
        }
        for ranking in case.rankings
    ]


def measure(
    model: Any, tokenizer: Any, case: Case, rounds: int, *, kept: bool = False
) -> dict[str, float | str]:
    """Medians of both sides' steps, taken in turn, and their ratio."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    with tempfile.TemporaryDirectory() as folder:
        steps = {"peer": peers(model, tokenizer, case, kept, folder), "ours": ours(model, case)}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        memory: dict[str, float] = {}
        losses: dict[str, float] = {}
        warm_ups = int(rounds > 1)
        for _ in range(rounds + warm_ups):
            for name, step in steps.items():
                recompute = name == "peer" and not kept
                model.gradient_checkpointing_enable() if recompute else model.gradient_checkpointing_disable()
                model.load_state_dict(weights)
                found: list[Tensor] = []
                taken, memory[name] = metered(lambda step=step, to=found: to.append(step()), model.device)
                seconds[name].append(taken)
                losses[name] = float(found[0])
    medians = {name: statistics.median(values[warm_ups:]) for name, values in seconds.items()}
    return {
        "ours_s": round(medians["ours"], 2),
        "peer_s": round(medians["peer"], 2),
        "ratio": round(medians["peer"] / medians["ours"], 2),
        "ours_mb": round(memory["ours"]),
        "peer_mb": round(memory["peer"]),
        **({"loss_gap": f"{abs(losses['ours'] / losses['peer'] - 1):.0e}"} if case.same_loss else {}),
    }


def referenced(model: Any, rankings: Sequence[Ranking], seed: int) -> list[Ranking]:
    """With log-probabilities of a reference that is not the policy, so that losses say something."""
    rng = random.Random(seed)
    found = with_reference(Policy(model), rankings, max_tokens=4096, device=model.device)
    shifted = [tuple(value + rng.gauss(0, 5) for value in one.reference or ()) for one in found]
    return [replace(one, reference=values) for one, values in zip(found, shifted, strict=True)]


def cases(model: Any, tokenizer: Any, args: argparse.Namespace) -> list[Case]:
    """The lines of the table; those on long answers where `--long` names a pool."""
    every, ends = DPO(Pairs("all")), DPO(Pairs("best_worst"))
    drawn = {
        f"hh k={k}": referenced(model, hh_rankings(args.hh, tokenizer, 4, k, args.seed), args.seed)
        for k in (2, 4)
    }
    if args.long is not None:
        drawn |= {
            f"long k={k}": referenced(model, real_answers(args.long, tokenizer, 2, k, args.seed), args.seed)
            for k in (2, 4)
        }
    found = []
    for name, rankings in drawn.items():
        if name.endswith("2"):
            found.append(Case(f"dpo {name}", ends, rankings))
            continue
        trimmed = [one for one in map(ends.prepare, rankings) if one is not None]
        best = [one.keep([0]) for one in rankings]
        found += [
            Case(f"dpo {name} all", every, rankings),
            Case(f"dpo {name} ends", ends, trimmed),
            Case(f"sft {name}", SFT(), best),
            Case(f"sft packed {name}", SFT(), best, packed=True),
        ]
    return [case for case in found if not args.case or case.name in args.case]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_options(parser)
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="which prompts and answers are drawn")
    parser.add_argument("--case", action="append", help="only the line of this name (repeatable)")
    parser.add_argument("--kept", action="store_true", help="TRL without recomputed activations")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside:
        # Resolved here: the peer's environment does not unpack the embedded model.
        rest = [*sys.argv[1:], "--model", str(resolve_model(args.model)), "--inside"]
        sys.exit(run_inside("benchmarks.peers", rest))
    torch.set_num_threads(args.threads)
    tokenizer = load_tokenizer(resolve_model(args.model))
    model = load_model(args.model, args.dtype, "cpu")
    chosen = cases(model, tokenizer, args)[: 1 if args.quick else None]
    table: dict[str, Any] = {}
    for case in chosen:
        table[case.name] = measure(model, tokenizer, case, 1 if args.quick else args.rounds, kept=args.kept)
        print(case.name, json.dumps(table[case.name]), flush=True)
    settings = {"peer": PEER, "dtype": args.dtype, "kept": args.kept, "torch": torch.__version__}
    print(json.dumps({"benchmark": "peers", **settings, "cases": table}))


if __name__ == "__main__":
    main()
