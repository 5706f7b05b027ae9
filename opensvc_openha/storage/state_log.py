"""Append states to a log of fixed size: one wait for the disk makes many STATE files durable.

Written in place, so that the wait is for these bytes alone, and for nothing else of the file
system. What the log is for is in ``state_store``, its lines in ``formats/state_log``.
"""

from __future__ import annotations

import contextlib
import os

from opensvc_openha.formats.state_log import (
    DecodedLog,
    LogRecord,
    decode_log,
    encode_beginning,
    encode_records,
)
from opensvc_openha.system.atomic_files import sync_file_system, write_atomically
from opensvc_openha.system.identity import life

_PAGE_BYTES = 4096
LOG_BYTES = 512 * 1024
"""Room for some 5,000 states: those of a takeover of a thousand services, and more."""


class StateLog:
    """The log of one node; used by one thread at a time."""

    def __init__(self, path: str, states_dir: str) -> None:
        """Open nothing yet: ``begin`` does."""
        self._path = path
        self._states_dir = states_dir
        self._handle: int | None = None
        self._generation = ""
        self._number = self._end = 0
        self.device = -1
        """The file system of the log: a checkpoint covers what is on it."""

    @property
    def is_open(self) -> bool:
        """True while states can be appended."""
        return self._handle is not None

    def read(self) -> DecodedLog | None:
        """Return what the log of the former daemon holds; None if there is none to read."""
        try:
            with open(self._path, "rb") as file:
                return decode_log(file.read(LOG_BYTES))
        except OSError:
            return None

    def begin(self) -> None:
        """Begin a new file, once all STATE files that the former one speaks of are on disk.

        A new one, since a former daemon that hangs may still write to its own. Raises OSError.
        """
        self._close()
        first = self._first_line()
        write_atomically(self._path, first, mode=0o600)
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        # Page by page: what the kernel caches in one piece, it may write in one for each record.
        page = first.ljust(_PAGE_BYTES, b"\0")
        for at in range(0, LOG_BYTES, _PAGE_BYTES):
            os.pwrite(self._handle, page[: LOG_BYTES - at], at)
            page = bytes(_PAGE_BYTES)
        os.fsync(self._handle)
        self.device = os.fstat(self._handle).st_dev
        self._number, self._end = 1, len(first)

    def append(self, records: list[LogRecord]) -> None:
        """Append records, which are on disk on return. Raises OSError."""
        data = self._encoded(records)
        if self._end + len(data) > LOG_BYTES:
            self.checkpoint()
            data = self._encoded(records)
        self._write(data, self._end)
        self._number, self._end = self._number + len(records), self._end + len(data)

    def checkpoint(self) -> None:
        """Have all STATE files on disk, and begin a generation without records. Raises OSError."""
        if self._number > 1:
            sync_file_system(self._states_dir)
            first = self._first_line()
            self._write(first, 0)
            self._number, self._end = 1, len(first)

    def give_up(self) -> None:
        """Append nothing more: states are written one by one, and no record counts any more.

        Only once all STATE files are on disk, which the log alone has made durable so far.
        """
        self._close()
        with contextlib.suppress(OSError):
            sync_file_system(self._states_dir)
            os.unlink(self._path)

    def close(self) -> None:
        """End in order: what an older version finds are STATE files alone."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self.checkpoint()
            self._close()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _first_line(self) -> bytes:
        self._generation = os.urandom(8).hex()
        return encode_beginning(self._generation, life())

    def _encoded(self, records: list[LogRecord]) -> bytes:
        return encode_records(self._generation, self._number, records)

    def _write(self, data: bytes, at: int) -> None:
        if self._handle is None or at + len(data) > LOG_BYTES:
            raise OSError("no room in the log of states")
        while data:
            count = os.pwrite(self._handle, data, at)
            data, at = data[count:], at + count
        os.fdatasync(self._handle)
