"""The files that a pool goes through while it is made: prompts in, responses without scores, a pool out."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotation.judging.judge import Scores
from annotation.sampling.collect import Candidate
from annotation.sampling.sampler import messages_of
from base.errors import PoolError
from base.files import write_whole
from pools.config import PoolConfig
from pools.readers import PoolSource, header, open_source
from pools.sources import assemble, load_pool, resolved
from pools.text_files import Row
from pools.types import Example, Pool, Prompt, Response

_VERSIONS = ("apportion", "torch", "transformers", "openai", "ray", "vllm")


@dataclass(frozen=True)
class Prompts:
    """The prompts of a file: those that get responses, and those that are held out.

    `left_out` says, in lines for a reader, which rows could not be used.
    """

    name: str
    train: tuple[Prompt, ...]
    held_out: tuple[Prompt, ...]
    left_out: tuple[str, ...] = ()


def read_prompts(config: PoolConfig, *, seed: int, most: int | None = None) -> Prompts:
    """The prompts of any file that a pool could be, with or without responses; those there are, are left.

    `most` keeps the first train prompts alone. PoolError where there is none.
    """
    pool, report = load_pool(config.model_copy(update={"min_responses": 0}), seed=seed)
    train = tuple(example.prompt for example in pool.train)[:most]
    held_out = tuple(example.prompt for example in pool.held_out)
    return Prompts(pool.name, train, held_out, tuple(report.finding_lines()) if report.counts else ())


def read_responses(path: str) -> tuple[Pool, Mapping[str, Any]]:
    """A pool whose responses may lack scores (which are then 0), and what its header says of its making.

    PoolError where no prompt has a response.
    """
    source = _Scored(open_source(resolved(path)))
    pool, report = assemble(source, None, PoolConfig(path=path), seed=0)
    if report.error:
        raise PoolError(report.error)
    first = next(iter(source.rows()), None)
    about = header(first) if first is not None else None
    made = (about or {}).get("made")
    return pool, made if isinstance(made, Mapping) else {}


class _Scored(PoolSource):
    """A source whose responses have a score of 0 where they have none."""

    def __init__(self, source: PoolSource) -> None:
        self._source, self.label = source, source.label

    def rows(self) -> Iterator[Row]:
        return (row._replace(value=_scored(row.value)) for row in self._source.rows())

    def fraction(self) -> float:
        return self._source.fraction()

    def size(self) -> int:
        return self._source.size()


def _scored(value: object) -> object:
    if not isinstance(value, Mapping) or not isinstance(value.get("responses"), list):
        return value
    responses = [
        {"score": 0.0, **each} if isinstance(each, Mapping) and "reward" not in each else each
        for each in value["responses"]
    ]
    return {**value, "responses": responses}


def rows_of(
    train: Sequence[Prompt],
    responses: Sequence[Sequence[Candidate]],
    held_out: Sequence[Prompt],
    scores: Sequence[Scores] | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of our own schema; a response that no score could be had for is left out, and so is a prompt
    without responses."""
    for index, (prompt, candidates) in enumerate(zip(train, responses, strict=True)):
        found = [{"text": each.text, "source": each.source} for each in candidates]
        if scores is not None:
            found = _with_scores(found, scores[index])
        if found:
            yield row_of(prompt, "train") | {"responses": found}
    for prompt in held_out:
        yield row_of(prompt, "held_out")


def _with_scores(found: Sequence[dict[str, Any]], scores: Scores) -> list[dict[str, Any]]:
    rows = [
        {"text": each["text"], "score": round(value, 6), "source": each["source"]}
        if value is not None
        else {}
        for each, value in zip(found, scores.values, strict=True)
    ]
    for row, error in zip(rows, scores.errors, strict=False):
        if row:
            row["score_se"] = round(error, 6)
    return [row for row in rows if row]


