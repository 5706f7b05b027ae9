"""When two worlds are alike: what an engine will do next, without what is only shown and without
absolute numbers.

Instants count from now, in steps of ``GRID_S``, and those long past are all the same. Sequence
numbers count from the newest of their life, lives from the newest of their node. Plain attributes
are walked, so that a new field of the engine counts without being named here: a field that is
forgotten below costs time, never a state.
"""

from __future__ import annotations

import enum
from typing import Any

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.timing import PROOF_LIFE_S, RESTART_HOLD_S, START_READY_DELAY_S, STUCK_S

GRID_S = 0.5
"""Instants nearer to each other than that are the same."""

_MEMORY_S = {
    "_goodbye_at": RESTART_HOLD_S + 1,
    "_ready_since": STUCK_S + 1,
    "at": PROOF_LIFE_S + 1,
    "_anchor": 60.0,
    "_told_anchor": 60.0,
}
_USUAL_MEMORY_S = START_READY_DELAY_S + 1
_OLDEST = 12
_OWN_SEQS = frozenset(
    {
        "ready_seq",
        "_stopped_seq",
        "_acked_seq",
        "_taken_over_seq",
        "_ack_floor",
        "_claim_seq",
        "_may_seem_content_seq",
    }
)
_NOT_A_CAUSE = frozenset(
    {
        "spec",
        "boot",
        "seq",
        "reason",
        "since",
        "counts",
        "pid",
        "link",
        "_pending",
        "_mirrored",
        "_stepped_at",
        "_expected_at",
        "_beat_at",
        "_stalled_at",
        "_arrivals",
        "_marks",
        "_own_boot",
        "own_boot",
        "_peer",
        "_same_since",
        "_taken_at",
        "sent_at",
        "rival_at",
        "unproven_since",
        "unproven_at",
        "_due",
        "_leave_began",
        "_past",
        "has_learnt",
        "cause",
        "_sight",
        "_late_s",
        "_pace",
        "pace",
        "own_seq",
        "_worked_until",
        "refused_at",
        "held_back",
        "_impossible_at",
        "_kept_on_s",
        "first_seq",
        "stepped_back_from",
        "_told",
        "_asking",
        "_is_question_new",
        "_learned_reason",
        "_said",
        "_repeated",
        "_repeat_seq",
        "_repeat_end",
        "_out_at",
        "_remembered",
        "_opens",
        "_last_text",
        "_ended",
        "_measured_s",
        "began_at",
        "text",
        "_booted_at",
        "_unfenced",
        # A world with one service has one fence, and its configuration stays as it is.
        "_last",
        "said_at",
        "said_of",
        "tells",
        "_flown",
        "_ready_groups",
        "_slowest",
        "_turns",
        "_next_turns",
        "_next_turns_seq",
    }
)
"""Attributes that are shown, that repeat others, or that only say when the next beat is due."""


class Outline:
    """Outlines of one world at one instant.

    ``newest`` holds the newest life and sequence number of each node.
    """

    def __init__(self, now: float, newest: dict[str, tuple[BootId, int]]) -> None:
        self._now = now
        self._newest = newest
        self._own_seq = 0
        self._seen: set[int] = set()

    def engine(self, engine: Engine) -> tuple[Any, ...]:
        """The outline of one engine."""
        self._own_seq = self._newest[engine.spec.node][1]
        self._seen = set()
        return engine.seq == 0, self._fields(engine)

    def beat(self, beat: Beat) -> tuple[Any, ...]:
        """The outline of a beat."""
        boot, seq = self._newest[beat.node]
        is_present = beat.boot == boot
        age = min(_OLDEST, seq - beat.seq) if is_present else -1
        facts = self._walk(beat.facts, "facts")
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
            silent,
            tuple(sorted(facts.unready)),
        )

    def _ack(self, ack: Ack | None) -> tuple[Any, ...] | None:
        if ack is None:
            return None
        for boot, seq in self._newest.values():
            if ack.boot == boot:
                return min(_OLDEST, seq - ack.seq), ack.is_taken
        return -1, ack.is_taken

    def _walk(self, value: Any, name: str) -> Any:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is float:
            gone = value - self._now
            memory_s = _MEMORY_S.get(name, _USUAL_MEMORY_S)
            return -memory_s if gone < -memory_s else round(gone / GRID_S)
        if kind is int:
            return min(_OLDEST, self._own_seq - value) if name in _OWN_SEQS else value
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
            return tuple([self._walk(item, name) for item in value.values()])
        if kind in (set, frozenset, list, tuple):
            return tuple([self._walk(item, name) for item in value])
        return self._fields(value)

    def _fields(self, value: Any) -> Any:
        if id(value) in self._seen:
            return None
        self._seen.add(id(value))
        return tuple(
            [
                self._walk(item, name)
                for name, item in value.__dict__.items()
                if name not in _NOT_A_CAUSE
            ]
        )
