"""Encode and decode facts in a heartbeat: entries of type 1, length 2, value; big-endian.

::

    1  node      flags 1 (1: booting, 2: defends, 4: knows the times of its fences) | turn 1
                 | priority 4 | fence time, ms 4 | peer silent for, ms 4 (0xFFFFFFFF: none)
    2  unready   one bit per service, in sorted name order, the first service in the highest bit
    3  marks     4 each: of the parts of the configuration, in the order of core.configuration_marks
    4  promise   dead after, ms 4 | flags 1 (1: virtual machine, 2: may have stopped its services
                 instead) | count 1 | mark of a medium 8 each
    5  disks     one bit per service whose disks answer, one bit per service whose disks are frozen,
                 then for how long, s 2 each, in the order of the frozen ones
    6  ordered   one bit per service that an operator has taken from the node
    7  targets   reach 1 (0: not known, 1: reachable, 2: isolated) | answered rounds 4
    8  held      for how long a drill still holds fences back, ms 4

An entry of an unknown type is skipped, and bytes after the known ones of a known type are ignored,
so that a later version may add both. Sets of services are indexes here: their names are those
behind the frame's digest.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from opensvc_openha.core.configuration_marks import MARK_BYTES
from opensvc_openha.core.facts import Connectivity, Facts, Reach, Turn
from opensvc_openha.core.model import MARK_BYTES as MEDIUM_BYTES
from opensvc_openha.core.promise import Promise
from opensvc_openha.records import dataclass

_ENTRY = struct.Struct(">BH")
_NODE = struct.Struct(">BBIII")
_PROMISE = struct.Struct(">IBB")
_FROZEN_S = struct.Struct(">H")
_TARGETS = struct.Struct(">BI")
_HELD = struct.Struct(">I")
_NODE_TYPE, _UNREADY_TYPE, _MARKS_TYPE, _PROMISE_TYPE, _DISKS_TYPE = 1, 2, 3, 4, 5
_ORDERED_TYPE = 6
_TARGETS_TYPE = 7
_HELD_TYPE = 8
_MARKS_MAX = 32
_BOOTING, _DEFENDING, _TIMED = 1, 2, 4
_VIRTUAL = 1
_MAY_STOP = 2
_NONE = 0xFFFFFFFF
_FROZEN_MAX_S = 0xFFFF
_TURNS = {turn.value: turn for turn in Turn}
_REACHES = (Reach.UNKNOWN, Reach.REACHABLE, Reach.ISOLATED)
"""In the order of their numbers."""


@dataclass(frozen=True)
class RawFacts:
    """Facts as in a frame: ``facts`` without its sets of services, which are given as indexes."""

    facts: Facts
    unready: frozenset[int] = frozenset()
    answering: frozenset[int] = frozenset()
    frozen: Mapping[int, int] = field(default_factory=dict)
    ordered: frozenset[int] = frozenset()

    def resolve(self, names: Mapping[int, str]) -> Facts:
        """Return the facts with the names of the services that are known."""

        def named(indexes: frozenset[int]) -> frozenset[str]:
            return frozenset(names[index] for index in indexes if index in names)

        return replace(
            self.facts,
            unready=named(self.unready),
            answering=named(self.answering),
            frozen={names[index]: held for index, held in self.frozen.items() if index in names},
            ordered=named(self.ordered),
        )


def pack_facts(facts: Facts, names: Sequence[str]) -> bytes:
    """Return the entries for ``facts``; ``names`` are the sorted names of the frame's services."""
    flags = (_BOOTING if facts.is_booting else 0) | (_DEFENDING if facts.is_defending else 0)
    flags |= _TIMED if facts.knows_fence_time else 0
    node = _NODE.pack(
        flags,
        facts.turn.value,
        min(facts.priority, _NONE),
        _to_ms(facts.fence_s),
        _to_ms(facts.silent_s),
    )
    packed = _entry(_NODE_TYPE, node)
    if facts.marks:
        packed += _entry(_MARKS_TYPE, b"".join(facts.marks))
    if facts.promise is not None:
        packed += _entry(_PROMISE_TYPE, _pack_promise(facts.promise))
    if facts.unready:
        packed += _entry(_UNREADY_TYPE, _pack_set(facts.unready, names))
    if facts.answering or facts.frozen:
        packed += _entry(_DISKS_TYPE, _pack_disks(facts, names))
    if facts.ordered:
        packed += _entry(_ORDERED_TYPE, _pack_set(facts.ordered, names))
    if facts.connectivity is not None:
        packed += _entry(_TARGETS_TYPE, _pack_targets(facts.connectivity))
    if facts.held_s is not None:
        packed += _entry(_HELD_TYPE, _HELD.pack(_to_ms(facts.held_s)))
    return packed


