"""Two nodes with a fence plan: power switches, reservations and an arbiter as a test sets them."""

from __future__ import annotations

from collections.abc import Callable

from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.events import (
    Command,
    FencePathsLooked,
    PathLook,
    PathState,
    RecoveredState,
    StepOutcome,
)
from opensvc_openha.core.model import (
    FenceNeeds,
    FencePath,
    FencingPolicy,
    PathKind,
    Policy,
    ServiceSpec,
)
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import FencingStatus
from opensvc_openha.core.timing import START_READY_DELAY_S
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.invariants import InvariantChecker
from opensvc_openha.verify.simulated_node import NODES
from tests.core.pair import TIMEOUT_S, Host, Pair, StepEnd

IPMI = FencePath("ipmi", PathKind.POWER, 16.0, mark="10.10.0.11")
PDU = FencePath("pdu", PathKind.POWER, 16.0)
DISKS = FencePath("reservation", PathKind.RESERVATION, 40.0)
CALL = FencePath("call", PathKind.CALLOUT, 30.0)
OUT_S = TIMEOUT_S + START_READY_DELAY_S
STOPPED = {"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.STOPPED)}
Device = Callable[[Host, FenceStep], StepEnd]


class PlanPair(Pair):
    """Both nodes by one plan; every service is at home on deb1, in a duel one on each node.

    ``works`` names the paths that work, ``lies`` those that only claim to. ``is_seen_on``: the
    standing check of both nodes saw each power device on, the peer being heard.
    """

    def __init__(
        self,
        *levels: tuple[FencePath, ...],
        has_arbiter: bool = False,
        names: tuple[str, ...] = ("registry",),
        is_duel: bool = False,
        data: tuple[str, ...] = (),
        check: str = "/bin/true",
        policy: Policy = Policy(),
        is_seen_on: bool = True,
        retry_s: float = 10.0,
        boot_alone_s: float | None = None,
    ) -> None:
        names = ("registry", "files") if is_duel and len(names) == 1 else names
        super().__init__(*names)
        self.fencing = FencingPolicy(
            levels=levels or ((IPMI,),),
            has_arbiter=has_arbiter,
            retry_s=retry_s,
            boot_alone_s=boot_alone_s,
        )
        self.services = tuple(
            ServiceSpec(
                name,
                f"/etc/{name}",
                NODES[index % 2 if is_duel else 0],
                NODES[1 - index % 2 if is_duel else 1],
                check,
                policy=policy,
                fence_needs=FenceNeeds.DATA if name in data else FenceNeeds.NODE,
                has_reserved_data=name in data,
            )
            for index, name in enumerate(names)
        )
        self.works = {path.name for path in self.fencing.paths}
        self.lies: set[str] = set()
        self.is_seen_on = is_seen_on
        self.arbiter = SimulatedArbiter()
        self.has_arbiter = has_arbiter
        self.fenced: list[tuple[float, str]] = []
        self.step_end = self._end
        self.deb1.peer, self.deb2.peer = self.deb2, self.deb1
        assert isinstance(self.invariants, InvariantChecker)
        self.invariants.expect_plan(has_arbiter, data, data)
        self.schedule(0.5, self._watch)

    def _watch(self) -> None:
        for host in (self.deb1, self.deb2):
            if self.has_arbiter and not host.is_stalled:
                self.arbiter.watch(host)
        self.schedule(0.5, self._watch)

    def _end(self, host: Host, step: FenceStep) -> StepEnd:
        if step.kind is StepKind.CLAIM:
            return *self.arbiter.claim(host), None
        if step.path in self.lies:
            return StepOutcome.DONE, "off, then OFF twice in 2.3 s", None
        if step.path not in self.works:
            return StepOutcome.FAILED, "no answer in 5.3 s", None
        path = next(path for path in self.fencing.paths if path.name == step.path)
        if path.kind is PathKind.RESERVATION:
            return StepOutcome.DONE, "2 disks in 0.2 s", frozenset(step.services)
        if self.other(host).is_powered:
            self.fenced.append((self.now, self.other(host).name))
            host.switch_off(self.other(host))
            self.other(host).life += 1
        return StepOutcome.DONE, "off, then OFF twice in 2.3 s", None

    def look(self, power: str = "on", *hosts: Host) -> None:
        """Let the standing check of both nodes see the power devices in that state."""
        looks = tuple(
            PathLook(path.name, PathState.ARMED, power, power.upper(), 0.2)
            for path in self.fencing.paths
            if path.kind is PathKind.POWER
        )
        for host in hosts or (self.deb1, self.deb2):
            host.handle(host.life, FencePathsLooked(looks))

    def start_both(self) -> None:
        """Each service runs at home, and the other node is standby for it."""
        self.boot()
        self.run(3)
        for svc in self.services:
            self._host(svc.primary).command(Command.UNFREEZE, svc.name)
        self.run(5)
        for svc in self.services:
            self._host(svc.secondary).command(Command.UNFREEZE, svc.name)
        self.run(5)
        if self.is_seen_on:
            self.look()
        for svc in self.services:
            assert self.state(svc.primary, svc.name) is S.STARTED

    def _host(self, name: str) -> Host:
        return self.deb1 if name == "deb1" else self.deb2

    def state(self, node: str, service: str = "registry") -> S:
        """A service's state on a node that runs."""
        engine = self._host(node).engine
        assert engine is not None
        return engine.state_of(service)

    def fence(self, node: str) -> FencingStatus:
        """What a node shows of its fencing."""
        engine = self._host(node).engine
        assert engine is not None
        return engine.snapshot(self.now).fencing

    def alive(self) -> set[str]:
        """Nodes that have power."""
        return {host.name for host in (self.deb1, self.deb2) if host.is_powered}

    def order_of_steps(self, node: str) -> list[str]:
        """The steps that a node began, in their order."""
        return [step.path or step.kind.value for _, name, step in self.steps if name == node]
