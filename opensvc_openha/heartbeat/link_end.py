"""Keep what is common to all ends of heartbeat links: faults, counters, and their status.

A fault affects its own link only. Its beginning and its end are logged once each, and the link's
status shows the reason. Who opens an end and when it is used is decided in link_workers, with a
thread for each end of a disk, and in datagram_loop, with one thread for all ends on networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from opensvc_openha.core import timing
from opensvc_openha.core.events import BeatReceived, ListenerTried
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.status import BeatTiming, LinkStatus
from opensvc_openha.heartbeat.beat_intake import BeatIntake
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.system import clock

_NOT_WRONG = frozenset({"received", "blank"})
"""A blank slot means that the peer never wrote, which is no error."""
STOP_LIMIT_S = 1.5
"""Longest wait, in seconds, for the end of an end: a device may hang."""
Log = Callable[[LinkSpec, bool, str], None]


class LinkEnd(ABC):
    """One end of a link: its fault, its remark, what it has counted.

    ``start`` to ``heal`` may be called by any thread, and so may everything that only reads.
    """

    role = ""
    complaint = ""
    """Log text for an error that the link itself detected."""

    def __init__(self, link: LinkSpec, log: Log) -> None:
        self.link = link
        self.thread_id = 0
        """The thread that serves this end."""
        self.fault = ""
        self.remark = ""
        self.is_cut = False
        """True while it is closed since it is cut: it sends nothing, and hears nothing."""
        self._log = log
        self.why_cut = ""
        self._counters: dict[str, int] = {}
        self._of_link: dict[str, int] = {}
        self._last: dict[str, float] = {}

    @abstractmethod
    def start(self, enter: Callable[[], None]) -> None:
        """Have it served; a thread that is started for it calls ``enter`` first."""

    @abstractmethod
    def ask_to_end(self) -> None:
        """Ask for its end soon; return at once."""

    @abstractmethod
    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Ask for its end, and wait ``limit_s`` seconds at most."""

    @abstractmethod
    def cut(self, why: str) -> None:
        """Close this end soon, and keep it closed until ``heal``: a link that fails on purpose."""

    @abstractmethod
    def heal(self) -> None:
        """Open this end again."""

    def record_fault(self, reason: str) -> None:
        """Show a fault; later attempts show in the status only: one line of log per fault."""
        if not self.fault:
            self._log(self.link, True, f"{self.role}: {reason}")
        self.fault = reason

    def record_health(self) -> None:
        """Show that the link works."""
        if self.fault:
            self.fault = ""
            self._log(self.link, False, f"{self.role}: works again")

    def record_counters(self, counters: Mapping[str, int]) -> None:
        """Add what the link itself dropped since the last call.

        Its own counters restart when it is opened.
        """
        for reason, number in counters.items():
            grown = number - self._of_link.get(reason, 0)
            self._of_link[reason] = number
            if grown > 0 and reason not in _NOT_WRONG:
                self.count(reason, self.complaint, grown)

    def record_closing(self, counters: Mapping[str, int]) -> None:
        """Add the same of a link that is closed next."""
        self.record_counters(counters)
        self._of_link = {}

    def count(self, reason: str, what: str, number: int) -> None:
        """Count frames under a reason; the first is logged, as ``what``."""
        if reason not in self._counters:
            self._log(self.link, True, f"{self.role}: {what}: {reason} (counted from now on)")
        self._counters[reason] = self._counters.get(reason, 0) + number
        self._last[reason] = clock.monotonic()

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of rejected frames by reason."""
        return dict(self._counters)

    @property
    def refused_lately(self) -> list[str]:
        """Return why frames were dropped recently.

        Recently: within the time for which a suspicion is shown.
        """
        return sorted(reason for reason in list(self._last) if self.saw_lately(reason))

    def saw_lately(self, reason: str) -> bool:
        """Return True while frames are still counted for that reason."""
        at = self._last.get(reason)
        return at is not None and clock.monotonic() - at < timing.SUSPICION_S


class SenderEnd(LinkEnd):
    """A sending end: which beat it sent last, and when."""

    role = "sender"
    complaint = "what was written is gone"

    def __init__(self, link: LinkSpec, log: Log) -> None:
        super().__init__(link, log)
        self._sent_at: float | None = None
        self._sent_number = 0

    def record_sent(self, number: int) -> None:
        """Record that the outbox's beat ``number`` was sent just now."""
        self._sent_at, self._sent_number = clock.monotonic(), number

    def has_sent(self, number: int) -> bool:
        """Return True if this link has sent the outbox's beat ``number``, or a later one."""
        return self._sent_number >= number

    def status(self) -> LinkStatus:
        """Return the link's status: up while a beat was sent within the link's timeout."""
        now, sent_at = clock.monotonic(), self._sent_at
        is_up = sent_at is not None and now - sent_at < self.link.timeout_s
        reason = self.fault or (self.remark if is_up else "no beat sent yet")
        return LinkStatus(
            self.link, True, is_up, self.thread_id, sent_at, reason, self.thread_id, self.counts
        )


class ListenerEnd(LinkEnd):
    """A receiving end: passes the peer's beats to the engine, and reports its first opening.

    The engine must know of a link that was never open, since it hears nothing there. One that fails
    later was heard.
    """

    role = "listener"
    complaint = "dropped a frame"

    def __init__(
        self,
        link: LinkSpec,
        codec: Codec,
        deliver: Callable[[BeatReceived], bool],
        report_tried: Callable[[ListenerTried], None],
        log: Log,
    ) -> None:
        super().__init__(link, log)
        self._intake = BeatIntake(link, codec, deliver, self.count)
        self._report_tried = report_tried
        self._is_open: bool | None = None
        """None until it is known whether it can be opened."""

    @property
    def timing(self) -> BeatTiming:
        """How regularly beats come in."""
        return self._intake.timing

    def record_closed(self) -> None:
        """Report an end that could not be opened, unless it was open before."""
        if self._is_open is None:
            self._is_open = False
            self._report_tried(ListenerTried(self.link, False))

    def record_open(self) -> None:
        """Report the first opening of an end that could not be opened at first."""
        if self._is_open is False:
            self._report_tried(ListenerTried(self.link, True))
        self._is_open = True
