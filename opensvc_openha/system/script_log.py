"""Direct a script's output to the log of its service, or elsewhere if the log has no room.

A log never changes the result of an action. A program whose output cannot be written may end with
another exit code, as Python does with 120, so a script begins only with room for its output:
reserved in the log, or else in memory. A script that may leave a daemon behind gets the null device
instead of memory to fill. The answer of a status script is read from memory in any case.

All writers append, including those that inherited the handle, so that a log that grew too long can
be emptied under them.
"""

from __future__ import annotations

import contextlib
import errno
import os

from opensvc_openha.system.atomic_files import FULL_DISK, open_log

LOG_BYTES = 5_000_000
"""A service's log is emptied above this size; its end is kept in a second file."""
ROOM_BYTES = 65_536
"""Room that a log must have before a script begins to write to it."""
NO_ROOM = "what it printed is lost: its log cannot be written"
_READ_BYTES = 4096
_COPIED_BYTES = 65_536
_KEEP_SIZE = 1
_PART_BYTES = 1 << 20


class ScriptLog:
    """The output of one run of a script; ``handle`` is for the script."""

    def __init__(self, path: str, is_answer: bool, may_linger: bool) -> None:
        """Choose the destination; an empty path is no log.

        ``is_answer``: no log may come between; ``may_linger``: a daemon may be left behind that
        prints for as long as it lives.
        """
        self._log = _open_log(path)
        is_log_usable = self._log is not None and _has_room(self._log)
        self._box: int | None = None
        if is_answer or not (is_log_usable or may_linger):
            self._box = _make_box()
        self._null: int | None = None
        if self._box is None and not is_log_usable:
            self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._begin = 0 if self._log is None else os.fstat(self._log).st_size

    @property
    def handle(self) -> int:
        """Destination of the script's output."""
        found = next(handle for handle in (self._box, self._null, self._log) if handle is not None)
        return found

    @property
    def is_lost(self) -> bool:
        """True if the script's output cannot be read."""
        return self._null is not None

    def note(self, text: str) -> None:
        """Write a line of ours to the log; the script's output follows it."""
        if self._log is not None:
            with contextlib.suppress(OSError):
                os.write(self._log, text.encode("utf-8", "replace"))
            self._begin = os.fstat(self._log).st_size

    def output(self, limit: int = _READ_BYTES) -> str:
        """Return the end of the script's output, up to ``limit`` bytes."""
        try:
            if self._box is not None:
                return _content(self._box)[-limit:].decode("utf-8", "replace")
            if self._log is None or self._null is not None:
                return ""
            end = os.fstat(self._log).st_size
            # Shorter than before: it was emptied meanwhile.
            begin = max(self._begin if end >= self._begin else 0, end - limit)
            return os.pread(self._log, limit, begin).decode("utf-8", "replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Copy output kept in memory to the log, as far as there is room, and close the handles."""
        if self._box is not None and self._log is not None:
            with contextlib.suppress(OSError):
                os.write(self._log, _content(self._box))
        for handle in (self._log, self._box, self._null):
            if handle is not None:
                os.close(handle)


def bound_log(path: str, limit: int = LOG_BYTES) -> bool:
    """Empty a log longer than ``limit`` bytes, and keep its end as ``path``.1.

    Returns True if it did. Raises OSError. Lines written during the copy may be lost. Without room
    for the copy, the last lines stay.
    """
    try:
        handle = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return False  # A link leads to a file of the operator's choice.
        raise
    try:
        found = os.fstat(handle)
        # A hole is no length: a writer that does not append continues at its old position, behind
        # one.
        if min(found.st_size, found.st_blocks * 512) <= limit:
            return False
        last_lines = b""
        try:
            _copy_part(handle, found.st_size - limit, found.st_size, f"{path}.1")
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            with contextlib.suppress(OSError):
                os.unlink(f"{path}.1")
            last_lines = os.pread(handle, _COPIED_BYTES, max(0, found.st_size - _COPIED_BYTES))
        os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):
            os.write(handle, last_lines)
        return True
    finally:
        os.close(handle)


def _copy_part(handle: int, begin: int, end: int, path: str) -> None:
    copy = open_log(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
    try:
        while part := os.pread(handle, min(_PART_BYTES, end - begin), begin):
            begin += len(part)
            while part:
                part = part[os.write(copy, part) :]
    finally:
        os.close(copy)


def _open_log(path: str) -> int | None:
    if not path:
        return None
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    try:
        try:
            return open_log(path, flags)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return open_log(path, flags)
    except OSError:
        return None


def _has_room(log: int) -> bool:
    """Reserve room behind the end of the log.

    Without that in the file system, free space must do.
    """
    import ctypes  # Loaded here: a status writes no such log.

    libc = ctypes.CDLL(None, use_errno=True)
    reserve = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if reserve is None:
        return True
    end = ctypes.c_int64(os.fstat(log).st_size)
    return (
        reserve(log, _KEEP_SIZE, end, ctypes.c_int64(ROOM_BYTES)) == 0
        or ctypes.get_errno() not in FULL_DISK
    )


def _make_box() -> int | None:
    try:
        return os.memfd_create("script", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        return None


def _content(box: int) -> bytes:
    """Return output kept in memory.

    A script that opens its output again by name may leave a hole.
    """
    end = os.fstat(box).st_size
    return os.pread(box, _COPIED_BYTES, max(0, end - _COPIED_BYTES)).replace(b"\0", b"")
