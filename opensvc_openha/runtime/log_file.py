"""A log file of bounded size that only root and its group may read, whoever made it and whatever the umask is."""

from __future__ import annotations

import contextlib
import io
import os
from logging.handlers import RotatingFileHandler

from opensvc_openha.runtime.files import LOG_MODE, open_log


class LogFile(RotatingFileHandler):
    """Rotates within its own directory; opens with the first line. Raises OSError where it cannot be opened."""

    def __init__(self, path: str, bytes_max: int, kept: int) -> None:
        super().__init__(path, maxBytes=bytes_max, backupCount=kept, delay=True, encoding="utf-8", errors="backslashreplace")
        for number in range(1, kept + 1):  # Those of an older version were open to all.
            with contextlib.suppress(OSError):
                os.chmod(f"{self.baseFilename}.{number}", LOG_MODE)

    def _open(self) -> io.TextIOWrapper:
        opened = open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=open_log)
        assert isinstance(opened, io.TextIOWrapper)
        return opened
