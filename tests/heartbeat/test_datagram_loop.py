"""The one thread of all links on networks: what is sent first, whose fault is whose, who waits.

The sockets are played by pairs of local ones. Most tests turn the loop by hand, so that the order
of what it does is known; what it does beside itself is done at once then.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import BeatReceived, ListenerTried
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.status import StageFigure
from opensvc_openha.formats.beat_frame import peek_number
from opensvc_openha.heartbeat import datagram_ends
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.heartbeat.datagram_ends import DatagramEnd, DatagramListener, DatagramSender
from opensvc_openha.heartbeat.datagram_loop import BATCH, DatagramLoop
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.links.base import LinkFault, Received
from tests.simulated_clock import SimulatedClock
from tests.waiting import LIMIT_S, until

ONE = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
TWO = replace(ONE, device="eth2")


def codec(link: LinkSpec) -> OwnCodec:
    return OwnCodec(link, tuple, Authentication("deb2", BootId(9, 9)))


def beat(seq: int) -> Beat:
    return Beat("deb1", BootId(1, 1), seq, None, {}, sent_at=0.0)


def frame(seq: int) -> bytes:
    return codec(ONE).encode(beat(seq), 7, False)


@dataclass
class Cable:
    """What stands for the sockets of one link; ``faults`` come first, one for each use."""

    notes: list[object]
    name: str
    opening: list[Exception] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    look: list[Exception] = field(default_factory=list)
    remark: str = ""
    hold: threading.Event | None = None
    """Openings wait for it."""
    near: socket.socket | None = None
    far: socket.socket | None = None
    openings: int = 0
    waited_s: float = 0.0

    def open(self) -> None:
        self.openings += 1
        if self.hold is not None:
            self.hold.wait(LIMIT_S)
        if self.opening:
            raise self.opening.pop(0)
        self.close()
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)

    def close(self) -> None:
        for each in (self.near, self.far):
            if each is not None:
                each.close()
        self.near = self.far = None

    def fileno(self) -> int:
        assert self.near is not None
        return self.near.fileno()

    def come_in(self, *frames: bytes) -> None:
        assert self.far is not None
        for data in frames:
            self.far.send(data)

    def read(self, limit: int) -> list[Received]:
        if self.faults:
            raise self.faults.pop(0)
        assert self.near is not None
        found = []
        for _ in range(limit):
            try:
                data = self.near.recv(65_536)
                found.append(Received(data, 1.0, "x", read_at=1.0 + self.waited_s))
            except BlockingIOError:
                break
        self.notes.append((self.name, "read", len(found)))
        return found

    def send(self, data: bytes) -> None:
        number = peek_number(data)
        assert number is not None
        if self.faults:
            raise self.faults.pop(0)
        self.notes.append((self.name, "sent", number[1]))

    def check_interface(self) -> None:
        self.notes.append((self.name, "looked at"))
        if self.look:
            raise self.look.pop(0)


class Rig:
    """A loop and its links, turned by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[object] = []
        self.log: list[tuple[str, bool, str]] = []
        self.taken: list[tuple[str, int]] = []
        self.tried: list[ListenerTried] = []
        self.cables: dict[tuple[str, str], Cable] = {}
        self.outbox = BeatOutbox()
        self.loop = DatagramLoop(self.outbox, lambda: self.notes.append("wake the engine"))
        self.number = 0
        monkeypatch.setattr(
            datagram_ends, "make_datagram_sender", lambda link: self.cable(link, "sender")
        )
        monkeypatch.setattr(
            datagram_ends,
            "make_datagram_listener",
            lambda link, clock, wall: self.cable(link, "listener"),
        )

    def cable(self, link: LinkSpec, role: str) -> Cable:
        name = f"{role} {link.device}"
        return self.cables.setdefault((link.device, role), Cable(self.notes, name))

    def note(self, link: LinkSpec, is_fault: bool, text: str) -> None:
        self.log.append((link.device, is_fault, text))

    def deliver(self, event: BeatReceived) -> bool:
        self.taken.append((event.link.device, event.beat.seq))
        self.notes.append(("taken", event.beat.seq))
        return True

    def sender(self, link: LinkSpec = ONE) -> DatagramSender:
        return DatagramSender(link, codec(link), self.note, self.loop)

    def listener(self, link: LinkSpec = ONE) -> DatagramListener:
        return DatagramListener(
            link, codec(link), self.deliver, self.tried.append, self.note, self.loop
        )

    def post(self) -> None:
        self.number += 1
        self.outbox.post(beat(self.number), False)

    def turn(self, times: int = 1) -> None:
        """One turn, without a wait."""
        for _ in range(times):
            self.loop.ask()
            assert self.loop._poll is not None
            self.loop._turn(self.loop._poll)

    def open(self, *ends: DatagramSender | DatagramListener) -> None:
        for end in ends:
            end.start(lambda: None)
        self.turn(2)
        self.notes.clear()


