"""Two responses to a prompt, and a column that says which of them is the better: judges, arenas, exports."""

from __future__ import annotations

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Draft, Fields
from pools.formats.pairs import pair
from pools.formats.prompt import prompt_of
from pools.formats.values import first_named, number_of
from pools.formats.verdicts import scores_of

SIDES = (
    ("response_a", "response_b"),
    ("response_A", "response_B"),
    ("response_1", "response_2"),
    ("response_0", "response_1"),
    ("response1", "response2"),
    ("answer_a", "answer_b"),
    ("answer_1", "answer_2"),
    ("answer1", "answer2"),
    ("output_a", "output_b"),
    ("output_1", "output_2"),
    ("completion_a", "completion_b"),
    ("completion_1", "completion_2"),
)
VERDICTS = (
    "winner",
    "preferred",
    "preferred_response",
    "preference",
    "better",
    "better_response",
    "verdict",
    "choice",
    "comparison",
    "label",
    "safer_response_id",
)
_TIES = ("tie", "tie (bothbad)", "both_bad", "bothbad", "both", "equal", "same", "draw", "neither", "c")
_POSITIONS = (("a", "left", "first"), ("b", "right", "second"))
# Of the columns that number the sides, those that are known to start from the number in the name.
_NUMBERED = {("output_1", "preference"), ("response_0", "safer_response_id")}


def has_sides(row: Fields) -> bool:
    """Whether both responses are there, under names that belong together."""
    return _sides(row) is not None


def from_named_winner(row: Fields) -> Draft:
    """Two responses, and the better one by its name or side (`A`, `model_b`, `response_1`, `left`, `tie`).

    A bare number is refused where it could count from 0 or from 1, except in AlpacaEval's rows.
    """
    if (sides := _sides(row)) is None:
        raise RowFlaw(
            "wrong_shape", f"no two responses of known names: the columns are {', '.join(map(str, row))}"
        )
    column = first_named(row, VERDICTS, "missing_score")
    verdict = _verdict(row[column], sides, column)
    return pair(row, row[sides[0]], row[sides[1]], scores_of(verdict), sides, prompt_of(row))


def _sides(row: Fields) -> tuple[str, str] | None:
    pairs = (each for each in SIDES if row.get(each[0]) is not None and row.get(each[1]) is not None)
    return next(pairs, None)


def _verdict(value: object, sides: tuple[str, str], column: str) -> float:
    """1 for the first side, -1 for the second, 0 for a tie."""
    number = number_of(value)
    whole = isinstance(number, float) and number.is_integer()
    word = str(int(number) if whole else value).strip().strip("[]").lower()  # type: ignore[call-overload]
    if word in _TIES or word == f"{sides[0][-1]}={sides[1][-1]}".lower():
        return 0.0
    for verdict, side, other, positions in zip((1.0, -1.0), sides, sides[::-1], _POSITIONS, strict=True):
        beats = f"{side[-1]}>{other[-1]}".lower()
        if word == beats or word in _words(side, positions, (sides[0], column) in _NUMBERED):
            return verdict
    raise RowFlaw(
        "wrong_shape",
        f"{column} is {shown(value)}: {sides[0]}, {sides[1]}, a, b, left, right or tie was expected "
        "(write that, or scores in two columns for pool.columns)",
    )


def _words(side: str, positions: tuple[str, ...], numbered: bool) -> set[str]:
    """What a verdict calls a side."""
    end = side[-1].lower()
    names = {
        f"{what}{end}" for what in ("model_", "response_", "response ", "answer_", "assistant_", "output_")
    }
    letters = {
        f"{what}{positions[0]}" for what in ("model_", "response_", "response ", "assistant_", "assistant ")
    }
    return {side.lower(), *names, *letters, *positions} | ({end} if numbered else set())
