"""Writes small files so that a crash leaves the old or the new content, never a part."""

from __future__ import annotations

import os
import tempfile

from opensvc_openha.errors import SystemFault


def write_atomically(path: str, data: bytes, mode: int = 0o644, is_durable: bool = True) -> None:
    """Replaces ``path`` by ``data``; durable means that it is on disk when this returns. Raises OSError."""
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


def make_dir(path: str, mode: int = 0o755) -> None:
    """Makes a directory with its parents; raises SystemFault with the reason."""
    try:
        os.makedirs(path, mode=mode, exist_ok=True)
    except OSError as error:
        raise SystemFault(f"cannot make directory {path}: {error.strerror}") from error


def read_text(path: str) -> str:
    """Text of a file; undecodable bytes raise SystemFault, as does anything else that prevents reading it."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise SystemFault(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SystemFault(f"cannot read {path}: not UTF-8 text at byte {error.start}") from error
