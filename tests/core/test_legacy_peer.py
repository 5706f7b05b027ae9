"""What the beats of a C OpenHA prove, alone and beside beats in our own format."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from opensvc_openha.core.beat import LEGACY_INCARNATION, Ack, Beat, BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import BeatReceived, Leaving, ScriptKind, Tick
from opensvc_openha.core.explanations import explain_wait
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import ClusterSpec, LinkSpec, Role
from opensvc_openha.core.peer_view import Evidence, PeerView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    LEGACY_ECHO_S,
    LEGACY_FRESH_S,
    LEGACY_STRAGGLER_S,
    START_READY_DELAY_S,
)
from opensvc_openha.core.transitions import Situation, Trigger, find_row
from tests.core.bench import Bench
from tests.core.pair import CHECK_ALWAYS, links, services

OWN, LIFE = BootId(5, 55), BootId(1, 11)


def legacy(seq: int, state: S = S.STOPPED) -> Beat:
    """A beat of a C OpenHA."""
    return Beat("deb2", LEGACY_INCARNATION, seq, None, {"registry": state})


def own(seq: int, state: S = S.STOPPED, goodbye: Goodbye = Goodbye.NONE) -> Beat:
    """A beat in our own format, which acknowledges everything."""
    return Beat("deb2", LIFE, seq, Ack(OWN, 1000), {"registry": state}, goodbye)


def watched(*seconds: float, states: tuple[S, ...] = ()) -> PeerView:
    """A live C OpenHA heard at these seconds after 100."""
    view = PeerView(OWN)
    missing = len(seconds) - len(states)
    for second, state in zip(seconds, (*states, *[S.STOPPED] * missing)):
        view.take(legacy(int(second * 2), state), 100.0 + second)
        view.judge(True, None, 100.0 + second)
    return view


# transitions


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("evidence", list(Evidence))
@pytest.mark.parametrize(
    "is_legacy, is_watched_out", list(itertools.product((False, True), repeat=2))
)
def test_only_a_legacy_peer_watched_for_the_whole_delay_replaces_the_acknowledgement(
    role: Role, evidence: Evidence, is_legacy: bool, is_watched_out: bool
) -> None:
    """START_READY and a check-up that ended well, with each evidence: what leads on to the scripts,
    and nothing else does.
    """
    proved = evidence in (Evidence.OUT_ACKED, Evidence.DEPARTED_STOPPED) or (
        evidence is Evidence.OUT and is_legacy and is_watched_out
    )
    ready = Situation(role, evidence, is_legacy=is_legacy, is_watched_out=is_watched_out)
    row = find_row(S.START_READY, Trigger.EVALUATE, ready)
    assert (row is not None and row.run is ScriptKind.START) is proved
    asked = find_row(S.START_READY, Trigger.EVALUATE, replace(ready, is_check_always=True))
    assert (asked is not None and asked.run is ScriptKind.CHECK) is proved
    checked = Situation(
        role, evidence, ScriptKind.CHECK, is_legacy=is_legacy, is_watched_out=is_watched_out
    )
    row = find_row(S.STARTING, Trigger.CHECK_OK, checked)
    assert row is not None and (row.run is ScriptKind.START) is proved
    for leaving in Leaving:
        leaves = Situation(
            role, evidence, is_legacy=is_legacy, is_watched_out=is_watched_out, leaving=leaving
        )
        row = find_row(S.START_READY, Trigger.EVALUATE, leaves)
        assert row is None or row.run is None


def test_operator_learns_what_start_ready_waits_for() -> None:
    """Not for an acknowledgement that never comes."""
    waiting = explain_wait(S.START_READY, Situation(Role.PRIMARY, Evidence.OUT, is_legacy=True))
    assert waiting == "peer is out and cannot acknowledge: start-ready delay"


# the view


def test_out_counts_from_start_ready_and_for_the_whole_delay() -> None:
    """Heard each second, START_READY since 102: the beat at 107 is the first that proves it."""
    assert not watched(*range(7)).is_watched_out("registry", 102.0, 106.9)
    assert watched(*range(8)).is_watched_out("registry", 102.0, 107.0)


@pytest.mark.parametrize(
    "states",
    [
        (S.FROZEN_STOP, S.FROZEN_STOP, S.FROZEN_STOP),
        (S.STOPPED, S.STOPPED, S.START_READY),
        (S.STOPPED, S.STOPPED, S.STARTED),
    ],
)
def test_every_change_of_the_peer_begins_the_delay_again(states: tuple[S, ...]) -> None:
    """FROZEN_STOP or worse until the third beat, STOPPED afterwards: 5 s from the fourth."""
    assert not watched(*range(8), states=states).is_watched_out("registry", 100.0, 107.0)
    assert watched(*range(9), states=states).is_watched_out("registry", 100.0, 108.0)


def test_gap_in_the_beats_begins_the_delay_again() -> None:
    """Nothing for 4 s, though the link is up: what happened then is not known."""
    assert not watched(0, 1, 2, 6, 7, 8, 9, 10).is_watched_out("registry", 100.0, 110.0)
    assert watched(0, 1, 2, 6, 7, 8, 9, 10, 11).is_watched_out("registry", 100.0, 111.0)


def test_what_was_watched_is_worth_nothing_once_the_beats_stop() -> None:
    """Proved at 107; at 111 nothing was heard for 4 s."""
    view = watched(*range(8))
    assert view.is_watched_out("registry", 100.0, 107.0)
    assert not view.is_watched_out("registry", 100.0, 111.0)
    view.judge(False, None, 107.5)
    assert not view.is_watched_out("registry", 100.0, 107.5)


def test_silence_begins_the_delay_again_however_short_it_was() -> None:
    """A link of 2 s: the peer was called silent, and is heard again within 3 s of its last beat."""
    view = watched(0, 1, 2)
    view.judge(False, 104.0, 104.0)
    for second in range(4, 10):
        view.take(legacy(second * 2), 100.5 + second)
        view.judge(True, None, 100.5 + second)
        assert view.is_watched_out("registry", 100.0, 100.5 + second) is (second == 9)


def test_beats_in_our_own_format_are_no_part_of_the_delay() -> None:
    """The peer reported STOPPED in our format, then as a C OpenHA: only the latter counts."""
    view = PeerView(OWN)
    for second in range(12):
        view.take(own(second) if second < 4 else legacy(second * 2), 100.0 + second)
        view.judge(True, None, 100.0 + second)
        assert view.is_watched_out("registry", 100.0, 100.0 + second) is (second >= 9)


def test_gap_of_three_seconds_is_none_and_a_longer_one_is() -> None:
    """Two lost beats are no reason to begin again, and what was proved holds for as long."""
    assert watched(0, 1, 4, 5).is_watched_out("registry", 100.0, 105.0)
    assert not watched(0, 1, 4.5, 5, 6).is_watched_out("registry", 100.0, 106.0)
    view = watched(*range(8))
    assert view.is_watched_out("registry", 100.0, 107.0 + LEGACY_FRESH_S)
    assert not view.is_watched_out("registry", 100.0, 107.01 + LEGACY_FRESH_S)


def test_own_format_is_never_watched_out() -> None:
    """There the acknowledgement is asked for, as ever."""
    view = PeerView(OWN)
    for second in range(20):
        view.take(own(second), 100.0 + second)
        view.judge(True, None, 100.0 + second)
    assert not view.is_watched_out("registry", 100.0, 119.0)


def test_legacy_beat_forgets_the_acknowledgement() -> None:
    """The peer became a C OpenHA: what its predecessor had heard, it has not."""
    view = PeerView(OWN)
    view.take(own(1), 100.0)
    view.judge(True, None, 100.0)
    assert view.evidence("registry", 7) is Evidence.OUT_ACKED
    assert view.admits(legacy(1)) and view.take(legacy(1), 101.0)
    assert view.evidence("registry", 7) is Evidence.OUT


def test_late_record_is_dropped_but_a_clock_that_was_set_back_is_not() -> None:
    """A disk read late is older than what the network brought.

    If only older ones come, the clock was set.
    """
    view = watched(0, 1, 2, states=(S.STARTED, S.STARTED, S.STARTED))
    assert not view.take(legacy(3, S.STOPPED), 102.5)
    assert view.take(legacy(4, S.STOPPING), 102.5), "within the same second the later one counts"
    assert not view.take(legacy(0, S.STOPPED), 102.4 + LEGACY_STRAGGLER_S)
    assert view.take(legacy(0, S.STOPPED), 102.5 + LEGACY_STRAGGLER_S)


def test_echo_of_a_peer_that_left_is_dropped() -> None:
    """Its last legacy records come in behind its goodbye.

    A C daemon that is started there later is believed.
    """
    view = PeerView(OWN)
    view.take(own(1, goodbye=Goodbye.LEFT), 100.0)
    view.judge(False, None, 100.0)
    assert not view.admits(legacy(1), 100.0 + LEGACY_ECHO_S - 0.1)
    assert view.admits(legacy(1), 100.0 + LEGACY_ECHO_S)
    view.take(legacy(1), 103.0)
    assert view.judge(True, None, 103.0) is PeerStanding.DEPARTED
    assert view.standing is PeerStanding.LIVE


# links


def test_every_legacy_beat_is_fresh() -> None:
    """It has no sequence to compare, and its clock may be set back."""
    link = links(count=1)[1]
    monitor = LinkMonitor([link], 100.0)
    for seq in (10, 10, 4):
        assert monitor.is_fresh(link, LEGACY_INCARNATION, seq)
        monitor.record_beat(link, LEGACY_INCARNATION, seq, 101.0, 1)
    assert not monitor.is_own_heard
    monitor.record_beat(link, LIFE, 1, 102.0, 1)
    assert monitor.is_own_heard


def test_delay_is_longer_where_only_a_disk_is_up() -> None:
    """A C OpenHA reads its disk once per timeout: it must have read our START_READY before we go
    on.
    """
    net = links(count=1)[1]
    disk = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 19, 30.0)
    monitor = LinkMonitor([net, disk], 100.0)
    assert monitor.legacy_delay_s == START_READY_DELAY_S
    monitor.record_beat(disk, LEGACY_INCARNATION, 2, 101.0, 1)
    assert monitor.legacy_delay_s == 32.0
    monitor.record_beat(net, LEGACY_INCARNATION, 3, 101.0, 1)
    assert monitor.legacy_delay_s == START_READY_DELAY_S


# the engine


def engine_with(now: float) -> tuple[Engine, LinkSpec, LinkSpec]:
    """A node with two links from its peer: one for our own format, one for the original's."""
    both = links()
    engine = Engine(
        ClusterSpec("deb1", "deb2", both, services(), fencing=CHECK_ALWAYS), OWN, {}, now
    )
    engine.step(Tick(), now)
    first, second = (link for link in both if link.node == "deb2")
    return engine, first, second


