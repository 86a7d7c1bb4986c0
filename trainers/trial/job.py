"""One trial's work, as plain functions of a job, a pool and a worker: no Ray here."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from metrics.config import RewardConfig
from pools.subset import draw
from pools.types import Pool
from trainers.models import load_policy, resolve_model
from trainers.spec import Prepared, SeedResult, TrialJob, TrialSetup
from trainers.training.telemetry import forget_peak
from trainers.trial.evaluator import Evaluator
from trainers.trial.out_of_memory import explain_oom
from trainers.workers.collectives import gathered
from trainers.workers.context import WorkerContext

if TYPE_CHECKING:
    from metrics.reward.fitted import FitSample


def run_trial(job: TrialJob, pool: Pool, context: WorkerContext) -> list[SeedResult]:
    """Train the job's split from the base model for each seed in turn, and judge each policy.

    Goes on from the newest checkpoint of `context`, and leaves checkpoints there.
    """
    from trainers.training.checkpoint import Keeper
    from trainers.trial.seed_run import train_and_judge

    forget_peak(context.device)
    with explain_oom(context.device):
        bench = Evaluator(job.setup, pool, context)
        keeper = Keeper(job.setup.checkpoints, context)
        done = {result.seed for result in keeper.results}
        left = [seed for seed in job.orders if seed not in done]
        for result in keeper.results:
            context.seed_ended(result)
        for seed in left:
            _tell(keeper.results, context)
            order = job.orders[seed]
            examples = draw(pool.train, prompts=len(order), responses=job.responses, seed=seed, order=order)
            result = train_and_judge(examples, seed, bench, keeper, job)
            keeper.finished(result, more=seed != left[-1])
            context.seed_ended(result)
            gc.collect()
        return keeper.results


def _tell(results: Sequence[SeedResult], context: WorkerContext) -> None:
    """Let whoever watches know of the seeds that are finished."""
    if results:
        mean = fmean(result.reward for result in results)
        context.progress({"seeds_done": float(len(results)), "reward": mean})


def fitted_config(setup: TrialSetup) -> RewardConfig | None:
    """The reward model that is to be fitted on the pool's scores, if there is one."""
    models = filter(None, (setup.reward, setup.dev_reward))
    return next((config for config in models if config.kind == "fitted"), None)


def prepare(setup: TrialSetup, pool: Pool, *, sample: FitSample | None, context: WorkerContext) -> Prepared:
    """What trials stand on: the fitted reward model, where one is asked for, and the base model's own reward.

    The head is fitted once, on rank 0, on the scores of `sample` (`metrics.reward.fitted`). Its files (a few
    kilobytes) are returned, since trials may run on other machines.
    """
    files: dict[str, bytes] = {}
    report: dict[str, Any] | None = None
    config = fitted_config(setup)
    if config and sample and context.rank == 0:
        files, report = _fit(config, setup.model.name, sample, context.device)
    if config:
        files = gathered(files, context)[0]
    bench = Evaluator(replace(setup, reward_artifact=files), pool, context)
    model = load_policy(bench.path, dtype=setup.trainer.dtype).to(context.device)
    base = bench.result(-1, bench.judge(model, sharded=False))
    return Prepared(base=base, reward_report=report, reward_artifact=files)


def _fit(
    config: RewardConfig, model: str, sample: FitSample, device: str
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The fitted reward model's files by name, and its report."""
    from metrics.reward.fitted import fit_reward_model

    with tempfile.TemporaryDirectory() as folder:
        report = fit_reward_model(
            sample,
            base_model=resolve_model(model),
            directory=Path(folder),
            config=config,
            device=device,
        )
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}, asdict(report)
