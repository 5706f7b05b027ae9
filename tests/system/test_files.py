"""Recognizing files by what the kernel reports of them, and reading what may be missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from opensvc_openha.system.files import identity_of, stamp_of, text_or_empty


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("longer than before"),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.chmod(0o755),
        lambda path: os.replace(path.with_name("other"), path),
        lambda path: path.unlink(),
    ],
)
def test_stamp_changes_with_the_file(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """An edit, a touch, a mode, another file in its place, none."""
    path, other = tmp_path / "file", tmp_path / "other"
    for each in (path, other):
        each.write_text("text")
        os.utime(each, (2, 2))
    before = stamp_of(str(path))
    assert before is not None and stamp_of(str(path)) == before
    change(path)
    assert stamp_of(str(path)) != before


def test_identity_is_shared_by_the_names_and_handles_of_one_file(tmp_path: Path) -> None:
    """A hard link, a symbolic one that is followed, a handle; not a file that replaced it."""
    path, hard, soft = (tmp_path / name for name in ("file", "hard", "soft"))
    path.touch()
    os.link(path, hard)
    soft.symlink_to(path)
    handle = os.open(path, os.O_RDONLY)
    known = identity_of(str(path))
    assert known is not None
    assert identity_of(handle) == identity_of(str(hard)) == identity_of(str(soft)) == known
    assert identity_of(str(soft), follow_symlinks=False) not in (known, None)
    path.unlink()
    assert identity_of(str(path)) is None and identity_of(handle) == known
    path.touch()
    assert identity_of(str(path)) != known
    os.close(handle)


def test_text_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    """Missing, a directory; foreign bytes are replaced, and a long file is read in part."""
    path = tmp_path / "file"
    path.write_bytes(b"a\xffb\n" + b"x" * 100)
    assert text_or_empty(str(path), 4) == "a\N{REPLACEMENT CHARACTER}b\n"
    assert len(text_or_empty(str(path))) == 104
    assert text_or_empty(str(tmp_path / "none")) == text_or_empty(str(tmp_path)) == ""
