"""Run the node daemon: the engine, the threads of the heartbeat links and the control socket.

    listener threads --> inbox --> engine thread --> outbox --> sender threads
    script threads   -->   ^       |       |
    control threads  ------+       |       +--> writer of states, script threads
            ^                      |
            +----- answers --------+

What each thread may touch is stated by the class that it runs in: EngineLoop (the engine),
EnginePorts (what the engine decides), LinkManager (links), ControlService (commands). The main
thread waits for signals and watches the configuration files.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha.control.server import ControlServer
from opensvc_openha.core import timing
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    ConfigChanged,
    LeaveRequested,
    Leaving,
    ScriptExited,
    ScriptKind,
)
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.agent_cache_invalidation import AgentCaches
from opensvc_openha.daemon.control_service import ControlService
from opensvc_openha.daemon.engine_loop import EngineLoop
from opensvc_openha.daemon.engine_ports import EnginePorts
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.link_manager import LinkManager
from opensvc_openha.daemon.live_configuration import Configuration, LiveConfiguration
from opensvc_openha.daemon.lock import Place
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.monitor_process import MonitorCommand, MonitorProcess
from opensvc_openha.daemon.open_commands import OpenCommands
from opensvc_openha.daemon.realtime import Realtime, favour_session
from opensvc_openha.daemon.removed_services import RemovedServices
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.daemon.status_report import StatusReport
from opensvc_openha.daemon.systemd import Systemd
from opensvc_openha.daemon.watchers import Watchers
from opensvc_openha.errors import NotAnsweringError, OpenhaError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.storage.fencing_store import FencingStore
from opensvc_openha.storage.history_file import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.key_store import copy_command, forget_use
from opensvc_openha.storage.state_store import StateStore, clean_up, next_boot
from opensvc_openha.storage.state_writer import StateWriter
from opensvc_openha.system import clock

_BACKLOG = 16
"""Number of events that may wait for the engine before the end of a status script is held back."""
_BACKLOG_PAUSE_S = 0.01


@dataclass(frozen=True)
class Survivors:
    """What outlives an engine that failed, for the next daemon of this process."""

    configuration: Configuration
    memory: MemoryGuard
    history: History
    stall_detector: StallDetector
    monitor: MonitorProcess
    signals: list[int]
    leaving: Leaving | None


class Daemon:
    """One node daemon, from reading the configuration to its last goodbye.

    Its methods are called by the main thread, except those that other parts are given to call:
    they say so.
    """

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        lock_handle: int,
        monitor: MonitorCommand | None = None,
        log_problem: Callable[[], str] = lambda: "",
        survivors: Survivors | None = None,
    ) -> None:
        """Set up a daemon, but start no thread.

        ``survivors`` is what remains of the daemon in this process whose engine failed: otherwise
        only what that one has written to disk is reused.
        """
        self._layout = layout
        self._log = logger
        self._log_problem = log_problem
        self._configuration = LiveConfiguration(
            layout, logger, self._take_over, survivors.configuration if survivors else None
        )
        spec, options = self._spec, self._configuration.current.options
        self._issues = issues = self._configuration.problems
        if survivors:
            memory, history = survivors.memory, survivors.history
            stall_detector, self._monitor = survivors.stall_detector, survivors.monitor
            self._signals = survivors.signals
        else:
            memory, stall_detector = MemoryGuard(), StallDetector()
            history = History(layout, len(spec.own_services), self._report_history)
            self._monitor = MonitorProcess(monitor, layout.environment(), logger, memory)
            self._signals = []
        self._memory, self._history, self._stall_detector = memory, history, stall_detector
        self._wake = threading.Event()
        self._place = place = Place(layout, lock_handle, spec.node, logger)
        self._realtime = realtime = Realtime(options.realtime)
        self._systemd = Systemd()

        # What a crash left half written goes first, and a new incarnation is on disk before
        # anything is concluded from the STATE files.
        clean_up(layout)
        is_first_start = not os.path.exists(layout.boot_file)
        boot, is_same_life = next_boot(layout)
        self._authentication = authentication = Authentication(
            spec.node, boot, copy_command(layout, spec.peer)
        )
        self._store = store = StateStore(layout, spec.node, spec.peer)
        kept = options.complete_services(store.kept(spec.own_services) if is_same_life else ())
        self._removed = removed = RemovedServices(layout, spec.node, kept)
        recovered = store.learn((*spec.own_services, *kept), is_same_life, is_first_start)
        store.record_managed(spec.own_services)
        history.record_start(recovered, is_same_life)
        fencing = FencingStore(layout)
        known = fencing.read(has_run_in_this_life=is_same_life and not is_first_start)
        incarnations = self._configuration.current.incarnations
        engine = Engine(spec, boot, recovered, clock.monotonic(), incarnations, kept, known)

        self._inbox = inbox = EngineInbox()
        self._commands = commands = OpenCommands()
        self._writer = writer = StateWriter(realtime.enter)
        self._runner = runner = ScriptRunner(
            layout, spec.node, spec.peer, self._script_exited, memory
        )
        runner.configure(kept, options.scripts.parallel)
        self._agent_caches = AgentCaches(layout, self._scripts_of_services, memory)
        outbox = BeatOutbox()
        self._ports = EnginePorts(
            layout=layout,
            logger=logger,
            engine=engine,
            inbox=inbox,
            place=place,
            store=store,
            fencing_store=fencing,
            authentication=authentication,
            outbox=outbox,
            runner=runner,
            stall_detector=stall_detector,
            commands=commands,
            history=history,
            agent_caches=self._agent_caches,
        )
        executor = ActionExecutor(engine, self._ports, writer.begin)
        self._loop = EngineLoop(
            executor, self._ports, inbox, writer, stall_detector, issues, self._systemd
        )
        self._links = links = LinkManager(
            outbox, inbox, authentication, self._own_names, history, logger, realtime.enter
        )
        self._report = StatusReport(
            layout, links, authentication, realtime, history, fencing, issues, removed
        )
        self._service = ControlService(
            layout=layout,
            logger=logger,
            configuration=self._configuration,
            loop=self._loop,
            inbox=inbox,
            commands=commands,
            report=self._report,
            links=links,
            history=history,
            removed=removed,
            leaving=survivors.leaving if survivors else None,
        )
        self._server = ControlServer(layout.control_socket, self._service)
        self._watchers = Watchers(
            layout, lambda: self._spec, inbox, issues, self._service.status, runner.ask, log_problem
        )
        self._apply_options(self._configuration.current)

    @property
    def _spec(self) -> ClusterSpec:
        return self._configuration.current.spec

    # --- start ------------------------------------------------------------------------------------

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
        # Before the engine runs, so that a second daemon fails before this one logs anything.
        self._server.open()
        if not self._history.is_open:
            self._history.open()
            self._stall_detector.start(self._realtime.enter)
        self._agent_caches.begin(self._own_names())
        # Listeners first: the engine may pass a verdict only on links that are listened to.
        self._links.reconcile(self._spec)
        self._log.info(
            "node %s: starting, peer %s, %d service(s)",
            self._spec.node,
            self._spec.peer,
            len(self._spec.own_services),
        )
        for warning in (*self._report.warnings(self._spec), *self._report.advice(self._spec)):
            self._log.warning("node %s: %s", self._spec.node, warning)
        self._watchers.check()
        self._loop.start(self._realtime.enter, self._wake.set)
        if self._service.leaving is not None:
            self._inbox.put(LeaveRequested(self._service.leaving))
        self._watchers.start(self._realtime.enter)
        self._await_peer()
        on_ready()
        self._agent_caches.serve(self._own_names())
        self._systemd.ready(f"peer {self._spec.peer}")
        while not self._loop.is_over.is_set():
            self._wake.wait(timing.CONFIG_POLL_S)
            self._wake.clear()
            self._do_periodic_work()
        return self._end()

    def _await_peer(self) -> None:
        """Wait for a running peer and for the wrappers, so that the first status is correct."""
        began = clock.monotonic()
        while (
            clock.monotonic() < began + timing.FIRST_STATUS_LIMIT_S
            and not self._loop.is_over.is_set()
            and not self._signals
        ):
            try:
                status = self._service.status()
                is_late = clock.monotonic() >= began + timing.FIRST_BEAT_LIMIT_S
                is_asking = any(svc.script == ScriptKind.PROBE.value for svc in status.services)
                if (is_late or status.peer_standing is PeerStanding.LIVE) and not is_asking:
                    return
            except NotAnsweringError:
                return  # Busy with its services: they come first.
            clock.pause(0.05)

    # --- periodic work ----------------------------------------------------------------------------

    def _do_periodic_work(self) -> None:
        """Do the periodic work of the main thread.

        None of it takes part in decisions, so no failure in it may end the daemon.
        """
        try:
            self._obey_signals()
            self._configuration.poll()
            self._restore_socket_and_lock()
            self._watchers.check()
            self._monitor.ensure_running()
            ring = self._authentication.advance(clock.monotonic())
            if ring is not None:
                self._configuration.write_rotation(ring)
            self._issues.solve(Issue.INTERNAL)
        # The only catch-all of this thread: reported while the failure lasts.
        except Exception as error:
            self._issues.report(Issue.INTERNAL, f"{type(error).__name__}: {error}")

    def _restore_socket_and_lock(self) -> None:
        """Restore lock and socket if their files were removed.

        If another daemon has taken the place, stop sending.
        """
        try:
            self._place.expect()
            self._server.reopen_if_gone()
            self._issues.solve(Issue.PLACE)
        except RefusedError as error:
            self._loop.displace(str(error))
        except OpenhaError as error:
            self._issues.report(Issue.PLACE, str(error))

    def _on_signal(self, number: int, _frame: object) -> None:
        # Between any two instructions of the main thread: no lock may be taken here.
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
                self._service.leave(Leaving.KEEP_SERVICES, f"signal {signal.Signals(number).name}")

    # --- end --------------------------------------------------------------------------------------

    def _end(self) -> int:
        """Let the senders send the goodbye, then end; every wait has a limit."""
        why = "orderly"
        if self._loop.displaced:
            why = f"another daemon has taken the place of this one: {self._loop.displaced}"
            self._log.critical("node %s: %s; this one falls silent", self._spec.node, why)
        failure = self._loop.failure
        if failure is not None:
            why = f"the engine failed: {failure!r}"
            self._log.critical(
                "node %s: engine failed: %r", self._spec.node, failure, exc_info=failure
            )
            # What acts or sends for it ends. The next daemon waits for scripts that run.
            self._runner.close()
            self._commands.fail_all(why)
            self._links.stop()
        self._links.flush()
        self._watchers.stop()
        self._server.close()
        if failure is None:
            self._systemd.stopping()
            self._monitor.end()
        self._agent_caches.end(self._own_names())
        self._store.close()
        self._history.record(EntryKind.DAEMON, "", "ENDED", why, is_alarm=why != "orderly")
        if failure is None:
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
        return self._loop.failure is not None

    def successor(self) -> Daemon:
        """Return a new daemon after the engine failed halfway through a step.

        Nothing in the failed one's memory is reused. The new one begins as after a crash: with the
        STATE files, which were written before anything was announced or run, with a new incarnation
        that the peer must acknowledge, and by querying each service's script.
        """
        if self._writer.is_at_work:
            # Nothing may be concluded before.
            raise SystemFault("a state of the engine that failed is still being written")
        survivors = Survivors(
            self._configuration.current,
            self._memory,
            self._history,
            self._stall_detector,
            self._monitor,
            self._signals,
            self._service.leaving,
        )
        return Daemon(
            self._layout,
            self._log,
            self._place.handle,
            log_problem=self._log_problem,
            survivors=survivors,
        )

    # --- configuration ----------------------------------------------------------------------------

    def _take_over(self, former: Configuration) -> None:
        """Apply a new configuration to every part that runs with the former one.

        Called by the main thread or that of a request, one at a time: LiveConfiguration's lock.
        """
        self._watchers.check_soon()
        self._apply_options(self._configuration.current)
        spec = self._spec
        if spec == former.spec:
            return
        known = {svc.name for svc in former.spec.own_services}
        added = tuple(svc for svc in spec.own_services if svc.name not in known)
        kept = self._removed.present()
        self._removed.follow(former.spec, spec)
        recovered = self._store.learn(
            added, is_same_life=True, unwritten={svc.name for svc in kept}
        )
        self._store.record_managed(spec.own_services)
        # Before the links: a beat of a link that the engine does not know would be lost.
        self._inbox.put(ConfigChanged(spec, recovered))
        self._links.reconcile(spec)
        self._watchers.use_senders(spec.senders)

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
        self._stall_detector.watch(timing.STALL_FRACTION * shortest_s)
        # Never less than the engine's own stall limit, which would postpone each start on a node
        # with long beat intervals.
        beats_s = timing.PATIENCE_BEATS * timing.PACES[current.spec.profile].beat_interval_s
        self._ports.patience_s = max(
            beats_s, min((link.timeout_s for link in current.spec.senders), default=math.inf)
        )

    # --- called from other threads ----------------------------------------------------------------

    def _scripts_of_services(self) -> dict[str, str]:
        return {svc.name: svc.script for svc in self._spec.own_services}

    def _own_names(self) -> tuple[str, ...]:
        return tuple(svc.name for svc in self._spec.own_services)

    def _script_exited(self, event: ScriptExited) -> None:
        if event.kind is not ScriptKind.POWER:
            self._history.record_script_end(event)
        # Thousands of services are asked at a start: beats must not wait behind them.
        while (
            event.kind is ScriptKind.PROBE
            and self._inbox.qsize() > _BACKLOG
            and not self._loop.is_over.is_set()
        ):
            clock.pause(_BACKLOG_PAUSE_S)
        self._inbox.put(event)

    def _report_history(self, is_fault: bool, text: str) -> None:
        self._log.log(
            logging.WARNING if is_fault else logging.INFO, "node %s: %s", self._spec.node, text
        )
