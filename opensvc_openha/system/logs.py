"""Write the daemon's log: to the journal, or syslog, to a file, to stderr in the foreground.

State changes only. Each destination has a separate thread: a terminal or a syslog that does not
read, or a hung disk, delays no decision.
"""

from __future__ import annotations

import atexit
import copy
import io
import logging
import os
import queue
import threading
from collections.abc import Mapping

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.system import clock, journal
from opensvc_openha.system.log_file import LogFile
from opensvc_openha.system.thread_names import name_thread

_LOGGER = logging.getLogger("nmond")
_SYSLOG = "/dev/log"
_FILE_BYTES = 1_000_000
_FILES_KEPT = 3
_LINES_WAITING = 10_000
_FLUSH_LIMIT_S = 2.0


class _JournalFormatter(logging.Formatter):
    """Prefix each line with the priority that journald reads from a unit's stderr."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line with its priority."""
        priority = 4 if record.levelno >= logging.WARNING else 6
        return (
            f"<{priority}>{super().format(record)}"
            if os.environ.get("JOURNAL_STREAM")
            else super().format(record)
        )


class _Waiting(logging.Handler):
    """Queue lines for one destination without ever waiting for it; a thread of its own writes them.

    Lines without room are counted and reported afterwards. It is what QueueHandler and
    QueueListener of logging.handlers are, without the sockets that they are imported with.
    """

    def __init__(self, destination: logging.Handler) -> None:
        super().__init__()
        self.lines: queue.Queue[logging.LogRecord] = queue.Queue(_LINES_WAITING)
        self._destination = destination
        self._lost = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put a line in the queue; a traceback stays multi-line, behind its message."""
        try:
            record = copy.copy(record)
            record.msg, record.args = one_line(record.getMessage()), None
            if self._lost:
                text = f"{self._lost} lines were lost: the log could not be written"
                self.lines.put_nowait(
                    logging.LogRecord(record.name, logging.WARNING, "", 0, text, (), None)
                )
                self._lost = 0
            self.lines.put_nowait(record)
        except queue.Full:
            self._lost += 1
        # As each handler does: an error in a line is reported, and ends nothing.
        except Exception:
            self.handleError(record)

    def _write(self) -> None:
        name_thread("log")
        while True:
            record = self.lines.get()
            try:
                self._destination.handle(record)
            finally:
                self.lines.task_done()


class DaemonLog:
    """The destinations of the daemon's log, each with a thread that writes to it."""

    def __init__(self, layout: Layout, is_foreground: bool) -> None:
        """Open the destinations; one that cannot be opened is never fatal."""
        self.logger = _LOGGER
        self._destinations = _destinations(layout, is_foreground)
        self._waiting = [_Waiting(destination) for destination in self._destinations]
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
        for handler in list(_LOGGER.handlers):
            _LOGGER.removeHandler(handler)
        for waiting in self._waiting:
            _LOGGER.addHandler(waiting)
        # At the end of the process it would wait for a hung destination without a limit.
        atexit.unregister(logging.shutdown)

    def problem(self) -> str:
        """Why lines of the log file are being lost; empty if they are not."""
        return next((file.problem for file in self._destinations if isinstance(file, LogFile)), "")

    def flush(self) -> None:
        """Return when all lines are written, or after a limit if a destination hangs."""
        clock.wait_until(
            lambda: not any(waiting.lines.unfinished_tasks for waiting in self._waiting),
            _FLUSH_LIMIT_S,
        )


def _destinations(layout: Layout, is_foreground: bool) -> list[logging.Handler]:
    found: list[logging.Handler] = []
    has_journal = journal.is_there()
    if is_foreground and not (has_journal and journal.has_stream(2)):
        # Not sys.stderr: its buffer's lock is needed at the end of the process, and an unread pipe
        # would keep it.
        stream = logging.StreamHandler(
            io.TextIOWrapper(
                io.FileIO(2, "w", closefd=False), "utf-8", "replace", write_through=True
            )
        )
        stream.setFormatter(_JournalFormatter("%(message)s"))
        found.append(stream)
    if has_journal:
        # Also what listens on _SYSLOG, without fields.
        found.append(journal.JournalHandler())
    elif os.path.exists(_SYSLOG):
        try:
            # Imported here: it brings what sends to other machines.
            from logging.handlers import SysLogHandler

            syslog = SysLogHandler(_SYSLOG, SysLogHandler.LOG_DAEMON)
            syslog.setFormatter(logging.Formatter("nmond[%(process)d]: %(message)s"))
            found.append(syslog)
        except OSError:
            pass
    file = LogFile(f"{layout.log_dir}/nmond.log", _FILE_BYTES, _FILES_KEPT)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return [*found, file]


def log_record(
    logger: logging.Logger, record: Record, fields: Mapping[str, str] | None = None
) -> None:
    """Write one change as one line; the journal gets its ``fields`` beside it."""
    extra = {"fields": fields or {}}
    level = logging.WARNING if record.is_alarm else logging.INFO
    if record.kind is RecordKind.SERVICE:
        logger.log(
            level,
            "service %s: %s -> %s: %s",
            record.name,
            record.old or "-",
            record.new,
            record.reason,
            extra=extra,
        )
    elif record.kind is RecordKind.READINESS:
        logger.log(level, "service %s: %s: %s", record.name, record.new, record.reason, extra=extra)
    elif record.kind is RecordKind.LINK:
        logger.log(level, "link %s: %s: %s", record.name, record.new, record.reason, extra=extra)
    elif record.kind is RecordKind.PEER:
        change = f"{record.old} -> {record.new}" if record.old else record.new
        logger.log(level, "peer %s: %s: %s", record.name, change, record.reason, extra=extra)
    else:
        logger.log(level, "node %s: %s: %s", record.name, record.new, record.reason, extra=extra)
