"""Keep on disk what the media of this node's promise are, for the next daemon.

What a daemon has promised stands when it has ended, and its watchdog is petted on by the next one.
A mark does not show which disk it stands for, so that the next one could not see that the
configuration was edited in between: it would renew where the peer does not look.

One line for each medium: its mark in hexadecimal digits, and the disk or the witness.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.proc_files import write_proc_file

_NAME = "watchdog-media"


def read_media(layout: Layout) -> dict[bytes, str] | None:
    """Return each medium by its mark; None if nothing readable was kept."""
    try:
        with open(f"{layout.proc_dir}/{_NAME}", encoding="utf-8") as file:
            lines = [line.rstrip("\0\n").split(" ", 1) for line in file]
        return {bytes.fromhex(mark): place for mark, place in filter(any, lines)}
    except (OSError, ValueError):
        return None


def write_media(layout: Layout, media: Mapping[bytes, str]) -> None:
    """Replace the note; it is on disk on return.

    Raises SystemFault, and then there is none: the next daemon must not believe in an older one.
    """
    path = f"{layout.proc_dir}/{_NAME}"
    text = "".join(f"{mark.hex()} {place}\n" for mark, place in media.items())
    try:
        write_proc_file(layout, path, text.encode("utf-8"))
    except SystemFault:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
