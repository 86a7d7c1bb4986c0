"""`label export`, a scripted rater, `label import`: the same pool comes back through every tool."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.scripted_rater import answer, by_score

from annotation.labels.key import read_keys, response_id
from annotation.labels.tools import read_ratings
from pools.config import PoolConfig
from pools.sources import load_pool
from pools.subset import draw
from search.cli import main

HOSTILE = [
    "</script><script>document.title='owned'</script>", "=HYPERLINK(\"http://x\")", "-1+1", "{{script}}",
    "' OR 1=1",
    "a;b,c\td\n\"quoted\"\u2028e",
]  # fmt: skip
TOOLS = ["label-studio", "label-studio:min", "argilla", "argilla:flat", "csv", "page"]
SCORES = (0.9, 0.5, 0.5, 0.1, 0.3)


def text(prompt: int, place: int) -> str:
    return f"{HOSTILE[prompt % len(HOSTILE)]} response {place} of {prompt}"


TRUE = {text(prompt, place): score for prompt in range(12) for place, score in enumerate(SCORES)}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Twelve prompts with five responses, two of them of equal worth; two more are held out."""
    rows: list[dict[str, Any]] = []
    for n in range(12):
        answers = [{"text": text(n, p), "score": s, "source": f"model-{p}"} for p, s in enumerate(SCORES)]
        turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": f"prompt {n}"}]
        content = f"prompt {n}" if n % 2 else turns
        rows.append({"prompt": content, "domain": "d", "meta": {"n": n}, "responses": answers})
    rows.append({"prompt": "held out", "part": "held_out"})
    scored = [{"text": "a", "score": 0.4}, {"text": "b", "score": 0.6}]
    rows.append({"prompt": "held out with scores", "part": "held_out", "responses": scored})
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def exported(pool: Path, tool: str, *more: str, split: str = "10x4x2") -> Path:
    folder = pool.parent / re.sub(r"\W", "_", f"{tool}{''.join(more)}")
    options = ["--split", split, "--to", tool.partition(":")[0], "--output", str(folder), "--seed", "3"]
    assert main(["label", "export", str(pool), *options, *more]) == 0
    return folder


def imported(pool: Path, files: list[Path], *more: str, output: str = "scored.jsonl") -> list[dict[str, Any]]:
    path = pool.parent / output
    options = ["--pool", str(pool), "--output", str(path), "--overwrite"]
    assert main(["label", "import", *map(str, files), *options, *more]) == 0
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def assert_order_of_truth(row: dict[str, Any]) -> None:
    found = [(TRUE[each["text"]], each["score"]) for each in row["responses"]]
    for true_one, one in found:
        for true_other, other in found:
            assert (true_one > true_other) == (one > other), row


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_gives_back_the_pool_its_order_and_its_ties(pool: Path, tool: str) -> None:
    files = answer(exported(pool, tool), tool, by_score(TRUE))
    head, *rows = imported(pool, files)
    loaded = {example.prompt: example for example in load_pool(PoolConfig(path=str(pool)), seed=0)[0].train}
    again, report = load_pool(PoolConfig(path=str(pool.parent / "scored.jsonl")), seed=0)
    assert not report.counts and len(again.train) == 10
    for example in again.train:
        before = {response.text: response.source for response in loaded[example.prompt].responses}
        assert len(example.responses) == 4
        assert all(before[response.text] == response.source for response in example.responses)
        assert example.prompt.meta == loaded[example.prompt].prompt.meta
    for row in rows[:10]:
        assert_order_of_truth(row)
        for response in row["responses"]:
            assert {each["rater"] for each in response["ratings"]} == {"rater-1", "rater-2"}
            assert 0 < response["score_se"] < 0.5
    assert [row["part"] for row in rows[10:]] == ["held_out", "held_out"]
    assert [each["score"] for each in rows[11]["responses"]] == [0.4, 0.6]
    assert head["pool"]["made"]["scores"]["alpha"] == 1.0
    assert head["pool"]["description"] == "Scores by 2 raters, by Bradley-Terry with their reliabilities."


def test_all_tools_give_the_same_rows(pool: Path) -> None:
    found = [imported(pool, answer(exported(pool, tool), tool, by_score(TRUE)))[1:] for tool in TOOLS]
    assert all(rows == found[0] for rows in found[1:])