def least_facts(facts: Facts) -> Facts:
    """Return what a frame without room for all facts has: what a promise is withdrawn by."""
    none: frozenset[str] = frozenset()
    return replace(
        facts,
        unready=none,
        marks=(),
        answering=none,
        frozen={},
        ordered=none,
        connectivity=None,
    )


def unpack_facts(data: bytes, services: int) -> RawFacts:
    """Decode the entries ``data`` of a frame with ``services`` services.

    Raises ValueError if they are malformed.
    """
    facts = Facts()
    unready: frozenset[int] = frozenset()
    ordered: frozenset[int] = frozenset()
    marks: tuple[bytes, ...] = ()
    promise: Promise | None = None
    disks: tuple[frozenset[int], dict[int, int]] = frozenset(), {}
    connectivity: Connectivity | None = None
    held_s: float | None = None
    seen = set()
    offset = 0
    while offset < len(data):
        if offset + _ENTRY.size > len(data):
            raise ValueError("an entry of the facts has no head")
        kind, length = _ENTRY.unpack_from(data, offset)
        offset += _ENTRY.size
        value = data[offset : offset + length]
        offset += length
        if len(value) < length:
            raise ValueError(f"entry {kind} of the facts runs over the end")
        if kind in seen:
            raise ValueError(f"entry {kind} of the facts comes twice")
        seen.add(kind)
        if kind == _NODE_TYPE:
            facts = _unpack_node(value)
        elif kind == _UNREADY_TYPE:
            unready = _unpack_set(value, services)
        elif kind == _MARKS_TYPE:
            marks = _unpack_marks(value)
        elif kind == _PROMISE_TYPE:
            promise = _unpack_promise(value)
        elif kind == _DISKS_TYPE:
            disks = _unpack_disks(value, services)
        elif kind == _ORDERED_TYPE:
            ordered = _unpack_set(value, services)
        elif kind == _TARGETS_TYPE:
            connectivity = _unpack_targets(value)
        elif kind == _HELD_TYPE:
            held_s = _unpack_held(value)
    facts = replace(facts, marks=marks, promise=promise, connectivity=connectivity, held_s=held_s)
    return RawFacts(facts, unready, *disks, ordered)


def _entry(kind: int, value: bytes) -> bytes:
    return _ENTRY.pack(kind, len(value)) + value


def _unpack_node(value: bytes) -> Facts:
    if len(value) < _NODE.size:
        raise ValueError(f"the facts of the node take {len(value)} bytes")
    flags, turn, priority, fence_ms, silent_ms = _NODE.unpack_from(value)
    if turn not in _TURNS:
        raise ValueError(f"unknown turn {turn}")
    return Facts(
        is_booting=bool(flags & _BOOTING),
        is_defending=bool(flags & _DEFENDING),
        turn=_TURNS[turn],
        priority=priority,
        fence_s=_from_ms(fence_ms),
        silent_s=_from_ms(silent_ms),
        knows_fence_time=bool(flags & _TIMED),
    )


def _unpack_marks(value: bytes) -> tuple[bytes, ...]:
    if len(value) % MARK_BYTES or len(value) > _MARKS_MAX * MARK_BYTES:
        raise ValueError(f"marks of the configuration take {len(value)} bytes")
    return tuple(value[at : at + MARK_BYTES] for at in range(0, len(value), MARK_BYTES))


