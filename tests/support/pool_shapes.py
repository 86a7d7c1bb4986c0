"""Rows of our own in the shapes of published data sets, made from what they are meant to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pools.formats import lists, rated

Row = dict[str, Any]

PROMPT_NAMES = ("prompt", "question", "instruction", "query", "input", "problem", "context")
DIALOGUE_NAMES = ("conversations", "messages", "trajectory", "context", "prompt")


@dataclass(frozen=True)
class Truth:
    """A prompt and its answers, the best first."""

    prompt: str
    answers: tuple[str, ...]

    @property
    def pair(self) -> tuple[str, str]:
        return self.answers[0], self.answers[1]

    @property
    def scored(self) -> list[tuple[str, float]]:
        return [(text, float(len(self.answers) - place)) for place, text in enumerate(self.answers)]


@dataclass(frozen=True)
class Shape:
    """How a truth is written; `all` says whether every answer is, or the first two alone.

    `rename` is the column of the prompt where any known name will do, with the names that will; `others` are
    those of other columns.
    """

    rows: Callable[[Truth], list[Row]]
    format: str
    all: bool = False
    rename: tuple[str, tuple[str, ...]] | None = None
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def answer(text: str) -> Row:
    return {"role": "assistant", "content": text}


def _one(build: Callable[[Truth], Row]) -> Callable[[Truth], list[Row]]:
    return lambda truth: [build(truth)]


def _oasst(truth: Truth) -> Row:
    replies = [
        {"message_id": f"a{rank}", "text": text, "role": "assistant", "rank": rank, "replies": []}
        for rank, text in enumerate(truth.answers)
    ]
    root = {
        "message_id": "q",
        "text": truth.prompt,
        "role": "prompter",
        "rank": None,
        "replies": replies[::-1],
    }
    return {"message_tree_id": "q", "tree_state": "ready_for_export", "prompt": root}


def _oasst_flat(truth: Truth) -> list[Row]:
    shared = {"message_tree_id": "q", "lang": "en", "deleted": False}
    first = {"message_id": "q", "parent_id": None, "text": truth.prompt, "role": "prompter", "rank": None}
    others = [
        {"message_id": f"a{rank}", "parent_id": "q", "text": text, "role": "assistant", "rank": float(rank)}
        for rank, text in enumerate(truth.answers)
    ]
    return [{**each, **shared} for each in (first, *others)]


def _label_studio(data: Row, result: Row) -> Row:
    return {"id": 1, "annotations": [{"id": 1, "was_cancelled": False, "result": [result]}], "data": data}


def _hh(prompt: str, text: str) -> str:
    return f"\n\nHuman: {prompt}\n\nAssistant: {text}"


_TEXT = ("prompt", PROMPT_NAMES)
_LISTS = {"responses": lists.RESPONSES, "scores": lists.SCORES}
_RATED = {"response": rated.RESPONSE, "helpfulness": ("helpfulness", "score", "reward", "rating")}

SHAPES: dict[str, Shape] = {
    "pairs of texts": Shape(
        _one(lambda t: {"prompt": t.prompt, "chosen": t.pair[0], "rejected": t.pair[1]}),
        "preference",
        rename=_TEXT,
    ),
    "intel orca": Shape(
        _one(lambda t: {"system": "", "question": t.prompt, "chosen": t.pair[0], "rejected": t.pair[1]}),
        "preference",
        rename=("question", PROMPT_NAMES),
    ),
    "alpaca pairs": Shape(
        _one(lambda t: {"instruction": t.prompt, "input": "", "chosen": t.pair[0], "rejected": t.pair[1]}),
        "preference",
    ),
    "sharegpt pairs": Shape(
        _one(
            lambda t: {
                "conversations": [{"from": "human", "value": t.prompt}],
                "chosen": {"from": "gpt", "value": t.pair[0]},
                "rejected": {"from": "gpt", "value": t.pair[1]},
            }
        ),
        "preference",
        rename=("conversations", DIALOGUE_NAMES),
    ),
    "trajectory": Shape(
        _one(
            lambda t: {
                "task": "Coding",
                "trajectory": [{"from": "user", "value": t.prompt}],
                "chosen": t.pair[0],
                "rejected": t.pair[1],
            }
        ),
        "preference",
        rename=("trajectory", DIALOGUE_NAMES),
    ),
    "whole dialogues": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "chosen": [user(t.prompt), answer(t.pair[0])],
                "rejected": [user(t.prompt), answer(t.pair[1])],
                "score_chosen": 8.5,
                "score_rejected": 3.0,
            }
        ),
        "preference",
    ),
    "dialogues alone": Shape(
        _one(
            lambda t: {
                "chosen": [user(t.prompt), answer(t.pair[0])],
                "rejected": [user(t.prompt), answer(t.pair[1])],
                "source": "own",
            }
        ),
        "preference",
    ),
    "content parts": Shape(
        _one(
            lambda t: {
                "prompt": [{"role": "user", "content": [{"type": "text", "text": t.prompt}]}],
                "chosen": [{"role": "assistant", "content": [{"type": "text", "text": t.pair[0]}]}],
                "rejected": [{"role": "assistant", "content": [{"type": "text", "text": t.pair[1]}]}],
            }
        ),
        "preference",
    ),
    "hh texts": Shape(
        _one(lambda t: {"chosen": _hh(t.prompt, t.pair[0]), "rejected": _hh(t.prompt, t.pair[1])}), "hh_rlhf"
    ),
    "hh prompt": Shape(
        _one(
            lambda t: {
                "prompt": f"\n\nHuman: {t.prompt}\n\nAssistant:",
                "chosen": t.pair[0],
                "rejected": t.pair[1],
            }
        ),
        "preference",
    ),
    "own schema": Shape(
        _one(lambda t: {"prompt": t.prompt, "responses": [{"text": a, "score": s} for a, s in t.scored]}),
        "pool",
        all=True,
    ),
    "dict of lists": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "responses": {"text": list(t.answers), "score": [s for _, s in t.scored]},
            }
        ),
        "pool",
        all=True,
    ),
    "objects": Shape(
        _one(lambda t: {"prompt": t.prompt, "completions": [{"text": a, "score": s} for a, s in t.scored]}),
        "objects",
        all=True,
        rename=("prompt", tuple(name for name in PROMPT_NAMES if name != "instruction")),
        others={"completions": lists.RESPONSES},
    ),
    "objects in other words": Shape(
        _one(
            lambda t: {
                "question": t.prompt,
                "choices": [
                    {"message": answer(a), "rank": place, "model": "m"}
                    for place, a in enumerate(t.answers, 1)
                ],
            }
        ),
        "objects",
        all=True,
        rename=("question", PROMPT_NAMES),
    ),
    "texts and scores": Shape(
        _one(
            lambda t: {"prompt": t.prompt, "responses": list(t.answers), "scores": [s for _, s in t.scored]}
        ),
        "scored",
        all=True,
        rename=_TEXT,
        others=_LISTS,
    ),
    "turns and scores": Shape(
        _one(
            lambda t: {
                "prompt": [user(t.prompt)],
                "completions": [[answer(text)] for text in t.answers],
                "rewards": [s for _, s in t.scored],
            }
        ),
        "scored",
        all=True,
        rename=("prompt", DIALOGUE_NAMES),
    ),
    "texts and ranks": Shape(
        _one(
            lambda t: {
                "input": t.prompt,
                "candidates": list(t.answers[::-1]),
                "ranks": list(range(len(t.answers), 0, -1)),
                "ranked_candidates": list(t.answers),
            }
        ),
        "scored",
        all=True,
        rename=("input", PROMPT_NAMES),
        others={"ranks": lists.RANKS},
    ),
    "distilabel": Shape(
        _one(
            lambda t: {
                "instruction": t.prompt,
                "generations": list(t.answers),
                "ratings": [s for _, s in t.scored],
                "prompt": t.prompt,
                "chosen": [user(t.prompt), answer(t.pair[0])],
                "rejected": [user(t.prompt), answer(t.answers[-1])],
            }
        ),
        "scored",
        all=True,
    ),
    "reward model's scores": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "all_generated_responses": list(t.answers),
                "all_rm_scores": [s / 100 for _, s in t.scored],
            }
        ),
        "scored",
        all=True,
        rename=_TEXT,
    ),
    "ultrafeedback": Shape(
        _one(
            lambda t: {
                "instruction": t.prompt,
                "completions": [
                    {"model": "m", "response": a, "annotations": {"helpfulness": {"Rating": str(s)}}}
                    for a, s in t.scored
                ],
            }
        ),
        "ultrafeedback",
        all=True,
    ),
    "nectar": Shape(
        _one(
            lambda t: {
                "prompt": f"\n\nHuman: {t.prompt}\n\nAssistant: ",
                "answers": [{"answer": a, "rank": r + 1.0, "model": "m"} for r, a in enumerate(t.answers)],
            }
        ),
        "nectar",
        all=True,
    ),
    "shp": Shape(
        _one(
            lambda t: {
                "history": t.prompt,
                "human_ref_A": t.pair[1],
                "human_ref_B": t.pair[0],
                "score_A": 2,
                "score_B": 9,
            }
        ),
        "shp",
    ),
    "prefix": Shape(
        _one(
            lambda t: {
                "prefix": ["<|prompter|>", t.prompt, "<|assistant|>"],
                "suffix": list(t.answers),
                "reward": [s for _, s in t.scored],
            }
        ),
        "prefix",
        all=True,
    ),
    "helpsteer2": Shape(
        lambda t: [
            {"prompt": t.prompt, "response": a, "helpfulness": s, "correctness": 4, "verbosity": 1}
            for a, s in t.scored
        ],
        "rated",
        all=True,
        rename=_TEXT,
        others=_RATED,
    ),
    "several people's ratings": Shape(
        lambda t: [{"prompt": t.prompt, "response": a, "helpfulness": [s, s + 1]} for a, s in t.scored],
        "rated",
        all=True,
        rename=_TEXT,
        others=_RATED,
    ),
    "kto": Shape(
        lambda t: [
            {"prompt": [user(t.prompt)], "completion": [answer(text)], "label": text == t.pair[0]}
            for text in t.pair
        ],
        "rated",
        rename=("prompt", DIALOGUE_NAMES),
        others={"completion": rated.RESPONSE, "label": ("label", "kto_tag")},
    ),
    "kto dialogue": Shape(
        lambda t: [
            {"messages": [user(t.prompt), answer(text)], "label": text == t.pair[0]} for text in t.pair
        ],
        "rated_dialogue",
        others={"messages": rated.DIALOGUES, "label": ("label", "kto_tag", "score")},
    ),
    "steps": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "initial_reason_steps": " ",
                "chosen": t.pair[0],
                "rejected": t.pair[1],
                "full_chosen": f"{t.pair[0]} end",
                "full_rejected": f"{t.pair[1]} end",
            }
        ),
        "preference",
        rename=_TEXT,
    ),
    "sides of other names": Shape(
        _one(
            lambda t: {
                "instruction": t.prompt,
                "chosen_response": t.pair[0],
                "rejected_response": t.pair[1],
                "chosen_avg_rating": 4.5,
                "rejected_avg_rating": 2.0,
            }
        ),
        "named_pair",
        rename=("instruction", PROMPT_NAMES),
    ),
    "stack exchange": Shape(
        _one(lambda t: {"qid": 1, "question": t.prompt, "response_j": t.pair[0], "response_k": t.pair[1]}),
        "named_pair",
        rename=("question", PROMPT_NAMES),
    ),
    "a winner by name": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "response_a": t.pair[1],
                "response_b": t.pair[0],
                "winner": "model_b",
            }
        ),
        "named_winner",
        rename=_TEXT,
        others={"winner": ("winner", "preferred", "preference", "better", "choice", "label")},
    ),
    "a winner by number": Shape(
        _one(
            lambda t: {
                "instruction": t.prompt,
                "output_1": t.pair[1],
                "output_2": t.pair[0],
                "preference": 2.0,
            }
        ),
        "named_winner",
        rename=("instruction", PROMPT_NAMES),
    ),
    "summary ratings": Shape(
        lambda t: [
            {
                "info": {"post": t.prompt, "title": "t", "subreddit": "x", "article": None},
                "summary": {"text": a, "policy": "p", "axes": {"overall": s, "coverage": 1}},
            }
            for a, s in t.scored
        ],
        "summary_ratings",
        all=True,
    ),
    "argilla ratings 1": Shape(
        lambda t: [
            {
                "prompt": t.prompt,
                "response": a,
                "quality": [
                    {"user_id": "u", "value": s, "status": "submitted"},
                    {"user_id": "v", "value": 9, "status": "discarded"},
                ],
            }
            for a, s in t.scored
        ],
        "argilla_ratings",
        all=True,
        rename=_TEXT,
        others={"response": rated.RESPONSE},
    ),
    "argilla ratings 2": Shape(
        lambda t: [
            {
                "prompt": t.prompt,
                "response": a,
                "quality.responses": [s, 9],
                "quality.responses.users": ["u", "v"],
                "quality.responses.status": ["submitted", "discarded"],
            }
            for a, s in t.scored
        ],
        "argilla_ratings",
        all=True,
        rename=_TEXT,
        others={"response": rated.RESPONSE},
    ),
    "label studio ratings": Shape(
        lambda t: [
            _label_studio(
                {"prompt": t.prompt, "response": a},
                {"type": "rating", "from_name": "q", "to_name": "response", "value": {"rating": s}},
            )
            for a, s in t.scored
        ],
        "label_studio",
        all=True,
    ),
    "helpsteer2 preference": Shape(
        _one(
            lambda t: {
                "split": "train",
                "prompt": t.prompt,
                "response_1": t.pair[1],
                "response_2": t.pair[0],
                "preference_strength": 2,
            }
        ),
        "helpsteer2_preference",
    ),
    "helpsteer3": Shape(
        _one(
            lambda t: {
                "domain": "code",
                "context": [user(t.prompt)],
                "response1": t.pair[0],
                "response2": t.pair[1],
                "overall_preference": -1,
            }
        ),
        "helpsteer3",
    ),
    "pku": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "response_0": t.pair[1],
                "response_1": t.pair[0],
                "is_response_0_safe": True,
                "better_response_id": 1,
                "safer_response_id": 0,
            }
        ),
        "pku_saferlhf",
    ),
    "arena votes": Shape(
        _one(
            lambda t: {
                "model_a": "m",
                "model_b": "n",
                "prompt": [t.prompt],
                "response_a": [t.pair[1]],
                "response_b": [t.pair[0]],
                "winner_model_a": 0,
                "winner_model_b": 1,
                "winner_tie": 0,
            }
        ),
        "arena_votes",
    ),
    "arena": Shape(
        _one(
            lambda t: {
                "model_a": "m",
                "winner": "model_a",
                "conversation_a": [user(t.prompt), answer(t.pair[0])],
                "conversation_b": [user(t.prompt), answer(t.pair[1])],
            }
        ),
        "arena",
    ),
    "webgpt": Shape(
        _one(
            lambda t: {
                "question": {"dataset": "own", "full_text": t.prompt},
                "answer_0": t.pair[1],
                "score_0": -0.5,
                "answer_1": t.pair[0],
                "score_1": 0.5,
            }
        ),
        "webgpt",
    ),
    "summaries": Shape(
        _one(
            lambda t: {
                "info": {"post": t.prompt, "title": "t", "subreddit": "x", "article": None},
                "summaries": [{"text": t.pair[1]}, {"text": t.pair[0]}],
                "choice": 1,
            }
        ),
        "summaries",
    ),
    "openai": Shape(
        _one(
            lambda t: {
                "input": {"messages": [user(t.prompt)], "tools": []},
                "preferred_output": [answer(t.pair[0])],
                "non_preferred_output": [answer(t.pair[1])],
            }
        ),
        "openai",
    ),
    "right and wrong": Shape(
        _one(lambda t: {"prompt": t.prompt, "chosen": [t.answers[0]], "rejected": list(t.answers[1:2])}),
        "best_of",
        rename=_TEXT,
    ),
    "argilla 1": Shape(
        _one(
            lambda t: {
                "prompt": t.prompt,
                "response-1": t.pair[1],
                "response-2": t.pair[0],
                "preference": [
                    {
                        "user_id": "u",
                        "value": [{"rank": 1, "value": "response-2"}, {"rank": 2, "value": "response-1"}],
                        "status": "submitted",
                    }
                ],
            }
        ),
        "argilla",
    ),
    "argilla 2": Shape(
        _one(
            lambda t: {
                "id": "0",
                "prompt": t.prompt,
                "response_1": t.pair[1],
                "response_2": t.pair[0],
                "preference.responses": [["response_2", "response_1"]],
                "preference.responses.status": ["submitted"],
            }
        ),
        "argilla",
    ),
    "label studio pairs": Shape(
        _one(
            lambda t: _label_studio(
                {"prompt": t.prompt, "answer1": t.pair[1], "answer2": t.pair[0]},
                {"type": "pairwise", "to_name": "answer1,answer2", "value": {"selected": "right"}},
            )
        ),
        "label_studio",
    ),
    "label studio ranks": Shape(
        _one(
            lambda t: _label_studio(
                {"prompt": t.prompt, "items": [{"id": str(i), "body": a} for i, a in enumerate(t.answers)]},
                {"type": "ranker", "value": {"ranker": {"rank": [str(i) for i in range(len(t.answers))]}}},
            )
        ),
        "label_studio",
        all=True,
    ),
    "oasst trees": Shape(_one(_oasst), "oasst", all=True),
    "oasst messages": Shape(_oasst_flat, "oasst", all=True),
}
