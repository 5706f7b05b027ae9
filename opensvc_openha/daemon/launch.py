"""Start the one daemon of a node, in the foreground or the background, and report readiness.

In the background the caller waits until the daemon serves, or gets the reason why it does not: a
daemon that does not run is never reported as started.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable

from opensvc_openha.control import client
from opensvc_openha.control.rendering import Renderer
from opensvc_openha.daemon.lock import DAEMON_THREAD, already_running, take_lock
from opensvc_openha.daemon.monitor_process import NO_CHILDREN, Children
from opensvc_openha.errors import OpenhaError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import read_settings

_READY = b"ready"


def run_in_foreground(
    layout: Layout,
    children: Children = NO_CHILDREN,
    renderer: Renderer | None = None,
) -> int:
    """Run the daemon in this process until it ends; for systemd and for debugging."""
    return _serve(layout, True, take_lock(layout), lambda: None, children, renderer)


def expect_startable(layout: Layout) -> None:
    """Raise what would keep a daemon from starting.

    Such as an error in a file, or states that cannot be written.
    """
    options = configuration.read_options(layout)
    configuration.read_cluster(layout, options)
    configuration.check_devices(options)
    read_settings(layout, options)
    for folder in (layout.services_dir, layout.proc_dir):
        if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
            why = os.strerror(
                errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            )
            raise SystemFault(f"cannot write {folder}/: {why}")


def expect_none_running(layout: Layout) -> None:
    """Raise what would keep a daemon from starting, or that one runs."""
    expect_startable(layout)
    pid = client.running_pid(layout)
    if pid:
        raise already_running(pid)


def run_in_background(layout: Layout, command: list[str]) -> int:
    """Start the daemon detached from the terminal; return its pid once it serves.

    Raises the reason if it does not. ``command`` runs the daemon's own program, so that `ps` shows
    what runs; the number of a pipe is appended to it.
    """
    expect_none_running(layout)
    reader, writer = os.pipe()
    with open(os.devnull, "r+b") as null:
        process = subprocess.Popen(
            [*command, str(writer)],
            stdin=null,
            stdout=null,
            stderr=null,
            start_new_session=True,
            cwd="/",
            pass_fds=(writer,),
            env={**os.environ, **layout.environment()},
        )
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        word, _, text = pipe.read().partition(b" ")
    if word == _READY:
        return int(text)
    if not word:
        raise SystemFault(
            f"nmond ended while it was starting (exit code {process.wait(10)}): see"
            f" {layout.log_dir}/nmond.log"
        )
    raise _as_error(int(word), text.decode("utf-8", "replace"))


def run_detached(
    layout: Layout,
    writer: int,
    children: Children = NO_CHILDREN,
    renderer: Renderer | None = None,
) -> int:
    """Run the daemon's side of ``run_in_background``: report the start over the pipe.

    Returns the exit code.
    """
    os.set_inheritable(writer, False)
    try:
        lock = take_lock(layout)

        def on_ready() -> None:
            # The starting command may have been interrupted: the daemon serves all the same.
            with contextlib.suppress(OSError):
                os.write(writer, _READY + b" %d" % os.getpid())
            os.close(writer)

        return _serve(layout, False, lock, on_ready, children, renderer)
    except OpenhaError as error:
        _report(writer, error.exit_code, str(error))
    except Exception as error:  # Top level of the process: the parent waits for it.
        _report(writer, SystemFault.exit_code, f"nmond failed: {type(error).__name__}: {error}")
    return 1


def _report(writer: int, code: int, text: str) -> None:
    # If nothing reads the pipe, an earlier report was read; the log has the reason.
    with contextlib.suppress(OSError):
        os.write(writer, f"{code} {text}".encode())


def _serve(
    layout: Layout,
    is_foreground: bool,
    lock: int,
    on_ready: Callable[[], None],
    children: Children,
    renderer: Renderer | None,
) -> int:
    from opensvc_openha.core import timing
    from opensvc_openha.daemon.daemon import Daemon
    from opensvc_openha.system import clock
    from opensvc_openha.system.logs import DaemonLog
    from opensvc_openha.system.thread_names import name_thread

    name_thread(DAEMON_THREAD)
    os.umask(0o022)  # For any caller, and for the files of its scripts.
    log = DaemonLog(layout, is_foreground)
    try:
        daemon = Daemon(layout, log.logger, lock, children, log.problem, renderer=renderer)
        code = daemon.run(on_ready)
        failed_at: list[float] = []
        while daemon.has_failed:
            failed_at = [
                at for at in failed_at if at > clock.monotonic() - timing.ENGINE_FAILURES_WINDOW_S
            ] + [clock.monotonic()]
            if len(failed_at) > timing.ENGINE_FAILURES_MAX:
                log.logger.critical("the engine failed too often: this node falls silent")
                daemon.end_for_good()
                break
            log.logger.warning(
                "the engine begins again with the STATE files, as after a crash (%d of %d times)",
                len(failed_at),
                timing.ENGINE_FAILURES_MAX,
            )
            try:
                successor = daemon.successor()
                code = successor.run(lambda: None)
                daemon = successor
            # The same problems as at a first start (disk, thread, socket), but no command waits for
            # the reason.
            except Exception as error:
                log.logger.critical("the engine cannot begin again: %r", error, exc_info=error)
                clock.pause(timing.ENGINE_AGAIN_S)
        return code
    finally:
        log.flush()


def _as_error(code: int, text: str) -> OpenhaError:
    for kind in (RefusedError, SystemFault):
        if kind.exit_code == code:
            return kind(text)
    error = OpenhaError(text)
    error.exit_code = code
    return error
