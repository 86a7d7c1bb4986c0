"""Rows with one response each: HelpSteer2's attributes, KTO's thumbs, a score, SHP's votes, WebGPT."""

from __future__ import annotations

import re

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields, Turn
from pools.formats.pairs import pair
from pools.formats.prompt import Asked, content_of, prompt_of, with_system
from pools.formats.values import (
    first_named,
    first_of,
    is_turns,
    listed,
    number_of,
    score_of,
    text_of,
    turns_of,
    unspelt,
)
from pools.formats.verdicts import post_of

RESPONSE = ("response", "completion", "answer", "output", "text")
SCORE = ("score", "reward", "rating", "helpfulness", "label", "kto_tag")
DIALOGUES = ("messages", "conversations", "conversation")


def from_rated(row: Fields) -> Draft:
    """One response a row, with a score, an attribute (HelpSteer2's `helpfulness`) or KTO's `label`."""
    asked, text = _asked_and_answered(row)
    name = first_named(row, SCORE, "missing_score")
    answer = Answer(text, score_of(row[name]), row.get("model"))
    return Draft(asked.content, [answer], row.get("domain"), row.get("part"), rows="scores")


def has_dialogue(row: Fields) -> bool:
    """Whether a dialogue stands in for prompt and response, as in LLaMA-Factory's rows for KTO."""
    return any(is_turns(unspelt(row.get(name))) for name in DIALOGUES)


def _asked_and_answered(row: Fields) -> tuple[Asked, object]:
    if (response := first_of(row, RESPONSE)) is not None:
        return prompt_of(row), text_of(response)
    name = next((name for name in DIALOGUES if is_turns(unspelt(row.get(name)))), "")
    turns: list[Turn] = turns_of(listed(row[name], name)) if name else []
    if not turns or turns[-1]["role"] != "assistant":
        raise RowFlaw("empty_response", f"{name or 'no column'} ends with a response")
    return Asked(with_system(row, turns[:-1]), (name,)), turns[-1]["content"]


def has_axes(row: Fields) -> bool:
    """Whether the summary carries ratings by axis."""
    summary = unspelt(row["summary"])
    return isinstance(summary, dict) and isinstance(summary.get("axes"), dict)


def from_summary_rating(row: Fields) -> Draft:
    """summarize_from_feedback's ratings: one summary of a post, and its `overall` axis from 1 to 7."""
    summary = unspelt(row["summary"])
    if not has_axes(row) or not isinstance(summary, dict):
        raise RowFlaw("wrong_shape", f"summary is {shown(summary)}: an object with axes was expected")
    answer = Answer(summary.get("text"), number_of(summary["axes"].get("overall")), summary.get("policy"))
    return Draft(post_of(row["info"]), [answer], rows="scores")


def from_shp(row: Fields) -> Draft:
    """SHP: two comments on a post, each with its votes; rows of the same post are merged while loading."""
    answers = [Answer(row.get(f"human_ref_{side}"), number_of(row.get(f"score_{side}"))) for side in "AB"]
    domain = re.sub(r"_(train|validation|test)$", "", str(row.get("domain") or ""))
    return Draft(row.get("history"), answers, domain, rows="scores")


def from_webgpt(row: Fields) -> Draft:
    """WebGPT comparisons: two answers to a question, whose scores are opposite or both 0 (a tie)."""
    question = unspelt(row["question"])
    text = question.get("full_text") if isinstance(question, dict) else question
    asked = Asked(with_system(row, content_of(text, "question")), ("question",))
    scores = number_of(row["score_0"]), number_of(row["score_1"])
    return pair(row, row["answer_0"], row["answer_1"], scores, ("answer_0", "answer_1"), asked)
