"""A study from its configuration to its recommendation: the order of things, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from base.timeline import Timeline
from pools.subset import set_apart
from pools.types import Pool
from search.cluster.connection import start_ray, stop_ray
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.plan import Plan
from search.plan.space import Space
from search.study.conductor import Conductor
from search.study.earlier import go_on
from search.study.folder import StudyFolder, study_identity
from search.study.inputs import (
    Inputs,
    check_models,
    check_selections,
    diversity_curve,
    read_pool,
    tokenize_pool,
)
from search.study.interrupts import stoppable
from search.study.ledger import Ledger
from search.study.summary import show_result
from search.study.tracked import tracked
from search.study.training import train_all
from search.terminal.display import Display
from search.tracking.tracker import Dataset

if TYPE_CHECKING:
    from search.advice.analysis import StudyAnalysis


def run_study(
    config: StudyConfig, folder: StudyFolder, display: Display, timeline: Timeline
) -> StudyAnalysis:
    """Run every trial of `config` that `folder` does not hold yet, then write and print what they show.

    All that can be wrong with the input is found before Ray starts. When it is stopped (Ctrl-C, SIGTERM)
    finished trials are kept, runs are marked KILLED, Ray ends, and KeyboardInterrupt is raised.
    """
    check_models(config)
    pool, pool_digest = read_pool(config, folder, display)
    timeline.reach("pool read")
    pool, dev = set_apart(pool, config.evaluation.dev_prompts, seed=config.seed)
    space = Space(config, max_prompts=len(pool.train))
    for note in space.notes():
        display.say(f"  note: {note}")
    folder.adopt(config)
    if kept := len(folder.finished()):
        display.say(f"{kept} finished trials of an earlier run are kept (--fresh starts over)")
    go_on(space, pool_digest, folder, display.say)
    identity, dataset = study_identity(config, pool_digest), _dataset(config.pool.path, pool, pool_digest)
    with stoppable() as arm, tracked(folder, config, identity, dataset) as (projection, attempts):
        ledger = Ledger(config, folder, display, projection, attempts)
        ledger.check_reward()
        if ledger.records:
            ledger.write_table()  # also where the last run ended between a trial's record and its row
        tokens = tokenize_pool(config.model.name, pool, display)
        check_selections(config.search.selections, pool, tokens)
        curve = diversity_curve(pool, tokens, seed=config.seed)
        folder.write_json("curve.json", curve.to_dict())
        timeline.reach("prompts tokenised, diversity curve drawn")
        inputs = Inputs(pool=pool, dev=dev, tokens=tokens, curve=curve)
        conductor = open_plan(space, curve, ledger)
        more = conductor.look_ahead()
        timeline.reach("first trial planned")
        if more or ledger.base_reward is None:
            with display.stage("starting Ray"):
                start_ray(config.cluster, folder.logs / "ray.log")
            timeline.reach("Ray up")
            try:
                arm()
                train_all(config, inputs, ledger, conductor, timeline)
            finally:
                stop_ray()
        else:
            display.say("nothing is left to train")
        conductor.mend()
        ledger.discard_leftovers()
        # Plots and the statistics of the advice take two CPU seconds to load: not before the first trial.
        from search.study.conclusion import conclude

        study = conclude(config, inputs, ledger, conductor)
    show_result(display, study, ledger)
    return study


def open_plan(space: Space, curve: DiversityCurve, ledger: Ledger) -> Conductor:
    """The plan, with Optuna's history brought in line with the trials that the folder holds."""
    from search.plan.proposals import Proposals, database_url
    from search.prior.candidate import further_models

    url = database_url(space.config.search.storage, str(ledger.folder.optuna))
    proposals = Proposals(space, identity=ledger.identity, url=url, warn=ledger.display.say)
    plan = Plan(space, curve, further_models(space.config.search.prior))
    return Conductor(plan, proposals, ledger, ledger.display)


def _dataset(source: str, pool: Pool, pool_digest: str) -> Dataset:
    return Dataset(
        name=pool.name,
        digest=pool_digest,
        source=source,
        profile={"train_prompts": len(pool.train), "held_out_prompts": len(pool.held_out)},
    )
