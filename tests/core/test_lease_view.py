"""The peer's promise by itself: when it proves the peer dead, and what is missing otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import BeatFound, MediumQuiet, MediumUnread, SlotOpened
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.lease_view import LeaseView
from opensvc_openha.core.model import (
    ClusterSpec,
    FencePath,
    FencingPolicy,
    LeasePolicy,
    LinkSpec,
    PathKind,
)
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.promise import WITNESS_MARK, Promise, media_of
from opensvc_openha.core.proof import ProofKind, Scope
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import LEASE_LAST_READ_S, PROOF_LIFE_S

LEASE = FencePath("lease", PathKind.LEASE, 0.0)
POLICY = FencingPolicy(levels=((LEASE,),))
WITNESSED = replace(POLICY, lease=LeasePolicy("/dev/watchdog0", 4.0, 1.0, has_witness=True))
OURS, PEERS, OTHERS = BootId(1, 1), BootId(7, 70), BootId(8, 80)
DISK = LinkSpec("deb1", "dio", "/dev/sda", "", 0, 10, 10.0)
SECOND = LinkSpec("deb1", "dio", "/dev/sdb", "", 0, 10, 10.0)
SPARE = LinkSpec("deb1", "dio", "/dev/sdc", "", 0, 30, 10.0)
NET = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0)
D, DELAY_S, SILENT_S = 11.4, 5.0, 10.0
PROMISE = Promise(D, frozenset({DISK.mark}))


class Watch:
    """One node that has heard deb1 at 100 s, for the last time, and reads one disk."""

    def __init__(
        self,
        promise: Promise | None = PROMISE,
        *listeners: LinkSpec,
        policy: FencingPolicy = POLICY,
        is_authentic: bool = True,
    ) -> None:
        listeners = listeners or (NET, DISK)
        self.spec = ClusterSpec("deb2", "deb1", listeners, (), fencing=policy)
        self.lease, self.view = LeaseView(self.spec, 90.0), PeerView(OURS)
        self.view.own_seq = 50
        self.beat(100.0, None if promise is None else Facts(promise=promise), 1, is_authentic)
        for link in listeners:
            self.lease.record_beat(link, PEERS)

    def beat(
        self,
        now: float,
        facts: Facts | None,
        seq: int,
        is_authentic: bool = True,
        boot: BootId = PEERS,
        goodbye: Goodbye = Goodbye.NONE,
    ) -> None:
        """Take a beat."""
        states = {"registry": ServiceState.STARTED}
        ack = Ack(OURS, 3)
        beat = Beat("deb1", boot, seq, ack, states, goodbye=goodbye, facts=facts)
        self.lease.record_life(now)
        assert self.view.take(beat, now, is_authentic)

    def quiet(self, read_at: float, medium: bytes = DISK.mark, since: float = -math.inf) -> None:
        """A read that showed nothing new."""
        self.lease.record_quiet(MediumQuiet(medium, read_at, since))

    def opened(
        self,
        now: float,
        facts: Facts | None = None,
        seq: int | None = None,
        *,
        boot: BootId = PEERS,
        link: LinkSpec = DISK,
        disk: str = "naa.1",
        goodbye: Goodbye = Goodbye.NONE,
    ) -> None:
        """A slot is opened, and holds a beat of that number; none without one."""
        self.lease.record_opened(SlotOpened(link, disk))
        if seq is not None:
            states = {"registry": ServiceState.STARTED}
            beat = Beat("deb1", boot, seq, Ack(OURS, 3), states, goodbye=goodbye, facts=facts)
            self.lease.record_found(BeatFound(link, beat, now), self.view)

    def at(self, now: float, silent_since: float | None = 100.0 + SILENT_S) -> str:
        """Return what the promise comes to."""
        self.view.judge(False, silent_since if silent_since and now >= silent_since else None, now)
        self.lease.judge(self.view, DELAY_S, now)
        return self.lease.sight.explain(now)

    @property
    def is_proved(self) -> bool:
        """Whether the peer is proved dead."""
        return self.lease.sight.proof is not None


def test_a_quiet_disk_after_the_promised_time_is_a_proof() -> None:
    """And names what was promised and what was read."""
    watch = Watch()
    text = watch.at(105.0)
    assert text == "deb1 promises: dead 11.4 s after its last sign" and watch.lease.sight.is_usable
    assert watch.at(111.0) == "ends in 4.0 s" and watch.lease.sight.is_open
    assert watch.lease.next_deadline(111.0) == 115.0
    watch.quiet(111.6)
    assert watch.at(114.9) == "ends in 0.1 s" and not watch.is_proved
    text = watch.at(115.0)
    proof = watch.lease.sight.proof
    assert proof is not None and proof.covers is None and proof.at == 115.0
    assert (proof.kind, proof.scope) == (ProofKind.SELF_FENCED, Scope.NODE)
    assert text == proof.text == (
        "self-fenced: promised to be dead 11.4 s after its last sign, slot of /dev/sda read"
        " 11.6 s after it"
    )  # fmt: skip


def test_a_long_promise_outlasts_the_start_ready_delay() -> None:
    """What ends later counts."""
    watch = Watch(replace(PROMISE, death_s=20.0))
    watch.quiet(119.9)
    assert watch.at(119.9) == "ends in 0.1 s"
    watch.at(120.0)
    assert not watch.is_proved, "read before the end"
    watch.quiet(120.0)
    watch.at(120.0)
    assert watch.is_proved


def test_an_unread_medium_is_no_quiet_one() -> None:
    """A round waits for the last reads, and no longer; a late read proves all the same."""
    watch = Watch()
    watch.quiet(111.39)
    assert watch.at(115.0) == "slot of /dev/sda: no successful read since then"
    assert watch.lease.sight.is_open and not watch.is_proved
    assert watch.lease.next_deadline(115.0) == 115.0 + LEASE_LAST_READ_S
    watch.at(115.0 + LEASE_LAST_READ_S)
    assert not watch.lease.sight.is_open and not watch.is_proved
    assert watch.lease.next_deadline(118.0) is None
    watch.quiet(300.0)
    watch.at(300.0)
    assert watch.is_proved


def test_any_sign_of_life_begins_the_time_again() -> None:
    """A beat that is believed or not, and what a disk holds that was not given to the engine."""
    watch = Watch()
    watch.quiet(115.0)
    watch.at(115.0)
    assert watch.is_proved
    watch.lease.record_life(114.0)
    watch.lease.record_life(113.0)
    assert watch.at(115.0) == "ends in 10.4 s" and not watch.is_proved
    watch.quiet(126.0, since=116.0)
    assert watch.at(126.0) == "ends in 1.4 s"
    watch.quiet(127.4, since=116.0)
    watch.at(127.4)
    assert watch.is_proved


def test_a_proof_is_void_after_a_stall_until_the_media_are_read_again() -> None:
    """This node may have missed something."""
    watch = Watch()
    watch.quiet(115.0)
    watch.at(115.0)
    watch.lease.void()
    assert not watch.is_proved
    assert watch.at(115.1) == "slot of /dev/sda: no successful read since then"
    watch.quiet(115.2)
    watch.at(115.2)
    assert watch.is_proved


def test_a_proof_holds_for_a_minute_and_is_made_again_by_a_new_read() -> None:
    """One that relies on an old read does not."""
    watch = Watch()
    watch.quiet(115.0)
    watch.at(115.0)
    first = watch.lease.sight.proof
    watch.quiet(120.0)
    watch.at(120.0)
    assert watch.lease.sight.proof is first
    assert watch.lease.next_deadline(120.0) == 115.0 + PROOF_LIFE_S
    watch.at(115.0 + PROOF_LIFE_S)
    second = watch.lease.sight.proof
    assert second is not None and second.at == 115.0 + PROOF_LIFE_S
    watch.at(120.0 + PROOF_LIFE_S)
    assert not watch.is_proved


def test_every_medium_is_read() -> None:
    """Two disks and the witness: each by itself is not enough."""
    media = media_of([DISK, SECOND])
    promise = Promise(D, frozenset({*media.values(), WITNESS_MARK}))
    watch = Watch(promise, DISK, SECOND, policy=WITNESSED)
    missing = {media[DISK]: "/dev/sda", media[SECOND]: "/dev/sdb", WITNESS_MARK: "the witness"}
    for medium, name in missing.items():
        for each in missing:
            watch.quiet(116.0, each)
        watch.lease.void()
        for each in missing:
            if each != medium:
                watch.quiet(117.0, each)
        assert (
            watch.at(117.0).endswith(f"{name}: no successful read since then")
            and not watch.is_proved
        )
    for number, medium in enumerate(missing):
        watch.quiet(118.0 + number, medium)
    text = watch.at(120.0)
    assert watch.is_proved
    assert text.startswith("self-fenced") and text.endswith("read 18.0 s after it")
    assert all(name in text for name in missing.values())


def test_of_two_disks_with_one_offset_both_are_read_though_one_is_named() -> None:
    """The peer may call them in the other order, and use the one that cannot be read here."""
    watch = Watch(PROMISE, DISK, SECOND)
    watch.quiet(116.0)
    assert watch.at(116.0) == "slot of /dev/sdb: no successful read since then"
    watch.quiet(116.0, media_of([DISK, SECOND])[SECOND])
    watch.at(116.0)
    assert watch.is_proved


def test_a_read_of_a_disk_that_is_not_configured_any_more_counts_for_no_other_one() -> None:
    """What is left of two disks with one offset has the name of the first one."""
    watch = Watch(PROMISE, DISK, SECOND)
    watch.quiet(116.0)
    watch.lease.reconfigure(replace(watch.spec, profile=watch.spec.profile))
    assert watch.at(116.0) == "slot of /dev/sdb: no successful read since then"
    watch.lease.reconfigure(replace(watch.spec, links=(SECOND,)))
    assert (
        watch.at(116.0) == "slot of /dev/sdb: no successful read since then" and not watch.is_proved
    )
    watch.quiet(117.0)
    watch.at(117.0)
    assert watch.is_proved


def test_a_disk_that_never_showed_the_present_incarnation_is_no_medium() -> None:
    """Another disk, or a copy, is quiet for ever."""
    watch = Watch()
    watch.lease.record_beat(NET, OTHERS)
    watch.quiet(120.0)
    assert watch.at(120.0) == "slot of /dev/sda has not shown the present life of deb1"
    assert not watch.lease.sight.is_usable and watch.lease.sight.is_promised
    watch.lease.record_beat(DISK, OTHERS)
    watch.at(120.0)
    assert watch.is_proved
    # Nor is one that is not configured any more.
    watch.lease.reconfigure(replace(watch.spec, links=(NET,)))
    assert watch.at(121.0) == "a disk of deb1 is not read here"
    watch.lease.reconfigure(watch.spec)
    assert watch.at(121.0) == "slot of /dev/sda has not shown the present life of deb1"


def test_what_a_look_has_found_instead_is_said() -> None:
    """The witness does not answer, or has a record that proves nothing; a quiet read ends that."""
    watch = Watch(replace(PROMISE, media=frozenset({WITNESS_MARK})), policy=WITNESSED)
    assert watch.at(120.0) == "the witness: no successful read since then"
    watch.lease.record_unread(MediumUnread(WITNESS_MARK, "it has no record of deb1"))
    assert watch.at(120.0) == "the witness: it has no record of deb1" and not watch.is_proved
    watch.quiet(110.0, WITNESS_MARK)
    assert watch.at(120.0) == "the witness: no successful read since then"


def test_a_path_that_names_another_disk_has_shown_nothing() -> None:
    """It was unplugged: what was read before, and what is read then, proves nothing."""
    watch = Watch()
    for disk in ("naa.1", "naa.1", "naa.2"):
        watch.lease.record_opened(SlotOpened(DISK, disk))
        if disk == "naa.1":
            watch.lease.record_beat(DISK, PEERS)
    watch.quiet(120.0)
    assert watch.at(120.0) == "slot of /dev/sda has not shown the present life of deb1"
    # It is back: the read was one of the other disk.
    watch.opened(101.0, seq=1, disk="naa.1")
    assert watch.at(120.0) == "slot of /dev/sda: no successful read since then"
    watch.quiet(121.0)
    # Opened again, and the same: what was read of it counts, once it is known what it holds.
    watch.opened(121.0, seq=1, disk="naa.1")
    watch.quiet(133.0)
    watch.at(133.0)
    assert watch.is_proved


def test_a_disk_that_is_not_known_has_to_show_the_peer_each_time_that_it_is_opened() -> None:
    """There is no other way to see that it is the peer's."""
    watch = Watch()
    for _ in range(2):
        watch.lease.record_opened(SlotOpened(DISK, ""))
        watch.quiet(120.0)
        assert watch.at(120.0) == "slot of /dev/sda has not shown the present life of deb1"
        watch.lease.record_beat(DISK, PEERS)
        watch.at(120.0)
        assert watch.is_proved


