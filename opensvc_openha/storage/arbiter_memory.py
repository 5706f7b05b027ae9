"""Store with which counter of the arbiter's disk this node was last registered there.

The counter grows with each change: without it a restarted daemon could not tell that the peer has
removed this node meanwhile from a disk that restarted empty.
"""

from __future__ import annotations

import json

from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.proc_files import write_proc_file

_FILE_BYTES = 4_096


class ArbiterMemory:
    """Read and write ``.proc/arbiter``; one thread at a time."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def read(self, disk: str) -> int | None:
        """Return the counter; None if this node was never registered on that disk."""
        try:
            with open(self._layout.arbiter_file, encoding="ascii") as file:
                found = json.loads(file.read(_FILE_BYTES))
            return int(found["generation"]) if found["disk"] == disk else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, disk: str, generation: int) -> None:
        """Store the counter; it is on disk on return. Raises SystemFault."""
        text = json.dumps({"disk": disk, "generation": generation})
        write_proc_file(self._layout, self._layout.arbiter_file, text.encode("ascii"))
