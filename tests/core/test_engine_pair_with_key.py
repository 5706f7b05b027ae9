"""Two engines back to back whose every beat is authentic: replays, forgeries, old lives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Announce, RecordKind
from opensvc_openha.core.beat import Beat
from opensvc_openha.core.events import BeatReceived, Command, RecoveredState
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from tests.core.pair import Host, Pair


@pytest.fixture(autouse=True)
def _with_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Pair, "key_id", "aabbccdd")
    yield


class Tape:
    """Somebody who records what a node sends on its links, and plays it again."""

    def __init__(self, pair: Pair, host: Host) -> None:
        self.pair = pair
        self.host = host
        self.beats: list[Beat] = []
        send = pair.send

        def record(who: Host, action: Announce) -> None:
            if who is host:
                self.beats.append(action.beat)
            send(who, action)

        pair.send = record  # type: ignore[method-assign,assignment]

    def play(
        self, to: Host, seconds: float, per_second: int = 20, links: tuple[int, ...] = (0, 1)
    ) -> None:
        """Everything recorded, in order, over and over, on these links of the recorded node."""
        wires = [link for link in self.pair.links if link.node == self.host.name]
        beats = list(self.beats)
        for number in range(int(seconds * per_second)):
            for link in links:
                at = self.pair.now + number / per_second
                event = BeatReceived(
                    wires[link], beats[number % len(beats)], at, key_id=self.pair.key_id
                )
                self.pair.schedule_at(at, to.handle, to.life, event)


def _standing(host: Host) -> PeerStanding:
    assert host.engine is not None
    return host.engine.snapshot(host.pair.now).peer_standing


def _refused(host: Host) -> dict[str, int]:
    assert host.engine is not None
    total: dict[str, int] = {}
    for link in host.engine.snapshot(host.pair.now).links:
        for reason, number in link.counts.items():
            total[reason] = total.get(reason, 0) + number
    return total


def _warnings(host: Host) -> str:
    assert host.engine is not None
    return " | ".join(host.engine.snapshot(host.pair.now).warnings)


def _running_pair() -> tuple[Pair, Host, Host, Tape]:
    """deb1 runs the service, deb2 is standby, and what deb1 reports is recorded."""
    pair = Pair()
    deb1, deb2 = pair.boot()
    tape = Tape(pair, deb1)
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(10)
    deb2.command(Command.UNFREEZE)
    pair.run(5)
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")
    return pair, deb1, deb2, tape


def test_starting_at_the_same_time_both_are_live_within_a_moment() -> None:
    """Neither can acknowledge the other's first beat: each answers it, and the answer
    acknowledges.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(0.2)
    assert _standing(deb1) is _standing(deb2) is PeerStanding.LIVE
    assert _warnings(deb1) == _warnings(deb2) == ""


def test_first_beats_lost_the_next_ones_do_it() -> None:
    """The greeting is lost on every link for three seconds: live right after the next beats."""
    pair = Pair()
    pair.is_lost = lambda: pair.now < 103.0
    deb1, deb2 = pair.boot()
    pair.run(5.2)
    assert _standing(deb1) is _standing(deb2) is PeerStanding.LIVE


def test_replay_after_the_death_of_the_owner_does_not_keep_it_alive() -> None:
    """All that the dead owner ever sent is played again on its own links: silent in time, takeover
    as ever, replays counted.
    """
    pair, deb1, deb2, tape = _running_pair()
    deb1.crash()
    tape.play(deb2, 40)
    pair.run(10.1)
    assert _standing(deb2) is PeerStanding.SILENT
    pair.run(10)
    assert deb2.state == "STARTED"
    assert _refused(deb2)["replayed"] > 100


def test_replay_on_another_link_that_was_cut_does_not_keep_the_owner_alive() -> None:
    """One link was cut long before the owner died, so it never saw the recorded beats: the takeover
    is not put off.
    """
    pair, deb1, deb2, tape = _running_pair()
    pair.cut.add((deb1.name, next(link for link in pair.links if link.node == deb1.name)))
    pair.run(60)
    deb1.crash()
    died_at = pair.now
    tape.beats = tape.beats[-50:]
    pair.run(1)
    tape.play(deb2, 60, per_second=1, links=(0,))
    pair.run(40)
    assert deb2.state == "STARTED"
    when, _ = pair.starts()[-1]
    assert when - died_at < 10 + 5 + 2


