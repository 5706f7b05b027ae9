"""What every heartbeat link promises, whatever its type: one suite for all of them, on real sockets
and disks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.links.base import LinkFault, Received
from opensvc_openha.links.registry import LINK_TYPES, make_listener, make_sender
from tests.links.places import Place, received
from tests.ports import free_port
from tests.waiting import LIMIT_S

BRIEF_S = 0.6
"""Longer than two reads of a disk slot."""


def disk_spec(kind: str, device: str, offset: int = 0, timeout_s: float = 10.0) -> LinkSpec:
    return LinkSpec("deb1", kind, device, "", 0, offset, timeout_s)


class Rig:
    """Both ends of one link, each used in its own place only."""

    def __init__(
        self, spec: LinkSpec, sending: Place | None = None, listening: Place | None = None
    ) -> None:
        self.spec = spec
        self._own = [place for place in (sending, listening) if place is None]
        self.sending, self.listening = sending or Place(), listening or Place()
        self.sender = make_sender(spec, time.monotonic)
        self.listener = make_listener(spec, time.monotonic)

    def open(self) -> None:
        self.listening.do(self.listener.open)
        self.sending.do(self.sender.open)
        # A disk listener takes what it reads first for the past.
        assert self.receive(0.0) is None

    def send(self, frame: bytes) -> None:
        self.sending.do(self.sender.send, frame)

    def receive(self, timeout_s: float = LIMIT_S) -> Received | None:
        got: Received | None = self.listening.do(self.listener.receive, timeout_s)
        return got

    def close(self) -> None:
        self.sending.do(self.sender.close)
        self.listening.do(self.listener.close)


KINDS = [
    "unicast4",
    "unicast6",
    "net4",
    "net6",
    "dio-file",
    "dio-loop",
    "dio-loop-4k",
    "disk-file",
    "disk-loop",
]


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One link of each type, not yet open."""
    kind, _, where = request.param.partition("-")
    if kind in ("net4", "net6"):
        nodes = request.getfixturevalue("nodes")
        group = "239.131.50.10" if kind == "net4" else "ff15::5010"
        made = Rig(LinkSpec("deb1", "net", "eth1", group, 5010, 0, 10.0), nodes.a, nodes.b)
    elif kind in ("unicast4", "unicast6"):
        address = "127.0.0.1" if kind == "unicast4" else "::1"
        made = Rig(LinkSpec("deb1", "unicast", "lo", address, free_port(), 0, 10.0))
    elif where == "file":
        made = Rig(disk_spec(kind, request.getfixturevalue("disk_file")))
    else:
        options = ["-b", "4096"] if where == "loop-4k" else []
        device, _ = request.getfixturevalue("loop_device")(64, *options)
        made = Rig(disk_spec(kind, device, 16))
    yield made
    made.close()
    for place in (made.sending, made.listening):
        if place.namespace is None:
            place.leave()


def test_every_type_is_tested() -> None:
    """Each type of the registry has a rig, so that all of this holds for it."""
    assert {kind.partition("-")[0].rstrip("46") for kind in KINDS} == set(LINK_TYPES)


@pytest.mark.parametrize("size", [1, 1200, 4000])
def test_frame_arrives_as_it_was_sent(rig: Rig, size: int) -> None:
    """A frame of a usual size: the same bytes come out, stamped between sending and now, with a
    source.
    """
    rig.open()
    frame = bytes(index % 251 + 1 for index in range(size))
    before = time.monotonic()
    rig.send(frame)
    got = received(rig.receive())
    assert got.data == frame
    assert before <= got.received_at <= time.monotonic()
    assert ":" in got.source
    assert rig.listener.counters["received"] == 1


def test_each_beat_is_received_once(rig: Rig) -> None:
    """Five beats one after the other: five different frames, then silence."""
    rig.open()
    for number in range(5):
        rig.send(b"beat %d" % number)
        assert received(rig.receive()).data == b"beat %d" % number
    assert rig.receive(BRIEF_S) is None


