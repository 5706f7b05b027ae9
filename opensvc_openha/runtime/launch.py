"""Starts the one node daemon of a node: the lock, the way into the background, and the word that it is ready.

In the background the caller waits until the daemon serves, or learns why it does not: a daemon that is not there is
never reported as started.
"""

from __future__ import annotations

import fcntl
import os
import sys
from typing import Callable

from opensvc_openha.errors import OpenhaError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.runtime import configuration
from opensvc_openha.runtime.files import make_dir

_READY = b"ready"


def run_in_foreground(layout: Layout) -> int:
    """Runs the daemon in this process until it ends; for systemd and for people who look."""
    lock = take_lock(layout)
    try:
        return _serve(layout, True, lambda: None)
    finally:
        os.close(lock)


def run_in_background(layout: Layout) -> int:
    """Starts the daemon detached from the terminal; returns its pid once it serves. Raises what it could not do."""
    configuration.read_cluster(layout)  # A mistake in a file is told before anything is started.
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _detached(layout, writer)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        word, _, text = pipe.read().partition(b" ")
    if word == _READY:
        return int(text)
    if not word:
        raise SystemFault("nmond ended while it was starting: look at its log")
    raise _as_error(int(word), text.decode("utf-8", "replace"))


def take_lock(layout: Layout) -> int:
    """Handle of the lock of this node's daemon, with our pid in it; RefusedError if another one holds it."""
    make_dir(layout.proc_dir)
    try:
        handle = os.open(layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SystemFault(f"cannot open {layout.lock_file}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise RefusedError(f"nmond is already running on this node (pid {holder})") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
    return handle


def _detached(layout: Layout, writer: int) -> None:
    """The child's way: own session, no terminal, nothing inherited but the pipe to say how it went. Never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0o022)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        take_lock(layout)

        def on_ready() -> None:
            os.write(writer, _READY + b" %d" % os.getpid())
            os.close(writer)

        os._exit(_serve(layout, False, on_ready))
    except OpenhaError as error:
        _tell(writer, error.exit_code, str(error))
    except BaseException as error:  # The last one of this process: whoever waits must learn of it.
        _tell(writer, SystemFault.exit_code, f"nmond failed: {type(error).__name__}: {error}")
    os._exit(1)


def _tell(writer: int, code: int, text: str) -> None:
    try:
        os.write(writer, f"{code} {text}".encode("utf-8"))
    except OSError:
        pass  # It was ready once: the log has the reason.


def _serve(layout: Layout, is_foreground: bool, on_ready: Callable[[], None]) -> int:
    from opensvc_openha.runtime.daemon import Daemon
    from opensvc_openha.runtime.logs import open_log
    from opensvc_openha.runtime.thread_names import name_thread

    name_thread("nmond")
    return Daemon(layout, open_log(layout, is_foreground)).run(on_ready)


def _as_error(code: int, text: str) -> OpenhaError:
    for kind in (RefusedError, SystemFault):
        if kind.exit_code == code:
            return kind(text)
    error = OpenhaError(text)
    error.exit_code = code
    return error
