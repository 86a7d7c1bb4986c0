"""The table of all formats: which columns identify one, and what makes a draft of its rows.

A new format is one row here, a function where the ones below do not do, a name in `pools.config.Format`, and
a fixture in `tests/pools_tests/fixtures` under that name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pools.formats import exports, lists, oasst, preference, rated, verdicts, winners
from pools.formats.draft import Draft, Fields
from pools.formats.prompt import PROMPT

Columns = frozenset[str]


def _all(*names: str) -> tuple[Columns, ...]:
    return tuple(frozenset({name}) for name in names)


def _always(row: Fields) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Format:
    """How rows of one shape are read.

    A row has the shape where of each group in `needs` one column is there and not null, and `when` holds.
    `uses` are further columns that its score comes from; `asks` is whether the prompt is in a column of any
    known name (`pools.formats.prompt`).
    """

    draft: Callable[[Fields], Draft | Sequence[Draft]]
    needs: tuple[Columns, ...]
    when: Callable[[Fields], bool] = _always
    uses: Columns = field(default_factory=frozenset)
    asks: bool = False


_PROMPT = frozenset(PROMPT)
_RESPONSES, _SCORES = frozenset(lists.RESPONSES), frozenset((*lists.SCORES, *lists.RANKS))
_CHOSEN, _REJECTED = (frozenset(names) for names in zip(*preference.SIDE_NAMES, strict=True))
_FIRST, _SECOND = (frozenset(names) for names in zip(*winners.SIDES, strict=True))
_WINNER_COLUMNS = ("winner_model_a", "winner_model_b", "winner_tie")

# In this order: the first whose columns a row has is its format.
FORMATS: dict[str, Format] = {
    "prefix": Format(lists.from_prefix, _all("prefix", "suffix", "reward")),
    "arena_votes": Format(
        verdicts.from_arena_votes, _all("prompt", "response_a", "response_b", *_WINNER_COLUMNS)
    ),
    "arena": Format(verdicts.from_arena, _all("conversation_a", "conversation_b", "winner")),
    "helpsteer2_preference": Format(
        verdicts.from_helpsteer2_preference, _all("prompt", "response_1", "response_2", "preference_strength")
    ),
    "helpsteer3": Format(
        verdicts.from_helpsteer3, _all("context", "response1", "response2", "overall_preference")
    ),
    "pku_saferlhf": Format(
        verdicts.from_pku, _all("prompt", "response_0", "response_1", "better_response_id")
    ),
    "webgpt": Format(rated.from_webgpt, _all("question", "answer_0", "answer_1", "score_0", "score_1")),
    "summary_ratings": Format(rated.from_summary_rating, _all("info", "summary"), when=rated.has_axes),
    "summaries": Format(verdicts.from_summaries, _all("info", "summaries", "choice")),
    "openai": Format(verdicts.from_openai, _all("input", "preferred_output", "non_preferred_output")),
    "label_studio": Format(exports.from_label_studio, _all("data", "annotations")),
    "oasst": Format(oasst.from_tree, _all("prompt", "message_tree_id"), when=oasst.is_tree),
    "shp": Format(
        rated.from_shp, _all("history", "human_ref_A", "human_ref_B"), uses=frozenset({"score_A", "score_B"})
    ),
    "scored": Format(
        lists.from_scored, (_PROMPT, _RESPONSES, _SCORES), when=lists.holds_scored_sides, asks=True
    ),
    "hh_rlhf": Format(preference.from_hh_rlhf, _all("chosen", "rejected"), when=preference.is_hh_rlhf),
    "best_of": Format(
        preference.from_best_of,
        _all("chosen", "rejected"),
        when=preference.are_lists_of_texts,
        asks=True,
    ),
    "preference": Format(preference.from_preference, _all("chosen", "rejected"), asks=True),
    "named_pair": Format(
        preference.from_named_pair, (_CHOSEN, _REJECTED), when=preference.has_named_pair, asks=True
    ),
    "named_winner": Format(
        winners.from_named_winner,
        (_PROMPT, _FIRST, _SECOND, frozenset(winners.VERDICTS)),
        when=winners.has_sides,
        asks=True,
    ),
    "ultrafeedback": Format(
        lists.from_ultrafeedback, _all("instruction", "completions"), when=lists.is_ultrafeedback
    ),
    "nectar": Format(lists.from_nectar, _all("prompt", "answers"), when=lists.is_nectar),
    "pool": Format(lists.from_pool, _all("prompt", "responses")),
    "objects": Format(lists.from_objects, (_PROMPT, _RESPONSES), when=lists.holds_objects, asks=True),
    "rated": Format(
        rated.from_rated, (_PROMPT, frozenset(rated.RESPONSE), frozenset(rated.SCORE)), asks=True
    ),
    "rated_dialogue": Format(
        rated.from_rated,
        (frozenset(rated.DIALOGUES), frozenset(rated.SCORE)),
        when=rated.has_dialogue,
    ),
    "argilla": Format(exports.from_argilla, (_PROMPT,), when=exports.is_argilla, asks=True),
    "argilla_ratings": Format(exports.from_argilla_rating, (_PROMPT,), when=exports.has_ratings, asks=True),
    "prompts": Format(lists.from_pool, _all("prompt")),
}
