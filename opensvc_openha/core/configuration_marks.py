"""Compare the parts of the configuration that must be alike on both nodes.

Each node puts a mark of each part into its beats. Different marks change no decision, but that of
falling silent on purpose: log and status name them, with the file to compare, until they agree
again. Parts that only one version knows are skipped.
"""

from __future__ import annotations

from hashlib import blake2b

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.status import PeerStanding

MARK_BYTES = 4
Marks = tuple[bytes, ...]
_PARTS = (
    ("nodes", "the nodes file"),
    ("links", "the monitor file: links, and their timeouts and addresses"),
    ("roles", "the services file: which node is primary and which secondary for a service"),
    ("policies", "openha.conf: the policies of services"),
    ("profile", "openha.conf: the time profile"),
    (
        "fences",
        "openha.conf and the services file: for which services the peer is proved out ([fencing]"
        " levels, check-up scripts that prove nothing)",
    ),
)
"""In the order of the marks; a later version appends its own."""
_FENCES = [name for name, _ in _PARTS].index("fences")
_POLICIES = [name for name, _ in _PARTS].index("policies")
_ROLES = [name for name, _ in _PARTS].index("roles")
_OF_SERVICES = ("roles", "policies", "fences")


def marks_of(spec: ClusterSpec) -> Marks:
    """Return the marks of a configuration, equal on both nodes if the parts are.

    The last one is for nodes that may fall silent on purpose, with `frozen_storage = give_up`.
    """
    # A device may have another name on the other node.
    links = [(link.node, link.shared_name, link.timeout_s, link.wire.value) for link in spec.links]
    roles = [(svc.name, svc.primary, svc.secondary) for svc in spec.own_services]
    policies = [
        (
            svc.name,
            svc.policy.on_dual_run.value,
            svc.policy.on_start_failure.value,
            # Without the option the mark is that of versions that do not know it.
            *(() if svc.policy.failback_after_s is None else (svc.policy.failback_after_s,)),
        )
        for svc in spec.own_services
    ]
    parts = ([spec.node, spec.peer], links, roles, policies, [spec.profile.value])
    marks = tuple(_mark(repr(sorted(part))) for part in parts)
    if not any(svc.policy.is_given_up for svc in spec.own_services):
        return marks
    has_plan = bool(spec.fencing.levels)
    fences = [(svc.name, has_plan or svc.is_fenced) for svc in spec.own_services]
    return *marks, _mark(repr(sorted(fences)))


def _mark(text: str) -> bytes:
    return blake2b(text.encode("utf-8"), digest_size=MARK_BYTES).digest()


@state_marks(not_state={"_peer"})
class ConfigurationDifferences:
    """Compare this node's marks with the peer's whenever either may have changed."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.marks = marks_of(spec)
        self._node = spec.node
        self._peer = spec.peer
        self._names: tuple[str, ...] = ()

    def reconfigure(self, spec: ClusterSpec) -> None:
        """Apply an edited configuration."""
        self.marks = marks_of(spec)

    def why_not_silent(self, view: PeerView) -> str:
        """Return why this node must not be silent on purpose; empty if it may.

        A peer that proves less than this node before a start would start second copies.
        """
        found = () if view.facts is None else view.facts.marks
        if len(found) <= _FENCES or len(self.marks) <= _FENCES:
            return f"{self._peer} does not report for which services it would prove this node out"
        if found[_FENCES] != self.marks[_FENCES]:
            return f"{self._peer} proves this node out for other services, see its configuration"
        return ""

    def why_policies_differ(self, view: PeerView) -> str:
        """Return why the peer is not known to have the same policies and roles; empty if it has.

        Two nodes that are both secondary by their own files would pass a service to and fro.
        A version that knows no `failback` does not report either what an operator moved.
        """
        found = () if view.facts is None else view.facts.marks
        if len(found) <= _POLICIES:
            return f"{self._peer} does not report its policies of services"
        if found[_POLICIES] != self.marks[_POLICIES]:
            return f"{self._node} and {self._peer} do not have the same policies of services"
        if found[_ROLES] != self.marks[_ROLES]:
            return f"{self._node} and {self._peer} do not have the same primaries of services"
        return ""

    def update(self, view: PeerView, has_same_services: bool) -> list[Record]:
        """Compare again; a peer that is not heard, or sends no marks, changes nothing."""
        facts = view.facts
        if view.standing is not PeerStanding.LIVE or facts is None or not facts.marks:
            return []
        names = tuple(
            name
            for (name, _), own, other in zip(_PARTS, self.marks, facts.marks)
            if own != other and (has_same_services or name not in _OF_SERVICES)
        )
        if names == self._names:
            return []
        self._names = names
        text = self._text() or f"configuration of {self._node} and {self._peer} is the same again"
        what = "CONFIGURATION DIFFERS" if names else "CONFIGURATION AGREES"
        return [Record(RecordKind.NODE, self._node, "", what, text, is_alarm=bool(names))]

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about differences."""
        text = self._text()
        return () if text is None else (text,)

    def _text(self) -> str | None:
        if not self._names:
            return None
        differences = "; ".join(about for name, about in _PARTS if name in self._names)
        return f"{self._node} and {self._peer} are configured differently: {differences}"
