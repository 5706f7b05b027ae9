"""`<service> docker ...`: run any docker command on the service's own daemon, on our terminal."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from opensvc_openha.agent.docker.docker_daemon import DockerDaemon
from opensvc_openha.agent.docker.engine_view import Standing
from opensvc_openha.agent.host.commands import command_environment
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import SystemFault

_SIGNAL_EXIT_CODE = 128
_FAILED = 1
_INTERRUPTS = (signal.SIGINT, signal.SIGQUIT)


def run_docker(
    engine: DockerDaemon,
    log: ActionLog,
    words: Sequence[str],
    images: Sequence[str],
    names: Sequence[str],
) -> int:
    """Run a docker command and return its exit code.

    The words %images% and %instances% expand to those of the service.
    """
    socket = engine.settings.socket
    if os.path.exists(socket) and not os.access(socket, os.W_OK):
        raise SystemFault(
            f"{socket} is not for uid {os.getuid()}: run docker commands for this service as root"
        )
    if engine.settings.is_private and engine.view().standing is Standing.STOPPED:
        reason = engine.why_not_startable()
        if reason:
            log.error(f"docker daemon is not running: {reason}")
            return _FAILED
        engine.ensure_running()
    engine.forget_view()
    known = {
        "%images%": images,
        "%instances%": names,
        "%as_service%": engine.settings.docker_command()[1:],
    }
    replaced = [part for word in words for part in known.get(word, (word,))]
    return _run_in_terminal(engine.settings.docker_command(*replaced))


def _run_in_terminal(argv: list[str]) -> int:
    """Run a command on our terminal.

    It handles the keys that interrupt while it runs.
    """
    kept = {number: signal.getsignal(number) for number in _INTERRUPTS}
    try:
        process = subprocess.Popen(argv, env=command_environment(), preexec_fn=_default_signals)
    except OSError as error:
        raise SystemFault(
            f"cannot run {argv[0]}: {error.strerror}: install docker 20.10 or later"
        ) from error
    for number in kept:
        signal.signal(number, signal.SIG_IGN)
    try:
        exit_code = process.wait()
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return exit_code if exit_code >= 0 else _SIGNAL_EXIT_CODE - exit_code


def _default_signals() -> None:
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_DFL)
