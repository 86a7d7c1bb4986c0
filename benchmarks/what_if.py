"""How soon the what-if panel of a report paints, and redraws: `python -m benchmarks.what_if [--quick]`.

    python -m benchmarks.what_if [--rounds 10] [--browser /usr/bin/chromium]

The report of the published PRO trials in headless Chromium (playwright's own, or `--browser`): milliseconds
to the first contentful paint, beside those of a page that holds one word, and of each redraw after a change
of the budget; and the file's size. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from search.cli import main as apportion

BUDGETS = (10_000, 20_000, 30_000, 40_000, 50_000)
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def painted(browser: Any, path: Path) -> tuple[Any, float]:
    """The page, and milliseconds until something of it was seen."""
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_function(f"{PAINT} > 0")
    return page, float(page.evaluate(PAINT))


def redraws(page: Any) -> list[float]:
    """Milliseconds of the panel's redraw at each budget, by the page's own clock."""
    found = []
    for budget in BUDGETS:
        page.fill("[name=budget]", str(budget))
        found.append(float(page.evaluate("whatIf.milliseconds")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 10")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--browser", help="an installed Chromium (default: playwright's)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        asked = ["recommend", "studies/song2024_pro.csv", "--budget", "48000", "--report", name]
        with contextlib.redirect_stdout(io.StringIO()):
            apportion(asked)
        (folder / "word.html").write_text("<!doctype html><title>word</title>word")
        browser = playwright.chromium.launch(executable_path=args.browser)
        paints: dict[str, list[float]] = {"report": [], "word": []}
        times: list[float] = []
        for _ in range(2 if args.quick else args.rounds):
            for kind, file in (("report", "report.html"), ("word", "word.html")):
                page, paint = painted(browser, folder / file)
                paints[kind].append(paint)
                times += redraws(page) if kind == "report" else []
                page.close()
        size = (folder / "report.html").stat().st_size
    first = {kind: round(statistics.median(found)) for kind, found in paints.items()}
    figures = {
        "first_paint_ms": first["report"], "baseline": "a page of one word",
        "baseline_paint_ms": first["word"],
        "ratio": round(first["report"] / first["word"], 1), "redraw_ms": round(statistics.median(times)),
        "redraw_most_ms": round(max(times)), "redraws": len(times), "bytes": size,
    }  # fmt: skip
    print(json.dumps({"benchmark": "what_if", **figures}))


if __name__ == "__main__":
    main()