def rows_beside(
    train: Sequence[Example], scores: Sequence[Scores], held_out: Sequence[Example]
) -> Iterator[dict[str, Any]]:
    """Rows of a pool as it is, with these scores of a judge beside its own; one that failed is left out."""
    for example, judged in zip(train, scores, strict=True):
        errors = judged.errors or [None] * len(judged.values)
        found = zip(example.responses, judged.values, errors, strict=True)
        yield _whole_row(example, "train", [replace(r, judge_score=v, judge_score_se=e) for r, v, e in found])
    for example in held_out:
        yield _whole_row(example, "held_out", example.responses)


def _whole_row(example: Example, part: str, responses: Sequence[Response]) -> dict[str, Any]:
    if example.compared is not None:
        raise PoolError(
            f"of the responses to {example.prompt.text[:60]!r} only some pairs were compared, which our own "
            "schema has no field for: a judge's scores cannot be written beside them"
        )
    answers = [response.to_dict() | _ratings(response) | judged_by(response) for response in responses]
    return row_of(example.prompt, part) | ({"responses": answers} if answers else {})


def _ratings(response: Response) -> dict[str, Any]:
    ratings = [
        {"rater": each.rater, "rating": each.worth, **({"among": each.among} if each.among else {})}
        for each in response.ratings
    ]
    return {"ratings": ratings} if ratings else {}


def judged_by(response: Response) -> dict[str, float]:
    """What a judge made of the response beside its score, by the names of our own schema."""
    found = {"judge_score": response.judge_score, "judge_score_se": response.judge_score_se}
    return {name: round(value, 6) for name, value in found.items() if value is not None}


def as_judged(example: Example) -> Example:
    """The example with its scores as a judge's."""
    return replace(example, responses=tuple(replace(r, judge_score=r.score) for r in example.responses))


def row_of(prompt: Prompt, part: str) -> dict[str, Any]:
    """The row of a prompt in our own schema, without responses."""
    content = prompt.content if isinstance(prompt.content, str) else messages_of(prompt)
    return {"prompt": content, "domain": prompt.domain, "part": part, "meta": dict(prompt.meta)}


def described(made: Mapping[str, Any]) -> str:
    """The line that reports repeat: who wrote the responses, and who scored them."""
    parts = []
    if wrote := made.get("responses"):
        names = " and ".join(model["label"] for model in wrote["models"])
        how = wrote["sampling"]
        parts.append(
            f"responses by {names} (temperature {how['temperature']:g}, top-p {how['top_p']:g}, up to "
            f"{how['max_tokens']} tokens, seed {how['seed']})"
        )
    if scored := made.get("scores"):
        parts.append(f"scores by {scored['by']}")
    if judged := made.get("judge_scores"):
        parts.append(f"second scores (judge_score) by {judged['by']}")
    line = "; ".join(parts)
    return f"{line[:1].upper()}{line[1:]}."


def stamp() -> dict[str, Any]:
    """When, and with which versions."""
    versions = {name: importlib.metadata.version(name) for name in _VERSIONS if _installed(name)}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **versions},
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_output(path: Path, *, overwrite: bool, sources: Sequence[str] = ()) -> None:
    """Raise PoolError where a pool may not be written to `path`."""
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise PoolError(f"{path}: a pool is written to a file that ends in .jsonl or .jsonl.gz")
    if any(Path(source).absolute() == path.absolute() for source in sources):
        raise PoolError(f"{path} is what is read; write to another file")
    if path.exists() and not overwrite:
        raise PoolError(f"{path} exists; write to another file, or over it with --overwrite")


def write_pool(path: Path, name: str, made: Mapping[str, Any], rows: Iterator[dict[str, Any]]) -> int:
    """Write a header and the rows, whole or not at all; returns how many rows were written."""
    head = {"pool": {"name": name, "description": described(made), "made": made}}
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in (head, *rows)]
    content = "".join(lines).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    return len(lines) - 1
