"""What a study keeps in a bucket, over HTTP as in the cloud: an emulation of S3 (moto) on its own port."""

from __future__ import annotations

import gzip
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from factories import planned, record
from moto.server import ThreadedMotoServer
from pyarrow import Table
from pyarrow.parquet import write_table

from base.errors import PoolError
from pools.config import PoolConfig
from pools.sources import load_pool
from search.study.folder import StudyFolder
from search.study.mirror import Mirror
from search.trials.record import TrialRecord
from trainers.config.trainer import TrainerConfig
from trainers.models import load_policy, load_tokenizer
from trainers.trial.export import save_policy

STORAGE = "s3://bucket/studies"
FILES = {"README.md", "config.json", "generation_config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """An empty bucket, which pyarrow and boto3 find through the environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


def files(bucket: Any, folder: str) -> set[str]:
    """The names of the files in a folder of the bucket; markers of folders are none."""
    found = bucket.list_objects_v2(Bucket="bucket", Prefix=f"studies/{folder}/").get("Contents", [])
    return {each["Key"].removeprefix(f"studies/{folder}/") for each in found if each["Size"]}


def finished(trial: str, reward: float, policy: str) -> TrialRecord:
    return record(planned(4, 2, (0,)), reward, key=trial, policy=policy)


def test_policies_are_put_replaced_and_pruned(bucket: Any, model: Path, tmp_path: Path) -> None:
    weights = dict(load_policy(str(model), dtype="fp32").named_parameters())
    folder = StudyFolder(tmp_path / "study", policies=Mirror(STORAGE, "s", fresh=False).policies)
    places = {trial: f"{folder.policies}/trial-{trial}-seed0" for trial in "ab"}
    bucket.put_object(Bucket="bucket", Key="studies/s/policies/trial-a-seed0/of an earlier run", Body=b"x")
    for place in places.values():
        save_policy(
            weights,
            place,
            base=str(model),
            config=TrainerConfig(dtype="fp32"),
            tokenizer=load_tokenizer(str(model)),
            card="# card",
        )
    for trial in places:
        found = files(bucket, f"s/policies/trial-{trial}-seed0")
        assert found >= FILES and "of an earlier run" not in found
    folder.prune_policies([finished("a", 0.9, places["a"]), finished("b", 0.4, places["b"])])
    assert files(bucket, "s/policies/trial-a-seed0") >= FILES
    assert not files(bucket, "s/policies/trial-b-seed0")


def test_a_study_goes_there_and_comes_back(bucket: Any, tmp_path: Path) -> None:
    here = tmp_path / "head"
    for name in ("config.yaml", "trials/a.json", "pool/train.arrow", "ray/state"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    Mirror(STORAGE, "t", fresh=False).push(here)
    assert files(bucket, "t/study") == {"config.yaml", "trials/a.json"}
    there = tmp_path / "new head"
    assert Mirror(STORAGE, "t", fresh=False).pull(there) == 2
    assert (there / "trials" / "a.json").read_text() == "trials/a.json"


def example(number: int) -> dict[str, Any]:
    return {"prompt": f"p{number}", "responses": [{"text": f"r{number}", "score": number / 7}]}


@pytest.fixture(scope="module")
def stored(bucket: Any) -> list[Any]:
    """Six rows in three objects below `data/pool 1/`, among others; the rows."""
    rows = [example(number) for number in range(6)]
    bodies: dict[str, bytes] = {"b/x.jsonl": jsonl(rows[2:4]) + b"{", "_SUCCESS": b"", "b/notes.txt": b"?"}
    bodies["a.jsonl.gz"] = gzip.compress(jsonl(rows[:2]))
    write_table(Table.from_pylist(rows[4:]), parquet := io.BytesIO())
    bodies["c.parquet"] = parquet.getvalue()
    for name, body in bodies.items():
        bucket.put_object(Bucket="bucket", Key=f"data/pool 1/{name}", Body=body)
    return rows


def jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    ("place", "prompts", "first"),
    [
        ("", 6, "b/x.jsonl:3"),
        ("/", 6, "b/x.jsonl:3"),
        ("/*.*", 4, ""),
        ("/**/*.jsonl*", 4, "b/x.jsonl:3"),
        ("/b/x.jsonl", 2, "b/x.jsonl:3"),
    ],
)
def test_a_pool_is_read_from_a_bucket(stored: list[Any], place: str, prompts: int, first: str) -> None:
    pool, report = load_pool(PoolConfig(path=f"s3://bucket/data/pool 1{place}"), seed=0)
    texts = [each.prompt.text for each in pool.train]
    assert texts == [row["prompt"] for row in stored if row["prompt"] in texts] and len(texts) == prompts
    assert [found.location for found in report.first] == [f"s3://bucket/data/pool 1/{first}"] * bool(first)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("bucket/data/none.jsonl", "s3://bucket/data/none.jsonl: no file matches; a pool's files end in"),
        ("bucket/data/*/b/*.txt", "s3://bucket/data/pool 1/b/notes.txt is no file of a pool"),
        ("bucket/data/pool?/*.jsonl", r"pool\?/\*.jsonl: a pattern for an object store knows \*, \*\* and"),
        ("no-such-bucket/*.jsonl", "s3://no-such-bucket/.* cannot be read: .*no-such-bucket"),
    ],
)
def test_a_bucket_that_holds_no_pool_is_refused(stored: list[Any], place: str, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        load_pool(PoolConfig(path=f"s3://{place}"), seed=0)
