"""Start the docker daemon of a service before its first container, stop it after the last.

Changes are made with the docker command: run_args are words of its language, which no library
understands, and ``<service> docker ...`` needs it anyway. Reads use the daemon's socket (see
``engine_view``).

Starts are serialised on a node: two daemons that start at the same time race for the packet
filter's chains and one of them dies. The remains of a killed daemon are removed first. A daemon
that does not answer is killed: it cannot stop its containers, and the service must be able to leave
this node.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import AbstractContextManager

from opensvc_openha.agent.docker import daemon_launch, orphan_cleanup
from opensvc_openha.agent.docker.bridge import make_bridge
from opensvc_openha.agent.docker.engine_view import (
    LOOK_LIMIT_S,
    EngineView,
    Standing,
    answers,
    look_at_engine,
)
from opensvc_openha.agent.docker.settings import DockerSettings, holding_mount, option_value
from opensvc_openha.agent.docker.spawn import Spawned, spawn
from opensvc_openha.agent.host.commands import command_environment
from opensvc_openha.agent.host.mounts import read_mounts, top_mount
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import ActionError, SystemFault
from opensvc_openha.formats.secrets import mask_command
from opensvc_openha.system.atomic_files import make_dir
from opensvc_openha.system.clock import monotonic, pause
from opensvc_openha.system.lock_file import hold_lock
from opensvc_openha.system.processes import send_signal, wait_for_end

START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
START_HUNG_AFTER_S = 30.0
STOP_HUNG_AFTER_S = 10.0
"""Seconds after which a daemon counts as broken.

