"""Rows that list the responses of a prompt: our own schema, UltraFeedback, Nectar, prefix/suffix lists."""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from typing import Any

from pools.flaws import RowFlaw
from pools.formats.draft import Answer, Draft, Fields
from pools.formats.prompt import content_of, prompt_of, with_system
from pools.formats.values import (
    first_named,
    first_of,
    hh_turns,
    is_turn,
    is_turns,
    listed,
    marked_turns,
    number_of,
    objects,
    open_prompt,
    score_of,
    text_of,
    unspelt,
)

RESPONSES = (
    "responses",
    "completions",
    "generations",
    "all_generated_responses",
    "candidates",
    "outputs",
    "answers",
    "choices",
)
SCORES = ("scores", "score", "ratings", "rating", "all_rm_scores", "rewards", "rm_scores")
RANKS = ("ranks", "rank")  # of each text, 1 the best
SOURCES = ("sources", "generation_models", "models", "model_names")
TEXT = ("text", "response", "content", "answer", "completion", "output", "generation", "message")
SCORE = ("score", "reward", "rating", "pm_score")
SOURCE = ("source", "model", "model_name")

_TAGGED_TURN = re.compile(r"(<\|prompter\|>|<\|assistant\|>)")
_TAGS = {"<|prompter|>": "user", "<|assistant|>": "assistant"}
_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def from_pool(row: Fields) -> Draft:
    """Our own schema; `reward` and `model` are accepted for `score` and `source`, and the like for `text`."""
    prompt, meta = row.get("prompt"), row.get("meta")
    content = with_system(row, content_of(prompt, "prompt")) if prompt else prompt
    answers = _answers(row, "responses")
    return Draft(content, answers, row.get("domain"), row.get("part"), unspelt(meta))


def from_objects(row: Fields) -> Draft:
    """A list of objects under another name than our own: `completions: [{text, score}]`."""
    name = first_named(row, RESPONSES)
    return Draft(prompt_of(row).content, _answers(row, name), row.get("domain"), row.get("part"))


def holds_objects(row: Fields) -> bool:
    """Whether the first column of a name for responses holds objects."""
    value = unspelt(first_of(row, RESPONSES))
    return isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(item, dict) for item in value)
    )


def _answers(row: Fields, name: str) -> list[Answer]:
    value = unspelt(row.get(name))
    if isinstance(value, list) and value and isinstance(value[0], str):
        raise RowFlaw(
            "wrong_shape",
            f"{name} holds texts, and none of {', '.join(map(str, row))} is a known name for their scores: "
            f"say which one holds them with pool.columns: {{prompt: ..., responses: {name}, scores: COLUMN}}",
        )
    items = objects(value, name)
    return [_answer(item, len(items)) for item in items]


def _answer(item: Fields | None, count: int) -> Answer:
    if item is None:
        return Answer(None, None)
    text = item.get("text")
    if text.__class__ is not str:  # the usual case first: a pool may have millions of responses
        text = text_of(first_of(item, TEXT))
        text = first_of(text, TEXT) if isinstance(text, dict) else text
    score = item.get("score")
    if score.__class__ is not float:
        score = number_of(first_of(item, SCORE))
        if score is None and "rank" in item:
            score = _rank_score(number_of(item["rank"]), count)
    if len(item) == 2:  # no room for a source
        return Answer(text, score, None)
    judged = item.get("judge_score"), item.get("judge_score_se")
    return Answer(text, score, first_of(item, SOURCE), item.get("ratings"), *judged)


def from_scored(row: Fields) -> Draft:
    """Texts and scores as lists side by side: distilabel, SimPO's five answers, `responses` and `scores`.

    A chosen and a rejected side beside them must be among the texts.
    """
    texts_in = first_named(row, RESPONSES)
    scores_in = first_named(row, (*SCORES, *RANKS))
    texts, scores = listed(row[texts_in], texts_in), listed(row[scores_in], scores_in)
    if len(texts) != len(scores):
        raise RowFlaw("wrong_shape", f"{len(texts)} x {texts_in} but {len(scores)} x {scores_in}")
    sources: list[Any] = next((row[name] for name in SOURCES if isinstance(row.get(name), list)), [])
    named = sources if len(sources) == len(texts) else [""] * len(texts)
    answers = [
        Answer(text_of(text), _rank_score(number, len(texts)) if scores_in in RANKS else number, source)
        for text, number, source in zip(texts, map(_one_score, scores), named, strict=True)
    ]
    return Draft(prompt_of(row).content, answers, row.get("domain"), row.get("part"))


def _one_score(value: object) -> object:
    """A list of scores is left as it is, and refused: it may hold attributes, or a score for each token."""
    return value if isinstance(value, list) else score_of(value)


def holds_scored_sides(row: Fields) -> bool:
    """Whether a row's lists of texts and scores hold its chosen and rejected sides, if it has those."""
    texts, scores = first_of(row, RESPONSES), first_of(row, (*SCORES, *RANKS))
    texts = unspelt(texts)
    if not _are_texts(texts) or not isinstance(scores, list | str):
        return False
    assert isinstance(texts, list)
    return all(row.get(side) is None or _last(row[side]) in texts for side in ("chosen", "rejected"))


