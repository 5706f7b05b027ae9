"""What waits for the engine's thread: beats first, then everything else in the order in which it
came.

A beat that was received in time must not wait behind thousands of ends of scripts: the peer would
be called silent for it. One other item is let through after so many beats in a row, so that a flood
of them keeps no operator out.
"""

from __future__ import annotations

import collections
import threading
from typing import Generic, TypeVar

from opensvc_openha.core.events import BeatReceived, ListenerTried

BEATS_IN_A_ROW = 256
"""Beats that are taken before another item has its turn: more than all links bring in while one
step is taken."""

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """A queue with a lane for what comes from the links; any thread puts, one thread takes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._beats: collections.deque[BeatReceived | ListenerTried] = collections.deque()
        self._others: collections.deque[Item] = collections.deque()
        self._in_a_row = 0
        self._is_one_in_hand = False

    def put(self, item: Item | BeatReceived | ListenerTried) -> None:
        """Adds an item; never waits."""
        with self._changed:
            if isinstance(item, (BeatReceived, ListenerTried)):
                self._beats.append(item)
            else:
                self._others.append(item)
            self._changed.notify()

    def get(self, timeout_s: float) -> Item | BeatReceived | ListenerTried | None:
        """The next item; None if there is none within ``timeout_s`` seconds."""
        with self._changed:
            self._is_one_in_hand = False
            if not self._beats and not self._others and timeout_s > 0:
                self._changed.wait(timeout_s)
            if self._beats and (not self._others or self._in_a_row < BEATS_IN_A_ROW):
                self._in_a_row += 1
                self._is_one_in_hand = True
                return self._beats.popleft()
            self._in_a_row = 0
            return self._others.popleft() if self._others else None

    @property
    def has_beats(self) -> bool:
        """True while something that a link brought waits."""
        return bool(self._beats)

    @property
    def are_beats_taken(self) -> bool:
        """True if nothing that a link brought waits, nor is it in the hands of the thread that
        takes.
        """
        with self._changed:
            return not self._beats and not self._is_one_in_hand

    def qsize(self) -> int:
        """How many items wait."""
        return len(self._beats) + len(self._others)