def test_own_format_is_preferred_while_it_is_heard() -> None:
    """Both formats come in, the legacy one reports something else: it brings its link up, and is
    listened to only alone.
    """
    engine, mine, theirs = engine_with(100.0)

    def shown(now: float) -> tuple[str, bool]:
        status = engine.snapshot(now)
        return status.services[0].secondary_state.name, all(link.is_up for link in status.links)

    for second in range(1, 4):
        engine.step(BeatReceived(mine, own(second, S.STARTED), 100.0 + second), 100.0 + second)
        engine.step(
            BeatReceived(theirs, legacy(2 * second, S.STOPPED), 100.0 + second), 100.0 + second
        )
    assert shown(103.0) == ("STARTED", True)
    for second in range(4, 15):
        engine.step(
            BeatReceived(theirs, legacy(2 * second, S.STOPPED), 100.0 + second), 100.0 + second
        )
    assert shown(114.0) == ("STOPPED", False)
    engine.step(BeatReceived(mine, own(50, S.STARTING), 115.0), 115.0)
    assert shown(115.0) == ("STARTING", True)


def test_nothing_is_acknowledged_to_a_c_openha() -> None:
    """Our own frames, heard by no node or by one in the middle of its migration, carry no
    acknowledgement of it.
    """
    engine, _, theirs = engine_with(100.0)
    engine.step(BeatReceived(theirs, legacy(2), 101.0), 101.0)
    assert engine.beat().ack is None


