"""Run a thread per end of a heartbeat link: open it, send or listen, and reopen it after a fault.

A fault affects its own link only. Its beginning and its end are logged once each, and the link's
status shows the reason.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opensvc_openha.core import timing
from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    ListenerTried,
    MediumQuiet,
    RenewalConfirmed,
    SlotOpened,
)
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.status import BeatTiming, LinkStatus
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.beat_frame import carries_facts
from opensvc_openha.heartbeat.beat_intake import BeatIntake
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.links.base import BeatListener, Quiet, Received
from opensvc_openha.links.registry import make_listener, make_sender
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_WAIT_S = 0.5
_QUIET_WAIT_S = 0.05
"""Longest wait for a beat, in seconds, while each quiet read is reported."""
_NOT_WRONG = frozenset({"received", "blank"})
"""A blank slot means that the peer never wrote, which is no error."""
Log = Callable[[LinkSpec, bool, str], None]


@dataclass(frozen=True)
class LeaseReports:
    """What the disk links report for promises: this node's renewals, and quiet slots of the peer.

    ``medium_of`` returns the mark of a peer's link among the media of a promise, None for one that
    is none; ``renewed_by`` that of an own link, None also if its disk is not the one that the mark
    stands for. ``wants_renewals`` and ``wants_quiet`` are asked at each beat and each read.
    ``opened`` is called before anything is written to a disk.
    """

    medium_of: Callable[[LinkSpec], bytes | None] = lambda link: None
    renewed_by: Callable[[LinkSpec, str], bytes | None] = lambda link, disk: None
    opened: Callable[[LinkSpec, str], None] = lambda link, disk: None
    wants_renewals: Callable[[], bool] = lambda: False
    wants_quiet: Callable[[], bool] = lambda: False
    put: Callable[[RenewalConfirmed | MediumQuiet | SlotOpened | BeatFound], None] = lambda event: (
        None
    )


NO_REPORTS = LeaseReports()


class LinkThread:
    """Common part of both ends: the thread, its end, its fault."""

    role = ""
    complaint = ""
    """Log text for an error that the link itself detected."""

    def __init__(self, link: LinkSpec, log: Log) -> None:
        self.link = link
        self.thread_id = 0
        self.fault = ""
        self.remark = ""
        self._log = log
        self._counters: dict[str, int] = {}
        self._of_link: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._ending = threading.Event()
        self._whole = threading.Event()
        """Set but while this end is cut on purpose."""
        self._whole.set()
        self._why_cut = ""
        self.is_cut = False
        """True while it is closed since it is cut: it sends nothing, and hears nothing."""
        self._enter: Callable[[], None] = lambda: None
        self._thread = threading.Thread(
            target=self._main, name=f"{self.role} {link.link_id}", daemon=True
        )

    def start(self, enter: Callable[[], None]) -> None:
        """Start the thread; it calls ``enter`` first."""
        self._enter = enter
        self._thread.start()

    def ask_to_end(self) -> None:
        """Ask the thread to end soon; return at once."""
        self._ending.set()

    def stop(self, limit_s: float = 1.5) -> None:
        """Ask the thread to end, and wait ``limit_s`` seconds at most."""
        self._ending.set()
        self._thread.join(limit_s)

    @property
    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def cut(self, why: str) -> None:
        """Close this end soon, and keep it closed until ``heal``: a link that fails on purpose."""
        self._why_cut = why
        self._whole.clear()

    def heal(self) -> None:
        """Open this end again."""
        self._whole.set()

    @property
    def _is_wanted(self) -> bool:
        return self._whole.is_set() and not self._ending.is_set()

    def _stay_cut(self) -> None:
        # Closed, as by a fault: what comes in meanwhile is not heard, and after it the end is
        # opened once more, so that nothing that was read before counts for what it missed.
        self._record_fault(self._why_cut)
        self.is_cut = True
        while not self._whole.wait(_WAIT_S) and not self._ending.is_set():
            pass
        self.is_cut = False

    def _main(self) -> None:
        self.thread_id = threading.get_native_id()
        self._enter()
        name_thread(f"{self.role} {self.link.device.rsplit('/', 1)[-1]}")
        while not self._ending.is_set():
            if not self._whole.is_set():
                self._stay_cut()
                continue
            try:
                self._serve()
                continue
            except OpenhaError as error:
                self._record_fault(str(error))
            # The only catch-all of this thread: the link reports the fault and retries.
            except Exception as error:
                self._record_fault(f"unexpected: {type(error).__name__}: {error}")
            self._ending.wait(timing.LINK_RETRY_S)

    def _serve(self) -> None:
        raise NotImplementedError

    def _record_fault(self, reason: str) -> None:
        # Later attempts show in the status only: one line of log per fault.
        if not self.fault:
            self._log(self.link, True, f"{self.role}: {reason}")
        self.fault = reason

    def _record_health(self) -> None:
        if self.fault:
            self.fault = ""
            self._log(self.link, False, f"{self.role}: works again")

    def _record_counters(self, counters: Mapping[str, int]) -> None:
        """Add what the link itself dropped since the last call.

        Its own counters restart when it is opened.
        """
        for reason, number in counters.items():
            grown = number - self._of_link.get(reason, 0)
            self._of_link[reason] = number
            if grown > 0 and reason not in _NOT_WRONG:
                self._count(reason, self.complaint, grown)

    def _count(self, reason: str, what: str, number: int) -> None:
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


class SenderThread(LinkThread):
    """Send each beat at the moment it is posted."""

    role = "sender"
    complaint = "what was written is gone"

    def __init__(
        self,
        link: LinkSpec,
        codec: Codec,
        board: BeatOutbox,
        log: Log,
        reports: LeaseReports = NO_REPORTS,
    ) -> None:
        super().__init__(link, log)
        self._codec = codec
        self._reports = reports
        self._board = board
        self._seen = 0
        self._sent_at: float | None = None
        self._sent_number = 0

    def _serve(self) -> None:
        sender = make_sender(self.link, clock.monotonic)
        try:
            sender.open()
            self.remark = sender.remark
            if self.link.is_disk:
                self._reports.opened(self.link, sender.disk)
            while self._is_wanted:
                number, posted = self._board.wait_after(self._seen, _WAIT_S)
                self._seen = number
                if posted is None or not self._is_wanted:
                    continue
                # A renewal counts from before the write: the peer may read it from then on.
                began_at = clock.monotonic()
                frame = self._codec.encode(posted.beat, self.thread_id, posted.with_names)
                sender.send(frame)
                self._sent_at, self._sent_number = clock.monotonic(), number
                self._report_renewal(posted.beat.seq, frame, began_at, sender.disk)
                self._record_health()
                self._record_counters(sender.counters)
        finally:
            self._record_counters(sender.counters)
            self._of_link = {}
            sender.close()

    def _report_renewal(self, seq: int, frame: bytes, began_at: float, disk: str) -> None:
        """Report a beat that stays in its slot, where it was read back."""
        if not self._reports.wants_renewals():
            return
        medium, ended_at = self._reports.renewed_by(self.link, disk), self._sent_at
        if medium is not None and ended_at is not None:
            self._reports.put(
                RenewalConfirmed(medium, seq, began_at, ended_at, carries_facts(frame))
            )

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


class ListenerThread(LinkThread):
    """Pass the peer's beats to the engine; count and drop everything else."""

    role = "listener"
    complaint = "dropped a frame"

    def __init__(
        self,
        link: LinkSpec,
        codec: Codec,
        deliver: Callable[[BeatReceived], bool],
        report_tried: Callable[[ListenerTried], None],
        log: Log,
        reports: LeaseReports = NO_REPORTS,
    ) -> None:
        super().__init__(link, log)
        self._reports = reports
        self._quiet_at = -math.inf
        self._codec = codec
        self._found: Received | None = None
        """What was reported of the present opening."""
        self._intake = BeatIntake(link, codec, deliver, self._count)
        self._report_tried = report_tried
        self._is_open: bool | None = None
        """None until it is known whether it can be opened."""

    @property
    def timing(self) -> BeatTiming:
        """How regularly beats come in."""
        return self._intake.timing

    def _serve(self) -> None:
        listener = make_listener(self.link, clock.monotonic)
        try:
            self._open(listener)
            self.remark = listener.remark
            while self._is_wanted:
                medium = self._reports.medium_of(self.link)
                wants_quiet = medium is not None and self._reports.wants_quiet()
                received = listener.receive(_QUIET_WAIT_S if wants_quiet else _WAIT_S)
                self._record_health()
                self._record_counters(listener.counters)
                self._report_found(listener.found)
                if received is not None:
                    self._intake.take(received)
                elif medium is not None and wants_quiet:
                    self._report_quiet(medium, listener.quiet)
        finally:
            self._record_counters(listener.counters)
            self._of_link = {}
            listener.close()

    def _report_found(self, found: Received | None) -> None:
        """Report once what the slot held when it was opened, before all that comes later."""
        if found is self._found or found is None:
            return
        self._found = found
        beat = self._codec.recall(found)
        if beat is not None:
            self._reports.put(BeatFound(self.link, beat, found.received_at))

    def _report_quiet(self, medium: bytes, quiet: Quiet | None) -> None:
        """Report a read that showed nothing new; all that earlier ones found was passed before."""
        if quiet is not None and quiet.read_at > self._quiet_at:
            self._quiet_at = quiet.read_at
            self._reports.put(MediumQuiet(medium, quiet.read_at, quiet.since))

    def _open(self, listener: BeatListener) -> None:
        """Open the link.

        Report to the engine one that was never open, since it hears nothing there. One that fails
        later was heard.
        """
        try:
            listener.open()
        except BaseException:
            if self._is_open is None:
                self._is_open = False
                self._report_tried(ListenerTried(self.link, False))
            raise
        if self.link.is_disk:
            self._reports.put(SlotOpened(self.link, listener.disk))
        if self._is_open is False:
            self._report_tried(ListenerTried(self.link, True))
        self._is_open = True
