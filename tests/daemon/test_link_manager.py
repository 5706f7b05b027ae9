"""Which ends there are for the links of a configuration, and what is shown of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.model import ClusterSpec, LinkSpec
from opensvc_openha.core.status import BeatTiming, LinkStatus
from opensvc_openha.daemon import link_manager
from opensvc_openha.daemon.link_manager import LinkManager
from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.heartbeat.stage_meter import StageMeter
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.system import clock
from tests.simulated_clock import SimulatedClock

OWN = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0, line=4)
OWN_DISK = LinkSpec("deb1", "dio", "/dev/x", "", 0, 0, 15.0, line=1)
PEERS = LinkSpec("deb2", "net", "eth1", "239.131.50.11", 5010, 0, 10.0, line=3)
PEERS_DISK = LinkSpec("deb2", "dio", "/dev/x", "", 0, 8, 15.0, line=2)


class End:
    """One end of a link, which only notes what it is asked."""

    role = ""

    def __init__(self, rig: Rig, link: LinkSpec, *given: object) -> None:
        self.rig, self.link, self.given = rig, link, given
        self.fault = self.remark = ""
        self.thread_id = 4_000 + link.line
        self.suspicious: set[str] = set()
        self.refused_lately: list[str] = []
        self.counts: dict[str, int] = {}
        self.timing: BeatTiming | None = None
        self.sent = 0
        rig.ends[link, self.role] = self

    def _note(self, what: str) -> None:
        self.rig.notes.append((what, self.role, self.link))

    def start(self, enter: Callable[[], None]) -> None:
        assert enter is self.rig.enter
        self._note("start")

    def ask_to_end(self) -> None:
        self._note("ask to end")

    def stop(self) -> None:
        self._note("stop")

    def cut(self, why: str) -> None:
        assert why
        self.is_cut = self.rig.is_cut_at_once
        self._note("cut")

    def heal(self) -> None:
        self._note("heal")

    def has_sent(self, number: int) -> bool:
        return self.sent >= number

    def status(self) -> LinkStatus:
        return LinkStatus(self.link, True, True, 17, 95.0)

    def saw_lately(self, reason: str) -> bool:
        return reason in self.suspicious


class Sender(End):
    role = "sender"


class Listener(End):
    role = "listener"


class Rig:
    """A manager whose ends are those above; time moves with its pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        monkeypatch.setattr(clock, "wall_of", lambda instant: 1_000.0 + instant)
        self.notes: list[tuple[str, str, LinkSpec]] = []
        self.is_cut_at_once = False
        self.ends: dict[tuple[LinkSpec, str], End] = {}
        self.logged: list[tuple[int, str]] = []
        self.recorded: list[tuple[object, ...]] = []
        self.outbox = BeatOutbox()
        self.enter = lambda: None
        monkeypatch.setattr(link_manager, "SenderEnd", Sender)
        monkeypatch.setattr(link_manager, "ListenerEnd", Listener)
        for name, kind, is_disk in (
            ("SenderThread", Sender, True),
            ("ListenerThread", Listener, True),
            ("DatagramSender", Sender, False),
            ("DatagramListener", Listener, False),
        ):
            monkeypatch.setattr(link_manager, name, self.maker(kind, is_disk))
        self.loop = SimpleNamespace(
            stop=lambda: self.notes.append(("stop", "loop", OWN)),
            sent=StageMeter("posted -> sent"),
            read=StageMeter("kernel -> read"),
        )
        monkeypatch.setattr(link_manager, "codec_for", lambda *given: given)
        self.inbox = SimpleNamespace(
            offer=lambda beat: True, offer_quietly=lambda beat: True, put=lambda event: None
        )
        self.reports = cast(Any, object())
        logger = SimpleNamespace(
            log=lambda level, form, *values: self.logged.append((level, form % values))
        )
        self.manager = LinkManager(
            self.outbox,
            cast(Any, self.loop),
            cast(Any, self.inbox),
            cast(Any, "authentication"),
            cast(Any, "names"),
            cast(Any, self),
            cast(logging.Logger, logger),
            self.enter,
            self.reports,
        )

    def maker(self, kind: type[End], is_disk: bool) -> Callable[..., End]:
        """What makes ends of disks, or of networks."""

        def make(link: LinkSpec, *given: object) -> End:
            assert link.is_disk is is_disk
            return kind(self, link, *given)

        return make

    def record(self, *values: object, is_alarm: bool) -> None:
        """The history."""
        self.recorded.append((*values, is_alarm))

    def use(self, *links: LinkSpec) -> list[tuple[str, str, LinkSpec]]:
        """Another configuration; what the ends were asked for it."""
        self.notes.clear()
        self.manager.reconcile(ClusterSpec("deb1", "deb2", links, ()))
        return self.notes

    def of(self, link: LinkSpec, role: str = "") -> Any:
        """An end."""
        return self.ends[link, role or ("sender" if link.node == "deb1" else "listener")]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """No links yet."""
    return Rig(monkeypatch)


