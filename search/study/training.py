"""The part of a study that needs Ray: the base model judged, then one trial after another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from base.errors import TrainingError
from base.timeline import Timeline
from pools.raters import rater_error
from pools.types import Pool
from search.cluster.capacity import concurrent_trials
from search.cluster.connection import ON_HEAD
from search.config.study import StudyConfig
from search.execution.trial import PREPARE, WORK, Shared, execute, judge_base
from search.plan.step import Prepare, Step, Stop, Wait
from search.study.conductor import Conductor
from search.study.inputs import Inputs
from search.study.ledger import Ledger
from trainers.spec import Prepared, TrialSetup
from trainers.workers.store import discard

SEEDS_EVERY_S = 2.0


def train_all(
    config: StudyConfig, inputs: Inputs, ledger: Ledger, conductor: Conductor, timeline: Timeline
) -> None:
    """Judge the base model, unless `ledger` knows its reward, then run the trials. Ray must be up."""
    import ray

    from search.execution.board import Board
    from search.execution.tuning import run_trials
    from trainers.workers.worker_pool import stop_workers

    concurrent = concurrent_trials(config.cluster, config.resources, config.search.max_concurrent)
    board = ray.remote(num_cpus=0, resources=ON_HEAD)(Board).remote()
    shared = _shared(config, inputs, ledger, board, timeline)
    ray.get(board.keep_reward_artifact.remote(ledger.folder.kept_reward_model()))
    announce = partial(_announce, ledger, len(inputs.pool.held_out), concurrent)
    judged = ledger.base_reward is not None
    first = BaseFirst(conductor, partial(_keep_base, shared, ledger, announce), known=judged)
    with (
        _seeds_followed(board, ledger),
        ledger.display.watching(
            partial(conductor.standing, concurrent), lambda: ray.get(board.read.remote(), timeout=5)
        ),
    ):
        if judged:
            announce()
        run_trials(
            partial(execute, shared=shared),
            first,
            prepare=None if judged else _judging(shared, inputs.pool, ledger, seed=config.seed),
            closing=partial(stop_workers, board),
            concurrent=concurrent,
            storage=shared.storage,
            max_failures=config.resources.max_failures,
        )
    if first.failure:
        raise TrainingError(first.failure)


@contextmanager
def _seeds_followed(board: Any, ledger: Ledger) -> Iterator[None]:
    """Pass the results of seeds that end on to the ledger, seconds later, while the block runs.

    The tracker is connected once a training has taken a step: loading MLflow takes CPU seconds, which the
    first trial's workers need until then.
    """
    import ray

    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(SEEDS_EVERY_S):
            with suppress(ray.exceptions.RayError):  # the trial's record brings them all once more
                for work, result in ray.get(board.ended_seeds.remote(), timeout=5):
                    ledger.seed_ended(work.removeprefix(WORK), result)
                if any("step" in row for row in ray.get(board.read.remote(), timeout=5).values()):
                    ledger.projection.release()

    thread = threading.Thread(target=follow, name="seeds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


class BaseFirst:
    """The conductor, held back until the base model is judged and its reward kept, unless it is `known`."""

    def __init__(self, conductor: Conductor, keep: Callable[[Prepared], None], *, known: bool) -> None:
        self._conductor, self._keep, self._known = conductor, keep, known
        self.started, self.finished, self.failed = conductor.started, conductor.finished, conductor.failed
        self._asked = False
        self.failure = ""

    def next(self) -> Step:
        """The step to take now; none but the end where the base model could not be judged."""
        if self.failure:
            return Stop(self.failure, decided=False)
        if self._known:
            return self._conductor.next()
        step = Wait() if self._asked else Prepare()
        self._asked = True
        return step

    def prepared(self, found: Prepared) -> None:
        """The base model is judged."""
        self._keep(found)
        self._known = True

    def unprepared(self, reason: str) -> None:
        """It could not be judged, so that no trial can run."""
        self.failure = reason


def _judging(shared: Shared, pool: Pool, ledger: Ledger, *, seed: int) -> Callable[[], Prepared]:
    """Fits a reward model, where one is asked for, and judges the base model."""
    from trainers.trial.job import fitted_config

    sample = None
    if fitted := fitted_config(shared.setup):
        from metrics.reward.fitted import fit_sample

        sample = fit_sample(pool.train, fitted, seed=seed)
    ledger.display.say(f"{'fitting the reward model and ' if fitted else ''}judging the base model ...")
    return partial(judge_base, shared, sample)


def _keep_base(shared: Shared, ledger: Ledger, announce: Callable[[], None], prepared: Prepared) -> None:
    """Keep what is known before the first trial, for trials too, and `announce` it."""
    import ray

    ledger.keep_base(prepared)
    ray.get(shared.board.keep_reward_artifact.remote(prepared.reward_artifact))
    shared.timeline.reach("base model judged")
    for name, value in ledger.reward_notes().items():
        ledger.display.say(f"  {name}: {value}")
    announce()
    with suppress(OSError):  # the stages of the fit, now in the study's folder
        discard(shared.checkpoints, PREPARE + shared.identity)


def _announce(ledger: Ledger, held_out: int, concurrent: int) -> None:
    """Say what trials are compared with, and how many there will be."""
    search = ledger.config.search
    ledger.display.say(
        f"base model: reward {ledger.base_reward:.4f} on {held_out} held-out prompts; "
        f"up to {search.trials} trials of {search.seeds} seeds, {concurrent} at a time"
    )


def _shared(config: StudyConfig, inputs: Inputs, ledger: Ledger, board: Any, timeline: Timeline) -> Shared:
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
        timeline=timeline,
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
