"""The report's section on whether the advice carries over, with its picture."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from search.advice.carry_over import CarryOver
from search.report import markup, plots

CAPTION = (
    "By how much each other split is better than the advised one (at 0), with its 95% interval: filled in "
    "the study itself, hollow under the other setting. Left of the line the advice holds."
)


def reversals(found: CarryOver | None) -> list[str]:
    """What belongs into the report's first lines: the settings under which the advice is reversed."""
    return [] if found is None else [one.sentence() for one in found.tried if one.verdict == "reversed"]


def carry_over_section(found: CarryOver | None, draw: Callable[[Figure | None, str, str], str]) -> list[str]:
    """The section; nothing for trials without a study. `draw` saves a figure and returns its HTML."""
    if found is None:
        return []
    missing = f"Not tested: {', '.join(found.not_tested)}." if found.not_tested else ""
    nothing = "The advice was tried under the study's own settings alone (`transfer` tries others)."
    return [
        markup.heading("Does it carry over?"),
        *([markup.paragraph(nothing)] if not found.tried else []),
        markup.bullets([one.sentence() for one in found.tried]),
        *(
            [markup.pictures([draw(plots.carried_over(found.tried), "carry_over", CAPTION)])]
            if found.tried
            else []
        ),
        *([markup.paragraph(found.ladder.sentence())] if found.ladder else []),
        *([markup.paragraph(missing)] if missing else []),
    ]