class AtOnce:
    """A thread that has ended when it was started."""

    def __init__(self, target: Callable[..., None], name: str = "", **_: object) -> None:
        self._run = (lambda: None) if name == "links" else target

    def start(self) -> None:
        self._run()

    def join(self, limit_s: float) -> None:
        pass


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """No end yet; its loop is turned by the test."""
    made = Rig(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", AtOnce)
        yield made
    for cable in made.cables.values():
        cable.close()
    if made.loop._wake_handle >= 0:
        os.close(made.loop._wake_handle)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """The same with a thread of its own."""
    made = Rig(monkeypatch)
    yield made
    for end in list(made.loop._ends):
        end.ask_to_end()
    made.loop.stop(LIMIT_S)


def test_beat_is_sent_before_anything_that_came_in_is_handled(rig: Rig) -> None:
    """And one that is posted while a batch is handled goes out behind the frame at hand."""
    rig.open(rig.sender(ONE), rig.sender(TWO), rig.listener(ONE))
    rig.cables["eth1", "listener"].come_in(*(frame(seq) for seq in (1, 2, 3)))
    rig.post()

    def deliver(event: BeatReceived) -> bool:
        rig.notes.append(("taken", event.beat.seq))
        if event.beat.seq == 2:
            rig.post()
        return True

    rig.loop._ends[2]._intake._deliver = deliver  # type: ignore[attr-defined]
    rig.turn()
    assert rig.notes == [
        ("sender eth1", "sent", 1), ("sender eth2", "sent", 1),
        ("listener eth1", "read", 3), ("taken", 1), ("taken", 2),
        ("sender eth1", "sent", 2), ("sender eth2", "sent", 2), ("taken", 3), "wake the engine",
    ]  # fmt: skip


def is_woken(rig: Rig) -> bool:
    """Whether the loop's thread would not wait."""
    assert rig.loop._poll is not None
    return any(handle == rig.loop._wake_handle for handle, _ in rig.loop._poll.poll(0))


def test_who_posts_a_beat_sends_it_while_the_loop_waits(rig: Rig) -> None:
    """And wakes nobody; while the loop is at work, that one is woken for it, and sends it once."""
    rig.open(rig.sender(ONE), rig.sender(TWO))
    rig.turn()
    both = ["sender eth1", "sender eth2"]
    rig.post()
    assert rig.notes == [(name, "sent", 1) for name in both] and not is_woken(rig)
    rig.notes.clear()
    with rig.loop._in_use:
        rig.post()
    assert rig.notes == [] and is_woken(rig)
    rig.turn()
    assert rig.notes == [(name, "sent", 2) for name in both]


def test_loop_is_woken_to_open_a_link_that_failed_for_who_posted_a_beat(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is that of its link, and no matter of the engine, whose thread that is."""
    clock = SimulatedClock(monkeypatch)
    one, two = rig.sender(ONE), rig.sender(TWO)
    rig.open(one, two)
    rig.turn()
    rig.cables["eth1", "sender"].faults = [ValueError("odd")]
    rig.post()
    assert (one.fault, two.fault) == ("unexpected: ValueError: odd", "") and is_woken(rig)
    assert rig.notes == [("sender eth2", "sent", 1)]
    clock.now += 1.01
    rig.turn(2)
    rig.post()
    assert one.fault == "" and one.has_sent(2) and two.has_sent(2)


def test_engine_is_woken_once_for_the_beats_of_all_links(rig: Rig) -> None:
    """At the end of a turn, and not by one in which nothing came in."""
    rig.open(rig.listener(ONE), rig.listener(TWO))
    for link in (ONE, TWO):
        rig.cables[link.device, "listener"].come_in(frame(1))
    rig.turn()
    assert rig.notes[-1] == "wake the engine" and rig.notes.count("wake the engine") == 1
    assert sorted(rig.taken) == [("eth1", 1), ("eth2", 1)]
    rig.notes.clear()
    rig.turn()
    assert rig.notes == []


def test_stages_of_beats_are_measured(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long after it was posted a beat is sent; how long a datagram waited in the kernel."""
    clock = SimulatedClock(monkeypatch)
    rig.open(rig.sender(ONE), rig.sender(TWO), rig.listener(ONE))
    cable = rig.cables["eth1", "listener"]
    assert rig.loop.sent.figure(0.0) is None and rig.loop.read.figure(0.0) is None
    with rig.loop._in_use:
        rig.post()
    clock.now += 0.5
    cable.come_in(frame(1))
    cable.waited_s = 0.25
    rig.turn()
    sent, read = rig.loop.sent.figure(clock.now), rig.loop.read.figure(clock.now)
    assert sent == StageFigure("posted -> sent", 0.5, 0.5, 2)
    assert read == StageFigure("kernel -> read", 0.25, 0.25, 1)


def test_flood_on_one_link_leaves_the_others_their_turns(rig: Rig) -> None:
    """A thousand frames wait on one link: each turn takes a batch of them, and all of the other."""
    rig.open(rig.listener(ONE), rig.listener(TWO))
    os.set_blocking(rig.cables["eth1", "listener"].far.fileno(), False)  # type: ignore[union-attr]
    with contextlib.suppress(BlockingIOError):
        rig.cables["eth1", "listener"].come_in(*(b"flood" for _ in range(1_000)))
    waited = 0
    while True:
        waited += 1
        rig.cables["eth2", "listener"].come_in(frame(waited))
        rig.turn()
        if ("listener eth1", "read", BATCH) not in rig.notes:
            break
        assert rig.notes.count(("listener eth1", "read", BATCH)) == 1
        assert rig.taken[-1] == ("eth2", waited)
        rig.notes.clear()
    assert waited > 1 and rig.loop._ends[0].counts["alien"] > BATCH


def test_fault_is_that_of_its_own_link_which_is_opened_again_after_a_second(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logged once at its beginning and its end; what nobody thought of is a fault, too."""
    clock = SimulatedClock(monkeypatch)
    one, two, hears = rig.sender(ONE), rig.sender(TWO), rig.listener(TWO)
    rig.open(one, two, hears)
    cable = rig.cables["eth1", "sender"]
    cable.faults, cable.opening = [LinkFault("eth1: down")], [ValueError("odd")]
    rig.post()
    rig.turn(3)
    assert (one.fault, two.fault, cable.openings) == ("eth1: down", "", 1)
    rig.post()
    clock.now += 0.99
    rig.turn(2)
    assert cable.openings == 1 and two.has_sent(2) and not one.has_sent(1)
    clock.now += 0.02
    rig.turn(2)
    assert (one.fault, cable.openings) == ("unexpected: ValueError: odd", 2)
    clock.now += 1.01
    rig.turn(2)
    # The newest beat, and none that was posted before it.
    assert cable.openings == 3 and one.fault == ""
    assert [note for note in rig.notes if "sender eth1" in str(note)] == [
        ("sender eth1", "sent", 2)
    ]
    assert rig.log == [
        ("eth1", True, "sender: eth1: down"),
        ("eth1", False, "sender: works again"),
    ]
    rig.cables["eth2", "listener"].come_in(frame(1))
    rig.turn()
    assert rig.taken == [("eth2", 1)]


def test_link_that_cannot_be_opened_leaves_the_handle_it_had_to_who_has_it_now(rig: Rig) -> None:
    """Both interfaces went away, and one comes back: the number of the closed socket is free."""
    one, two = rig.listener(ONE), rig.listener(TWO)
    rig.open(one)
    cable = rig.cables["eth1", "listener"]
    cable.faults, cable.opening = [LinkFault("down")], [LinkFault("gone") for _ in range(3)]
    cable.come_in(frame(1))
    rig.turn()
    one.due_at = 0.0
    rig.turn(2)
    rig.open(two)
    assert two.handle == one.handle
    one.due_at = 0.0
    rig.turn(2)
    assert len(cable.opening) == 1
    rig.cables["eth2", "listener"].come_in(frame(2))
    rig.turn()
    assert rig.taken == [("eth2", 2)]
    one.ask_to_end()
    rig.turn(2)
    rig.cables["eth2", "listener"].come_in(frame(3))
    rig.turn()
    assert one.gone.is_set() and rig.taken == [("eth2", 2), ("eth2", 3)]


def test_beat_is_tried_once_on_a_link_that_fails(rig: Rig) -> None:
    """The next one is newer."""
    one = rig.sender(ONE)
    rig.open(one)
    rig.cables["eth1", "sender"].faults = [LinkFault("down")]
    rig.post()
    rig.turn()
    one.due_at = 0.0
    rig.turn(3)
    assert one.is_open and rig.notes == []
    rig.post()
    rig.turn()
    assert rig.notes == [("sender eth1", "sent", 2)]


def test_opening_that_waits_delays_no_other_link(running: Rig) -> None:
    """A name server that does not answer: the other link sends and hears."""
    rig = running
    rig.cable(ONE, "sender").hold = hold = threading.Event()
    one, two, hears = rig.sender(ONE), rig.sender(TWO), rig.listener(TWO)
    for end in (one, two, hears):
        end.start(lambda: None)
    until(lambda: two.is_open and hears.is_open)
    rig.post()
    rig.cables["eth2", "listener"].come_in(frame(5))
    until(lambda: rig.taken == [("eth2", 5)] and two.has_sent(1))
    assert not one.is_open
    hold.set()
    until(lambda: one.has_sent(1))


@pytest.mark.parametrize(
    ("openings", "told"),
    [
        ([], []),
        ([LinkFault("x")], [False, True]),
        ([LinkFault("x"), LinkFault("y")], [False, True]),
    ],
)
def test_engine_is_told_of_a_link_that_was_never_open(
    rig: Rig, openings: list[Exception], told: list[bool]
) -> None:
    """And when it is open for the first time; one that fails later was heard."""
    rig.cable(ONE, "listener").opening = list(openings)
    end = rig.listener(ONE)
    rig.open(end)
    for _ in range(3):
        end.due_at = 0.0
        rig.turn(2)
    rig.cables["eth1", "listener"].faults = [LinkFault("gone")]
    rig.cables["eth1", "listener"].come_in(b"x")
    rig.turn()
    assert end.fault == "gone"
    end.due_at = 0.0
    rig.turn(2)
    assert rig.tried == [ListenerTried(ONE, is_open) for is_open in told]
    assert end.is_open and end.fault == ""


def test_interface_is_looked_at_after_half_a_second_without_a_datagram(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not while they come in: a replaced one is deaf."""
    clock = SimulatedClock(monkeypatch)
    end = rig.listener(ONE)
    rig.open(end)
    cable = rig.cables["eth1", "listener"]
    for _ in range(4):
        clock.now += 0.3
        cable.come_in(frame(1))
        rig.turn()
    assert ("listener eth1", "looked at") not in rig.notes
    cable.look = [LinkFault("interface eth1 was replaced")]
    clock.now += 0.51
    rig.turn()
    assert end.fault == "interface eth1 was replaced" and not end.is_open


def test_ends_are_looked_at_when_something_is_due_and_not_at_each_beat(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second after the last look, when one is asked for something, or is to be opened."""
    clock = SimulatedClock(monkeypatch)
    end = rig.sender(ONE)
    rig.open(end)
    looks: list[float] = []
    tend = rig.loop._tend

    def look(end: DatagramEnd, now: float) -> None:
        looks.append(round(now, 2))
        tend(end, now)

    monkeypatch.setattr(rig.loop, "_tend", look)
    for _ in range(7):
        clock.now += 0.1
        rig.post()
        rig.loop._turn(rig.loop._poll)  # type: ignore[arg-type]
    assert looks == [0.5] and end.has_sent(7)
    rig.cables["eth1", "sender"].faults = [LinkFault("down")]
    rig.post()
    rig.loop._turn(rig.loop._poll)  # type: ignore[arg-type]
    clock.now += 0.2
    end.due_at = rig.loop._tend_at = clock.now
    rig.loop.wake()
    rig.loop._turn(rig.loop._poll)  # type: ignore[arg-type]
    assert looks == [0.5, 0.9]


def test_end_that_is_cut_is_closed_and_opened_once_more_after_that(rig: Rig) -> None:
    """Nothing is sent, and nothing that came in meanwhile is taken: as if the cable were drawn."""
    one, hears = rig.sender(ONE), rig.listener(ONE)
    rig.open(one, hears)
    for end in (one, hears):
        end.cut("cut by a drill")
    rig.cables["eth1", "listener"].come_in(frame(1))
    rig.post()
    rig.turn(2)
    assert one.is_cut and hears.is_cut and rig.notes == [] and rig.taken == []
    assert rig.cables["eth1", "listener"].near is None and rig.loop._by_handle == {}
    assert {text for _, _, text in rig.log} == {
        "sender: cut by a drill", "listener: cut by a drill",
    }  # fmt: skip
    rig.turn(2)
    assert rig.cables["eth1", "sender"].openings == 1
    for end in (one, hears):
        end.heal()
    rig.turn(2)
    assert not one.is_cut and not hears.is_cut and one.fault == hears.fault == ""
    rig.cables["eth1", "listener"].come_in(frame(2))
    rig.turn()
    assert rig.taken == [("eth1", 2)] and ("sender eth1", "sent", 1) in rig.notes


def test_end_that_is_asked_to_end_is_closed_and_served_no_more(rig: Rig) -> None:
    """Also one that is cut, and one that cannot be opened."""
    ends: list[DatagramSender | DatagramListener] = [
        rig.sender(ONE), rig.listener(ONE), rig.listener(TWO),
    ]  # fmt: skip
    rig.cable(TWO, "listener").opening = [LinkFault("x")]
    rig.open(*ends)
    ends[0].cut("cut by a drill")
    rig.turn(2)
    for end in ends:
        end.ask_to_end()
        assert not end.gone.is_set()
    rig.turn(2)
    assert all(end.gone.is_set() for end in ends) and rig.loop._ends == []
    assert all(cable.near is None for cable in rig.cables.values())


def test_frames_of_a_batch_are_not_taken_once_the_end_is_cut(rig: Rig) -> None:
    """The one at hand is."""
    end = rig.listener(ONE)
    rig.open(end)

    def deliver(event: BeatReceived) -> bool:
        end.cut("cut by a drill")
        return rig.deliver(event)

    end._intake._deliver = deliver
    rig.cables["eth1", "listener"].come_in(frame(1), frame(2))
    rig.turn()
    assert rig.taken == [("eth1", 1)]


def test_what_came_in_is_unread_until_the_engine_has_it(rig: Rig) -> None:
    """In the socket, and in hand; what wakes the loop is nothing that came in."""
    assert not rig.loop.has_unread()
    end = rig.listener(ONE)
    rig.open(end)
    shown: list[bool] = []

    def deliver(event: BeatReceived) -> bool:
        shown.append(rig.loop.has_unread())
        return True

    end._intake._deliver = deliver
    rig.loop.wake()
    assert not rig.loop.has_unread()
    rig.cables["eth1", "listener"].come_in(frame(1))
    assert rig.loop.has_unread() and rig.loop.has_unread()
    rig.turn()
    assert shown == [True] and not rig.loop.has_unread()
    rig.cables["eth1", "listener"].come_in(frame(2))
    end.cut("cut by a drill")
    rig.turn()
    assert not rig.loop.has_unread()


def test_mistake_in_the_loop_ends_no_heartbeat_for_good(
    running: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All links have the fault, and are opened again."""
    rig = running
    ends = [rig.sender(ONE), rig.listener(ONE)]
    for end in ends:
        end.start(lambda: None)
    until(lambda: all(end.is_open for end in ends))
    failures = [RuntimeError("odd")]
    tend = rig.loop._tend

    def fail(*args: Any) -> None:
        if failures:
            raise failures.pop()
        tend(*args)

    monkeypatch.setattr(rig.loop, "_tend", fail)
    rig.loop.ask()
    until(lambda: ("eth1", True, "sender: unexpected: RuntimeError: odd") in rig.log)
    until(lambda: all(end.is_open for end in ends))
    rig.post()
    rig.cables["eth1", "listener"].come_in(frame(5))
    until(lambda: rig.taken == [("eth1", 5)] and not any(end.fault for end in ends))


def test_thread_enters_first_is_a_daemon_and_ends_with_its_last_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One thread for all ends; it leaves no handle behind."""
    rig = Rig(monkeypatch)
    entered: list[int] = []
    ends = [rig.sender(ONE), rig.listener(ONE), rig.listener(TWO)]
    for end in ends:
        end.start(lambda: entered.append(threading.get_native_id()))
    until(lambda: all(end.is_open for end in ends))
    thread = rig.loop._thread
    assert thread is not None and thread.daemon and thread.name == "links"
    assert entered == [ends[0].thread_id] and {end.thread_id for end in ends} == set(entered)
    for end in ends:
        end.stop(LIMIT_S)
        assert end.gone.is_set()
    rig.loop.stop(LIMIT_S)
    assert not thread.is_alive()
    rig.loop.wake()
    assert rig.loop._poll is not None and rig.loop._poll.closed
    assert rig.loop._wake_handle == -1 and not rig.loop.has_unread()


def test_thread_that_could_not_be_started_is_started_with_the_next_end(
    running: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system had no thread left for a moment."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(threading.Thread, "start", fail)
        running.listener(ONE).start(lambda: None)
    two = running.listener(TWO)
    two.start(lambda: None)
    until(lambda: two.is_open)


def test_loop_waits_for_nothing_but_what_comes_next(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second at most; less for a link that is to be opened again."""
    clock = SimulatedClock(monkeypatch)
    end = rig.listener(ONE)
    rig.open(end)
    waits: list[float] = []

    class Poll:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def poll(self, wait_s: float) -> list[tuple[int, int]]:
            waits.append(round(wait_s, 3))
            assert not rig.loop._in_use.locked(), "who posts a beat could not send it"
            return real.poll(0)

    assert rig.loop._poll is not None
    real: select.epoll = rig.loop._poll
    rig.loop._turn(Poll())  # type: ignore[arg-type]
    end.cut("cut by a drill")
    rig.loop._turn(Poll())  # type: ignore[arg-type]
    end.heal()
    rig.cables["eth1", "listener"].opening = [LinkFault("x")]
    rig.loop._turn(Poll())  # type: ignore[arg-type]
    rig.loop._turn(Poll())  # type: ignore[arg-type]
    clock.now += 0.4
    rig.loop._turn(Poll())  # type: ignore[arg-type]
    assert waits == [1.0, 1.0, 1.0, 1.0, 0.6]