def test_record_that_names_this_node_changes_nothing() -> None:
    """Its own state from the wire: the hole of the original that one datagram opens."""
    engine, _, theirs = engine_with(100.0)
    forged = Beat("deb1", LEGACY_INCARNATION, 2, None, {"registry": S.STARTED})
    engine.step(BeatReceived(theirs, forged, 101.0), 101.0)
    status = engine.snapshot(101.0)
    assert status.services[0].own_state is S.FROZEN_STOP and not any(
        link.is_up for link in status.links
    )


@pytest.mark.parametrize(
    ("announced", "is_sure_at_last"),
    [(S.STOPPED, True), (S.FROZEN_STOP, True), (S.START_READY, False)],
)
def test_doubtful_owner_is_sure_once_a_c_openha_was_heard_out_for_the_whole_delay(
    announced: S, is_sure_at_last: bool
) -> None:
    """It confirms nothing, so what it reports must have been true for as long as it may take to see
    us; START_READY is not out.
    """
    bench = Bench(S.STARTED)
    began = bench.now
    for number in range(30):
        bench.step(BeatReceived(bench.link, legacy(number, announced), bench.now))
        waited_s = bench.now - began
        is_sure = is_sure_at_last and waited_s >= START_READY_DELAY_S
        assert bench.engine._services["registry"].is_ownership_unconfirmed is not is_sure, waited_s
        bench.run(0.5)
    assert bench.state is S.STARTED
