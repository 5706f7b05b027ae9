"""What a daemon notes of the media of its promise for the next one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from opensvc_openha.core.promise import WITNESS_MARK
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage import proc_files
from opensvc_openha.storage.promised_media import read_media, write_media

MEDIA = {b"12345678": "/dev/mapper/disk.hb.0", WITNESS_MARK: "http://w:2379 openha/a b"}


def test_the_next_daemon_finds_what_was_noted_last(tmp_path: Path) -> None:
    """Also that nothing is certain any more, which is not the same as no note."""
    layout = tree_layout(str(tmp_path))
    assert read_media(layout) is None
    for media in (MEDIA, {}, dict([next(iter(MEDIA.items()))])):
        write_media(layout, media)
        assert read_media(layout) == media


def test_a_note_that_cannot_be_replaced_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next daemon must not believe in an older one: the disk is full."""
    layout = tree_layout(str(tmp_path))
    write_media(layout, MEDIA)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(proc_files, "write_record", full)
        with pytest.raises(SystemFault, match=r"watchdog-media: No space left"):
            write_media(layout, {})
    assert read_media(layout) is None


@pytest.mark.parametrize("data", [b"no mark\n", b"1234\n", b"\xff\xfe\n"])
def test_an_unreadable_note_is_none(tmp_path: Path, data: bytes) -> None:
    """The daemon starts all the same."""
    layout = tree_layout(str(tmp_path))
    write_media(layout, MEDIA)
    Path(layout.proc_dir, "watchdog-media").write_bytes(data)
    assert read_media(layout) is None
