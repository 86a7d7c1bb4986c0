"""What can be wrong with a row or a response of a pool: every dropped thing carries one of these reasons."""

from __future__ import annotations

from typing import NamedTuple

# reason -> what it means, in the words of the report
REASONS = {
    "damaged_file": "damaged or cut short: nothing after this line could be read",
    "bad_utf8": "line is not UTF-8",
    "malformed_line": "line is not JSON",
    "not_an_object": "row is not an object",
    "wrong_shape": "a field is not what the format says",
    "empty_prompt": "prompt is missing or empty",
    "no_shared_prompt": "chosen and rejected do not answer the same prompt",
    "unknown_shape": "which columns hold what cannot be told from their names",
    "two_prompts": "two columns could be the prompt",
    "tool_turn": "dialogue calls tools, which cannot be trained on",
    "empty_response": "response text is missing or empty (that response is dropped)",
    "missing_score": "response has no score (that response is dropped)",
    "bad_score": "score is not a finite number (that response is dropped)",
    "template_refuses": "the model's chat template refuses the prompt (model.prompt_format: plain would not)",
    "duplicate_response": "response repeats an earlier one of the same prompt (the later one is dropped; of "
    "a pair of equal sides both)",
    "duplicate_prompt": "prompt repeats an earlier row (the later row is dropped)",
    "mixed_labels": "prompt was scored in an earlier row and is compared in this one, or the other way round "
    "(the later row is dropped)",
    "shared_with_held_out": "prompt is held out (the train row is dropped)",
    "too_few_responses": "fewer good responses than asked",
}
# reason -> what a reader should know of rows that are used
NOTES = {
    "control_tokens": "holds control tokens of a chat template, which are trained on as plain text",
    "prompt_repeated": "every response begins with the prompt, which is trained on twice",
    "json_text": "a response is a list of texts in JSON; its brackets and quotes are trained on",
    "later_turns": "the verdict is on dialogues that go on; it is taken for the answers in which they part",
    "score_against_label": "the rejected side has the higher score, which is what counts",
}
LATE = {"shared_with_held_out": 1, "too_few_responses": 2}  # found in this order when all rows are read


class Flaw(NamedTuple):
    """One thing wrong: a key of `REASONS`, and the particulars."""

    reason: str
    detail: str = ""


class RowFlaw(Exception):
    """Raised where a whole row cannot be used; always caught while loading and counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        assert reason in REASONS, reason
        self.flaw = Flaw(reason, plain(detail))


def plain(text: str) -> str:
    """The text as a terminal can show it: with ? for halves of characters (lone surrogates)."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def shown(value: object, width: int = 60) -> str:
    """`value` as a short literal for a message."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
