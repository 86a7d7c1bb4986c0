"""A study from its configuration to its recommendation: the order of things, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.embedding import check_embedding_model
from metrics.reward import load_reward_model
from metrics.scale import nested_diversity_at
from metrics.stored_tokens import StoredTokens, store_tokens
from metrics.tokens import TokenTable, tokenize
from pools.across import Cluster
from pools.dev import set_apart
from pools.errors import ApportionError, NoGroundError, PoolError
from pools.sources import load_pool
from pools.stored import StoredExamples, fewest_responses, keys_of, on_disk, texts_of
from pools.subset import ranking
from pools.types import Pool, Prompt
from search.answer import Recommendation
from search.capacity import concurrent_trials
from search.cluster import ON_HEAD, start_ray, stop_ray, visited
from search.conductor import Conductor
from search.config import StudyConfig
from search.curve import DiversityCurve
from search.display import Display
from search.fit import Fit, fit_trials
from search.folder import StudyFolder, study_identity
from search.interrupts import stoppable
from search.ledger import Ledger
from search.mlflow_tracker import open_tracker
from search.plan import Plan
from search.recommend import recommend
from search.report import write_report
from search.space import Space, check_responses, digest_of_list
from search.tracking import Dataset
from search.trial import Shared, judge_base, run_point
from trainers.models import load_light_tokenizer, resolve_model
from trainers.spec import Prepared, Setting
from trainers.storage import RUNS, discard

if TYPE_CHECKING:
    from search.tuning import Opening

CURVE_POINTS, CURVE_DRAWS = 200, 8
GREEDY_TOKENS = 50_000_000  # of a pool on disk, for selections other than random


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a study found; `fit` and `recommendation` are None where its trials give no ground for them."""

    ledger: Ledger
    fit: Fit | None
    recommendation: Recommendation | None
    why_not: str = ""
    stopped: str = ""


def run_study(config: StudyConfig, folder: StudyFolder, display: Display) -> StudyResult:
    """Run every trial of `config` that `folder` does not hold yet, then fit, recommend and report.

    All that can be wrong with the input is found before Ray starts. When it is stopped (Ctrl-C, SIGTERM)
    finished trials are kept, runs are marked KILLED, Ray ends, and KeyboardInterrupt is raised.
    """
    check_models(config)
    pool, pool_digest = read_pool(config, folder, display)
    pool, dev = set_apart(pool, config.evaluation.dev_prompts, seed=config.seed)
    space = Space(config, max_prompts=len(pool.train))
    for note in space.notes():
        display.say(f"  note: {note}")
    folder.adopt(config)
    identity = study_identity(config, pool_digest)
    tracker = open_tracker(config.tracking, folder.path)
    ledger = Ledger(config, folder, display, tracker, identity=identity)
    if ledger.outcomes:
        display.say(
            f"{len(ledger.outcomes)} finished trials of an earlier run are kept (--fresh starts over)"
        )
    tags = {"pool": pool.name, "model": config.model.name, "identity": identity}
    with stoppable() as arm, ledger.study_run(_study_params(config), tags):
        tracker.log_dataset(_dataset(config, pool, pool_digest))
        tokens = tokenize_pool(config, pool, display)
        check_selections(config, tokens)
        curve = diversity_curve(pool, tokens, seed=config.seed)
        folder.write_json("curve.json", curve.to_dict())
        conductor = open_plan(space, curve, folder, ledger, display)
        if not conductor.look_ahead() and ledger.base_reward is not None:
            display.say("nothing is left to train")
            return conclude(config, pool, folder, ledger, curve, conductor)
        with display.stage("starting Ray"):
            start_ray(config, folder.logs / "ray.log")
        try:
            arm()
            train_all(config, pool, dev, tokens, folder, ledger, conductor, display)
        finally:
            stop_ray()
        return conclude(config, pool, folder, ledger, curve, conductor)