def test_a_disk_with_another_path_is_the_same_one() -> None:
    """An edit in the silence: the path by its identifier. Another slot of it has shown nothing."""
    by_id = replace(DISK, device="/dev/disk/by-id/x")
    for link, is_same in ((by_id, True), (replace(by_id, offset=20), False)):
        watch = Watch(replace(PROMISE, media=frozenset({link.mark})))
        watch.lease.record_opened(SlotOpened(DISK, "naa.1"))
        watch.lease.record_beat(DISK, PEERS)
        # It is opened before the engine has the news of it.
        watch.opened(101.0, seq=1, link=link, disk="naa.1")
        watch.lease.reconfigure(replace(watch.spec, links=(NET, link)))
        watch.quiet(120.0, link.mark)
        watch.at(120.0)
        assert watch.is_proved is is_same


@pytest.mark.parametrize(
    ("promise", "policy", "is_authentic", "text"),
    [
        (None, POLICY, True, "deb1 made no promise"),
        (replace(PROMISE, is_virtual=True), POLICY, True, "deb1 is a virtual machine"),
        (replace(PROMISE, is_virtual=True), WITNESSED, True, "deb1 is a virtual machine"),
        (PROMISE, POLICY, False, "the beats of deb1 are not authenticated"),
        (Promise(D, frozenset()), POLICY, True, "the promise of deb1 names no medium"),
        (
            Promise(D, frozenset({b"12345678"})), POLICY, True, "a disk of deb1 is not read here"
        ),
        (
            Promise(D, frozenset({WITNESS_MARK})), POLICY, True,
            "no witness is configured here, deb1 has one",
        ),
        (
            Promise(D, frozenset({WITNESS_MARK})),
            replace(POLICY, lease=LeasePolicy("/dev/watchdog0", 4.0, 1.0)), True,
            "no witness is configured here, deb1 has one",
        ),
    ],
    ids=[
        "no promise", "virtual", "virtual, a lease here", "no key", "no medium", "no disk",
        "no witness", "no witness, a lease here",
    ],
)  # fmt: skip
def test_what_proves_nothing_says_so(
    promise: Promise | None, policy: FencingPolicy, is_authentic: bool, text: str
) -> None:
    """Whatever is read, and however long it takes."""
    watch = Watch(promise, policy=policy, is_authentic=is_authentic)
    for now in (105.0, 112.0, 500.0):
        watch.quiet(now)
        watch.quiet(now, WITNESS_MARK)
        watch.quiet(now, b"12345678")
        assert watch.at(now) == text
        sight = watch.lease.sight
        assert not (sight.is_usable or sight.is_open or sight.proof)
        assert sight.is_promised is (promise is not None)


