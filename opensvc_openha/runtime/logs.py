"""The daemon's log: syslog where there is one, a file always, stderr in the foreground. State changes only."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.formats.layout import Layout

_LOGGER = logging.getLogger("nmond")
_SYSLOG = "/dev/log"
_FILE_BYTES = 1_000_000
_FILES_KEPT = 3


class _JournalFormatter(logging.Formatter):
    """Prefixes each line with the priority that journald reads from a unit's stderr."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, with its priority."""
        priority = 4 if record.levelno >= logging.WARNING else 6
        return f"<{priority}>{super().format(record)}" if os.environ.get("JOURNAL_STREAM") else super().format(record)


def open_log(layout: Layout, is_foreground: bool) -> logging.Logger:
    """The daemon's logger. A destination that cannot be opened is left out, never fatal."""
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    for handler in list(_LOGGER.handlers):
        _LOGGER.removeHandler(handler)
    if is_foreground:
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(_JournalFormatter("%(message)s"))
        _LOGGER.addHandler(stream)
    if os.path.exists(_SYSLOG):
        try:
            syslog = logging.handlers.SysLogHandler(_SYSLOG, logging.handlers.SysLogHandler.LOG_DAEMON)
            syslog.setFormatter(logging.Formatter("nmond[%(process)d]: %(message)s"))
            _LOGGER.addHandler(syslog)
        except OSError:
            pass
    try:
        os.makedirs(layout.log_dir, exist_ok=True)
        file = logging.handlers.RotatingFileHandler(
            f"{layout.log_dir}/nmond.log", maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT
        )
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        _LOGGER.addHandler(file)
    except OSError:
        pass
    return _LOGGER


def log_record(logger: logging.Logger, record: Record) -> None:
    """Writes one change as one line."""
    level = logging.WARNING if record.is_alarm else logging.INFO
    if record.kind is RecordKind.SERVICE:
        logger.log(level, "service %s: %s -> %s: %s", record.name, record.old or "-", record.new, record.reason)
    elif record.kind is RecordKind.LINK:
        logger.log(level, "link %s: %s: %s", record.name, record.new, record.reason)
    elif record.kind is RecordKind.PEER:
        logger.log(level, "peer %s: %s -> %s: %s", record.name, record.old, record.new, record.reason)
    else:
        logger.log(level, "node %s: %s: %s", record.name, record.new, record.reason)
