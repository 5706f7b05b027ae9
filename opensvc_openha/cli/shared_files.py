"""Read the files that are the same on both nodes, and their digests."""

from __future__ import annotations

import hashlib
import os

from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.protocol import NO_FILE, SharedFile
from opensvc_openha.system.atomic_files import read_text


def shared_path(layout: Layout, file: SharedFile) -> str:
    """Return where a shared file is on this node."""
    return {
        SharedFile.NODES: layout.nodes_file,
        SharedFile.MONITOR: layout.monitor_file,
        SharedFile.OPTIONS: layout.options_file,
    }[file]


def read_shared(layout: Layout, file: SharedFile) -> str:
    """Return the text of a shared file; empty if there is none."""
    path = shared_path(layout, file)
    return read_text(path) if os.path.exists(path) else ""


def digest_of(text: str) -> str:
    """Return what identifies a text; an empty file and none are the same."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest() if text else NO_FILE
