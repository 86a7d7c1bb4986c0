"""What runs on Ray Data gives what one process gives: the same pool to the letter, the same diversity."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from base.errors import PoolError
from metrics.diversity import diversity
from metrics.ray_count import count_on_ray
from metrics.tokens import tokenize
from pools import across
from pools.across import Cluster
from pools.config import PoolConfig
from pools.files import File
from pools.formats.reader import Reader
from pools.sources import scan_pool
from pools.spilled import OnDiskPoolBuilder
from search.config.load import load_config
from search.study import inputs as material
from search.study.folder import StudyFolder
from search.terminal.display import Display

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def joined() -> Iterator[None]:
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def listed(draw: random.Random) -> Any:
    """A row of our schema: few prompts, so that many repeat, often flawed and sometimes held out."""
    answers = [
        {"text": draw.choice(["ä\tb", "ä\tb ", "\u2028x", "y", ""]), "score": draw.choice([1, 0.25, "high"])}
        for _ in range(draw.randrange(6))
    ]
    row: dict[str, Any] = {"prompt": f"{draw.choice('pP')}{draw.randrange(200)}", "responses": answers}
    row["part"] = draw.choice(["held_out", *9 * ["train"]])
    return draw.choice([None, {"prompt": ""}, *18 * [row]])


def paired(draw: random.Random) -> Any:
    """A comparison; several speak of one prompt and of one response."""
    row = {"prompt": f"p{draw.randrange(100)}", "chosen": f"r{draw.randrange(4)}", "rejected": "bad"}
    return draw.choice([{"prompt": row["prompt"], "chosen": 3}, {**row, "chosen": " "}, *18 * [row]])


def written(folder: Path, make: Any, seed: int) -> Path:
    """Files of very different lengths, the first by name the longest, with lines that are not JSON."""
    draw = random.Random(seed)
    folder.mkdir()
    for name, rows in (("a.jsonl.gz", 150), ("b.jsonl", 0), ("c.jsonl", 20), ("d.json", 50)):
        with gzip.open(folder / name, "wt") if name.endswith("gz") else (folder / name).open("w") as file:
            file.write('{"pool": {"name": "n"}}\n' if name < "c" else "")
            file.writelines(json.dumps(make(draw)) + "\n" for _ in range(rows))
            file.write("{\n")
    return folder


@pytest.mark.parametrize("make", [listed, paired])
def test_the_same_pool_to_the_letter(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pools.spilled.PART_BYTES", 2000)
    here, other = written(tmp_path / "pool", make, 1), written(tmp_path / "held", make, 2)
    config = PoolConfig(path=str(here), held_out_path=str(other), held_out_prompts=3, stream_above=0)
    read: list[Any] = []
    for cluster in (None, Cluster(lambda: nullcontext(True), str(tmp_path))):
        pool, report = scan_pool(config, seed=3, min_responses=2, store=tmp_path / "store", cluster=cluster)
        read.append((list(pool.train), pool, asdict(report), report.lines()))
    (wanted, memory, report, lines), (found, pool, other_report, other_lines) = read
    assert found == wanted and len(found) > 5
    assert pool.held_out == memory.held_out and len(pool.held_out) == 3
    assert other_report == report and other_lines == lines and len(report["counts"]) > 3


def test_a_study_reads_a_large_pool_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = written(tmp_path / "pool", listed, 1)
    given: list[int] = []

    def counted(files: Any, *rest: Any) -> None:
        given.append(len(files))
        read_across(files, *rest)

    read_across = across.read_across
    monkeypatch.setattr(across, "read_across", counted)
    fields = {
        "pool.path": str(shared),
        "pool.held_out_prompts": "5",
        "search.responses": "[1]",
        "budget": "9",
    }
    found = []
    for name, storage in (("alone", "/elsewhere"), ("across", str(tmp_path))):
        config = load_config("demo", {**fields, "pool.stream_above": "0", "cluster.storage": storage})
        found.append(material.read_pool(config, StudyFolder(tmp_path / name), Display())[1])
    assert found[0] == found[1] and given == [4]


def test_a_file_that_a_worker_cannot_read_is_told(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.jsonl")
    spilled = OnDiskPoolBuilder(tmp_path / "store", 1)
    with pytest.raises(
        PoolError, match=f"a worker .* cannot read the pool: {gone}: No such file or directory$"
    ):
        across.read_across([File(gone, 1)], Reader(), spilled, "")


def test_ray_counts_what_one_process_counts() -> None:
    words = [f"w{i}" for i in range(60)]

    def load_tokenizer() -> Tokenizer:  # local functions travel to the workers by value
        made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        return made

    def read(source: str) -> Iterator[str]:
        draw = random.Random(source)
        return (" ".join(draw.choices(words, k=draw.randrange(0, 9))) for _ in range(150))

    sources = ["a", "b", "c"]
    expected = tokenize((text for source in sources for text in read(source)), load_tokenizer())
    measured = count_on_ray(sources, read, load_tokenizer)
    assert measured.diversity() == diversity(expected)
    assert (measured.prompts, measured.tokens) == (450, len(expected.ids))
