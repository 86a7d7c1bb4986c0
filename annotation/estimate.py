"""What responses and scores will cost, from a small part of them that is really drawn and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from annotation.config import ModelSource
from annotation.journal import Record
from annotation.judging.judge import Asked, Judge
from annotation.judging.llm import PairwiseJudge, PointwiseJudge
from annotation.sampling.collect import Collector, Task

Progress = Callable[[int, int], None]
MEASURED = 0.04  # share of the responses that is drawn to measure by, within the two limits below
FEWEST, MOST = 24, 400  # responses


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Totals of a whole run, and the `measured` responses or verdicts that they were estimated from.

    `count` is expected, draws of repeated responses included; `cost` is money, `seconds` are of this machine
    as it was while measuring.
    """

    what: str
    count: float
    measured: int
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    seconds: float = 0.0
    cost: float = 0.0

    def line(self) -> str:
        """The estimate for a reader."""
        tokens = f"{self.tokens_in:,.0f} tokens in, {self.tokens_out:,.0f} out, " if self.tokens_in else ""
        return (
            f"{self.what}: {self.count:,.0f}, {tokens}{self.seconds / 60:,.1f} minutes, "
            f"cost {self.cost:,.4g} (from {self.measured:,})"
        )


def estimate_sampling(
    collector: Collector, writer: int, model: ModelSource, progress: Progress, *, resample: int
) -> Estimate:
    """Draw parts of the writer's work, spread over short and long prompts, and extend them to all of it.

    What is drawn is in the journal, so that the run itself does not draw it again. `progress` is called with
    responses drawn and to be drawn.
    """
    tasks = [task for task in collector.tasks() if task.writer == writer]
    chosen = _spread(collector.units(tasks, writer), len(tasks))
    wanted = sum(map(len, chosen))
    collector.draw(chosen, 0, lambda done: progress(done, wanted))
    found = [(task, record) for unit in chosen for task in unit if (record := collector.record(task, 0))]
    again = _times_drawn(found, resample)
    scale = again * len(tasks) / max(len(found), 1)
    records = [record for _, record in found]
    return Estimate(
        what=f"responses of {model.source}",
        count=len(tasks) * again,
        measured=len(records),
        tokens_in=scale * sum(record["tokens_in"] for record in records),
        tokens_out=scale * sum(record["tokens_out"] for record in records),
        seconds=scale * sum(record["seconds"] for record in records),
        cost=scale * sum(record["cost"] for record in records),
    )


def _spread(units: Sequence[Sequence[Task]], tasks: int) -> list[Sequence[Task]]:
    """Units at even distances, so many that they hold enough responses; a prompt's units stay together."""
    if not units:
        return []
    parts = [list(units[0])]
    for before, unit in zip(units, units[1:], strict=False):
        if len(unit) == 1 and unit[0].prompt == before[-1].prompt:
            parts[-1] += unit
        else:
            parts.append(list(unit))
    wanted = min(max(FEWEST, round(MEASURED * tasks)), MOST)
    count = min(len(parts), max(3, -(-wanted // max(map(len, parts)))))
    chosen = [parts[round((index + 0.5) * len(parts) / count - 0.5)] for index in range(count)]
    single = all(len(unit) == 1 for unit in units)
    return [[task] for part in chosen for task in part] if single else list(chosen)


def _times_drawn(found: Sequence[tuple[Task, Record]], resample: int) -> float:
    """How often a response is drawn on average, if as many are empty or repeated each time as here."""
    kept = {(task.prompt, record["text"]) for task, record in found if record["text"]}
    again = 1 - len(kept) / max(len(found), 1)
    return sum(again**wave for wave in range(1 + resample))


def estimate_reward(judge: Judge, some: Sequence[Asked], progress: Progress, *, responses: int) -> Estimate:
    """The time that a reward model takes, by judging `some` of all `responses`."""
    started = time.monotonic()
    judge.judge(some, progress)
    measured = sum(len(each.responses) for each in some)
    seconds = (time.monotonic() - started) * responses / max(measured, 1)
    return Estimate(what=f"scores by {judge.by}", count=responses, measured=measured, seconds=seconds)


def estimate_verdicts(
    judge: PointwiseJudge | PairwiseJudge,
    some: Sequence[Asked],
    model: ModelSource,
    progress: Progress,
    *,
    prompts: int,
    responses: int,
) -> Estimate:
    """The verdicts on `responses` to each of `prompts`, by having `some` prompts judged (and on disk)."""
    judge.judge(some, progress)
    replies = judge.replies
    scale = prompts * judge.verdicts_on(responses) / max(replies.asked, 1)
    read, written = scale * replies.tokens_in, scale * replies.tokens_out
    return Estimate(
        what=f"verdicts of {judge.by}",
        count=prompts * judge.verdicts_on(responses),
        measured=replies.asked,
        tokens_in=read,
        tokens_out=written,
        seconds=scale * replies.seconds,
        cost=(read * model.price_in + written * model.price_out) / 1e6,
    )