def test_replay_after_our_own_restart_proves_nothing() -> None:
    """We have forgotten every sequence number, the owner is dead, its beats are played: silent once
    the recording repeats.
    """
    pair, deb1, deb2, tape = _running_pair()
    deb1.crash()
    deb2.kill_daemon()
    deb2.boot({})
    tape.play(deb2, 40)
    pair.run(10.1 + len(tape.beats) / 20)
    assert _standing(deb2) is PeerStanding.SILENT
    assert _refused(deb2)["unproven"] > 100
    assert "replays old beats" in _warnings(deb2)
    assert deb2.service().peer_state is ServiceState.UNKNOWN


def test_replay_of_a_former_life_after_its_restart_is_an_old_life() -> None:
    """The owner's daemon was restarted.

    Its former life is played, also to a restarted listener: refused by its counter.
    """
    pair, deb1, deb2, tape = _running_pair()
    recorded = list(tape.beats)
    pair.invariants = None  # This daemon has forgotten that the service runs.
    deb1.kill_daemon()
    deb1.boot({})
    pair.run(3)
    tape.beats = recorded
    for _ in range(2):
        tape.play(deb2, 5)
        pair.run(6)
        assert _refused(deb2)["old life"] > 50
        assert _standing(deb2) is PeerStanding.LIVE
        deb2.kill_daemon()
        deb2.boot({})
        pair.run(2)


def test_replay_does_not_keep_two_nodes_from_finding_each_other() -> None:
    """A flood of the peer's former life while both start again: the answer goes to the living one
    within two beats.
    """
    pair, deb1, deb2, tape = _running_pair()
    deb1.crash()
    deb2.kill_daemon()
    deb2.boot({})
    tape.play(deb2, 30, per_second=50)
    pair.run(3)
    deb1.boot({})
    pair.run(2.5)
    assert _standing(deb1) is _standing(deb2) is PeerStanding.LIVE


@pytest.mark.parametrize("is_quick", [False, True])
def test_peer_that_lost_its_counter_is_believed_since_it_acknowledges_this_node(
    is_quick: bool,
) -> None:
    """deb1 was reinstalled and counts from 1 again: no attacker can have recorded that it
    acknowledges what is sent to it now.

    Quick, within the timeout of the life before, it is believed once that one is silent; never is
    deb1 silent meanwhile.
    """
    pair = Pair()
    deb1, deb2 = pair.deb1, pair.deb2
    deb1.boot(counter=57)
    deb2.boot()
    pair.run(3)
    deb1.crash()
    pair.run(1 if is_quick else 20)
    before = len(deb2.records)
    deb1.store.incarnations = {}
    deb1.boot(counter=1)
    pair.run(12 if is_quick else 3)
    assert _standing(deb1) is _standing(deb2) is PeerStanding.LIVE
    assert deb2.store.incarnations["aabbccdd"].counter == 1
    reported = [record.new for record in deb2.records[before:] if record.kind is RecordKind.PEER]
    assert "COUNTER" in reported and "SILENT" not in reported


@pytest.mark.parametrize("is_rebooted", [False, True])
def test_two_nodes_that_both_lost_their_counters_find_each_other(is_rebooted: bool) -> None:
    """Each remembers the other with a higher counter, and is refused itself: each is answered all
    the same, acknowledges that, and is believed. Neither is called silent meanwhile.
    """
    pair = Pair()
    for host in (pair.deb1, pair.deb2):
        host.boot(counter=57)
    pair.run(3)
    for host in (pair.deb1, pair.deb2):
        if is_rebooted:
            host.crash()
        else:
            host.kill_daemon()
    pair.run(1)
    for counter, host in enumerate((pair.deb1, pair.deb2)):
        host.boot(counter=counter)
    pair.run(30)
    assert _standing(pair.deb1) is _standing(pair.deb2) is PeerStanding.LIVE
    for host in (pair.deb1, pair.deb2):
        reported = [record.new for record in host.records if record.kind is RecordKind.PEER]
        assert "COUNTER" in reported and "SILENT" not in reported


def test_peer_that_lost_its_counter_is_not_fenced_by_a_standby_that_hears_it() -> None:
    """The owner's daemon dies and comes back with the counter lost: the standby starts nothing."""
    pair, deb1, deb2, _ = _running_pair()
    deb1.kill_daemon()
    pair.run(0.5)
    deb1.store.incarnations = {}
    deb1.boot({"registry": RecoveredState(ServiceState.STARTED)}, counter=0)
    pair.run(40)
    assert [node for _, node in pair.starts()] == ["deb1"]
    assert (deb1.state, deb2.state) == ("STARTED", "STOPPED")


