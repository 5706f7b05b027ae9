"""Queue the events for the engine's thread: beats first, then all others in their order.

A beat that was received in time must not wait behind thousands of ends of scripts: the peer would
be called silent for it. One without news wakes nobody: it waits for the next step, which it leads
(``core.expected_beat``). One other item passes after so many beats in a row, so that a flood of
them locks out no operator. What shows that a link is quiet stays behind the beats of that link.
Renewals of this node's own promise, and the state of its watchdog, come first: that does not wait.
Ends of scripts that wait may share a step of the engine, and so may an order for many services
(``take_more``). The first end may wait a moment for others; anything else that comes ends that
wait, but for beats without news.
"""

from __future__ import annotations

import collections
import itertools
import threading

from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    Event,
    ListenerTried,
    MediumQuiet,
    MediumUnread,
    RenewalConfirmed,
    SlotOpened,
    Tick,
    WatchdogLost,
    WatchdogReady,
)
from opensvc_openha.core.expected_beat import EXPECTED_MAX, ExpectedBeat
from opensvc_openha.core.shared_step import SHARED_STEP_MAX, Shared, shared_step, shares_step
from opensvc_openha.core.timing import INBOX_LIMIT
from opensvc_openha.errors import NotAnsweringError
from opensvc_openha.hints import Generic, TypeVar

BEATS_IN_A_ROW = 256
"""Beats taken before another item has its turn: more than all links deliver during one step."""

ANSWER_LIMIT_S = 1.5
"""Seconds for which the engine is waited for."""
SILENT = "the engine does not answer"

Item = TypeVar("Item")
_OfLinks = BeatReceived | BeatFound | ListenerTried | MediumQuiet | MediumUnread | SlotOpened
_OfWatchdog = RenewalConfirmed | WatchdogReady | WatchdogLost


class Barrier:
    """An item that waits in line: once it is taken, so is all that was put before it."""

    def __init__(self) -> None:
        self.reached = threading.Event()

    def reach(self) -> None:
        """Release the waiting thread."""
        self.reached.set()

    def wait(self) -> None:
        """Wait until it is reached; NotAnsweringError if that takes too long."""
        if not self.reached.wait(ANSWER_LIMIT_S):
            raise NotAnsweringError(SILENT)


