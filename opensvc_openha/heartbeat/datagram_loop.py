"""Serve all ends of heartbeat links on networks with one thread: send, listen, open again.

A beat is sent at the moment it is posted, before anything that came in is handled, and between any
two frames: a flood on one link delays no beat, and the other links by one batch. What may wait,
which is opening and closing a socket (a name server; the kernel's lock on its networks), is done in
a thread of its own, which ends with it. So a fault affects its own link only.
"""

from __future__ import annotations

import collections
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
"""Longest wait: interfaces are looked at, at each wake-up, of links that are quiet."""
_Done = Callable[[str], None]
"""Called by the loop's thread with the problem of what was done beside it; empty for none."""


class DatagramLoop:
    """The thread of all ends on networks; it is started with the first of them.

    ``serve``, ``wake`` and ``stop`` may be called by any thread.
    """

    def __init__(self, outbox: BeatOutbox, wake_engine: Callable[[], None]) -> None:
        """Call ``wake_engine`` after beats were passed on, at the end of each turn."""
        self.read = StageMeter("kernel -> read")
        self.sent = StageMeter("posted -> sent")
        self._outbox = outbox
        self._wake_engine = wake_engine
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake_handle = -1
        self._poll: select.epoll | None = None
        self._is_ending = False
        self._arriving: collections.deque[DatagramEnd] = collections.deque()
        self._done: collections.deque[tuple[DatagramEnd, _Done, str]] = collections.deque()
        self._ends: list[DatagramEnd] = []
        self._by_handle: dict[int, DatagramListener] = {}
        self._is_hearing = False
        """Frames were read, or are about to be, that the engine may not have yet."""
        outbox.on_post(self.wake)

    def serve(self, end: DatagramEnd, enter: Callable[[], None]) -> None:
        """Serve an end from now on, until it is asked to end; a new thread calls ``enter`` first.

        Raises OSError if the system has no handles for it.
        """
        with self._lock:
            if self._thread is None:
                self._poll = select.epoll()
                self._wake_handle = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._poll.register(self._wake_handle, select.EPOLLIN)
                self._thread = threading.Thread(
                    target=self._main, args=(self._poll, enter), name="links", daemon=True
                )
                self._thread.start()
            self._arriving.append(end)
        self.wake()

    def wake(self) -> None:
        """Have the thread look at once for what is new."""
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
        self.wake()
        if self._thread is not None:
            self._thread.join(limit_s)

    # --- the loop's thread ------------------------------------------------------------------------

    def _main(self, poll: select.epoll, enter: Callable[[], None]) -> None:
        enter()
        name_thread("links")
        while self._ends or self._arriving or not self._is_ending:
            try:
                self._turn(poll)
            # The only catch-all of this thread: a mistake here ends no heartbeat for good.
            except Exception as error:
                for end in self._ends:
                    self._rest(end, f"unexpected: {type(error).__name__}: {error}")
                clock.pause(timing.LINK_RETRY_S)
        with self._lock:
            os.close(self._wake_handle)
            self._wake_handle = -1
        poll.close()

    def _turn(self, poll: select.epoll) -> None:
        """Wait for what comes next, and do it: what is to be sent first."""
        while self._arriving:
            end = self._arriving.popleft()
            end.thread_id = threading.get_native_id()
            self._ends.append(end)
        while self._done:
            end, done, problem = self._done.popleft()
            end.is_in_hands = False
            done(problem)

        now = clock.monotonic()
        for end in list(self._ends):
            self._tend(end, now)
        self._send_newest()
        waits = [end.due_at - now for end in self._ends if self._is_waiting(end)]
        ready = poll.poll(max(0.0, min([_WAIT_S, *waits])))

        if any(handle == self._wake_handle for handle, _ in ready):
            os.eventfd_read(self._wake_handle)
        self._send_newest()
        heard = [self._by_handle[handle] for handle, _ in ready if handle in self._by_handle]
        try:
            for listener in heard:
                self._hear(listener)
        finally:
            if heard:
                self._wake_engine()

    def _send_newest(self) -> None:
        """Send the newest beat on each link that has not tried it yet."""
        number, posted = self._outbox.newest
        if posted is None:
            return
        for end in self._ends:
            if isinstance(end, DatagramSender) and end.seen != number and self._is_used(end):
                with self._own_fault(end):
                    end.send(number, posted)
                    now = clock.monotonic()
                    self.sent.record(now - posted.posted_at, now)

    def _hear(self, end: DatagramListener) -> None:
        """Handle a batch of what came in on one link."""
        self._is_hearing = True
        try:
            with self._own_fault(end):
                for received in end.read(BATCH):
                    if not self._is_used(end):
                        break
                    if received.read_at is not None:
                        waited_s = received.read_at - received.received_at
                        self.read.record(waited_s, received.read_at)
                    end.take(received)
                    self._send_newest()
        finally:
            self._is_hearing = False

    def _is_used(self, end: DatagramEnd) -> bool:
        return end.is_open and end.is_wanted

    def _is_waiting(self, end: DatagramEnd) -> bool:
        return end.is_whole and not (end.is_open or end.is_in_hands)

    # --- faults, cuts and ends --------------------------------------------------------------------

    @contextmanager
    def _own_fault(self, end: DatagramEnd) -> Iterator[None]:
        try:
            yield
        except OpenhaError as error:
            self._rest(end, str(error))
        except Exception as error:
            self._rest(end, f"unexpected: {type(error).__name__}: {error}")

    def _rest(self, end: DatagramEnd, problem: str) -> None:
        """Use an end no more until its next attempt, which closes its socket first."""
        end.record_fault(problem)
        self._let_go(end)
        end.due_at = clock.monotonic() + timing.LINK_RETRY_S

    def _let_go(self, end: DatagramEnd) -> None:
        end.is_open = False
        if isinstance(end, DatagramListener) and self._poll is not None:
            self._by_handle.pop(end.handle, None)
            with suppress(OSError, ValueError):
                self._poll.unregister(end.handle)

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
            with self._own_fault(end):
                end.look(now)

    def _bury(self, end: DatagramEnd) -> None:
        self._ends.remove(end)
        end.gone.set()

    def _record_cut(self, end: DatagramEnd) -> None:
        end.is_cut = True

    def _opened(self, end: DatagramEnd, problem: str) -> None:
        if problem:
            if isinstance(end, DatagramListener):
                end.record_closed()
            self._rest(end, problem)
            return
        with self._own_fault(end):
            end.record_opened()
            if isinstance(end, DatagramListener) and self._poll is not None:
                self._poll.register(end.handle, select.EPOLLIN)
                self._by_handle[end.handle] = end
            end.is_open = True

    def _do_beside(self, end: DatagramEnd, work: Callable[[], None], done: _Done) -> None:
        """Do something that may wait in a thread of its own; ``done`` is called here after it."""
        end.is_in_hands = True

        def run() -> None:
            problem = ""
            try:
                work()
            except OpenhaError as error:
                problem = str(error)
            except Exception as error:
                problem = f"unexpected: {type(error).__name__}: {error}"
            self._done.append((end, done, problem))
            self.wake()

        try:
            threading.Thread(target=run, name=f"link {end.link.link_id}", daemon=True).start()
        except RuntimeError:
            run()  # No thread can be started now.
