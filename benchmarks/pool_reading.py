"""How fast pools are read, format by format, against another checkout of the project in the same run.

    python -m benchmarks.pool_reading [--quick] [--against FOLDER]

Rows of one shape are written to a file, and both checkouts read it in turn, each in its own process; the
best of several turns counts. `ratio` is rows per second here over rows per second there: 1 is as fast, and
without `--against` it is over parsing the same lines with `json` alone. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parent.parent
WORDS = [
    "the",
    "answer",
    "to",
    "that",
    "is",
    "mostly",
    "a",
    "matter",
    "of",
    "how",
    "long",
    "the",
    "water",
    "has",
    "been",
    "standing",
    "in",
    "the",
    "open",
    "air",
]
_READ = """
import sys, time
from pools.config import PoolConfig
from pools.sources import scan_pool
scan_pool(PoolConfig(path=sys.argv[1], format=sys.argv[2]), seed=0)
start = time.process_time()
scan_pool(PoolConfig(path=sys.argv[1], format=sys.argv[2]), seed=0)
print(time.process_time() - start)
"""
_PARSE = """
import json, sys, time
start = time.process_time()
with open(sys.argv[1], "rb") as file:
    for line in file:
        json.loads(line)
print(time.process_time() - start)
"""


def row(format: str, number: int) -> dict[str, Any]:
    """A row in one of the formats, of the length of a usual prompt and answers."""
    question = f"Question {number}: {' '.join(WORDS)}?"
    answers = [f"Answer {k} to {number}: {' '.join(WORDS * 3)}" for k in range(4)]
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": text}] for text in answers
    ]
    dialogues = [f"\n\nHuman: {question}\n\nAssistant: {text}" for text in answers]
    rated = {name: {"Rating": "4"} for name in ("helpfulness", "honesty", "instruction_following")}
    shapes: dict[str, dict[str, Any]] = {
        "pool": {
            "prompt": question,
            "responses": [{"text": a, "score": k / 2} for k, a in enumerate(answers)],
        },
        "hh_rlhf": {"chosen": dialogues[0], "rejected": dialogues[1]},
        "preference": {"prompt": question, "chosen": answers[0], "rejected": answers[1]},
        "preference turns": {"chosen": turns[0], "rejected": turns[1]},
        "ultrafeedback": {
            "instruction": question,
            "completions": [{"response": a, "model": "m", "annotations": rated} for a in answers],
        },
        "nectar": {
            "prompt": f"\n\nHuman: {question}\n\nAssistant: ",
            "answers": [{"answer": a, "rank": k + 1.0, "model": "m"} for k, a in enumerate(answers)],
        },
        "shp": {
            "history": question,
            "human_ref_A": answers[0],
            "human_ref_B": answers[1],
            "score_A": 3,
            "score_B": 9,
        },
        "prefix": {
            "prefix": [["<|prompter|>", question, "<|assistant|>"]] * 4,
            "suffix": answers,
            "reward": [0.5, 1.0, 2.0, 3.0],
        },
    }
    return shapes[format]


FORMATS = ("pool", "hh_rlhf", "preference", "preference turns", "ultrafeedback", "nectar", "shp", "prefix")


def seconds(code: str, folder: Path, *arguments: str) -> float:
    """Processor seconds that `code` prints, run in a checkout."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return float(done.stdout)


def measured(format: str, rows: int, turns: int, against: Path | None, folder: Path) -> dict[str, Any]:
    """Rows per second here, and the ratio to the baseline."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row(format, number)) + "\n" for number in range(rows)))
    name = format.partition(" ")[0]
    here, there = [], []
    for _ in range(turns):
        here.append(seconds(_READ, ROOT, str(path), name))
        there.append(
            seconds(_READ, against, str(path), name) if against else seconds(_PARSE, ROOT, str(path))
        )
    return {"rows_per_second": round(rows / min(here)), "ratio": round(min(there) / min(here), 3)}


def main() -> None:
    """Measure every format and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, two turns")
    parser.add_argument("--against", type=Path, help="another checkout, the baseline")
    args = parser.parse_args()
    rows, turns = (2000, 2) if args.quick else (20_000, 5)
    found = {}
    with TemporaryDirectory() as folder:
        for format in FORMATS:
            found[format] = measured(format, rows, turns, args.against, Path(folder))
            print(f"{format:<18}{found[format]}", file=sys.stderr, flush=True)
    baseline = str(args.against or "json.loads of the same lines")
    print(json.dumps({"benchmark": "pool_reading", "rows": rows, "baseline": baseline, "formats": found}))


if __name__ == "__main__":
    main()