class Inbox(Generic[Item]):
    """A queue with a separate lane for the links; any thread puts, one thread takes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._of_watchdog: collections.deque[_OfWatchdog] = collections.deque()
        self._expected: ExpectedBeat | None = None
        """What a beat without news has; None while there may be news before it."""
        self._without_news: list[BeatReceived] = []
        """They came before all in ``_beats``, and after all that was taken."""
        self._beats: collections.deque[_OfLinks] = collections.deque()
        self._others: collections.deque[Item] = collections.deque()
        self._in_a_row = 0
        self._in_hand: list[_OfLinks] = []
        """What was taken last of the links, until the next item is taken."""
        self._awaited = 0
        """Ends of scripts for which the first one waits; 0 while none does."""

    def put(self, item: Item | _OfLinks | _OfWatchdog) -> None:
        """Add an item; never block."""
        with self._changed:
            if isinstance(item, _OfWatchdog):
                self._of_watchdog.append(item)
            elif isinstance(item, _OfLinks):
                self._add_of_links(item)
                if not self._has_news:
                    return
            else:
                self._others.append(item)
                if shares_step(item) and len(self._others) < self._awaited:
                    return  # One more of those that are waited for.
            self._changed.notify()

    def _add_of_links(self, item: _OfLinks) -> None:
        expected = self._expected
        if expected is not None and isinstance(item, BeatReceived) and expected.matches(item):
            self._without_news.append(item)
        else:
            # What comes behind news keeps its place.
            self._expected = None
            self._beats.append(item)

    @property
    def is_due(self) -> bool:
        """True while something waits for which the engine is woken."""
        return bool(self._of_watchdog or self._others) or self._has_news

    @property
    def _has_news(self) -> bool:
        """True while something of the links waits that wakes it, or too much that does not."""
        return bool(self._beats) or len(self._without_news) >= EXPECTED_MAX

    def expect(self, expected: ExpectedBeat | None) -> None:
        """Let beats like this wait for the next step from now on; the taking thread calls it.

        Those that wait already and are not like it have a step each.
        """
        with self._changed:
            if expected is not None and not all(map(expected.matches, self._without_news)):
                expected = None
            if expected is None:
                self._beats.extendleft(reversed(self._without_news))
                self._without_news.clear()
            # What waits may be news, and keeps its place.
            self._expected = None if self._beats else expected

    def offer(self, beat: BeatReceived) -> bool:
        """Add a beat; False, and it is dropped, while too many items wait."""
        if self.qsize() >= INBOX_LIMIT:
            return False
        self.put(beat)
        return True

    def offer_quietly(self, beat: BeatReceived) -> bool:
        """Add a beat in the same way, without waking the engine: ``wake`` follows soon.

        One step after the other instead of both threads by turns: beats come in by several links
        at once.
        """
        with self._changed:
            if self.qsize() >= INBOX_LIMIT:
                return False
            self._add_of_links(beat)
        return True

    def wake(self) -> None:
        """Wake the engine for what was added quietly, unless that has no news."""
        with self._changed:
            if self._has_news:
                self._changed.notify()

    def get(self, timeout_s: float) -> Item | _OfLinks | _OfWatchdog | None:
        """Return the next item; None if there is none within ``timeout_s`` seconds.

        Beats without news are taken by ``take_expected``.
        """
        with self._changed:
            self._in_hand.clear()
            if not self.is_due and timeout_s > 0:
                self._changed.wait(timeout_s)
            if self._of_watchdog:
                return self._of_watchdog.popleft()
            if self._beats and (not self._others or self._in_a_row < BEATS_IN_A_ROW):
                self._in_a_row += 1
                self._in_hand.append(self._beats.popleft())
                return self._in_hand[0]
            self._in_a_row = 0
            return self._others.popleft() if self._others else None

    def take_expected(self) -> tuple[BeatReceived, ...]:
        """Return the beats without news that wait: the step of what was just taken has them first.

        That is right because they came before all other beats.
        """
        with self._changed:
            taken = tuple(self._without_news)
            self._without_news.clear()
            self._in_hand[:0] = taken
            return taken

    def take_more(self, first: object, awaited: int = 0, limit_s: float = 0.0) -> list[Shared]:
        """Return what may share the step of ``first``, which was just taken, and wait no more.

        Where fewer than ``awaited`` wait, those that come within ``limit_s`` seconds join them,
        until anything else comes. A tick among it is dropped, since this is a step. Nothing while a
        beat waits, which comes first.
        """
        with self._changed:
            if limit_s > 0 and self.is_incomplete(first, awaited):
                self._awaited = awaited
                self._changed.wait(limit_s)
                self._awaited = 0
            taken = self._shared_with(first)
            while taken and self._others.popleft() is not taken[-1]:
                pass
            return taken

    def is_incomplete(self, first: object, awaited: int) -> bool:
        """Return True if fewer than ``awaited`` ends join ``first``, and nothing else waits."""
        if awaited == 0 or self._is_urgent:
            return False
        return len(self._shared_with(first)) == len(self._others) < awaited

    @property
    def _is_urgent(self) -> bool:
        return bool(self._beats or self._of_watchdog)

    def _shared_with(self, first: object) -> list[Shared]:
        """Return what of all that waits may share the step of ``first``."""
        if not isinstance(first, Shared) or self._is_urgent:
            return []
        waiting: list[Shared] = []
        for item in itertools.islice(self._others, SHARED_STEP_MAX):
            if isinstance(item, Shared):
                waiting.append(item)
            elif not isinstance(item, Tick):
                break
        return shared_step((first, *waiting))[1:]

    def take_renewal(self) -> RenewalConfirmed | None:
        """Return the next renewal, unless other news of the watchdog come before it."""
        with self._changed:
            first = self._of_watchdog[0] if self._of_watchdog else None
            if not isinstance(first, RenewalConfirmed):
                return None
            self._of_watchdog.popleft()
            return first

    @property
    def has_beats(self) -> bool:
        """Return True while a beat waits."""
        return bool(self._beats or self._without_news)

    @property
    def are_beats_taken(self) -> bool:
        """Return True if no beat waits or is being handled by the taking thread."""
        with self._changed:
            return not self.has_beats and not self._in_hand

    def unread(self) -> tuple[BeatReceived, ...]:
        """Return the beats that came in and may not have been handled yet, in their order.

        Those in the hand of the taking thread are among them.
        """
        with self._changed:
            waiting = (*self._in_hand, *self._without_news, *self._beats)
        return tuple(item for item in waiting if isinstance(item, BeatReceived))

    def qsize(self) -> int:
        """Return the number of waiting items."""
        beats = len(self._without_news) + len(self._beats)
        return len(self._of_watchdog) + beats + len(self._others)


EngineInbox = Inbox[Event | Barrier]
