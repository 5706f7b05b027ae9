"""What every heartbeat link offers: one end that sends frames, one end that receives them.

A link moves bytes and knows nothing of what they say. Each end is used by one thread. Whatever goes
wrong with a link is a LinkFault and concerns this link only: the caller closes the end, waits, and
opens it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from opensvc_openha.errors import SystemFault

Clock = Callable[[], float]
"""Monotonic seconds, given from above: links do not choose their clock."""


class LinkFault(SystemFault):
    """One heartbeat link cannot be used now: interface or device missing, refused, failing or
    hung.
    """


def fault_of(subject: str, error: OSError) -> LinkFault:
    """The operating system's refusal as a LinkFault about ``subject``."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LinkFault(f"{subject}: {reason}")


@dataclass(frozen=True)
class Received:
    """Bytes of one frame, the instant right after they were received, and where they came from."""

    data: bytes
    received_at: float
    source: str


class BeatSender(Protocol):
    """Sending end. ``remark`` is what the operator should know of a link that works, or empty.

    ``counters`` says how often something was found wrong after all, by reason.
    """

    remark: str
    counters: dict[str, int]

    def open(self) -> None:
        """Makes the end ready, again if need be; raises LinkFault."""

    def send(self, frame: bytes) -> None:
        """Hands one frame to the system without waiting for the peer; raises LinkFault."""

    def close(self) -> None:
        """Gives everything back, without waiting; may be called at any time."""


class BeatListener(Protocol):
    """Receiving end. ``counters`` says how many frames came and how much was dropped, by reason."""

    remark: str
    counters: dict[str, int]

    def open(self) -> None:
        """Makes the end ready, again if need be; raises LinkFault."""

    def receive(self, timeout_s: float) -> Received | None:
        """The next frame, or None if none comes within the time; raises LinkFault."""

    def close(self) -> None:
        """Gives everything back, without waiting; may be called at any time."""
