"""Rows with a chosen and a rejected side: HH-RLHF, TRL, LLaMA-Factory, Intel's orca pairs, UltraInteract."""

from __future__ import annotations

from functools import lru_cache

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields
from pools.formats.pairs import SIDES, pair, pair_scores, scored_sides
from pools.formats.prompt import HISTORY, PASSAGES, TURN_MARK, named, prompt_of
from pools.formats.values import hh_turns, is_turns, listed, merged_turns, spells_texts

LABEL = (1.0, 0.0)
# Other names of the two sides.
SIDE_NAMES = (
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("chosen_answer", "rejected_answer"),
    ("preferred_response", "dispreferred_response"),
    ("preferred", "dispreferred"),
    ("accepted", "rejected"),
    ("response_j", "response_k"),
    ("y_w", "y_l"),
)
BEGUN = "initial_reason_steps"  # the part of both answers that comes before the step in which they part


def is_hh_rlhf(row: Fields) -> bool:
    r"""Whether the chosen side is a whole dialogue of `\n\nHuman:` and `\n\nAssistant:` turns."""
    chosen = row["chosen"]
    return (
        "prompt" not in row
        and isinstance(chosen, str)
        and chosen.startswith(("\n\nHuman:", "\n\nAssistant:"))
    )


def from_hh_rlhf(row: Fields) -> Draft:
    r"""HH-RLHF: two whole dialogues of `\n\nHuman:` and `\n\nAssistant:` turns.

    The prompt is all turns up to the last of the assistant, which must be the same in both; chosen scores
    1 and rejected 0.
    """
    chosen, rejected = (hh_turns(row.get(side)) for side in ("chosen", "rejected"))
    for turns in (chosen, rejected):
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            raise RowFlaw("wrong_shape", "a dialogue does not end with an answer by the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise RowFlaw("no_shared_prompt", f"{len(chosen)} and {len(rejected)} turns")
    if chosen[-1] == rejected[-1] and chosen[-1]["content"]:
        raise RowFlaw("duplicate_response", "chosen and rejected are the same")
    texts = chosen[-1]["content"], rejected[-1]["content"]
    answers = list(map(Answer, texts, LABEL, ("chosen", "rejected")))
    return Draft(merged_turns(chosen[:-1]), answers, rows="pairs")


def from_preference(row: Fields) -> Draft:
    """Preference rows as TRL takes them: two texts, two turns, or two lists of turns.

    The prompt is in the dialogues, in a column of a known name, or, where the row holds no other text, what
    both texts begin with. Scores beside the sides (`score_chosen`, `chosen-rating`) are taken where both
    are numbers; else chosen scores 1 and rejected 0.
    """
    if (plain := _plain(row)) is not None:
        return plain
    return _from_sides(row, row.get("chosen"), row.get("rejected"), SIDES)


def from_named_pair(row: Fields) -> Draft:
    """As `from_preference`, with the sides under other names (`chosen_response`, `accepted`, `y_w`, ...)."""
    if (names := _names_of_sides(row)) is None:
        raise RowFlaw(
            "wrong_shape", f"no two sides of known names: the columns are {', '.join(map(str, row))}"
        )
    return _from_sides(row, row[names[0]], row[names[1]], names)


def has_named_pair(row: Fields) -> bool:
    """Whether both sides of a pair are there, under names that belong together."""
    return _names_of_sides(row) is not None


def _names_of_sides(row: Fields) -> tuple[str, str] | None:
    pairs = (pair for pair in SIDE_NAMES if row.get(pair[0]) is not None and row.get(pair[1]) is not None)
    return next(pairs, None)


def _from_sides(row: Fields, chosen: object, rejected: object, names: tuple[str, str]) -> Draft:
    if spells_texts(chosen) and spells_texts(rejected):
        raise RowFlaw(
            "unknown_shape",
            f"{names[0]} and {names[1]} are JSON lists of texts: write one text each or, where they are "
            "answers as they stand, say so with pool.columns: "
            f"{{prompt: ..., chosen: {names[0]}, rejected: {names[1]}}}",
        )
    scores = pair_scores(row)
    if isinstance(begun := row.get(BEGUN), str):
        chosen, rejected = (begun + side if isinstance(side, str) else side for side in (chosen, rejected))
    draft = pair(row, chosen, rejected, scores or LABEL, names)
    if scores is None:
        return draft
    notes = ("score_against_label",) if scores[0] < scores[1] else ()  # type: ignore[operator]
    return Draft(draft.prompt, draft.answers, rows="scores", notes=notes)


def _plain(row: Fields) -> Draft | None:
    """The draft of most rows, in a third of the time: a text for each of prompt, chosen and rejected.

    None where anything has to be looked at more closely: other columns, marks of a dialogue, JSON.
    """
    if not _asks_plainly(tuple(row)):
        return None
    prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
    if (
        not (_is_plain(prompt) and _is_plain(chosen) and _is_plain(rejected))
        or TURN_MARK in prompt
        or chosen.strip() == rejected.strip()
    ):
        return None
    return Draft(prompt, (Answer(chosen, 1.0, SIDES[0]), Answer(rejected, 0.0, SIDES[1])), rows="pairs")


@lru_cache(4096)
def _asks_plainly(columns: tuple[str, ...]) -> bool:
    """Whether of these columns `prompt` alone can be of the prompt, and none holds a side's score."""
    known = {*HISTORY, BEGUN, *PASSAGES, *SIDES} & set(columns)
    return named(columns) == (["prompt"], []) and known == set(SIDES) and not scored_sides(columns)


def _is_plain(text: object) -> bool:
    return isinstance(text, str) and not (text[:1] in '[{"' or text[0].isspace() or text.startswith("Human:"))


def are_lists_of_texts(row: Fields) -> bool:
    """Whether both sides are lists of texts, as in RewardBench 2; one of them may be spelt in JSON."""
    sides = [row[side] for side in SIDES]
    return any(isinstance(side, list) for side in sides) and all(
        spells_texts(side) or (isinstance(side, list) and bool(side) and isinstance(side[0], str))
        for side in sides
    )


def from_best_of(row: Fields) -> Draft:
    """RewardBench 2: some right answers and some wrong ones; right ones score 1, wrong ones 0."""
    right, wrong = (listed(row.get(side), side) for side in ("chosen", "rejected"))
    if is_turns(right):
        raise RowFlaw("wrong_shape", f"chosen is {shown(right)}: a list of texts was expected")
    models = row.get("models")
    named = models if isinstance(models, list) and len(models) == len(right) + len(wrong) else [""] * 10**3
    texts = [*((text, 1.0) for text in right), *((text, 0.0) for text in wrong)]
    answers = [Answer(*each, source) for each, source in zip(texts, named, strict=False)]
    return Draft(prompt_of(row).content, answers, row.get("subset"))
