"""Where running trials write how far they are, and the terminal reads it: a Ray actor, no more."""

from __future__ import annotations

from collections.abc import Mapping


class Board:
    """The latest progress of each running trial, by label."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, float]] = {}

    def update(self, label: str, row: Mapping[str, float]) -> None:
        """Replace the trial's row."""
        self._rows[label] = dict(row)

    def forget(self, label: str) -> None:
        """Take the row of a trial that has ended away."""
        self._rows.pop(label, None)

    def read(self) -> dict[str, dict[str, float]]:
        """All rows."""
        return self._rows
