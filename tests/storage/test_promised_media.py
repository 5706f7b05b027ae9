"""What a daemon notes of the media of its promise for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.core.promise import WITNESS_MARK
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.promised_media import read_media, write_media

MEDIA = {b"12345678": "/dev/mapper/disk.hb.0", WITNESS_MARK: "http://w:2379 openha/a b"}


def test_the_next_daemon_finds_what_was_noted_last(tmp_path: Path) -> None:
    """Also that nothing is certain any more, which is not the same as no note."""
    layout = tree_layout(str(tmp_path))
    assert read_media(layout) is None
    for media in (MEDIA, {}, dict([next(iter(MEDIA.items()))])):
        write_media(layout, media)
        assert read_media(layout) == media


@pytest.mark.parametrize("data", [b"no mark\n", b"1234\n", b"\xff\xfe\n"])
def test_an_unreadable_note_is_none(tmp_path: Path, data: bytes) -> None:
    """The daemon starts all the same."""
    layout = tree_layout(str(tmp_path))
    write_media(layout, MEDIA)
    Path(layout.proc_dir, "watchdog-media").write_bytes(data)
    assert read_media(layout) is None
