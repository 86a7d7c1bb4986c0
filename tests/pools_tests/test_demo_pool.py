"""Building the demo pool, with a sampler that needs no model; and the pool that ships."""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from annotation.config import EMBEDDED
from annotation.sampling.sampler import MemorySampler
from base.errors import ConfigError, PoolError
from metrics.diversity import nested_diversity
from metrics.tokens import tokenize
from pools.config import PoolConfig
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES, OPENINGS
from pools.demo.verifier import score
from pools.sources import load_pool
from pools.types import Pool
from search.commands import demo_pool
from trainers.models import load_tokenizer, resolve_model

TRAIN, HELD_OUT = make_prompts(EXAMPLES, train=20, held_out=3, seed=0)


def varied() -> MemorySampler:
    return MemorySampler(lambda prompt, seed: f"Answer {seed} to {prompt.text}.")


def test_every_prompt_gets_distinct_answers_of_its_own() -> None:
    answers = demo_pool.sample(TRAIN, varied(), responses=4, seed=0)
    for prompt, mine in zip(TRAIN, answers, strict=True):
        assert len({answer.text for answer in mine}) == 4
        assert all(answer.text.endswith(f"{prompt.text}.") for answer in mine)


def test_another_seed_draws_other_answers() -> None:
    texts = [
        {answer.text for mine in demo_pool.sample(TRAIN, varied(), responses=2, seed=seed) for answer in mine}
        for seed in (0, 1)
    ]
    assert not texts[0] & texts[1]


def test_a_sampler_that_never_varies_comes_short_and_ends() -> None:
    same = MemorySampler(lambda prompt, seed: "x")
    answers = demo_pool.sample(TRAIN, same, responses=3, seed=0)
    assert [[answer.text for answer in mine] for mine in answers] == [["x"]] * 20


def test_no_two_lists_share_a_seed() -> None:
    seeds: list[int] = []

    def noted(texts: Sequence[object], copies: int, seed: int) -> list[str]:
        seeds.append(seed)
        return [f"the {'very ' * (len(seeds) % 9)}old house {chr(97 + copy)}." for copy in range(copies)]

    for seed in (0, 1):
        demo_pool.write_requests(noted, count=150, seed=seed)
    assert len(set(seeds)) == len(seeds) > 16


def test_requests_are_distinct_new_and_as_many_of_each_family() -> None:
    def lines(lists: Sequence[str], copies: int, seed: int) -> list[str]:
        again = EXAMPLES["explain"][0].removeprefix("Explain")
        return [again, "no end", *(f"the old hat of {chr(97 + copy) * 3}." for copy in range(copies))]

    requests = demo_pool.write_requests(lines, count=60, seed=0)
    assert {family: len(mine) for family, mine in requests.items()} == dict.fromkeys(EXAMPLES, 10)
    assert all(
        len(set(mine)) == 10 and not set(mine) & set(EXAMPLES[name]) for name, mine in requests.items()
    )


def test_a_model_that_repeats_itself_is_given_up() -> None:
    with pytest.raises(PoolError, match="wrote 1 requests of a family, not 2"):
        demo_pool.write_requests(lambda *_: ["the old hat."], count=12, seed=0)


def test_the_file_reads_back_whole_and_is_the_same_each_time(tmp_path: Path) -> None:
    answers = demo_pool.sample(TRAIN, varied(), responses=4, seed=0)
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        demo_pool.write_pool(tmp_path / name, demo_pool.pool_rows(TRAIN, answers, HELD_OUT))
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    pool, report = load_pool(PoolConfig(path=str(tmp_path / "a.jsonl.gz")), seed=0)
    assert pool.name == "demo" and "Model-made" in pool.description
    assert [example.prompt.text for example in pool.train] == [prompt.text for prompt in TRAIN]
    assert [example.prompt.meta for example in pool.held_out] == [prompt.meta for prompt in HELD_OUT]
    assert [len(example.responses) for example in pool.train] == [4] * 20
    assert report.rows == 23


def test_writing_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pool.jsonl.gz"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        demo_pool.write_pool(path, [])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def shipped() -> Path:
    return Path(demo_pool.__file__).parents[2] / "pools" / "demo" / "demo.jsonl.gz"


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_pool(PoolConfig(path=str(shipped())), seed=0, min_responses=8)[0]


def test_the_pool_that_ships_loads_without_a_flaw(pool: Pool) -> None:
    assert (len(pool.train), len(pool.held_out)) == (192, 324)
    assert all(len({response.text for response in example.responses}) == 8 for example in pool.train)
    assert "Model-made" in pool.description


def test_the_prompts_that_ship_are_of_six_families_and_tell_their_constraints(pool: Pool) -> None:
    for part in (pool.train, pool.held_out):
        assert set(Counter(example.prompt.domain for example in part).values()) == {len(part) // 6}
        for prompt in (example.prompt for example in part):
            assert prompt.text.startswith(OPENINGS[prompt.domain])
            assert all(f'"{c["word"]}"' in prompt.text for c in prompt.meta["constraints"] if "word" in c)


def test_the_scores_that_ship_are_the_verifiers(pool: Pool) -> None:
    for example in pool.train:
        for response in example.responses:
            assert response.score == pytest.approx(score(example.prompt, response.text), abs=1e-6)


def test_more_responses_find_better_ones_in_the_pool_that_ships(pool: Pool) -> None:
    best = [
        sum(max(r.score for r in example.responses[:k]) for example in pool.train) / len(pool.train)
        for k in (1, 2, 4, 8)
    ]
    assert all(more > less + 0.05 for less, more in zip(best, best[1:], strict=False))
    assert 0.2 < best[0] < 0.5


def test_most_prompts_that_ship_rank_their_responses(pool: Pool) -> None:
    told_apart = [len({response.score for response in example.responses}) > 1 for example in pool.train]
    assert sum(told_apart) / len(told_apart) > 0.8


def test_diversity_rises_over_all_sizes_of_the_pool_that_ships(pool: Pool) -> None:
    texts = [example.prompt.text for example in pool.train]
    tokens = tokenize(texts, load_tokenizer(resolve_model(EMBEDDED)))
    for seed in range(3):
        curve = nested_diversity(tokens.take(np.random.default_rng(seed).permutation(len(texts))))
        sizes = [curve[n - 1] for n in (6, 12, 24, 48, 96, 192)]
        assert all(more > less for less, more in pairwise(sizes))


def test_the_first_line_says_that_the_pool_is_model_made() -> None:
    with gzip.open(shipped(), "rt", encoding="utf-8") as file:
        header = json.loads(file.readline())
    assert header["pool"]["name"] == "demo"
    assert "no person" in header["pool"]["description"]


@pytest.mark.parametrize(
    ("option", "value"), [("--prompts", "0"), ("--held-out-prompts", "-1"), ("--responses", "0")]
)
def test_counts_that_make_no_pool_are_refused(option: str, value: str) -> None:
    parser = argparse.ArgumentParser()
    demo_pool.configure(parser)
    with pytest.raises(ConfigError, match=f"{option} must be at least .*, not {value}"):
        demo_pool.run(parser.parse_args([option, value]))
