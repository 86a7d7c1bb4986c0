"""A file or folder appears whole, or stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.files import whole_folder, write_whole


@pytest.mark.parametrize("content", ["Grüße", b"\x00\xff"])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "file"
    for given in ("before", content):
        write_whole(path, given)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_when_its_block_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    for name in ("first", "second"):
        with whole_folder(folder) as partial:
            assert not list(partial.iterdir())
            (partial / name).touch()
            assert folder.exists() == (name == "second")
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_whose_block_fails_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with whole_folder(folder) as partial:
        (partial / "kept").touch()
    with pytest.raises(OSError, match="full"), whole_folder(folder) as partial:
        (partial / "half").touch()
        raise OSError("full")
    assert [path.name for path in folder.iterdir()] == ["kept"] and list(tmp_path.iterdir()) == [folder]
