"""What every preference algorithm owes to the training loop."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainers.algorithms.base import Algorithm
from trainers.algorithms.registry import make_algorithm
from trainers.config.algorithm import LOSSES, AlgorithmConfig
from trainers.policy.batching import Ranking, collate
from trainers.policy.policy import ResponseLogps

CONFIGS = [
    *[AlgorithmConfig(name=name) for name in LOSSES],
    AlgorithmConfig(name="sft", sft_target="weighted", sft_temperature=0.3),
    *[AlgorithmConfig(name="dpo", pairing=p) for p in ("adjacent", "all", "best_low")],
    AlgorithmConfig(name="simpo", pairing="margin", min_margin=0.1, max_margin=0.6),
]
each_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.name}-{c.pairing}-{c.sft_target}")
seeds = st.integers(0, 10**6)


def rankings(seed: int, sizes: tuple[int, ...] = (4, 2, 3, 4), step: float = 1e-9) -> list[Ranking]:
    """Rankings with random lengths, falling scores (multiples of `step`) and reference log-probabilities."""
    rng = random.Random(seed)

    def ranking(k: int) -> Ranking:
        scores = sorted((round(rng.random() / step) * step for _ in range(k)), reverse=True)
        responses = tuple([6] * rng.randint(1, 9) for _ in range(k))
        return Ranking([5], responses, tuple(scores), tuple(-5 * rng.random() for _ in range(k)))

    return [ranking(k) for k in sizes]


def prepared(algorithm: Algorithm, given_rankings: list[Ranking]) -> list[Ranking]:
    return [kept for kept in map(algorithm.prepare, given_rankings) if kept is not None]


def logps_of(chosen: list[Ranking], seed: int, dtype: torch.dtype = torch.float64) -> ResponseLogps:
    lengths = torch.tensor([len(ids) for ranking in chosen for ids in ranking.response_ids], dtype=dtype)
    noise = torch.rand(len(lengths), generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return ResponseLogps(-3 * noise * lengths, lengths)


@each_config
def test_config_and_algorithm_agree(config: AlgorithmConfig) -> None:
    assert make_algorithm(config).name == config.name


@each_config
def test_the_reference_is_needed_exactly_where_it_is_asked_for(config: AlgorithmConfig) -> None:
    algorithm = make_algorithm(config)
    chosen = prepared(algorithm, rankings(7))
    logps = logps_of(chosen, 7)
    other = [replace(each, reference=tuple(-9.0 * i for i in range(len(each.scores)))) for each in chosen]
    loss, changed = (float(algorithm.loss(logps, collate(each)).total) for each in (chosen, other))
    assert (loss != changed) == algorithm.uses_reference


@each_config
@given(seed=seeds)
def test_a_sum_does_not_depend_on_the_cut(config: AlgorithmConfig, seed: int) -> None:
    algorithm = make_algorithm(config)
    chosen = prepared(algorithm, rankings(seed))
    if not chosen:
        return
    logps = logps_of(chosen, seed)
    whole = algorithm.loss(logps, collate(chosen))
    total, parts, start = 0.0, dict.fromkeys(whole.parts, 0.0), 0
    for ranking in chosen:
        stop = start + len(ranking.scores)
        piece = ResponseLogps(logps.total[start:stop], logps.tokens[start:stop])
        out = algorithm.loss(piece, collate([ranking]))
        total += float(out.total)
        parts = {name: value + out.parts[name] for name, value in parts.items()}
        start = stop
    assert float(whole.total) == pytest.approx(total)
    assert whole.parts == pytest.approx(parts)


@each_config
def test_gradient_is_that_of_the_loss(config: AlgorithmConfig) -> None:
    algorithm = make_algorithm(config)
    chosen = prepared(algorithm, rankings(7))
    logps, batch = logps_of(chosen, 7), collate(chosen)
    total = logps.total.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: algorithm.loss(ResponseLogps(t, logps.tokens), batch).total, total
    )
    (gradient,) = torch.autograd.grad(algorithm.loss(logps, batch).total, total)
    assert float(gradient.abs().max()) > 0


@each_config
@given(seed=seeds)
def test_ties_and_extremes_stay_finite(config: AlgorithmConfig, seed: int) -> None:
    algorithm = make_algorithm(config)
    chosen = prepared(algorithm, rankings(seed, step=0.5))
    if not chosen:
        return
    small = logps_of(chosen, seed, torch.float32)
    total = (small.total * 1000).requires_grad_()
    out = algorithm.loss(ResponseLogps(total, small.tokens), collate(chosen))
    (gradient,) = torch.autograd.grad(out.total, total)
    assert bool(torch.isfinite(out.total)) and bool(torch.isfinite(gradient).all())


@each_config
@given(seed=seeds)
def test_preparing_twice_changes_nothing(config: AlgorithmConfig, seed: int) -> None:
    algorithm = make_algorithm(config)
    once = prepared(algorithm, rankings(seed, step=0.1))
    assert prepared(algorithm, once) == once


@each_config
@given(seed=seeds)
def test_preparing_drops_only_what_the_loss_ignores(config: AlgorithmConfig, seed: int) -> None:
    algorithm = make_algorithm(config)
    full = [ranking for ranking in rankings(seed) if algorithm.prepare(ranking) is not None]
    if not full:
        return
    logps = logps_of(full, seed)
    kept, start = [], 0
    for ranking in full:
        slim = algorithm.prepare(ranking)
        assert slim is not None and slim.tokens <= ranking.tokens
        kept += [start + ranking.scores.index(score) for score in slim.scores]
        start += len(ranking.scores)
    slim_logps = ResponseLogps(logps.total[kept], logps.tokens[kept])
    slim_loss = algorithm.loss(slim_logps, collate(prepared(algorithm, full))).total
    assert float(slim_loss) == pytest.approx(float(algorithm.loss(logps, collate(full)).total))


@each_config
def test_following_the_gradient_lifts_the_best_above_the_worst(config: AlgorithmConfig) -> None:
    algorithm = make_algorithm(config)
    ranking = Ranking([5], ([6] * 4, [7] * 4, [8] * 4), (0.9, 0.5, 0.1), (-8.0, -8.0, -8.0))
    (chosen,) = prepared(algorithm, [ranking])
    total = torch.full((len(chosen.scores),), -8.0, dtype=torch.float64, requires_grad=True)
    algorithm.loss(ResponseLogps(total, torch.full_like(total, 4.0)), collate([chosen])).total.backward()
    assert total.grad is not None
    lift = (-total.grad).tolist()
    assert lift[0] > 0 and (len(lift) == 1 or lift[0] > lift[-1])


@each_config
def test_one_response_ranks_nothing(config: AlgorithmConfig) -> None:
    kept = make_algorithm(config).prepare(Ranking([5], ([6],), (1.0,)))
    assert (kept is None) == (config.min_responses > 1)