def test_virtual_machines_are_believed_where_a_pause_is_excluded() -> None:
    """By the configuration of this node, too."""
    lease = LeasePolicy("/dev/watchdog0", 4.0, 1.0, is_pause_excluded=True)
    watch = Watch(replace(PROMISE, is_virtual=True), policy=replace(POLICY, lease=lease))
    watch.quiet(115.0)
    watch.at(115.0)
    assert watch.is_proved


def test_the_newest_facts_of_the_present_incarnation_promise() -> None:
    """Facts without a promise withdraw it, a beat without facts does not, another life has none."""
    watch = Watch()
    watch.beat(101.0, None, 2)
    watch.quiet(120.0)
    watch.at(120.0)
    assert watch.is_proved and watch.lease.promised == (PEERS, PROMISE, 1)
    watch.beat(121.0, Facts(), 3)
    assert watch.at(150.0) == "deb1 made no promise" and watch.lease.promised is None
    longer = replace(PROMISE, death_s=40.0)
    watch.beat(151.0, Facts(promise=longer), 4)
    watch.quiet(180.0)
    assert watch.at(180.0) == "ends in 11.0 s" and watch.lease.promised == (PEERS, longer, 4)
    watch.beat(181.0, None, 1, boot=OTHERS)
    watch.lease.record_beat(DISK, OTHERS)
    watch.quiet(300.0)
    assert watch.at(300.0) == "deb1 made no promise"


