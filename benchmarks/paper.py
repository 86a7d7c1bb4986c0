"""The figures of Song et al. 2024 that ship in `studies/`, as the benchmarks read them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TypeAlias

STUDIES = Path(__file__).parents[1] / "studies"
Row: TypeAlias = dict[str, str]


def paper_figures() -> dict[str, Any]:
    """Figure 4 (`prompts`, `diversity`, `reward` by algorithm and k) and Table 1 (`rows`, in percent).

    A row of the table is named by algorithm, model and task, and holds, by N and k, its rewards at N/2, 2N/3
    and N prompts.
    """
    figure = {name: _rows(f"song2024_{name.lower()}.csv") for name in ("PRO", "SFT")}
    sizes = {int(row["prompts"]): float(row["diversity"]) for row in figure["PRO"]}
    return {
        "figure4": {
            "prompts": list(sizes),
            "diversity": list(sizes.values()),
            "reward": {name: _by_responses(rows) for name, rows in figure.items()},
        },
        "table1": {"rows": _table(_rows("song2024_table1.csv"))},
    }


def _rows(name: str) -> list[Row]:
    with (STUDIES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _by_responses(rows: list[Row], scale: float = 1.0) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["responses"], []).append(round(scale * float(row["reward"]), 6))
    return found


def _table(rows: list[Row]) -> dict[str, dict[str, dict[str, list[float]]]]:
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        total = "3000" if int(row["prompts"]) <= 3_000 else "24000"
        name = ", ".join(row[column] for column in ("algorithm", "model", "task"))
        found.setdefault(name, {}).setdefault(total, []).append(row)
    return {
        name: {total: _by_responses(mine, 100) for total, mine in parts.items()}
        for name, parts in found.items()
    }
