"""A journal keeps what it was given, through any death of its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation.journal import Journal, key_of, opened_journal
from annotation.purse import Purse
from base.errors import ApportionError


def record(name: str, cost: float = 1.0) -> dict[str, object]:
    return {"key": name, "cost": cost, "text": "é\n"}


@pytest.mark.parametrize("lost", [1, 7, 30])
def test_a_torn_line_is_cut_off_and_the_rest_is_kept(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j.jsonl"
    with opened_journal(path) as journal:
        journal.append([record("a"), record("b", 2.5)])
    path.write_bytes(path.read_bytes()[:-lost])
    with opened_journal(path) as journal:
        assert ("a" in journal, "b" in journal, journal.cost) == (True, False, 1.0)
        journal.append([record("c")])
    with opened_journal(path) as journal:
        assert len(journal) == 2 and journal["c"]["text"] == "é\n"


def test_a_record_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "j.jsonl") as journal:
        journal.append([record("a")])
        assert b'"a"' in (tmp_path / "j.jsonl").read_bytes()


def test_two_processes_do_not_share_a_journal(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(ApportionError, match="another process"), opened_journal(tmp_path / "journal.jsonl"):
        pass


@pytest.mark.parametrize("line", ["[1]\n", "{}\n", "nonsense\n"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "j.jsonl").write_text(line)
    with pytest.raises(ApportionError, match="j.jsonl:1"), opened_journal(tmp_path / "j.jsonl"):
        pass
    assert (tmp_path / "j.jsonl").read_text() == line


def test_keys_tell_values_apart() -> None:
    assert key_of("a", {"x": 1, "y": 2}) == key_of("a", {"y": 2, "x": 1})
    assert len({key_of("ab"), key_of("a", "b"), key_of(["a", "b"]), key_of("1"), key_of(1)}) == 5


def test_a_purse_never_promises_more_than_it_holds() -> None:
    purse = Purse(10.0, spent=4.0)
    assert purse.reserve(3) and purse.reserve(3) and not purse.reserve(0.1)
    purse.settle(3, 1)
    assert purse.reserve(2) and not purse.reserve(0.1)
    assert Purse().reserve(1e12)