A start may kill containers that serve, on a busy machine: it waits longer.
"""
LOCK_LIMIT_S = 300.0
START_TRIES = 2
VIEW_AGE_MAX_S = 0.5

_POLL_S = 0.05


class DockerDaemon:
    """The docker daemon that runs the containers of one service."""

    def __init__(self, settings: DockerSettings, node_dir: str, log: ActionLog) -> None:
        self.settings = settings
        self._node_lock = os.path.join(node_dir, "docker-start.lock")
        self._log = log
        self._view: EngineView | None = None
        self._viewed_at = 0.0

    def view(self) -> EngineView:
        """Return its containers, at most 0.5 s old: one status asks for all resources."""
        if self._view is None or monotonic() - self._viewed_at > VIEW_AGE_MAX_S:
            self._view = look_at_engine(self.settings.socket)
            self._viewed_at = monotonic()
        return self._view

    def view_now(self, limit_s: float = LOOK_LIMIT_S) -> EngineView:
        """Return its current containers."""
        self._view = look_at_engine(self.settings.socket, limit_s)
        self._viewed_at = monotonic()
        return self._view

    def forget_view(self) -> None:
        """Drop the cached view."""
        self._view = None

    def has_leftovers(self) -> bool:
        """Return whether processes of a daemon still run that has itself ended."""
        settings = self.settings
        return (
            settings.is_private
            and orphan_cleanup.has_leftovers(settings)
            and bool(orphan_cleanup.engine_pids(settings))
        )

    def why_not_startable(self) -> str:
        """Return why the daemon must not be started here now; empty if it may."""
        if not self.settings.is_private:
            return ""
        point = holding_mount(self.settings)
        if point and top_mount(os.path.realpath(point), read_mounts()) is None:
            how = (
                f"mount it ('{self.settings.svcname} start --rid fs', with vg or disk where it has"
                " one)"
            )
            return (
                f"docker_data_dir {self.settings.data_dir} is on the file system of {point}, which"
                f" is not mounted here: {how}"
            )
        return ""

    def ensure_running(self) -> None:
        """Start the daemon unless it serves; ActionError if that fails."""
        if not self.settings.is_private:
            self._require_shared()
            return
        reason = self.why_not_startable()
        if reason:
            raise ActionError(reason)
        with self._lock("start of the docker daemon"):
            if self._is_serving():
                return
            self.forget_view()
            self._make_dirs()
            orphan_cleanup.clear(self.settings, self._log)
            with _hold(self._node_lock, "start of the docker daemon, one at a time on a node"):
                self._start()

    def kill_if_broken(self) -> bool:
        """Kill the daemon with its containers if it cannot stop them any more.

        Return False if it serves, or does not run.
        """
        settings = self.settings
        standing = answers(settings.socket, STOP_HUNG_AFTER_S)
        if standing is Standing.STOPPED or not (
            settings.is_private and self._is_broken(standing, STOP_HUNG_AFTER_S)
        ):
            return False
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the daemon and all that runs in it."""
        with self._lock("stop of the docker daemon"):
            self.forget_view()
            orphan_cleanup.clear(self.settings, self._log)

    def stop_if_unused(self) -> None:
        """Stop the daemon unless a container of the service runs in it."""
        if not self.settings.is_private:
            return
        with self._lock("stop of the docker daemon"):
            view = self.view_now()
            active = [found for found in view.containers if found.has_processes]
            if any(self.settings.is_own(found.name) for found in active):
                return
            if active:
                names = ", ".join(found.name for found in active)
                self._log.warning(
                    "containers that are not of the service file stop with the docker daemon:"
                    f" {names}"
                )
            self._stop()

    def _stop(self) -> None:
        self.forget_view()
        for pid in orphan_cleanup.daemon_pids(self.settings):
            self._log.info(
                f"no container of the service runs any more: stopping its docker daemon (pid {pid})"
            )
            if not _end(pid, STOP_LIMIT_S):
                self._log.error(
                    f"the docker daemon (pid {pid}) did not end within {STOP_LIMIT_S:g} s after"
                    " SIGTERM: killed"
                )
        if orphan_cleanup.has_leftovers(self.settings):
            for pid in orphan_cleanup.engine_pids(self.settings):
                _end(pid, STOP_LIMIT_S / 4)
            orphan_cleanup.clear(self.settings, self._log)

    def _is_serving(self) -> bool:
        standing = answers(self.settings.socket, START_HUNG_AFTER_S)
        return standing is not Standing.STOPPED and not self._is_broken(
            standing, START_HUNG_AFTER_S
        )

    def _is_broken(self, standing: Standing, limit_s: float) -> bool:
        """Return whether a listening daemon fails to serve; log why it is killed."""
        settings = self.settings
        if standing is Standing.HUNG:
            pids = ", ".join(str(pid) for pid in orphan_cleanup.daemon_pids(settings))
            if pids:
                self._log.error(
                    f"the docker daemon (pid {pids}) does not answer within {limit_s:g} s:"
                    " killing it"
                )
            return True
        if not daemon_launch.has_own_containerd(settings) or orphan_cleanup.has_containerd(
            settings
        ):
            return False
        self._log.error("the docker daemon has lost its containerd: killing it")
        return True

    def _start(self) -> None:
        settings = self.settings
        for executable in (settings.dockerd_exe, settings.docker_exe):
            if shutil.which(executable, path=command_environment()["PATH"]) is None:
                raise ActionError(
                    f"{executable} is not installed: install docker 20.10 or later (docker.io or"
                    " docker-ce)"
                )
        for tries_left in range(START_TRIES - 1, -1, -1):
            try:
                self._launch()
                return
            except ActionError as error:
                if not tries_left:
                    raise
                self._log.warning(f"{error}: trying again")
                orphan_cleanup.clear(settings, self._log)

    def _launch(self) -> None:
        settings = self.settings
        daemon_launch.write_files(settings)
        if daemon_launch.needs_bridge(settings):
            make_bridge(
                self._log,
                settings.bridge,
                settings.svcname,
                option_value(settings.daemon_args, "--bip"),
            )
        started = []
        give_up = monotonic() + START_LIMIT_S
        if daemon_launch.has_own_containerd(settings):
            started.append(
                spawn(daemon_launch.containerd_command(settings), settings.containerd_log_file)
            )
            while not os.path.exists(daemon_launch.containerd_socket(settings)):
                _wait_a_little(started, give_up)
        argv = daemon_launch.dockerd_command(settings, self._addresses())
        self._log.info(mask_command(argv))
        started.append(spawn(argv, settings.log_file))
        while answers(settings.socket, max(_POLL_S, give_up - monotonic())) is not Standing.RUNNING:
            _wait_a_little(started, give_up)

    def _addresses(self) -> list[str]:
        import socket

        found = []
        for name in self.settings.address_names:
            try:
                found.append(socket.gethostbyname(name))
            except OSError as error:
                raise ActionError(
                    f"cannot resolve {name}, whose ip resource has docker_daemon_ip = true: {error}"
                ) from error
        return found

    def _make_dirs(self) -> None:
        try:
            make_dir(self.settings.data_dir)
        except SystemFault as error:
            raise SystemFault(f"docker_data_dir: {error}") from error

    def _require_shared(self) -> None:
        standing = answers(self.settings.socket, START_HUNG_AFTER_S)
        if standing is not Standing.RUNNING:
            word = (
                "does not run"
                if standing is Standing.STOPPED
                else f"does not answer within {START_HUNG_AFTER_S:g} s"
            )
            raise ActionError(
                f"the docker daemon of the system {word} ({self.settings.socket}): start it, or let"
                " the service have its own with docker_daemon_private = true and docker_data_dir"
            )

    def _lock(self, what: str) -> AbstractContextManager[None]:
        return _hold(f"{self.settings.var_dir}/docker.lock", what)


def _hold(path: str, what: str) -> AbstractContextManager[None]:
    text = f"{what}: waited {LOCK_LIMIT_S:g} s for the lock {path}"
    return hold_lock(path, LOCK_LIMIT_S, lambda owner: ActionError(text))


def _wait_a_little(started: list[Spawned], give_up: float) -> None:
    """Wait a moment for daemons that start.

    Raises ActionError once one of them has ended, or after the deadline.
    """
    for each in started:
        exit_code = each.process.poll()
        if exit_code is not None:
            raise ActionError(f"{each.name} ended with exit code {exit_code}{each.last_words()}")
    if monotonic() > give_up:
        raise ActionError(
            f"the docker daemon does not serve within {START_LIMIT_S:g} s{started[-1].last_words()}"
        )
    pause(_POLL_S)


def _end(pid: int, limit_s: float) -> bool:
    """Send SIGTERM and wait; return False if the process still runs after ``limit_s`` seconds."""
    send_signal(pid, signal.SIGTERM)
    return wait_for_end([pid], limit_s) == []
