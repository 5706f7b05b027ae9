"""Run the node daemon: the engine, the threads of the heartbeat links and the control socket.

    listener threads --> inbox --> engine thread --> board --> sender threads
    script threads   -->       <-- control socket

The engine thread alone touches core. The main thread waits for signals and watches the
configuration files.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from opensvc_openha.control.client import CONFIRM_LIMIT_S
from opensvc_openha.control.server import ControlServer
from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Announce,
    Answer,
    AnswerCode,
    MirrorPeer,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunScript,
)
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    ConfigChanged,
    Event,
    LeaveRequested,
    Leaving,
    PeerConfirmedOut,
    PeerForgotten,
    ReadinessFound,
    ScriptExited,
    ScriptKind,
    SeemsUp,
    SendersMuted,
    Tick,
)
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec, Wire
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import FencingStatus, LinkStatus, NodeStatus, PeerStanding
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.agent_cache_invalidation import AgentCaches
from opensvc_openha.daemon.check_scripts import CheckScripts
from opensvc_openha.daemon.inbox import Inbox
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.live_configuration import Configuration, LiveConfiguration
from opensvc_openha.daemon.lock import lock_is_in_place, take_lock
from opensvc_openha.daemon.log_keeper import LogKeeper
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.monitor_process import MonitorCommand, MonitorProcess
from opensvc_openha.daemon.outside_starts import OutsideStarts
from opensvc_openha.daemon.process_names import ProcessNames
from opensvc_openha.daemon.readiness import Readiness
from opensvc_openha.daemon.realtime import Realtime, favour_session
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.daemon.systemd import Systemd
from opensvc_openha.errors import NotAnsweringError, OpenhaError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.registry import codec_for
from opensvc_openha.heartbeat.interface_monitor import InterfaceWatch
from opensvc_openha.heartbeat.link_workers import LinkThread, ListenerThread, SenderThread
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.storage.fencing_store import FenceTimes, FencingStore
from opensvc_openha.storage.history_file import Entry, EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.key_store import copy_command, forget_use, write_incarnations
from opensvc_openha.storage.managed_services import may_run
from opensvc_openha.storage.state_store import StateStore, clean_up, next_boot
from opensvc_openha.storage.state_writer import StateWriter
from opensvc_openha.system import clock
from opensvc_openha.system.logs import log_record
from opensvc_openha.system.peer_credentials import Caller
from opensvc_openha.system.thread_names import name_thread

_SUSPICIOUS = {
    "own": "this node hears its own heartbeats: the address or port of this link is wrong",
    "namesake": "another node uses the name of this one",
    "foreign cluster": "another cluster sends here: give it addresses and ports of its own",
    "source": (
        "datagrams come from another address than the peer's: see peer_address in openha.conf"
    ),
    "forged": (
        "frames come with a wrong tag: they were altered, made for another link, or made by"
        " somebody without the key"
    ),
    "node": "heartbeats of a node come in that is not the peer",
    "overwritten": (
        "somebody else writes to this node's slot: another node of this name, or a wrong offset"
    ),
}
_NAMED = 5
"""Number of services named in a warning that may concern all of them."""
_BACKLOG = 16
"""Number of events that may wait for the engine before the end of a status script is held back."""
_BACKLOG_PAUSE_S = 0.01
_WRITER_PAUSE_S = 0.05
"""Longest wait, in seconds, of a status request while states are written."""
_DRAIN_LIMIT_S = 1.0
"""Seconds for taking the beats that wait before a check-up script for a silent peer.

After them it is decided again.
"""
_STATUS_LIMIT_S = 1.5
_CONFIRM_LIMIT_S = 5.0
"""A confirmation that the engine takes later than this, in seconds, is refused."""
_CONFIRM_ANSWER_LIMIT_S = 8.0
"""Seconds until the answer to a confirmation.

It comes once the states of what it starts are on disk. Below the time-out of the command.
"""
assert _CONFIRM_LIMIT_S < _CONFIRM_ANSWER_LIMIT_S < CONFIRM_LIMIT_S
_FLUSH_LIMIT_S = 1.0


class _Question:
    """A request for a snapshot from the engine thread."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.status: NodeStatus | None = None

    def answer(self, status: NodeStatus | None) -> None:
        """Give the snapshot to the waiting thread; None if there is none."""
        self.status = status
        self.answered.set()


