"""Keep the OpenSVC agents of this node from showing an outdated state.

Agents keep the hb status in a file without age limit, so that file goes at each change of a
service's own state. Where the agents keep what is in ``conf/agents``, written by
`openha agent install`, one line for each agent::

    drop /var/lib/opensvc                       directory with one directory for each service
                                                (agents up to 1.8)
    run /usr/bin/om @SVCNAME@ status --refresh  command that has the agent look again (agent 2.1)
    added /usr/share/opensvc registry           not for the daemon: what the installation added

A slow disk or agent must delay nothing: a separate thread does the work, without being waited for.
"""

from __future__ import annotations

import contextlib
import glob
import os
import queue
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping

from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import Any
from opensvc_openha.system import clock
from opensvc_openha.system.files import text_or_empty
from opensvc_openha.system.processes import send_signal

WRAPPER_SUFFIX = ".cluster"
_RUN_LIMIT_S = 30.0
_NO_AGENT_PAUSE_S = 0.2
_WAITING_MAX = 10_000
_END = ""
"""No service has this name: it ends the thread."""
_STOCK = (("drop", "/opt/opensvc/var"), ("drop", "/var/lib/opensvc"))
"""Default caches of agents for which nothing was installed.

Their own driver shows cached values, too.
"""
_NAMESPACE = re.compile(r"/namespaces/([^/]+/svc)\Z")
_APART: Mapping[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "start_new_session": True,
    "cwd": "/",
}


class AgentCaches:
    """Invalidate the agents' caches at each change.

    ``scripts`` returns the start script of each service, whose name is the agent's service name.
    """

    def __init__(
        self,
        layout: Layout,
        scripts: Callable[[], Mapping[str, str]],
        memory: MemoryGuard | None = None,
    ) -> None:
        self._memory = MemoryGuard() if memory is None else memory
        self._path = layout.agents_file
        self._scripts = scripts
        self._changed: queue.Queue[str] = queue.Queue(_WAITING_MAX)
        self._thread: threading.Thread | None = None

    def invalidate(self, service: str) -> None:
        """Handle a change of a service's own state."""
        with contextlib.suppress(queue.Full):
            self._changed.put_nowait(service)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="agents", daemon=True)
            # Without a thread only the agents' view suffers.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def begin(self, services: Iterable[str]) -> None:
        """Drop all caches at the daemon's start: they may be older than a power failure."""
        self._drop(self._lines(), services, "*")

    def serve(self, services: Iterable[str]) -> None:
        """Refresh agents that asked while no daemon answered."""
        for service in services:
            self.invalidate(service)

    def end(self, services: tuple[str, ...]) -> None:
        """Drop all caches at the daemon's end, without waiting for the agents' commands."""
        with contextlib.suppress(queue.Full):
            self._changed.put_nowait(_END)
        commands = self._drop(self._lines(), services, "hb#*")
        if commands:
            with contextlib.suppress(OSError, ValueError):
                line = "; ".join(shlex.join(shlex.split(each)) for each in commands)
                subprocess.Popen(self._memory.command(["/bin/sh", "-c", line]), **_APART)

    def _lines(self) -> list[tuple[str, str]]:
        """Return what is to be done for the agents of this node: nothing where there is none."""
        lines = [*_read_lines(self._path), *_STOCK]
        return [
            (kind, rest)
            for kind, rest in lines
            if kind == "run" or (kind == "drop" and os.path.isdir(rest))
        ]

    def _drop(
        self, lines: list[tuple[str, str]], services: Iterable[str], resources: str
    ) -> list[str]:
        """Drop what the agents keep of these services; return the commands to run for them."""
        names = self._names(services) if lines else []
        for kind, rest in lines:
            if kind == "drop":
                for svcname in names:
                    _drop(rest, svcname, resources)
        return [
            rest.replace("@SVCNAME@", svcname)
            for kind, rest in lines
            if kind == "run"
            for svcname in names
        ]

    def _work(self) -> None:
        while True:
            services = [self._changed.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    services.append(self._changed.get_nowait())
            is_over = _END in services
            services = [service for service in services if service != _END]
            lines = self._lines()
            for command in self._drop(lines, services, "hb#*"):
                self._run(command)
            if is_over:
                return
            if not lines:
                # Nobody waits: of a thousand changes one after the other many are taken at once.
                clock.pause(_NO_AGENT_PAUSE_S)

    def _run(self, command: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            process = subprocess.Popen(self._memory.command(shlex.split(command)), **_APART)
            try:
                process.wait(_RUN_LIMIT_S)
            except subprocess.TimeoutExpired:
                send_signal(process.pid, signal.SIGKILL, is_group=True)
                process.wait()

    def _names(self, services: Iterable[str]) -> list[str]:
        scripts = self._scripts()
        found = [scripts[name] for name in dict.fromkeys(services) if name in scripts]
        return [_svcname(path) for path in found if path.endswith(WRAPPER_SUFFIX)]


def _svcname(wrapper: str) -> str:
    """Return the agent's name of the service, with the namespace of agent 2.1 if it has one."""
    name = os.path.basename(wrapper)[: -len(WRAPPER_SUFFIX)]
    place = _NAMESPACE.search(os.path.dirname(wrapper))
    return f"{place.group(1)}/{name}" if place else name


def _read_lines(path: str) -> list[tuple[str, str]]:
    lines = text_or_empty(path).splitlines()
    return [
        (words[0], words[1].strip())
        for words in (line.split(None, 1) for line in lines)
        if len(words) == 2 and not words[0].startswith("#")
    ]


def _drop(folder: str, svcname: str, resources: str) -> None:
    place = os.path.join(folder, svcname)
    kept = glob.glob(os.path.join(glob.escape(place), f"resource.status.last.{resources}"))
    for path in [*kept, os.path.join(place, "status.json")]:
        with contextlib.suppress(OSError):
            os.unlink(path)
