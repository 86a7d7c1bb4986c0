"""Questions to a language model that judges, and its verdicts: read strictly, and asked for again once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from annotation.config import JudgeConfig
from annotation.endpoint import Chat, Endpoint, NoReply
from annotation.journal import Journal, key_of
from annotation.sampling.sampler import turns_of
from pools.types import Prompt

LOWEST, HIGHEST = 1, 10
_AGAIN_AT = 0.5  # temperature at least, where the likeliest reply was unparsable
_PLAIN = "Answer with the JSON object alone."
_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}
V = TypeVar("V")
Read = Callable[[object], V]


@dataclass(frozen=True)
class Form(Generic[V]):
    """What is asked for: the words, the JSON schema of a verdict, and how its one value is read.

    `read` raises ValueError where the value is not one of those that the schema allows.
    """

    words: str
    field: str
    schema: Mapping[str, Any]
    read: Callable[[object], V]

    def verdict(self, text: str) -> V | None:
        """The verdict in a reply; None unless the whole reply is one JSON object with that one value."""
        try:
            found = json.loads(text)
            if not isinstance(found, dict) or found.keys() != {self.field}:
                return None
            return self.read(found[self.field])
        except ValueError:
            return None


def _grade(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
        raise ValueError(value)
    return value


def _choice(value: object) -> str:
    if value not in ("A", "B", "tie"):
        raise ValueError(value)
    return str(value)


def _schema(field: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": {field: value},
        "required": [field],
        "additionalProperties": False,
    }


POINTWISE = Form(
    f'Give the response a whole number from {LOWEST} (worst) to {HIGHEST} (best): {{"score": N}}. {_PLAIN}',
    "score",
    _schema("score", {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}),
    _grade,
)
PAIRWISE = Form(
    f'Say which response is better: {{"better": "A"}}, {{"better": "B"}} or {{"better": "tie"}}. {_PLAIN}',
    "better",
    _schema("better", {"type": "string", "enum": ["A", "B", "tie"]}),
    _choice,
)


@dataclass(frozen=True)
class Question:
    """A prompt, and the one response or the two, in the order in which they are shown."""

    prompt: Prompt
    shown: tuple[str, ...]


@dataclass
class Replies:
    """What became of the questions: unparsable replies, those of them that stayed so, and no replies."""

    asked: int = 0
    unparsable: int = 0
    given_up: int = 0
    unanswered: int = 0
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


class Bench(Generic[V]):
    """Asks questions of one form, by way of a journal that keeps every reply, unparsable ones included."""

    def __init__(self, form: Form[V], config: JudgeConfig, endpoint: Endpoint, journal: Journal) -> None:
        self._form, self._config, self._endpoint, self._journal = form, config, endpoint, journal
        self.replies = Replies()

    def verdicts(self, questions: Sequence[Question], progress: Callable[[int, int], None]) -> list[V | None]:
        """A verdict for each question; None where none could be had at the second attempt either."""
        self.replies = Replies(asked=len(questions))
        found: dict[int, V | None] = dict.fromkeys(range(len(questions)))
        for attempt in range(2):
            open_ones = [index for index, verdict in found.items() if verdict is None]
            if attempt:
                open_ones = [index for index in open_ones if self._key(questions[index], 0) in self._journal]
                self.replies.unparsable = len(open_ones)
            for index in self._ask(questions, open_ones, attempt, progress):
                found[index] = self._verdict(questions[index], attempt)
        progress(len(questions), len(questions))
        self.replies.given_up = sum(verdict is None for verdict in found.values()) - self.replies.unanswered
        return [found[index] for index in range(len(questions))]

    def _ask(
        self, questions: Sequence[Question], indices: Sequence[int], attempt: int, progress: Any
    ) -> Iterator[int]:
        """The indices of those questions whose reply is in the journal by now."""
        keys = {index: self._key(questions[index], attempt) for index in indices}
        missing = [index for index in indices if keys[index] not in self._journal]
        yield from (index for index in indices if keys[index] in self._journal)
        done = len(questions) - len(missing)
        chats = ((index, self._chat(questions[index], attempt)) for index in missing)
        for index, reply in self._endpoint.complete_all(chats):
            if isinstance(reply, NoReply):
                self.replies.unanswered += 1
                self.replies.reason = reply.reason
                if reply.cost:
                    self._journal.append([{"key": f"lost {keys[index]}", "cost": reply.cost}])
            else:
                self._journal.append([{"key": keys[index], **vars(reply)}])
                yield index
            progress(done := done + 1, len(questions))

    def _verdict(self, question: Question, attempt: int) -> V | None:
        reply = self._journal[self._key(question, attempt)]
        self.replies.tokens_in += reply["tokens_in"]
        self.replies.tokens_out += reply["tokens_out"]
        self.replies.seconds += self._config.model.share_of(reply["seconds"])
        return self._form.verdict(reply["text"])

    def _chat(self, question: Question, attempt: int) -> Chat:
        config = self._config
        return Chat(
            messages=[{"role": "user", "content": _words(question, config.rubric, self._form.words)}],
            max_tokens=config.max_tokens,
            temperature=max(config.temperature, _AGAIN_AT) if attempt else config.temperature,
            seed=attempt,
            schema=self._form.schema if config.structured else None,
        )

    def _key(self, question: Question, attempt: int) -> str:
        chat, model = self._chat(question, attempt), self._config.model
        return key_of(model.name, model.source, chat.body())


def _words(question: Question, rubric: str, form: str) -> str:
    dialogue = "\n\n".join(f"{_SPEAKERS[turn.role]}: {turn.content}" for turn in turns_of(question.prompt))
    names = [""] if len(question.shown) == 1 else [" A", " B"]
    shown = [f"[Response{name}]\n{text}" for name, text in zip(names, question.shown, strict=True)]
    return "\n\n".join([rubric, form, f"[Prompt]\n{dialogue}", *shown])
