"""Define what every heartbeat link offers: an end that sends frames, one that receives them.

A link moves bytes and does not know their meaning. Each end is used by one thread. Any problem of a
link is a LinkFault and affects this link only: the caller closes the end, waits, and opens it
again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import Protocol
from opensvc_openha.links.row import Place
from opensvc_openha.records import dataclass

Clock = Callable[[], float]
"""Monotonic seconds, passed in: links do not choose their clock."""


class LinkFault(SystemFault):
    """One link cannot be used now: interface or device missing, refused, failing or hung."""


def fault_of(subject: str, error: OSError) -> LinkFault:
    """Return the operating system's error as a LinkFault about ``subject``."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return LinkFault(f"{subject}: {reason}")


@dataclass(frozen=True)
class Received:
    """Bytes of one frame, the instant right after their arrival, and their source.

    ``is_checked`` if the link has found the checksum right that it carries them with; ``read_at``
    is when they were read, where they are known to have come in before.
    """

    data: bytes
    received_at: float
    source: str
    is_checked: bool = False
    read_at: float | None = None


@dataclass(frozen=True)
class Quiet:
    """A place of a beat was read around all caches, and held what it had held before.

    The read began at ``read_at``; ``since`` is when the read ended that showed this content first.
    """

    read_at: float
    since: float


class BeatSender(Protocol):
    """Sending end. ``remark`` is a hint for the operator about a working link, or empty.

    ``counters`` holds how often something was wrong after all, by reason. ``disk`` identifies the
    disk that was opened; empty if that is not known, or if there is none.
    """

    remark: str
    counters: dict[str, int]
    disk: str

    def open(self) -> None:
        """Prepare the end, again if need be; raise LinkFault."""

    def send(self, frame: bytes) -> None:
        """Pass one frame to the system without waiting for the peer; raise LinkFault."""

    def close(self) -> None:
        """Release everything without waiting; may be called at any time."""


class BeatListener(Protocol):
    """Receiving end. ``counters`` holds the received frames and the dropped ones by reason.

    ``quiet`` is the last read that found nothing new; None where a beat does not stay, and as long
    as no read of this opening can say so. ``found`` is what lay there when it was opened, which is
    no beat that came in; None where nothing did, and before that was read. ``disk`` as for the
    sending end.
    """

    remark: str
    counters: dict[str, int]
    disk: str
    quiet: Quiet | None
    found: Received | None

    def open(self) -> None:
        """Prepare the end, again if need be; raise LinkFault."""

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next frame, or None if none comes within the time; raise LinkFault."""

    def rouse(self) -> None:
        """Have ``receive`` return soon, now or the next time; may be called by any thread."""

    def close(self) -> None:
        """Release everything without waiting; may be called at any time."""


@dataclass(frozen=True)
class LinkType:
    """One type of the monitor file: its row, its ends, and its name beside the original's."""

    word: str
    """Second column of the monitor file, and the type in logs and status."""
    meaning: str
    """Where beats go, for the table of docs/heartbeats.md."""
    columns: tuple[str, ...]
    """Names of the columns between type and timeout."""
    read_place: Callable[[Sequence[str]], Place]
    """Reads these columns; raises ValueError with a text for the operator."""
    sender: Callable[[LinkSpec], BeatSender]
    listener: Callable[[LinkSpec, Clock], BeatListener]
    process_suffix: str
    """What the original's processes heartd and heartc of this type end with, for `ps`."""
