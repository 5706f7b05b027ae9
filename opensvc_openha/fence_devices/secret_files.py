"""Read a secret from its file, if nobody else can."""

from __future__ import annotations

import os
import stat

from opensvc_openha.errors import SystemFault

_BYTES_MAX = 65_536


def read_secret(path: str) -> str:
    """Return the first line of a file that only its owner, this user or root, may read.

    Raises SystemFault with what is wrong and what to do.
    """
    raw = _read(path)
    line = raw.split(b"\n", 1)[0].removesuffix(b"\r")
    if not line or b"\0" in line:
        raise SystemFault(f"the secret {path} does not hold one line of text")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise SystemFault(f"the secret {path} is no text in UTF-8") from None


def check_secret_file(path: str) -> None:
    """Raise SystemFault for a file that others may read, or that cannot be read at all."""
    _read(path)


def _read(path: str) -> bytes:
    try:
        # Not to wait at a named pipe in its place.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SystemFault(f"the secret {path} cannot be read: {error.strerror}") from None
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise SystemFault(f"the secret {path} is no regular file")
        if found.st_uid not in (0, os.geteuid()):
            raise SystemFault(f"the secret {path} belongs to another user: chown root {path}")
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise SystemFault(
                f"the secret {path} has mode {mode:04o}, others may use it: chmod 600 {path}"
            )
        raw = file.read(_BYTES_MAX + 1)
    if len(raw) > _BYTES_MAX:
        raise SystemFault(f"the secret {path} is longer than {_BYTES_MAX} bytes")
    return raw
