"""The spool: nothing noted is lost, whatever happens to the process, the disk or the target."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ApportionError
from search.tracking.spool import Spool

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
EVENTS = st.lists(st.fixed_dictionaries({"do": st.just("x"), "value": SCALARS}), max_size=20)


@contextmanager
def opened(folder: Path, target: str = "here") -> Iterator[Spool]:
    spool = Spool(folder, target=target)
    try:
        yield spool
    finally:
        spool.close()


def waiting(spool: Spool) -> list[object]:
    return [entry.event["value"] for entry in spool.pending(10**6)]


def note(spool: Spool, *values: object) -> None:
    for value in values:
        spool.append({"do": "x", "value": value})


@settings(max_examples=30, deadline=None)
@given(events=EVENTS, acknowledged=st.integers(0, 20))
def test_a_new_process_finds_what_was_not_acknowledged_in_order(
    tmp_path_factory: pytest.TempPathFactory, events: list, acknowledged: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with opened(folder) as spool:
        for event in events:
            spool.append(event)
        for entry in spool.pending(acknowledged):
            spool.acknowledge(entry.end)
        study = spool.study
    with opened(folder) as spool:
        assert [entry.event for entry in spool.pending(100)] == events[acknowledged:]
        assert len(spool) == len(events[acknowledged:])
        assert spool.study == study


@settings(max_examples=30, deadline=None)
@given(events=EVENTS.filter(bool), data=st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines_and_takes_more(
    tmp_path_factory: pytest.TempPathFactory, events: list, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with opened(folder) as spool:
        start = os.path.getsize(folder / "events.jsonl")
        for event in events:
            spool.append(event)
        ends = [entry.end for entry in spool.pending(100)]
    cut = data.draw(st.integers(start, ends[-1]))
    os.truncate(folder / "events.jsonl", cut)
    kept = events[: sum(end <= cut for end in ends)]
    for more in ([{"do": "x", "value": "later"}], []):
        with opened(folder) as spool:
            for event in more:
                spool.append(event)
    with opened(folder) as spool:
        assert [entry.event for entry in spool.pending(100)] == [*kept, {"do": "x", "value": "later"}]


def test_a_garbled_line_costs_that_line_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        note(spool, 1, 2, 3)
    events = tmp_path / "events.jsonl"
    events.write_bytes(events.read_bytes().replace(b'"value":2', b'"value\x00\xff2'))
    with opened(tmp_path) as spool:
        assert waiting(spool) == [1, 3]


def test_another_target_receives_everything_from_the_start(tmp_path: Path) -> None:
    with opened(tmp_path, "old") as spool:
        note(spool, 1, 2)
        spool.ids["k"] = "run"
        spool.acknowledge(spool.pending(9)[-1].end)
        note(spool, 3)
    with opened(tmp_path, "old") as spool:
        assert (waiting(spool), spool.ids) == ([3], {"k": "run"})
    with opened(tmp_path, "new") as spool:
        assert (waiting(spool), spool.ids) == ([1, 2, 3], {})


@pytest.mark.parametrize(
    "state", ["", "{", "[]", '{"target": "here"}', '{"target": "here", "offset": 10000000, "ids": {}}']
)
def test_a_damaged_state_file_loses_nothing(tmp_path: Path, state: str) -> None:
    with opened(tmp_path) as spool:
        note(spool, 1)
    (tmp_path / "state.json").write_text(state)
    with opened(tmp_path) as spool:
        note(spool, 2)
        assert waiting(spool)[-1] == 2
        assert waiting(spool) == [1, 2] or "10000000" in state


def test_rewinding_hands_out_all_again(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        note(spool, 1, 2)
        spool.acknowledge(spool.pending(1)[0].end)
        spool.rewind()
        assert waiting(spool) == [1, 2]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ApportionError, match="another process"):
        Spool(tmp_path, target="here")
    with opened(tmp_path) as spool:
        assert waiting(spool) == []


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: a write stops halfway, then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_delays_writing_but_not_delivery(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        note(spool, 0)
        with full_disk(os.path.getsize(tmp_path / "events.jsonl") + 40):
            note(spool, 1, 2, 3)
            assert spool.unsaved
            assert waiting(spool) == [0, 1, 2, 3]
        note(spool, 4)
        assert not spool.unsaved
    with opened(tmp_path) as spool:
        assert waiting(spool) == [0, 1, 2, 3, 4]


KILLED = """
import sys
from pathlib import Path
from search.spool import Spool
spool = Spool(Path(sys.argv[1]), target="here")
for number in range(10**9):
    spool.append({"do": "x", "value": number})
    print(number, flush=True)
"""


def test_a_killed_process_has_lost_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    seen = [int(process.stdout.readline()) for _ in range(500)]
    process.send_signal(signal.SIGKILL)
    seen += [int(line) for line in process.stdout.read().split()]
    process.wait()
    with opened(tmp_path) as spool:
        assert waiting(spool)[: len(seen)] == seen
        assert len(spool) <= len(seen) + 1