def open_plan(
    space: Space, curve: DiversityCurve, folder: StudyFolder, ledger: Ledger, display: Display
) -> Conductor:
    """The plan, with Optuna's history brought in line with the trials that the folder holds."""
    from search.proposals import Proposals, database_url

    url = database_url(space.config.search.storage, str(folder.optuna))
    proposals = Proposals(space, identity=ledger.identity, url=url, warn=display.say)
    return Conductor(Plan(space, curve), proposals, ledger, display)


def check_models(config: StudyConfig) -> None:
    """Raise now what a reward or embedding model that cannot be loaded would raise in a worker."""
    if config.diversity.embedding_model:
        check_embedding_model(config.diversity.embedding_model)
    for reward in filter(None, (config.reward, config.dev_reward)):
        if reward.kind == "verifier":
            load_reward_model(reward, artifact=None, base_model="", device="cpu")
        elif reward.model:
            load_light_tokenizer(reward.model)


def read_pool(config: StudyConfig, folder: StudyFolder, display: Display) -> tuple[Pool, str]:
    """The study's pool and a digest of its content; raises PoolError or ConfigError where it cannot serve."""
    with display.stage(f"reading pool {config.pool.path}"):
        pool, report = load_pool(
            config.pool,
            seed=config.seed,
            min_responses=max(config.search.responses),
            store=folder.pool,
            cluster=Cluster(partial(visited, config, folder.logs / "ray.log"), config.cluster.shared()),
        )
    for line in report.lines():
        display.say(f"  {line}")
    if not pool.held_out:
        raise PoolError(
            f"{config.pool.path} has no held-out prompts to judge a policy on: set pool.held_out_prompts, "
            "or give them in pool.held_out_path"
        )
    check_responses(config, fewest_responses(pool.train))
    widest = _widest(config, len(pool.train))
    if (visits := config.trainer.visits(widest)) is not None and visits < widest:
        display.say(
            f"  note: {config.trainer.matched}, so that {visits:,} of the {widest:,} prompts of the widest "
            "split are visited; the labels of the others are paid for and not used"
        )
    return pool, digest_of_list(example.to_dict() for example in chain(pool.train, pool.held_out))


def _widest(config: StudyConfig, max_prompts: int) -> int:
    """Prompts of the split with the most of them."""
    return max(place.prompts for place in Space(config, max_prompts=max_prompts).grid())


def tokenize_pool(config: StudyConfig, pool: Pool, display: Display) -> TokenTable:
    """The token ids of all train prompts, found once for the whole study."""
    with display.stage(f"loading the tokenizer of {config.model.name}, reading {len(pool.train):,} prompts"):
        tokenizer = load_light_tokenizer(resolve_model(config.model.name))
        texts = texts_of(pool.train)
        if isinstance(pool.train, StoredExamples):
            with on_disk(folder := pool.train.path.with_name("tokens")):
                return store_tokens(texts, tokenizer, folder)
        return tokenize(texts, tokenizer)


def check_selections(config: StudyConfig, tokens: TokenTable) -> None:
    """Raise PoolError where a selection has to hold more n-grams in memory than a trial's process should."""
    greedy = [selection for selection in config.search.selections if selection != "random"]
    if greedy and isinstance(tokens, StoredTokens) and len(tokens.ids) > GREEDY_TOKENS:
        raise PoolError(
            f'search.selections holds "{greedy[0]}", which compares all prompts with each other in memory: '
            f"they have {len(tokens.ids):,} tokens, and {GREEDY_TOKENS:,} is the most for a pool on disk; "
            "leave it out, or raise pool.stream_above"
        )


