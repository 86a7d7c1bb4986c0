"""One small function for each published shape of preference data: row in, draft of an example out.

A draft holds what the row says, unchecked; `pools.check` does all checking of texts and scores, so an
adapter only has to know where things lie. An adapter raises RowFlaw where the row is not of its shape.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from pools.flaws import RowFlaw, shown

Fields: TypeAlias = Mapping[str, Any]
Turn: TypeAlias = dict[str, Any]

_HUMAN_TURN = re.compile(r"\n\n(Human|Assistant):")
_TAGGED_TURN = re.compile(r"(<\|prompter\|>|<\|assistant\|>)")
_ROLES = {"Human": "user", "Assistant": "assistant", "<|prompter|>": "user", "<|assistant|>": "assistant"}
_ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")


class Answer(NamedTuple):
    """One response as the row has it."""

    text: object
    score: object
    source: object = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """A row's example before checking; `prompt` is a text or a list of role/content turns."""

    prompt: object
    answers: Sequence[Answer]
    domain: object = ""
    part: object = ""
    meta: object = field(default_factory=dict)


def from_pool(row: Fields) -> Draft:
    """Our own schema; `reward` and `model` are accepted for `score` and `source`."""
    answers = [
        Answer(item.get("text"), item.get("score", item.get("reward")), item.get("source", item.get("model")))
        for item in _objects(row, "responses")
    ]
    return Draft(row.get("prompt"), answers, row.get("domain"), row.get("part"), row.get("meta"))


def from_hh_rlhf(row: Fields) -> Draft:
    r"""HH-RLHF: two whole dialogues of `\n\nHuman:` and `\n\nAssistant:` turns.

    The prompt is all turns up to the last of the assistant, which must be the same in both; chosen scores
    1 and rejected 0.
    """
    chosen, rejected = (_dialogue(row.get(side), _HUMAN_TURN) for side in ("chosen", "rejected"))
    return _pair(chosen, rejected)


def from_ultrafeedback(row: Fields) -> Draft:
    """UltraFeedback: the score is the mean of the fine-grained ratings (1 to 5), never `overall_score`.

    In the first release a critic's 1 became an `overall_score` of 10 for some 2,600 completions
    (OpenBMB/UltraFeedback issue 8), and a good 10 cannot be told from a bad one without the ratings.
    """
    items = _objects(row, "completions")
    answers = [Answer(item.get("response"), _mean_rating(item), item.get("model")) for item in items]
    return Draft(row.get("instruction"), answers, row.get("source"))


def from_nectar(row: Fields) -> Draft:
    """Nectar: ranked answers; the score falls evenly from 1 for the first rank to 0 for the last."""
    items = _objects(row, "answers")
    answers = [Answer(i.get("answer"), _rank_score(i.get("rank"), len(items)), i.get("model")) for i in items]
    turns = _dialogue(row.get("prompt"), _HUMAN_TURN)
    source = row.get("source")
    domain = "+".join(map(str, source)) if isinstance(source, list) else source
    return Draft(_open_prompt(turns), answers, domain)


def from_shp(row: Fields) -> Draft:
    """SHP: two comments on a post, each with its votes; rows of the same post are merged while loading."""
    answers = [Answer(row.get(f"human_ref_{side}"), row.get(f"score_{side}")) for side in "AB"]
    domain = re.sub(r"_(train|validation|test)$", "", str(row.get("domain") or ""))
    return Draft(row.get("history"), answers, domain)


def from_prefix(row: Fields) -> Draft:
    """Prefix/suffix/reward lists, as Song et al. train on: one prefix for each suffix, all of one prompt.

    A prefix is a list of `<|prompter|>` and `<|assistant|>` turns that ends with an empty assistant turn,
    or a plain text. The domain is the folder that the row's `meta.path` names.
    """
    suffixes, rewards = _listed(row, "suffix"), _listed(row, "reward")
    if len(suffixes) != len(rewards):
        raise RowFlaw("wrong_shape", f"{len(suffixes)} suffixes but {len(rewards)} rewards")
    meta = row.get("meta")
    path = str(meta.get("path", "")) if isinstance(meta, Mapping) else ""
    domain = os.path.basename(os.path.dirname(path.replace("\\", "/")))
    return Draft(_prefix_prompt(row.get("prefix")), list(map(Answer, suffixes, rewards)), domain)


def from_preference(row: Fields) -> Draft:
    """Preference rows as TRL takes them: two texts, or two lists of role/content turns.

    Without `prompt`, it is what both begin with: the same turns, or the same words. Chosen scores 1 and
    rejected 0.
    """
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        given = _as_turns(row.get("prompt"))
        return _pair(*(_with_prompt(given, _as_turns(side)) for side in (chosen, rejected)))
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        raise RowFlaw("wrong_shape", f"chosen is {shown(chosen)}: two texts or two lists were expected")
    if row.get("prompt") is not None:
        return Draft(row["prompt"], [Answer(chosen, 1.0, "chosen"), Answer(rejected, 0.0, "rejected")])
    start = _common_words(chosen, rejected)
    answers = [Answer(chosen[start:], 1.0, "chosen"), Answer(rejected[start:], 0.0, "rejected")]
    return Draft(chosen[:start], answers)


class Adapter(NamedTuple):
    """How a format is read: its function, the keys that give it away, and whether rows of one prompt add up.

    `pairwise` rows are single comparisons: several rows of one prompt are its shape, and are merged.
    """

    draft: Callable[[Fields], Draft]
    keys: frozenset[str]
    pairwise: bool = False