class Daemon:
    """One node daemon, from reading the configuration to its last goodbye."""

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        lock_handle: int,
        monitor: MonitorCommand | None = None,
        log_problem: Callable[[], str] = lambda: "",
        former: Daemon | None = None,
    ) -> None:
        """Set up a daemon, but start nothing.

        ``former`` is the daemon in this process whose engine failed: only what it has written to
        disk is reused.
        """
        self._layout = layout
        self._lock_handle = lock_handle
        self._log = logger
        known = None if former is None else former._configuration.current
        self._configuration: LiveConfiguration = LiveConfiguration(
            layout, logger, self._take_over, known
        )
        self._problems = self._configuration.problems
        self._store = StateStore(layout, self._spec.node, self._spec.peer)
        self._memory: MemoryGuard = MemoryGuard() if former is None else former._memory
        self._agent_caches = AgentCaches(layout, self._scripts_of_services, self._memory)
        self._check_scripts = CheckScripts(layout, self._problems)
        self._process_names = ProcessNames(layout, self._spec.node)
        self._board = BeatOutbox()
        self._posted = 0
        self._posted_at = self._mute_until = self._decided_at = clock.monotonic()
        self._patience_s = math.inf
        self._inbox: Inbox[Event | _Question] = Inbox()
        self._history: History = (
            History(layout, len(self._spec.own_services), self._report_history)
            if former is None
            else former._history
        )
        self._runner = ScriptRunner(
            layout, self._spec.node, self._spec.peer, self._script_exited, self._memory
        )
        self._questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._listening: dict[int, queue.SimpleQueue[Answer]] = {}
        self._asked: dict[int, CommandReceived] = {}
        self._next_command = 0
        self._answering = threading.Lock()
        self._links: dict[tuple[LinkSpec, str], LinkThread] = {}
        self._wake = threading.Event()
        self._signals: list[int] = [] if former is None else former._signals
        self._leaving: Leaving | None = None if former is None else former._leaving
        self._is_over = threading.Event()
        self._failure: BaseException | None = None
        self._displaced = ""
        self._placing = threading.Lock()
        """Serializes the check of which daemon holds the place on this node."""
        self._server = ControlServer(layout.control_socket, self)
        self._systemd = Systemd()
        self._monitor: MonitorProcess = (
            MonitorProcess(monitor, layout.environment(), logger, self._memory)
            if former is None
            else former._monitor
        )
        self._pulse: StallDetector = StallDetector() if former is None else former._pulse
        self._log_problem = log_problem
        self._logs = LogKeeper(layout, self._problems, self._own_names, log_problem)
        self._interfaces = InterfaceWatch(lambda links: self._inbox.put(SendersMuted(links)))
        self._readiness = Readiness(
            lambda: self._spec.own_services,
            lambda found, tells: self._inbox.put(ReadinessFound(found, tells)),
            layout.environment(),
        )
        self._outside = OutsideStarts(
            self._stopped_services,
            self._runner.ask,
            lambda service: self._inbox.put(SeemsUp(service)),
        )
        clean_up(layout)
        is_first_start = not os.path.exists(layout.boot_file)
        boot, is_same_life = next_boot(layout)
        self._authentication = Authentication(
            self._spec.node, boot, copy_command(layout, self._spec.peer)
        )
        self._apply_options(self._configuration.current)
        self._realtime = Realtime(self._configuration.current.options.realtime)
        kept = self._store.kept(self._spec.own_services) if is_same_life else ()
        self._removed = kept = self._configuration.current.options.complete_services(kept)
        recovered = self._store.learn(
            (*self._spec.own_services, *kept), is_same_life, is_first_start
        )
        self._runner.configure(kept, self._configuration.current.options.scripts.parallel)
        self._store.note_managed(self._spec.own_services)
        self._history.note_start(recovered, is_same_life)
        incarnations = self._configuration.current.incarnations
        self._writer = StateWriter(self._realtime.enter)
        self._fencing_store = FencingStore(layout)
        memory = self._fencing_store.read(has_run_in_this_life=is_same_life and not is_first_start)
        engine = Engine(self._spec, boot, recovered, clock.monotonic(), incarnations, kept, memory)
        self._node = ActionExecutor(engine, self, self._writer.begin)

    # --- life -------------------------------------------------------------------------------------

    def run(self, on_ready: Callable[[], None]) -> int:
        """Run until the daemon has left; return the exit code.

        ``on_ready`` is called once everything is in place.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        # A shell ignores SIGINT for background jobs; services must not inherit that.
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        self._memory.protect()
        favour_session()
        self._server.open()
        if not self._history.is_open:
            self._history.open()
            self._pulse.start(self._realtime.enter)
        self._agent_caches.begin(self._own_names())
        self._reconcile_links(self._spec)
        self._log.info(
            "node %s: starting, peer %s, %d service(s)",
            self._spec.node,
            self._spec.peer,
            len(self._spec.own_services),
        )
        for warning in (*self._warnings(), *self._advice()):
            self._log.warning("node %s: %s", self._spec.node, warning)
        self._check_scripts.look(self._spec.own_services)
        self._logs.start()
        self._process_names.look()
        engine = threading.Thread(target=self._engine_thread, name="engine", daemon=True)
        engine.start()
        if self._leaving is not None:
            self._inbox.put(LeaveRequested(self._leaving))
        self._interfaces.use(self._spec.senders)
        self._interfaces.start(self._realtime.enter)
        self._readiness.start()
        self._outside.start()
        self._await_peer()
        on_ready()
        self._agent_caches.serve(self._own_names())
        self._systemd.ready(f"peer {self._spec.peer}")
        while not self._is_over.is_set():
            self._wake.wait(timing.CONFIG_POLL_S)
            self._wake.clear()
            self._look_around()
        return self._end()

    def _look_around(self) -> None:
        """Do the periodic work of the main thread.

        None of it takes part in decisions, so no failure in it may end the daemon.
        """
        try:
            self._obey_signals()
            self._configuration.look()
            self._restore_socket_and_lock()
            self._check_scripts.look(self._spec.own_services)
            self._process_names.look()
            self._monitor.look()
            ring = self._authentication.advance(clock.monotonic())
            if ring is not None:
                self._configuration.write_rotation(ring)
            self._problems.solve(Issue.INTERNAL)
        # The only catch-all of this thread: reported while the failure lasts.
        except Exception as error:
            self._problems.report(Issue.INTERNAL, f"{type(error).__name__}: {error}")

    def _await_peer(self) -> None:
        """Wait for a running peer and for the wrappers, so that the first status is correct."""
        began = clock.monotonic()
        while (
            clock.monotonic() < began + timing.FIRST_STATUS_LIMIT_S
            and not self._is_over.is_set()
            and not self._signals
        ):
            try:
                status = self.status()
                is_late = clock.monotonic() >= began + timing.FIRST_BEAT_LIMIT_S
                is_asking = any(svc.script == ScriptKind.PROBE.value for svc in status.services)
                if (is_late or status.peer_standing is PeerStanding.LIVE) and not is_asking:
                    return
            except NotAnsweringError:
                return  # Busy with its services: they come first.
            clock.pause(0.05)

    def _engine_thread(self) -> None:
        name_thread("engine")
        self._realtime.enter()
        try:
            engine = self._node.engine
            while not self._node.is_done and not self._displaced:
                if self._node.is_writing:
                    self._await_states()
                    continue
                item = self._inbox.get(engine.next_deadline() - clock.monotonic()) or Tick()
                now = clock.monotonic()
                self._answer_questions(now)
                if self._inbox.has_beats:
                    engine.beats_wait(now)
                if isinstance(item, _Question):
                    item.answer(self._snapshot(now))
                    item = Tick()
                self._decided_at = now
                self._node.handle(item, now)
                if not self._node.is_writing:
                    self._excuse_work(now)
                self._systemd.alive()
        except RefusedError as error:
            self._displaced = str(error)
        except (
            BaseException
        ) as error:  # The one place of this thread that catches all: a silent node is a safe node.
            self._failure = error
        self._writer.close()
        self._is_over.set()
        self._wake.set()

    def _await_states(self) -> None:
        """Wait a moment for states that are being written.

        Nothing is decided meanwhile, but beats are sent.
        """
        node, now = self._node, clock.monotonic()
        problems = self._writer.wait(min(max(node.speak_at - now, 0.001), _WRITER_PAUSE_S))
        now = clock.monotonic()
        self._answer_questions(now)
        if problems is not None:
            self._excuse_work(self._decided_at)
            node.written(problems, now)
            self._systemd.alive()
        elif node.speak_meanwhile(now):
            self._systemd.alive()

    def _excuse_work(self, began: float) -> None:
        """Exclude the engine thread's own work, mostly writing states, from stall detection.

        The listeners ran meanwhile.
        """
        ended = clock.monotonic()
        if ended - began >= timing.WORK_NOTED_S and not self._pulse.was_stopped(began):
            self._node.engine.mark_busy_until(ended)

    def _answer_questions(self, now: float) -> None:
        """Answer status requests ahead of queued events, all waiting ones with one snapshot."""
        if self._questions.empty():
            return
        status = self._snapshot(now)
        while not self._questions.empty():
            self._questions.get().answer(status)

    def _snapshot(self, now: float) -> NodeStatus | None:
        """Return the engine's snapshot.

        None if it fails, since a status request must not end the engine.
        """
        try:
            return self._node.engine.snapshot(now)
        except Exception as error:
            self._problems.report(Issue.INTERNAL, f"no status: {type(error).__name__}: {error}")
            return None

    def _end(self) -> int:
        """Let the senders send the goodbye, then end; every wait has a limit."""
        why = "orderly"
        if self._displaced:
            why = f"another daemon has taken the place of this one: {self._displaced}"
            self._log.critical("node %s: %s; this one falls silent", self._spec.node, why)
        if self._failure is not None:
            why = f"the engine failed: {self._failure!r}"
            self._log.critical(
                "node %s: engine failed: %r", self._spec.node, self._failure, exc_info=self._failure
            )
            self._let_go(why)
        give_up = clock.monotonic() + _FLUSH_LIMIT_S
        senders = [
            thread
            for thread in self._links.values()
            if isinstance(thread, SenderThread) and not thread.fault
        ]
        while (
            not all(thread.has_sent(self._posted) for thread in senders)
            and clock.monotonic() < give_up
        ):
            clock.pause(0.01)
        self._interfaces.stop()
        self._readiness.stop()
        self._outside.stop()
        self._server.close()
        self._logs.stop()
        if self._failure is None:
            self._systemd.stopping()
            self._monitor.end()
        self._process_names.end()
        self._agent_caches.end(self._own_names())
        self._store.close()
        self._history.note(EntryKind.DAEMON, "", "ENDED", why, is_alarm=why != "orderly")
        if self._failure is None:
            self.end_for_good()
        return 0 if why == "orderly" else 1

    def end_for_good(self) -> None:
        """Release what outlives a daemon: for the last one of this process."""
        self._monitor.end()
        self._history.close()
        self._log.info("node %s: ended", self._spec.node)

    @property
    def has_failed(self) -> bool:
        """True if the engine met an event that it could not handle."""
        return self._failure is not None

    def successor(self) -> Daemon:
        """Return a new daemon after the engine failed halfway through a step.

        Nothing in the failed one's memory is reused. The new one begins as after a crash: with the
        STATE files, which were written before anything was announced or run, with a new incarnation
        that the peer must acknowledge, and by querying each service's script.
        """
        if self._writer.is_at_work:
            raise SystemFault(
                "a state of the engine that failed is still being written"
            )  # Nothing may be concluded before.
        return Daemon(
            self._layout,
            self._log,
            self._lock_handle,
            self._monitor.command,
            self._log_problem,
            self,
        )

    def _let_go(self, why: str) -> None:
        """End what acts or sends for a failed engine.

        The next daemon waits for scripts that run.
        """
        self._runner.close()
        with self._answering:
            waiting = [
                (self._listening.pop(number), event) for number, event in self._asked.items()
            ]
            self._asked.clear()
        for answers, event in waiting:
            unknown = ServiceState.UNKNOWN
            answers.put(
                Answer(
                    event.command_id,
                    event.command.value,
                    event.service,
                    AnswerCode.FAILED,
                    unknown,
                    unknown,
                    f"{why}; look at `service -s` before you try again",
                    is_last=True,
                    is_ok=False,
                )
            )
        for thread in self._links.values():
            thread.ask_to_end()
        for thread in self._links.values():
            thread.stop()

    def _on_signal(self, number: int, _frame: object) -> None:
        self._signals.append(number)
        self._wake.set()

    def _obey_signals(self) -> None:
        if signal.SIGHUP in self._signals:
            # Writing this line reopens a log that was moved away.
            self._log.info(
                "node %s: SIGHUP: the configuration files are read again", self._spec.node
            )
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGHUP:
                self._configuration.suspect()
            else:
                self.leave(Leaving.KEEP_SERVICES, f"signal {signal.Signals(number).name}")

    def _expect_place(self) -> None:
        """Take the lock again if its file was removed.

        Raises RefusedError if another daemon has taken the place.
        """
        with self._placing:
            if not lock_is_in_place(self._layout, self._lock_handle):
                self._lock_handle = take_lock(self._layout)
                self._log.warning(
                    "node %s: %s had been removed", self._spec.node, self._layout.lock_file
                )

    def _restore_socket_and_lock(self) -> None:
        """Restore lock and socket if their files were removed.

        If another daemon has taken the place, stop sending.
        """
        try:
            self._expect_place()
            self._server.reopen_if_gone()
            self._problems.solve(Issue.PLACE)
        except RefusedError as error:
            self._displaced = str(error)
            self._is_over.set()
        except OpenhaError as error:
            self._problems.report(Issue.PLACE, str(error))

    # --- configuration ----------------------------------------------------------------------------

    @property
    def _spec(self) -> ClusterSpec:
        return self._configuration.current.spec

    def reload(self) -> None:
        """Read the configuration files again and pass them to the engine."""
        self._configuration.reload()
        # Queued behind the change: when this returns, the engine knows the new configuration.
        self._await_events()

    def _take_over(self, former: Configuration) -> None:
        """Apply a new configuration to every part that runs with the former one."""
        self._readiness.look_soon()
        self._outside.look_soon()
        self._apply_options(self._configuration.current)
        spec = self._spec
        if spec == former.spec:
            return
        known = {svc.name for svc in former.spec.own_services}
        added = tuple(svc for svc in spec.own_services if svc.name not in known)
        wanted = {svc.name for svc in spec.own_services}
        kept = self._kept()
        self._removed = tuple(
            svc for svc in (*former.spec.own_services, *kept) if svc.name not in wanted
        )
        recovered = self._store.learn(
            added, is_same_life=True, unwritten={svc.name for svc in kept}
        )
        self._store.note_managed(spec.own_services)
        self._inbox.put(ConfigChanged(spec, recovered))
        self._reconcile_links(spec)
        self._interfaces.use(spec.senders)

    def _apply_options(self, current: Configuration) -> None:
        """Apply the options that do not concern the engine."""
        if current.options.heartbeat.authentication is AuthMode.OFF:
            try:
                forget_use(self._layout)
            except SystemFault as error:
                self._log.warning("node %s: %s", self._spec.node, error)
        self._authentication.update(current.options.heartbeat, current.ring, current.incarnations)
        self._runner.configure(current.spec.own_services, current.options.scripts.parallel)
        shortest_s = min((link.timeout_s for link in current.spec.listeners), default=math.inf)
        self._pulse.watch(timing.STALL_FRACTION * shortest_s)
        # Never less than the engine's own stall limit, which would postpone each start on a node
        # with long beat intervals.
        beats_s = timing.PATIENCE_BEATS * timing.PACES[current.spec.profile].beat_interval_s
        self._patience_s = max(
            beats_s, min((link.timeout_s for link in current.spec.senders), default=math.inf)
        )

    def _reconcile_links(self, spec: ClusterSpec) -> None:
        """Start a thread for each new end of a link; end those of removed links."""
        wanted = {(link, "sender") for link in spec.senders} | {
            (link, "listener") for link in spec.listeners
        }
        for key in [key for key in self._links if key not in wanted]:
            self._links.pop(key).stop()
        for link, role in sorted(wanted - set(self._links), key=lambda key: key[0].line):
            thread: LinkThread
            codec = codec_for(link, self._own_names, self._authentication)
            if role == "sender":
                thread = SenderThread(link, codec, self._board, self._log_link)
            else:
                thread = ListenerThread(link, codec, self._deliver, self._inbox.put, self._log_link)
            self._links[link, role] = thread
            thread.start(self._realtime.enter)

    def _kept(self) -> tuple[ServiceSpec, ...]:
        """Return the services that left the services file but may still run here."""
        return tuple(
            svc for svc in self._removed if may_run(self._layout, self._spec.node, svc.name)
        )

    def _scripts_of_services(self) -> dict[str, str]:
        return {svc.name: svc.script for svc in self._spec.own_services}

    def _own_names(self) -> tuple[str, ...]:
        return tuple(svc.name for svc in self._spec.own_services)

    # --- ports: what the node loop needs ----------------------------------------------------------

    def persist(self, action: Persist, is_durable: bool) -> None:
        """Write a state of this node, unless another daemon has taken its place.

        That one writes it then.
        """
        with contextlib.suppress(
            SystemFault
        ):  # That the lock cannot be put back is the main thread's to report.
            self._expect_place()
        self._store.write_own(
            action.service, StoredState(action.state, action.frozen_target), is_durable
        )
        self._agent_caches.note(action.service)

    def sync_states(self) -> None:
        """Sync the states just written to disk."""
        self._store.sync()

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the newest incarnations of the peer.

        A failure to write them does not stop the daemon.
        """
        incarnations = self._authentication.relevant(dict(action.incarnations))
        if self._authentication.learn(incarnations):
            self._log.info(
                "node %s: the peer has the key: beats without it are refused from now on",
                self._spec.node,
            )
        try:
            write_incarnations(self._layout, incarnations)
        except SystemFault as error:
            self._log.warning("node %s: %s", self._spec.node, error)

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store what the next daemon must know of fencing, unless another daemon has the place."""
        with contextlib.suppress(
            SystemFault
        ):  # That the lock cannot be put back is the main thread's to report.
            self._expect_place()
        self._fencing_store.write(action.memory)

    def mirror(self, action: MirrorPeer) -> None:
        """Mirror the peer's state to a file, for people and tools."""
        self._store.mirror_peer(action.service, action.state)

    def announce(self, action: Announce) -> None:
        """Post a beat; the senders send it at once."""
        now = clock.monotonic()
        if now - self._posted_at >= self._patience_s:
            self._mute_until = now
        self._posted_at = now
        self._posted += 1
        self._board.post(replace(action.beat, sent_at=clock.wall()), action.with_names)

    def run_script(self, action: RunScript) -> None:
        """Start a script in a thread of its own."""
        if action.kind is not ScriptKind.POWER:  # Asked again and again: only its news are kept.
            self._history.note_script(action)
        decided_at, announced_at = self._decided_at, clock.monotonic()
        is_in_silence = action.peer_standing is PeerStanding.SILENT
        self._runner.run(
            action, lambda: self._is_overtaken(decided_at, announced_at, is_in_silence)
        )

    def _is_overtaken(self, decided_at: float, announced_at: float, is_in_silence: bool) -> bool:
        """Return True if this node was stalled or mute for so long that the peer may have acted.

        Also if the peer was silent and is heard again. Checked from the script's thread right
        before it begins: the engine may not have noticed anything yet, so it first gets the time to
        take the beats that wait.
        """
        if is_in_silence and not self._is_still_silent():
            return True
        is_mute = (
            self._mute_until > announced_at
            or clock.monotonic() - self._posted_at >= self._patience_s
        )
        return self._failure is not None or is_mute or self._pulse.was_stopped(decided_at)

    def _is_still_silent(self) -> bool:
        give_up = clock.monotonic() + _DRAIN_LIMIT_S
        while not self._inbox.are_beats_taken:
            if clock.monotonic() > give_up:
                return False
            clock.pause(_BACKLOG_PAUSE_S)
        return self._node.engine.is_peer_silent

    def answer(self, action: Answer) -> None:
        """Pass an answer to the connection that waits for it."""
        self._history.note_answer(action)
        with self._answering:
            answers = self._listening.get(action.command_id)
            if action.is_last:
                self._listening.pop(action.command_id, None)
                self._asked.pop(action.command_id, None)
        if answers is not None:
            answers.put(action)

    def record(self, action: Record) -> None:
        """Log a change, and add it to the history with the evidence at that step."""
        log_record(self._log, action)
        self._history.note_record(action, self._node.engine.sight)

    # --- what other threads bring -----------------------------------------------------------------

    def _deliver(self, event: BeatReceived) -> bool:
        if self._inbox.qsize() >= timing.INBOX_LIMIT:
            return False
        self._inbox.put(event)
        return True

    def _script_exited(self, event: ScriptExited) -> None:
        if event.kind is not ScriptKind.POWER:
            self._history.note_script_end(event)
        while (
            event.kind is ScriptKind.PROBE
            and self._inbox.qsize() > _BACKLOG
            and not self._is_over.is_set()
        ):
            clock.pause(
                _BACKLOG_PAUSE_S
            )  # Thousands of services are asked at a start: beats must not wait behind them.
        self._inbox.put(event)

    def _log_link(self, link: LinkSpec, is_fault: bool, text: str) -> None:
        self._log.log(
            logging.WARNING if is_fault else logging.INFO, "link %s: %s", link.link_id, text
        )
        self._history.note(
            EntryKind.LINK, link.link_id, "FAULT" if is_fault else "NOTE", text, is_alarm=is_fault
        )

    def _report_history(self, is_fault: bool, text: str) -> None:
        self._log.log(
            logging.WARNING if is_fault else logging.INFO, "node %s: %s", self._spec.node, text
        )

    # --- what the control socket serves -----------------------------------------------------------

    def _stopped_services(self) -> list[ServiceSpec]:
        """Return this node's stopped services that have no script running."""
        try:
            known = {svc.name: svc for svc in self.status().services}
        except NotAnsweringError:
            return []
        return [
            svc
            for svc in self._spec.own_services
            if svc.name in known
            and known[svc.name].own_state in PEER_OUT
            and not known[svc.name].script
        ]

    def status(self) -> NodeStatus:
        """Return the engine's snapshot, completed with what the threads know.

        Instants become wall-clock seconds.
        """
        question = _Question()
        self._questions.put(question)
        self._inbox.put(Tick())  # Wakes an engine that has nothing to do.
        status = _answer_to(question)
        heard = {link.spec: link for link in status.links}
        links = []
        for spec in self._spec.links:
            sender = self._links.get((spec, "sender"))
            if isinstance(sender, SenderThread):
                links.append(_on_wall(sender.status()))
                continue
            known = heard.get(spec)
            listener = self._links.get((spec, "listener"))
            if known is not None and isinstance(listener, ListenerThread):
                reason = (
                    listener.fault
                    or listener.remark
                    or _with_refusals(known, listener.refused_lately)
                )
                links.append(
                    _on_wall(
                        replace(
                            known,
                            reason=reason,
                            thread=listener.thread_id,
                            counts=_sum_of(listener.counts, known.counts),
                        )
                    )
                )
        services = tuple(
            replace(svc, since=None if svc.since is None else clock.wall_of(svc.since))
            for svc in status.services
        )
        return replace(
            status,
            pid=os.getpid(),
            links=tuple(links),
            services=services,
            warnings=self._warnings() + status.warnings,
            fencing_warnings=self._fencing_warnings(),
            fencing=self._fencing_on_wall(status.fencing),
            scheduling=self._realtime.text,
            authentication=self._authentication.status(),
        )

    def _fencing_on_wall(self, fencing: FencingStatus) -> FencingStatus:
        """Convert instants to wall-clock time, and add what is stored of each fence."""
        groups = []
        for group in fencing.groups:
            times = self._fencing_store.times.get(group.name, FenceTimes())
            groups.append(
                replace(
                    group,
                    retry_at=_wall(group.retry_at),
                    worked_at=times.worked_at,
                    failed_at=times.failed_at,
                )
            )
        return replace(
            fencing,
            groups=tuple(groups),
            opens_at=_wall(fencing.opens_at),
            alone_at=_wall(fencing.alone_at),
            confirmed_at=_wall(fencing.confirmed_at),
            power_said_at=_wall(fencing.power_said_at),
        )

    def _await_events(self) -> None:
        """Wait until the engine has taken everything that was in the inbox before."""
        question = _Question()
        self._inbox.put(question)
        _answer_to(question)

    def act(
        self,
        command: Command,
        services: list[str] | None,
        answers: queue.SimpleQueue[Answer],
        caller: Caller,
    ) -> int:
        """Submit a command for each service; for all of this node's if none is named."""
        names = (
            [svc.name for svc in (*self._spec.own_services, *self._kept())]
            if services is None
            else services
        )
        if not names:
            raise RefusedError("this node has no service")
        self._history.note_command(command, services, caller)
        for name in names:
            with self._answering:
                self._next_command += 1
                number = self._next_command
                self._listening[number] = answers
                event = self._asked[number] = CommandReceived(number, name, command, caller.by)
            self._inbox.put(event)
        return len(names)

    def recent(self) -> list[Entry]:
        """Return the newest entries of the history."""
        return self._history.recent

    def note(self, service: str, word: str, reason: str, is_alarm: bool) -> None:
        """Record what the resource monitor observed or did with a service."""
        self._log.log(
            logging.WARNING if is_alarm else logging.INFO,
            "monitor %s: %s: %s",
            service,
            word,
            reason,
        )
        self._history.note(EntryKind.MONITOR, service, word, reason, is_alarm=is_alarm)

    def forget_peer(self, caller: Caller) -> None:
        """Accept a lower boot counter of the peer from now on."""
        self._history.note(EntryKind.COMMAND, "", "forget-peer", f"by {caller.text}")
        self._inbox.put(PeerForgotten())
        self._await_events()  # Answered behind it: when this returns, it is done.

    def confirm_peer_out(self, node: str, caller: Caller) -> list[str]:
        """Submit an operator's confirmation that the peer runs nothing.

        Raises RefusedError, and NotAnsweringError if the result is unknown. The operator's name is
        in the history before the engine gets the event: what that starts may outlive this daemon.
        """
        self._history.note(
            EntryKind.COMMAND, "", f"confirm {node}", f"by {caller.text}", is_alarm=True
        )
        if node != self._spec.peer:
            why = (
                f"{node} is not the peer of this node, which is {self._spec.peer}: type its whole"
                " name"
            )
            self._note_word(node, AnswerCode.REFUSED.name, why)
            raise RefusedError(why)
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        with self._answering:
            self._next_command += 1
            number = self._next_command
            self._listening[number] = answers
        self._inbox.put(PeerConfirmedOut(number, caller.text, clock.monotonic() + _CONFIRM_LIMIT_S))
        try:
            answer = answers.get(timeout=_CONFIRM_ANSWER_LIMIT_S)
        except queue.Empty:
            with self._answering:
                self._listening.pop(number, None)
            text = f"the engine did not answer within {_CONFIRM_ANSWER_LIMIT_S:g} s"
            self._note_word(node, "NOT ANSWERED", f"{text}: whether it is believed is not known")
            raise NotAnsweringError(text) from None
        if not answer.is_ok:
            self._log_word(node, AnswerCode.REFUSED.name, answer.detail)
            raise RefusedError(f"not believed: {answer.detail}{self._before_confirming()}")
        return answer.detail.splitlines()

    def _note_word(self, node: str, what: str, why: str) -> None:
        self._log_word(node, what, why)
        self._history.note(EntryKind.COMMAND, "", what, why, old=f"confirm {node}", is_alarm=True)

    def _log_word(self, node: str, what: str, why: str) -> None:
        self._log.warning("node %s: confirm %s: %s: %s", self._spec.node, node, what, why)

    def _before_confirming(self) -> str:
        """Return what has to be done before the peer can be confirmed out.

        Empty while it is heard.
        """
        if self._node.engine.peer_standing is not PeerStanding.UNKNOWN:
            return ""
        if not self._node.engine.is_deaf:
            return "; confirm again once each link was listened to for its timeout"
        faults = [
            f"{thread.link.link_id}: {thread.fault}"
            for thread in list(self._links.values())
            if isinstance(thread, ListenerThread) and thread.fault
        ]
        found = f" ({'; '.join(faults)})" if faults else ""
        return (
            f"{found}. Repair one of them, or correct {self._layout.monitor_file}, wait for its"
            " timeout, and confirm again. If none can be had, start a service by hand with its"
            " script, then type service -A NAME force-start"
        )

    def leave(self, leaving: Leaving, who: str) -> None:
        """Order the engine to leave; ``who`` names the source of the order."""
        what = "stop of this node" if leaving is Leaving.STOP_SERVICES else "end of the daemon"
        self._history.note(EntryKind.COMMAND, "", what, f"by {who}")
        if self._leaving is not Leaving.STOP_SERVICES:
            self._leaving = leaving
        self._inbox.put(LeaveRequested(leaving))

    def _advice(self) -> tuple[str, ...]:
        """Return the advice to log at the start.

        A turn of a cut is as long as the slowest fence may take.
        """
        known = {
            group
            for group, times in self._fencing_store.times.items()
            if times.worked_at is not None
        }
        is_fenced = any(svc.is_fenced for svc in self._spec.own_services)
        if not is_fenced or known or self._spec.fence_time_s is not None:
            return ()
        return (
            (
                "no fence was measured yet, and fence_time is not declared: in a cut each turn to"
                " fence counts with the limit of the check-up script; declare fence_time in"
                " openha.conf"
            ),
        )

    def _warnings(self) -> tuple[str, ...]:
        found = [*self._authentication.warnings(), *self._realtime.warnings]
        found += [self._history.problem] if self._history.problem else []
        for thread in list(self._links.values()):
            found += [
                f"link {thread.link.link_id}: {_SUSPICIOUS[reason]}"
                for reason in _SUSPICIOUS
                if thread.saw_lately(reason)
            ]
        legacy = [link.link_id for link in self._spec.links if link.wire is Wire.LEGACY]
        if legacy:
            found.append(
                f"no acknowledgement and no proof of who sent it on {', '.join(legacy)} (wire ="
                " legacy)"
            )
        found += self._fencing_warnings()
        found += [
            f"service {svc.name} is not in {self._layout.services_file} any more, but may run here:"
            f" stop it ($EZ_BIN/service -A {svc.name} freeze-stop), or add it again"
            for svc in self._kept()
        ]
        found += self._problems.texts
        return tuple(found)

    def _fencing_warnings(self) -> tuple[str, ...]:
        unfenced = [svc.name for svc in self._spec.own_services if not svc.is_fenced]
        if not unfenced:
            return ()
        more = f" and {len(unfenced) - _NAMED} more" if len(unfenced) > _NAMED else ""
        return (
            (
                f"no fencing: the check-up script of {', '.join(unfenced[:_NAMED])}{more} always"
                " succeeds"
            ),
        )


def _answer_to(question: _Question) -> NodeStatus:
    if not question.answered.wait(_STATUS_LIMIT_S) or question.status is None:
        raise NotAnsweringError("the engine does not answer")
    return question.status


def _with_refusals(link: LinkStatus, refused: list[str]) -> str:
    """Return why a link is down, with the reasons of frames that it rejects."""
    if link.is_up or not refused:
        return link.reason
    joint = ", " if "; refused: " in link.reason else "; refused: "
    return f"{link.reason}{joint}{', '.join(refused)}"


def _wall(instant: float | None) -> float | None:
    return None if instant is None else clock.wall_of(instant)


def _on_wall(link: LinkStatus) -> LinkStatus:
    return (
        link
        if link.updated_at is None
        else replace(link, updated_at=clock.wall_of(link.updated_at))
    )


def _sum_of(counts: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of both counters, by reason."""
    return {reason: counts.get(reason, 0) + others.get(reason, 0) for reason in [*counts, *others]}