def test_each_end_is_begun_in_the_order_of_the_file(rig: Rig) -> None:
    """A sender for an own row, a listener for the peer's, none for those of other nodes.

    Those of disks are threads; those on networks are served by one loop.
    """
    other = replace(OWN, node="deb3")
    assert rig.use(OWN, other, PEERS, PEERS_DISK, OWN_DISK) == [
        ("start", "sender", OWN_DISK),
        ("start", "listener", PEERS_DISK),
        ("start", "listener", PEERS),
        ("start", "sender", OWN),
    ]
    manager = cast(Any, rig.manager)
    codec = (OWN, "names", "authentication", manager._newest)
    assert rig.of(OWN).given == (codec, manager._log_link, rig.loop)
    codec = (OWN_DISK, "names", "authentication", None)
    assert rig.of(OWN_DISK).given == (
        codec,
        rig.outbox,
        manager._log_link,
        rig.reports,
        manager._written,
    )
    quiet, loud = rig.inbox.offer_quietly, rig.inbox.offer
    disk = (rig.reports, manager._taken)
    for link, offer, last in ((PEERS, quiet, (rig.loop,)), (PEERS_DISK, loud, disk)):
        assert rig.of(link).given == (
            (link, "names", "authentication"),
            offer,
            rig.inbox.put,
            manager._log_link,
            *last,
        )


def test_only_what_changed_gets_new_ends(rig: Rig) -> None:
    """Old ones end before new ones begin, which may need their port; all others keep theirs."""
    rig.use(OWN, PEERS, PEERS_DISK)
    longer = replace(PEERS, timeout_s=20.0)
    assert rig.use(OWN, longer, PEERS_DISK) == [
        ("stop", "listener", PEERS),
        ("start", "listener", longer),
    ]
    assert set(rig.use(OWN)) == {("stop", "listener", PEERS_DISK), ("stop", "listener", longer)}
    assert rig.use(OWN) == []


def test_all_are_asked_to_end_before_any_is_waited_for(rig: Rig) -> None:
    """Their waits are one."""
    rig.use(OWN, PEERS)
    rig.notes.clear()
    rig.manager.stop()
    assert [what for what, _, _ in rig.notes] == ["ask to end"] * 2 + ["stop"] * 3
    assert {link for _, _, link in rig.notes[2:4]} == {OWN, PEERS}
    assert rig.notes[4][1] == "loop"


def test_last_beat_is_waited_for_a_second(rig: Rig) -> None:
    """That of each sender that works: one with a fault cannot send it, and a listener does not."""
    rig.use(OWN, OWN_DISK, PEERS)
    rig.outbox.post(cast(Any, None), False)
    rig.of(OWN).sent = 1
    rig.manager.flush()
    assert 100.99 < rig.time.now < 101.03 and set(rig.time.pauses) == {0.01}
    began = rig.time.now
    rig.of(OWN_DISK).fault = "gone"
    rig.manager.flush()
    assert rig.time.now == began
    rig.outbox.post(cast(Any, None), False)
    rig.manager.flush()
    assert rig.time.now > began
    rig.of(OWN_DISK).fault, began = "", rig.time.now
    for link in (OWN, OWN_DISK):
        rig.of(link).sent = 2
    rig.manager.flush()
    assert rig.time.now == began


def test_status_of_a_sender_is_its_own(rig: Rig) -> None:
    """With the wall clock's time."""
    rig.use(OWN, PEERS)
    (found,) = rig.manager.statuses([OWN], [])
    assert found == LinkStatus(OWN, True, True, 17, 1_095.0)


def test_listener_is_shown_once_the_engine_knows_it(rig: Rig) -> None:
    """With what its end knows; a link without one is not shown."""
    rig.use(OWN, PEERS)
    thread = rig.of(PEERS)
    thread.counts, thread.timing = {"forged": 2, "source": 1}, BeatTiming(5)
    heard = LinkStatus(PEERS, False, True, 23, 98.0, "heard", counts={"source": 3, "repeated": 4})
    unknown = LinkStatus(PEERS_DISK, False, True, 23, 98.0)
    assert rig.manager.statuses([PEERS], []) == ()
    assert rig.manager.statuses([PEERS_DISK, OWN, PEERS], [unknown, heard]) == (
        LinkStatus(OWN, True, True, 17, 1_095.0),
        LinkStatus(
            PEERS, False, True, 23, 1_098.0, "heard", 4_003,
            {"forged": 2, "source": 4, "repeated": 4}, BeatTiming(5),
        ),
    )  # fmt: skip
    never = replace(heard, updated_at=None)
    assert rig.manager.statuses([PEERS], [never])[0].updated_at is None