def train_all(
    config: StudyConfig,
    pool: Pool,
    dev: Sequence[Prompt],
    tokens: TokenTable,
    folder: StudyFolder,
    ledger: Ledger,
    conductor: Conductor,
    display: Display,
) -> None:
    """Judge the base model, then run the trials, with the prompts `dev` to choose checkpoints; Ray is up."""
    import ray

    from search.board import Board
    from search.tuning import run_trials
    from trainers.ray_job import dismiss

    concurrent = concurrent_trials(config)
    board = ray.remote(num_cpus=0, resources=ON_HEAD)(Board).remote()
    shared = _shared(config, pool, dev, tokens, folder, ledger, board)

    def opened() -> None:
        ray.get(board.give.remote(folder.kept_reward_model()))
        display.say(f"base model: reward {ledger.base_reward:.4f} on {len(pool.held_out)} held-out prompts")

    opening = None
    if ledger.base_reward is None:
        opening = _opening(shared, pool, ledger, display, opened)
    else:
        opened()
    display.say(f"up to {config.search.trials} trials of {config.search.seeds} seeds, {concurrent} at a time")
    with display.watching(
        partial(conductor.standing, concurrent), lambda: ray.get(board.read.remote(), timeout=5)
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


def _shared(
    config: StudyConfig,
    pool: Pool,
    dev: Sequence[Prompt],
    tokens: TokenTable,
    folder: StudyFolder,
    ledger: Ledger,
    board: Any,
) -> Shared:
    """What every trial needs, the large parts of it in Ray's object store."""
    import ray

    setting = Setting(
        model=config.model,
        trainer=config.trainer,
        evaluation=config.evaluation,
        reward=config.reward,
        dev_prompts=dev,
        dev_reward=config.dev_reward,
        checkpoints=config.checkpoints,
        policies=None if config.checkpoints.keep_policies == "none" else folder.policies,
    )
    return Shared(
        config=config,
        setting=setting,
        identity=ledger.identity,
        storage=str(folder.ray),
        checkpoints=ledger.checkpoints,
        logs=str(folder.logs),
        pool=ray.put(pool),
        tokens=ray.put(tokens),
        vectors=_embed(config, pool),
        board=board,
    )


def _embed(config: StudyConfig, pool: Pool) -> Any:
    """A reference to the sentence embeddings of the train prompts, found once, away from the driver.

    None where there is no model for them, or a trial embeds the prompts that it selects (`search.trial`).
    """
    import ray

    from metrics.embedding import embed_texts

    model = config.diversity.embedding_model
    if model is None or isinstance(pool.train, StoredExamples):
        return None
    return ray.remote(embed_texts).remote([example.prompt.text for example in pool.train], model)


def _opening(
    shared: Shared, pool: Pool, ledger: Ledger, display: Display, then: Callable[[], None]
) -> Opening:
    """What trials wait for: a reward model fitted, where one is asked for, and the base model judged."""
    from search.tuning import Opening
    from trainers.job import fitted_config

    sample = None
    if fitted := fitted_config(shared.setting):
        from metrics.reward.fitted import fit_sample

        sample = fit_sample(pool.train, fitted, seed=shared.config.seed)

    def done(prepared: Prepared) -> None:
        ledger.keep_base(prepared)
        for line in _reward_lines(prepared.reward_report):
            display.say(f"  {line}")
        then()

    display.say(f"{'fitting the reward model and ' if fitted else ''}judging the base model ...")
    return Opening(partial(judge_base, shared, sample), done)


def conclude(
    config: StudyConfig,
    pool: Pool,
    folder: StudyFolder,
    ledger: Ledger,
    curve: DiversityCurve,
    conductor: Conductor,
) -> StudyResult:
    """Fit the finished trials of the best setting, recommend, and write every result into the folder."""
    records = conductor.records
    folder.write_json("study.json", _study_json(config, pool, ledger) | conductor.to_dict())
    if not records:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in ledger.failures.items())
        raise ApportionError(
            f"no trial finished: {reasons or 'none was run'}; what trials printed is in {folder.logs}, "
            "Ray's own logs are under /tmp/ray"
        )
    try:
        fit = fit_trials(records)
        recommendation = recommend(
            fit,
            budget=config.budget,
            cost_model=config.cost,
            curve=curve,
            responses=range(1, fewest_responses(pool.train) + 1),
            max_prompts=len(pool.train),
            seed=config.seed,
        )
    except NoGroundError as error:
        return StudyResult(
            ledger=ledger, fit=None, recommendation=None, why_not=str(error), stopped=conductor.reason
        )
    folder.write_json("fit.json", fit.to_dict())
    folder.write_json("recommendation.json", {**recommendation.to_dict(), "base_reward": ledger.base_reward})
    write_report(
        folder.path,
        name=config.name,
        records=records,
        fit=fit,
        recommendation=recommendation,
        curve=curve,
        base_reward=ledger.base_reward,
        cost_model=config.cost,
        notes=_notes(config, pool, ledger) | conductor.notes(recommendation.best.split),
    )
    ledger.register_best()
    for name in ("recommendation.json", "fit.json", "trials.csv", "report.html", "plots", "config.yaml"):
        ledger.tracker.log_artifact(folder.path / name)
    return StudyResult(ledger=ledger, fit=fit, recommendation=recommendation, stopped=conductor.reason)


