"""Keep how long the scripts and takeovers of each service took, in a small file.

It is derived from the entries of the history as they are made, so that no status has to read that.
A takeover is measured from the last beat of the peer to STARTED.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import Any
from opensvc_openha.records import dataclass
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.proc_files import write_proc_file

_VERSION = 1
_KEPT = 5
_FILE_BYTES = 4_000_000
_SOON_S = 2.0
"""A start that begins later than this after the verdict is no takeover by that silence."""
_OK = ScriptOutcome.OK.value


@dataclass(frozen=True)
class ServiceTimes:
    """Durations of one service on this node, in seconds, the newest last.

    ``takeover_at`` is in wall-clock seconds.
    """

    starts: tuple[float, ...] = ()
    checks: tuple[float, ...] = ()
    takeover_s: float | None = None
    takeover_at: float | None = None


class Durations:
    """The durations of all services; for one thread, but ``of`` may be called by any."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._times: Mapping[str, ServiceTimes] = read_durations(layout)
        self._silent_at: float | None = None
        self._last_beat_at: float | None = None
        self._taken: dict[str, float] = {}
        self._is_changed = False

    def of(self, service: str) -> ServiceTimes:
        """Return what is known of one service."""
        return self._times.get(service, ServiceTimes())

    def note(self, entry: Entry) -> None:
        """Take what an entry of the history says about durations."""
        if entry.kind is EntryKind.SCRIPT:
            self._note_script(entry)
        elif entry.kind is EntryKind.PEER:
            self._note_peer(entry)
        elif entry.kind is EntryKind.SERVICE:
            self._note_state(entry)

    def save(self, services: Iterable[str]) -> None:
        """Write the file if anything has changed, for these services. Raises SystemFault."""
        if not self._is_changed:
            return
        known = set(services)
        self._times = {name: each for name, each in self._times.items() if name in known}
        found = {
            "version": _VERSION,
            "services": {name: vars(each) for name, each in self._times.items()},
        }
        data = json.dumps(found).encode("ascii")
        write_proc_file(self._layout, self._layout.durations_file, data)
        self._is_changed = False

    def _note_script(self, entry: Entry) -> None:
        if entry.took_s is None or entry.new != _OK:
            return
        known, took_s = self.of(entry.name), round(entry.took_s, 3)
        if entry.old == ScriptKind.START.value:
            self._put(entry.name, replace(known, starts=(*known.starts, took_s)[-_KEPT:]))
        elif entry.old == ScriptKind.CHECK.value:
            self._put(entry.name, replace(known, checks=(*known.checks, took_s)[-_KEPT:]))

    def _note_peer(self, entry: Entry) -> None:
        if entry.new == PeerStanding.LIVE.word:
            self._silent_at = self._last_beat_at = None
            self._taken.clear()
        elif entry.new in (PeerStanding.SILENT.word, PeerStanding.DEPARTED.word):
            self._silent_at = entry.mono
            ages = [] if entry.sight is None else [link.silence_s for link in entry.sight.links]
            heard = [age for age in ages if age is not None]
            is_silent = entry.new == PeerStanding.SILENT.word
            self._last_beat_at = entry.mono - (min(heard, default=0.0) if is_silent else 0.0)

    def _note_state(self, entry: Entry) -> None:
        name, begun, silent_at = entry.name, self._last_beat_at, self._silent_at
        if entry.new == ServiceState.START_READY.name and entry.old == ServiceState.STOPPED.name:
            if begun is not None and silent_at is not None and entry.mono - silent_at <= _SOON_S:
                self._taken[name] = begun
        elif entry.new == ServiceState.FROZEN_STOP.name:
            self._taken.pop(name, None)
        elif entry.new == ServiceState.STARTED.name and name in self._taken:
            took_s = round(entry.mono - self._taken.pop(name), 3)
            known = replace(self.of(name), takeover_s=took_s, takeover_at=entry.at)
            self._put(name, known)

    def _put(self, name: str, times: ServiceTimes) -> None:
        self._times = {**self._times, name: times}
        self._is_changed = True


def read_durations(layout: Layout) -> dict[str, ServiceTimes]:
    """Return what the file has; nothing if there is none of this version, or it is damaged."""
    try:
        with open(layout.durations_file, encoding="ascii") as file:
            found = json.loads(file.read(_FILE_BYTES))
        if found["version"] != _VERSION:
            return {}
        return {str(name): _times_of(each) for name, each in found["services"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _times_of(found: Mapping[str, Any]) -> ServiceTimes:
    takeover_s, takeover_at = found["takeover_s"], found["takeover_at"]
    return ServiceTimes(
        tuple(map(float, found["starts"])),
        tuple(map(float, found["checks"])),
        None if takeover_s is None else float(takeover_s),
        None if takeover_at is None else float(takeover_at),
    )
