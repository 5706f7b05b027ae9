"""Explain why the system cannot run a program, by what is wrong with its file.

The kernel reports "No such file or directory" for a script whose interpreter is missing, and "Exec
format error" for one whose first line names none.
"""

from __future__ import annotations

import os
import shlex
import stat

NOT_RUN = frozenset({126, 127})
"""Exit codes of a shell, of env and of runuser for a program that they cannot run."""
_HEAD_BYTES = 256
_ELF = b"\x7fELF"


def why_not_runnable(path: str) -> str:
    """Return why this user cannot run the file at an absolute path.

    Empty without a visible reason.
    """
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISREG(info.st_mode):
        return f"{path} is not a file"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable (try: chmod +x {shlex.quote(path)})"
    head = _head_of(path)
    if head is None or head.startswith(_ELF):
        return ""
    if head.startswith(b"#!"):
        return _why_no_interpreter(path, head)
    if head.startswith(b"\xef\xbb\xbf#!"):
        return (
            f"{path} begins with a byte order mark: remove it (try: sed -i '1s/^\\xef\\xbb\\xbf//'"
            f" {shlex.quote(path)})"
        )
    if b"\0" not in head:
        return f"{path} is no program, and its first line names no interpreter, such as #!/bin/sh"
    return ""  # A format that the kernel may have been told about.


def _head_of(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return None  # It may be run without being readable.


def _why_no_interpreter(path: str, head: bytes) -> str:
    line = head[2:].partition(b"\n")[0]
    words = line.split()
    if line.endswith(b"\r"):
        return (
            f"{path} has the line ends of DOS (CR LF): convert it (try: sed -i 's/\\r$//'"
            f" {shlex.quote(path)})"
        )
    if not words:
        return f"{path} names no interpreter behind #! in its first line, such as #!/bin/sh"
    interpreter = words[0].decode("utf-8", "replace")
    if not os.path.exists(interpreter):
        return f"{path} names the interpreter {interpreter} in its first line, which does not exist"
    if not os.access(interpreter, os.X_OK) or os.path.isdir(interpreter):
        return (
            f"{path} names the interpreter {interpreter} in its first line, which cannot be"
            " executed"
        )
    return ""
