"""Work out when a datagram came in, on the monotonic clock, from the kernel's stamp.

The kernel stamps an arrival with the wall clock, which may be set meanwhile; only the monotonic one
decides. The age of a stamp is therefore taken at the read, and bounded by what is known without it:

    not later than the read       so a stamp makes no beat younger than it was without stamps: a
                                  dead peer is never heard for longer
    not before the socket was     what is read now came in after that, whatever the clocks show
    last seen empty
    a clock that was set since    the instant of the read counts, as without stamps: the older
    then                          bound would age the beats of all links at once, by up to a beat
                                  interval, and call a living peer silent

A clock that is only slewed gives an age that is wrong by what it gained or lost since the socket
was seen empty; that is added, so that no beat gets younger by it.
"""

from __future__ import annotations

from opensvc_openha.links.base import Clock

SET_S = 0.01
"""If the wall clock gains or loses more than this, it was set, or is slewed in great haste."""


class ArrivalTimes:
    """Arrivals at one socket; used by the thread that reads it."""

    def __init__(self, monotonic: Clock, wall: Clock | None) -> None:
        """Know that the socket is empty now. Without ``wall`` there are no stamps."""
        self._monotonic, self._wall = monotonic, wall
        self._empty_at, self._offset_s = self._begun = self.begin_read()

    def begin_read(self) -> tuple[float, float]:
        """Note the instant before a read; return it, and what the wall clock is ahead of it."""
        now = self._monotonic()
        self._begun = now, 0.0 if self._wall is None else self._wall() - now
        return self._begun

    def record_empty(self) -> None:
        """Record that the read that was begun last showed nothing: what comes in is later."""
        self._empty_at, self._offset_s = self._begun

    def of_read(self, stamp_s: float | None) -> tuple[float, float]:
        """Return when a datagram that was read just now came in, and the instant of the read.

        ``stamp_s`` is the kernel's stamp, None if it has none.
        """
        read_at = self._monotonic()
        if self._wall is None or stamp_s is None:
            return read_at, read_at
        wall_s = self._wall()
        gained_s = abs(wall_s - read_at - self._offset_s)
        if gained_s > SET_S:
            return read_at, read_at
        age_s = max(0.0, wall_s - stamp_s + gained_s)
        return max(read_at - age_s, min(self._empty_at, read_at)), read_at
