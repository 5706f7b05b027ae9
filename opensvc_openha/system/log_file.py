"""A bounded log file for what writes its lines by ``logging``."""

from __future__ import annotations

import copy
import logging

from opensvc_openha.system.bounded_log import BoundedLog


class LogFile(logging.Handler):
    """Write each record as a line of a bounded log."""

    def __init__(self, path: str, bytes_max: int, kept: int) -> None:
        super().__init__()
        self._log = BoundedLog(path, bytes_max, kept)

    @property
    def problem(self) -> str:
        """Why lines are being lost; empty if they are not."""
        return self._log.problem

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and before it how many were lost."""

        def warning(text: str) -> str:
            lost = copy.copy(record)  # With what its format needs.
            lost.levelno, lost.levelname = logging.WARNING, "WARNING"
            lost.exc_info = lost.exc_text = None
            lost.msg, lost.args = text, None
            return self.format(lost)

        self._log.write_line(self.format(record), warning)

    def close(self) -> None:
        """Close the file."""
        self._log.close()
        super().close()
