"""Define what is known of both nodes at present, from which a rehearsal begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opensvc_openha.core.events import PathState, ScriptKind
from opensvc_openha.core.facts import Reach, Turn
from opensvc_openha.core.fence_paths import memory_key
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, FencePath, LinkSpec, PathKind
from opensvc_openha.core.status import NodeStatus, PathStatus, PeerStanding

ASSUMED_S = {
    ScriptKind.START: 5.0,
    ScriptKind.STOP: 5.0,
    ScriptKind.PROBE: 0.5,
    ScriptKind.CHECK: 5.0,
    ScriptKind.POWER: 1.0,
}
"""Duration of a script that was never measured."""
_CUT_S = 5.0
"""Duration of a step of the fence plan that was never measured."""
_TAKE_S = 1.0
CLAIM_S = 0.2
MEASURED, _ASSUMED = "as measured here", "never measured here"
_KIND_WORDS = {
    ScriptKind.START: "start script",
    ScriptKind.STOP: "stop script",
    ScriptKind.CHECK: "check-up script",
    ScriptKind.PROBE: "status script",
    ScriptKind.POWER: "question for the peer's power",
}


def script_word(kind: ScriptKind) -> str:
    """Return what the timeline calls a script."""
    return _KIND_WORDS[kind]


@dataclass(frozen=True)
class Lasting:
    """How long something takes, in seconds, and how that is known."""

    seconds: float
    how: str


@dataclass(frozen=True)
class Present:
    """The cluster as this node sees it now.

    ``measured`` is how long scripts take, by service and kind, as far as that is known.
    """

    spec: ClusterSpec
    status: NodeStatus
    measured: Mapping[tuple[str, ScriptKind], Lasting] = field(default_factory=dict)
    arbiter_disk: str = ""
    """Device of the arbiter, where that is the disk of a heartbeat link."""

    @property
    def is_peer_live(self) -> bool:
        """True if the peer is heard."""
        return self.status.peer_standing is PeerStanding.LIVE

    @property
    def peer_spec(self) -> ClusterSpec:
        """The configuration of the peer: this node's own, seen from there."""
        services = tuple(svc for svc in self.spec.services if svc.name not in self.status.own_only)
        known = self.status.connectivity
        is_asked = known is not None and bool(known.peer_reach)
        return replace(
            self.spec,
            node=self.spec.peer,
            peer=self.spec.node,
            services=services,
            connectivity=self.spec.connectivity if is_asked else None,
        )

    def reach_of(self, node: str) -> Reach:
        """Return whether a node is isolated at present, as far as this node knows."""
        known = self.status.connectivity
        if known is None:
            return Reach.UNKNOWN
        word = known.reach if node == self.spec.node else known.peer_reach
        return Reach(word) if word else Reach.UNKNOWN

    # --- links ------------------------------------------------------------------------------------

    def is_mate(self, link: LinkSpec) -> LinkSpec | None:
        """Return the row of the other node that belongs to the same heartbeat link."""
        rows = [row for row in self.spec.links if row.node == link.node]
        others = [row for row in self.spec.links if row.node != link.node]
        number = [row for row in rows if row.kind == link.kind].index(link)
        mates = [row for row in others if row.kind == link.kind]
        return mates[number] if number < len(mates) else None

    def whole(self, links: frozenset[LinkSpec]) -> frozenset[LinkSpec]:
        """Return these rows, and those of the same links in the other direction."""
        mates = (self.is_mate(link) for link in links)
        return links | {mate for mate in mates if mate is not None}

    @property
    def dead_links(self) -> frozenset[LinkSpec]:
        """Links that are down although the peer is heard on another one."""
        if not self.is_peer_live:
            return frozenset()
        down = {
            (end.spec.node, end.spec.kind, end.spec.label, end.spec.port)
            for end in self.status.links
            if not end.is_up
        }
        found = {
            link
            for link in self.spec.links
            if (link.node, link.kind, link.label, link.port) in down
        }
        return self.whole(frozenset(found))

    # --- fencing ----------------------------------------------------------------------------------

    @property
    def own_memory(self) -> FencingMemory:
        """What this node knows of fencing, as far as its status shows it."""
        fencing = self.status.fencing
        measured_s = tuple(
            sorted(
                (group.name, group.took_s)
                for group in fencing.groups
                if group.name and group.took_s is not None
            )
        )
        turn = Turn.HELD if fencing.turn == "held" and not self.is_peer_live else Turn.NONE
        return FencingMemory(
            has_heard=fencing.has_heard,
            turn=turn,
            measured_s=measured_s,
            seen_on=self._seen_on,
            ejected_by=fencing.is_ejected_by,
        )

    @property
    def _seen_on(self) -> tuple[str, ...]:
        """The paths whose OFF is believed, as the memory has them."""
        seen = {known.name for known in self.status.fencing.paths if known.is_seen_on}
        paths = self.spec.fencing.paths
        return tuple(sorted(memory_key(path) for path in paths if path.name in seen))

    @property
    def peer_memory(self) -> FencingMemory:
        """The same of the peer: it has been heard."""
        return FencingMemory(has_heard=True, measured_s=self.own_memory.measured_s)

    def path_status(self, node: str, path: str) -> PathStatus | None:
        """Return what the standing check knows of a path of this node; None of the peer's."""
        if node != self.spec.node:
            return None
        return next((found for found in self.status.fencing.paths if found.name == path), None)

    @property
    def is_virtual(self) -> bool:
        """True if a promise proves nothing here: the nodes are virtual machines."""
        return any(path.state == PathState.UNUSABLE.value for path in self.status.fencing.paths)

    # --- durations --------------------------------------------------------------------------------

    def script_s(self, service: str, kind: ScriptKind) -> Lasting:
        """Return how long a script takes: as measured here, as declared, else assumed."""
        if kind is ScriptKind.CHECK:
            fence_s = self._fence_s(service)
            if fence_s is not None:
                return Lasting(fence_s, MEASURED)
        known = self.measured.get((service, kind))
        if known is not None:
            return known
        if kind is ScriptKind.CHECK and self.spec.fence_time_s is not None:
            return Lasting(self.spec.fence_time_s, "fence_time")
        return Lasting(ASSUMED_S[kind], _ASSUMED)

    def _fence_s(self, service: str) -> float | None:
        return next(
            (
                group.took_s
                for group in self.status.fencing.groups
                if service in group.services and group.took_s is not None
            ),
            None,
        )

    def path_s(self, path: FencePath) -> Lasting:
        """Return how long a step on a path takes."""
        known = self.path_status(self.spec.node, path.name)
        measured_s = path.expected_s if known is None else known.tested_s or path.expected_s
        if measured_s is not None:
            return Lasting(min(measured_s, path.limit_s), MEASURED)
        assumed_s = _TAKE_S if path.kind is PathKind.RESERVATION else _CUT_S
        return Lasting(min(assumed_s, path.limit_s), _ASSUMED)
