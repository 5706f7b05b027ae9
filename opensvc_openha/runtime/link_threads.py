"""One thread per end of a heartbeat link: opens it, sends or listens, and opens it again after a fault.

A fault concerns its own link only. It is logged once each way, and shown in the link's status with its reason.
"""

from __future__ import annotations

import threading
from typing import Callable, Optional

from opensvc_openha.core import timing
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.status import LinkStatus
from opensvc_openha.errors import FrameError, OpenhaError
from opensvc_openha.links.base import Received
from opensvc_openha.links.registry import make_listener, make_sender
from opensvc_openha.runtime import clock
from opensvc_openha.runtime.codec import Codec
from opensvc_openha.runtime.legacy_codec import Origin
from opensvc_openha.runtime.status_board import StatusBoard
from opensvc_openha.runtime.thread_names import name_thread

_WAIT_S = 0.5
Log = Callable[[LinkSpec, bool, str], None]


class LinkThread:
    """What both ends share: the thread, its end, its fault."""

    role = ""

    def __init__(self, link: LinkSpec, log: Log) -> None:
        self.link = link
        self.thread_id = 0
        self.fault = ""
        self.remark = ""
        self._log = log
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"{self.role} {link.link_id}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, limit_s: float = 1.5) -> None:
        """Asks the thread to end, and waits for it no longer than ``limit_s``."""
        self._ending.set()
        self._thread.join(limit_s)

    @property
    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def _main(self) -> None:
        self.thread_id = threading.get_native_id()
        name_thread(f"{self.role} {self.link.device.rsplit('/', 1)[-1]}")
        while not self._ending.is_set():
            try:
                self._serve()
            except OpenhaError as error:
                self._note_fault(str(error))
            except Exception as error:  # The one place of this thread that catches all: the link reports and retries.
                self._note_fault(f"unexpected: {type(error).__name__}: {error}")
            self._ending.wait(timing.LINK_RETRY_S)

    def _serve(self) -> None:
        raise NotImplementedError

    def _note_fault(self, reason: str) -> None:
        if reason != self.fault:
            self.fault = reason
            self._log(self.link, True, f"{self.role}: {reason}")

    def _note_health(self) -> None:
        if self.fault:
            self.fault = ""
            self._log(self.link, False, f"{self.role}: works again")


class SenderThread(LinkThread):
    """Sends each beat the moment it is posted."""

    role = "sender"

    def __init__(self, link: LinkSpec, codec: Codec, board: StatusBoard, log: Log) -> None:
        super().__init__(link, log)
        self._codec = codec
        self._board = board
        self._seen = 0
        self._sent_at: Optional[float] = None
        self._sent_number = 0

    def _serve(self) -> None:
        sender = make_sender(self.link, clock.monotonic)
        try:
            sender.open()
            self.remark = sender.remark
            while not self._ending.is_set():
                number, posted = self._board.wait_after(self._seen, _WAIT_S)
                self._seen = number
                if posted is None:
                    continue
                sender.send(self._codec.encode(posted.beat, self.thread_id, posted.with_names))
                self._sent_at, self._sent_number = clock.monotonic(), number
                self._note_health()
        finally:
            sender.close()

    def has_sent(self, number: int) -> bool:
        """True if the beat with that number on the board, or a later one, was sent here."""
        return self._sent_number >= number

    def status(self) -> LinkStatus:
        """Up while a beat was sent within the link's timeout."""
        now, sent_at = clock.monotonic(), self._sent_at
        is_up = sent_at is not None and now - sent_at < self.link.timeout_s
        reason = self.fault or (self.remark if is_up else "no beat sent yet")
        return LinkStatus(self.link.kind.value, self.link.label, True, is_up, self.thread_id, sent_at, reason,
                          self.link.device, self.link.address, self.link.port, self.link.offset, self.link.timeout_s,
                          self.thread_id)


class ListenerThread(LinkThread):
    """Hands the peer's beats to the engine; counts and drops everything else."""

    role = "listener"

    def __init__(self, link: LinkSpec, codec: Codec, deliver: Callable[[BeatReceived], bool], log: Log) -> None:
        super().__init__(link, log)
        self.counters: "dict[str, int]" = {}
        self._codec = codec
        self._origin = Origin(link) if link.wire is Wire.LEGACY else None
        self._deliver = deliver

    def _serve(self) -> None:
        listener = make_listener(self.link, clock.monotonic)
        try:
            listener.open()
            self.remark = listener.remark
            while not self._ending.is_set():
                received = listener.receive(_WAIT_S)
                self._note_health()
                if received is not None:
                    self._take(received)
        finally:
            for reason, count in listener.counters.items():
                self._count(reason, count)
            listener.close()

    def _take(self, received: Received) -> None:
        try:
            decoded = self._codec.decode(received.data)
        except FrameError as error:
            self._count(error.reason)
            return
        if self._origin is not None and not self._origin.admits(received.source, received.received_at):
            self._count("source")
            return
        self._count("name", decoded.refused)
        if not self._deliver(BeatReceived(self.link, decoded.beat, received.received_at, decoded.pid)):
            self._count("overload")

    def _count(self, reason: str, number: int = 1) -> None:
        if reason not in self.counters and number:
            self._log(self.link, True, f"{self.role}: dropped a frame: {reason} (counted from now on)")
        self.counters[reason] = self.counters.get(reason, 0) + number
