"""Ends of heartbeat links on networks, served by one DatagramLoop: what each does with its socket.

Except for what LinkEnd leaves to any thread, only the loop's thread uses them; ``open`` and
``close`` are called beside it, while it leaves the end alone.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable

from opensvc_openha.core.events import BeatReceived, ListenerTried
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.heartbeat.link_end import STOP_LIMIT_S, LinkEnd, ListenerEnd, Log, SenderEnd
from opensvc_openha.heartbeat.outbox import Posted
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.links.base import Received
from opensvc_openha.links.registry import make_datagram_listener, make_datagram_sender
from opensvc_openha.links.udp import UdpListener, UdpSender
from opensvc_openha.system import clock

if TYPE_CHECKING:
    from opensvc_openha.heartbeat.datagram_loop import DatagramLoop

_LOOK_S = 0.5
"""Seconds without a datagram after which a listener's interface is looked at."""


class DatagramEnd(LinkEnd):
    """Common part of both ends: what the loop's thread knows of it, and what others ask for."""

    _loop: DatagramLoop

    def __init__(self, link: LinkSpec, log: Log) -> None:
        super().__init__(link, log)
        self.is_open = False
        self.is_in_hands = False
        """A thread beside the loop opens or closes it."""
        self.is_ending = False
        self.is_whole = True
        """False while it is to be cut."""
        self.due_at = -math.inf
        """When it is opened, while it is not open."""
        self.gone = threading.Event()
        """Set once its socket is closed for good."""

    def start(self, enter: Callable[[], None]) -> None:
        """Have the loop serve this end."""
        self._loop.serve(self, enter)

    def ask_to_end(self) -> None:
        """Have the loop close this end for good."""
        self.is_ending = True
        self._loop.ask()

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Have the loop close this end for good, and wait for that."""
        self.ask_to_end()
        self.gone.wait(limit_s)

    def cut(self, why: str) -> None:
        """Close this end soon, and keep it closed until ``heal``."""
        self.why_cut, self.is_whole = why, False
        self._loop.ask()

    def heal(self) -> None:
        """Open this end again."""
        self.is_whole = True
        self._loop.ask()

    @property
    def is_wanted(self) -> bool:
        """False once it is to be closed."""
        return self.is_whole and not self.is_ending

    @abstractmethod
    def open(self) -> None:
        """Open a new socket; raises LinkFault. May wait for a name server, or for the kernel."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket, if there is one."""

    @abstractmethod
    def record_opened(self) -> None:
        """Record that the loop uses the open socket from now on."""


class DatagramSender(SenderEnd, DatagramEnd):
    """Send each beat once, and none that was posted before the last one tried."""

    def __init__(self, link: LinkSpec, codec: Codec, log: Log, loop: DatagramLoop) -> None:
        super().__init__(link, log)
        self._loop = loop
        self.seen = 0
        """Number of the beat that was tried last."""
        self._codec = codec
        self._sender: UdpSender | None = None

    def open(self) -> None:
        """Open a new socket; a host name is looked up."""
        self.close()
        self._sender = make_datagram_sender(self.link)
        self._sender.open()

    def close(self) -> None:
        """Close the socket, if there is one."""
        if self._sender is not None:
            self._sender.close()

    def record_opened(self) -> None:
        """Record that the loop uses it from now on."""
        assert self._sender is not None, "it was opened"
        self.remark = self._sender.remark

    def send(self, number: int, posted: Posted) -> None:
        """Send the outbox's beat ``number``; raises LinkFault."""
        assert self._sender is not None, "it is open"
        self.seen = number
        self._sender.send(self._codec.encode(posted.beat, self.thread_id, posted.with_names))
        self.record_sent(number)
        self.record_health()


class DatagramListener(ListenerEnd, DatagramEnd):
    """Take what comes in."""

    def __init__(
        self,
        link: LinkSpec,
        codec: Codec,
        deliver: Callable[[BeatReceived], bool],
        report_tried: Callable[[ListenerTried], None],
        log: Log,
        loop: DatagramLoop,
    ) -> None:
        super().__init__(link, codec, deliver, report_tried, log)
        self._loop = loop
        self.handle = -1
        """The number of its open socket."""
        self.look_at = math.inf
        """When its interface is looked at, unless a datagram comes in before."""
        self._listener: UdpListener | None = None

    def open(self) -> None:
        """Open a new socket."""
        self.close()
        self._listener = make_datagram_listener(self.link, clock.monotonic, clock.wall)
        self._listener.open()

    def close(self) -> None:
        """Close the socket, if there is one; what it holds is not heard."""
        if self._listener is not None:
            self._listener.close()

    def record_opened(self) -> None:
        """Record that the loop listens to it from now on."""
        assert self._listener is not None, "it was opened"
        self.remark, self.handle = self._listener.remark, self._listener.fileno()
        self.look_at = clock.monotonic() + _LOOK_S
        self.record_open()
        self.record_health()

    def read(self, limit: int) -> list[Received]:
        """Return what waits, ``limit`` frames at most; raises LinkFault."""
        assert self._listener is not None, "it is open"
        found = self._listener.read(limit)
        self.look_at = clock.monotonic() + _LOOK_S
        return found

    def take(self, received: Received) -> None:
        """Pass the beat in a frame to the engine, or count why not."""
        self._intake.take(received)

    def look(self, now: float) -> None:
        """Look whether the interface is still the same after a pause; raises LinkFault."""
        if now >= self.look_at:
            assert self._listener is not None, "it is open"
            self._listener.check_interface()
            self.look_at = now + _LOOK_S
