"""Decide when two worlds are equivalent: by what their engines will do next.

Values for display only and absolute numbers do not count. Instants count from now, in steps of
``GRID_S``, and those long past are all the same. Sequence numbers count from the newest of their
incarnation, incarnations from the newest of their node. Plain attributes are walked, except those
that their class marks (`core/state_marks.py`): a new attribute counts without being named anywhere,
and a forgotten mark costs time, never a state.
"""

from __future__ import annotations

import enum
from typing import Any

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.state_marks import marks_of_class
from opensvc_openha.core.timing import START_READY_DELAY_S

GRID_S = 0.5
"""Resolution of instants in seconds."""

_USUAL_MEMORY_S = START_READY_DELAY_S + 1
_OLDEST = 12


class StateFingerprint:
    """Fingerprints of one world at one instant.

    ``newest`` holds the newest incarnation and sequence number of each node.
    """

    def __init__(self, now: float, newest: dict[str, tuple[BootId, int]]) -> None:
        self._now = now
        self._newest = newest
        self._own_seq = 0
        self._seen: set[int] = set()

    def engine(self, engine: Engine) -> tuple[Any, ...]:
        """Return the fingerprint of one engine."""
        self._own_seq = self._newest[engine.spec.node][1]
        self._seen = set()
        return engine.seq == 0, self._fields(engine)

    def beat(self, beat: Beat) -> tuple[Any, ...]:
        """Return the fingerprint of a beat."""
        boot, seq = self._newest[beat.node]
        is_present = beat.boot == boot
        age = min(_OLDEST, seq - beat.seq) if is_present else -1
        facts = self._walk(beat.facts)
        return (
            age,
            tuple(beat.states.values()),
            beat.goodbye,
            beat.wants_ack,
            self._ack(beat.ack),
            facts,
        )

    def _facts(self, facts: Facts) -> tuple[Any, ...]:
        silent = (
            None if facts.silent_s is None else min(_USUAL_MEMORY_S, round(facts.silent_s / GRID_S))
        )
        return (
            facts.is_booting,
            facts.turn,
            facts.priority,
            facts.fence_s,
            facts.knows_fence_time,
            silent,
            tuple(sorted(facts.unready)),
            tuple(sorted(facts.answering)),
            tuple(sorted(facts.frozen)),
            tuple(sorted(facts.ordered)),
            None
            if facts.promise is None
            else (facts.promise.death_s, facts.promise.media, facts.promise.is_virtual),
        )

    def _ack(self, ack: Ack | None) -> tuple[Any, ...] | None:
        if ack is None:
            return None
        for boot, seq in self._newest.values():
            if ack.boot == boot:
                return min(_OLDEST, seq - ack.seq), ack.is_taken
        return -1, ack.is_taken

    def _walk(self, value: Any, memory_s: float = _USUAL_MEMORY_S, is_own_seq: bool = False) -> Any:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is float:
            gone = value - self._now
            return -memory_s if gone < -memory_s else round(gone / GRID_S)
        if kind is int:
            return min(_OLDEST, self._own_seq - value) if is_own_seq else value
        if kind in (str, bytes) or isinstance(value, enum.Enum):
            return value
        if kind is BootId:
            return any(value == boot for boot, _ in self._newest.values())
        if kind is Beat:
            return self.beat(value)
        if kind is Ack:
            return self._ack(value)
        if kind is Facts:
            return self._facts(value)
        if kind is dict:
            return tuple([self._walk(item, memory_s, is_own_seq) for item in value.values()])
        if kind in (set, frozenset, list, tuple):
            return tuple([self._walk(item, memory_s, is_own_seq) for item in value])
        return self._fields(value)

    def _fields(self, value: Any) -> Any:
        if id(value) in self._seen:
            return None
        self._seen.add(id(value))
        marks = marks_of_class(type(value))
        return tuple(
            [
                self._walk(item, marks.memory_s.get(name, _USUAL_MEMORY_S), name in marks.own_seqs)
                for name, item in value.__dict__.items()
                if name not in marks.not_state
            ]
        )
