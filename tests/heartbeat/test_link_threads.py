"""The thread of one end of a link: its faults, its counters, what it sends and what it passes on.

The ends of the links are played: what they do, fault by fault, is what a test says. The loop of a
thread is run by the test itself, so that its waits take no time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    ListenerTried,
    MediumQuiet,
    RenewalConfirmed,
    SlotOpened,
)
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.status import LinkStatus, StageFigure
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.heartbeat import link_workers
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.heartbeat.link_workers import (
    LeaseReports,
    LinkThread,
    ListenerThread,
    SenderThread,
)
from opensvc_openha.heartbeat.outbox import BeatOutbox, Posted
from opensvc_openha.heartbeat.stage_meter import StageMeter
from opensvc_openha.links.base import LinkFault, Quiet, Received
from opensvc_openha.storage.key_store import new_key
from tests.simulated_clock import SimulatedClock
from tests.waiting import LIMIT_S, until

LINK = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
CODEC = OwnCodec(LINK, tuple, Authentication("deb2", BootId(9, 9)))


def beat(seq: int) -> Beat:
    return Beat("deb1", BootId(1, 1), seq, None, {}, sent_at=0.0)


def frame(seq: int) -> Received:
    return Received(CODEC.encode(beat(seq), 7, False), 1.0, "")


Counters = dict[str, int]
Step = Exception | Received | Counters | Quiet | None
"""A fault, a frame, the link's counters from now on, a quiet read, or nothing."""


@dataclass
class End:
    """An end that does one step after the other, each time it is used."""

    opening: Exception | None
    steps: list[Step] = field(default_factory=list)
    remark: str = ""
    counters: Counters = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    is_open: bool = False
    is_closed: bool = False
    watch: Callable[[], object] = lambda: None
    quiet: Quiet | None = None
    found: Received | None = None
    disk: str = "naa.1"
    roused: int = 0

    def open(self) -> None:
        if self.opening is not None:
            raise self.opening
        self.is_open = True

    def receive(self, timeout_s: float) -> Received | None:
        self.waits.append(timeout_s)
        return self._step()

    def rouse(self) -> None:
        self.roused += 1

    def send(self, data: bytes) -> None:
        self._step()
        self.sent.append(data)

    def _step(self) -> Received | None:
        assert self.is_open
        self.watch()
        step = self.steps.pop(0)
        if isinstance(step, Quiet):
            self.quiet = step
            return None
        if isinstance(step, dict):
            self.counters = step
            return None
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.is_closed = True


class Ending(threading.Event):
    """Asks the thread to end at its last wait; notes what the thread shows at each."""

    def __init__(self, waits: int, show: Callable[[], object]) -> None:
        super().__init__()
        self._left = waits
        self._show = show
        self.shown: list[tuple[float | None, object]] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.shown.append((timeout, self._show()))
        self._left -= 1
        if not self._left:
            self.set()
        return self.is_set()


