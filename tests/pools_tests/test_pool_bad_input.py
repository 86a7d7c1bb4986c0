"""Bad input: counted by reason, placed by file and line, dropped or refused, never a traceback."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import PoolError
from pools.config import PoolConfig
from pools.flaws import REASONS
from pools.formats.table import FORMATS
from pools.readers import MemorySource
from pools.report import PoolReport
from pools.sources import assemble, load_pool, scan_pool
from pools.types import Pool

FIXTURES = Path(__file__).parent / "fixtures"
GOOD = {"prompt": "good", "responses": [{"text": "a", "score": 1}, {"text": "b", "score": 0}]}


def row(prompt: object = "other", *scores: object, **more: object) -> dict[str, Any]:
    """A row of the pool schema with one response for each score."""
    responses = [{"text": f"answer {i}", "score": score} for i, score in enumerate(scores or (1, 0))]
    return {"prompt": prompt, "responses": responses, **more}


def loaded(*values: object, **settings_: Any) -> tuple[Pool, PoolReport]:
    config = PoolConfig(**{"format": "pool", **settings_})
    return assemble(MemorySource(values, "rows"), None, config, seed=0)


def file_report(path: Path, content: bytes, **settings_: Any) -> PoolReport:
    path.write_bytes(content)
    return scan_pool(PoolConfig(path=str(path), **settings_), seed=0)[1]


ROW_FLAWS = [
    ("not_an_object", 7),
    ("not_an_object", None),
    ("not_an_object", ["prompt"]),
    ("empty_prompt", {"responses": []}),
    ("empty_prompt", row("")),
    ("empty_prompt", row(" \n ")),
    ("empty_prompt", row([])),
    ("empty_prompt", row([{"role": "user", "content": ""}])),
    ("wrong_shape", row(5)),
    ("wrong_shape", row({"role": "user"})),
    ("wrong_shape", row(["turn", "other"])),
    ("wrong_shape", row([{"role": "bot", "content": "x"}])),
    ("wrong_shape", row([{"role": "user", "content": None}])),
    ("wrong_shape", row([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}])),
    ("wrong_shape", row(domain=3.5)),
    ("wrong_shape", row(part="test")),
    ("wrong_shape", row(meta=[1])),
    ("wrong_shape", {"prompt": "x", "responses": "none"}),
    ("wrong_shape", {"prompt": "x", "responses": ["text"]}),
    ("wrong_shape", {"prompt": "x", "responses": {"text": ["a"], "score": [1, 2]}}),
    ("tool_turn", row([{"role": "user", "content": "x"}, {"role": "tool", "content": "18 C"}])),
    ("bad_utf8", row("lone \ud800 surrogate")),
    ("duplicate_prompt", row("good")),
    ("too_few_responses", {"prompt": "x", "responses": []}),
    ("too_few_responses", {"prompt": "x"}),
]


@pytest.mark.parametrize(("reason", "value"), ROW_FLAWS)
def test_a_bad_row_is_dropped_and_placed(reason: str, value: object):
    pool, report = loaded(GOOD, value)
    assert report.counts == {reason: 1}
    assert [finding.location for finding in report.first] == ["rows:2"]
    assert [example.prompt.text for example in pool.train] == ["good"]
    assert report.rows == 2


RESPONSE_FLAWS = [
    ("missing_score", {"text": "t"}),
    ("missing_score", {"text": "t", "score": None}),
    ("bad_score", {"text": "t", "score": float("nan")}),
    ("bad_score", {"text": "t", "score": float("inf")}),
    ("bad_score", {"text": "t", "score": -(10**400)}),
    ("bad_score", {"text": "t", "score": True}),
    ("bad_score", {"text": "t", "score": "three"}),
    ("missing_score", {"text": "t", "score": "N/A"}),
    ("empty_response", {"score": 1}),
    ("empty_response", None),
    ("empty_response", {"text": " ", "score": 1}),
    ("bad_utf8", {"text": "\udfff", "score": 1}),
    ("wrong_shape", {"text": 3, "score": 1}),
    ("wrong_shape", {"text": "t", "score": 1, "source": [4]}),
    ("duplicate_response", {"text": " answer 0 ", "score": 0.5}),
]


@pytest.mark.parametrize(("reason", "response"), RESPONSE_FLAWS)
def test_a_bad_response_is_dropped_and_the_others_stay(reason: str, response: dict[str, object] | None):
    value = row("other", 1, 0)
    value["responses"].append(response)
    pool, report = loaded(GOOD, value)
    assert report.counts == {reason: 1}
    assert report.first[0].location == "rows:2"
    assert [r.text for r in pool.train[1].responses] == ["answer 0", "answer 1"]
    assert [r.score for r in pool.train[1].responses] == [1.0, 0.0]


def test_bad_responses_count_towards_too_few():
    pool, report = loaded(row("x", 1, float("nan")), GOOD, min_responses=2)
    assert report.counts == {"bad_score": 1, "too_few_responses": 1}
    assert str(report.first[1]) == "rows:1: 1, asked 2"
    assert len(pool.train) == 1


def test_the_larger_of_both_minima_holds():
    source = MemorySource([row("x", 1, 2, 3), GOOD])
    sizes = [
        len(assemble(source, None, PoolConfig(min_responses=own), seed=0, min_responses=asked)[0].train)
        for own, asked in [(0, 0), (3, 1), (1, 3), (0, 4)]
    ]
    assert sizes == [2, 1, 1, 0]


@pytest.mark.parametrize(("reason", "value"), ROW_FLAWS)
def test_refuse_names_the_reason_and_the_place(reason: str, value: object):
    _, report = loaded(GOOD, value, on_bad_row="refuse")
    assert "on_bad_row is refuse" in report.error
    assert REASONS[reason] in report.error
    assert "rows:2" in report.error


def test_refuse_takes_a_clean_pool():
    assert not loaded(GOOD, on_bad_row="refuse")[1].error


def test_load_raises_what_scan_reports(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "x", "responses": []}\n')
    with pytest.raises(
        PoolError, match=r"no train prompt is left of 1 rows\n1 x too_few_responses.*\n.*:1: 0"
    ):
        load_pool(PoolConfig(path=str(path)), seed=0)


LINE_FLAWS = [
    ("malformed_line", b"{nonsense"),
    ("malformed_line", b"[" * 100_000),
    ("bad_utf8", b'{"prompt": "caf\xe9"}'),
    ("not_an_object", b'"text"'),
    ("bad_score", b'{"prompt": "p", "responses": [{"text": "t", "score": NaN}, {"text": "u", "score": 1}]}'),
    (
        "bad_score",
        b'{"prompt": "p", "responses": [{"text": "t", "score": 1e999}, {"text": "u", "score": 1}]}',
    ),
    ("bad_utf8", b'{"prompt": "\\ud83d"}'),
]


@pytest.mark.parametrize(("reason", "line"), LINE_FLAWS)
def test_a_bad_line_is_placed_by_its_number(tmp_path: Path, reason: str, line: bytes):
    good = json.dumps(GOOD).encode()
    report = file_report(tmp_path / "p.jsonl", b"\n".join([b"\xef\xbb\xbf" + good, b"", b"  ", line, b""]))
    assert report.counts == {reason: 1}
    assert report.first[0].location == f"{tmp_path}/p.jsonl:4"
    assert (report.rows, report.train.prompts) == (2, 1 + (reason == "bad_score"))


def test_a_gzip_that_is_cut_short_keeps_what_was_read(tmp_path: Path):
    lines = b"".join(json.dumps(row(f"prompt {i} {hash(i)}")).encode() + b"\n" for i in range(3000))
    zipped = gzip.compress(lines)
    report = file_report(tmp_path / "p.jsonl.gz", zipped[: len(zipped) // 2])
    assert report.counts.keys() - {"malformed_line"} == {"damaged_file"}
    assert 0 < report.train.prompts < 3000
    assert report.first[-1].location.endswith(f":{report.rows}")
    assert not report.error


def test_a_gzip_with_damage_inside_does_not_raise(tmp_path: Path):
    zipped = bytearray(gzip.compress(json.dumps(GOOD).encode() * 1))
    zipped[-6] ^= 0xFF  # the checksum
    report = file_report(tmp_path / "p.jsonl.gz", bytes(zipped), format="pool")
    assert "damaged_file" in report.counts


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_gzip_is_told_by_content_not_by_name(tmp_path: Path, name: str):
    content = json.dumps(GOOD).encode()
    assert file_report(tmp_path / name, content).train.prompts == 1
    assert file_report(tmp_path / name, gzip.compress(content)).train.prompts == 1


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"PAR1" * 100])
def test_a_damaged_parquet_file(tmp_path: Path, content: bytes):
    report = file_report(tmp_path / "p.parquet", content, format="pool")
    assert report.counts == {"damaged_file": 1}
    assert "no train prompt is left" in report.error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no row is an object"),
        (b"\n\n", "no row is an object"),
        (b"[3]", "no row is an object .one JSON object a line is expected"),
        (b"[\n{", "line 1: malformed_line"),
        (b'{"\\ud800": "x"}', r"the columns are \?. No format has any of them"),
        (
            b'{"question": "x", "answer": "y"}',
            r"the columns are question, answer. Format rated is the nearest; it lacks one of \(.*score.*\)\. "
            r"Say which column is which with pool.columns: \{prompt: question, responses: \[answer\]",
        ),
        (
            b'{"q": "x", "chosen": "y", "rejected": "z"}',
            r"the prompt may be in q: say so with pool.columns, such as \{prompt: q, chosen: chosen, rej",
        ),
        (
            b'{"question": "x", "context": "w", "chosen": "y", "rejected": "z"}',
            r"question and context could both be part of the prompt.*prompt: \[context, question\]",
        ),
    ],
)
def test_a_file_whose_format_cannot_be_told(tmp_path: Path, content: bytes, message: str):
    with pytest.raises(PoolError, match=message):
        file_report(tmp_path / "p.jsonl", content)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jsonl", "No such file"),
        ("missing.parquet", "No such file"),
        ("folder.jsonl", "Is a directory"),
        ("table.xlsx", r'suffix ".xlsx" is none of .jsonl, .jsonl.gz, .*.json, .*.tsv.*, .parquet'),
        ("nothing/at/all", "no such file or folder, and a hub id would be NAME or OWNER/NAME"),
        ("empty_folder", "not a data set that can be read"),
    ],
)
def test_a_path_that_cannot_be_read(tmp_path: Path, name: str, message: str):
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "empty_folder").mkdir()
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(PoolError, match=message):
        load_pool(PoolConfig(path=str(tmp_path / name)), seed=0)


def test_rows_of_the_wrong_format_are_counted_not_guessed():
    pair = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    for format in FORMATS:
        pool, report = loaded(pair, format=format)
        assert (len(pool.train) == 1) == (format in ("hh_rlhf", "preference"))
        assert bool(report.counts) == (len(pool.train) == 0)


HH_FLAWS = [
    ("no_shared_prompt", "\n\nHuman: q\n\nAssistant: yes", "\n\nHuman: r\n\nAssistant: no"),
    ("no_shared_prompt", "\n\nHuman: q\n\nAssistant: yes\n\nAssistant: so", "\n\nHuman: q\n\nAssistant: no"),
    ("empty_response", "\n\nHuman: q\n\nAssistant:", "\n\nHuman: q\n\nAssistant: no"),
    ("empty_prompt", "\n\nHuman: \n\nAssistant: yes", "\n\nHuman: \n\nAssistant: no"),
    ("wrong_shape", "\n\nHuman: q", "\n\nHuman: q\n\nAssistant: no"),
    ("wrong_shape", "\n\nAssistant: q", "\n\nAssistant: no"),
    ("wrong_shape", "no dialogue", "\n\nHuman: q\n\nAssistant: no"),
    ("wrong_shape", "before\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: no"),
    ("wrong_shape", None, "\n\nHuman: q\n\nAssistant: no"),
]


@pytest.mark.parametrize(("reason", "chosen", "rejected"), HH_FLAWS)
def test_bad_dialogues(reason: str, chosen: object, rejected: object):
    report = loaded({"chosen": chosen, "rejected": rejected}, format="hh_rlhf")[1]
    assert report.counts == {reason: 1}


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("wrong_shape", {"prefix": "p", "suffix": ["a"], "reward": [1, 2]}),
        ("wrong_shape", {"prefix": "p", "suffix": "a", "reward": 1}),
        ("no_shared_prompt", {"prefix": ["p", "q"], "suffix": ["a", "b"], "reward": [1, 2]}),
        ("bad_score", {"prefix": "p", "suffix": ["a", "b"], "reward": [1, float("nan")]}),
        ("empty_prompt", {"suffix": ["a"], "reward": [1]}),
    ],
)
def test_bad_prefix_rows(reason: str, value: object):
    assert loaded(value, format="prefix")[1].counts == {reason: 1}


def test_pairs_repeat_prompts_and_lists_do_not():
    pairs = [{"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "c", "rejected": "a"}]
    pool, report = loaded(*pairs, format="preference")
    assert report.merged_rows == 1 and not report.counts
    assert [r.text for r in pool.train[0].responses] == ["a", "b", "c"]
    assert pool.train[0].compared == ((0, 1), (2, 0))  # c and b never met
    assert "1 rows were merged into an earlier row of the same prompt" in report.lines()

    pool, report = loaded(row("p", 1, 0), row("p", 3, 4))
    assert report.counts == {"duplicate_prompt": 1} and report.merged_rows == 0
    assert [r.score for r in pool.train[0].responses] == [1.0, 0.0]
    assert report.first[0].detail == "first at rows:1"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(
        [
            "\n\nHuman: q\n\nAssistant: a",
            "user",
            "assistant",
            "<|prompter|>q<|assistant|>",
            "held_out",
            "q a",
            "\ud800",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "score", "role", "content", "response", "answer", "rank", "annotations", "path"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
KEYS = sorted(
    set().union(*(group for format in FORMATS.values() for group in format.needs))
    | {"responses", "part", "domain", "meta", "score_A", "score_B", "source"}
)
rows_of_anything = st.lists(
    json_values | st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5), max_size=4
)


def soundness(values: list[object], format: str) -> None:
    """Every row is accounted for, and what is kept can be trained on."""
    try:
        pool, report = loaded(*values, format=format)
    except PoolError as error:  # what auto cannot tell is refused as a whole
        assert format == "auto" or "pool.columns" in str(error)
        return
    examples = (*pool.train, *pool.held_out)
    assert report.rows == len(values)
    assert len(examples) + report.merged_rows + sum(report.counts.values()) >= len(values)
    assert len({example.prompt.key for example in examples}) == len(examples)
    for example in examples:
        texts = [response.text.strip() for response in example.responses]
        assert all(texts) and len(texts) == len(set(texts))
        assert all(abs(response.score) < float("inf") for response in example.responses)
        assert example.prompt.text.strip()
    assert "\n".join(report.lines()).encode()
    assert json.dumps(report.to_dict(), ensure_ascii=False).encode()


@settings(max_examples=60, deadline=None)
@given(values=rows_of_anything)
def test_anything_at_all_is_counted_and_what_is_kept_is_sound(values: list[object]):
    for format in ("auto", *FORMATS):
        soundness(values, format)


def damaged(value: Any, data: st.DataObject) -> object:
    """`value` with one part of it, however deep, replaced by something else."""
    inner = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not inner or data.draw(st.integers(0, 3)) == 0:
        return data.draw(json_values)
    key = data.draw(st.sampled_from(inner))
    copy = value.copy()
    copy[key] = damaged(value[key], data)
    return copy


@pytest.mark.parametrize("format", [path.stem for path in sorted(FIXTURES.glob("*.jsonl"))])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_damaged_part_does_not_raise(format: str, data: st.DataObject):
    lines = (FIXTURES / f"{format}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if '"pool": ' not in line]
    row = data.draw(st.integers(0, len(rows) - 1))
    rows[row] = damaged(rows[row], data)
    soundness(rows, format if format in FORMATS else "auto")
