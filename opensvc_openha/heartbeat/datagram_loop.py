"""Serve all ends of heartbeat links on networks with one thread: send, listen, open again.

A beat is sent at the moment it is posted, by the thread that posts it while this one waits: to wake
a thread, and to pass the interpreter on, takes longer than to send. Otherwise this thread sends it,
before anything that came in is handled, and between any two frames: a flood on one link delays no
beat, and the other links by one batch. What may wait, which is opening and closing a socket (a name
server; the kernel's lock on its networks), is done in a thread of its own, which ends with it. So a
fault affects its own link only.
"""

from __future__ import annotations

import collections
import math
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from opensvc_openha.core import timing
from opensvc_openha.errors import OpenhaError
from opensvc_openha.heartbeat.datagram_ends import DatagramEnd, DatagramListener, DatagramSender
from opensvc_openha.heartbeat.link_end import STOP_LIMIT_S
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.heartbeat.stage_meter import StageMeter
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

BATCH = 32
"""Frames of one link that are handled before the other links have their turn."""
_WAIT_S = 1.0
"""Longest wait, in seconds."""
_LOOK_S = 0.5
"""Seconds between looks at all ends, at a wake-up of the loop."""
_Done = Callable[[str], None]
"""Called by the loop's thread with the problem of what was done beside it; empty for none."""


def _text_of(error: Exception) -> str:
    if isinstance(error, OpenhaError):
        return str(error)
    return f"unexpected: {type(error).__name__}: {error}"