ADAPTERS: dict[str, Adapter] = {
    "prefix": Adapter(from_prefix, frozenset({"prefix", "suffix", "reward"})),
    "ultrafeedback": Adapter(from_ultrafeedback, frozenset({"instruction", "completions"})),
    "nectar": Adapter(from_nectar, frozenset({"prompt", "answers"})),
    "shp": Adapter(from_shp, frozenset({"history", "human_ref_A", "human_ref_B"}), pairwise=True),
    "hh_rlhf": Adapter(from_hh_rlhf, frozenset({"chosen", "rejected"}), pairwise=True),
    "preference": Adapter(from_preference, frozenset({"chosen", "rejected"}), pairwise=True),
    "pool": Adapter(from_pool, frozenset({"prompt"})),
}


def format_of(row: Fields) -> str | None:
    """The format that a row's keys give away, or None; HH-RLHF is told from other pairs by its turns."""
    for name, adapter in ADAPTERS.items():
        if adapter.keys <= row.keys() and (name != "hh_rlhf" or _is_hh_rlhf(row)):
            return name
    return None


def _is_hh_rlhf(row: Fields) -> bool:
    chosen = row["chosen"]
    return "prompt" not in row and isinstance(chosen, str) and _HUMAN_TURN.match(chosen) is not None


def _listed(row: Fields, key: str) -> list[Any]:
    value = row.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowFlaw("wrong_shape", f"{key} is {shown(value)}: a list was expected")
    return value


def _objects(row: Fields, key: str) -> list[Fields]:
    items = _listed(row, key)
    for item in items:
        if not isinstance(item, Mapping):
            raise RowFlaw("wrong_shape", f"{key} holds {shown(item)}: an object was expected")
    return items


def _dialogue(text: object, marker: re.Pattern[str]) -> list[Turn]:
    """The turns of a marked-up dialogue, just as they are marked."""
    if not isinstance(text, str):
        raise RowFlaw("wrong_shape", f"{shown(text)}: a dialogue was expected")
    before, *pieces = marker.split(text)
    if before.strip() or not pieces:
        raise RowFlaw("wrong_shape", f"{shown(text)}: a dialogue that opens with a turn was expected")
    marked = zip(pieces[::2], pieces[1::2], strict=True)
    return [{"role": _ROLES[mark], "content": content.strip()} for mark, content in marked]


def _open_prompt(turns: list[Turn]) -> list[Turn]:
    """The prompt of a dialogue that may end with an empty turn, left open for the answer."""
    if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        return _joined(turns[:-1])
    return _joined(turns)


def _joined(turns: list[Turn]) -> list[Turn]:
    """Neighbouring turns of one role as one turn: chat templates want the roles to take turns."""
    return [
        {"role": role, "content": "\n\n".join(str(turn.get("content") or "") for turn in group).strip()}
        for role, group in groupby(turns, key=lambda turn: turn.get("role"))
    ]


def _pair(chosen: list[Turn], rejected: list[Turn]) -> Draft:
    """The draft of two dialogues that differ in their last turn only, which must be the assistant's."""
    for turns in (chosen, rejected):
        if len(turns) < 2 or turns[-1].get("role") != "assistant":
            raise RowFlaw("wrong_shape", "a dialogue does not end with an answer by the assistant")
    if chosen[:-1] != rejected[:-1]:
        raise RowFlaw("no_shared_prompt", f"{len(chosen)} and {len(rejected)} turns")
    pair = [(chosen, 1.0, "chosen"), (rejected, 0.0, "rejected")]
    answers = [Answer(turns[-1].get("content"), score, side) for turns, score, side in pair]
    return Draft(_joined(chosen[:-1]), answers)


def _as_turns(prompt: object) -> list[Turn]:
    if prompt is None:
        return []
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    if isinstance(prompt, list) and all(isinstance(turn, Mapping) for turn in prompt):
        return [dict(turn) for turn in prompt]
    raise RowFlaw("wrong_shape", f"{shown(prompt)}: a text or a list of turns was expected")


def _with_prompt(given: list[Turn], side: list[Turn]) -> list[Turn]:
    """The whole dialogue of one side, which may or may not repeat the given prompt."""
    return side if side[: len(given)] == given else given + side


def _common_words(first: str, second: str) -> int:
    """Length of the longest common beginning that ends at a word's end."""
    shared = len(os.path.commonprefix([first, second]))
    while shared and not (first[shared : shared + 1].isspace() and second[shared : shared + 1].isspace()):
        shared -= 1
    return shared


def _prefix_prompt(prefix: object) -> object:
    if isinstance(prefix, list) and prefix and (isinstance(prefix[0], list) or not _tagged(prefix[0])):
        if any(other != prefix[0] for other in prefix):
            raise RowFlaw("no_shared_prompt", "the row's prefixes differ")
        prefix = prefix[0]
    text = "".join(map(str, prefix)) if isinstance(prefix, list) else prefix
    if not _tagged(text):
        return text
    return _open_prompt(_dialogue(text, _TAGGED_TURN))


def _tagged(text: object) -> bool:
    return isinstance(text, str) and text.lstrip().startswith(("<|prompter|>", "<|assistant|>"))


def _mean_rating(completion: Fields) -> object:
    """Mean of the ratings that are numbers (some are "N/A"); without any, the mean of the later release."""
    annotations = completion.get("annotations")
    aspects = annotations if isinstance(annotations, Mapping) else {}
    ratings = [_rating(aspects.get(aspect)) for aspect in _ASPECTS]
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if known else completion.get("fine-grained_score")


def _rating(aspect: object) -> float | None:
    value = aspect.get("Rating") if isinstance(aspect, Mapping) else None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def _rank_score(rank: object, ranks: int) -> object:
    if isinstance(rank, bool) or not isinstance(rank, int | float):
        return rank
    return 1.0 - (rank - 1) / max(ranks - 1, 1)
