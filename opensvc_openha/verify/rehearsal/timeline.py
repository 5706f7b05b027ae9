"""Collect what happens in a rehearsal: lines with their instants, and how long services are away.

Instants are seconds after the event.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field


class MomentKind(enum.Enum):
    """Subject of a line; the values are in JSON."""

    EVENT = "event"
    """What is asked about."""
    SERVICE = "service"
    SCRIPT = "script"
    FENCE = "fence"
    """A step of the fence plan, or a node that loses its power by one."""
    LINK = "link"
    PEER = "peer"
    NODE = "node"
    ANSWER = "answer"


@dataclass(frozen=True)
class Moment:
    """One line. ``old`` and ``new`` are states of the service, or of what ``kind`` names."""

    at_s: float
    node: str
    kind: MomentKind
    text: str
    service: str = ""
    old: str = ""
    new: str = ""
    is_alarm: bool = False
    is_begin: bool = False
    """A script or a step begins."""
    cuts: str = ""
    """The node that loses its power by it."""


@dataclass
class _Span:
    """Where a service is up, and for how long it was nowhere, or on two nodes."""

    up_on: frozenset[str]
    since: float = 0.0
    away_s: float = 0.0
    twice_s: float = 0.0
    has_run: bool = False

    def change(self, up_on: frozenset[str], now: float) -> None:
        passed_s = now - self.since
        if not self.up_on:
            self.away_s += passed_s
        elif len(self.up_on) > 1:
            self.twice_s += passed_s
        self.up_on, self.since = up_on, now
        self.has_run = self.has_run or bool(up_on)


@dataclass
class Timeline:
    """What has happened since the event; nothing before ``begin``."""

    moments: list[Moment] = field(default_factory=list)
    began_at: float | None = None
    changed_at: float = 0.0
    _spans: dict[str, _Span] = field(default_factory=dict)

    def begin(self, now: float, up: dict[str, frozenset[str]]) -> None:
        """Count from now."""
        self.began_at = self.changed_at = now
        self._spans = {name: _Span(nodes, now, has_run=bool(nodes)) for name, nodes in up.items()}

    def add(self, now: float, node: str, kind: MomentKind, text: str, **more: object) -> None:
        """Add a line."""
        if self.began_at is not None:
            self.changed_at = now
            at_s = round(now - self.began_at, 3)
            self.moments.append(Moment(at_s, node, kind, text, **more))  # type: ignore[arg-type]

    def update(self, now: float, up: dict[str, frozenset[str]]) -> None:
        """Note where services are up."""
        if self.began_at is None:
            return
        for name, nodes in up.items():
            span = self._spans[name]
            if nodes != span.up_on:
                span.change(nodes, now)
                self.changed_at = now

    def end(self, now: float) -> None:
        """Close what is still open."""
        for span in self._spans.values():
            span.change(span.up_on, now)

    def in_order(self) -> tuple[Moment, ...]:
        """Return the lines, what is decided before what is begun at the same instant."""
        return tuple(sorted(self.moments, key=lambda moment: (moment.at_s, moment.is_begin)))

    def fenced(self) -> tuple[Moment, ...]:
        """Return the lines of nodes that lose their power by a fence."""
        return tuple(moment for moment in self.moments if moment.cuts)

    def away_s(self, service: str) -> float | None:
        """Return for how long the service ran nowhere; None if it never ran anywhere."""
        span = self._spans[service]
        return round(span.away_s, 3) if span.has_run else None

    def twice_s(self, service: str) -> float:
        """Return for how long both nodes ran it."""
        return self._spans[service].twice_s

    def up_on(self, service: str) -> Iterable[str]:
        """Return the nodes on which it is up now."""
        return sorted(self._spans[service].up_on)
