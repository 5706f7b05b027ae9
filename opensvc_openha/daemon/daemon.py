"""Run the node daemon: the engine, the threads of the heartbeat links and the control socket.

    threads of links --> inbox --> engine thread --> outbox --> threads of links
    script threads   -->   ^       |       |
    control threads  ------+       |       +--> writer of states, script threads
            ^                      |
            +----- answers --------+

What each thread may touch is stated by the class that it runs in: EngineLoop (the engine),
EnginePorts (what the engine decides), LinkManager (links), ControlService (commands). An
Incarnation holds the engine and what serves it. The main thread waits for signals and watches the
configuration files.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

from opensvc_openha.control.rendering import Renderer
from opensvc_openha.control.server import ControlServer
from opensvc_openha.core import timing
from opensvc_openha.core.events import LeaveRequested, Leaving, ScriptKind
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon.control_service import ControlService
from opensvc_openha.daemon.incarnation import Incarnation
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.link_manager import LinkManager
from opensvc_openha.daemon.live_configuration import Configuration, LiveConfiguration
from opensvc_openha.daemon.monitor_process import NO_CHILDREN, Children
from opensvc_openha.daemon.outlook_watch import OutlookWatch
from opensvc_openha.daemon.process_parts import ProcessParts, set_up_process
from opensvc_openha.daemon.realtime import Realtime, favour_session
from opensvc_openha.daemon.status_report import StatusReport
from opensvc_openha.daemon.systemd import Systemd
from opensvc_openha.daemon.watchers import StartProblemsFound, Watchers
from opensvc_openha.errors import NotAnsweringError, OpenhaError, RefusedError
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.formats.layout import Layout
from opensvc_openha.records import dataclass
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.journal_fields import event_fields
from opensvc_openha.system import clock


@dataclass(frozen=True)
class Survivors:
    """What outlives an engine that failed, for the next daemon of this process."""

    process: ProcessParts
    configuration: Configuration
    leaving: Leaving | None


class Daemon:
    """One node daemon, from reading the configuration to its last goodbye.

    Its methods are called by the main thread, unless their docstring states another one.
    """

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        lock_handle: int,
        children: Children = NO_CHILDREN,
        log_problem: Callable[[], str] = lambda: "",
        survivors: Survivors | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        """Set up a daemon, but start no thread.

        ``survivors`` is what remains of the daemon in this process whose engine failed: otherwise
        only what that one has written to disk is reused. ``renderer`` words what commands print.
        """
        self._layout = layout
        self._log = logger
        self._log_problem = log_problem
        self._renderer = renderer
        self._configuration = LiveConfiguration(
            layout, logger, self._take_over, survivors.configuration if survivors else None
        )
        self._process = process = (
            survivors.process
            if survivors
            else set_up_process(layout, logger, lock_handle, self._spec, children)
        )
        self._history = process.history
        self._issues = self._configuration.problems
        self._systemd = Systemd()
        self._realtime = Realtime(self._configuration.current.options.realtime)
        self._wake = threading.Event()

        self._incarnation = incarnation = Incarnation(
            layout, logger, self._configuration, process, self._systemd, self._realtime.enter
        )
        self._inbox, self._loop = incarnation.inbox, incarnation.loop

        self._links = LinkManager(
            incarnation.outbox,
            incarnation.datagrams,
            incarnation.inbox,
            incarnation.authentication,
            self._own_names,
            process.history,
            logger,
            self._realtime.enter,
            incarnation.lease.reports,
        )
        problems = StartProblemsFound(incarnation.inbox.put)
        self._outlook = OutlookWatch(
            layout,
            lambda: self._spec,
            lambda: self._configuration.current.options.check_every_s,
            lambda: self._service.status(),
            process.history,
            problems.use_deep,
            process.memory,
        )
        self._report = StatusReport(
            layout,
            self._links,
            incarnation.authentication,
            self._realtime,
            process.history,
            incarnation.fencing_store,
            incarnation.fence,
            incarnation.lease,
            self._issues,
            incarnation.removed,
            self._outlook,
        )
        self._service = ControlService(
            layout=layout,
            logger=logger,
            configuration=self._configuration,
            loop=incarnation.loop,
            inbox=incarnation.inbox,
            commands=incarnation.commands,
            report=self._report,
            links=self._links,
            history=process.history,
            removed=incarnation.removed,
            fence=incarnation.fence,
            lease=incarnation.lease,
            leaving=survivors.leaving if survivors else None,
        )
        self._server = ControlServer(layout.control_socket, self._service, renderer)
        self._watchers = Watchers(
            layout,
            lambda: self._spec,
            incarnation.inbox,
            self._issues,
            self._service.status,
            incarnation.runner.ask,
            log_problem,
            self._outlook,
            problems,
        )
        incarnation.apply_options(self._configuration.current)

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
        self._process.memory.protect()
        favour_session()
        # Before the engine runs, so that a second daemon fails before this one logs anything.
        self._server.open()
        if not self._history.is_open:
            self._history.open()
            self._process.stall_detector.start(self._realtime.enter)
        self._incarnation.agent_caches.begin(self._own_names())
        self._incarnation.lease.start(self._realtime.enter)
        # Listeners first: the engine may pass a verdict only on links that are listened to.
        self._links.reconcile(self._spec)
        self._log.info(
            "node %s: starting, peer %s, %d service(s)",
            self._spec.node,
            self._spec.peer,
            len(self._spec.own_services),
            extra={"fields": event_fields(AlertKind.DAEMON_RESTARTED)},
        )
        for warning in (*self._report.warnings(self._spec), *self._report.advice(self._spec)):
            self._log.warning("node %s: %s", self._spec.node, warning)
        self._watchers.check()
        self._loop.start(self._realtime.enter, self._wake.set)
        if self._service.leaving is not None:
            self._inbox.put(LeaveRequested(self._service.leaving))
        self._watchers.start(self._realtime.enter)
        self._incarnation.fence.start()
        self._await_peer()
        on_ready()
        self._incarnation.agent_caches.serve(self._own_names())
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
            and not self._process.signals
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
            for child in self._process.children:
                child.ensure_running()
            ring = self._incarnation.authentication.advance(clock.monotonic())
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
            self._process.place.expect()
            self._server.reopen_if_gone()
            self._issues.solve(Issue.PLACE)
        except RefusedError as error:
            self._loop.displace(str(error))
        except OpenhaError as error:
            self._issues.report(Issue.PLACE, str(error))

    def _on_signal(self, number: int, _frame: object) -> None:
        # Between any two instructions of the main thread: no lock may be taken here.
        self._process.signals.append(number)
        self._wake.set()

    def _obey_signals(self) -> None:
        if signal.SIGHUP in self._process.signals:
            # Writing this line reopens a log that was moved away.
            self._log.info(
                "node %s: SIGHUP: the configuration files are read again", self._spec.node
            )
        while self._process.signals:
            number = self._process.signals.pop(0)
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
            self._incarnation.runner.close()
            self._incarnation.commands.fail_all(why)
            self._links.stop()
        self._links.flush()
        self._watchers.stop()
        self._incarnation.fence.stop()
        self._incarnation.lease.stop()
        self._server.close()
        if failure is None:
            self._systemd.stopping()
            self._process.end_children()
        self._incarnation.agent_caches.end(self._own_names())
        self._incarnation.store.close()
        self._history.record(EntryKind.DAEMON, "", "ENDED", why, is_alarm=why != "orderly")
        if failure is None:
            self.end_for_good()
        return 0 if why == "orderly" else 1

    def end_for_good(self) -> None:
        """Release what outlives a daemon: for the last one of this process."""
        self._process.end_children()
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
        self._incarnation.expect_written()
        survivors = Survivors(self._process, self._configuration.current, self._service.leaving)
        return Daemon(
            self._layout,
            self._log,
            self._process.place.handle,
            log_problem=self._log_problem,
            survivors=survivors,
            renderer=self._renderer,
        )

    # --- configuration ----------------------------------------------------------------------------

    def _take_over(self, former: Configuration) -> None:
        """Apply a new configuration to every part that runs with the former one.

        Called by the main thread or that of a request, one at a time: LiveConfiguration's lock.
        """
        self._watchers.check_soon()
        current = self._configuration.current
        self._incarnation.apply_options(current)
        self._incarnation.fence.follow()
        self._incarnation.lease.follow()
        if current.spec == former.spec:
            return
        # Before the links: a beat of a link that the engine does not know would be lost.
        self._incarnation.follow(former, current)
        self._links.reconcile(current.spec)
        self._watchers.use_senders(current.spec.senders)

    def _own_names(self) -> tuple[str, ...]:
        return tuple(svc.name for svc in self._spec.own_services)
