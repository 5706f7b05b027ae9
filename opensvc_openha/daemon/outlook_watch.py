"""Have this node checked from time to time: could it start the services that it does not run?

The check is ``openha check --standby``, a process of its own with a low priority: whatever a driver
or a disk does, it holds neither the engine nor this thread, which only waits for its end, up to a
limit. It writes its findings to a file, as a check by an operator does; this thread reads the file
whenever it is another one. No decision waits for any of it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.outlook import Finding, Outlook, Ready, Severity, in_order, outlook_of
from opensvc_openha.core.prediction import Measured, predict
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import NodeStatus, ServiceStatus
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.errors import NotAnsweringError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.durations import Durations
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.outlook_file import NodeOutlook, read_outlook
from opensvc_openha.system import clock
from opensvc_openha.system.files import stamp_of
from opensvc_openha.system.processes import descendants_of, is_ended_child, send_signal
from opensvc_openha.system.self_command import self_command
from opensvc_openha.system.thread_names import name_thread

_OF_INTEREST = frozenset({EntryKind.SCRIPT, EntryKind.PEER, EntryKind.SERVICE})
_ENTRIES_AT_ONCE = 1_000
_LOOK_S = 0.2
_CODES = (0, 1, 2)
"""Exit codes of a check that came to an end."""


class OutlookWatch:
    """The outlook of each service on this node, and how long its takeover would take.

    ``complete`` may be called by any thread, ``check_soon`` by the one that applies a
    configuration.
    """

    def __init__(
        self,
        layout: Layout,
        spec: Callable[[], ClusterSpec],
        every_s: Callable[[], float | None],
        status: Callable[[], NodeStatus],
        history: History,
        report: Callable[[Mapping[str, str]], None],
        memory: MemoryGuard,
    ) -> None:
        """Start nothing yet; ``every_s`` returns None for never.

        ``report`` is called with the services that surely could not be started, and why, whenever
        that has changed.
        """
        self._layout = layout
        self._spec = spec
        self._every_s = every_s
        self._status = status
        self._history = history
        self._report = report
        self._memory = memory
        self._durations = Durations(layout)
        self._entries: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._found = NodeOutlook(0.0)
        self._outlooks: Mapping[str, Outlook] = {}
        self._peer_starts: Mapping[str, tuple[float, ...]] = {}
        self._stamp: object = None
        self._reported: Mapping[str, str] = {}
        self._is_over = threading.Event()
        self._wake = threading.Event()
        self._is_asked = False

    def start(self) -> None:
        """Start to look."""
        self._history.follow(self._take)
        self._read()
        # Without a thread nothing is reported; no decision depends on it.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._run, name="outlook", daemon=True).start()

    def check_soon(self) -> None:
        """Check soon, since something was edited."""
        self._is_asked = True

    def stop(self) -> None:
        """End without waiting for a check that runs."""
        self._history.unfollow(self._take)
        self._is_over.set()
        self._wake.set()

    # --- showing ----------------------------------------------------------------------------------

    def complete(self, status: NodeStatus) -> NodeStatus:
        """Return the status with what the last check found, and predictions."""
        services = tuple(self._of_service(svc, status) for svc in status.services)
        if not self._found.at:
            return replace(status, services=services)
        problems = in_order(each for each in self._found.findings if each.is_problem)
        return replace(
            status, services=services, findings=tuple(problems), checked_at=self._found.at
        )

    def _of_service(self, svc: ServiceStatus, status: NodeStatus) -> ServiceStatus:
        times = self._durations.of(svc.name)
        svc = replace(svc, last_takeover_s=times.takeover_s, last_takeover_at=times.takeover_at)
        outlook = self._outlooks.get(svc.name)
        if outlook is not None and svc.own_state in PEER_OUT:
            svc = replace(svc, checked_at=self._found.at)
            if not svc.unready:
                svc = replace(svc, ready=outlook.ready.value, ready_text=outlook.text)
        measured = Measured(times.starts, times.checks, self._peer_starts.get(svc.name, ()))
        found = predict(status, svc, measured, timing.PACES[self._spec().profile])
        if found is None:
            return svc
        return replace(svc, predicted_s=found.total_s, predicted_parts=found.parts)

    # --- this thread ------------------------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        """Take a new entry of the history; called by any thread."""
        if entry.kind in _OF_INTEREST and self._entries.qsize() < timing.HISTORY_INBOX_LIMIT:
            self._entries.put(entry)

    def _run(self) -> None:
        name_thread("outlook")
        due = clock.monotonic() + timing.OUTLOOK_FIRST_S
        while not self._is_over.is_set():
            self._note_entries()
            if stamp_of(self._layout.outlook_file) != self._stamp:
                self._read()
            now = clock.monotonic()
            if self._is_asked:
                self._is_asked, due = False, min(due, now + timing.OUTLOOK_SOON_S)
            every_s = self._every_s()
            if every_s is not None and now >= due and os.geteuid() == 0:
                self._check()
                again_s = timing.OUTLOOK_AGAIN_S if self._is_any_unready else every_s
                due = clock.monotonic() + min(every_s, again_s)
            self._wake.wait(timing.OUTLOOK_LOOK_S)

    @property
    def _is_any_unready(self) -> bool:
        return any(each.ready is not Ready.YES for each in self._outlooks.values())

    def _note_entries(self) -> None:
        has_moved = False
        started: set[str] = set()
        for _ in range(min(self._entries.qsize(), _ENTRIES_AT_ONCE)):
            entry = self._entries.get()
            self._durations.note(entry)
            has_moved = has_moved or (
                entry.kind is EntryKind.SERVICE
                and entry.new == ServiceState.STOPPED.name
                and entry.name not in self._outlooks
            )
            if entry.kind is EntryKind.SERVICE and entry.new == ServiceState.STARTED.name:
                started.add(entry.name)
        if started & self._outlooks.keys():
            # It could: what was found against that is over.
            self._judge(
                {name: each for name, each in self._outlooks.items() if name not in started}
            )
        if has_moved:
            self.check_soon()
        with contextlib.suppress(SystemFault):  # Written with the next change.
            self._durations.save(svc.name for svc in self._spec().own_services)

    def _read(self) -> None:
        """Take over what the file has; one of long ago says nothing any more."""
        self._stamp = stamp_of(self._layout.outlook_file)
        found = read_outlook(self._layout)
        every_s = self._every_s() or 0.0
        age_s = 0.0 if found is None else clock.wall() - found.at
        if found is not None and age_s < max(timing.OUTLOOK_OLD_S, 2 * every_s):
            self._use(found)

    def _use(self, found: NodeOutlook) -> None:
        self._found, self._peer_starts = found, dict(found.peer_starts)
        self._judge({name: outlook_of(name, found.findings) for name in found.services})

    def _judge(self, outlooks: Mapping[str, Outlook]) -> None:
        self._outlooks = outlooks
        problems = {
            name: outlook.text
            for name, outlook in self._outlooks.items()
            if outlook.ready is Ready.NO and outlook.is_sure
        }
        if problems != self._reported:
            self._reported = problems
            self._report(problems)

    def _standbys(self) -> list[ServiceSpec]:
        """Return the services that are stopped here."""
        try:
            known = {svc.name: svc for svc in self._status().services}
        except NotAnsweringError:
            return []
        return [
            svc
            for svc in self._spec().own_services
            if svc.name in known and known[svc.name].own_state in PEER_OUT
        ]

    def _check(self) -> None:
        names = [svc.name for svc in self._standbys()]
        if not names:
            self._use(NodeOutlook(clock.wall()))
            return
        before = self._stamp
        problem = self._run_check()
        self._read()
        if problem and self._stamp == before and not self._is_over.is_set():
            text = f"not known: the check of this node {problem}"
            unknown = [
                Finding(Severity.UNKNOWN, self._spec().node, name, "time", text) for name in names
            ]
            self._use(NodeOutlook(clock.wall(), tuple(names), tuple(unknown)))

    def _run_check(self) -> str:
        """Run the check; return how it failed, empty if it came to an end."""
        argv = self._memory.command([*self_command(), "check", "--standby"])
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                env={**os.environ, **self._layout.environment()},
            )
        except OSError as error:
            return f"cannot be run: {error.strerror}"
        give_up = clock.monotonic() + timing.OUTLOOK_LIMIT_S
        while not is_ended_child(process.pid):
            if clock.monotonic() >= give_up or self._is_over.wait(_LOOK_S):
                _kill(process.pid)
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timing.OUTLOOK_SOON_S)
        if process.returncode in _CODES:
            return ""
        if process.returncode is None or process.returncode < 0:
            return f"did not end within {timing.OUTLOOK_LIMIT_S:g} s"
        return f"ended with {process.returncode}"


def _kill(pid: int) -> None:
    """Kill the check and the commands that it has started, in whatever groups."""
    found = descendants_of(pid)
    send_signal(pid, signal.SIGKILL, is_group=True)
    for each in found:
        send_signal(each, signal.SIGKILL)