def diversity_curve(pool: Pool, tokens: TokenTable, *, seed: int) -> DiversityCurve:
    """Expected D of a random draw over its number of prompts: the mean over CURVE_DRAWS shuffles.

    The first of them are those that the study's seeds draw from; at up to CURVE_POINTS numbers of prompts.
    """
    seeds = range(seed, seed + CURVE_DRAWS)
    places = np.unique(np.geomspace(1, len(tokens), CURVE_POINTS).round().astype(int))
    orders = (ranking(keys_of(pool.train), one) for one in seeds)
    scores = np.mean([nested_diversity_at(tokens, order, places) for order in orders], axis=0)
    return DiversityCurve(prompts=tuple(places.tolist()), diversity=tuple(scores.tolist()))


def _study_params(config: StudyConfig) -> dict[str, Any]:
    return {
        "budget": config.budget,
        "unit": config.cost.unit,
        "seed": config.seed,
        "model": config.model.name,
        "algorithm": config.trainer.algorithm.name,
        config.trainer.matching: getattr(config.trainer, config.trainer.matching),
        "reward": config.reward.kind,
    }


def _study_json(config: StudyConfig, pool: Pool, ledger: Ledger) -> dict[str, Any]:
    return {
        "name": config.name,
        "seed": config.seed,
        "base_reward": ledger.base_reward,
        "budget": config.budget,
        "cost": config.cost.model_dump(mode="json"),
        "responses": list(range(1, fewest_responses(pool.train) + 1)),
        "max_prompts": len(pool.train),
        "failures": ledger.failures,
    }


def _dataset(config: StudyConfig, pool: Pool, pool_digest: str) -> Dataset:
    return Dataset(
        name=pool.name,
        digest=pool_digest,
        source=config.pool.path,
        profile={"train_prompts": len(pool.train), "held_out_prompts": len(pool.held_out)},
    )


def _notes(config: StudyConfig, pool: Pool, ledger: Ledger) -> dict[str, Any]:
    dev = {}
    if config.evaluation.dev_prompts:
        judge = (config.dev_reward or config.reward).source
        same = "" if config.dev_reward else ", the same model that gives the test rewards"
        dev["checkpoints"] = f"chosen on {config.evaluation.dev_prompts} dev prompts by {judge}{same}"
    return {
        "pool": pool.description or pool.name,
        "held-out prompts": len(pool.held_out),
        "model": config.model.name,
        "algorithm": config.trainer.algorithm.name,
        "matching": config.trainer.matched,
        "reward": f"{config.reward.source}; a model's judgement, not people's",
        **dev,
        **dict(line.split(": ", 1) for line in _reward_lines(ledger.reward_report)),
    }


def _reward_lines(report: Mapping[str, Any] | None) -> list[str]:
    """What a fitted reward model is worth, one figure a line."""
    shown = {
        name: f"{value:.3f}" if isinstance(value, float) else value for name, value in (report or {}).items()
    }
    return [f"reward model {name.replace('_', ' ')}: {value}" for name, value in shown.items() if value != ""]
