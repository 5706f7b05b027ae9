"""What was made of each service's file, kept from one look to the next, and made anew when the file
changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class FileReadings(Generic[T]):
    """One reading for each service that has a file."""

    def __init__(self, files: Callable[[], Mapping[str, str]], read: Callable[[str], T]) -> None:
        """``files`` gives each service's name and path, ``read`` what is wanted of a service of
        that name.
        """
        self._files = files
        self._read = read
        self._known: dict[str, tuple[object, T]] = {}

    def look(self) -> tuple[dict[str, T], set[str]]:
        """All readings by name, and the names of those that are new since the last look."""
        files, new = self._files(), set()
        self._known = {name: self._known[name] for name in files if name in self._known}
        for name, path in files.items():
            stamp = _stamp_of(path)
            if name not in self._known or self._known[name][0] != stamp:
                self._known[name] = stamp, self._read(name)
                new.add(name)
        return {name: reading for name, (_, reading) in self._known.items()}, new


def _stamp_of(path: str) -> object:
    """Changes whenever the file does."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
