"""What every judge promises, its twin in memory, and the reward models as judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from annotation.journal import Journal, key_of
from annotation.sampling.sampler import messages_of
from metrics.reward.base import RewardModel
from pools.types import Prompt

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """The responses to one prompt, which are judged together."""

    prompt: Prompt
    responses: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """A finite score for each response, higher is better, or None where no verdict could be had.

    `errors` are their standard errors, where the judge knows them.
    """

    values: tuple[float | None, ...]
    errors: tuple[float, ...] = ()


@dataclass
class Account:
    """How the judging went: figures by name, and the lines that a reader gets to see."""

    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


class Judge(Protocol):
    """Scores the responses to each prompt. What it has judged before, it judges alike."""

    @property
    def by(self) -> str:
        """Who judges, in words for a reader."""
        ...

    def judge(self, asked: Sequence[Asked], progress: Progress = ...) -> list[Scores]:
        """Scores for each prompt's responses, in their order; no prompts give none.

        `progress` is called with verdicts had and wanted. Raises ApportionError where it cannot go on; what
        was judged before is kept.
        """
        ...

    def account(self) -> Account:
        """How the last judging went."""
        ...


class MemoryJudge:
    """Scores with what `score(prompt, response)` returns: the twin that tests use."""

    by = "memory"

    def __init__(self, score: Callable[[Prompt, str], float]) -> None:
        self._score = score

    def judge(self, asked: Sequence[Asked], progress: Progress = lambda done, total: None) -> list[Scores]:
        """See `Judge.judge`."""
        progress(len(asked), len(asked))
        return [Scores(tuple(self._score(each.prompt, text) for text in each.responses)) for each in asked]

    def account(self) -> Account:
        """See `Judge.account`."""
        return Account()


class RewardJudge:
    """A reward model: verifier, hf or fitted. Prompts are judged, and on disk, `together` at a time."""

    def __init__(self, model: RewardModel, by: str, journal: Journal, *, together: int = 16) -> None:
        self.by = by
        self._model, self._journal, self._together = model, journal, together

    def judge(self, asked: Sequence[Asked], progress: Progress = lambda done, total: None) -> list[Scores]:
        """See `Judge.judge`; raises RewardError where the model cannot score."""
        keys = [key_of(self.by, messages_of(each.prompt), each.prompt.meta, each.responses) for each in asked]
        missing = [index for index, key in enumerate(keys) if key not in self._journal]
        for start in range(0, len(missing), self._together):
            progress(len(asked) - len(missing) + start, len(asked))
            indices = missing[start : start + self._together]
            scored = self._score([asked[index] for index in indices])
            self._journal.append(
                [
                    {"key": keys[index], "cost": 0.0, "scores": scores}
                    for index, scores in zip(indices, scored, strict=True)
                ]
            )
        progress(len(asked), len(asked))
        return [Scores(tuple(self._journal[key]["scores"])) for key in keys]

    def account(self) -> Account:
        """See `Judge.account`."""
        return Account()

    def _score(self, asked: Sequence[Asked]) -> Iterable[list[float]]:
        prompts = [each.prompt for each in asked for _ in each.responses]
        texts = [text for each in asked for text in each.responses]
        scores: Iterator[float] = iter(self._model.score(prompts, texts))
        return [[next(scores) for _ in each.responses] for each in asked]