class Log(list[tuple[bool, str]]):
    def __call__(self, link: LinkSpec, is_fault: bool, text: str) -> None:
        assert link is LINK
        self.append((is_fault, text))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the thread calls itself, which is here the thread of the tests."""
    found: list[str] = []
    monkeypatch.setattr(link_workers, "name_thread", found.append)
    return found


def serve(
    thread: LinkThread,
    monkeypatch: pytest.MonkeyPatch,
    *ends: End,
    show: Callable[[], object] = lambda: None,
) -> list[tuple[float | None, object]]:
    """Run the loop until each of these ends has failed."""
    left = list(ends)
    for maker in ("make_sender", "make_listener"):
        monkeypatch.setattr(link_workers, maker, lambda _link, _clock: left.pop(0))
    ending = thread._ending = Ending(len(ends), show)
    thread._main()
    assert not left and all(end.is_closed for end in ends)
    return ending.shown


def listener(
    log: Log, taken: list[BeatReceived] | None = None, tried: list[ListenerTried] | None = None
) -> ListenerThread:
    beats: list[BeatReceived] = [] if taken is None else taken
    told: list[ListenerTried] = [] if tried is None else tried
    return ListenerThread(LINK, CODEC, lambda event: not beats.append(event), told.append, log)


def test_fault_is_logged_once_at_its_beginning_and_its_end_and_shown_all_the_time(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Tried again each second; what nobody thought of is a fault of this link, too."""
    log, taken = Log(), list[BeatReceived]()
    thread = listener(log, taken)
    ends = (
        End(LinkFault("eth1: no such device")),
        End(LinkFault("eth1: refused")),
        End(None, [None, frame(1), None, ValueError("odd")], remark="a hint"),
        End(None, [LinkFault("eth1: down")]),
    )
    assert serve(thread, monkeypatch, *ends, show=lambda: (thread.fault, thread.remark)) == [
        (1.0, ("eth1: no such device", "")),
        (1.0, ("eth1: refused", "")),
        (1.0, ("unexpected: ValueError: odd", "a hint")),
        (1.0, ("eth1: down", "")),
    ]
    assert log == [
        (True, "listener: eth1: no such device"),
        (False, "listener: works again"),
        (True, "listener: unexpected: ValueError: odd"),
    ]
    assert [event.beat.seq for event in taken] == [1]
    assert ends[2].waits == [0.5, 2.0, 2.0, 2.0]
    assert (names, thread.thread_id) == (["listener eth1"], threading.get_native_id())