def test_a_beat_without_a_key_neither_makes_a_promise_nor_leaves_one_usable() -> None:
    """Facts that came without a key are not believed later, either."""
    watch = Watch()
    watch.beat(101.0, Facts(promise=replace(PROMISE, death_s=0.5)), 2, is_authentic=False)
    watch.quiet(130.0)
    text = "the beats of deb1 are not authenticated"
    assert watch.at(130.0) == text and watch.lease.promised is None
    watch.beat(131.0, None, 3)
    assert watch.at(160.0) == text
    watch.beat(161.0, Facts(promise=PROMISE), 4)
    watch.beat(162.0, None, 5, is_authentic=False)
    assert watch.at(190.0) == text
    watch.beat(191.0, None, 6)
    watch.quiet(210.0)
    watch.at(210.0)
    assert watch.is_proved


def test_a_goodbye_counts_with_the_promise_that_it_carries_alone() -> None:
    """Its watchdog is petted without a daemon for some time."""
    watch = Watch()
    watch.beat(101.0, None, 2, goodbye=Goodbye.RESTART)
    watch.quiet(300.0)
    assert watch.at(300.0) == "deb1 said goodbye without a promise"
    watch = Watch()
    longer = Facts(promise=replace(PROMISE, death_s=47.4))
    watch.beat(101.0, longer, 2, goodbye=Goodbye.RESTART)
    watch.quiet(148.3)
    assert watch.at(148.3) == "ends in 0.1 s"
    watch.quiet(148.4)
    watch.at(148.4)
    assert watch.is_proved


def test_without_a_lease_in_the_plan_nothing_is_of_use() -> None:
    """The daemon is not asked to read anything."""
    watch = Watch(policy=FencingPolicy())
    assert not watch.lease.is_configured
    watch.at(105.0)
    assert watch.lease.promised is None


@given(
    st.floats(0.5, 30.0),
    st.lists(
        st.tuples(st.sampled_from(["life", "read", "late read", "void", "wait"]), st.floats(0, 8)),
        min_size=1,
        max_size=30,
    ),
)
def test_no_proof_comes_before_its_time(death_s: float, moves: list[tuple[str, float]]) -> None:
    """Whatever comes in, in whatever order: stated once more, in other words."""
    watch = Watch(replace(PROMISE, death_s=death_s))
    now, last_life, reads = 110.0, 100.0, [-math.inf]
    for what, seconds in moves:
        now += seconds
        if what == "life":
            watch.lease.record_life(now)
            last_life = now
        elif what == "read":
            watch.quiet(now)
            reads.append(now)
        elif what == "late read":
            watch.quiet(now - seconds, since=now - seconds)
            reads.append(now - seconds)
            last_life = max(last_life, now - seconds)
        elif what == "void":
            watch.lease.void()
            reads = [-math.inf]
        watch.at(now)
        is_over = now >= max(last_life + death_s, 110.0 + DELAY_S)
        newest = max(reads)
        is_read = newest >= last_life + death_s and now < newest + PROOF_LIFE_S
        assert watch.is_proved is (is_over and is_read)
        sight = watch.lease.sight
        assert sight.is_usable
        if not watch.is_proved:
            assert sight.ends_at == max(last_life + death_s, 110.0 + DELAY_S)
            assert sight.is_open is (now < sight.ends_at + LEASE_LAST_READ_S)


# --- slots that were opened again -----------------------------------------------------------------


def _reopened(promise: Promise | None = PROMISE) -> Watch:
    """The disk is known, and has shown the peer."""
    watch = Watch(promise)
    watch.opened(99.0, seq=0)
    watch.lease.record_beat(DISK, PEERS)
    return watch


def test_a_slot_that_was_opened_again_counts_once_its_beat_is_known() -> None:
    """With the same promise, the peer is proved out that time after the slot was read first."""
    watch = _reopened()
    watch.opened(113.0)
    watch.quiet(130.0, since=113.0)
    assert watch.at(130.0) == "slot of /dev/sda was opened, and shows no beat of deb1"
    assert not watch.lease.sight.is_usable and not watch.is_proved
    watch.opened(131.0, Facts(promise=PROMISE), 9)
    watch.quiet(142.3, since=131.0)
    assert watch.at(142.3) == "ends in 0.1 s" and not watch.is_proved
    watch.quiet(142.4, since=131.0)
    watch.at(142.4)
    assert watch.is_proved, "a lone survivor must not wait for a peer without power to write"
    # Whatever the reads say: it may have been written just before.
    watch.opened(150.0, Facts(promise=PROMISE), 9)
    watch.quiet(161.3)
    assert watch.at(161.3) == "ends in 0.1 s" and not watch.is_proved