def _pack_promise(promise: Promise) -> bytes:
    # Rounded up: a shorter promise would be broken. Half a microsecond is the error of a float.
    milliseconds = min(_NONE, math.ceil(promise.death_s * 1000 - 0.0005))
    flags = (_VIRTUAL if promise.is_virtual else 0) | (_MAY_STOP if promise.may_stop else 0)
    media = sorted(promise.media)
    return _PROMISE.pack(milliseconds, flags, len(media)) + b"".join(media)


def _unpack_promise(value: bytes) -> Promise:
    if len(value) < _PROMISE.size:
        raise ValueError(f"a promise takes {len(value)} bytes")
    milliseconds, flags, count = _PROMISE.unpack_from(value)
    marks = value[_PROMISE.size : _PROMISE.size + count * MEDIUM_BYTES]
    if len(marks) < count * MEDIUM_BYTES:
        raise ValueError(f"a promise with {count} media takes {len(value)} bytes")
    if not milliseconds:
        raise ValueError("a promise of 0 ms")
    media = frozenset(marks[at : at + MEDIUM_BYTES] for at in range(0, len(marks), MEDIUM_BYTES))
    is_virtual, may_stop = bool(flags & _VIRTUAL), bool(flags & _MAY_STOP)
    return Promise(milliseconds / 1000, media, is_virtual, may_stop)


def _pack_disks(facts: Facts, names: Sequence[str]) -> bytes:
    sets = _pack_set(facts.answering, names) + _pack_set(frozenset(facts.frozen), names)
    held = (facts.frozen[name] for name in names if name in facts.frozen)
    return sets + b"".join(_FROZEN_S.pack(min(max(0, each), _FROZEN_MAX_S)) for each in held)


def _unpack_disks(value: bytes, services: int) -> tuple[frozenset[int], dict[int, int]]:
    length = (services + 7) // 8
    answering = _unpack_set(value[:length], services)
    frozen = sorted(_unpack_set(value[length : 2 * length], services))
    held = value[2 * length : 2 * length + _FROZEN_S.size * len(frozen)]
    if len(held) < _FROZEN_S.size * len(frozen):
        raise ValueError(f"{len(frozen)} services with frozen disks take {len(value)} bytes")
    if not answering.isdisjoint(frozen):
        raise ValueError("disks of a service answer, and do not")
    return answering, {
        index: _FROZEN_S.unpack_from(held, _FROZEN_S.size * place)[0]
        for place, index in enumerate(frozen)
    }


def _pack_targets(connectivity: Connectivity) -> bytes:
    answers = min(connectivity.answers, _NONE)
    return _TARGETS.pack(_REACHES.index(connectivity.reach), answers)


def _unpack_targets(value: bytes) -> Connectivity:
    if len(value) < _TARGETS.size:
        raise ValueError(f"the facts of targets take {len(value)} bytes")
    number, answers = _TARGETS.unpack_from(value)
    # A later version may know more than these: of that nothing follows here.
    reach = _REACHES[number] if number < len(_REACHES) else Reach.UNKNOWN
    return Connectivity(reach, answers)


def _unpack_held(value: bytes) -> float | None:
    if len(value) < _HELD.size:
        raise ValueError(f"for how long fences are held back takes {len(value)} bytes")
    return _from_ms(_HELD.unpack_from(value)[0])


def _to_ms(seconds: float | None) -> int:
    return _NONE if seconds is None else max(0, min(_NONE - 1, round(seconds * 1000)))


def _from_ms(milliseconds: int) -> float | None:
    return None if milliseconds == _NONE else milliseconds / 1000


def _pack_set(chosen: frozenset[str], names: Sequence[str]) -> bytes:
    packed = bytearray((len(names) + 7) // 8)
    for index, name in enumerate(names):
        if name in chosen:
            packed[index // 8] |= 0x80 >> index % 8
    return bytes(packed)


def _unpack_set(value: bytes, services: int) -> frozenset[int]:
    if len(value) != (services + 7) // 8:
        raise ValueError(f"a set of {services} services takes {len(value)} bytes")
    return frozenset(index for index in range(services) if value[index // 8] & 0x80 >> index % 8)
