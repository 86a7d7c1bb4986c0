"""What a study reads and checks before Ray starts: the pool, its tokens, its diversity by size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from base.errors import PoolError
from metrics.embedding import check_embedding_model
from metrics.reward.registry import load_reward_model
from metrics.scale import nested_diversity_at
from metrics.stored_tokens import store_tokens
from metrics.tokens import TokenTable, tokenize
from pools.across import Cluster
from pools.raters import fewest_raters
from pools.response_choice import BY_JUDGE, check_proxy, judge_agreement
from pools.selection import Selection
from pools.sources import load_pool
from pools.stored import on_disk
from pools.subset import ranking
from pools.types import Example, Pool, Prompt
from search.cluster.connection import visited
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.space import Space, check_choices, check_raters, check_responses
from search.study.folder import StudyFolder
from search.terminal.display import Display
from search.trials.design_point import digest_of_list
from trainers.models import load_light_tokenizer, resolve_model
from trainers.prompt_format import Rendering

CURVE_POINTS, CURVE_DRAWS = 200, 8
GREEDY_TOKENS = 50_000_000  # of a pool on disk, for selections other than random


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The prompts, of which `dev` choose checkpoints, and the tokens and the curve of those to train on."""

    pool: Pool
    dev: Sequence[Prompt]
    tokens: TokenTable
    curve: DiversityCurve


def check_models(config: StudyConfig) -> None:
    """Raise now what a reward or embedding model that cannot be loaded would raise in a worker."""
    if config.diversity.embedding_model:
        check_embedding_model(config.diversity.embedding_model)
    for name in config.transfer.models:
        load_light_tokenizer(resolve_model(name))
    for reward in filter(None, (*config.rewards, config.dev_reward)):
        if reward.kind == "verifier":
            load_reward_model(reward, artifact=None, base_model="", device="cpu")
        elif reward.model:
            load_light_tokenizer(reward.model)


def read_pool(config: StudyConfig, folder: StudyFolder, display: Display) -> tuple[Pool, str]:
    """The study's pool and a digest of its content; raises PoolError or ConfigError where it cannot serve.

    Prompts that the model's chat template refuses are bad rows like others.
    """
    tokenizer = load_light_tokenizer(resolve_model(config.model.name))
    refusal = Rendering(tokenizer, config.model.prompt_format).refusal
    with display.stage(f"reading pool {config.pool.path}"):
        pool, report = load_pool(
            config.pool,
            seed=config.seed,
            min_responses=max(config.search.responses),
            store=folder.pool,
            cluster=Cluster(
                partial(visited, config.cluster, folder.logs / "ray.log"), config.cluster.shared()
            ),
            refusal=refusal,
        )
    for line in report.lines():
        display.say(f"  {line}")
    if not pool.held_out:
        raise PoolError(
            f"{config.pool.path} has no held-out prompts to judge a policy on: set pool.held_out_prompts, "
            "or give them in pool.held_out_path"
        )
    check_responses(config.search.responses, min(pool.train.sizes()))
    rated = _check_labels(config, pool, display)
    _check_choices(config, pool, display)
    _check_kinds(config, pool, display)
    widest = max(point.prompts for point in Space(config, max_prompts=len(pool.train)).grid())
    if (visits := config.trainer.visits(widest)) is not None and visits < widest:
        display.say(
            f"  note: {config.trainer.matched}, so that {visits:,} of the {widest:,} prompts of the widest "
            "split are visited; the labels of the others are paid for and not used"
        )
    return pool, digest_of_list(_content(example, rated) for example in chain(pool.train, pool.held_out))


def _check_labels(config: StudyConfig, pool: Pool, display: Display) -> bool:
    """Whether trials train on what the pool's own raters said; says so where simulated ones label."""
    if config.search.agreement is not None:
        display.say(
            f"  note: trials train on labels of simulated raters, assumed agreement "
            f"{config.search.agreement:g} with the pool's scores (search.agreement)"
        )
    elif config.search.raters:
        check_raters(config.search.raters, fewest_raters(pool.train))
        return True
    return False


def _check_choices(config: StudyConfig, pool: Pool, display: Display) -> None:
    """Raise where responses cannot be chosen as `search.response_choices` asks; say what they go by."""
    choices = [choice for choice in config.search.response_choices if choice != "random"]
    if not choices:
        return
    most = max(pool.train.sizes())
    check_choices(choices, config.search.responses, most, config.cost)
    if judged := [choice for choice in choices if choice in BY_JUDGE]:
        with display.stage("comparing the judge's scores with the labels"):
            share = check_proxy(pool.train, judged[0])
        display.say(
            f"  note: {' and '.join(judged)} go by judge_score, which orders {share:.0%} of the pairs, "
            "unequal to both, as the scores do"
        )


def _check_kinds(config: StudyConfig, pool: Pool, display: Display) -> None:
    """Raise where the pool lacks the judge's scores that `search.labels` asks for; say how good they are."""
    if not {"judge", "mixed"} & set(config.search.labels):
        return
    with display.stage("comparing the judge's scores with people's"):
        share = judge_agreement(pool.train)
    display.say(f"  note: the judge orders {share:.0%} of the pairs, unequal to both, as people do")


def _content(example: Example, rated: bool) -> dict[str, Any]:
    """All of an example that a trial may depend on: single raters' ratings only where they are the labels."""
    ratings = [[asdict(rating) for rating in response.ratings] for response in example.responses]
    judged = [(response.judge_score, response.judge_score_se) for response in example.responses]
    return (
        example.to_dict()
        | ({"ratings": ratings} if rated else {})
        | ({"judged": judged} if any(score is not None for score, _ in judged) else {})
    )


def tokenize_pool(model: str, pool: Pool, display: Display) -> TokenTable:
    """The token ids of all train prompts by the tokenizer of `model`, found once for the whole study."""
    with display.stage(f"loading the tokenizer of {model}, reading {len(pool.train):,} prompts"):
        tokenizer = load_light_tokenizer(resolve_model(model))
        texts, folder = pool.train.texts(), pool.train.folder
        if folder is None:
            return tokenize(texts, tokenizer)
        with on_disk(location := folder / "tokens"):
            return store_tokens(texts, tokenizer, location)


def check_selections(selections: Iterable[Selection], pool: Pool, tokens: TokenTable) -> None:
    """Raise PoolError where a selection has to hold more n-grams in memory than a trial's process should."""
    greedy = [selection for selection in selections if selection != "random"]
    if greedy and pool.train.folder and len(tokens.ids) > GREEDY_TOKENS:
        raise PoolError(
            f'search.selections holds "{greedy[0]}", which compares all prompts with each other in memory: '
            f"they have {len(tokens.ids):,} tokens, and {GREEDY_TOKENS:,} is the most for a pool on disk; "
            "leave it out, or raise pool.stream_above"
        )


def diversity_curve(pool: Pool, tokens: TokenTable, *, seed: int) -> DiversityCurve:
    """Expected D of a random draw over its number of prompts: the mean over CURVE_DRAWS shuffles.

    The first of them are those that the study's seeds draw from; at up to CURVE_POINTS numbers of prompts.
    """
    seeds = range(seed, seed + CURVE_DRAWS)
    sizes = np.unique(np.geomspace(1, len(tokens), CURVE_POINTS).round().astype(int))
    orders = (ranking(pool.train.keys(), one) for one in seeds)
    scores = np.mean([nested_diversity_at(tokens, order, sizes) for order in orders], axis=0)
    return DiversityCurve(prompts=tuple(sizes.tolist()), diversity=tuple(scores.tolist()))
