"""The part of a study that needs Ray: the base model judged, then one trial after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from pools.stored import StoredExamples
from pools.types import Pool
from search.cluster.capacity import concurrent_trials
from search.cluster.connection import ON_HEAD
from search.config.study import StudyConfig
from search.execution.trial import WORK, Shared, judge_base, run_point
from search.study.conductor import Conductor
from search.study.inputs import Material
from search.study.ledger import Ledger
from trainers.spec import Prepared, TrialSetup
from trainers.workers.store import RUNS, discard

if TYPE_CHECKING:
    from search.execution.tuning import Opening

SEEDS_EVERY_S = 2.0


def train_all(material: Material, ledger: Ledger, conductor: Conductor) -> None:
    """Judge the base model, unless `ledger` knows its reward, then run the trials. Ray must be up."""
    import ray

    from search.execution.board import Board
    from search.execution.tuning import run_trials
    from trainers.workers.worker_pool import dismiss

    config, pool, display = ledger.config, material.pool, ledger.display
    concurrent = concurrent_trials(config.cluster, config.resources, config.search.max_concurrent)
    board = ray.remote(num_cpus=0, resources=ON_HEAD)(Board).remote()
    shared = _shared(material, ledger, board)

    def opened() -> None:
        ray.get(board.give.remote(ledger.folder.kept_reward_model()))
        display.say(f"base model: reward {ledger.base_reward:.4f} on {len(pool.held_out)} held-out prompts")

    opening = None
    if ledger.base_reward is None:
        opening = _opening(shared, pool, ledger, opened)
    else:
        opened()
    display.say(f"up to {config.search.trials} trials of {config.search.seeds} seeds, {concurrent} at a time")
    with (
        _seeds_followed(board, ledger),
        display.watching(
            partial(conductor.standing, concurrent), lambda: ray.get(board.read.remote(), timeout=5)
        ),
    ):
        run_trials(
            partial(run_point, shared=shared),
            conductor,
            opening=opening,
            closing=partial(dismiss, board),
            concurrent=concurrent,
            storage=shared.storage,
            max_failures=config.resources.max_failures,
        )
    with suppress(OSError):  # a few files at most, which nothing reads again
        discard(ledger.checkpoints, RUNS)


@contextmanager
def _seeds_followed(board: Any, ledger: Ledger) -> Iterator[None]:
    """Hand the results of seeds that end on to the ledger, seconds later, while the block runs."""
    import ray

    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(SEEDS_EVERY_S):
            with suppress(ray.exceptions.RayError):  # a trial's own result brings them all once more
                for work, result in ray.get(board.ended_seeds.remote(), timeout=5):
                    ledger.seed_ended(work.removeprefix(WORK), result)

    thread = threading.Thread(target=follow, name="seeds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _shared(material: Material, ledger: Ledger, board: Any) -> Shared:
    """What every trial needs, the large parts of it in Ray's object store."""
    import ray

    config, folder = ledger.config, ledger.folder
    setup = TrialSetup(
        model=config.model,
        trainer=config.trainer,
        evaluation=config.evaluation,
        reward=config.reward,
        dev_prompts=material.dev,
        dev_reward=config.dev_reward,
        checkpoints=config.checkpoints,
        policies=None if config.checkpoints.keep_policies == "none" else folder.policies,
    )
    return Shared(
        config=config,
        setup=setup,
        identity=ledger.identity,
        storage=str(folder.ray),
        checkpoints=ledger.checkpoints,
        logs=str(folder.logs),
        pool=ray.put(material.pool),
        tokens=ray.put(material.tokens),
        vectors=_embed(config, material.pool),
        board=board,
    )


def _embed(config: StudyConfig, pool: Pool) -> Any:
    """A reference to the sentence embeddings of the train prompts, found once, away from the driver.

    None where there is no model for them, or a trial embeds the prompts that it selects.
    """
    import ray

    from metrics.embedding import embed_texts

    model = config.diversity.embedding_model
    if model is None or isinstance(pool.train, StoredExamples):
        return None
    return ray.remote(embed_texts).remote([example.prompt.text for example in pool.train], model)


def _opening(shared: Shared, pool: Pool, ledger: Ledger, then: Callable[[], None]) -> Opening:
    """What trials wait for: a reward model fitted, where one is asked for, and the base model judged."""
    from search.execution.tuning import Opening
    from trainers.trial.job import fitted_config

    sample = None
    if fitted := fitted_config(shared.setup):
        from metrics.reward.fitted import fit_sample

        sample = fit_sample(pool.train, fitted, seed=shared.config.seed)

    def done(prepared: Prepared) -> None:
        ledger.keep_base(prepared)
        for line in ledger.reward_lines():
            ledger.display.say(f"  {line}")
        then()

    ledger.display.say(f"{'fitting the reward model and ' if fitted else ''}judging the base model ...")
    return Opening(partial(judge_base, shared, sample), done)
