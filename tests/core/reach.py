"""Two nodes that ask targets beyond each other: each test cuts an uplink, or the gateway dies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from opensvc_openha.core.facts import Reach
from opensvc_openha.core.model import ConnectivityPolicy, FencePath, FencingPolicy
from opensvc_openha.core.status import ConnectivityStatus
from tests.core.pair import Host, Pair
from tests.core.plans import PlanPair

GATEWAYS = ConnectivityPolicy(("192.0.2.1", "192.0.2.2"))


class Uplinks:
    """The way of both nodes to their targets."""

    def __init__(self, pair: Pair, policy: ConnectivityPolicy = GATEWAYS) -> None:
        self.pair = pair
        self.policy = policy
        pair.connectivity = {"deb1": policy, "deb2": policy}
        self.blind: set[str] = set()
        """Nodes on which nothing asks."""
        pair.schedule(0.2, self._ask, pair.deb1)
        pair.schedule(0.7, self._ask, pair.deb2)

    def _ask(self, host: Host) -> None:
        if host.name not in self.blind and not host.is_stalled:
            host.ask_targets()
        self.pair.schedule(self.policy.period_s, self._ask, host)

    def _hosts(self, nodes: Iterable[str]) -> list[Host]:
        return [host for host in (self.pair.deb1, self.pair.deb2) if host.name in nodes]

    def cut(self, *nodes: str) -> None:
        """Let no target answer these nodes."""
        for host in self._hosts(nodes):
            host.cut_uplink()

    def heal(self, *nodes: str) -> None:
        """Let the targets answer these nodes again."""
        for host in self._hosts(nodes):
            host.cut_uplink(is_cut=False)


def reach_of(host: Host) -> ConnectivityStatus:
    """Return what a node shows of its targets."""
    assert host.engine is not None
    found = host.engine.snapshot(host.now).connectivity
    assert found is not None
    return found


def is_isolated(host: Host) -> bool:
    """Return whether a node takes itself for isolated."""
    return reach_of(host).reach == Reach.ISOLATED.value


class ReachPair(Pair):
    """A pair with uplinks, whose check-up scripts fence the peer."""

    def __init__(self, *names: str, check: str = "/etc/fence", **more: Any) -> None:
        super().__init__(*names, **more)
        self.services = tuple(replace(svc, check=check) for svc in self.services)
        self.fencing = FencingPolicy()
        self.uplinks = Uplinks(self)


class ReachPlanPair(PlanPair):
    """A pair with uplinks and a fence plan."""

    def __init__(self, *levels: tuple[FencePath, ...], **more: Any) -> None:
        super().__init__(*levels, **more)
        self.uplinks = Uplinks(self)
