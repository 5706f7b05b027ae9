"""Watch what surrounds the engine: interfaces, disks, scripts, logs, starts by hand, agents.

None of it decides anything: what concerns the engine is put into its inbox, what concerns operators
becomes an issue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from opensvc_openha.core.events import ReadinessFound, ScriptOutcome, SeemsUp, SendersMuted
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.daemon.check_scripts import CheckScripts
from opensvc_openha.daemon.data_disks import PROGRAM as FIND_DISKS
from opensvc_openha.daemon.data_disks import DataDisks
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.log_keeper import LogKeeper
from opensvc_openha.daemon.outlook_watch import OutlookWatch
from opensvc_openha.daemon.outside_starts import OutsideStarts
from opensvc_openha.daemon.process_names import ProcessNames
from opensvc_openha.daemon.readiness import Readiness
from opensvc_openha.daemon.targets import Targets
from opensvc_openha.errors import NotAnsweringError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.heartbeat.interface_monitor import InterfaceWatch
from opensvc_openha.system.self_command import self_command


class StartProblemsFound:
    """What keeps services from being started here, of two checks; for any thread.

    What the one that runs each minute finds comes first.
    """

    def __init__(self, put: Callable[[ReadinessFound], None]) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._light: Mapping[str, str] = {}
        self._deep: Mapping[str, str] = {}
        self._reports_power: frozenset[str] = frozenset()

    def use_light(self, found: Mapping[str, str], reports_power: frozenset[str]) -> None:
        """Take the findings of the check of scripts, and whose script reports the peer's power."""
        with self._lock:
            self._light, self._reports_power = found, reports_power
            self._report()

    def use_deep(self, found: Mapping[str, str]) -> None:
        """Take the findings of the check of everything else."""
        with self._lock:
            self._deep = found
            self._report()

    def _report(self) -> None:
        self._put(ReadinessFound({**self._deep, **self._light}, self._reports_power))


class Watchers:
    """The watchers of one daemon, most with a thread of their own.

    Called by the main thread, ``check_soon`` and ``use_senders`` also by the one that applies a new
    configuration.
    """

    def __init__(
        self,
        layout: Layout,
        spec: Callable[[], ClusterSpec],
        inbox: EngineInbox,
        issues: ActiveIssues,
        status: Callable[[], NodeStatus],
        ask_wrapper: Callable[[str, str], ScriptOutcome],
        log_problem: Callable[[], str],
        outlook: OutlookWatch,
        problems: StartProblemsFound,
    ) -> None:
        """Start nothing yet; ``spec`` returns the configuration in force."""
        self._outlook = outlook
        self._spec = spec
        self._status = status
        self._check_scripts = CheckScripts(layout, issues)
        self._process_names = ProcessNames(layout, spec().node)
        self._logs = LogKeeper(
            layout, issues, lambda: [svc.name for svc in spec().own_services], log_problem
        )
        self._interfaces = InterfaceWatch(lambda links: inbox.put(SendersMuted(links)))
        self._readiness = Readiness(
            lambda: spec().own_services,
            problems.use_light,
            layout.environment(),
        )
        self._outside = OutsideStarts(
            self._stopped_services, ask_wrapper, lambda service: inbox.put(SeemsUp(service))
        )
        self._disks = DataDisks(
            lambda: spec().own_services,
            lambda names: FenceProgram(
                layout.environment(), argv=[*self_command(FIND_DISKS), *names]
            ),
            inbox.put,
        )
        self._targets = Targets(lambda: spec().connectivity, inbox.put)

    def check(self) -> None:
        """Do what has no thread of its own; from time to time."""
        self._check_scripts.check(self._spec().own_services)
        self._process_names.refresh()

    def start(self, enter: Callable[[], None]) -> None:
        """Start the threads; the one that must not be late calls ``enter`` first."""
        self._logs.start()
        self.use_senders(self._spec().senders)
        self._interfaces.start(enter)
        self._readiness.start()
        self._outlook.start()
        self._outside.start()
        self._disks.start()
        self._targets.start()

    def use_senders(self, senders: tuple[LinkSpec, ...]) -> None:
        """Watch the interfaces of these links from now on."""
        self._interfaces.use(senders)

    def check_soon(self) -> None:
        """Check services soon, since something was edited."""
        self._readiness.check_soon()
        self._outlook.check_soon()
        self._outside.check_soon()
        self._disks.check_soon()
        self._targets.check_soon()

    def stop(self) -> None:
        """End the threads, and the processes shown to agents."""
        self._interfaces.stop()
        self._readiness.stop()
        self._outlook.stop()
        self._outside.stop()
        self._disks.stop()
        self._targets.stop()
        self._logs.stop()
        self._process_names.end()

    def _stopped_services(self) -> list[ServiceSpec]:
        """Return this node's stopped services that have no script running."""
        try:
            known = {svc.name: svc for svc in self._status().services}
        except NotAnsweringError:
            return []
        return [
            svc
            for svc in self._spec().own_services
            if svc.name in known
            and known[svc.name].own_state in PEER_OUT
            and not known[svc.name].script
        ]
