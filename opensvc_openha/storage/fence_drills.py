"""Store when each path of the fence plan was tried out, and how long it took: for display alone.

A path whose options were edited since is another path, and was never tried out.
"""

from __future__ import annotations

import json
import threading

from opensvc_openha.core.model import FencePath
from opensvc_openha.formats.layout import Layout
from opensvc_openha.records import dataclass
from opensvc_openha.storage.proc_files import write_proc_file

_FILE_BYTES = 65_536


@dataclass(frozen=True)
class Drill:
    """One success: when, in wall-clock seconds, and how many seconds it took."""

    mark: str
    at: float
    took_s: float


class FenceDrills:
    """Read and write ``.proc/fence-drills``; any thread may."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._known = _read(layout.fence_drills_file)

    def of(self, path: FencePath) -> Drill | None:
        """Return the last success of a path as it is configured now."""
        found = self._known.get(path.name)
        return found if found is not None and found.mark == path.mark else None

    def record(self, path: FencePath, at: float, took_s: float) -> None:
        """Store a success; raises SystemFault, and remembers it all the same."""
        with self._lock:
            self._known = {**self._known, path.name: Drill(path.mark, at, round(took_s, 2))}
            text = json.dumps({name: vars(drill) for name, drill in self._known.items()})
            path_of_file = self._layout.fence_drills_file
            write_proc_file(self._layout, path_of_file, text.encode("ascii"), 0o600)


def _read(path: str) -> dict[str, Drill]:
    """Read the file; what is damaged or missing was never tried out."""
    try:
        with open(path, encoding="ascii") as file:
            found = json.loads(file.read(_FILE_BYTES))
        return {
            str(name): Drill(str(drill["mark"]), float(drill["at"]), float(drill["took_s"]))
            for name, drill in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
