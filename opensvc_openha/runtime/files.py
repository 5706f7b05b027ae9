"""Writes small files so that a crash leaves the old or the new content, never a part."""

from __future__ import annotations

import os
import stat

from opensvc_openha.errors import ConfigError, SystemFault


def write_atomically(path: str, data: bytes, mode: int = 0o644, is_durable: bool = True) -> None:
    """Replaces ``path`` by ``data``; durable means that it is on disk when this returns. Raises OSError."""
    import tempfile  # A command that only reads does without it.

    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if is_durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
    if is_durable:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def sync_file_system(folder: str) -> None:
    """Returns when all that was written on the file system of ``folder`` is on disk: one wait for many files. Raises OSError."""
    import ctypes

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), folder)
    finally:
        os.close(handle)


def make_dir(path: str, mode: int = 0o755) -> None:
    """Makes a directory with its parents; raises SystemFault with the reason."""
    try:
        os.makedirs(path, mode=mode, exist_ok=True)
    except OSError as error:
        raise SystemFault(f"cannot make directory {path}: {error.strerror}") from error


def read_text(path: str) -> str:
    """Text of a configuration file; SystemFault if it cannot be read, ConfigError with the line if it is no text."""
    try:
        # Without O_NONBLOCK a named pipe would be waited for, without end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise ConfigError("a named pipe is no configuration file", path)
            data = file.read()
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"expected UTF-8 text, found byte 0x{data[error.start]:02x}", path, line) from None
