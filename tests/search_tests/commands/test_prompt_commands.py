"""The commands on prompts, from files to what they print."""

import gzip
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from metrics.diversity import diversity
from metrics.tokens import tokenize
from search.cli import main

WORDS = [
    "tell",
    "me",
    "why",
    "the",
    "sky",
    "is",
    "blue",
    "and",
    "how",
    "to",
    "bake",
    "bread",
    "write",
    "rain",
]
PROMPTS = [
    " ".join(WORDS[(3 * i + j * (1 + i % 4)) % len(WORDS)] for j in range(3 + i % 5)) for i in range(60)
]


def word_tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<e>", *WORDS])}, unk_token="<e>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), eos_token="<e>").save_pretrained(path)
    return str(path)


@pytest.fixture
def pool_file(tmp_path: Path) -> Path:
    path = tmp_path / "pool.jsonl"
    rows = [{"prompt": text, "responses": []} for text in PROMPTS]
    rows[-1]["part"] = "held_out"
    path.write_text("\n".join([*map(json.dumps, rows), "not json", json.dumps({"prompt": "  "})]) + "\n")
    return path


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["diversity", *arguments, "--json"]) == 0
    account: dict[str, object] = json.loads(capsys.readouterr().out)
    return account


def test_diversity_of_a_file(pool_file: Path, tokenizer_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    account = measured(capsys, str(pool_file), "--tokenizer", tokenizer_dir)
    different = list(dict.fromkeys(PROMPTS))
    assert account["diversity"] == diversity(tokenize(different, word_tokenizer()))
    assert account["exact"] is True
    assert account["prompts"] == len(different)
    assert account["repeats_left_out"] == len(PROMPTS) - len(different)
    assert account["rows_left_out"] == {"malformed_line": 1, "empty_prompt": 1}


def test_globs_formats_and_options_add_up(
    tmp_path: Path, tokenizer_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow
    import pyarrow.parquet

    with gzip.open(tmp_path / "one.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps({"question": text}) for text in PROMPTS[:20]))
    table = pyarrow.table({"question": PROMPTS[20:]})
    pyarrow.parquet.write_table(table, tmp_path / "two.parquet")
    common = ["--tokenizer", tokenizer_dir, "--field", "question", "--keep-repeats"]
    both = measured(capsys, str(tmp_path / "one*"), str(tmp_path / "two.parquet"), *common, "--order", "3")
    assert both["diversity"] == diversity(tokenize(PROMPTS, word_tokenizer()), order=3)
    about = measured(capsys, str(tmp_path / "*"), *common, "--engine", "approximate", "--exponent", "0")
    assert about["exact"] is False
    assert about["diversity"] == pytest.approx(
        diversity(tokenize(PROMPTS, word_tokenizer()), exponent=0), rel=0.02
    )


def test_diversity_says_what_it_cannot_read(
    tmp_path: Path, tokenizer_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.jsonl").write_text('{"question": "why"}\n')
    assert main(["diversity", str(tmp_path / "odd.jsonl"), "--tokenizer", tokenizer_dir]) == 2
    assert "name the column that holds the prompt with --field" in capsys.readouterr().err
    assert main(["diversity", str(tmp_path / "none*.jsonl"), "--tokenizer", tokenizer_dir]) == 2
    assert "no file matches" in capsys.readouterr().err


def test_diversity_for_people(
    pool_file: Path, tokenizer_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diversity", str(pool_file), "--tokenizer", tokenizer_dir]) == 0
    out = capsys.readouterr().out
    assert "(exact)" in out and "Heaps' law" in out
    assert "1 rows: line is not JSON" in out


@pytest.mark.parametrize("kind", ["random", "diverse", "narrow"])
def test_select_writes_prompts_in_labelling_order(
    pool_file: Path, tokenizer_dir: str, tmp_path: Path, kind: str
) -> None:
    def select(count: int) -> list[dict[str, object]]:
        out = tmp_path / f"{count}.jsonl"
        options = ["--prompts", str(count), "--selection", kind, "--output", str(out)]
        assert main(["select", str(pool_file), "--tokenizer", tokenizer_dir, *options]) == 0
        return [json.loads(line) for line in out.read_text().splitlines()]

    rows = select(12)
    assert [row["rank"] for row in rows] == list(range(1, 13))
    assert PROMPTS[-1] not in {row["prompt"] for row in rows}
    assert select(5) == rows[:5]
    chosen = tokenize((str(row["prompt"]) for row in rows), word_tokenizer())
    assert rows[-1]["diversity"] == pytest.approx(diversity(chosen))
    assert sum(int(str(row["gain"])) for row in rows) == round(
        diversity(chosen, exponent=0) * (chosen.lengths - 1).sum()
    )


def test_select_cannot_choose_more_than_there_are(
    pool_file: Path, tokenizer_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", str(pool_file), "--tokenizer", tokenizer_dir, "--prompts", "999"]) == 2
    assert "--prompts is 999, but the pool has" in capsys.readouterr().err
