"""Two nodes whose data disks can freeze: a read of a frozen disk does not end, nor does a stop.

What a node sees of its disks comes from the state of the disks here, as its probes would report it.
A start and a stop that need a frozen disk wait until it answers, or are killed at their limit.
"""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.core.actions import Announce, RunScript
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.model import FrozenStorage, LeasePolicy, Policy
from opensvc_openha.core.timing import DISK_LOOK_S, STOP_LIMIT_S
from opensvc_openha.verify.simulated_node import Script, SimulatedNode
from tests.core.leases import POLICY, LeasePair
from tests.core.pair import Host, Pair

GIVEN_UP = Policy(frozen_storage=FrozenStorage.GIVE_UP)
_STEP_S = 0.5
_FIRST_MARKS = 5
_NEEDS_DISKS = (ScriptKind.START, ScriptKind.STOP)


class Disks:
    """The disks of the services, and what each node sees of them."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.blind: set[str] = set()
        """Nodes that do not look."""
        self.stops_lie = False
        """A stop does not wait for its disks: what it wrote is still on its way."""
        self.limit_s = STOP_LIMIT_S
        """After this time a script that waits for its disks is killed."""
        pair.schedule(0.1, self._look, pair.deb1)
        pair.schedule(0.3, self._look, pair.deb2)

    def freeze(self, *nodes: str, service: str = "registry", is_frozen: bool = True) -> None:
        """Freeze a service's disks for these nodes."""
        for host in (self.pair.deb1, self.pair.deb2):
            if host.name in nodes:
                host.freeze(service, is_frozen)

    def thaw(self, *nodes: str, service: str = "registry") -> None:
        """Let a service's disks answer again."""
        self.freeze(*nodes, service=service, is_frozen=False)

    def _look(self, host: Host) -> None:
        if host.name not in self.blind:
            host.look_at_disks()
        self.pair.schedule(DISK_LOOK_S, self._look, host)

    def end_script(self, host: Host, script: Script) -> bool:
        """Return False for a script that waits for its disks; it is ended here later."""
        action = script.action
        if host.scripts.get(action.service) is not script or action.kind not in _NEEDS_DISKS:
            return True
        if action.service not in host.frozen:
            return True
        if self.stops_lie and action.kind is ScriptKind.STOP:
            host.end_script(script, ScriptOutcome.OK, is_running=True)
        elif host.now >= script.began_at + self.limit_s:
            host.end_script(script, ScriptOutcome.FAILED, is_running=True, detail="was killed")
        else:
            self.pair.schedule(_STEP_S, self.pair._end_script, host, script)
        return False


class FrozenPair(LeasePair):
    """Two nodes with leases, which are the only proof."""

    def __init__(
        self, *names: str, policy_of_services: Policy = GIVEN_UP, lease: LeasePolicy = POLICY
    ) -> None:
        super().__init__(*names, policy=lease, is_believed=True)
        self.use(policy_of_services)
        self.disks = Disks(self)
        self.flushes: list[tuple[str, str, bool]] = []
        self.without_marks: set[str] = set()
        """Nodes of a version that reports no more of its configuration than the first one did."""

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Run a script; note whether it waits until all is written."""
        self.flushes.append((node.name, action.kind.value, action.flushes))
        super().run_script(node, action)

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Send a beat, as the version of its node does."""
        facts = action.beat.facts
        if node.name in self.without_marks and facts is not None:
            facts = replace(facts, marks=facts.marks[:_FIRST_MARKS])
            action = replace(action, beat=replace(action.beat, facts=facts))
        super().send(node, action)

    def use(self, policy: Policy, *names: str) -> None:
        """Give services a policy, before the nodes boot."""
        self.services = tuple(
            replace(svc, policy=policy) if not names or svc.name in names else svc
            for svc in self.services
        )

    def _end_script(self, host: Host, script: Script) -> None:
        if self.disks.end_script(host, script):
            super()._end_script(host, script)
