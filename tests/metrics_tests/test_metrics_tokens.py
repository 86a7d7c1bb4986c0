"""The token table against plain lists, and the tokenizer's batches against one text at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from metrics.tokens import TokenTable, token_batches, tokenize, vocabulary_size

ROWS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=6), max_size=8)


def rows_of(table: TokenTable) -> list[list[int]]:
    bounds = table.offsets.tolist()
    return [table.ids[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Bytes as tokens: no unknown, every Unicode text has ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


@given(ROWS)
def test_rows_survive_the_table(rows: list[list[int]]) -> None:
    table = TokenTable.from_lists(rows)
    assert rows_of(table) == rows
    assert len(table) == len(rows)
    assert (table.ids.dtype, table.offsets.dtype) == (np.int32, np.int64)


@given(ROWS, st.data())
def test_take_slice_and_concatenate_are_those_of_lists(rows: list[list[int]], data: st.DataObject) -> None:
    table = TokenTable.from_lists(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10)) if rows else []
    cut = data.draw(st.integers(0, len(rows)))
    assert rows_of(table.take(chosen)) == [rows[i] for i in chosen]
    halves = [table.slice(0, cut), table.slice(cut, len(rows))]
    assert [rows_of(half) for half in halves] == [rows[:cut], rows[cut:]]
    assert rows_of(TokenTable.concatenate(halves)) == rows


def test_no_table_at_all_concatenates_to_no_prompt() -> None:
    assert len(TokenTable.concatenate([])) == 0


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=7), st.integers(1, 20))
def test_tokenize_is_one_text_at_a_time_cut_at_the_end(
    tokenizer: Tokenizer, texts: list[str], limit: int
) -> None:
    table = tokenize(texts, tokenizer, max_tokens=limit)
    assert rows_of(table) == [tokenizer.encode(text, add_special_tokens=False).ids[:limit] for text in texts]


def test_batches_are_the_stream_in_order(tokenizer: Tokenizer) -> None:
    texts = [f"prompt {i}" for i in range(10)]
    batches = list(token_batches(iter(texts), tokenizer, batch=4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert rows_of(TokenTable.concatenate(batches)) == rows_of(tokenize(texts, tokenizer))


def test_truncation_and_padding_set_on_the_tokenizer_are_ignored_and_kept(tokenizer: Tokenizer) -> None:
    limited = Tokenizer.from_str(tokenizer.to_str())
    limited.enable_truncation(2)
    limited.enable_padding(length=9)
    assert rows_of(tokenize(["abcd", ""], limited)) == rows_of(tokenize(["abcd", ""], tokenizer))
    assert limited.truncation["max_length"] == 2
    assert limited.padding["length"] == 9


def test_transformers_tokenizers_give_the_same_ids(tokenizer: Tokenizer) -> None:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")
    texts = ["héllo", "", "日本語 ✨"]
    assert rows_of(tokenize(texts, wrapped)) == rows_of(tokenize(texts, tokenizer))
    assert vocabulary_size(wrapped) == vocabulary_size(tokenizer) + 1
    assert tokenize(texts, tokenizer).ids.max() < vocabulary_size(tokenizer)


def test_a_tokenizer_written_in_python_works_too() -> None:
    def plain(chunk: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        return {"input_ids": [[ord(letter) for letter in text] for text in chunk]}

    assert rows_of(tokenize(["abc", "", "z"], plain, max_tokens=2)) == [[97, 98], [], [122]]
