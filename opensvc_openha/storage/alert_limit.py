"""Limit how many notifications go out: of a link that flaps, and of everything together.

Pure: ``now`` is given by the caller. What is held back is not lost: the newest alert about each
thing goes out when there is room again, with the number of those before it, so that the last word
about a thing is always heard.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass

from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.storage.alerts import Alert

WINDOW_S = 600.0
_ALL = 10
"""All things together may have this many times what one thing may have."""
_THINGS = 1_000


@dataclass(frozen=True)
class Admitted:
    """An alert that goes out; ``held`` is how many about the same were held back before it."""

    alert: Alert
    held: int = 0


@dataclass
class _Held:
    """The newest of the alerts that are held back, and how many they are."""

    alert: Alert
    number: int


class AlertLimit:
    """At most ``most`` alerts about one thing within the window."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._sent: dict[tuple[AlertKind, str], collections.deque[float]] = {}
        self._all: collections.deque[float] = collections.deque()
        self._held: dict[tuple[AlertKind, str], _Held] = {}
        self.dropped = 0
        """Alerts that were lost: about too many things at a time."""

    def take(self, alert: Alert, now: float) -> list[Admitted]:
        """Return the alert if it may go out now; hold it back otherwise."""
        held = self._held.get(alert.key)
        if held is None and self._has_room(alert.key, now):
            return [self._send(alert, 0, now)]
        if held is not None:
            held.alert, held.number = alert, held.number + 1
        elif len(self._held) < _THINGS:
            self._held[alert.key] = _Held(alert, 0)
        else:
            self.dropped += 1
        return []

    def due(self, now: float) -> list[Admitted]:
        """Return what was held back, and may go out now."""
        if len(self._sent) > _THINGS:
            for times in self._sent.values():
                _forget(times, now)
            self._sent = {key: times for key, times in self._sent.items() if times}
        found = []
        for key, held in list(self._held.items()):
            if self._has_room(key, now):
                del self._held[key]
                found.append(self._send(held.alert, held.number, now))
        return found

    @property
    def oldest_held(self) -> int | None:
        """Number of the oldest entry that is held back; None if nothing is."""
        return min((held.alert.entry.number for held in self._held.values()), default=None)

    def _send(self, alert: Alert, held: int, now: float) -> Admitted:
        self._sent.setdefault(alert.key, collections.deque()).append(now)
        self._all.append(now)
        return Admitted(alert, held)

    def _has_room(self, key: tuple[AlertKind, str], now: float) -> bool:
        own = self._sent.get(key, _NOTHING)
        _forget(self._all, now)
        _forget(own, now)
        return len(self._all) < _ALL * self.most and len(own) < self.most


_NOTHING: collections.deque[float] = collections.deque()


def _forget(times: collections.deque[float], now: float) -> None:
    while times and times[0] <= now - WINDOW_S:
        times.popleft()
