"""Building the demo pool, with a sampler that needs no model; and the pool that ships."""

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from base.errors import ConfigError
from pools.config import PoolConfig
from pools.demo.grammar import make_prompts
from pools.demo.verifier import score
from pools.sources import load_pool
from pools.types import Prompt
from search.commands import demo_pool

TRAIN, HELD_OUT = make_prompts(train=20, held_out=3, seed=0)


def varied(prompts: Sequence[Prompt], seed: int) -> list[str]:
    return [f"Answer {seed % 97} {place}." for place, _ in enumerate(prompts)]


def test_every_prompt_gets_distinct_answers() -> None:
    answers = demo_pool.sample(TRAIN, varied, responses=4, seed=0)
    assert [len(set(texts)) for texts in answers] == [4] * 20


def test_empty_and_repeated_answers_are_drawn_again() -> None:
    calls: list[int] = []

    def stubborn(prompts: Sequence[Prompt], seed: int) -> list[str]:
        calls.append(len(prompts))
        fresh = [f"Fresh {len(calls)} {place}" for place in range(len(prompts))]
        return fresh if len(calls) > 1 else ["same", "", "same", "other"]

    answers = demo_pool.sample(TRAIN[:1], stubborn, responses=4, seed=0)
    assert answers == [["same", "other", "Fresh 2 0", "Fresh 2 1"]]
    assert calls == [4, 2]


def test_a_sampler_that_never_varies_comes_short_and_ends() -> None:
    assert (
        demo_pool.sample(TRAIN, lambda prompts, seed: ["x"] * len(prompts), responses=3, seed=0)
        == [["x"]] * 20
    )


def test_no_two_batches_share_a_seed() -> None:
    seeds: list[int] = []

    def noted(prompts: Sequence[Prompt], seed: int) -> list[str]:
        seeds.append(seed)
        return [""] * len(prompts)

    for seed in (0, 1):
        demo_pool.sample(TRAIN, noted, responses=2, seed=seed)
    assert len(set(seeds)) == len(seeds) > 8


def test_the_file_reads_back_whole_and_is_the_same_each_time(tmp_path: Path) -> None:
    answers = demo_pool.sample(TRAIN, varied, responses=4, seed=0)
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


def test_the_pool_that_ships_loads_without_a_flaw() -> None:
    pool, report = load_pool(PoolConfig(path=str(shipped())), seed=0, min_responses=8)
    assert (len(pool.train), len(pool.held_out)) == (600, 96)
    assert report.rows == 696
    assert all(len({response.text for response in example.responses}) == 8 for example in pool.train)
    assert "Model-made" in pool.description


def test_the_pool_that_ships_holds_the_grammars_prompts_and_the_verifiers_scores() -> None:
    pool, _ = load_pool(PoolConfig(path=str(shipped())), seed=0)
    train, held_out = make_prompts(train=600, held_out=96, seed=0)
    assert [example.prompt.text for example in pool.train] == [prompt.text for prompt in train]
    assert [example.prompt.text for example in pool.held_out] == [prompt.text for prompt in held_out]
    for example in pool.train:
        for response in example.responses:
            assert response.score == pytest.approx(score(example.prompt, response.text), abs=1e-6)


def test_more_responses_find_better_ones_in_the_pool_that_ships() -> None:
    pool, _ = load_pool(PoolConfig(path=str(shipped())), seed=0)
    best = [
        sum(max(r.score for r in example.responses[:k]) for example in pool.train) / len(pool.train)
        for k in (1, 2, 4, 8)
    ]
    assert all(more > less + 0.05 for less, more in zip(best, best[1:], strict=False))
    assert 0.2 < best[0] < 0.5


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
