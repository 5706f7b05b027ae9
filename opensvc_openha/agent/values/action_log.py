"""The agent's log: the line format of the tutorial's agent on stderr, and in a dated file.

There is one file per service. It is a convenience: a failure to write it never stops an action.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.secrets import mask_script

LOG_BYTES_MAX = 5_000_000
LOG_FILES_KEPT = 2
OUTPUT_SUFFIX = ".out"
LINE_FORMAT = "%(asctime)s %(levelname)-7s %(place)-28s %(message)s"


class ActionLog:
    """Log of one service or, after ``of``, of one of its resources."""

    def __init__(self, logger: logging.Logger, place: str, output_file: str = "") -> None:
        self._logger = logger
        self._place = place
        self.output_file = output_file
        """File for the output of daemons that an application's start leaves behind."""

    @classmethod
    def silent(cls) -> ActionLog:
        """Return a log that nobody reads: that of a program that only looks."""
        return cls(logging.Logger("silent", logging.CRITICAL + 1), "")

    def of(self, rid: str) -> ActionLog:
        """Return the log of one resource."""
        return ActionLog(self._logger, f"{self._place}.{rid.upper()}", self.output_file)

    def info(self, text: str) -> None:
        """Log a completed step."""
        self._write(logging.INFO, text)

    def warning(self, text: str) -> None:
        """Log a problem that does not stop the action."""
        self._write(logging.WARNING, text)

    def error(self, text: str) -> None:
        """Log why the action fails."""
        self._write(logging.ERROR, text)

    def _write(self, level: int, text: str) -> None:
        for line in map(mask_script, text.splitlines() or [""]):
            # Keep the columns of a command's output; escape characters that move the cursor or
            # forge a line.
            shown = "\t".join(map(one_line, line.split("\t")))
            self._logger.log(level, "%s", shown, extra={"place": self._place})


class _FileOnDemand(logging.Handler):
    """Handler that opens the log file with the first line.

    A full disk or a read-only directory does not disturb the action.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._file: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if self._file is None:
            # Imported here: a status writes no line.
            from opensvc_openha.system.log_file import LogFile

            self._file = LogFile(self._path, LOG_BYTES_MAX, LOG_FILES_KEPT)
            self._file.setFormatter(self.formatter)
            self._file.handleError = lambda record: None  # type: ignore[method-assign]  # Say nothing.
        self._file.emit(record)

    def close(self) -> None:
        """Close the file if it is open."""
        if self._file is not None:
            self._file.close()
        super().close()


@contextmanager
def open_log(log_dir: str, svcname: str) -> Iterator[ActionLog]:
    """Return the log of one service for the duration of one command."""
    # Not registered by name: services must not share handlers, and tests must leave none behind.
    logger = logging.Logger(svcname, logging.INFO)
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(logging.Formatter(LINE_FORMAT, "%H:%M:%S"))
    logger.addHandler(screen)
    if os.path.isdir(log_dir):
        path = os.path.join(log_dir, f"{svcname}.log")
        handler = _FileOnDemand(path)
        handler.setFormatter(logging.Formatter(LINE_FORMAT))
        logger.addHandler(handler)
    try:
        output_file = (
            os.path.join(log_dir, f"{svcname}{OUTPUT_SUFFIX}") if os.path.isdir(log_dir) else ""
        )
        yield ActionLog(logger, svcname.upper(), output_file)
    finally:
        for used in list(logger.handlers):
            used.close()
            logger.removeHandler(used)
