"""`apportion pool check`: its report, its JSON, its exit status."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from pools.config import PoolConfig
from pools.spilled import OnDiskPoolBuilder
from search.cli import main

FIXTURES = Path(__file__).parent / "fixtures"


def real(name: str) -> Path:
    """A file of the real data, which lie outside the repository; skips the test where it is missing."""
    folder = Path(os.environ.get("APPORTION_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / name).is_file():
        pytest.skip(f"no real data at {folder / name}: set APPORTION_DATA")
    return folder / name


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["pool", "check", *map(str, arguments)])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_a_good_pool(capsys: pytest.CaptureFixture[str]):
    status, out, err = check(capsys, FIXTURES / "pool.jsonl")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{FIXTURES}/pool.jsonl: 5 rows, format pool (detected from the first rows), name garden",
        "Model-made questions about a garden.",
        "train: 3 prompts, 7 responses",
        "  prompts by responses: 2 with 2, 1 with 3; mean prompt length 5.3 words",
        "  score: -2.5 to 1, mean 0.1143",
        "  domains: garden 2, animals 1",
        "held out: 2 prompts, 1 responses",
        "  prompts by responses: 1 with 0, 1 with 1; mean prompt length 4.0 words",
        "  score: 0.4 to 0.4, mean 0.4",
        "  domains: animals 1, (none) 1",
        "nothing was dropped",
        "usable",
    ]


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]):
    status, out, _ = check(capsys, FIXTURES / "pool.jsonl", "--min-responses", 3, "--json")
    report = json.loads(out)
    assert status == 0
    assert report["usable"] is True
    assert report["counts"] == {"too_few_responses": 2}
    assert report["first"][0]["location"] == f"{FIXTURES}/pool.jsonl:3"
    assert report["train"]["prompts"] == 1
    assert report["train"]["responses_per_prompt"] == {"3": 1}


def test_a_refused_pool_is_shown_whole_and_ends_with_2(capsys: pytest.CaptureFixture[str]):
    status, out, _ = check(capsys, FIXTURES / "pool.jsonl", "--min-responses", 3, "--on-bad-row", "refuse")
    assert status == 2
    assert "2 x too_few_responses: fewer good responses than asked" in out
    assert out.splitlines()[-1].endswith("pool.jsonl: 2 flaws, and on_bad_row is refuse")


@pytest.mark.parametrize("held_out", [(), ("--held-out-prompts", 1)])
def test_prompts_alone_are_told_as_that_with_the_command_that_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, held_out: tuple[object, ...]
) -> None:
    path = tmp_path / "my prompts.csv"
    path.write_text("prompt,id\nWhat is rain?,7\nWhat is snow?,8\n")
    status, out, _ = check(capsys, path, *held_out)
    assert status == 2
    first, last = out.splitlines()
    assert "2 rows, format prompts" in first
    assert f"2 prompts without responses; apportion pool make '{path}' --output pool.jsonl" in last


def test_prompts_beside_a_column_of_texts_may_be_a_pool(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("prompt,answer_text\nWhat is rain?,Water.\n")
    status, out, _ = check(capsys, path)
    assert status == 2
    assert "responses: [answer_text]" in out and "prompts alone? apportion pool make" in out


def test_a_large_pool_is_checked_on_disk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_memory = check(capsys, FIXTURES / "pool.jsonl", "--min-responses", 3)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = PoolConfig(path=str(FIXTURES / "pool.jsonl"), min_responses=3, stream_above=0)
    monkeypatch.setattr("search.commands.pool._config", lambda _: config)
    kept: list[Path] = []

    class Watched(OnDiskPoolBuilder):
        def __init__(self, folder: Path, source_bytes: int) -> None:
            kept.append(folder)
            super().__init__(folder, source_bytes)

    monkeypatch.setattr("pools.sources.OnDiskPoolBuilder", Watched)
    assert check(capsys, FIXTURES / "pool.jsonl", "--min-responses", 3) == in_memory
    assert kept[0].is_relative_to(tmp_path) and not any(tmp_path.iterdir())


def test_an_empty_pool_ends_with_2(capsys: pytest.CaptureFixture[str]):
    status, out, _ = check(capsys, FIXTURES / "pool.jsonl", "--min-responses", 9)
    assert status == 2
    assert out.splitlines()[-1].endswith("no train prompt is left of 5 rows")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_file.jsonl"], "no_such_file.jsonl: No such file or directory"),
        (
            [FIXTURES / "pool.jsonl", "--held-out-prompts", 0],
            "--held-out-prompts: .*greater than or equal to 1",
        ),
        (
            [FIXTURES / "pool.jsonl", "--held-out-prompts", 9],
            "held_out_prompts is 9, but there are 2 prompts",
        ),
        ([FIXTURES / "pool.jsonl", "--held-out-path", "a", "--held-out-split", "b"], "exclude each other"),
    ],
)
def test_bad_arguments_are_one_plain_line(
    capsys: pytest.CaptureFixture[str], arguments: list[object], message: str
):
    status, out, err = check(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(message, err)


def test_an_unknown_format_is_quoted_with_the_choices(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        check(capsys, FIXTURES / "pool.jsonl", "--format", "hh")
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "'hh'" in message and "hh_rlhf" in message and "nectar" in message


def test_a_hub_id_without_network_is_a_plain_error():
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "search.cli", "pool", "check", "nobody-here/no-such-set"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "nobody-here/no-such-set: no such file or folder, and no Hugging Face data set" in result.stderr
    assert "Without network" in result.stderr


def test_the_command_needs_no_heavy_library():
    script = (
        "import sys; from search.cli import main\n"
        f"main(['pool', 'check', {str(FIXTURES / 'pool.jsonl')!r}])\n"
        "print(sorted({'torch', 'ray', 'deepspeed', 'datasets', 'pyarrow'} & sys.modules.keys()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_real_pool_of_model_answers(capsys: pytest.CaptureFixture[str]):
    path = real("alpaca_eval/pool.jsonl.gz")
    status, out, _ = check(capsys, path, "--held-out-prompts", 80, "--min-responses", 8, "--json")
    report = json.loads(out)
    rows = gzip.decompress(path.read_bytes()).count(b"\n")
    assert (status, report["rows"], report["held_out"]["prompts"]) == (0, rows, 80)
    short = report["counts"]["too_few_responses"]
    assert report["train"]["prompts"] == rows - 80 - short
    assert report["train"]["responses_per_prompt"] == {"8": rows - 80 - short}
    assert 0 <= report["train"]["score_min"] < report["train"]["score_max"] <= 1


def test_real_dialogues(capsys: pytest.CaptureFixture[str]):
    status, out, _ = check(capsys, real("hh_rlhf/harmless_base_test.jsonl.gz"), "--json")
    report = json.loads(out)
    assert (status, report["format"], report["rows"]) == (0, "hh_rlhf", 2312)
    assert report["counts"] == {"empty_response": 4, "no_shared_prompt": 5}
    assert report["train"]["prompts"] == 2312 - 5 - report["merged_rows"]


def test_demo_names_the_pool_that_ships(capsys: pytest.CaptureFixture[str]):
    status, out, _ = check(capsys, "demo", "--json")
    report = json.loads(out)
    assert status == 0
    assert Path(report["path"]) == ROOT / "pools" / "demo" / "demo.jsonl.gz"
    assert "odel-made" in report["description"]
