"""The part of a study that needs Ray: the base model judged, then one trial after another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from pools.raters import rater_error
from pools.types import Pool
from search.cluster.capacity import concurrent_trials
from search.cluster.connection import ON_HEAD
from search.config.study import StudyConfig
from search.execution.trial import PREPARE, WORK, Shared, execute, judge_base
from search.study.conductor import Conductor
from search.study.inputs import Inputs
from search.study.ledger import Ledger
from trainers.spec import TrialSetup
from trainers.workers.store import discard

SEEDS_EVERY_S = 2.0


def train_all(config: StudyConfig, inputs: Inputs, ledger: Ledger, conductor: Conductor) -> None:
    """Judge the base model, unless `ledger` knows its reward, then run the trials. Ray must be up."""
    import ray

    from search.execution.board import Board
    from search.execution.tuning import run_trials
    from trainers.workers.worker_pool import stop_workers

    display = ledger.display
    concurrent = concurrent_trials(config.cluster, config.resources, config.search.max_concurrent)
    board = ray.remote(num_cpus=0, resources=ON_HEAD)(Board).remote()
    shared = _shared(config, inputs, ledger, board)
    with (
        _seeds_followed(board, ledger),
        display.watching(
            partial(conductor.standing, concurrent), lambda: ray.get(board.read.remote(), timeout=5)
        ),
    ):
        if ledger.base_reward is None:
            _judge_base(shared, inputs.pool, ledger, seed=config.seed)
        display.say(
            f"base model: reward {ledger.base_reward:.4f} on {len(inputs.pool.held_out)} held-out prompts; "
            f"up to {config.search.trials} trials of {config.search.seeds} seeds, {concurrent} at a time"
        )
        setup = replace(shared.setup, reward_artifact=ledger.folder.kept_reward_model())
        run_trials(
            partial(execute, shared=replace(shared, setup=setup)),
            conductor,
            closing=partial(stop_workers, board),
            concurrent=concurrent,
            storage=shared.storage,
            max_failures=config.resources.max_failures,
        )


@contextmanager
def _seeds_followed(board: Any, ledger: Ledger) -> Iterator[None]:
    """Pass the results of seeds that end on to the ledger, seconds later, while the block runs."""
    import ray

    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(SEEDS_EVERY_S):
            with suppress(ray.exceptions.RayError):  # the trial's record brings them all once more
                for work, result in ray.get(board.ended_seeds.remote(), timeout=5):
                    ledger.seed_ended(work.removeprefix(WORK), result)

    thread = threading.Thread(target=follow, name="seeds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _judge_base(shared: Shared, pool: Pool, ledger: Ledger, *, seed: int) -> None:
    """Fit a reward model, where one is asked for, judge the base model, and keep both."""
    from trainers.trial.job import fitted_config

    sample = None
    if fitted := fitted_config(shared.setup):
        from metrics.reward.fitted import fit_sample

        sample = fit_sample(pool.train, fitted, seed=seed)
    ledger.display.say(f"{'fitting the reward model and ' if fitted else ''}judging the base model ...")
    ledger.keep_base(judge_base(shared, sample))
    for name, value in ledger.reward_notes().items():
        ledger.display.say(f"  {name}: {value}")
    with suppress(OSError):  # the stages of the fit, now in the study's folder
        discard(shared.checkpoints, PREPARE + shared.identity)


def _shared(config: StudyConfig, inputs: Inputs, ledger: Ledger, board: Any) -> Shared:
    """What every trial needs, the large parts of it in Ray's object store."""
    import ray

    folder = ledger.folder
    setup = TrialSetup(
        model=config.model,
        trainer=config.trainer,
        evaluation=config.evaluation,
        reward=config.reward,
        further_rewards=config.further_rewards,
        dev_prompts=inputs.dev,
        dev_reward=config.dev_reward,
        checkpoints=config.checkpoints,
        compare_people=bool(config.search.labels),
        policies=None if config.checkpoints.keep_policies == "none" else folder.policies,
    )
    return Shared(
        setup=setup,
        cost=config.cost,
        resources=config.resources,
        embedding_model=config.diversity.embedding_model,
        identity=ledger.identity,
        storage=str(folder.ray),
        checkpoints=folder.checkpoints,
        logs=str(folder.logs),
        pool=ray.put(inputs.pool),
        tokens=ray.put(inputs.tokens),
        vectors=_embed(config.diversity.embedding_model, inputs.pool),
        board=board,
        rater_error=_rater_error(config, inputs.pool),
    )


def _rater_error(config: StudyConfig, pool: Pool) -> float | None:
    """The error of a simulated rater; None where no agreement is assumed."""
    agreement = config.search.agreement
    return None if agreement is None else rater_error(pool.train, agreement)


def _embed(model: str | None, pool: Pool) -> Any:
    """A reference to the sentence embeddings of the train prompts, found once, away from the driver.

    None where there is no model for them, or a trial embeds the prompts that it selects.
    """
    import ray

    from metrics.embedding import embed_texts

    if model is None or pool.train.folder:
        return None
    return ray.remote(embed_texts).remote(list(pool.train.texts()), model)