def test_silence_ends_with_the_time_given(rig: Rig) -> None:
    """No peer sends: receive gives None, not before the time, and not only after a frame has
    come.
    """
    rig.open()
    started = time.monotonic()
    assert rig.receive(BRIEF_S) is None
    assert time.monotonic() - started >= BRIEF_S * 0.9


def test_beat_from_before_the_start_is_not_heard(rig: Rig) -> None:
    """The last beat of a peer that died before we listen: never received; its next one is."""
    rig.sending.do(rig.sender.open)
    rig.send(b"long ago")
    rig.listening.do(rig.listener.open)
    assert rig.receive(BRIEF_S) is None
    rig.send(b"alive")
    assert received(rig.receive()).data == b"alive"


def test_ends_can_be_closed_and_opened_again(rig: Rig) -> None:
    """Both ends closed twice and opened twice: the link works as before, and the old beat stays
    old.
    """
    rig.open()
    rig.send(b"one")
    assert received(rig.receive()).data == b"one"
    rig.close()
    rig.close()
    rig.open()
    rig.open()
    rig.send(b"two")
    assert received(rig.receive()).data == b"two"


def test_end_that_is_not_open_reports_it(rig: Rig) -> None:
    """Send and receive before open and after close: a LinkFault, no crash."""
    for _ in range(2):
        with pytest.raises(LinkFault, match="is not open"):
            rig.send(b"x")
        with pytest.raises(LinkFault, match="is not open"):
            rig.receive(0.0)
        rig.open()
        rig.close()


def test_frame_larger_than_the_link_is_a_fault(rig: Rig) -> None:
    """A frame that no datagram and no slot can hold: a LinkFault, and the next beat goes
    through.
    """
    rig.open()
    with pytest.raises(LinkFault):
        rig.send(bytes(70_000))
    rig.send(b"next")
    assert received(rig.receive()).data == b"next"


@pytest.mark.parametrize(
    "spec, reason",
    [
        (
            LinkSpec("a", "net", "nosuch0", "239.1.1.1", 5010, 0, 10.0),
            "interface nosuch0 does not exist",
        ),
        (
            LinkSpec("a", "unicast", "nosuch0", "10.0.0.1", 5010, 0, 10.0),
            "interface nosuch0 does not exist",
        ),
        (
            disk_spec("dio", "/dev/nosuch"),
            "the opening of /dev/nosuch: No such file or directory",
        ),
        (
            disk_spec("disk", "/dev/nosuch"),
            "the opening of /dev/nosuch: No such file or directory",
        ),
        (disk_spec("dio", "/dev/null"), "the opening of /dev/null: Block device required"),
    ],
)
@pytest.mark.parametrize("make", [make_sender, make_listener])
def test_missing_device_is_named(make: Callable[..., Any], spec: LinkSpec, reason: str) -> None:
    """The interface or device of the monitor file does not exist: open reports which, and may be
    tried again.
    """
    end = make(spec, time.monotonic)
    for _ in range(2):
        with pytest.raises(LinkFault) as caught:
            end.open()
        assert str(caught.value) == reason
    end.close()


@pytest.mark.parametrize(
    ("timeout_s", "poll_s"),
    [(0.3, 0.05), (0.5, 0.05), (1.0, 0.1), (2.0, 0.2), (2.5, 0.25), (10.0, 0.25)],
)
def test_slot_is_read_ten_times_in_a_short_timeout(timeout_s: float, poll_s: float) -> None:
    """A verdict on a disk link is late by one read: a tenth of the timeout, at most 0.25 s, at
    least 0.05 s.
    """
    listener = make_listener(disk_spec("dio", "/nowhere", timeout_s=timeout_s), time.monotonic)
    assert vars(listener)["_poll_s"] == pytest.approx(poll_s)
