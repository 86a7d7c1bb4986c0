"""`apportion pool make`, `sample` and `judge`, from the command line."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.stub_server import Stub, serving

from pools.config import PoolConfig
from pools.sources import load_pool
from search.cli import main


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rule = {"constraints": [{"kind": "lower"}]}
    rows = [
        {"prompt": f"Say something about number {i}", "domain": "numbers", "meta": rule} for i in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(body: dict[str, Any]) -> str:
    if "[Response]" in body["messages"][-1]["content"]:
        return json.dumps({"score": 1 + len(body["messages"][-1]["content"]) % 10})
    return f"{body['messages'][-1]['content']}: {body['seed']}"


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:  # `splitlines` would cut at characters that a text may hold
        return [json.loads(line) for line in lines]


def local(prompts: Path, output: Path, model: Path) -> list[str]:
    return [
        "pool", "make", str(prompts), "--output", str(output), "--model.name", str(model),
        "--model.dtype", "fp32", "--model.batch", "8", "--responses", "4",
        "--sampling.max_tokens", "5", "--sampling.temperature", "1", "--pool.held_out_prompts", "2",
    ]  # fmt: skip


def test_from_prompts_to_a_pool_that_a_study_can_use(prompts: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "pool.jsonl"
    assert main(local(prompts, output, model)) == 0
    pool, report = load_pool(PoolConfig(path=str(output)), seed=0, min_responses=4)
    assert (len(pool.train), len(pool.held_out)) == (10, 2)
    assert not report.counts
    assert pool.description.startswith(f"Responses by {model.name} (temperature 1")
    assert "scores by verifier (pools.demo.verifier:score)" in pool.description
    made = rows_of(output)[0]["pool"]["made"]
    assert made["responses"]["sampling"]["seed"] == 0 and "torch" in made["responses"]["versions"]
    (wrote,) = made["responses"]["models"]
    assert (wrote["dtype"], wrote["batch"], wrote["name"]) == ("fp32", 8, str(model))
    assert {response.source for example in pool.train for response in example.responses} == {model.name}


def test_the_check_of_prompts_alone_names_the_command(
    prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pool", "check", str(prompts)]) == 2
    assert f"apportion pool make {prompts} --output pool.jsonl" in capsys.readouterr().out


def test_a_row_that_is_no_prompt_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt\nSay one\nSay two, and three\n")
    with serving(Stub(words)) as stub:
        command = ["pool", "sample", str(path), "--output", str(tmp_path / "o.jsonl"), "--responses", "1",
                   "--model.endpoint", stub.url]  # fmt: skip
        for options in (["--dry-run"], []):
            assert main([*command, *options]) == 0
            assert f"{path}:3: 2 values under 1 columns" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "o.jsonl")) == 2


def test_sample_then_judge_is_make(prompts: Path, model: Path, tmp_path: Path) -> None:
    whole, sampled, judged = (tmp_path / f"{name}.jsonl" for name in ("whole", "sampled", "judged"))
    assert main(local(prompts, whole, model)) == 0
    sample = local(prompts, sampled, model)
    sample[1] = "sample"
    assert main(sample) == 0
    assert "score" not in rows_of(sampled)[1]["responses"][0]
    assert main(["pool", "judge", str(sampled), "--output", str(judged)]) == 0
    assert rows_of(judged)[1:] == rows_of(whole)[1:]
    assert rows_of(judged)[0]["pool"]["description"] == rows_of(whole)[0]["pool"]["description"]


def test_an_endpoint_that_misbehaves_gives_the_same_pool(prompts: Path, tmp_path: Path) -> None:
    faults = ["429", "500", "garbage", "cut", "empty", "drop"]
    pools = []
    for name, plan in (("good", []), ("bad", [*faults, "ok"] * 4)):
        output = tmp_path / f"{name}.jsonl"
        with serving(Stub(words, plan)) as stub:
            command = ["pool", "make", str(prompts), "--output", str(output), "--responses", "3",
                       "--model.endpoint", stub.url, "--model.name", "stub", "--model.tries", "12",
                       "--model.concurrency", "4", "--judge.kind", "pointwise",
                       "--judge.model.endpoint", stub.url, "--judge.model.name", "judge"]  # fmt: skip
            assert main(command) == 0
        pools.append([{**row, "responses": sorted(row["responses"], key=str)} for row in rows_of(output)[1:]])
    assert pools[0] == pools[1] and len(pools[0]) == 12


def test_a_server_that_dies_half_way_is_taken_up_again(
    prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "pool.jsonl"
    served = 0
    first = Stub(words)
    url, port = first.url, first.server_address[1]
    command = ["pool", "sample", str(prompts), "--output", str(output), "--responses", "3",
               "--model.tries", "1", "--model.endpoint", url, "--model.name", "stub",
               "--model.concurrency", "2"]  # fmt: skip

    def dying(body: dict[str, Any]) -> str:
        nonlocal served
        served += 1
        if served == 15:
            first.plan += ["drop"] * 1000
        return words(body)

    first.answer = dying
    with serving(first):
        assert main(command) == 2
    assert "does not answer" in capsys.readouterr().err and not output.exists()
    with serving(Stub(words, port=port)) as second:
        assert main(command) == 0
    assert len(second.requests) + served <= 36 + 2
    assert sum(len(row["responses"]) for row in rows_of(output)[1:]) == 36


def test_the_limit_of_cost_stops_and_goes_on(
    prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "pool.jsonl"
    with serving(Stub(words)) as stub:
        command = ["pool", "sample", str(prompts), "--output", str(output), "--responses", "2",
                   "--model.endpoint", stub.url, "--model.name", "stub", "--model.price_out", "1e6",
                   "--sampling.max_tokens", "20", "--model.concurrency", "1"]  # fmt: skip
        assert main([*command, "--max-cost", "60"]) == 2
        assert "max_cost 60 is reached" in capsys.readouterr().err and not output.exists()
        asked = len(stub.requests)
        assert 1 < asked < 24
        assert main([*command, "--max-cost", "1000"]) == 0
        assert len(stub.requests) == 24
    assert "cost" in capsys.readouterr().out


def test_a_dry_run_measures_writes_nothing_and_wastes_nothing(
    prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pool.jsonl"
    with serving(Stub(words)) as stub:
        command = ["pool", "sample", str(prompts), "--output", str(output), "--responses", "4",
                   "--model.endpoint", stub.url, "--model.name", "stub",
                   "--model.price_in", "1e6"]  # fmt: skip
        monkeypatch.setattr("search.commands.pool_make._BETWEEN_LINES", 0.0)
        assert main([*command, "--dry-run"]) == 0
        told, progress = capsys.readouterr()
        assert "measuring: 24 of 24" in progress
        assert "responses of stub: 48, 240 tokens in" in told and "cost 240" in told
        assert len(stub.requests) == 24 and not output.exists()
        assert main(command) == 0
        assert len(stub.requests) == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.endpoint", "localhost:8000"], "no URL"),
        (["--sampling.temperature", "0"], "one response a model"),
        (["--max-cost", "5"], "no model has a price"),
        (["--judge.kind", "pairwise"], "set that"),
        (["--model.engine", "vllm"], "Ray's workers with GPUs"),
        (["--responses", "many"], "responses = 'many'"),
        (["--more-models", "[{nam: x}]"], "nam"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    options: list[str], message: str, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pool", "make", str(prompts), "--output", str(tmp_path / "o.jsonl"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl.work").exists()


def test_a_verifier_that_cannot_judge_is_told_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bare.jsonl"
    path.write_text('{"prompt": "Say something"}\n')
    with serving(Stub(words)) as stub:
        command = [
            "pool",
            "make",
            str(path),
            "--output",
            str(tmp_path / "o.jsonl"),
            "--model.endpoint",
            stub.url,
        ]
        assert main(command) == 2
    told = capsys.readouterr().err
    assert "constraints" in told and "judge.reward.function" in told and not stub.requests


def test_nothing_is_written_over(prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = prompts.read_text()
    for output in (prompts, prompts.with_name("other.jsonl")):
        output.touch()
        assert main(["pool", "make", str(prompts), "--output", str(output)]) == 2
    assert main(["pool", "make", str(prompts), "--output", str(prompts), "--overwrite"]) == 2
    assert prompts.read_text() == before
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.slow
def test_ten_kills_change_no_text(model: Path, tmp_path: Path) -> None:
    """200 prompts x 8 responses; each process but the last is killed at a random moment of its work."""
    prompts = tmp_path / "prompts.jsonl"
    rule = {"constraints": [{"kind": "lower"}]}
    rows = ({"prompt": f"Number {i} {'x' * (i % 40)}", "meta": rule} for i in range(200))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rng, reached = random.Random(0), [0]
    journal = tmp_path / "torn.jsonl.work" / "responses.jsonl"

    def begun(name: str) -> int:
        options = ["--output", str(tmp_path / name), "--model.name", str(model), "--model.batch", "16",
                   "--model.dtype", "fp32", "--sampling.max_tokens", "12",
                   "--sampling.temperature", "1"]  # fmt: skip
        child = os.fork()
        if not child:
            os._exit(main(["pool", "make", str(prompts), *options]))
        return child

    def written() -> int:
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    assert os.waitpid(begun("whole.jsonl"), 0)[1] == 0
    for _ in range(10):
        child = begun("torn.jsonl")
        while written() <= reached[-1]:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it was done before it could be killed"
        reached.append(written())
    assert os.waitpid(begun("torn.jsonl"), 0)[1] == 0
    whole, torn = rows_of(tmp_path / "whole.jsonl"), rows_of(tmp_path / "torn.jsonl")
    assert torn[1:] == whole[1:]
    assert sum(len(row["responses"]) for row in torn[1:]) == 1600
    keys = [record["key"] for record in rows_of(journal)]
    assert len(keys) == len(set(keys)) == whole[0]["pool"]["made"]["responses"]["drawn"]


def test_a_judge_beside_leaves_scores_and_ratings_as_they_are(tmp_path: Path) -> None:
    ratings = [{"rater": "ann", "rank": 1}, {"rater": "bob", "rating": 4}]
    responses = [{"text": "all low", "score": 0.25, "ratings": ratings}, {"text": "Not So", "score": 0.75}]
    rule = {"constraints": [{"kind": "lower"}]}
    rows = [{"prompt": f"say {i}", "responses": responses, "meta": rule} for i in range(2)]
    rows.append({"prompt": "held", "part": "held_out", "responses": responses})  # type: ignore[dict-item]
    source, output = tmp_path / "people.jsonl", tmp_path / "both.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["pool", "judge", str(source), "--output", str(output), "--beside"]) == 0
    before, _ = load_pool(PoolConfig(path=str(source)), seed=0)
    after, _ = load_pool(PoolConfig(path=str(output)), seed=0)
    for old, new in zip(before.train, after.train, strict=True):
        assert [(r.text, r.score, r.ratings) for r in old.responses] == [
            (r.text, r.score, r.ratings) for r in new.responses
        ]
        assert [r.judge_score for r in new.responses] == [1.0, 0.5]
    assert after.held_out[0].responses == before.held_out[0].responses
    head = rows_of(output)[0]["pool"]
    assert "judge_scores" in head["made"] and "econd scores (judge_score) by verifier" in head["description"]
