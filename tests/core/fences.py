"""Two engines whose check-up scripts are fences that take time and really end the other node."""

from __future__ import annotations

import itertools

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import (
    Command,
    RecoveredState,
    ScriptKind,
)
from opensvc_openha.core.model import FencingPolicy, Policy, ServiceSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import START_READY_DELAY_S
from tests.core.pair import TIMEOUT_S, Host, Pair

FENCE_S = 3.0


OUT_S = TIMEOUT_S + START_READY_DELAY_S


STOPPED = {"registry": RecoveredState(S.STOPPED), "files": RecoveredState(S.STOPPED)}


class Fences(Pair):
    """Two services, each at home on another node, and a power switch each way that takes its time,
    even if the node that ordered it dies.
    """

    def __init__(
        self,
        *,
        fencing: FencingPolicy = FencingPolicy(),
        fence_time_s: float | None = FENCE_S,
        names: tuple[str, ...] = ("registry", "files"),
        policies: dict[str, Policy] | None = None,
    ) -> None:
        super().__init__(*names)
        home = itertools.cycle((("deb1", "deb2"), ("deb2", "deb1")))
        self.services = tuple(
            ServiceSpec(
                name,
                f"/etc/{name}",
                *next(home),
                "/etc/fence",
                policy=(policies or {}).get(name, Policy()),
            )
            for name in names
        )
        self.fencing, self.fence_time_s = fencing, fence_time_s
        self.fence_s = FENCE_S
        self.works = True
        self.fenced: list[tuple[float, str]] = []
        self.script_s = lambda action: (
            self.fence_s + 0.2 if action.kind is ScriptKind.CHECK else 1.0
        )
        self.script_ok = lambda host, action: self.works or action.kind is not ScriptKind.CHECK
        self.on_check = self._shoot
        # The promises of what a fence may do are stated here, with latency; the watch expects one
        # without.
        self.invariants = None

    def _shoot(self, host: Host, action: RunScript) -> None:
        if self.works:
            self.schedule(self.fence_s, self._die, self.deb2 if host is self.deb1 else self.deb1)

    def _die(self, victim: Host) -> None:
        if victim.engine is not None:
            self.fenced.append((self.now, victim.name))
            victim.crash()

    def start_both(self) -> None:
        """Each service runs at home, and the other node is standby for it."""
        self.boot()
        self.run(2)
        self.deb1.command(Command.UNFREEZE, "registry")
        self.deb2.command(Command.UNFREEZE, "files")
        self.run(5)
        self.deb1.command(Command.UNFREEZE, "files")
        self.deb2.command(Command.UNFREEZE, "registry")
        self.run(5)
        assert self.state("deb1", "registry") is self.state("deb2", "files") is S.STARTED

    def start_one(self) -> None:
        """The only service runs on deb1; deb2 is a pure standby."""
        self.boot()
        self.run(2)
        self.deb1.command(Command.UNFREEZE, "registry")
        self.run(5)
        self.deb2.command(Command.UNFREEZE, "registry")
        self.run(5)

    def state(self, node: str, service: str = "registry") -> S:
        """A service's state on a node that runs."""
        engine = (self.deb1 if node == "deb1" else self.deb2).engine
        assert engine is not None
        return engine.state_of(service)

    def checks(self) -> list[tuple[float, str]]:
        """When and where check-up scripts began."""
        return [(when, node) for when, node, kind, _ in self.scripts if kind == "check"]

    def alive(self) -> set[str]:
        """Nodes that were not fenced."""
        return {host.name for host in (self.deb1, self.deb2) if host.engine is not None}
