"""Run the child process that does the I/O of one device; pass requests, answers and reports.

A reader thread takes all that the child writes; whoever asked waits no longer than its limit.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from opensvc_openha.links import disk_requests, disk_worker
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_watch import DiskWatch, Look, Note
from opensvc_openha.system import clock
from opensvc_openha.system.precedence import Precedence, give_weight
from opensvc_openha.system.thread_names import name_thread

_PIPE_BYTES = 65_536
_LAST_MOMENT_S = 1.0
"""A child that closed its output is about to end.

The reader thread waits for it at most this long.
"""


@dataclass
class _Call:
    """One pending request."""

    since: float
    """When it was made, or a part of it was done that took its time."""
    is_answered: threading.Event = field(default_factory=threading.Event)
    status: int = 0
    payload: bytes = b""


class DiskProcess:
    """One run of the child process."""

    def __init__(self, path: str, is_direct: bool, on_reply: Callable[[], None]) -> None:
        self._path = path
        self._on_reply = on_reply
        self._lock = threading.Lock()
        self._calls: dict[int, _Call] = {}
        self._watches: dict[int, DiskWatch] = {}
        self._overdue: dict[int, tuple[str, float]] = {}
        """What was asked for, and when, of answers whose time is over."""
        self._last_number = 0
        self._is_ended = False
        self._taken = b""
        """Read by the reader thread, and not used yet."""
        self._is_taking = False
        """The reader thread has read what may not be passed on yet."""
        self._free = list(range(disk_requests.NOTES))
        """Places in the page of notes that no watch has."""
        self._places: dict[int, int] = {}
        page = -1
        try:
            page = os.memfd_create("reads", os.MFD_CLOEXEC)
            os.ftruncate(page, disk_requests.NOTES_BYTES)
            self._notes = mmap.mmap(page, disk_requests.NOTES_BYTES, prot=mmap.PROT_READ)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    disk_worker.__file__,
                    path,
                    "direct" if is_direct else "buffered",
                    str(page),
                ],
                pass_fds=(page,),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Not ours: a hung child would keep the daemon's stderr open, whatever that is.
                stderr=subprocess.DEVNULL,
                cwd="/",
                # The lock of a buffer, held by the reader thread, would disturb the end of Python.
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise LinkFault(
                f"the I/O process for {path} cannot be started: {error.strerror}"
            ) from None
        finally:
            if page >= 0:
                os.close(page)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests = self._process.stdin
        os.set_blocking(self._requests.fileno(), False)
        self._replies = self._process.stdout
        # Neither inherits it, and a beat waits for both of them.
        precedence = Precedence.of_this_thread()
        precedence.give(self._process.pid)
        give_weight(self._process.pid)
        threading.Thread(
            target=self._collect, args=(precedence,), name=f"disk {path}", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def is_ended(self) -> bool:
        """True once the child ended, or was ordered to."""
        return self._is_ended

    @property
    def is_hung(self) -> bool:
        """True while an answer is overdue."""
        return self.overdue_since is not None

    @property
    def overdue_since(self) -> float | None:
        """When the oldest request was made whose answer is overdue; None without one."""
        with self._lock:
            self._forget_what_came()
            return min((asked_at for _, asked_at in self._overdue.values()), default=None)

    def request(
        self, operation: bytes, offset: int, length: int, data: bytes, limit_s: float, what: str
    ) -> bytes:
        """Return the child's answer; raise LinkFault for an error or after the limit.

        A part of the request that was reported begins another limit.
        """
        with self._lock:
            number = self._new_number()
            asked_at = clock.monotonic()
            self._calls[number] = call = _Call(asked_at)
            self._hand_over(disk_requests.REQUEST.pack(operation, number, offset, length) + data)
        while not call.is_answered.wait(max(0.0, call.since + limit_s - clock.monotonic())):
            with self._lock:
                is_underway = clock.monotonic() < call.since + limit_s
                if not call.is_answered.is_set() and not is_underway:
                    self._overdue[number] = what, asked_at
                    raise LinkFault(
                        f"hung: no answer to {what} of {self._path} within {limit_s:g} s"
                    )
        if call.status:
            raise LinkFault(f"{what} of {self._path}: {os.strerror(call.status)}")
        return call.payload

    def watch(self, offset: int, length: int, pause_s: float, limit_s: float) -> DiskWatch:
        """Have a place read ``pause_s`` after each read of it, until the watch is closed.

        Raises LinkFault if nothing can be asked for.
        """
        with self._lock:
            number = self._new_number()
            if not self._free:
                raise LinkFault(f"too many places of {self._path} are watched")
            place = self._places[number] = self._free.pop(0)
            made = DiskWatch(
                self._path,
                pause_s,
                limit_s,
                lambda: self._note(number, place),
                self._is_behind,
                lambda watch: self._owe(number, watch),
                lambda watch: self._leave(number),
            )
            self._watches[number] = made
            form = disk_requests.WATCH_FORM.pack(length, pause_s, place)
            request = disk_requests.REQUEST.pack(disk_requests.WATCH, number, offset, len(form))
            self._hand_over(request + form)
        return made

    def _note(self, number: int, place: int) -> Note | None:
        """Return what is noted of a watch; None before its first read, or while that is written."""
        size = disk_requests.NOTE.size
        begin = 2 * place * size
        try:
            # The other way round than it is written.
            second = self._notes[begin + size : begin + 2 * size]
            if self._notes[begin : begin + size] != second:
                return None
        except ValueError:
            # The child has ended, and the page is given back.
            return None
        watch, reads, news, is_news, began_at, ended_at = disk_requests.NOTE.unpack(second)
        # A watch that had the place before may not be left yet.
        return Note(reads, news, bool(is_news), began_at, ended_at) if watch == number else None

    def _new_number(self) -> int:
        """Return the id of a new request; LinkFault if none can be made; with the lock held."""
        if self._is_ended:
            raise LinkFault(f"the I/O process for {self._path} ended")
        self._forget_what_came()
        for waiting, _ in self._overdue.values():
            raise LinkFault(f"hung: {self._path} still owes the answer to {waiting}")
        self._last_number = (self._last_number + 1) % 2**32
        while self._last_number in self._watches:
            self._last_number = (self._last_number + 1) % 2**32
        return self._last_number

    def _forget_what_came(self) -> None:
        """Owe no read that has ended, which wakes nobody; call with the lock held."""
        for number in list(self._overdue):
            watch = self._watches.get(number)
            if watch is not None and not watch.is_overdue:
                del self._overdue[number]

    def _is_behind(self) -> bool:
        """Return True while the child has reported what the reader thread has not passed on."""
        poll = select.poll()
        try:
            poll.register(self._replies, select.POLLIN)
            return bool(poll.poll(0)) or self._is_taking
        except (OSError, ValueError):
            # The child has ended: the reader thread is about to report that.
            return True

    def _owe(self, number: int, watch: DiskWatch) -> bool:
        """Record that a report of a watch is overdue; False if it has come meanwhile."""
        with self._lock:
            if number not in self._watches or not watch.is_overdue:
                return False
            self._overdue[number] = "the read", watch.expected_at
            return True

    def _leave(self, number: int) -> None:
        """Have the child watch a place no longer."""
        with self._lock:
            if number in self._places:
                self._free.append(self._places.pop(number))
            if self._watches.pop(number, None) is None or self._is_ended:
                return
            with contextlib.suppress(LinkFault):
                self._hand_over(disk_requests.REQUEST.pack(disk_requests.LEAVE, number, 0, 0))

    def _hand_over(self, request: bytes) -> None:
        """Write to the child without blocking.

        The pipe holds many more requests than threads exist.
        """
        try:
            is_taken = os.write(self._requests.fileno(), request) == len(request)
        except OSError:
            is_taken = False
        if not is_taken:
            self._end()
            raise LinkFault(f"the I/O process for {self._path} takes no requests")

    def stop(self) -> None:
        """Order the child to end when it can, without waiting for it."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        """Close the requests, which ends the child, and wake all waiting threads.

        Call with the lock held.
        """
        self._is_ended = True
        self._requests.close()
        for call in self._calls.values():
            call.status = errno.EPIPE
            call.is_answered.set()
        for watch in self._watches.values():
            watch.fail(errno.EPIPE)
        self._calls.clear()
        self._watches.clear()
        self._overdue.clear()

    def reap(self) -> bool:
        """Return True once the child is gone and reaped; never blocks."""
        return self._process.poll() is not None

    def _collect(self, precedence: Precedence) -> None:
        """Run the reader thread: take answers, in time or late, until the child's output ends."""
        precedence.give(0)
        name_thread(f"disk {self._path.rsplit('/', 1)[-1]}")
        with self._replies:
            while True:
                self._is_taking = bool(self._taken)
                head = self._read_exactly(disk_requests.REPLY.size)
                if head is None:
                    break
                number, status, length = disk_requests.REPLY.unpack(head)
                payload = self._read_exactly(length)
                if payload is None:
                    break
                with self._lock:
                    self._take(number, status, payload)
                self._on_reply()
        self.stop()
        # Its handle would stay for as long as somebody has a watch of this process.
        self._notes.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_MOMENT_S)
        self._on_reply()

    def _take(self, number: int, status: int, payload: bytes) -> None:
        """Pass an answer or a report to who waits for it; call with the lock held."""
        if status == disk_requests.UNDERWAY:
            if number in self._calls:
                self._calls[number].since = clock.monotonic()
            return
        self._overdue.pop(number, None)
        watch, call = self._watches.get(number), self._calls.pop(number, None)
        if watch is not None and status:
            del self._watches[number]
            watch.fail(status)
        elif watch is not None:
            began_at, ended_at, reads = disk_requests.LOOK.unpack_from(payload)
            watch.put(Look(began_at, ended_at, payload[disk_requests.LOOK.size :], reads))
        elif call is not None:
            call.status, call.payload = status, payload
            call.is_answered.set()

    def _read_exactly(self, length: int) -> bytes | None:
        while len(self._taken) < length:
            more = self._replies.read(_PIPE_BYTES)
            self._is_taking = True
            if not more:
                return None
            self._taken += more
        data, self._taken = self._taken[:length], self._taken[length:]
        return data