def test_a_longer_promise_that_lay_in_a_slot_counts() -> None:
    """The peer's daemon said that it is restarted while the slot could not be read."""
    watch = _reopened()
    longer = replace(PROMISE, death_s=47.4)
    watch.opened(113.0, Facts(promise=longer), 9, goodbye=Goodbye.RESTART)
    watch.quiet(130.0, since=113.0)
    assert watch.at(130.0) == "ends in 30.4 s" and not watch.is_proved
    assert watch.lease.promised == (PEERS, longer, 9)
    watch.quiet(160.4, since=113.0)
    watch.at(160.4)
    assert watch.is_proved


def test_a_shorter_promise_that_lay_in_a_slot_shortens_nothing() -> None:
    """What was believed stands beside it; media, and what makes it useless, come in addition."""
    watch = _reopened()
    watch.opened(113.0, Facts(promise=replace(PROMISE, death_s=3.1)), 9)
    watch.quiet(124.3, since=113.0)
    assert watch.at(124.3) == "ends in 0.1 s" and not watch.is_proved
    for later, text in (
        (Promise(D, frozenset({WITNESS_MARK})), "no witness is configured here, deb1 has one"),
        (replace(PROMISE, is_virtual=True), "deb1 is a virtual machine"),
    ):
        watch = _reopened()
        watch.opened(113.0, Facts(promise=later), 9)
        watch.quiet(150.0, since=113.0)
        assert watch.at(150.0) == text and not watch.is_proved
        known = watch.lease.promised
        assert known is not None and known.promise.media == PROMISE.media | later.media


def test_a_withdrawal_that_lay_in_a_slot_counts() -> None:
    """The watchdog was lost, or the service stopped, while the slot could not be read."""
    watch = _reopened()
    watch.opened(113.0, Facts(), 9)
    watch.quiet(150.0, since=113.0)
    assert watch.at(150.0) == "deb1 made no promise" and not watch.is_proved
    # A promise that is later than the withdrawal stands beside the one that came in.
    watch.opened(151.0, Facts(promise=PROMISE), 12)
    watch.quiet(190.0, since=151.0)
    watch.at(190.0)
    assert watch.is_proved
    # Where nothing came in, none is believed.
    watch = _reopened(None)
    watch.opened(113.0, Facts(promise=PROMISE), 9)
    watch.quiet(150.0, since=113.0)
    assert watch.at(150.0) == "deb1 made no promise" and not watch.is_proved


def test_an_older_beat_in_a_slot_changes_nothing() -> None:
    """The peer could not write there; what came in by the network is newer, and stands."""
    watch = _reopened()
    watch.beat(105.0, Facts(promise=PROMISE), 20)
    for facts in (Facts(), Facts(promise=replace(PROMISE, death_s=47.4)), None):
        watch.opened(113.0, facts, 9)
    watch.quiet(124.4, since=113.0)
    watch.at(124.4)
    assert watch.is_proved
    # Nor does one that a later beat has overtaken since.
    watch = _reopened()
    watch.opened(105.0, Facts(), 9)
    watch.beat(106.0, Facts(promise=PROMISE), 10)
    watch.quiet(130.0)
    watch.at(130.0)
    assert watch.is_proved


def test_a_later_beat_without_facts_in_a_slot_hides_what_came_before_it() -> None:
    """It may have replaced one that withdrew the promise."""
    watch = _reopened()
    watch.opened(113.0, None, 9)
    watch.quiet(150.0, since=113.0)
    assert watch.at(150.0) == "there is a later beat of deb1, without facts"
    assert not watch.is_proved


def test_another_life_in_a_slot_proves_nothing() -> None:
    """A later one that this node has not heard may have withdrawn the promise."""
    watch = _reopened()
    watch.opened(113.0, Facts(promise=PROMISE), 1, boot=OTHERS)
    watch.quiet(150.0, since=113.0)
    assert "another life of deb1 was seen" in watch.at(150.0) and not watch.is_proved
    watch.lease.record_beat(DISK, PEERS)
    watch.quiet(151.0)
    watch.at(151.0)
    assert not watch.is_proved, "a write of the present one that lands late ends no doubt"
    watch.opened(152.0, Facts(promise=PROMISE), 9)
    watch.quiet(190.0, since=152.0)
    watch.at(190.0)
    assert not watch.is_proved, "nor if that is what lies there when it is opened once more"
    # A former life has written nothing since the present one was heard.
    watch = Watch()
    watch.beat(101.0, Facts(promise=PROMISE), 1, boot=OTHERS)
    watch.lease.record_beat(DISK, OTHERS)
    watch.opened(113.0, Facts(), 99, boot=PEERS)
    watch.quiet(150.0, since=113.0)
    watch.lease.record_beat(DISK, OTHERS)
    watch.at(150.0)
    assert watch.is_proved


def test_an_unknown_life_with_a_lower_counter_is_a_doubt_as_long_as_it_lies_there() -> None:
    """Older, or that of a peer which lost its counter; then the present one writes there."""
    watch = _reopened()
    watch.opened(113.0, Facts(promise=PROMISE), 1, boot=BootId(3, 3))
    watch.quiet(150.0, since=113.0)
    assert "another life of deb1 was seen" in watch.at(150.0) and not watch.is_proved
    watch.lease.record_beat(DISK, PEERS)
    watch.at(150.0)
    assert watch.is_proved