class DatagramLoop:
    """The thread of all ends on networks; it is started with the first of them.

    ``serve``, ``send``, ``wake`` and ``stop`` may be called by any thread.
    """

    def __init__(self, outbox: BeatOutbox, wake_engine: Callable[[], None]) -> None:
        """Call ``wake_engine`` after beats were passed on, at the end of each turn."""
        self.read = StageMeter("kernel -> read")
        self.sent = StageMeter("posted -> sent")
        self._outbox = outbox
        self._wake_engine = wake_engine
        self._lock = threading.Lock()
        self._in_use = threading.Lock()
        """Held by who uses the ends: by the loop's thread, but while it waits."""
        self._thread: threading.Thread | None = None
        self._wake_handle = -1
        self._poll: select.epoll | None = None
        self._is_ending = False
        self._arriving: collections.deque[DatagramEnd] = collections.deque()
        self._done: collections.deque[tuple[DatagramEnd, _Done, str]] = collections.deque()
        self._ends: list[DatagramEnd] = []
        self._senders: list[DatagramSender] = []
        self._tend_at = math.inf
        """When an end is to be opened again."""
        self._look_at = -math.inf
        """When the ends are looked at, at a wake-up for whatever reason."""
        self._is_asked = False
        """An end was asked for something, or is done with it."""
        self._tried = 0
        """Number of the beat that each sender in use has tried."""
        self._by_handle: dict[int, DatagramListener] = {}
        self._is_hearing = False
        """Frames were read, or are about to be, that the engine may not have yet."""
        outbox.on_post(self.send)

    def serve(self, end: DatagramEnd, enter: Callable[[], None]) -> None:
        """Serve an end from now on, until it is asked to end; a new thread calls ``enter`` first.

        Raises OSError if the system has no handles for it.
        """
        with self._lock:
            if self._thread is None:
                self._poll = select.epoll()
                self._wake_handle = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._poll.register(self._wake_handle, select.EPOLLIN)
                thread = threading.Thread(
                    target=self._main, args=(self._poll, enter), name="links", daemon=True
                )
                thread.start()
                self._thread = thread
            self._arriving.append(end)
        self.ask()

    def ask(self) -> None:
        """Have the thread look at once at what its ends are asked for."""
        self._is_asked = True
        self.wake()

    def send(self) -> None:
        """Send what was posted: in this thread, which never waits for that, or in the loop's."""
        if not self._in_use.acquire(blocking=False):
            self.wake()
            return
        tend_at = self._tend_at
        try:
            self._send_newest()
        finally:
            self._in_use.release()
        if self._tend_at != tend_at:
            self.wake()  # A link has failed.

    def wake(self) -> None:
        """Have the thread look at once for what was posted."""
        with self._lock:
            if self._wake_handle >= 0:
                os.eventfd_write(self._wake_handle, 1)

    def has_unread(self) -> bool:
        """Return True if something may have come in that was not passed on yet; any thread.

        What is read meanwhile has been passed on once this returns False: the sockets are looked at
        first, then the frames in hand.
        """
        try:
            ready = self._poll.poll(0) if self._poll is not None else ()
        except (OSError, ValueError):
            return False  # It has ended.
        return any(handle in self._by_handle for handle, _ in ready) or self._is_hearing

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """End the thread once all its ends have ended; wait for ``limit_s`` seconds at most."""
        self._is_ending = True
        self.ask()
        if self._thread is not None:
            self._thread.join(limit_s)

    # --- the loop's thread; what uses the ends: who has them in use -------------------------------

    def _main(self, poll: select.epoll, enter: Callable[[], None]) -> None:
        enter()
        name_thread("links")
        while self._ends or self._arriving or not self._is_ending:
            try:
                self._turn(poll)
            # The only catch-all of this thread: a mistake here ends no heartbeat for good.
            except Exception as error:
                with self._in_use:
                    for end in self._ends:
                        self._blame(end, error)
                clock.pause(timing.LINK_RETRY_S)
        with self._lock:
            os.close(self._wake_handle)
            self._wake_handle = -1
        poll.close()

    def _turn(self, poll: select.epoll) -> None:
        """Wait for what comes next, and do it: what is to be sent first."""
        with self._in_use:
            now = clock.monotonic()
            if self._is_asked or now >= min(self._tend_at, self._look_at):
                self._tend_all(now)
            self._send_newest()
            wait_s = max(0.0, min(_WAIT_S, self._tend_at - now))
        ready = poll.poll(wait_s)

        with self._in_use:
            heard = []
            for handle, _ in ready:
                if handle in self._by_handle:
                    heard.append(self._by_handle[handle])
                elif handle == self._wake_handle:
                    os.eventfd_read(handle)
            self._send_newest()
            try:
                for listener in heard:
                    self._hear(listener)
            finally:
                if heard:
                    self._wake_engine()

    def _send_newest(self) -> None:
        """Send the newest beat on each link that has not tried it yet."""
        if self._outbox.number == self._tried:
            return
        number, posted = self._outbox.newest
        self._tried = number
        for end in self._senders:
            if posted is not None and end.seen != number and self._is_used(end):
                try:
                    end.send(number, posted)
                except Exception as error:
                    self._blame(end, error)
                    continue
                now = clock.monotonic()
                self.sent.record(now - posted.posted_at, now)

    def _hear(self, end: DatagramListener) -> None:
        """Handle a batch of what came in on one link."""
        self._is_hearing = True
        try:
            for received in end.read(BATCH):
                if not self._is_used(end):
                    break
                if received.read_at is not None:
                    waited_s = received.read_at - received.received_at
                    self.read.record(waited_s, received.read_at)
                end.take(received)
                self._send_newest()
        except Exception as error:
            self._blame(end, error)
        finally:
            self._is_hearing = False

    def _is_used(self, end: DatagramEnd) -> bool:
        return end.is_open and end.is_wanted

    def _is_waiting(self, end: DatagramEnd) -> bool:
        return end.is_whole and not (end.is_open or end.is_in_hands)

    # --- faults, cuts and ends --------------------------------------------------------------------

    def _blame(self, end: DatagramEnd, error: Exception) -> None:
        """Make an error on one link a fault of this link, whatever it is."""
        self._rest(end, _text_of(error))

    def _rest(self, end: DatagramEnd, problem: str) -> None:
        """Use an end no more until its next attempt, which closes its socket first."""
        end.record_fault(problem)
        self._let_go(end)
        end.due_at = clock.monotonic() + timing.LINK_RETRY_S
        self._tend_at = min(self._tend_at, end.due_at)

    def _let_go(self, end: DatagramEnd) -> None:
        end.is_open = False
        # The number of a socket that is closed may be that of another link's by now.
        if isinstance(end, DatagramListener) and self._by_handle.get(end.handle) is end:
            del self._by_handle[end.handle]
            with suppress(OSError, ValueError):
                if self._poll is not None:
                    self._poll.unregister(end.handle)

    def _tend_all(self, now: float) -> None:
        """Take up what was done beside the loop, and begin what is due on each end."""
        self._is_asked = False
        while self._arriving:
            end = self._arriving.popleft()
            end.thread_id = threading.get_native_id()
            self._ends.append(end)
            if isinstance(end, DatagramSender):
                self._senders.append(end)
        while self._done:
            end, done, problem = self._done.popleft()
            end.is_in_hands = False
            done(problem)
        for end in list(self._ends):
            self._tend(end, now)
        waiting = [end.due_at for end in self._ends if self._is_waiting(end)]
        self._look_at = now + _LOOK_S
        self._tend_at = min(waiting, default=math.inf)

    def _tend(self, end: DatagramEnd, now: float) -> None:
        """Begin what is due on an end: open it, close it, look at its interface."""
        if end.is_in_hands:
            return
        if end.is_ending:
            self._let_go(end)
            self._do_beside(end, end.close, lambda _: self._bury(end))
        elif not end.is_whole:
            if not end.is_cut:
                # As by a fault: what comes in meanwhile is not heard, and after it the end is
                # opened once more, so that nothing that was read before counts for what it missed.
                self._let_go(end)
                end.record_fault(end.why_cut)
                self._do_beside(end, end.close, lambda _: self._record_cut(end))
        elif end.is_cut:
            end.is_cut, end.due_at = False, now
            self._tend(end, now)
        elif not end.is_open:
            if now >= end.due_at:
                self._do_beside(end, end.open, lambda problem: self._opened(end, problem))
        elif isinstance(end, DatagramListener):
            try:
                end.look(now)
            except Exception as error:
                self._blame(end, error)

    def _bury(self, end: DatagramEnd) -> None:
        self._ends.remove(end)
        if isinstance(end, DatagramSender):
            self._senders.remove(end)
        end.gone.set()

    def _record_cut(self, end: DatagramEnd) -> None:
        end.is_cut = True

    def _opened(self, end: DatagramEnd, problem: str) -> None:
        if problem:
            if isinstance(end, DatagramListener):
                end.record_closed()
            self._rest(end, problem)
            return
        try:
            end.record_opened()
            if isinstance(end, DatagramListener) and self._poll is not None:
                self._poll.register(end.handle, select.EPOLLIN)
                self._by_handle[end.handle] = end
        except Exception as error:
            self._blame(end, error)
            return
        # It has not tried the newest beat.
        end.is_open, self._tried = True, -1

    def _do_beside(self, end: DatagramEnd, work: Callable[[], None], done: _Done) -> None:
        """Do something that may wait in a thread of its own; ``done`` is called here after it."""
        end.is_in_hands = True

        def run() -> None:
            problem = ""
            try:
                work()
            except Exception as error:
                problem = _text_of(error)
            self._done.append((end, done, problem))
            self.ask()

        try:
            threading.Thread(target=run, name=f"link {end.link.link_id}", daemon=True).start()
        except RuntimeError:
            run()  # No thread can be started now.
