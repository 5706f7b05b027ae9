"""The standard streams of a command: the output of an action never changes its exit code.

If they lead to a full disk, or to a closed pipe, Python ends with 120, which the node daemon would
take for a failed start or stop. A command whose product is its output is different: it fails if
that cannot be written.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_REPORTS = frozenset({"why", "history", "status", "ps", "svcmon", "demo"})
_STATUS_WORDS = frozenset({"status", "print", "json", "frozen", "validate", "docker", "--dry-run"})
_SHORT = frozenset({"service", "hb", "status", "ezha", "why", "history"})
_HELP = frozenset({"-h", "--help", "help", "-V", "--version"})


def is_report(args: Sequence[str]) -> bool:
    """Return whether the command's product is its output."""
    if not args or _HELP.intersection(args):
        return True
    if args[0] in ("service", "hb"):
        return any(word.startswith(("-s", "-i")) for word in args[1:]) and not {
            "-A",
            "-a",
            "-r",
        }.intersection(args)
    if args[0] in ("key", "fence", "agent", "ezha"):
        return "status" in args
    if args[0] == "svcmgr":
        return bool(_STATUS_WORDS.intersection(args))
    return args[0] in _REPORTS


def ends_soon(args: Sequence[str]) -> bool:
    """Return whether nothing of the command is worth tidying up: the kernel does that faster.

    It only prints something, or it is an action of the agent: what it did is closed and logged.
    """
    if args[:1] == ["svcmon"]:
        return not any(_is_watch(word) for word in args)
    if args[:1] == ["svcmgr"]:
        return "docker" not in args
    return bool(args) and args[0] in _SHORT and is_report(args)


def _is_watch(word: str) -> bool:
    return word == "--watch" or (word[:1] == "-" and word[:2] != "--" and "w" in word)


def error_text(error: OpenhaError) -> str:
    """Return what is printed of an error: one line for each of its own."""
    return "".join(f"{one_line(line)}\n" for line in str(error).split("\n"))


def ignore_write_errors(is_output_the_product: bool) -> None:
    """Drop what cannot be written to stderr and, for an action, to stdout."""
    sys.stderr = _ignoring(2)
    if not is_output_the_product:
        sys.stdout = _ignoring(1)


class _ErrorIgnoringFile(io.FileIO):
    """A file whose write errors are ignored."""

    def write(self, data: ReadableBuffer) -> int:
        """Write what can be written; a failure cannot be reported anywhere."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _ignoring(number: int) -> io.TextIOWrapper:
    # Line by line, so that no buffer is left whose flush could fail at exit.
    file = io.BufferedWriter(_ErrorIgnoringFile(number, "w", closefd=False))
    return io.TextIOWrapper(file, "utf-8", "backslashreplace", line_buffering=True)