@pytest.mark.parametrize(
    ("openings", "told"),
    [
        ((None, LinkFault("x"), None), []),
        ((LinkFault("x"), LinkFault("x"), None, None), [False, True]),
        ((LinkFault("x"), None, LinkFault("x"), None), [False, True]),
        ((KeyboardInterrupt(), None), [False, True]),
    ],
)
def test_engine_is_told_of_a_link_that_was_never_open(
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    openings: tuple[Exception | None, ...],
    told: list[bool],
) -> None:
    """And when it is open for the first time; one that fails later was heard."""
    tried: list[ListenerTried] = []
    thread = listener(Log(), tried=tried)
    ends = [End(opening, [LinkFault("down")]) for opening in openings]
    if isinstance(openings[0], KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            serve(thread, monkeypatch, *ends)
        ends = ends[1:]
    serve(thread, monkeypatch, *ends)
    assert tried == [ListenerTried(LINK, is_open) for is_open in told]


def test_counters_of_the_link_are_added_up_across_its_openings(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """They begin at nothing each time; what is no error is not counted, and a zero is none."""
    log, shown = Log(), list[dict[str, int]]()
    thread = listener(log)
    first = {"received": 5, "blank": 2, "magic": 0, "checksum": 3}
    ends = (
        End(
            None,
            [first, {**first, "received": 9, "checksum": 5}, None, LinkFault("down")],
            watch=lambda: shown.append(thread.counts),
        ),
        End(None, [{"checksum": 1}, LinkFault("down")]),
        End(None, [LinkFault("down")], counters={"checksum": 2}),
    )
    serve(thread, monkeypatch, *ends)
    assert shown == [{}, {"checksum": 3}, {"checksum": 5}, {"checksum": 5}]
    assert thread.counts == {"checksum": 8}
    assert log == [
        (True, "listener: dropped a frame: checksum (counted from now on)"),
        (True, "listener: down"),
        (False, "listener: works again"),
        (True, "listener: down"),
    ]


def test_reasons_are_shown_for_half_a_minute_after_the_last_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each by itself, in the order of the alphabet."""
    clock = SimulatedClock(monkeypatch)
    clock.now = 100.0
    thread = listener(Log())
    thread.record_counters({"checksum": 1})
    clock.now = 110.0
    thread.record_counters({"alien": 1})
    shown = []
    for now in (110.0, 129.9, 130.0, 139.9, 140.0):
        clock.now = now
        shown.append(thread.refused_lately)
        assert thread.saw_lately("alien") is (now < 140.0)
    both = ["alien", "checksum"]
    assert shown == [both, both, ["alien"], ["alien"], []]
    assert thread.saw_lately("magic") is False


class Board(BeatOutbox):
    """Gives these answers; asked for one more it fails, which ends an opening."""

    def __init__(self, *answers: Posted | None) -> None:
        super().__init__()
        self._left = list(answers)
        self.asked: list[tuple[int, float]] = []
        self._given = 0

    def wait_after(
        self, number: int, timeout_s: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> tuple[int, Posted | None]:
        self.asked.append((number, timeout_s))
        answer = self._left.pop(0)
        self._given += answer is not None
        return self._given, answer


def test_each_beat_is_sent_once_and_a_beat_that_could_not_be_sent_is_not_sent_later(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """The next one is newer."""
    log, sent_after = Log(), list[list[bool]]()
    posted = [Posted(beat(seq), False) for seq in (1, 2, 3)]
    board = Board(None, posted[0], None, posted[1], posted[2])
    thread = SenderThread(LINK, CODEC, board, log)
    good: list[Step] = [None, LinkFault("eth1: down")]
    ends = (
        End(None, good, "a hint", {"foreign": 2}),
        End(None, [{"foreign": 1}], "another"),
    )
    shown = serve(
        thread,
        monkeypatch,
        *ends,
        show=lambda: sent_after.append([thread.has_sent(n) for n in (1, 2, 3, 4)]),
    )
    assert [wait for wait, _ in shown] == [1.0, 1.0]
    assert sent_after == [[True, False, False, False], [True, True, True, False]]
    number = threading.get_native_id()
    assert [end.sent for end in ends] == [
        [CODEC.encode(beat(1), number, False)],
        [CODEC.encode(beat(3), number, False)],
    ]
    assert board.asked == [(seen, 2.0) for seen in (0, 0, 1, 1, 2, 3)]
    assert (thread.counts, thread.remark, names) == ({"foreign": 3}, "another", ["sender eth1"])
    assert log == [
        (True, "sender: what was written is gone: foreign (counted from now on)"),
        (True, "sender: eth1: down"),
        (False, "sender: works again"),
        (True, "sender: unexpected: IndexError: pop from empty list"),
    ]


def test_what_a_sender_finds_wrong_is_counted_while_it_sends_and_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """A slot that another sender writes to may be the fault itself."""
    posted = [Posted(beat(seq), False) for seq in (1, 2, 3)]
    thread, shown = SenderThread(LINK, CODEC, Board(*posted), Log()), list[dict[str, int]]()
    ends = (
        End(None, [{"foreign": 1}, LinkFault("x")], watch=lambda: shown.append(thread.counts)),
        End(None, [LinkFault("x")], counters={"foreign": 2}),
    )
    serve(thread, monkeypatch, *ends)
    assert shown == [{}, {"foreign": 1}] and thread.counts == {"foreign": 3}


def test_sender_is_up_for_the_timeout_of_its_link_after_a_beat(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Its reason is the fault if there is one, else the link's remark once it works."""
    clock = SimulatedClock(monkeypatch)
    clock.now = 100.0
    thread = SenderThread(LINK, CODEC, Board(Posted(beat(1), True)), Log())
    assert thread.status() == LinkStatus(LINK, True, False, 0, None, "no beat sent yet", 0, {})
    assert (thread.has_sent(0), thread.has_sent(1), thread.is_alive) == (True, False, False)
    serve(thread, monkeypatch, End(None, [{"foreign": 2}], "a hint"))
    number, counts = threading.get_native_id(), {"foreign": 2}
    fault = "unexpected: IndexError: pop from empty list"
    assert thread.status() == LinkStatus(LINK, True, True, number, 100.0, fault, number, counts)
    thread.record_health()
    for now, is_up, reason in ((109.9, True, "a hint"), (110.0, False, "no beat sent yet")):
        clock.now = now
        expected = LinkStatus(LINK, True, is_up, number, 100.0, reason, number, counts)
        assert thread.status() == expected


DISK = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 10, 10.0)
Reported = RenewalConfirmed | MediumQuiet | SlotOpened | BeatFound


def lease_reports(found: list[Reported], is_wanted: bool = True) -> LeaseReports:
    opened: set[tuple[LinkSpec, str]] = set()
    return LeaseReports(
        {DISK: b"12345678"}.get,
        lambda link, disk: b"12345678" if (link, disk) in opened else None,
        lambda link, disk: opened.add((link, disk)),
        lambda: is_wanted,
        lambda: is_wanted,
        found.append,
    )


def test_beat_in_a_slot_is_a_renewal_that_began_before_its_write(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """A write that failed is none, nor is a beat on a network; without a lease nothing is told."""
    clock = SimulatedClock(monkeypatch)
    clock.now = 100.0

    def run(link: LinkSpec, is_wanted: bool = True) -> list[Reported]:
        found: list[Reported] = []

        def write() -> None:
            clock.now += 0.5

        board = Board(*(Posted(beat(seq), False) for seq in (5, 6, 7)))
        thread = SenderThread(link, CODEC, board, lambda *_: None, lease_reports(found, is_wanted))
        serve(thread, monkeypatch, End(None, [None, LinkFault("EIO")], watch=write), End(None))
        return found

    assert run(DISK) == [RenewalConfirmed(b"12345678", 5, 100.0, 100.5, False)]
    assert run(LINK) == [] and run(DISK, is_wanted=False) == []


def test_quiet_read_is_reported_once_behind_the_beats_before_it(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """And looked for often; not asked for, not told."""
    beats, found = list[BeatReceived](), list[Reported]()
    quiet, later = Quiet(50.0, 40.0), Quiet(50.25, 40.0)
    steps: list[Step] = [None, quiet, None, frame(1), later]

    def run(is_wanted: bool) -> End:
        end = End(None, list(steps))
        thread = ListenerThread(
            DISK,
            OwnCodec(DISK, tuple, Authentication("deb2", BootId(9, 9))),
            lambda event: not beats.append(event),
            lambda _: None,
            lambda *_: None,
            lease_reports(found, is_wanted),
        )
        serve(thread, monkeypatch, end)
        return end

    opened = SlotOpened(DISK, "naa.1")
    assert run(is_wanted=False).waits == [0.5] * 6 and found == [opened]
    assert run(is_wanted=True).waits == [0.05] * 6
    assert found[1:] == [
        opened,
        *(MediumQuiet(b"12345678", each.read_at, each.since) for each in (quiet, later)),
    ]


def test_what_a_slot_held_is_reported_once_and_before_all_that_comes_later(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Also where nobody asks for quiet reads: a promise in it counts once the peer is silent."""
    key = new_key()
    ours, peers = (Authentication(node, BootId(9, 9)) for node in ("deb2", "deb1"))
    for each in (ours, peers):
        each.update(HeartbeatOptions(), KeyRing(key), {})
    lay = OwnCodec(DISK, tuple, peers).encode(beat(7), 1, True)
    others = OwnCodec(DISK, tuple, Authentication("deb1", BootId(9, 9))).encode(beat(8), 1, True)
    beats, found = list[BeatReceived](), list[Reported]()
    there, forged = Received(lay, 60.0, "x"), Received(others, 61.0, "x")
    lies = [there, there, forged, forged]
    end = End(None, [None, None, frame(1), None])
    end.watch = lambda: setattr(end, "found", lies.pop(0) if lies else None)
    thread = ListenerThread(
        DISK,
        OwnCodec(DISK, tuple, ours),
        lambda event: not beats.append(event),
        lambda _: None,
        lambda *_: None,
        lease_reports(found, False),
    )
    serve(thread, monkeypatch, end)
    assert found[1:] == [BeatFound(DISK, beat(7), 60.0)]


def test_thread_enters_first_is_a_daemon_and_ends_when_it_is_asked() -> None:
    """A link that cannot be opened: it waits for its next attempt, and ends at once."""
    link = LinkSpec("deb1", "net", "no-such-if", "239.131.50.10", 5010, 0, 10.0)
    entered: list[int] = []
    thread = ListenerThread(link, CODEC, lambda _: True, lambda _: None, lambda *_: None)
    thread.start(lambda: entered.append(threading.get_native_id()))
    until(lambda: thread.fault)
    assert thread.is_alive and entered == [thread.thread_id] != [threading.get_native_id()]
    assert (thread._thread.daemon, thread._thread.name) == (True, f"listener {link.link_id}")
    thread.ask_to_end()
    until(lambda: not thread.is_alive)
    other = ListenerThread(link, CODEC, lambda _: True, lambda _: None, lambda *_: None)
    other.start(lambda: None)
    other.stop(LIMIT_S)
    assert not other.is_alive


def test_end_of_a_thread_is_waited_for_one_and_a_half_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device that hangs keeps no daemon from leaving."""
    thread, waits = listener(Log()), list[float]()
    monkeypatch.setattr(thread._thread, "join", waits.append)
    thread.stop()
    assert waits == [1.5] and thread._ending.is_set()


def test_board_gives_the_newest_beat_once() -> None:
    """To each of those that wait, as soon as it is posted."""
    board = BeatOutbox()
    assert (board.number, board.wait_after(0, 0.0)) == (0, (0, None))
    got: list[tuple[int, Posted | None]] = []
    threads = [
        threading.Thread(target=lambda: got.append(board.wait_after(0, 9 * LIMIT_S)), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(lambda: len(board._condition._waiters) == 2)  # type: ignore[attr-defined]
    board.post(beat(1), True)
    for thread in threads:
        thread.join(LIMIT_S)
    assert got == [(1, Posted(beat(1), True))] * 2
    board.post(beat(2), False)
    board.post(beat(3), False)
    assert board.number == 3 and board.wait_after(1, 0.0) == (3, Posted(beat(3), False))
    assert board.wait_after(3, 0.0) == (3, None)


class Whole(threading.Event):
    """Is set again at the second wait; ``show`` is called at each."""

    def __init__(self, show: Callable[[], object]) -> None:
        super().__init__()
        self._show, self.shown = show, list[object]()

    def wait(self, timeout: float | None = None) -> bool:
        self.shown.append(self._show())
        if len(self.shown) == 2:
            self.set()
        return self.is_set()


@pytest.mark.parametrize("is_sender", [True, False])
def test_end_that_is_cut_is_closed_and_opened_once_more_after_that(
    is_sender: bool, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Nothing is sent, and nothing that came in meanwhile is taken: as if the cable were drawn."""
    log, taken = Log(), list[BeatReceived]()
    outbox = BeatOutbox()
    outbox.post(beat(1), False)
    thread: LinkThread = (
        SenderThread(LINK, CODEC, outbox, log) if is_sender else listener(log, taken)
    )
    whole = thread._whole = Whole(lambda: (thread.is_cut, thread.fault, first.is_closed))
    whole.set()

    def cut() -> None:
        thread.cut("cut by a drill")
        outbox.post(beat(2), False)

    first = End(None, [frame(1), frame(2)] if not is_sender else [None], watch=cut)
    second = End(None, [LinkFault("end")])
    left = [first, second]
    for maker in ("make_sender", "make_listener"):
        monkeypatch.setattr(link_workers, maker, lambda _link, _clock: left.pop(0))
    thread._ending = Ending(1, lambda: None)
    thread._main()
    assert not left and second.is_closed and not thread.is_cut
    assert whole.shown == [(True, "cut by a drill", True)] * 2
    assert log[0] == (True, f"{thread.role}: cut by a drill")
    # The frame that made the test cut the link was read before; none after it.
    assert [event.beat.seq for event in taken] == ([] if is_sender else [1])
    assert len(first.sent) == (1 if is_sender else 0)


def test_end_that_is_cut_ends_when_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Without another look at its link."""
    thread = SenderThread(LINK, CODEC, BeatOutbox(), Log())
    waits = list[float | None]()

    class Cut(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 3:
                thread.ask_to_end()
            return False

    monkeypatch.setattr(link_workers, "make_sender", None)
    thread._whole = Cut()
    thread.cut("cut by a drill")
    thread._main()
    assert waits == [0.5] * 3 and thread.fault == "cut by a drill" and not thread.is_cut


@pytest.mark.parametrize("is_cut", [True, False])
def test_thread_that_waits_for_a_beat_is_roused_to_be_cut_or_to_end(
    is_cut: bool, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Neither end waits until its time is over."""
    board = BeatOutbox()
    sender = SenderThread(LINK, CODEC, board, Log())
    assert board.wait_after(0, 3 * LIMIT_S, lambda: False) == (0, None), "it was roused before"
    monkeypatch.setattr(link_workers, "_WAIT_S", 3 * LIMIT_S)
    monkeypatch.setattr(link_workers, "make_sender", lambda _link, _clock: End(None))
    sender.start(lambda: None)
    until(lambda: len(board._condition._waiters) == 1)  # type: ignore[attr-defined]
    heard = listener(Log())
    heard._listener = end = End(None)
    for thread in (sender, heard):
        thread.cut("cut by a drill") if is_cut else thread.ask_to_end()
    until(lambda: sender.is_cut or not sender.is_alive)
    assert end.roused == 1
    sender.ask_to_end()
    until(lambda: not sender.is_alive)


def test_end_that_was_cut_is_wanted_once_it_is_healed() -> None:
    """Until it is asked to end."""
    thread = SenderThread(LINK, CODEC, BeatOutbox(), Log())
    assert not thread.is_cut and thread._is_wanted
    thread.cut("cut by a drill")
    assert not thread._is_wanted
    thread.heal()
    assert thread._is_wanted
    thread.ask_to_end()
    assert not thread._is_wanted


def test_beat_that_was_posted_while_the_end_was_cut_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """The sender had waited for it."""
    thread = SenderThread(LINK, CODEC, BeatOutbox(), Log())
    end = End(None, [None])

    def wait(number: int, timeout_s: float, is_wanted: object) -> tuple[int, Posted]:
        thread.cut("cut by a drill")
        thread.ask_to_end()
        return 1, Posted(beat(1), False)

    monkeypatch.setattr(thread._board, "wait_after", wait)
    monkeypatch.setattr(link_workers, "make_sender", lambda _link, _clock: end)
    thread._main()
    assert end.sent == [] and end.is_closed and not thread.has_sent(1)


def test_slot_that_held_something_once_and_nothing_after_it_was_opened_again(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """What was found of a former opening is nothing of this one; how regular the beats are is
    known.
    """
    log = Log()
    thread = listener(log)
    assert thread.timing.beats == 0
    ends = [End(None, [frame(1), frame(2), LinkFault("gone")]), End(None, [None, LinkFault("end")])]
    ends[0].found = frame(1)
    serve(thread, monkeypatch, *ends)
    assert thread.timing.beats == 2
    assert [text for _, text in log] == [
        f"listener: {text}" for text in ("gone", "works again", "end")
    ]


def test_link_that_is_no_medium_of_a_promise_is_read_at_leisure(
    monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """Although quiet reads of others are asked for."""
    end = End(None, [None, Quiet(50.0, 40.0), LinkFault("end")])
    reported = list[object]()
    thread = ListenerThread(
        LINK, CODEC, lambda _: True, lambda _: None, lambda *_: None,
        LeaseReports(wants_quiet=lambda: True, put=reported.append),
    )  # fmt: skip
    serve(thread, monkeypatch, end)
    assert end.waits == [0.5, 2.0, 2.0] and reported == []


def test_stages_of_a_disk_are_measured(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """From the post of a beat to its read-back, and from the read of a slot to the thread here."""
    clock = SimulatedClock(monkeypatch)
    clock.now = 100.5
    written, taken = StageMeter("written"), StageMeter("taken")
    board = Board(Posted(beat(1), True, posted_at=100.25))
    serve(SenderThread(LINK, CODEC, board, Log(), written=written), monkeypatch, End(None, [None]))
    found = replace(frame(1), received_at=100.0)
    thread = ListenerThread(LINK, CODEC, lambda event: True, lambda event: None, Log(), taken=taken)
    serve(thread, monkeypatch, End(None, [None, found]))
    assert written.figure(100.5) == StageFigure("written", 0.25, 0.25, 1)
    assert taken.figure(100.5) == StageFigure("taken", 0.5, 0.5, 1)
