"""What published rows hold beside prompt and responses: it is read, told, or refused by its column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from base.errors import PoolError
from pools.config import PoolConfig
from pools.formats.columns import Columns
from pools.formats.values import decoded, number_of, score_of
from pools.readers import MemorySource, open_source
from pools.report import PoolReport
from pools.sources import assemble
from pools.types import Example, Pool

Row = dict[str, Any]
PAIR = {"chosen": "It keeps a week.", "rejected": "An hour."}
LONG = "How long does rye bread keep in a cellar?"
ASKED = {"question": "How long does rye keep?", **PAIR}


def loaded(*rows: Row, **options: Any) -> tuple[Pool, PoolReport]:
    return assemble(MemorySource(rows, "rows"), None, PoolConfig(**options), seed=0)


def refusal(*rows: Row, **options: Any) -> str:
    """Why these rows cannot be used, whether they are refused at once or dropped one by one."""
    try:
        return loaded(*rows, **options)[1].error
    except PoolError as error:
        return str(error)


def turns(example: Example) -> list[tuple[str, str]]:
    content = example.prompt.content
    return (
        [("user", content)] if isinstance(content, str) else [(turn.role, turn.content) for turn in content]
    )


def ranked(example: Example) -> list[str]:
    return [each.text for each in sorted(example.responses, key=lambda response: -response.score)]


EARLIER = [("user", "Hi"), ("assistant", "Hello."), ("user", "How long does rye keep?")]
SYSTEM = {"role": "system", "content": None}
USER = {"role": "user", "content": "How long does rye keep?"}
OPEN = {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({**ASKED, "history": [["Hi", "Hello."]]}, EARLIER),
        ({**ASKED, "history": json.dumps([["Hi", "Hello."]])}, EARLIER),
        (
            {
                **ASKED,
                "chat_history": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Hello."},
                ],
            },
            EARLIER,
        ),
        (
            {
                "prompt": "Hi\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nHow long does rye keep?",
                **PAIR,
            },
            EARLIER,
        ),
        ({"prompt": [SYSTEM, USER], **PAIR}, EARLIER[2:]),
        ({"prompt": [USER, OPEN], **PAIR}, EARLIER[2:]),
        ({"prompt": USER, **PAIR}, EARLIER[2:]),
        ({"prompt": " ", **ASKED}, EARLIER[2:]),
        ({"conversations": [{"speaker": "human", "text": "How long does rye keep?"}], **PAIR}, EARLIER[2:]),
        (
            {
                **ASKED,
                "article": "rye",
                "documents": None,
                "image": {"bytes": None, "path": None},
                "history": [],
            },
            EARLIER[2:],
        ),
    ],
)
def test_the_prompt_is_whole(row: Row, prompt: list[tuple[str, str]]) -> None:
    (example,) = loaded(row, on_bad_row="refuse")[0].train
    assert turns(example) == prompt
    assert ranked(example) == [PAIR["chosen"], PAIR["rejected"]]


@pytest.mark.parametrize(
    ("more", "column"),
    [
        ({"documents": ["Rye is a grain."]}, "documents"),
        ({"context": "Rye is a grain."}, "context"),
        ({"history": "They talked about wheat."}, "history"),
        ({"image": {"bytes": b"\x89PNG", "path": "a.png"}}, "image"),
        ({"images": ["a.png"]}, "images"),
    ],
)
def test_what_belongs_to_the_prompt_is_not_left_out_unsaid(more: Row, column: str) -> None:
    assert column in refusal({**ASKED, **more})
    columns = Columns(prompt="question", chosen="chosen", rejected="rejected")
    assert len(loaded({**ASKED, **more}, columns=columns)[0].train) == 1


def test_passages_come_before_the_question_where_the_mapping_says_so() -> None:
    columns = Columns(prompt=("documents", "question"), chosen="chosen", rejected="rejected")
    (example,) = loaded({**ASKED, "documents": ["Rye.", "Wheat."]}, columns=columns)[0].train
    assert turns(example) == [("user", "Rye.\nWheat.\nHow long does rye keep?")]


def test_a_step_is_answered_from_the_beginning() -> None:
    (example,) = loaded({"prompt": "2 + 2?", "initial_reason_steps": "Step 1: add.\nStep 2:", **PAIR})[
        0
    ].train
    assert ranked(example) == [f"Step 1: add.\nStep 2:{text}" for text in PAIR.values()]


@pytest.mark.parametrize(
    "verdict", ["response_b", "B", " b ", "model_b", "right", "[[B]]", "B>A", "Assistant B"]
)
def test_a_winner_by_what_judges_call_it(verdict: str) -> None:
    row = {"prompt": "How long?", "response_a": "An hour.", "response_b": "A week.", "winner": verdict}
    assert ranked(loaded(row)[0].train[0]) == ["A week.", "An hour."]


def test_a_tie_is_a_tie() -> None:
    row = {"prompt": "How long?", "response_a": "An hour.", "response_b": "A week.", "winner": "tie"}
    assert {each.score for each in loaded(row)[0].train[0].responses} == {0.0}


@pytest.mark.parametrize("verdict", [1, "1", 0, True, "the longer one"])
def test_a_winner_that_could_be_either_is_refused(verdict: object) -> None:
    row = {"prompt": "How long?", "response_1": "An hour.", "response_2": "A week.", "label": verdict}
    assert "label is" in refusal(row)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['a' 'b']", ["a", "b"]),
        ("['it''s' \"b]\"\n 'c']", ["it", "s", "b]", "c"]),
        ("[0.1 -2.\n 1e-3]", [0.1, -2.0, 0.001]),
        ("[{'role': 'user', 'content': 'a'}\n {'role': 'assistant', 'content': None}]",
         [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]),
        ("[np.float64(0.1), np.float32(2.0)]", [0.1, 2.0]),
        ("{'a': array(['x', 'y'], dtype=object), 'b': (1, True)}", {"a": ["x", "y"], "b": [1, True]}),
        ("[Decimal('1.5')]", ["1.5"]),
        ('"[{\\"a\\": 1}]"', [{"a": 1}]),
    ],
)  # fmt: skip
def test_lists_as_tables_hold_them(text: str, value: object) -> None:
    assert decoded(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "[1] as they say", "['a'] is a list", "['a' 'b'", "{'a' 1}", "{1: 2}", "[-'a']", "[array", "['a', b]",
        "[datetime.datetime(2024, 1, 1)]", '"[not a list"', '"{x}" is a set', "[np.float64(1", "[1 'a\n']",
    ],
)  # fmt: skip
def test_other_texts_stay_texts(text: str) -> None:
    assert decoded(text) == text


def test_an_answer_that_is_code_stays_as_it_is() -> None:
    row = {"prompt": "Give a list.", "chosen": "['a' 'b']", "rejected": '"[1]"'}
    assert ranked(loaded(row)[0].train[0]) == ["['a' 'b']", '"[1]"']


@pytest.mark.parametrize(
    ("written", "score"),
    [
        ("8/10", 0.8), ("80%", 80.0), ("0,85", 0.85), ("np.float64(-0.5)", -0.5), ("5 - excellent", 5.0),
        ("1,000", "1,000"), ("3/0", "3/0"), ("three", "three"), ("N/A", None),
    ],
)  # fmt: skip
def test_scores_as_people_write_them(written: str, score: object) -> None:
    assert number_of(written) == score


@pytest.mark.parametrize(
    ("written", "score"),
    [
        ([4, None, 2], 3.0), ("[4, 2]", 3.0), ([], []), (["good", "bad"], 0.5), ([1, "x"], [1, "x"]),
        (True, 1.0), ("False", 0.0), ("👍", 1.0), ("Poor", "Poor"),
    ],
)  # fmt: skip
def test_verdicts_on_one_response(written: object, score: object) -> None:
    assert score_of(written) == score


def test_a_list_of_scores_for_each_response_is_not_averaged() -> None:
    row = {"prompt": "How long?", "responses": ["a", "b"], "rewards": [[0.1, 0.9], [0.2, 0.3]]}
    assert "[0.1, 0.9] is not a number" in refusal(row)


def test_responses_without_scores_name_the_columns() -> None:
    assert "none of prompt, responses, ranking" in refusal(
        {"prompt": "How long?", "responses": ["a", "b"], "ranking": [1, 0]}
    )


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"prompt": "How long?<|end_of_turn|>", **PAIR}, "control_tokens"),
        ({"prompt": "Fill in <extra_id_0> here", **PAIR}, "control_tokens"),
        ({"prompt": LONG, "chosen": f"{LONG} A week.", "rejected": f"{LONG} An hour."}, "prompt_repeated"),
    ],
)  # fmt: skip
def test_what_is_trained_on_as_it_is_gets_a_note(row: Row, note: str) -> None:
    assert loaded(row)[1].notes == {note: 1}


def test_a_short_prompt_may_well_open_an_answer() -> None:
    assert loaded({"prompt": "Hi", "chosen": "Hi there", "rejected": "Hi!"})[1].notes == {}


def test_rows_of_another_shape_are_told_by_their_columns() -> None:
    pairs = [{"prompt": f"p{n}", **PAIR} for n in range(60)]
    _, report = loaded(*pairs, {"query_text": "x", "reply_1": "a"})
    assert report.counts == {"wrong_shape": 1}
    assert "the columns are query_text, reply_1" in report.first[0].detail


def test_scores_that_were_not_used_are_named_wherever_they_lie() -> None:
    row = {**ASKED, "rewards_armorm": [{"model": "m", "score": 0.2}], "margin": 2, "ids": [3]}
    assert loaded(row)[1].unused_scores == ("rewards_armorm", "margin")


def test_messages_of_a_tree_that_answer_nothing_here_are_lost() -> None:
    shared = {"message_tree_id": "q", "role": "assistant", "prompt": None}
    rows = [{"message_id": f"a{n}", "parent_id": "q", "text": f"t{n}", "rank": n, **shared} for n in (0, 1)]
    assert "2 messages of the tree do not stand next to what they answer" in refusal(*rows)


CLASSES = {"info": {"features": {"domain": {"names": ["food", "maps"], "_type": "ClassLabel"}}}}


def class_table() -> pyarrow.Table:
    rows = [
        {"prompt": f"p{n}", "responses": [{"text": "a", "score": 1.0}], "domain": n} for n in (0, 1, -1, 7)
    ]
    return pyarrow.Table.from_pylist(rows)


@pytest.mark.parametrize(
    ("metadata", "domains"),
    [
        (CLASSES, ["food", "maps", None, None]),
        ({"info": {"features": {"domain": {"dtype": "int64", "_type": "Value"}}}}, [0, 1, -1, 7]),
        ({"info": None}, [0, 1, -1, 7]),
        ("no object", [0, 1, -1, 7]),
    ],
)
def test_classes_of_a_parquet_file_have_their_names(
    tmp_path: Path, metadata: object, domains: list[object]
) -> None:
    table = class_table().replace_schema_metadata({"huggingface": json.dumps(metadata)})
    parquet.write_table(table, tmp_path / "p.parquet")
    rows = [row.value for row in open_source(str(tmp_path / "p.parquet")).rows()]
    assert [row["domain"] for row in rows if isinstance(row, dict)] == domains


def test_classes_of_a_saved_data_set_have_their_names(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"prompt": datasets.Value("string"), "winner": datasets.ClassLabel(names=["model_a", "tie"])}
    )
    data = datasets.Dataset.from_dict({"prompt": ["p", "q"], "winner": [1, 0]}, features=features)
    data.save_to_disk(str(tmp_path / "saved"))
    rows = [row.value for row in open_source(str(tmp_path / "saved")).rows()]
    assert [row["winner"] for row in rows if isinstance(row, dict)] == ["tie", "model_a"]


def bench_row(turn: int, opening: str, judge: str) -> Row:
    """A row of MT-bench: two dialogues of two turns, and a verdict on one of them."""

    def dialogue(first: str, second: str) -> list[dict[str, str]]:
        texts = zip(("user", "assistant") * 2, ("Rye?", first, "Shorter.", second), strict=True)
        return [{"role": role, "content": text} for role, text in texts]

    return {
        "winner": "model_b",
        "judge": judge,
        "conversation_a": dialogue("It keeps a week.", "A week."),
        "conversation_b": dialogue(opening, "7 days."),
        "turn": turn,
    }


def test_a_verdict_on_a_later_turn_is_not_taken_for_one_on_the_first() -> None:
    """MT-bench judges each turn by itself; in the arenas `turn` counts what was judged as a whole."""
    first, report = loaded(bench_row(1, "A week in a box.", "gpt4_pair"))
    assert ranked(first.train[0]) == ["A week in a box.", "It keeps a week."] and not report.notes
    assert "on turn 2" in refusal(bench_row(2, "A week in a box.", "expert_3"))
    second, _ = loaded(bench_row(2, "It keeps a week.", "author_1"))
    assert len(turns(second.train[0])) == 3 and ranked(second.train[0]) == ["7 days.", "A week."]
    _, arena = loaded(bench_row(2, "A week in a box.", "arena_user_9"))
    assert arena.notes == {"later_turns": 1}