@pytest.mark.parametrize(
    ("is_up", "fault", "remark", "reason", "shown"),
    [
        (True, "", "", "heard", "heard"),
        (False, "", "", "silent", "silent; refused: forged, source"),
        (False, "", "", "silent; refused: old", "silent; refused: old, forged, source"),
        (False, "", "slow disk", "silent", "slow disk"),
        (True, "", "slow disk", "heard", "slow disk"),
        (False, "no such device", "slow disk", "silent", "no such device"),
        (False, "no such device", "", "silent", "no such device"),
    ],
)
def test_reason_of_a_listener(
    rig: Rig, is_up: bool, fault: str, remark: str, reason: str, shown: str
) -> None:
    """The fault before the remark before what the engine knows, with what was refused of a link
    that is down.
    """
    rig.use(PEERS)
    thread = rig.of(PEERS)
    thread.fault, thread.remark, thread.refused_lately = fault, remark, ["forged", "source"]
    heard = LinkStatus(PEERS, False, is_up, reason=reason)
    assert rig.manager.statuses([PEERS], [heard])[0].reason == shown


def test_down_link_that_refused_nothing_has_its_reason_alone(rig: Rig) -> None:
    """There is nothing to add."""
    rig.use(PEERS)
    heard = LinkStatus(PEERS, False, False, reason="silent")
    assert rig.manager.statuses([PEERS], [heard])[0].reason == "silent"


def test_stages_that_were_met_are_shown(rig: Rig) -> None:
    """In the order in which a beat goes through them."""
    assert rig.manager.stages(100.0) == ()
    rig.loop.read.record(0.25, 100.0)
    assert [each.stage for each in rig.manager.stages(100.0)] == ["kernel -> read"]
    rig.loop.sent.record(0.5, 100.0)
    assert [(each.stage, each.most_s) for each in rig.manager.stages(100.0)] == [
        ("posted -> sent", 0.5), ("kernel -> read", 0.25),
    ]  # fmt: skip
    manager = rig.manager
    manager._written.record(0.125, 100.0)
    manager._taken.record(0.125, 100.0)
    assert [each.stage for each in manager.stages(100.0)[2:]] == [
        "posted -> read back from a slot", "slot read -> taken",
    ]  # fmt: skip


def test_suspicious_frames_are_warned_of(rig: Rig) -> None:
    """By link and reason, and nothing of the others."""
    rig.use(OWN_DISK, PEERS)
    assert rig.manager.warnings() == []
    rig.of(PEERS).suspicious = {"forged", "received"}
    (warning,) = rig.manager.warnings()
    assert warning.startswith("link net eth1:239.131.50.11: frames come with a wrong tag")
    rig.of(OWN_DISK).suspicious = {"overwritten"}
    assert len(rig.manager.warnings()) == 2


def test_links_that_are_not_listened_to(rig: Rig) -> None:
    """With the fault of each; that of a sender is none of them."""
    rig.use(OWN, PEERS, PEERS_DISK)
    assert rig.manager.listener_faults() == []
    rig.of(OWN).fault = "cannot send"
    rig.of(PEERS).fault = "no such device"
    assert rig.manager.listener_faults() == ["net eth1:239.131.50.11: no such device"]


@pytest.mark.parametrize("is_fault", [False, True])
def test_what_an_end_reports_is_logged_and_recorded(rig: Rig, is_fault: bool) -> None:
    """A fault is a warning and an alarm."""
    rig.use(PEERS)
    rig.of(PEERS).given[3](PEERS, is_fault, "listener: what it is")
    level = logging.WARNING if is_fault else logging.INFO
    assert rig.logged == [(level, "link net eth1:239.131.50.11: listener: what it is")]
    what = "FAULT" if is_fault else "NOTE"
    assert rig.recorded == [
        (EntryKind.LINK, "net eth1:239.131.50.11", what, "listener: what it is", is_fault)
    ]


# --- drills ---------------------------------------------------------------------------------------


def test_both_ends_of_a_link_are_cut_and_no_other_link_is(rig: Rig) -> None:
    """Until the drill ends that; a second drill waits."""
    rig.use(OWN, PEERS, OWN_DISK)
    rig.is_cut_at_once = True
    assert rig.manager.present_cut is None
    cut = rig.manager.cut([OWN.link_id, PEERS.link_id], 30.0)
    assert rig.manager.present_cut is cut and cut.ends_at == 130.0
    assert {(what, link) for what, _, link in rig.notes[3:]} == {("cut", OWN), ("cut", PEERS)}
    with pytest.raises(RefusedError, match="another drill runs: a drill has cut"):
        rig.manager.cut([OWN_DISK.link_id], 30.0)
    rig.notes.clear()
    rig.manager.end_cut()
    rig.manager.end_cut()
    assert rig.manager.present_cut is None
    assert {(what, link) for what, _, link in rig.notes} == {("heal", OWN), ("heal", PEERS)}
    assert len(rig.notes) == 2
    rig.manager.cut([OWN_DISK.link_id], 30.0)


def test_link_that_cannot_be_closed_is_opened_again(rig: Rig) -> None:
    """A disk may hang: two seconds are waited."""
    rig.use(OWN_DISK)
    with pytest.raises(SystemFault, match=f"{OWN_DISK.link_id} could not be closed"):
        rig.manager.cut([OWN_DISK.link_id], 30.0)
    assert rig.manager.present_cut is None and rig.notes[-1] == ("heal", "sender", OWN_DISK)
    assert 101.99 < rig.time.now < 102.03
