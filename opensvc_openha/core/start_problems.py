"""Keep what prevents this node from starting services: a missing script, a wrong service file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from opensvc_openha.core.actions import Action, Record, RecordKind
from opensvc_openha.core.outlook import Ready
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import ServiceMachine
from opensvc_openha.core.states import UP
from opensvc_openha.core.status import ServiceStatus
from opensvc_openha.core.wording import named

READY, NOT_READY = "ready", "not ready"
"""Words of a record."""


class StartProblems:
    """The services that this node could not start now, each with the reason."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    @property
    def services(self) -> frozenset[str]:
        """Names of the services that this node could not start."""
        return frozenset(self._found)

    def update(
        self, found: Mapping[str, str], services: Mapping[str, ServiceMachine]
    ) -> list[Action]:
        """Replace the problems; a problem is recorded when it appears and when it ends."""
        before = self._found
        self._found = {name: text for name, text in found.items() if name in services}
        done: list[Action] = []
        for name in sorted(name for name in {*before, *self._found} if name in services):
            problem = self._found.get(name)
            if before.get(name) == problem:
                continue
            old = READY if before.get(name) is None else NOT_READY
            new, text = READY, "this node could start it again"
            if problem is not None:
                new, text = NOT_READY, f"this node could not start it: {problem}"
            is_alarm = problem is not None
            done.append(Record(RecordKind.READINESS, name, old, new, text, is_alarm))
        return done

    def shown(self, status: ServiceStatus, view: PeerView, kept_away: str) -> ServiceStatus:
        """Return the status of a service with the problems of both nodes.

        ``kept_away`` is that this node is evacuated; empty if it is not.
        """
        is_elsewhere = status.own_state is not None and status.own_state not in UP
        kept_away = kept_away if is_elsewhere else ""
        problem, is_peer_unready = (
            self._found.get(status.name, kept_away),
            view.is_unready(status.name),
        )
        if not problem and not is_peer_unready:
            return status
        return replace(
            status,
            unready=problem,
            ready=Ready.NO.value if problem else "",
            ready_text=problem,
            is_peer_unready=is_peer_unready,
            peer_ready=Ready.NO.value if is_peer_unready else "",
        )


def warnings(services: Iterable[ServiceStatus], peer: str, kept_away: str = "") -> tuple[str, ...]:
    """Return warnings about services that one of the nodes could not start."""
    found = [
        f"service {svc.name} could not be started on this node: {svc.unready}"
        for svc in services
        if svc.unready and svc.unready != kept_away
    ]
    if kept_away:
        found.insert(0, kept_away)
    peers = [svc.name for svc in services if svc.is_peer_unready]
    if peers:
        found.append(
            f"{peer} could not start {named(peers)}: `service -s -v` there gives the reason"
        )
    return tuple(found)