def test_a_life_that_lay_in_a_slot_before_any_was_heard_is_no_former_one() -> None:
    """This node has booted; a beat of the life before that one comes in late."""
    spec = Watch().spec
    for found, is_proved in ((OTHERS, False), (BootId(3, 3), True)):
        watch = Watch()
        watch.lease, watch.view = LeaseView(spec, 90.0), PeerView(OURS)
        watch.opened(95.0, Facts(), 1, boot=found)
        watch.beat(100.0, Facts(promise=PROMISE), 5)
        watch.lease.record_beat(DISK, PEERS)
        watch.quiet(130.0)
        watch.at(130.0)
        assert watch.is_proved is is_proved
    # Nor is one that came in, and has not heard this node.
    watch = Watch()
    watch.lease, watch.view = LeaseView(spec, 90.0), PeerView(OURS)
    watch.lease.record_other(OTHERS)
    watch.beat(100.0, Facts(promise=PROMISE), 5)
    watch.lease.record_beat(DISK, PEERS)
    watch.quiet(130.0)
    watch.at(130.0)
    assert not watch.is_proved


def test_with_two_media_each_slot_that_was_opened_again_counts() -> None:
    """One shows what the peer promised last, the other one took no writes any more."""
    media = media_of([DISK, SECOND])
    promise = Promise(D, frozenset(media.values()))
    for facts, text in ((Facts(), "deb1 made no promise"), (Facts(promise=promise), "")):
        watch = Watch(promise, NET, DISK, SECOND)
        watch.opened(113.0, facts, 9)
        watch.opened(113.0, Facts(promise=promise), 4, link=SECOND, disk="naa.2")
        for link in (DISK, SECOND):
            watch.lease.record_beat(link, PEERS)
            watch.quiet(124.4, media[link], since=113.0)
        found = watch.at(124.4)
        assert watch.is_proved is (not text) and (found == text or not text)


def test_a_read_that_failed_without_an_opening_leaves_what_is_known() -> None:
    """What the slot holds then comes in as a beat if it is another one."""
    watch = _reopened()
    watch.lease.record_unread(MediumUnread(DISK.mark, "EIO"))
    watch.quiet(130.0)
    watch.at(130.0)
    assert watch.is_proved


def _refused(seq: int, facts: Facts | None, boot: BootId = PEERS) -> Beat:
    states = {"registry": ServiceState.STARTED}
    goodbye = Goodbye.RESTART
    return Beat("deb1", boot, seq, Ack(OTHERS, 3), states, goodbye=goodbye, facts=facts)


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (_refused(9, Facts(promise=replace(PROMISE, death_s=47.4))), "ends in 17.4 s"),
        (_refused(9, Facts(promise=replace(PROMISE, death_s=3.1))), ""),
        (_refused(9, Facts()), "deb1 made no promise"),
        (_refused(9, None), "there is a later beat of deb1, without facts"),
        (_refused(1, Facts()), ""),
        (_refused(1, Facts(), BootId(8, 8)), ""),
    ],
)
def test_a_beat_that_is_refused_ends_or_prolongs_the_promise(refused: Beat, text: str) -> None:
    """A goodbye to this node's former daemon: it reports how long its watchdog is held."""
    watch = Watch()
    watch.lease.record_refused(refused)
    watch.quiet(130.0)
    found = watch.at(130.0)
    assert watch.is_proved is (not text) and (found == text or not text)
    # A later beat that comes in counts on its own.
    watch.beat(131.0, Facts(promise=PROMISE), 10)
    watch.quiet(150.0)
    watch.at(150.0)
    assert watch.is_proved


def test_the_newest_beat_that_was_refused_counts() -> None:
    """Another link brings an older one later, also before any beat of that life is believed."""
    watch = Watch()
    watch.lease.record_refused(_refused(4, Facts(), OTHERS))
    for seq, facts in ((9, Facts()), (8, Facts(promise=PROMISE))):
        watch.lease.record_refused(_refused(seq, facts, BootId(9, 90)))
    watch.beat(101.0, Facts(promise=PROMISE), 7, boot=BootId(9, 90))
    watch.lease.record_beat(DISK, BootId(9, 90))
    watch.quiet(130.0)
    assert watch.at(130.0) == "deb1 made no promise" and not watch.is_proved
    # A life that has lost its counter is believed by now. Recordings displace nothing.
    watch = Watch()
    for counter in (5, 6, 9, 1, 2, 3, 4):
        watch.lease.record_refused(_refused(9, Facts(), BootId(counter, 5)))
    watch.beat(101.0, Facts(promise=PROMISE), 7, boot=BootId(5, 5))
    watch.lease.record_beat(DISK, BootId(5, 5))
    watch.quiet(130.0)
    assert watch.at(130.0) == "deb1 made no promise"


def test_a_stale_slot_that_the_present_life_never_wrote_is_no_doubt() -> None:
    """Of a disk that it does not name any more: a former life has left that there."""
    for is_shown in (False, True):
        watch = Watch(PROMISE, NET, DISK, SPARE)
        if not is_shown:
            watch.opened(99.0, link=SPARE, disk="naa.2")
        watch.opened(100.0, Facts(), 99, boot=BootId(3, 3), link=SPARE, disk="naa.2")
        if is_shown:
            watch.lease.record_beat(SPARE, PEERS)
            watch.opened(100.0, Facts(), 99, boot=BootId(3, 3), link=SPARE, disk="naa.2")
        watch.quiet(130.0)
        assert ("another life" in watch.at(130.0)) is is_shown
        assert watch.is_proved is not is_shown