@pytest.mark.parametrize("tool", ["label-studio", "label-studio:min", "csv", "page"])
def test_pairs_of_two_come_back_as_scores(pool: Path, tool: str) -> None:
    files = answer(exported(pool, tool, "--kind", "pairwise", split="6x3x2"), tool, by_score(TRUE))
    _, *rows = imported(pool, files)
    for row in rows[:6]:
        assert_order_of_truth(row)
        assert len(row["responses"][0]["ratings"]) == 4  # two raters, two pairs each
        assert row["responses"][0]["ratings"][0]["among"][0] == 0


@pytest.mark.parametrize("tool", ["label-studio", "label-studio:min", "csv"])
def test_ratings_come_back_as_scores(pool: Path, tool: str) -> None:
    files = answer(exported(pool, tool, "--kind", "rating"), tool, by_score(TRUE))
    _, *rows = imported(pool, files)
    for row in rows[:10]:
        assert_order_of_truth(row)
        assert all("rating" in each for response in row["responses"] for each in response["ratings"])


def test_order_is_shuffled_for_each_rater_and_nothing_names_a_source(pool: Path) -> None:
    folder = exported(pool, "label-studio")
    orders = {}
    for rater in ("rater-1", "rater-2"):
        content = (folder / f"{rater}.json").read_text()
        assert "model-" not in content and "score" not in content
        for row in json.loads(content):
            orders[rater, row["data"]["prompt"]] = [item["body"] for item in row["data"]["items"]]
    prompts = {prompt for _, prompt in orders}
    pairs = [(orders["rater-1", prompt], orders["rater-2", prompt]) for prompt in prompts]
    assert all(sorted(one) == sorted(other) for one, other in pairs)
    assert sum(one != other for one, other in pairs) >= 7


def test_the_same_seed_gives_the_same_export_in_any_order_of_the_file(pool: Path) -> None:
    first = exported(pool, "csv")
    before = (first / "rater-1.csv").read_bytes()
    pool.write_text("".join(reversed(pool.read_text().splitlines(keepends=True))))
    options = ["--split", "10x4x2", "--to", "csv", "--output", str(first), "--overwrite"]
    assert main(["label", "export", str(pool), *options, "--seed", "3"]) == 0
    assert (first / "rater-1.csv").read_bytes() == before
    assert main(["label", "export", str(pool), *options, "--seed", "4"]) == 0
    assert (first / "rater-1.csv").read_bytes() != before


def test_unscored_responses_go_out_and_come_back_with_scores(pool: Path) -> None:
    rows = [json.loads(line) for line in pool.read_text().splitlines()]
    for row in rows:
        for response in row.get("responses", ()):
            del response["score"]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, *rows = imported(pool, answer(exported(pool, "page"), "page", by_score(TRUE)))
    for row in rows[:10]:
        assert_order_of_truth(row)
    assert all("responses" not in row for row in rows[10:])


def test_more_raters_than_the_split_has_share_the_prompts(pool: Path) -> None:
    folder = exported(pool, "page", "--raters", "rater-a,rater-b,rater-c,rater-d")
    key = read_keys([folder / "key.jsonl"]).values()
    counts = {name: sum(shown.rater == name for shown in key) for name in {s.rater for s in key}}
    assert sorted(counts.values()) == [5, 5, 5, 5]
    assert len({(shown.rater, shown.prompt) for shown in key}) == 20


def test_two_exports_come_back_together(pool: Path) -> None:
    one = answer(exported(pool, "csv", split="6x4x1"), "csv", by_score(TRUE))
    other = answer(exported(pool, "page", split="9x4x1"), "page", by_score(TRUE))
    _, *rows = imported(pool, [*one, *other])
    assert len(rows) == 9 + 2
    _, *part = imported(pool, one)
    assert len(part) == 6 + 2


def test_csv_is_inert_in_a_spreadsheet(pool: Path) -> None:
    content = (exported(pool, "csv") / "rater-1.csv").read_text("utf-8-sig")
    assert "'=HYPERLINK" in content
    assert not re.search(r'(^|,)"?[=+@-]', content, re.MULTILINE)


