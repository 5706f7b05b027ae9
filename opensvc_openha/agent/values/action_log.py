"""The agent's log: the line format of the tutorial's agent on stderr, and in a dated file.

There is one file per service. It is a convenience: a failure to write it never stops an action. A
status writes no line, so what writes one is loaded with the first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opensvc_openha.formats.one_line import one_line

if TYPE_CHECKING:
    import logging

LOG_BYTES_MAX = 5_000_000
LOG_FILES_KEPT = 2
OUTPUT_SUFFIX = ".out"
_INFO, _WARNING, _ERROR = 20, 30, 40
"""The levels of ``logging``."""
LINE_FORMAT = "%(asctime)s %(levelname)-7s %(place)-28s %(message)s"


class ActionLog:
    """Log of one service or, after ``of``, of one of its resources."""

    def __init__(
        self, logger: Callable[[], logging.Logger | None], place: str, output_file: str = ""
    ) -> None:
        """Log to what ``logger`` returns: it is called with each line; None drops that."""
        self._logger = logger
        self._place = place
        self.output_file = output_file
        """File for the output of daemons that an application's start leaves behind."""

    @classmethod
    def silent(cls) -> ActionLog:
        """Return a log that nobody reads: that of a program that only looks."""
        return cls(lambda: None, "")

    def of(self, rid: str) -> ActionLog:
        """Return the log of one resource."""
        return ActionLog(self._logger, f"{self._place}.{rid.upper()}", self.output_file)

    def info(self, text: str) -> None:
        """Log a completed step."""
        self._write(_INFO, text)

    def warning(self, text: str) -> None:
        """Log a problem that does not stop the action."""
        self._write(_WARNING, text)

    def error(self, text: str) -> None:
        """Log why the action fails."""
        self._write(_ERROR, text)

    def _write(self, level: int, text: str) -> None:
        from opensvc_openha.formats.secrets import mask_script

        logger = self._logger()
        if logger is None:
            return
        for line in map(mask_script, text.splitlines() or [""]):
            # Keep the columns of a command's output; escape characters that move the cursor or
            # forge a line.
            shown = "\t".join(map(one_line, line.split("\t")))
            logger.log(level, "%s", shown, extra={"place": self._place})


@contextmanager
def open_log(log_dir: str, svcname: str) -> Iterator[ActionLog]:
    """Return the log of one service for the duration of one command."""
    loggers: list[logging.Logger] = []

    def logger() -> logging.Logger:
        if not loggers:
            loggers.append(_logger(log_dir, svcname))
        return loggers[0]

    output_file = ""
    if os.path.isdir(log_dir):
        output_file = os.path.join(log_dir, f"{svcname}{OUTPUT_SUFFIX}")
    try:
        yield ActionLog(logger, svcname.upper(), output_file)
    finally:
        for opened in loggers:
            for handler in list(opened.handlers):
                handler.close()
                opened.removeHandler(handler)


def _logger(log_dir: str, svcname: str) -> logging.Logger:
    """Return what writes to stderr and, where there is a directory for logs, to the file."""
    import logging

    from opensvc_openha.system.log_file import LogFile

    # Not registered by name: services must not share handlers, and tests must leave none behind.
    logger = logging.Logger(svcname, logging.INFO)
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(logging.Formatter(LINE_FORMAT, "%H:%M:%S"))
    logger.addHandler(screen)
    if os.path.isdir(log_dir):
        file = LogFile(os.path.join(log_dir, f"{svcname}.log"), LOG_BYTES_MAX, LOG_FILES_KEPT)
        file.setFormatter(logging.Formatter(LINE_FORMAT))
        file.handleError = lambda record: None  # type: ignore[method-assign]  # Say nothing.
        logger.addHandler(file)
    return logger
