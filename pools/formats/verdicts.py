"""Two responses and a verdict: HelpSteer2 and 3, PKU-SafeRLHF, the arenas, summaries, OpenAI's rows."""

from __future__ import annotations

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields, Turn
from pools.formats.pairs import pair
from pools.formats.preference import LABEL
from pools.formats.prompt import Asked, bare, content_of, prompt_of, with_system
from pools.formats.values import listed, merged_turns, number_of, objects, turns_of, unspelt

_WINNERS = {
    "model_a": 1.0,
    "model_b": -1.0,
    "tie": 0.0,
    "tie (bothbad)": 0.0,
    "both_bad": 0.0,
    "bothbad": 0.0,
}


def scores_of(verdict: float) -> tuple[float, float]:
    """Scores of both sides by how much better the first is; 0 for a tie."""
    return max(0.0, verdict), max(0.0, -verdict)


def from_helpsteer2_preference(row: Fields) -> Draft:
    """HelpSteer2 preference: from -3 (response 1 is much better) to 3; the score is that strength."""
    return _by_strength(row, "preference_strength", ("response_1", "response_2"))


def from_helpsteer3(row: Fields) -> Draft:
    """HelpSteer3: as HelpSteer2's strength, with a dialogue as context."""
    draft = _by_strength(row, "overall_preference", ("response1", "response2"))
    return Draft(draft.prompt, draft.answers, row.get("domain"), rows="pairs")


def _by_strength(row: Fields, name: str, sides: tuple[str, str]) -> Draft:
    strength = number_of(row[name])
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise RowFlaw("missing_score", f"{name} is {shown(row[name])}: a number was expected")
    return pair(row, row[sides[0]], row[sides[1]], scores_of(-float(strength)), sides, prompt_of(row))


def from_pku(row: Fields) -> Draft:
    """PKU-SafeRLHF: the more helpful of two responses (`better_response_id`)."""
    sides = ("response_0", "response_1")
    better = _choice(row["better_response_id"], "better_response_id")
    draft = pair(row, row[sides[0]], row[sides[1]], scores_of(1.0 - 2.0 * better), sides, prompt_of(row))
    answers = [
        Answer(each.text, each.score, row.get(f"{side}_source") or side)
        for each, side in zip(draft.answers, sides, strict=True)
    ]
    return Draft(draft.prompt, answers, rows="pairs")


def from_arena_votes(row: Fields) -> Draft:
    """The arena of 55,000 votes: lists of turns spelt in JSON, and three columns for the winner."""
    votes = [number_of(row[f"winner_{name}"]) for name in ("model_a", "model_b", "tie")]
    if sorted(votes, key=str) != [0, 0, 1] and sorted(map(str, votes)) != ["0.0", "0.0", "1.0"]:
        raise RowFlaw(
            "wrong_shape", f"winner_model_a, winner_model_b, winner_tie are {shown(votes)}: one is 1"
        )
    asked = _texts(row["prompt"], "prompt")
    sides = [_texts(row[name], name) for name in ("response_a", "response_b")]
    dialogues = [_alternating(asked, answers) for answers in sides]
    return _arena(row, dialogues[0], dialogues[1], float(votes[0] == 1) - float(votes[1] == 1))


def from_arena(row: Fields) -> Draft:
    """The arena's dialogues side by side (33,000, 100,000 and 140,000 votes), and the winner's name."""
    winner = row["winner"]
    verdict = _WINNERS.get(winner) if isinstance(winner, str) else None
    if verdict is None:
        raise RowFlaw("wrong_shape", f"winner is {shown(winner)}: one of {', '.join(_WINNERS)} was expected")
    one, two = (turns_of(listed(row[f"conversation_{side}"], f"conversation_{side}")) for side in "ab")
    return _arena(row, one, two, verdict)


def _arena(row: Fields, one: list[Turn], two: list[Turn], verdict: float) -> Draft:
    """Prompt and answers where two dialogues part; what comes after is left out, and noted."""
    shared = 0
    while shared < min(len(one), len(two)) and bare(one[shared]) == bare(two[shared]):
        shared += 1
    if shared == len(one) == len(two):
        raise RowFlaw("duplicate_response", "both sides are the same dialogue")
    if shared >= min(len(one), len(two)) or not one[shared]["role"] == two[shared]["role"] == "assistant":
        raise RowFlaw("no_shared_prompt", "the dialogues part in a turn that is not the assistant's")
    judged = _judged_turn(row)
    if judged and len(merged_turns(one[: shared + 1])) != 2 * judged:
        raise RowFlaw("no_shared_prompt", f"the verdict is on turn {judged}; the dialogues part before it")
    answers = [
        Answer(turns[shared]["content"], score, str(row.get(f"model_{side}") or ""))
        for turns, score, side in zip((one, two), scores_of(verdict), "ab", strict=True)
    ]
    notes = ("later_turns",) if not judged and max(len(one), len(two)) > shared + 1 else ()
    prompt = with_system(row, merged_turns(one[:shared]))
    return Draft(prompt, answers, row.get("language"), rows="pairs", notes=notes)


def _judged_turn(row: Fields) -> int:
    """The turn that a verdict of MT-bench is on; 0 in the arenas, where `turn` counts those of a dialogue."""
    turn, judge = number_of(row.get("turn")), str(row.get("judge") or "")
    return turn if isinstance(turn, int) and judge and not judge.startswith("arena_user") else 0


def _texts(value: object, name: str) -> list[object]:
    return [value] if isinstance(value, str) and not value.lstrip().startswith("[") else listed(value, name)


def _alternating(asked: list[object], answers: list[object]) -> list[Turn]:
    turns = zip(asked, answers, strict=False)
    return [
        {"role": role, "content": text}
        for each in turns
        for role, text in zip(("user", "assistant"), each, strict=True)
    ]


def from_summaries(row: Fields) -> Draft:
    """summarize_from_feedback: a post and two summaries, of which `choice` is the better."""
    items = [item or {} for item in objects(row["summaries"], "summaries")]
    if len(items) != 2:
        raise RowFlaw("wrong_shape", f"{len(items)} summaries: two were expected")
    better = _choice(row["choice"], "choice")
    asked = Asked(post_of(row["info"]), ("info",))
    sides = (items[0].get("text"), items[1].get("text"))
    return pair(row, *sides, scores_of(1.0 - 2.0 * better), ("summary 0", "summary 1"), asked)


def post_of(info: object) -> str:
    """The prompt of a summary, as in Stiennon et al. 2020, table 29."""
    info = unspelt(info)
    if not isinstance(info, dict):
        raise RowFlaw("wrong_shape", f"info is {shown(info)}: an object was expected")
    if info.get("post"):
        heads = (("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post"))
        lines = [f"{head}{info[name]}" for head, name in heads if info.get(name)]
    else:
        lines = [f"Article: {info['article']}"] if info.get("article") else []
    if not lines:
        raise RowFlaw("empty_prompt", "info holds neither post nor article")
    return "\n\n".join([*lines, "TL;DR:"])


def from_openai(row: Fields) -> Draft:
    """OpenAI's preference rows: `input.messages`, a preferred and a non-preferred output."""
    sides = ("preferred_output", "non_preferred_output")
    asked = Asked(content_of(row["input"], "input"), ("input",))
    return pair(row, row[sides[0]], row[sides[1]], LABEL, sides, asked)


def _choice(value: object, name: str) -> int:
    number = number_of(value)
    if isinstance(number, bool) or number not in (0, 1):
        raise RowFlaw("wrong_shape", f"{name} is {shown(value)}: 0 or 1 was expected")
    return int(number)
