"""What has been paid for, on disk before anything more is: one JSON line a result, found again by its key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from base.errors import ApportionError

Record = Mapping[str, Any]


def key_of(*parts: object) -> str:
    """A digest of values that JSON can hold: equal for equal values, in every process."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:32]


class Journal:
    """Append-only records, each a mapping with a `key` and a `cost`.

    What `append` was given is on the disk when it returns. A record of which a killed process wrote but a
    part is taken off at opening. Open it with `opened_journal`, which lets one process in at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        records = list(_whole_records(path))
        self._records = {record["key"]: record for record in records}
        self.cost = sum(float(record["cost"]) for record in records)
        self._file = path.open("ab")

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> Record:
        return self._records[key]

    def get(self, key: str) -> Record | None:
        """The record of that key; None where there is none."""
        return self._records.get(key)

    def append(self, records: Sequence[Record]) -> None:
        """Write the records as one piece, and wait until the disk has them."""
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        self._file.write(lines.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._records |= {record["key"]: record for record in records}
        self.cost += sum(float(record["cost"]) for record in records)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


@contextmanager
def opened_journal(path: Path) -> Iterator[Journal]:
    """The journal at `path`, for this process alone; ApportionError where another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=0):
            journal = Journal(path)
            try:
                yield journal
            finally:
                journal.close()
    except Timeout:
        raise ApportionError(f"{path}: another process is writing there; wait for it, or end it") from None


def _whole_records(path: Path) -> Iterable[Record]:
    """The records of the file, from whose end a torn line is cut off."""
    end = 0
    with path.open("rb+") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                file.truncate(end)
                return
            end += len(line)
            try:
                record = json.loads(line)
                float(record["cost"]), record["key"]
            except (ValueError, KeyError, TypeError) as error:
                raise ApportionError(
                    f"{path}:{number}: not a record of ours ({error}); move the file away"
                ) from None
            yield record
