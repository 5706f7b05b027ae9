"""One incarnation of this node: an engine, and everything that feeds it and carries it out.

After an engine that failed, the next incarnation begins with the files alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from opensvc_openha.core import timing
from opensvc_openha.core.events import ConfigChanged, ScriptExited, ScriptKind
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.agent_cache_invalidation import AgentCaches
from opensvc_openha.daemon.engine_loop import EngineLoop
from opensvc_openha.daemon.engine_ports import EnginePorts
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.fence_service import FenceService
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.lease_service import LeaseService
from opensvc_openha.daemon.live_configuration import Configuration, LiveConfiguration
from opensvc_openha.daemon.open_commands import OpenCommands
from opensvc_openha.daemon.process_parts import ProcessParts
from opensvc_openha.daemon.recovery import recover_engine
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.daemon.systemd import Systemd
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_schema import AuthMode
from opensvc_openha.heartbeat.datagram_loop import DatagramLoop
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.storage.key_store import forget_use
from opensvc_openha.storage.state_writer import StateWriter
from opensvc_openha.system import clock

_BACKLOG = 16
"""Number of events that may wait for the engine before the end of a status script is held back."""
_BACKLOG_PAUSE_S = 0.01


class Incarnation:
    """The engine's surroundings, wired together; only ``loop`` touches the engine.

    ``apply_options`` and ``follow`` are called by the thread that applies a configuration.
    """

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        configuration: LiveConfiguration,
        process: ProcessParts,
        systemd: Systemd,
        enter: Callable[[], None],
    ) -> None:
        """Start no thread; those that must not be late call ``enter`` first."""
        self._layout = layout
        self._log = logger
        self._configuration = configuration
        self._process = process
        current = configuration.current
        node, peer = current.spec.node, current.spec.peer

        recovered = recover_engine(layout, current, process.history)
        self.authentication = recovered.authentication
        self.store = recovered.store
        self.fencing_store = recovered.fencing_store
        self.removed = recovered.removed

        self.inbox = EngineInbox()
        self.outbox = BeatOutbox()
        self.datagrams = DatagramLoop(self.outbox, self.inbox.wake)
        self.commands = OpenCommands()
        self.agent_caches = AgentCaches(layout, self._scripts_of_services, process.memory)
        self.runner = ScriptRunner(layout, node, peer, self._script_exited, process.memory)
        self.runner.configure(recovered.kept, current.options.scripts.parallel)
        self.fence = FenceService(
            layout,
            FenceProgram(layout.environment(), process.memory),
            configuration,
            self.inbox.put,
            lambda: self.loop,
            process.history,
            logger,
        )
        self.lease = LeaseService(
            layout,
            recovered.engine.boot,
            configuration,
            self.inbox.put,
            lambda: self.loop,
            process.history,
            logger,
        )
        self._writer = StateWriter(enter)

        self.ports = EnginePorts(
            layout=layout,
            logger=logger,
            engine=recovered.engine,
            inbox=self.inbox,
            place=process.place,
            store=self.store,
            fencing_store=self.fencing_store,
            authentication=self.authentication,
            outbox=self.outbox,
            runner=self.runner,
            fence_runner=self.fence.runner,
            lease=self.lease,
            stall_detector=process.stall_detector,
            commands=self.commands,
            history=process.history,
            agent_caches=self.agent_caches,
            has_unread=self.datagrams.has_unread,
        )
        self.loop = EngineLoop(
            ActionExecutor(recovered.engine, self.ports, self._writer.begin),
            self.ports,
            self.inbox,
            self._writer,
            process.stall_detector,
            configuration.problems,
            systemd,
            self.datagrams.has_unread,
        )

    def expect_written(self) -> None:
        """Raise SystemFault while a state is still being written: nothing may be concluded yet."""
        if self._writer.is_at_work:
            raise SystemFault("a state of the engine that failed is still being written")

    # --- configuration ----------------------------------------------------------------------------

    def apply_options(self, current: Configuration) -> None:
        """Apply the options that do not concern the engine."""
        if current.options.heartbeat.authentication is AuthMode.OFF:
            try:
                forget_use(self._layout)
            except SystemFault as error:
                self._log.warning("node %s: %s", current.spec.node, error)
        self.authentication.update(current.options.heartbeat, current.ring, current.incarnations)
        self.runner.configure(current.spec.own_services, current.options.scripts.parallel)
        shortest_s = min((link.timeout_s for link in current.spec.listeners), default=math.inf)
        self._process.stall_detector.watch(timing.STALL_FRACTION * shortest_s)
        # Never less than the engine's own stall limit, which would postpone each start on a node
        # with long beat intervals.
        beats_s = timing.PATIENCE_BEATS * timing.PACES[current.spec.profile].beat_interval_s
        self.ports.patience_s = max(
            beats_s, min((link.timeout_s for link in current.spec.senders), default=math.inf)
        )

    def follow(self, former: Configuration, current: Configuration) -> None:
        """Have the engine manage the services and links of ``current`` instead of ``former``."""
        known = {svc.name for svc in former.spec.own_services}
        added = tuple(svc for svc in current.spec.own_services if svc.name not in known)
        kept = self.removed.present()
        self.removed.follow(former.spec, current.spec)
        recovered = self.store.recover(
            added, is_same_life=True, unwritten={svc.name for svc in kept}
        )
        self.store.record_managed(current.spec.own_services)
        self.inbox.put(ConfigChanged(current.spec, recovered))

    # --- called from other threads ----------------------------------------------------------------

    def _scripts_of_services(self) -> dict[str, str]:
        return {svc.name: svc.script for svc in self._configuration.current.spec.own_services}

    def _script_exited(self, event: ScriptExited) -> None:
        if event.kind is not ScriptKind.POWER:
            self._process.history.record_script_end(event)
        # Thousands of services are asked at a start: beats must not wait behind them.
        while (
            event.kind is ScriptKind.PROBE
            and self.inbox.qsize() > _BACKLOG
            and not self.loop.is_over.is_set()
        ):
            clock.pause(_BACKLOG_PAUSE_S)
        self.inbox.put(event)
