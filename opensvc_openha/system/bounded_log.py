"""Write a log file of bounded size that only root and its group may read.

Whatever the creator and the umask. It is reopened after it was moved away, and never fails: lines
that cannot be written are counted, and reported with the next one that can.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from opensvc_openha.system.atomic_files import LOG_MODE, open_log
from opensvc_openha.system.files import identity_of


class BoundedLog:
    """Write each line at once, leaving nothing in a buffer that a full disk could delay."""

    def __init__(self, path: str, bytes_max: int, kept: int) -> None:
        self.problem = ""
        """Why lines are being lost; empty if they are not."""
        self._path = path
        self._handle: int | None = None
        self._lost = 0
        self._bytes_max = bytes_max
        self._names = [path, *(f"{path}.{number}" for number in range(1, kept + 1))]
        for name in self._names[1:]:  # Those of an older version were open to all.
            with contextlib.suppress(OSError):
                os.chmod(name, LOG_MODE)

    def write_line(self, line: str, warning: Callable[[str], str]) -> None:
        """Write one line, and before it how many were lost: ``warning`` makes a line of that."""
        text = f"{line}\n"
        if self._lost:
            text = f"{warning(f'{self._lost} lines were lost: {self.problem}')}\n{text}"
        try:
            self._write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._lost += 1
            self.problem = f"{self._path}: {error.strerror}"
        else:
            self._lost, self.problem = 0, ""

    def _write(self, data: bytes) -> None:
        if self._handle is not None and identity_of(self._path) != identity_of(self._handle):
            self.close()
        if self._handle is None:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._handle = open_log(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        begin = os.fstat(self._handle).st_size
        if begin and begin + len(data) > self._bytes_max:
            self._rotate()
            self._write(data)
            return
        if os.write(self._handle, data) != len(data):
            os.ftruncate(self._handle, begin)  # Half a line would be taken for a whole one.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self) -> None:
        for older, newer in reversed(list(zip(self._names[1:], self._names))):
            with contextlib.suppress(FileNotFoundError):
                os.replace(newer, older)

    def close(self) -> None:
        """Close the file, which the next line opens again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
