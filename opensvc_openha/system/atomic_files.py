"""Write small files so that a crash leaves the old or the new content, never a part."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator

from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.hints import TypeVar
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system import clock

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
_SECTOR_BYTES = 512
_OLD_S = 3600.0
_TEMPORARY = re.compile(r"\..+\.(\d+)\.\d+\.tmp\Z")
_FORMER_TEMPORARY = re.compile(r"\.(?:STATE\.[^/]+|boot|managed|peer-lives)\.[a-z0-9_]{8}\Z")
"""Temporary files of former versions; only names that no file of an operator can have."""
_numbers = itertools.count()
_Made = TypeVar("_Made")

LOG_MODE = 0o640


def write_atomically(path: str, data: bytes, mode: int = 0o644, is_durable: bool = True) -> None:
    """Replace ``path`` by ``data``; a durable file is on disk on return.

    Raises OSError.
    """
    PreparedFile.beside(path, data, mode, is_durable).place()
    if is_durable:
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class PreparedFile(NamedTuple):
    """A new version of a file beside it, under another name; ``place`` replaces the old one."""

    path: str
    temporary: str
    status: os.stat_result

    @staticmethod
    def beside(path: str, data: bytes, mode: int = 0o644, is_durable: bool = False) -> PreparedFile:
        """Write a version; the content of a durable one is on disk on return. Raises OSError."""
        temporary, handle = _open_beside(path)
        with _removed_on_failure(temporary):
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(handle, left) :]
                os.fchmod(handle, mode)
                if is_durable:
                    os.fsync(handle)
                return PreparedFile(path, temporary, os.fstat(handle))
            finally:
                os.close(handle)

    def place(self) -> None:
        """Replace the old version. Raises OSError, and leaves that."""
        with _removed_on_failure(self.temporary):
            os.replace(self.temporary, self.path)

    def drop(self) -> None:
        """Remove it; the old version stays."""
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)


def write_record(path: str, data: bytes, mode: int = 0o644, is_durable: bool = True) -> None:
    """Replace a file, or on a full disk overwrite the record in place.

    Raises OSError. For records of less than a sector whose reader ignores NUL bytes at the end:
    overwriting needs no new room, and a sector is written as a whole or not at all.
    """
    try:
        write_atomically(path, data, mode, is_durable)
    except OSError as error:
        if error.errno not in FULL_DISK or not _write_over(path, data, is_durable):
            raise


def _write_over(path: str, data: bytes, is_durable: bool) -> bool:
    """Return False if there is no record to overwrite."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(handle).st_size
        if size == 0 or max(size, len(data)) > _SECTOR_BYTES:
            return False
        # One write over the whole record: a crash before truncating leaves the new record, not a
        # mixture.
        whole = data.ljust(size, b"\0")
        if os.pwrite(handle, whole, 0) != len(whole):
            return False
        if is_durable:
            os.fsync(handle)
        os.ftruncate(handle, len(data))
    finally:
        os.close(handle)
    return True


def replace_by(path: str, make: Callable[[str], None]) -> None:
    """Replace ``path`` by the link that ``make`` makes at a name beside it. Raises OSError."""
    temporary, _ = _make_beside(path, make)
    with _removed_on_failure(temporary):
        os.replace(temporary, path)


def _open_beside(path: str) -> tuple[str, int]:
    """Return a new file beside ``path`` and its handle."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return _make_beside(path, lambda temporary: os.open(temporary, flags, 0o600))


def _make_beside(path: str, make: Callable[[str], _Made]) -> tuple[str, _Made]:
    folder, name = os.path.split(path)
    while True:
        temporary = f"{folder}/.{name}.{os.getpid()}.{next(_numbers)}.tmp"
        # An existing one is left from a process that had our pid.
        with contextlib.suppress(FileExistsError):
            return temporary, make(temporary)


@contextlib.contextmanager
def _removed_on_failure(temporary: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_leftovers(folder: str) -> None:
    """Remove temporary files that a killed writer left."""
    try:
        names = os.listdir(folder)
    except OSError:
        return  # There are none.
    for name in names:
        match = _TEMPORARY.match(name)
        is_left = (
            _is_gone(match.group(1))
            if match
            else _FORMER_TEMPORARY.match(name) and _is_old(f"{folder}/{name}")
        )
        if is_left:
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{name}")


def _is_gone(pid: str) -> bool:
    """Return True if the writer of a temporary file has ended, or had our pid before us."""
    return int(pid) == os.getpid() or not os.path.exists(f"/proc/{pid}")


def _is_old(path: str) -> bool:
    try:
        return abs(clock.wall() - os.stat(path).st_mtime) > _OLD_S
    except OSError:
        return False


def sync_file_system(folder: str) -> None:
    """Return when all writes to the file system of ``folder`` are on disk. Raises OSError.

    One wait for many files.
    """
    import ctypes

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(handle)


def open_log(path: str, flags: int) -> int:
    """Open a log for root and its group: output of scripts may hold what no other user should know.

    Whatever the umask and the creator of the file; permissions left open by an older version are
    closed.
    """
    return _opened(path, flags, LOG_MODE)


def open_plain(path: str, flags: int) -> int:
    """Open a file readable for all and writable for root, whatever the umask."""
    return _opened(path, flags, 0o644)


def _opened(path: str, flags: int, mode: int) -> int:
    handle = os.open(path, flags | os.O_CLOEXEC, mode)
    # A log may be a device or a pipe of the operator's choice; one of another owner is not ours to
    # change.
    if stat.S_ISREG(os.fstat(handle).st_mode):
        with contextlib.suppress(OSError):
            os.fchmod(handle, mode)
    return handle


def make_dir(path: str, mode: int = 0o755) -> None:
    """Create a directory with its parents, all of this mode whatever the umask.

    Raises SystemFault with the reason.
    """
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/"))
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode)
            os.chmod(folder, mode)
        except FileExistsError as error:
            if not os.path.isdir(folder):  # Otherwise another process was faster.
                raise SystemFault(f"cannot make directory {folder}: {error.strerror}") from error
        except OSError as error:
            raise SystemFault(f"cannot make directory {folder}: {error.strerror}") from error


def read_text(path: str) -> str:
    """Return the text of a configuration file.

    Raises SystemFault if it cannot be read, ConfigError with the line if it is no text.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would block forever.
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise ConfigError("a named pipe is no configuration file", path)
            data = file.read()
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"expected UTF-8 text, found byte 0x{data[error.start]:02x}", path, line
        ) from None
