"""Cache one parsed value per service file, and parse again when the file changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opensvc_openha.hints import Generic, TypeVar
from opensvc_openha.system.files import stamp_of

T = TypeVar("T")


class FileReadings(Generic[T]):
    """One cached value for each service that has a file."""

    def __init__(self, files: Callable[[], Mapping[str, str]], read: Callable[[str], T]) -> None:
        """Remember the sources.

        ``files`` returns the path of each service's file by service name; ``read`` returns the
        value for a service name.
        """
        self._files = files
        self._read = read
        self._known: dict[str, tuple[object, T]] = {}

    def look(self) -> tuple[dict[str, T], set[str]]:
        """Return all values by service name, and the names that were read since the last call."""
        files, new = self._files(), set()
        self._known = {name: self._known[name] for name in files if name in self._known}
        for name, path in files.items():
            stamp = stamp_of(path)
            if name not in self._known or self._known[name][0] != stamp:
                self._known[name] = stamp, self._read(name)
                new.add(name)
        return {name: reading for name, (_, reading) in self._known.items()}, new