def test_what_lay_in_a_slot_that_is_not_configured_any_more_is_no_doubt() -> None:
    """It was found before the edit, and is reported after it."""
    watch = Watch(PROMISE, NET, DISK, SPARE)
    watch.lease.reconfigure(replace(watch.spec, links=(NET, DISK)))
    watch.opened(113.0, Facts(), 9, boot=BootId(3, 3), link=SPARE, disk="")
    watch.lease.record_beat(SPARE, PEERS)
    watch.opened(113.0, Facts(), 9, boot=BootId(3, 3), link=SPARE, disk="/dev/sdc")
    watch.quiet(130.0)
    watch.at(130.0)
    assert watch.is_proved


def test_promise_proves_nothing_once_another_life_was_seen() -> None:
    """It may have withdrawn the promise in a slot, without having heard this node."""
    watch = Watch()
    watch.lease.record_other(BootId(8, 8))
    watch.quiet(130.0)
    assert "another life of deb1 was seen" in watch.at(130.0) and not watch.is_proved
    watch.lease.record_beat(NET, PEERS)
    watch.quiet(131.0)
    watch.at(131.0)
    assert not watch.is_proved, "what is heard late of the former one changes nothing"
    watch.beat(132.0, Facts(promise=PROMISE), 1, boot=BootId(8, 8))
    for link in (NET, DISK):
        watch.lease.record_beat(link, BootId(8, 8))
    watch.quiet(160.0)
    watch.at(160.0, silent_since=145.0)
    assert watch.is_proved


# --- what an edit leaves, and how much is kept ----------------------------------------------------


def test_disk_of_a_link_that_was_away_is_not_known_when_it_is_back() -> None:
    """Its path may name another one: it is opened again first."""
    watch = _reopened()
    watch.quiet(130.0)
    watch.lease.reconfigure(replace(watch.spec, links=(NET,)))
    watch.lease.reconfigure(watch.spec)
    watch.quiet(131.0)
    assert watch.at(131.0) == "slot of /dev/sda has not shown the present life of deb1"


def test_beat_that_lay_in_a_slot_counts_as_long_as_the_slot_is_configured() -> None:
    """An edit of other links changes nothing of it."""
    watch = Watch(PROMISE, NET, DISK, SPARE)
    watch.opened(113.0, Facts(), 9, link=SPARE, disk="naa.2")
    watch.quiet(130.0)
    assert watch.at(130.0) == "deb1 made no promise"
    watch.lease.reconfigure(replace(watch.spec, links=(DISK, SPARE)))
    assert watch.at(130.0) == "deb1 made no promise"
    watch.lease.reconfigure(replace(watch.spec, links=(DISK,)))
    watch.quiet(131.0)
    watch.at(131.0)
    assert watch.is_proved


def test_refused_beats_of_the_four_newest_incarnations_are_kept() -> None:
    """Recordings of former ones displace none of them."""
    for others, text in ((3, "deb1 made no promise"), (4, "")):
        watch = Watch()
        for number in range(others + 1):
            watch.lease.record_refused(_refused(9, Facts(), BootId(5 + number, 5)))
        watch.beat(101.0, Facts(promise=PROMISE), 7, boot=BootId(5, 5))
        watch.lease.record_beat(DISK, BootId(5, 5))
        watch.quiet(130.0)
        found = watch.at(130.0)
        assert watch.is_proved is (not text) and (found == text or not text)


def test_two_disks_that_are_not_known_are_not_one() -> None:
    """What one has shown, with the same offset, the other has not."""
    watch = Watch(PROMISE, DISK, SECOND)
    for link in (DISK, SECOND):
        watch.opened(101.0, link=link, disk="")
    watch.lease.record_beat(DISK, PEERS)
    assert watch.at(120.0) == "slot of /dev/sdb has not shown the present life of deb1"


def test_of_refused_beats_of_one_incarnation_the_later_one_counts() -> None:
    """Also one with the same number: a repeat."""
    for first, second in (
        (_refused(8, Facts(promise=PROMISE)), _refused(9, Facts())),
        (_refused(9, None), _refused(9, Facts())),
    ):
        watch = Watch()
        watch.lease.record_refused(first)
        watch.lease.record_refused(second)
        watch.quiet(130.0)
        assert watch.at(130.0) == "deb1 made no promise"


def test_two_that_may_be_cut_off_prove_nothing_of_each_other() -> None:
    """What is seen until the cut ends counts as a sign of life; a stop alone is like a death."""
    may_stop = replace(PROMISE, may_stop=True)
    watch = Watch(may_stop)
    says = "deb1 promises: dead, or without services, 11.4 s after its last sign"
    assert watch.at(105.0) == says
    sight = watch.lease.sight
    assert sight.is_promised and sight.is_usable
    watch.quiet(116.0)
    watch.view.judge(False, 110.0, 116.0)
    watch.lease.judge(watch.view, DELAY_S, 116.0, True)
    sight = watch.lease.sight
    assert sight.text == "this node is cut off, and deb1 may be, too: it may live"
    assert sight.is_promised and not (sight.is_usable or sight.is_open or sight.proof)
    assert watch.at(120.0) == "ends in 7.4 s"
    watch.quiet(128.0)
    text = watch.at(128.0)
    assert watch.is_proved and "to be dead, or without services, 11.4 s" in text
    # One that is reset in any case is dead, whichever node is cut off.
    reset = Watch()
    reset.quiet(116.0)
    reset.view.judge(False, 110.0, 116.0)
    reset.lease.judge(reset.view, DELAY_S, 116.0, True)
    assert reset.is_proved


