"""Where running trials write how far they are, and the terminal reads it: a Ray actor, no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.spec import SeedResult

BASE = "base model"  # the row of what precedes the first trial
OF_TRIAL = ("seeds_done", "reward")  # what a row says of the whole trial; the rest is of the seed in training


class Board:
    """How far each running trial is, by label: the latest of every figure that it reported.

    And the files of the fitted reward model by name, once there is one, which each trial needs.
    """

    def __init__(self) -> None:
        self._reward_artifact: Mapping[str, bytes] = {}
        self._rows: dict[str, dict[str, float]] = {}
        self._worker_pools: list[Any] = []
        self._ended_seeds: list[tuple[str, SeedResult]] = []

    def keep_reward_artifact(self, files: Mapping[str, bytes]) -> None:
        """Keep the files of the fitted reward model."""
        self._reward_artifact = files

    def reward_artifact(self) -> Mapping[str, bytes]:
        """Those files; none where no reward model is fitted."""
        return self._reward_artifact

    def enlist(self, mailbox: Any) -> None:
        """Note the mailbox of a group of workers."""
        self._worker_pools.append(mailbox)

    def worker_pools(self) -> list[Any]:
        """All of those mailboxes."""
        return self._worker_pools

    def update(self, label: str, row: Mapping[str, float]) -> None:
        """Add to the trial's row; what was said of a seed goes when another begins."""
        kept = self._rows.get(label, {})
        if row.get("seed", kept.get("seed")) != kept.get("seed"):
            kept = {name: kept[name] for name in OF_TRIAL if name in kept}
        self._rows[label] = kept | dict(row)

    def seed_ended(self, work: str, result: SeedResult) -> None:
        """Keep the result of a seed until it is fetched; `work` is the name of its trial's work."""
        self._ended_seeds.append((work, result))

    def ended_seeds(self) -> list[tuple[str, SeedResult]]:
        """The results that came since this was last called."""
        fetched, self._ended_seeds = self._ended_seeds, []
        return fetched

    def forget(self, label: str) -> None:
        """Take the row of a trial that has ended away."""
        self._rows.pop(label, None)

    def read(self) -> dict[str, dict[str, float]]:
        """All rows."""
        return self._rows
