r"""Encode and decode STATE files: a node's newest state of a service, as in the original.

The first two bytes are always the original's: an ASCII digit and a NUL. Where the digit alone would
lose something, a short tail follows::

    7\0                          START_READY
    7\0FROZEN_START\n            FROZEN_START, which has no digit of its own
    1\0then FROZEN_STOP\n        STOPPING, to end in FROZEN_STOP
    0\0then FROZEN_STOP\n        STOPPED, to end there once the wrapper reported it down
    2\0by order\n                STARTED where an operator wanted it
    2\0returned 1234.5\n         STARTED, and came back from its primary at that monotonic time

A C OpenHA rewrites the first two bytes in place and leaves the rest, so a tail that does not fit
its digit is old and ignored. So are NUL bytes at the end: a record written over a longer one may
have them. Files, paths and what to do about a damaged file are the caller's.
"""

from __future__ import annotations

import re

from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.stay import FREE, ORDERED, Stay
from opensvc_openha.records import dataclass

_ENDINGS = frozenset(
    {
        (ServiceState.STOPPING, ServiceState.FROZEN_STOP),
        (ServiceState.STOPPED, ServiceState.FROZEN_STOP),
        (ServiceState.STARTING, ServiceState.FROZEN_START),
        (ServiceState.START_READY, ServiceState.FROZEN_START),
    }
)
"""Transient states on the way to a frozen one."""


@dataclass(frozen=True)
class StoredState:
    """A state and, if it leads to a frozen state, that one."""

    state: ServiceState
    frozen_target: ServiceState | None = None
    stay: Stay = FREE
    """Why it is not to go back to its primary; there is no room for that beside another tail."""

    def __post_init__(self) -> None:
        if self.stay != FREE and _other_tail(self):
            raise ValueError(f"{self.state.name} has no room for why the service stays")
        if self.frozen_target is not None and (self.state, self.frozen_target) not in _ENDINGS:
            raise ValueError(f"{self.state.name} cannot be followed by {self.frozen_target.name}")


def _tail(stored: StoredState) -> bytes:
    """Return what must follow the two bytes so that decoding restores ``stored``."""
    if stored.stay.is_ordered:
        return _BY_ORDER
    if stored.stay.returned_at is not None:
        return f"returned {stored.stay.returned_at:.3f}\n".encode("ascii")
    return _other_tail(stored)


def _other_tail(stored: StoredState) -> bytes:
    if stored.frozen_target is not None:
        return f"then {stored.frozen_target.name}\n".encode("ascii")
    if stored.state is ServiceState.FROZEN_START:
        return b"FROZEN_START\n"
    return b""


_BY_ORDER = b"by order\n"
_RETURNED = re.compile(rb"returned ([0-9]{1,12}\.[0-9]{3})\n\Z")
_TAILS = {
    (stored.state.digit, _tail(stored)): stored
    for stored in [StoredState(ServiceState.FROZEN_START)]
    + [StoredState(state, frozen_target) for state, frozen_target in _ENDINGS]
}


def encode(stored: StoredState) -> bytes:
    """Return the whole content of the STATE file for ``stored``."""
    return f"{stored.state.digit}\0".encode("ascii") + _tail(stored)


def decode(data: bytes) -> StoredState:
    """Decode a STATE file; raise ValueError if it holds nothing reliable."""
    digit, end = data[:1], data[1:2]
    # The original's init script writes "6\n", other tools a lone digit: nothing may follow these.
    is_complete = end == b"\0" or data[1:] in (b"", b"\n")
    if not digit.isdigit() or not is_complete:
        raise ValueError(f"expected a digit 0-9 and a NUL byte; found {_excerpt(data)}")
    code, tail = int(digit), data[2:].rstrip(b"\0")
    known = _TAILS.get((code, tail))
    return known or StoredState(ServiceState.from_digit(code), stay=_stay_of(tail))


def _stay_of(tail: bytes) -> Stay:
    if tail == _BY_ORDER:
        return ORDERED
    returned = _RETURNED.match(tail)
    return FREE if returned is None else Stay(returned_at=float(returned.group(1)))


def _excerpt(data: bytes) -> str:
    if not data:
        return "an empty file"
    return f"{len(data)} bytes that begin with {data[:16]!r}" if len(data) > 16 else repr(data)
