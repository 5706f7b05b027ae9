r"""Encode and decode STATE files: a node's newest state of a service, as in the original.

The first two bytes are always the original's: an ASCII digit and a NUL. Where the digit alone would
lose something, a short tail follows::

    7\0                          START_READY
    7\0FROZEN_START\n            FROZEN_START, which has no digit of its own
    1\0then FROZEN_STOP\n        STOPPING, to end in FROZEN_STOP
    0\0then FROZEN_STOP\n        STOPPED, to end there once the wrapper reported it down

A C OpenHA rewrites the first two bytes in place and leaves the rest, so a tail that does not fit
its digit is old and ignored. So are NUL bytes at the end: a record written over a longer one may
have them. Files, paths and what to do about a damaged file are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.states import ServiceState

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

    def __post_init__(self) -> None:
        if self.frozen_target is not None and (self.state, self.frozen_target) not in _ENDINGS:
            raise ValueError(f"{self.state.name} cannot be followed by {self.frozen_target.name}")


def _tail(stored: StoredState) -> bytes:
    """Return what must follow the two bytes so that decoding restores ``stored``."""
    if stored.frozen_target is not None:
        return f"then {stored.frozen_target.name}\n".encode("ascii")
    if stored.state is ServiceState.FROZEN_START:
        return b"FROZEN_START\n"
    return b""


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
    code = int(digit)
    return _TAILS.get((code, data[2:].rstrip(b"\0")), StoredState(ServiceState.from_digit(code)))


def _excerpt(data: bytes) -> str:
    if not data:
        return "an empty file"
    return f"{len(data)} bytes that begin with {data[:16]!r}" if len(data) > 16 else repr(data)