def test_the_page_cannot_be_ended_by_its_data(pool: Path) -> None:
    content = (exported(pool, "page") / "rater-1.html").read_text()
    assert "<script>document" not in content
    assert content.count("<script") == content.count("</script>") == 2
    assert "default-src 'none'" in content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "10"], "no split"),
        (["--split", "10x1x2"], "at least 2 responses"),
        (["--split", "50x4x2"], "12 train prompts"),
        (["--split", "5x9x1"], "0 train prompts with so many"),
        (["--split", "5x4x3", "--raters", "ann,bob"], "names ann, bob"),
        (["--split", "5x4x2", "--raters", "ann,Ann"], "one twice"),
        (["--split", "5x4x1", "--raters", "../ann"], "names files"),
        (["--split", "5x4x1", "--to", "argilla", "--raters", "Settings"], "another file"),
        (["--split", "5x4x1", "--to", "page", "--kind", "rating"], "asks for ranks"),
    ],
)
def test_bad_exports_are_refused(
    pool: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--to", "csv", *options, "--output", str(pool.parent / "out")]
    assert main(["label", "export", str(pool), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (pool.parent / "out").exists()


def test_no_folder_is_replaced_that_is_no_export(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--split", "5x4x1", "--to", "csv", "--output", str(pool.parent), "--overwrite"]
    assert main(["label", "export", str(pool), *options]) == 2
    assert "is no export" in capsys.readouterr().err and pool.exists()


def test_a_file_of_no_tool_is_refused(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = exported(pool, "page")
    for content in ("[]", '{"a": 1}', "a,b\n1,2\n", '[{"annotation_id": 1}]', "[1]"):
        (folder / "odd.json").write_text(content)
        options = ["--pool", str(pool), "--output", str(pool.parent / "x.jsonl")]
        assert main(["label", "import", str(folder / "odd.json"), *options]) == 2
        assert "none of the shapes" in capsys.readouterr().err
    assert not (pool.parent / "x.jsonl").exists()


def test_ids_do_not_depend_on_white_space_at_the_ends() -> None:
    assert response_id(" a\n") == response_id("a") != response_id("b")


def test_lists_without_buckets_are_orders(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    ranker = {"ranker": {"ranking": ["response_2", "response_1"]}}
    result = [{"from_name": "ranking", "type": "ranker", "value": ranker}]
    made = [{"result": result, "completed_by": 7}, {"result": [], "was_cancelled": True, "completed_by": 8}]
    path.write_text(json.dumps([{"data": {"task": "t1"}, "annotations": made}]))
    one, other = read_ratings(path)
    assert (one.rater, one.values) == ("7", {1: 1.0, 0: 2.0})
    assert (other.rater, other.values) == ("8", {})


def test_the_chosen_responses_go_out_as_a_study_draws_them(pool: Path) -> None:
    key = read_keys([exported(pool, "csv", "--response-choice", "spread") / "key.jsonl"]).values()
    examples, _ = load_pool(PoolConfig(path=str(pool)), seed=0)
    drawn = draw(examples.train, prompts=10, responses=4, seed=3, choice="spread")
    asked = {each.prompt: {response_id(r.text) for r in each.responses} for each in drawn}
    assert {shown.prompt: set(shown.responses) for shown in key} == {
        prompt.key: names for prompt, names in asked.items()
    }
    with pytest.raises(SystemExit):
        exported(pool, "csv", "--response-choice", "nearest")


def test_a_choice_by_a_judge_needs_its_scores(pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--split", "2x2", "--to", "csv", "--output", str(pool.parent / "far")]
    assert main(["label", "export", str(pool), *options, "--response-choice", "far"]) == 2
    assert "judge_score" in capsys.readouterr().err


def test_scores_of_a_judge_stay_beside_those_of_people(pool: Path) -> None:
    files = answer(exported(pool, "csv"), "csv", by_score(TRUE))
    _, *rows = imported(pool, files, "--judge-scores")
    kept = [each for row in rows[:10] for each in row["responses"]]
    assert kept and all(each["judge_score"] == TRUE[each["text"]] for each in kept)
    assert any(each["judge_score"] != each["score"] for each in kept)
    again, _ = load_pool(PoolConfig(path=str(pool.parent / "scored.jsonl")), seed=0)
    assert again.train[0].responses[0].judge_score is not None
    _, *plain = imported(pool, files)
    assert all("judge_score" not in each for row in plain[:10] for each in row["responses"])
