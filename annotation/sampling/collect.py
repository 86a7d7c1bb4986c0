"""Different responses to every prompt: who draws which, what is drawn again, and what is on disk already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from annotation.journal import Journal, Record, key_of
from annotation.sampling.sampler import Drawn, Failed, Request, Sampler, messages_of
from pools.types import Prompt

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Writer:
    """A model that responds: the `source` of its responses, what makes it the one it is, and its sampler."""

    source: str
    identity: str
    sampler: Sampler


@dataclass(frozen=True)
class Task:
    """A response that a prompt wants: the prompt's index, the response's among its own, and the writer's."""

    prompt: int
    slot: int
    writer: int


@dataclass(frozen=True)
class Candidate:
    """A response, and the model that wrote it."""

    text: str
    source: str


@dataclass(kw_only=True)
class Tally:
    """What it took to get responses: `redrawn` of the `drawn` were drawn because an earlier one was empty
    or repeated another of its prompt."""

    drawn: int = 0
    redrawn: int = 0
    truncated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, records: Sequence[Record | None], attempt: int) -> None:
        for record in filter(None, records):
            self.drawn += 1
            self.redrawn += attempt > 0
            self.truncated += record["truncated"]
            self.tokens_in += record["tokens_in"]
            self.tokens_out += record["tokens_out"]


@dataclass(kw_only=True)
class Collected(Tally):
    """The responses [prompts] and what it took to get them.

    `short` prompts have fewer responses than were asked for; `failed` says for which and why.
    """

    responses: list[list[Candidate]]
    short: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


class Collector:
    """Draws `responses` for each prompt, by several writers in turn, by way of a journal.

    A response is known by its prompt's text, its writer, the seed, its slot and the attempt, and so is what
    it is drawn by: those that the journal holds are not drawn again, whatever else was asked for before.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        writers: Sequence[Writer],
        journal: Journal,
        *,
        responses: int,
        seed: int,
        resample: int,
    ) -> None:
        self._prompts, self._writers, self._journal = prompts, writers, journal
        self._responses, self._seed, self._resample = responses, seed, resample
        self._digests = [key_of(messages_of(prompt)) for prompt in prompts]
        self._failed: dict[Task, str] = {}
        # Prompts of like lengths stand together in a unit, where they are padded to the longest.
        self._order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].text), self._digests[i]))

    def tasks(self) -> list[Task]:
        """All responses that are wanted; the writers take turns, and who begins differs by prompt."""
        return [Task(i, slot, self._writer(i, slot)) for i in self._order for slot in range(self._responses)]

    def units(self, tasks: Sequence[Task], writer: int) -> list[list[Task]]:
        """The writer's part of the tasks, in units."""
        own, size = [task for task in tasks if task.writer == writer], self._writers[writer].sampler.unit
        return [own[start : start + size] for start in range(0, len(own), size)]

    def collect(self, progress: Progress = lambda done, total: None) -> Collected:
        """Draw what is missing; `progress` is called with responses drawn and wanted.

        Raises what a sampler raises; all that was drawn before is in the journal.
        """
        tasks, tally = self.tasks(), Tally()
        accepted: dict[Task, Record] = {}
        open_tasks: Sequence[Task] = tasks
        for attempt in range(1 + self._resample):
            done = len(tasks) - len(open_tasks)
            for writer in range(len(self._writers)):
                units = self.units(open_tasks, writer)
                self.draw(units, attempt, partial(_report, progress, done, len(tasks)))
                done += sum(map(len, units))
            tally.add([self.record(task, attempt) for task in open_tasks], attempt)
            open_tasks = self._accept(open_tasks, attempt, accepted)
        return self._collected(accepted, tally)

    def draw(
        self, units: Sequence[Sequence[Task]], attempt: int, progress: Callable[[int], None] = lambda n: None
    ) -> None:
        """Draw those units of one writer that the journal does not hold, and write them there.

        A unit is drawn whole also where only a part of it is missing, since its shape may decide on rounding.
        """
        missing = [
            unit for unit in units if any(self._key(task, attempt) not in self._journal for task in unit)
        ]
        done = sum(map(len, units)) - sum(map(len, missing))
        if not missing:
            return
        sampler = self._writers[missing[0][0].writer].sampler
        requests = ([self._request(task, attempt) for task in unit] for unit in missing)
        for number, results in sampler.sample(requests):
            self._keep(missing[number], results, attempt)
            progress(done := done + len(results))

    def record(self, task: Task, attempt: int) -> Record | None:
        """What the journal holds of a response; None where it could not be had."""
        return self._journal.get(self._key(task, attempt))

    def drawn_before(self) -> dict[int, list[str]]:
        """Texts that the journal holds at the first attempt, by prompt."""
        found: dict[int, list[str]] = {}
        for task in self.tasks():
            if (record := self.record(task, 0)) is not None:
                found.setdefault(task.prompt, []).append(record["text"])
        return found

    def _keep(self, unit: Sequence[Task], results: Sequence[Drawn | Failed], attempt: int) -> None:
        records: list[Record] = []
        for task, result in zip(unit, results, strict=True):
            key = self._key(task, attempt)
            if isinstance(result, Failed):
                self._failed[task] = result.reason
                if result.cost:
                    records.append({"key": f"lost {key}", "cost": result.cost})
            elif key not in self._journal:
                records.append({"key": key, "slot": task.slot, "attempt": attempt, **vars(result)})
        if records:
            self._journal.append(records)

    def _accept(self, tasks: Sequence[Task], attempt: int, accepted: dict[Task, Record]) -> list[Task]:
        """Add to `accepted` what is new to its prompt; returns the tasks that are to be drawn again."""
        texts: dict[int, set[str]] = {}
        for task, kept in accepted.items():
            texts.setdefault(task.prompt, {""}).add(kept["text"])
        again: list[Task] = []
        for task in tasks:
            known, record = texts.setdefault(task.prompt, {""}), self.record(task, attempt)
            if record is None:
                continue
            if record["text"] in known:
                again.append(task)
            else:
                known.add(record["text"])
                accepted[task] = record
        return again

    def _collected(self, accepted: dict[Task, Record], tally: Tally) -> Collected:
        responses: list[list[Candidate]] = [[] for _ in self._prompts]
        for task in sorted(accepted, key=lambda task: task.slot):
            source = self._writers[task.writer].source
            responses[task.prompt].append(Candidate(accepted[task]["text"], source))
        short = [index for index, texts in enumerate(responses) if len(texts) < self._responses]
        failed = {task.prompt: reason for task, reason in self._failed.items()}
        return Collected(responses=responses, short=short, failed=failed, **vars(tally))

    def _writer(self, prompt: int, slot: int) -> int:
        return (int(self._digests[prompt][:8], 16) + slot) % len(self._writers)

    def _parts(self, task: Task, attempt: int) -> tuple[Any, ...]:
        writer = self._writers[task.writer]
        return self._digests[task.prompt], writer.identity, self._seed, task.slot, attempt

    def _key(self, task: Task, attempt: int) -> str:
        return key_of(*self._parts(task, attempt))

    def _request(self, task: Task, attempt: int) -> Request:
        return Request(self._prompts[task.prompt], int(self._key(task, attempt)[:15], 16))


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)
