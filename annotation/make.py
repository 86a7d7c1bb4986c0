"""From prompts to a scored pool: responses are drawn and judged by way of journals, then written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from annotation.config import MakeConfig, ModelSource
from annotation.estimate import Estimate, estimate_reward, estimate_sampling, estimate_verdicts
from annotation.journal import Journal, opened_journal
from annotation.judging.judge import Account, Asked, Scores
from annotation.judging.llm import PairwiseJudge, PointwiseJudge
from annotation.judging.load import load_judge
from annotation.pool_file import (
    Prompts,
    read_prompts,
    read_responses,
    rows_beside,
    rows_of,
    stamp,
    write_pool,
)
from annotation.purse import Purse
from annotation.sampling.collect import Candidate, Collected, Collector
from annotation.sampling.load import load_writers
from base.errors import PoolError, RewardError
from metrics.reward.registry import load_reward_model
from pools.config import PoolConfig
from pools.sources import load_pool
from pools.types import Pool

Progress = Callable[[int, int], None]
_JUDGED_TO_MEASURE, _TRIED = 4, 20  # prompts
_OTHER_JUDGES = (
    "Nothing was drawn. Judges are a verifier of your own (judge.reward.function module:function), a reward "
    "model (judge.reward.kind hf or fitted) or a language model (judge.kind pointwise or pairwise); without "
    "one, `pool sample` draws responses, and `pool judge` scores them later"
)


@dataclass(frozen=True)
class Work:
    """The journals of a pool that is made, and the money for it."""

    responses: Journal
    verdicts: Journal
    purse: Purse


@contextmanager
def opened_work(folder: Path, max_cost: float | None) -> Iterator[Work]:
    """The journals in `folder`, for this process alone; what they cost before counts towards `max_cost`."""
    with (
        opened_journal(folder / "responses.jsonl") as responses,
        opened_journal(folder / "verdicts.jsonl") as verdicts,
    ):
        yield Work(responses, verdicts, Purse(max_cost, responses.cost + verdicts.cost))


@dataclass(frozen=True)
class Sampled:
    """Prompts with their responses, where these came from, and how it went (None: read from a file).

    `pool` is what they were read from, where its scores stay.
    """

    prompts: Prompts
    responses: Sequence[Sequence[Candidate]]
    made: Mapping[str, Any]
    collected: Collected | None = None
    pool: Pool | None = None


def sample(config: MakeConfig, work: Work, progress: Progress, *, judged: bool) -> Sampled:
    """Responses to the configuration's train prompts.

    Where they will be `judged` by a verifier, it is tried first: RewardError if it cannot judge them.
    """
    prompts = prompts_of(config)
    if judged:
        _try_verifier(config, prompts)
    collected = _collector(config, work, prompts).collect(progress)
    return Sampled(prompts, collected.responses, {"responses": _made(config, collected)}, collected)


def _try_verifier(config: MakeConfig, prompts: Prompts) -> None:
    """RewardError where the judge is a verifier that cannot judge these prompts."""
    reward, some = config.judge.reward, prompts.train[:_TRIED]
    if config.judge.kind != "reward" or reward.kind != "verifier":
        return
    try:
        verifier = load_reward_model(reward, artifact=None, base_model="", device="cpu")
        verifier.score(some, [""] * len(some))
    except RewardError as error:
        raise RewardError(f"{error}. {_OTHER_JUDGES}") from error


def read_sampled(path: str, *, scored: bool = False) -> Sampled:
    """The responses of a pool file, scored or not; those alone that are, where its scores stay (`scored`)."""
    pool, made = read_responses(path)
    if scored:
        pool, _ = load_pool(PoolConfig(path=path, min_responses=0), seed=0)
    prompts = Prompts(
        pool.name,
        tuple(example.prompt for example in pool.train),
        tuple(example.prompt for example in pool.held_out),
    )
    responses = [[Candidate(each.text, each.source) for each in one.responses] for one in pool.train]
    return Sampled(prompts, responses, made, pool=pool if scored else None)


def prompts_of(config: MakeConfig) -> Prompts:
    """The configuration's prompts; PoolError where none is left to respond to."""
    prompts = read_prompts(config.pool, seed=config.seed, most=config.prompts)
    if not prompts.train:
        raise PoolError(
            f"{config.pool.path} holds no prompt that is not held out, so there is nothing to respond to"
        )
    return prompts


