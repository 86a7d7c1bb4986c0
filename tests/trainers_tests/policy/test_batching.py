from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_models import byte_tokenizer, random_rankings

from pools.types import Example, Message, Prompt, Response
from trainers.policy.batching import Ranking, collate, pack, tokenize_rankings
from trainers.prompt_format import tokenize_prompt, tokenize_prompts, tokenize_response

TOKENIZER = byte_tokenizer()
CHAT = byte_tokenizer(chat=True)
DIALOGUE = Prompt((Message("user", "hi"), Message("assistant", "hello"), Message("user", "why")))

tokens = st.lists(st.integers(3, 50), min_size=1, max_size=8)
rankings = st.builds(
    lambda prompt, responses: Ranking(prompt, tuple(responses), tuple(range(len(responses), 0, -1))),
    tokens,
    st.lists(tokens, min_size=1, max_size=4),
)


def example(*answers: tuple[str, float], prompt: str = "question") -> Example:
    return Example(Prompt(prompt), tuple(Response(text, score) for text, score in answers))


@given(st.lists(rankings, min_size=1, max_size=4))
def test_every_predicted_token_follows_its_prompt_and_earlier_tokens(given_rankings: list[Ranking]) -> None:
    batch = collate(given_rankings)
    whole = [r.prompt_ids + response for r in given_rankings for response in r.response_ids]
    prompts = [r.prompt_ids for r in given_rankings for _ in r.response_ids]
    for owner, (sequence, prompt) in enumerate(zip(whole, prompts, strict=True)):
        mine = batch.owners == owner
        sources = batch.sources[mine]
        assert batch.targets[mine].tolist() == sequence[len(prompt) :]
        assert batch.input_ids[sources].tolist() == sequence[len(prompt) - 1 : -1]
        assert batch.positions[sources].tolist() == list(range(len(prompt) - 1, len(sequence) - 1))
    assert batch.tokens == sum(r.tokens for r in given_rankings) == batch.segments[-1].stop
    assert batch.responses == len(whole) and batch.rankings == len(given_rankings)


@given(st.lists(rankings, max_size=12), st.integers(1, 60))
def test_packing_keeps_order_and_budget(given_rankings: list[Ranking], budget: int) -> None:
    batches = pack(given_rankings, budget)
    assert [i for batch in batches for i in batch] == list(range(len(given_rankings)))
    sizes = [sum(given_rankings[i].tokens for i in batch) for batch in batches]
    assert all(size <= budget or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    for size, following in zip(sizes, batches[1:], strict=False):
        assert size + given_rankings[following[0]].tokens > budget, "a batch was closed too early"


def test_prompts_stand_once_in_a_row() -> None:
    ranking = Ranking([5, 6, 7], ([8, 9], [10, 11, 12]), (1.0, 0.0))
    batch = collate([ranking])
    assert batch.input_ids.tolist() == [5, 6, 7, 8, 10, 11]
    assert batch.positions.tolist() == [0, 1, 2, 3, 3, 4]
    assert batch.sources.tolist() == [2, 3, 2, 4, 5]
    assert batch.targets.tolist() == [8, 9, 10, 11, 12]


def test_references_travel_with_rankings() -> None:
    with_reference = random_rankings(1, (2, 3), reference=True)
    batch = collate(with_reference)
    assert batch.reference is not None
    assert batch.reference.tolist() == pytest.approx([v for r in with_reference for v in r.reference or ()])
    assert collate([*with_reference, *random_rankings(2, (2,))]).reference is None


def test_keep_takes_scores_and_references_along() -> None:
    ranking = Ranking([5], ([6], [7], [8]), (3.0, 2.0, 1.0), (-1.0, -2.0, -3.0))
    assert ranking.keep([2, 0, 2]) == Ranking([5], ([6], [8]), (3.0, 1.0), (-1.0, -3.0))


def test_moving_keeps_layout() -> None:
    batch = collate(random_rankings(3, (2, 1)))
    moved = batch.to("cpu")
    assert moved.segments == batch.segments and torch.equal(moved.input_ids, batch.input_ids)


def test_responses_are_ordered_by_score_and_closed() -> None:
    (ranking,), report = tokenize_rankings([example(("bad", 0.1), ("good", 0.9), ("also", 0.1))], TOKENIZER)
    assert ranking.scores == (0.9, 0.1, 0.1)
    texts = [TOKENIZER.decode(ids, skip_special_tokens=True).strip() for ids in ranking.response_ids]
    assert texts == ["good", "bad", "also"]
    assert all(ids[-1] == TOKENIZER.eos_token_id for ids in ranking.response_ids)
    assert report.rankings == 1 and report.rankings_dropped == report.responses_truncated == 0


def test_responses_equal_after_truncation_are_counted_and_dropped() -> None:
    pairs = [example(("abcdef", 1.0), ("abcxyz", 0.0)), example(("abc1", 0.5), ("abc2", 0.9), ("z", 0.1))]
    kept, report = tokenize_rankings(pairs, CHAT, max_response_tokens=3)
    assert [ranking.scores for ranking in kept] == [(0.9, 0.1)]
    assert (report.rankings, report.rankings_dropped) == (1, 1)
    assert (report.duplicate_responses, report.responses_truncated) == (2, 4)


def test_a_single_response_is_no_duplicate() -> None:
    kept, report = tokenize_rankings([example(("only", 1.0))], CHAT)
    assert len(kept) == 1 and report.rankings_dropped == 0


def test_a_cut_response_has_no_end_token() -> None:
    assert tokenize_response("abcd", CHAT, style="chat", max_tokens=4) == (CHAT.encode("abcd"), True)
    assert tokenize_response("abc", CHAT, style="chat", max_tokens=4) == ([*CHAT.encode("abc"), 2], False)


def test_truncation_keeps_the_end_of_the_prompt_and_is_counted() -> None:
    long = Prompt("x" * 50 + "?")
    ids, cut = tokenize_prompt(long, CHAT, style="chat", max_tokens=20)
    assert cut and len(ids) == 20
    assert CHAT.decode(ids) == "x?</user><assistant>"
    _, report = tokenize_rankings([example(("a", 1.0), prompt="x" * 50)], CHAT, max_prompt_tokens=20)
    assert report.prompts_truncated == 1


def test_a_plain_prompt_keeps_its_first_special_token_when_cut() -> None:
    class Opening:
        """A tokenizer that begins every text, as OPT's and LLaMA's do."""

        bos_token_id, eos_token_id, chat_template = 1, 2, None

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            return ([1] if add_special_tokens else []) + TOKENIZER.encode(text)

    ids, cut = tokenize_prompt(Prompt("question"), Opening(), style="auto", max_tokens=11)
    assert cut and ids[0] == 1
    assert TOKENIZER.decode(ids[1:]) == "Assistant:"


def test_generation_starts_from_the_same_tokens_as_training() -> None:
    (ranking,), _ = tokenize_rankings([Example(DIALOGUE, (Response("so", 1.0),))], TOKENIZER)
    assert tokenize_prompts([DIALOGUE], TOKENIZER, style="auto", max_tokens=512) == [ranking.prompt_ids]