@pytest.mark.parametrize(
    ("promise", "is_authentic", "is_barred"),
    [
        (replace(PROMISE, is_virtual=True), True, True),
        (replace(PROMISE, is_virtual=True), False, False),
        (Promise(D, frozenset()), True, False),
        (PROMISE, True, False),
    ],
)
def test_only_a_virtual_machine_that_says_so_is_barred(
    promise: Promise, is_authentic: bool, is_barred: bool
) -> None:
    """With a key."""
    watch = Watch(promise, is_authentic=is_authentic)
    watch.at(120.0)
    assert watch.lease.sight.is_barred is is_barred


def test_peer_that_was_never_heard_made_no_promise() -> None:
    """Nothing is known of it."""
    lease, view = LeaseView(Watch().spec, 90.0), PeerView(OURS)
    lease.judge(view, DELAY_S, 100.0)
    assert lease.sight.text == "deb1 made no promise" and lease.promised is None


def test_beat_of_a_life_that_is_over_in_a_known_slot_is_no_doubt() -> None:
    """The present one cannot write there; what it promised came by another way."""
    watch = _reopened()
    watch.beat(101.0, Facts(promise=PROMISE), 1, boot=OTHERS)
    watch.lease.record_beat(DISK, OTHERS)
    watch.opened(113.0, Facts(), 99, boot=PEERS)
    watch.quiet(130.0, since=113.0)
    watch.at(130.0)
    assert watch.is_proved


def test_beat_without_facts_in_a_slot_that_is_not_the_latest_hides_nothing() -> None:
    """One that came in later had none either, and withdrew nothing."""
    watch = _reopened()
    watch.beat(105.0, None, 12)
    watch.opened(113.0, None, 9)
    watch.quiet(124.4, since=113.0)
    watch.at(124.4)
    assert watch.is_proved


def test_newest_beat_that_lies_in_a_slot_hides_nothing() -> None:
    """It came in as well, without facts."""
    watch = _reopened()
    watch.beat(105.0, None, 12)
    watch.opened(113.0, None, 12)
    watch.quiet(124.4, since=113.0)
    watch.at(124.4)
    assert watch.is_proved


@pytest.mark.parametrize(("death_s", "first_ends"), [(D, 115.0), (20.0, 120.0)])
def test_promise_that_is_renewed_in_a_silence_is_waited_for_as_before_it_and_no_longer(
    death_s: float, first_ends: float
) -> None:
    """Where something else can be tried: by what was known when the silence began."""
    watch = Watch(replace(PROMISE, death_s=death_s))
    watch.at(111.0)
    watch.lease.record_life(114.0)
    waits_until = first_ends + LEASE_LAST_READ_S
    for at, is_prolonged in ((waits_until - 0.1, False), (waits_until, True)):
        watch.at(at)
        assert watch.lease.sight.is_open and watch.lease.sight.is_prolonged is is_prolonged
    assert watch.lease.next_deadline(waits_until - 0.1) in (waits_until, 114.0 + death_s)
    watch.at(114.0 + death_s + LEASE_LAST_READ_S)
    assert not watch.lease.sight.is_open and not watch.lease.sight.is_prolonged


def test_each_silence_has_a_wait_of_its_own() -> None:
    """Counted from the last sign of life before it."""
    watch = Watch(replace(PROMISE, death_s=20.0))
    watch.at(111.0)
    watch.lease.record_life(140.0)
    watch.at(150.0, silent_since=150.0)
    watch.lease.record_life(156.0)
    for at, is_prolonged in ((162.9, False), (163.0, True)):
        watch.at(at, silent_since=150.0)
        assert watch.lease.sight.is_prolonged is is_prolonged


def test_proof_is_made_once_in_a_minute() -> None:
    """A new read does not make it younger."""
    watch = Watch()
    watch.quiet(115.0)
    watch.at(115.0)
    first = watch.lease.sight.proof
    watch.quiet(130.0)
    watch.at(114.9 + PROOF_LIFE_S)
    assert first is not None and watch.lease.sight.proof is first


def test_promise_is_usable_while_it_runs_and_when_it_is_over() -> None:
    """What is shown of it, and of its path."""
    watch = Watch()
    for now in (111.0, 115.0):
        watch.quiet(now)
        watch.quiet(now + 0.5)
        watch.at(now)
        sight = watch.lease.sight
        assert sight.is_promised and sight.is_usable
    watch.quiet(116.0)
    watch.at(116.0)
    assert watch.is_proved and watch.lease.sight.is_promised and watch.lease.sight.is_usable


def test_machine_that_was_virtual_is_so_whatever_lies_in_a_slot() -> None:
    """A later beat that was not taken takes nothing back."""
    watch = _reopened(replace(PROMISE, is_virtual=True))
    watch.opened(113.0, Facts(promise=PROMISE), 9)
    watch.quiet(150.0, since=113.0)
    assert watch.at(150.0) == "deb1 is a virtual machine"