def _are_texts(values: object) -> bool:
    """Whether these are texts, or turns that hold no score of their own."""
    return isinstance(values, list) and all(each is None or _is_text(each) for each in values)


def _is_text(value: object) -> bool:
    value = value[0] if is_turns(value) else value  # type: ignore[index]
    return isinstance(value, str) or (is_turn(value) and first_of(value, SCORE) is None)  # type: ignore[arg-type]


def _last(side: object) -> object:
    """The answer of a side, which may be a dialogue."""
    side = unspelt(side)
    if isinstance(side, list) and side and isinstance(side[-1], dict):
        return first_of(side[-1], ("content", "value"))
    return side


def from_ultrafeedback(row: Fields) -> Draft:
    """UltraFeedback: the score is the mean of the fine-grained ratings (1 to 5), never `overall_score`.

    In the first release a critic's 1 became an `overall_score` of 10 for some 2,600 completions
    (OpenBMB/UltraFeedback issue 8), and a good 10 cannot be told from a bad one without the ratings.
    """
    items = objects(row.get("completions"), "completions")
    answers = [
        Answer(item.get("response"), _mean_rating(item), item.get("model")) if item else Answer(None, None)
        for item in items
    ]
    return Draft(row.get("instruction"), answers, row.get("source"))


def _mean_rating(completion: Fields) -> object:
    """Mean of the ratings that are numbers (some are "N/A"); without any, the mean of the later release."""
    if "score" in completion:  # weighed by the caller
        return completion["score"]
    annotations = completion.get("annotations")
    aspects = annotations if isinstance(annotations, dict) else {}
    ratings = [rating(aspects.get(aspect)) for aspect in _ASPECTS]
    known = [each for each in ratings if each is not None]
    return sum(known) / len(known) if known else completion.get("fine-grained_score")


def rating(aspect: object) -> float | None:
    """The rating of one aspect of a completion, of the mean of several; None where it has none."""
    if isinstance(aspect, list):
        known = [each for each in map(rating, aspect) if each is not None]
        return sum(known) / len(known) if known else None
    value = aspect.get("Rating") if isinstance(aspect, dict) else None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def from_nectar(row: Fields) -> Draft:
    """Nectar: ranked answers; the score falls evenly from 1 for the first rank to 0 for the last."""
    items = [item or {} for item in objects(row.get("answers"), "answers")]
    answers = [Answer(i.get("answer"), _rank_score(i.get("rank"), len(items)), i.get("model")) for i in items]
    turns = hh_turns(row.get("prompt"))
    source = row.get("source")
    domain = "+".join(map(str, source)) if isinstance(source, list) else source
    return Draft(open_prompt(turns), answers, domain)


def is_nectar(row: Fields) -> bool:
    """Whether the answers are ranked."""
    answers = unspelt(row["answers"])
    return isinstance(answers, list) and any(isinstance(item, dict) and "rank" in item for item in answers)


def _rank_score(rank: object, ranks: int) -> object:
    if isinstance(rank, bool) or not isinstance(rank, int | float):
        return rank
    return 1.0 - (rank - 1) / max(ranks - 1, 1)


def from_prefix(row: Fields) -> Draft:
    """Prefix/suffix/reward lists, as Song et al. train on: one prefix for each suffix, all of one prompt.

    A prefix is a list of `<|prompter|>` and `<|assistant|>` turns that ends with an empty assistant turn,
    or a plain text. The domain is the folder that the row's `meta.path` names.
    """
    suffixes, rewards = listed(row.get("suffix"), "suffix"), listed(row.get("reward"), "reward")
    if len(suffixes) != len(rewards):
        raise RowFlaw("wrong_shape", f"{len(suffixes)} suffixes but {len(rewards)} rewards")
    meta = row.get("meta")
    path = str(meta.get("path", "")) if isinstance(meta, dict) else ""
    domain = os.path.basename(os.path.dirname(path.replace("\\", "/")))
    return Draft(_prefix_prompt(row.get("prefix")), list(map(Answer, suffixes, rewards)), domain)


def _prefix_prompt(prefix: object) -> object:
    prefix = unspelt(prefix)
    if isinstance(prefix, list) and prefix and (isinstance(prefix[0], list) or not _tagged(prefix[0])):
        if any(other != prefix[0] for other in prefix):
            raise RowFlaw("no_shared_prompt", "the row's prefixes differ")
        prefix = prefix[0]
    text = "".join(map(str, prefix)) if isinstance(prefix, list) else prefix
    return open_prompt(marked_turns(text, _TAGGED_TURN, _TAGS)) if _tagged(text) else text


def _tagged(text: object) -> bool:
    return isinstance(text, str) and text.lstrip().startswith(tuple(_TAGS))


def falling(order: Sequence[object]) -> dict[object, float]:
    """Scores from 1 for the first of a ranking to 0 for the last."""
    return {name: 1.0 - rank / max(len(order) - 1, 1) for rank, name in enumerate(order)}


def is_ultrafeedback(row: Fields) -> bool:
    """Whether the completions carry UltraFeedback's annotations or its name for the text."""
    items = objects(row["completions"], "completions")
    known = {"annotations", "response", "fine-grained_score"}
    return not items or any(item and not known.isdisjoint(item) for item in items)
