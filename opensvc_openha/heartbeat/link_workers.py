"""Run a thread per end of a heartbeat link on a disk: open it, write or read, and open it again.

A write may wait for its disk as long as that likes. Links on networks have one thread for all of
them, in datagram_loop.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

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
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.beat_frame import carries_facts
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.heartbeat.link_end import STOP_LIMIT_S, LinkEnd, ListenerEnd, Log, SenderEnd
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.heartbeat.stage_meter import StageMeter
from opensvc_openha.links.base import BeatListener, Quiet, Received
from opensvc_openha.links.registry import make_listener, make_sender
from opensvc_openha.records import dataclass
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_WAIT_S = 2.0
"""Longest wait, in seconds, for a beat to send or to hear; what ends it comes before that."""
_LOOK_S = 0.5
"""Longest wait, in seconds, for the first beat, and where it may matter that none is heard."""
_QUIET_WAIT_S = 0.05
"""Longest wait for a beat, in seconds, while each quiet read is reported."""


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


class LinkThread(LinkEnd):
    """Common part of both ends: the thread."""

    def __init__(self, link: LinkSpec, log: Log) -> None:
        super().__init__(link, log)
        self._ending = threading.Event()
        self._whole = threading.Event()
        """Set but while this end is cut on purpose."""
        self._whole.set()
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
        self._rouse()

    def stop(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Ask the thread to end, and wait ``limit_s`` seconds at most."""
        self.ask_to_end()
        self._thread.join(limit_s)

    @property
    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def cut(self, why: str) -> None:
        """Close this end soon, and keep it closed until ``heal``."""
        self.why_cut = why
        self._whole.clear()
        self._rouse()

    def heal(self) -> None:
        """Open this end again."""
        self._whole.set()

    @property
    def _is_wanted(self) -> bool:
        return self._whole.is_set() and not self._ending.is_set()

    def _stay_cut(self) -> None:
        # Closed, as by a fault: what comes in meanwhile is not heard, and after it the end is
        # opened once more, so that nothing that was read before counts for what it missed.
        self.record_fault(self.why_cut)
        self.is_cut = True
        while not self._whole.wait(_LOOK_S) and not self._ending.is_set():
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
                self.record_fault(str(error))
            # The only catch-all of this thread: the link reports the fault and retries.
            except Exception as error:
                self.record_fault(f"unexpected: {type(error).__name__}: {error}")
            self._ending.wait(timing.LINK_RETRY_S)

    def _serve(self) -> None:
        raise NotImplementedError

    def _rouse(self) -> None:
        """Have the thread wait for a beat no longer; called once it is not wanted any more."""
        raise NotImplementedError


class SenderThread(SenderEnd, LinkThread):
    """Send each beat at the moment it is posted."""

    def __init__(
        self,
        link: LinkSpec,
        codec: Codec,
        board: BeatOutbox,
        log: Log,
        reports: LeaseReports = NO_REPORTS,
        written: StageMeter | None = None,
    ) -> None:
        super().__init__(link, log)
        self._codec = codec
        self._reports = reports
        self._board = board
        self._seen = 0
        self._written = written
        """How long after it was posted a beat was read back."""

    def _serve(self) -> None:
        sender = make_sender(self.link, clock.monotonic)
        try:
            sender.open()
            self.remark = sender.remark
            if self.link.is_disk:
                self._reports.opened(self.link, sender.disk)
            while self._is_wanted:
                number, posted = self._board.wait_after(
                    self._seen, _WAIT_S, lambda: self._is_wanted
                )
                self._seen = number
                if posted is None or not self._is_wanted:
                    continue
                # A renewal counts from before the write: the peer may read it from then on.
                began_at = clock.monotonic()
                frame = self._codec.encode(posted.beat, self.thread_id, posted.with_names)
                sender.send(frame)
                self.record_sent(number)
                if self._written is not None:
                    now = clock.monotonic()
                    self._written.record(now - posted.posted_at, now)
                self._report_renewal(posted.beat.seq, frame, began_at, sender.disk)
                self.record_health()
                self.record_counters(sender.counters)
        finally:
            self.record_closing(sender.counters)
            sender.close()

    def _rouse(self) -> None:
        self._board.rouse()

    def _report_renewal(self, seq: int, frame: bytes, began_at: float, disk: str) -> None:
        """Report a beat that stays in its slot, where it was read back."""
        if not self._reports.wants_renewals():
            return
        medium, ended_at = self._reports.renewed_by(self.link, disk), self._sent_at
        if medium is not None and ended_at is not None:
            self._reports.put(
                RenewalConfirmed(medium, seq, began_at, ended_at, carries_facts(frame))
            )


class ListenerThread(ListenerEnd, LinkThread):
    """Pass the peer's beats to the engine; count and drop everything else."""

    def __init__(
        self,
        link: LinkSpec,
        codec: Codec,
        deliver: Callable[[BeatReceived], bool],
        report_tried: Callable[[ListenerTried], None],
        log: Log,
        reports: LeaseReports = NO_REPORTS,
        taken: StageMeter | None = None,
    ) -> None:
        super().__init__(link, codec, deliver, report_tried, log)
        self._reports = reports
        self._quiet_at = -math.inf
        self._taken = taken
        """How long after its read a beat came here."""
        self._codec = codec
        self._found: Received | None = None
        """What was reported of the present opening."""
        self._listener: BeatListener | None = None

    def _rouse(self) -> None:
        if self._listener is not None:
            self._listener.rouse()

    def _serve(self) -> None:
        self._listener = listener = make_listener(self.link, clock.monotonic)
        try:
            self._open(listener)
            self.remark = listener.remark
            wait_s = _LOOK_S
            while self._is_wanted:
                medium = self._reports.medium_of(self.link)
                wants_quiet = medium is not None and self._reports.wants_quiet()
                received = listener.receive(_QUIET_WAIT_S if wants_quiet else wait_s)
                # What lay there is known by now, and that it can be read.
                wait_s = _WAIT_S if medium is None else _LOOK_S
                self.record_health()
                self.record_counters(listener.counters)
                self._report_found(listener.found)
                if received is not None:
                    if self._taken is not None:
                        now = clock.monotonic()
                        self._taken.record(now - received.received_at, now)
                    self._intake.take(received)
                elif medium is not None and wants_quiet:
                    self._report_quiet(medium, listener.quiet)
        finally:
            self.record_closing(listener.counters)
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
        try:
            listener.open()
        except BaseException:
            self.record_closed()
            raise
        if self.link.is_disk:
            self._reports.put(SlotOpened(self.link, listener.disk))
        self.record_open()
