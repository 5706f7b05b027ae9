"""The agent's log: the line format of the tutorial's agent on stderr, and in a dated file.

There is one file per service. It is a convenience: a failure to write it never stops an action. A
status writes no line, so what writes one is loaded with the first.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.clock import precise_stamp, wall

if TYPE_CHECKING:
    from typing import IO

LOG_BYTES_MAX = 5_000_000
LOG_FILES_KEPT = 2
OUTPUT_SUFFIX = ".out"
_INFO, _WARNING, _ERROR = "INFO", "WARNING", "ERROR"


class ActionLog:
    """Log of one service or, after ``of``, of one of its resources."""

    def __init__(
        self, write: Callable[[str, str, str], None] | None, place: str, output_file: str = ""
    ) -> None:
        """Log by ``write``, which gets level, text and place of each line; None drops them."""
        self._write = write
        self._place = place
        self.output_file = output_file
        """File for the output of daemons that an application's start leaves behind."""

    @classmethod
    def silent(cls) -> ActionLog:
        """Return a log that nobody reads: that of a program that only looks."""
        return cls(None, "")

    def of(self, rid: str) -> ActionLog:
        """Return the log of one resource."""
        return ActionLog(self._write, f"{self._place}.{rid.upper()}", self.output_file)

    def info(self, text: str) -> None:
        """Log a completed step."""
        self._log(_INFO, text)

    def warning(self, text: str) -> None:
        """Log a problem that does not stop the action."""
        self._log(_WARNING, text)

    def error(self, text: str) -> None:
        """Log why the action fails."""
        self._log(_ERROR, text)

    def _log(self, level: str, text: str) -> None:
        from opensvc_openha.formats.secrets import mask_script

        if self._write is None:
            return
        for line in map(mask_script, text.splitlines() or [""]):
            # Keep the columns of a command's output; escape characters that move the cursor or
            # forge a line.
            shown = "\t".join(map(one_line, line.split("\t")))
            self._write(level, shown, self._place)


class LogLines:
    """Write lines to a stream and to a file, as a logger of ``logging`` with two handlers does.

    To load that takes longer than all else that a stop does itself.
    """

    def __init__(self, screen: IO[str], path: str = "") -> None:
        """Write to ``screen``, and to the bounded log ``path`` unless it is empty."""
        from opensvc_openha.system.bounded_log import BoundedLog

        self._screen = screen
        self._file = BoundedLog(path, LOG_BYTES_MAX, LOG_FILES_KEPT) if path else None
        self._turn = threading.Lock()

    def write(self, level: str, text: str, place: str) -> None:
        """Write one line; where that is not possible it is left out."""
        stamp = precise_stamp(wall()).replace(".", ",")

        def line(level: str, text: str) -> str:
            return f"{level:7} {place:28} {text}"

        with self._turn:
            with suppress(OSError, ValueError):
                self._screen.write(f"{stamp[11:19]} {line(level, text)}\n")
                self._screen.flush()
            if self._file is not None:
                self._file.write_line(
                    f"{stamp} {line(level, text)}", lambda lost: f"{stamp} {line(_WARNING, lost)}"
                )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


@contextmanager
def open_log(log_dir: str, svcname: str) -> Iterator[ActionLog]:
    """Return the log of one service for the duration of one command."""
    opened: list[LogLines] = []
    path = os.path.join(log_dir, svcname) if os.path.isdir(log_dir) else ""

    def write(level: str, text: str, place: str) -> None:
        if not opened:
            opened.append(LogLines(sys.stderr, path and f"{path}.log"))
        opened[0].write(level, text, place)

    output_file = path and f"{path}{OUTPUT_SUFFIX}"
    try:
        yield ActionLog(write, svcname.upper(), output_file)
    finally:
        for lines in opened:
            lines.close()
