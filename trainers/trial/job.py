"""A whole trial, and what precedes the first, as plain functions of a pool and a worker: no Ray here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from shutil import copyfile
from statistics import fmean
from typing import TYPE_CHECKING, Any

from base.errors import CheckpointError, NonRetryableError, RewardError
from metrics.config import RewardConfig
from metrics.reward.report import check_is_reward
from pools.subset import draw
from pools.two_kinds import ORDER, two_kinds
from pools.types import Example, Pool
from trainers.models import load_policy, resolve_model
from trainers.spec import Prepared, SeedResult, TrialJob, TrialSetup
from trainers.training.telemetry import release_memory, reset_peak_memory
from trainers.trial.evaluator import Evaluator
from trainers.trial.out_of_memory import explain_oom
from trainers.workers.collectives import all_gather
from trainers.workers.context import WorkerContext

if TYPE_CHECKING:
    from metrics.reward.fitted import FitSample


def run_trial(job: TrialJob, pool: Pool, context: WorkerContext) -> list[SeedResult]:
    """Train the job's split from the base model for each seed in turn, and evaluate each policy.

    Resumes from the newest checkpoint of `context`, and saves checkpoints there.
    """
    from trainers.training.checkpoint import Checkpointer
    from trainers.trial.seed_run import train_and_evaluate

    reset_peak_memory(context.device)
    with explain_oom(context.device):
        context.reach("code imported")
        evaluator = Evaluator(job.setup, pool, context)
        context.reach("tokenizer and reward models loaded")
        checkpointer = Checkpointer(job.setup.checkpoints, context)
        done = {result.seed for result in checkpointer.results}
        left = [seed for seed in job.orders if seed not in done]
        for result in checkpointer.results:
            context.seed_ended(result)
        for seed in left:
            _report(checkpointer.results, context)
            result = train_and_evaluate(labelled(job, pool, seed), seed, evaluator, checkpointer, job)
            checkpointer.add_result(result, more=seed != left[-1])
            context.seed_ended(result)
            release_memory()
        return checkpointer.results


def labelled(job: TrialJob, pool: Pool, seed: int) -> list[Example]:
    """What the trial trains on with this seed: its prompts, the responses chosen, with their labels."""
    order = job.orders[seed]
    examples = draw(
        pool.train, prompts=len(order), responses=job.responses, seed=seed, order=order, choice=job.choice
    )
    if job.human_share is not None:
        return two_kinds(examples, job.human_share, job.labels or ORDER, seed)
    return examples if job.labels is None else [job.labels.of(example, seed) for example in examples]


def _report(results: Sequence[SeedResult], context: WorkerContext) -> None:
    """Report progress: the number of finished seeds and their mean reward."""
    if results:
        mean = fmean(result.reward for result in results)
        context.progress({"seeds_done": float(len(results)), "reward": mean})


def fitted_config(setup: TrialSetup) -> RewardConfig | None:
    """The configuration of the reward model that is fitted on the pool's scores, if there is one."""
    models = filter(None, (setup.reward, setup.dev_reward, *setup.further_rewards))
    return next((config for config in models if config.kind == "fitted"), None)


def prepare(setup: TrialSetup, pool: Pool, *, sample: FitSample | None, context: WorkerContext) -> Prepared:
    """What all trials need: the fitted reward model, where one is configured, and the base model's reward.

    The head is fitted once, on rank 0, on the scores of `sample` (`metrics.reward.fitted`), and resumes after
    the last stage that was saved. Its files (a few kilobytes, with tuned layers about a megabyte) are
    returned, since trials may run on other machines. Raises NonRetryableError on all workers where length
    alone orders answers better than the head, and its use is not forced.
    """
    context.reach("code imported")
    files: dict[str, bytes] = {}
    report: dict[str, Any] | None = None
    config = fitted_config(setup)
    if config and sample:
        files, report = _fit(config, setup, sample, context)
    evaluator = Evaluator(replace(setup, reward_artifact=files), pool, context)
    model = load_policy(evaluator.path, dtype=setup.trainer.dtype).to(context.device)
    context.reach("model loaded")
    base = evaluator.result(-1, evaluator.judge(model, sharded=False))
    compared = setup.compare_people and context.rank == 0
    people = evaluator.agreement_with_people(pool.held_out) if compared else ""
    return Prepared(base=base, reward_report=report, reward_artifact=files, agreement_with_people=people)


def _fit(
    config: RewardConfig, setup: TrialSetup, sample: FitSample, context: WorkerContext
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The fitted reward model's files by name, and its report: a collective, the work of rank 0."""
    from metrics.reward.fitted import ARTIFACT, RewardFit, read_report, stages

    with tempfile.TemporaryDirectory() as name, context.restored() as kept:
        folder = Path(name)
        _copy_files(kept, folder)
        counted = _Counted(context)
        fitting = RewardFit(
            sample,
            base_model=resolve_model(setup.model.name),
            directory=folder,
            config=config,
            device=context.device,
            progress=counted,
        )
        counted.total = fitting.answers
        for stage in stages(config):
            if not fitting.done(stage):
                if context.rank == 0:
                    fitting.run(stage)
                _save(stage, folder, setup, context)
        files = {file: (folder / file).read_bytes() for file in ARTIFACT} if context.rank == 0 else {}
        files = all_gather(files, context)[0]
        for file, content in files.items():
            (folder / file).write_bytes(content)
        report = read_report(folder)
    try:
        check_is_reward(report, force=config.force)
    except RewardError as error:  # on every worker, so that none waits for another
        raise NonRetryableError(str(error)) from error
    return files, asdict(report)


def _save(stage: str, folder: Path, setup: TrialSetup, context: WorkerContext) -> None:
    """Save the files of all stages so far as a checkpoint: a collective."""

    def write(target: Path) -> None:
        if context.rank == 0:
            _copy_files(folder, target)

    if setup.checkpoints.every:
        with suppress(CheckpointError):  # a fit that cannot be resumed goes on
            context.save(stage, write)


def _copy_files(source: Path | None, target: Path) -> None:
    """Copy the files of `source`, without folders in it; None has none."""
    for path in source.iterdir() if source else ():
        if path.is_file():
            copyfile(path, target / path.name)


class _Counted:
    """Reports which share of the answers a fit has gone through."""

    def __init__(self, context: WorkerContext) -> None:
        self._context, self._done, self.total = context, 0, 1

    def __call__(self, answers: int) -> None:
        self._done += answers
        self._context.progress({"fitted": min(self._done / self.total, 1.0)})
