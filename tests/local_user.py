"""Run code and commands as an ordinary user, nobody, beside a real daemon."""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Callable, Iterator

import pytest

from opensvc_openha.cli import main as cli
from opensvc_openha.errors import OpenhaError
from tests.cluster_dir import ClusterDir

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


def as_nobody(work: Callable[[], object], uid: int = NOBODY) -> tuple[int, str]:
    """Run code in a child as that user; return its exit code and what it printed or returned.

    All modules must be imported before: the user may not be able to read them.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code, text = 0, ""
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            with (
                open(1, "w", closefd=False) as out,
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(out),
            ):
                result = work()
                code, text = (
                    (result, "")
                    if isinstance(result, int)
                    else (0, "" if result is None else str(result))
                )
        except OpenhaError as error:
            code, text = error.exit_code, str(error)
        except BaseException:  # The child must never continue with the tests.
            code, text = 99, traceback.format_exc()
        with contextlib.suppress(OSError):
            os.write(writer, text.encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        output = pipe.read().decode("utf-8", "replace")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output


def run_as_nobody(
    cluster: ClusterDir, monkeypatch: pytest.MonkeyPatch, command: str
) -> tuple[int, str]:
    """Run one of the package's commands as that user; return exit code and output."""
    monkeypatch.setenv("EZ", str(cluster.root))
    args = command.split()
    with contextlib.suppress(
        OpenhaError, SystemExit
    ):  # Once as root, so that all modules are imported.
        with (
            open(os.devnull, "w") as null,
            contextlib.redirect_stdout(null),
            contextlib.redirect_stderr(null),
        ):
            cli.main(args)
    return as_nobody(lambda: cli.main(args))


@contextlib.contextmanager
def connections(
    cluster: ClusterDir, number: int, sent: bytes = b""
) -> Iterator[list[socket.socket]]:
    """Yield ``number`` connections of nobody to the control socket.

    On each of them ``reported`` has been sent. Closed at the end.
    """
    path = str(cluster.path("services/.proc/nmond.sock"))
    made: list[socket.socket] = []
    os.seteuid(NOBODY)
    try:
        for _ in range(number):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.append(connection)
            connection.settimeout(30)
            connection.connect(path)
    finally:
        os.seteuid(0)
    try:
        for connection in made:
            with contextlib.suppress(OSError):
                connection.sendall(sent)
        yield made
    finally:
        for connection in made:
            connection.close()
