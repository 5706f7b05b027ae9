"""Count decisions and scripts since the start of the daemon, for operators.

What is counted is what the history records; the counts are in memory, and their number is bounded
by the services of this node: those of a removed service are dropped when there are too many.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import Activity, DecisionCount, ScriptCount
from opensvc_openha.hints import TypeVar

_Key = TypeVar("_Key")
_Count = TypeVar("_Count")
_STALLED = "STALLED"
_SERVICES = 10_000
"""More than a node can have; above this the service counted first is dropped."""


class Tally:
    """The counts of one daemon; counted and read by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decisions: dict[str, dict[str, int]] = {}
        self._scripts: dict[str, dict[tuple[str, str], ScriptCount]] = {}
        self._stalls = 0

    def count(self, record: Record) -> None:
        """Count a change: one of a service's state, or a stall of this node."""
        with self._lock:
            if record.kind is RecordKind.NODE and record.new == _STALLED:
                self._stalls += 1
            elif (
                record.kind is RecordKind.SERVICE
                and record.old != record.new
                and record.old in ServiceState.__members__
                and record.new in ServiceState.__members__
            ):
                found = _of(self._decisions, record.name)
                found[record.new] = found.get(record.new, 0) + 1

    def count_script(
        self, service: str, kind: ScriptKind, outcome: ScriptOutcome, took_s: float
    ) -> None:
        """Count the end of a script."""
        key = kind.value, outcome.value
        with self._lock:
            found = _of(self._scripts, service)
            known = found.get(key, ScriptCount(service, *key, 0, 0.0, 0.0))
            found[key] = replace(
                known, number=known.number + 1, took_s=known.took_s + took_s, last_s=took_s
            )

    def complete(self, activity: Activity) -> Activity:
        """Return what is known of the engine, with these counts."""
        with self._lock:
            return replace(
                activity,
                decisions=tuple(
                    DecisionCount(name, state, number)
                    for name, states in self._decisions.items()
                    for state, number in states.items()
                ),
                scripts=tuple(
                    count for found in self._scripts.values() for count in found.values()
                ),
                stalls=self._stalls,
            )


def _of(counts: dict[str, dict[_Key, _Count]], service: str) -> dict[_Key, _Count]:
    """Return the counts of a service; make room if there are too many services."""
    if service not in counts and len(counts) >= _SERVICES:
        del counts[next(iter(counts))]
    return counts.setdefault(service, {})
