"""Open UNIX sockets below long directories: the kernel limits names to 107 bytes."""

from __future__ import annotations

import os


class ShortPath:
    """Context manager for a socket's name below the limit of 107 bytes, whatever the real path."""

    def __init__(self, path: str) -> None:
        self._folder, self._name = os.path.split(path)
        self._handle = -1

    def __enter__(self) -> str:
        self._handle = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._handle}/{self._name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