def judge(
    config: MakeConfig, work: Work, sampled: Sampled, progress: Progress
) -> tuple[list[Scores], Mapping[str, Any], Account]:
    """Scores for all responses, what a header says of both, and how the judging went."""
    chosen = load_judge(config.judge, work.verdicts, work.purse, seed=config.seed)
    scores = chosen.judge(_asked(sampled), progress)
    account = chosen.account()
    judged = {"by": chosen.by, "settings": _settings_of_judge(config), **account.figures, **stamp()}
    name = "scores" if sampled.pool is None else "judge_scores"
    return scores, {**sampled.made, name: judged}, account


def write(path: Path, sampled: Sampled, made: Mapping[str, Any], scores: Sequence[Scores] | None) -> int:
    """Write the pool, the scores beside its own where those stay; returns the number of its rows."""
    prompts, pool = sampled.prompts, sampled.pool
    if pool is not None and scores is not None:
        rows = rows_beside(pool.train, scores, pool.held_out)
    else:
        rows = rows_of(prompts.train, sampled.responses, prompts.held_out, scores)
    return write_pool(path, prompts.name, made, rows)


def estimates(
    config: MakeConfig, work: Work, prompts: Prompts, progress: Progress, *, judged: bool
) -> list[Estimate]:
    """What the whole run will take, estimated from parts of it that are drawn, judged and kept for the run.

    Raises what `sample` raises.
    """
    if judged:
        _try_verifier(config, prompts)
    collector = _collector(config, work, prompts)
    found = [
        estimate_sampling(collector, index, model, progress, resample=config.sampling.resample)
        for index, model in enumerate(config.models)
    ]
    return found + ([_estimate_judging(config, work, collector, prompts, progress)] if judged else [])


def _estimate_judging(
    config: MakeConfig, work: Work, collector: Collector, prompts: Prompts, progress: Progress
) -> Estimate:
    some = [
        Asked(prompts.train[index], tuple(sorted({text for text in texts if text})))
        for index, texts in list(collector.drawn_before().items())[:_JUDGED_TO_MEASURE]
    ]
    some = [each for each in some if each.responses]
    # A reward model's time is taken each time: what it finds here is not kept.
    with TemporaryDirectory() as own, opened_journal(Path(own) / "scores.jsonl") as passing:
        journal = passing if config.judge.kind == "reward" else work.verdicts
        chosen = load_judge(config.judge, journal, work.purse, seed=config.seed)
        if isinstance(chosen, PointwiseJudge | PairwiseJudge):
            return estimate_verdicts(
                chosen,
                some,
                config.judge.model,
                progress,
                prompts=len(prompts.train),
                responses=config.responses,
            )
        return estimate_reward(chosen, some, progress, responses=len(prompts.train) * config.responses)


def _collector(config: MakeConfig, work: Work, prompts: Prompts) -> Collector:
    return Collector(
        prompts.train,
        load_writers(config, work.purse),
        work.responses,
        responses=config.responses,
        seed=config.seed,
        resample=config.sampling.resample,
    )


def _asked(sampled: Sampled) -> list[Asked]:
    return [
        Asked(prompt, tuple(each.text for each in candidates))
        for prompt, candidates in zip(sampled.prompts.train, sampled.responses, strict=True)
    ]


def _made(config: MakeConfig, collected: Collected) -> dict[str, Any]:
    models = [_about(model) for model in config.models]
    figures = ("drawn", "redrawn", "truncated", "tokens_in", "tokens_out")
    return {
        "models": models,
        "sampling": {**config.sampling.model_dump(mode="json"), "seed": config.seed},
        **{name: getattr(collected, name) for name in figures},
        **stamp(),
    }


def _about(model: ModelSource) -> dict[str, Any]:
    """What decides on a model's texts; precision and batch do so where it runs here or on Ray."""
    about = {"label": model.source, "name": model.name, "endpoint": model.endpoint}
    if model.endpoint:
        return about
    return {**about, "engine": model.engine, "dtype": model.dtype, "batch": model.batch}


def _settings_of_judge(config: MakeConfig) -> dict[str, Any]:
    chosen = config.judge
    if chosen.kind == "reward":
        return {"kind": chosen.reward.kind}
    return {
        "kind": chosen.kind,
        "model": chosen.model.name,
        "endpoint": chosen.model.endpoint,
        **chosen.model_dump(include={"rubric", "temperature", "max_tokens", "structured", "opponents"}),
    }