def test_recorded_beats_of_the_life_before_do_not_come_back_after_the_counter_was_lost() -> None:
    """What deb1 sent before it lost its counter is played again, when it has died for good: silent
    in time.
    """
    pair, deb1, deb2, tape = _running_pair()
    deb1.crash()
    recorded = list(tape.beats)
    pair.run(1)
    deb1.store.incarnations = {}
    deb1.boot({}, counter=0)
    pair.run(15)
    assert _standing(deb2) is PeerStanding.LIVE
    deb1.crash()
    tape.beats = recorded
    tape.play(deb2, 30)
    pair.run(10.2)
    assert _standing(deb2) is PeerStanding.SILENT


def test_peer_that_does_not_hear_this_node_since_its_restart_is_not_silent() -> None:
    """A one-way cut, and the daemon of the standby restarted: it hears the owner loudly, and
    announces no start.
    """
    pair, deb1, deb2, _ = _running_pair()
    pair.cut_all("deb2")
    deb2.kill_daemon()
    deb2.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(60)
    assert _standing(deb2) is PeerStanding.UNKNOWN
    assert (
        deb2.engine is not None
        and "does not acknowledge" in deb2.engine.snapshot(pair.now).peer_reason
    )
    assert (
        "no verdict about the peer: it is heard, but does not acknowledge this node"
        in deb2.service().reason
    )
    assert deb2.state == "STOPPED" and "START_READY" not in [
        state.name for _, _, state in deb2.states[-3:]
    ]
    deb1.crash()
    pair.run(20)
    assert deb2.state == "STARTED"


def test_replayed_old_life_is_not_taken_for_a_reinstalled_peer() -> None:
    """Only somebody alive can acknowledge what is sent now: a recording raises no such
    suspicion.
    """
    pair, deb1, deb2, tape = _running_pair()
    recorded = list(tape.beats)
    deb1.crash()
    deb1.boot({})
    pair.run(3)
    tape.beats = recorded
    tape.play(deb2, 20)
    pair.run(21)
    assert "two nodes" not in _warnings(deb2) and "forget-peer" not in _warnings(deb2)


@pytest.mark.parametrize("key_id", ["aabbccdd", ""])
def test_two_nodes_of_one_name_are_reported(key_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of deb1, key and all, is started beside it: the newer counter is believed, and the
    double name is reported.

    Without any key it is reported just the same.
    """
    monkeypatch.setattr(Pair, "key_id", key_id)
    pair, deb1, deb2, _ = _running_pair()
    pair.invariants = None  # They hold for two nodes, and here are three.
    copy = Host(pair, 0)
    copy.life = 100
    send = pair.send

    def with_copy(host: Host, action: Announce) -> None:
        if host is not copy:
            send(host, action)
        for link in pair.links:
            if link.node == host.name and host is not deb1:
                other = deb2 if host is copy else copy
                pair.schedule(
                    0.001,
                    other.handle,
                    other.life,
                    BeatReceived(link, action.beat, pair.now, key_id=pair.key_id),
                )

    pair.send = with_copy  # type: ignore[method-assign,assignment]
    copy.boot({})
    pair.run(5)
    assert "two nodes are named deb1" in _warnings(deb2)


def test_key_change_within_a_life_loses_nothing() -> None:
    """Beats come under another key from one moment to the next: no link goes down, and the new key
    is remembered.
    """
    pair, deb1, deb2, _ = _running_pair()
    before = len(deb2.records)
    pair.key_id = "11223344"
    pair.run(15)
    assert deb2.records[before:] == []
    assert set(deb2.store.incarnations) == {"aabbccdd", "11223344"}
    assert _refused(deb2) in ({}, {"unproven": _refused(deb2).get("unproven")})


def test_greeting_is_no_acknowledgement_of_a_start_ready() -> None:
    """A beat that only reports which life was heard never lets a service start, whatever number it
    carries.
    """
    from opensvc_openha.core.beat import Ack, BootId
    from opensvc_openha.core.peer_view import Evidence, PeerView

    own = BootId(1, 1)
    view = PeerView(own)
    beat = Beat(
        "deb2", BootId(2, 2), 1, Ack(own, 99, is_taken=False), {"registry": ServiceState.STOPPED}
    )
    view.take(beat, 0.0)
    view.judge(True, None, 0.0)
    assert view.evidence("registry", 5) is Evidence.OUT
    view.take(replace(beat, seq=2, ack=Ack(own, 99)), 1.0)
    assert view.evidence("registry", 5) is Evidence.OUT_ACKED
