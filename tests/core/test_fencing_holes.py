"""Fencing where something else goes wrong, too: full disks, edited configurations, several fences,
goodbyes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Announce, RememberFencing, RunScript
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.events import (
    Command,
    CommandReceived,
    ConfigChanged,
    RecoveredState,
    ScriptKind,
)
from opensvc_openha.core.facts import Facts, Turn
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory, Turns
from opensvc_openha.core.model import ClusterSpec, FencingPolicy, Policy, Profile
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import (
    BOOT_PATIENCE_S,
    CHECK_LIMIT_S,
    RESTART_HOLD_S,
    START_READY_DELAY_S,
    STORE_RETRY_S,
)
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.state_file import decode
from opensvc_openha.verify.invariants import fence_wait_bound_s
from opensvc_openha.verify.simulated_node import SimulatedNode
from tests.core.bench import Bench
from tests.core.fences import FENCE_S, OUT_S, Fences
from tests.core.pair import TIMEOUT_S, Host


def test_fence_given_up_for_a_full_disk_is_flown_once_there_is_room() -> None:
    """The takeover's first attempt cannot be written down: its fence never ran, and must not be
    waited for.
    """
    pair = Fences(names=("registry",))
    pair.start_one()
    pair.deb2.store.is_full = True
    pair.cut_all()
    pair.run(OUT_S + 2)
    assert pair.checks() == [] and pair.deb2.engine is not None
    pair.deb2.store.is_full = False
    pair.run(STORE_RETRY_S + START_READY_DELAY_S + FENCE_S + 5)
    assert [node for _, node in pair.checks()] == ["deb2"]
    assert pair.state("deb2") is S.STARTED


def test_peer_that_left_its_services_and_did_not_come_back_is_silent() -> None:
    """Its daemon said goodbye: the check-up script that follows the hold is given `silent`, and is
    not put off for ever.
    """
    bench = Bench()
    bench.hear(S.STARTED)
    bench.hear(S.STARTED, Goodbye.RESTART)
    bench.run(RESTART_HOLD_S - 0.1)
    assert not bench.engine.is_peer_silent
    done = bench.run(START_READY_DELAY_S + 0.2)
    [check] = [action for action in done if isinstance(action, RunScript)]
    assert check.kind is ScriptKind.CHECK and check.peer_standing is PeerStanding.SILENT
    assert bench.engine.is_peer_silent and bench.engine.peer_standing is PeerStanding.DEPARTED


def _reconfigure(host: Host, **changes: object) -> None:
    assert host.engine is not None
    spec = replace(host.engine.spec, **changes)  # type: ignore[arg-type]
    host.handle(host.life, ConfigChanged(spec, {}))


@pytest.mark.exhaustive
@pytest.mark.parametrize("fence_time_s", [0.5, 9.0, 35.0])
@pytest.mark.parametrize("edited", ["deb1", "deb2"])
@pytest.mark.parametrize("edited_after_s", [2.0, 20.0])
def test_fence_time_edited_on_one_node_during_a_cut_moves_no_turn(
    fence_time_s: float, edited: str, edited_after_s: float
) -> None:
    """Both fail to fence for a while, and one of the nodes gets another `fence_time`: their turns
    must not meet.
    """
    for works_after_s in range(20, 200, 22):
        pair = Fences()
        pair.start_both()
        pair.works = False
        pair.cut_all()
        pair.run(edited_after_s)
        _reconfigure(pair.deb1 if edited == "deb1" else pair.deb2, fence_time_s=fence_time_s)
        pair.run(works_after_s - edited_after_s)
        pair.works = True
        pair.run(400)
        assert len(pair.fenced) == 1, works_after_s


@pytest.mark.exhaustive
def test_profile_and_timeouts_edited_on_one_node_during_a_cut_move_no_turn() -> None:
    """The same with `profile = fast` and shorter links."""
    for works_after_s in range(20, 200, 14):
        pair = Fences()
        pair.start_both()
        pair.works = False
        pair.cut_all()
        pair.run(16)
        short = tuple(replace(link, timeout_s=2.0) for link in pair.links)
        _reconfigure(pair.deb1, links=short, profile=Profile.FAST)
        pair.run(works_after_s - 16)
        pair.works = True
        pair.run(400)
        assert len(pair.fenced) == 1, works_after_s


@pytest.mark.exhaustive
def test_daemon_restarted_during_a_cut_with_another_fence_time_counts_as_before() -> None:
    """What both knew before the cut is remembered."""
    for works_after_s in range(20, 200, 22):
        pair = Fences()
        pair.start_both()
        pair.works = False
        pair.cut_all()
        pair.run(16)
        states = {
            name: RecoveredState(decode(data).state, must_probe=True)
            for name, data in pair.deb1.store.files.items()
        }
        pair.deb1.kill_daemon()
        pair.fence_time_s = 25.0
        pair.deb1.boot(states)
        pair.run(works_after_s - 16)
        pair.works = True
        pair.run(600)
        assert len(pair.fenced) <= 1, works_after_s


def test_fence_that_always_fails_does_not_keep_another_one_from_its_turn() -> None:
    """Two fences on one node that fail: they are tried one after the other in its turns."""
    pair = Fences(names=("registry", "files", "aside"))
    pair.services = (*pair.services[:2], replace(pair.services[2], check="/etc/other"))
    pair.script_ok = lambda host, action: action.kind is not ScriptKind.CHECK
    pair.on_check = lambda host, action: None
    pair.boot()
    pair.run(2)
    for host, names in (
        (pair.deb1, ("registry",)),
        (pair.deb2, ("files",)),
        (pair.deb1, ("files", "aside")),
        (pair.deb2, ("registry", "aside")),
    ):
        for name in names:
            host.handle(host.life, _unfreeze(next(host.commands), name))
        pair.run(5)
    standby = pair.deb1 if pair.state("deb2", "aside") is S.STARTED else pair.deb2
    pair.cut_all()
    pair.run(300)
    tried = [
        name for _, node, kind, name in pair.scripts if node == standby.name and kind == "check"
    ]
    assert tried[:3] == ["aside", "registry", "aside"]


def _unfreeze(number: int, name: str) -> CommandReceived:
    return CommandReceived(number, name, Command.UNFREEZE)


def test_first_step_writes_down_when_the_node_booted() -> None:
    """So that the next daemon knows, whatever happens in between."""
    pair = Fences(fencing=FencingPolicy(boot_alone_s=60.0))
    pair.deb2.boot({"registry": RecoveredState(S.STOPPED)})
    booted_at = pair.now
    pair.run(1)
    assert pair.deb2.store.fencing.booted_at == booted_at and not pair.deb2.store.fencing.has_heard


class ForgetfulDisk(Host):
    """A node whose note of fencing cannot be written for a while."""

    is_broken = False

    def remember_fencing(self, action: RememberFencing) -> None:
        """Writes it if it can."""
        if self.is_broken:
            raise SystemFault("No space left on device")
        super().remember_fencing(action)


def test_right_to_fence_is_not_given_up_before_that_is_on_disk() -> None:
    """The next daemon would hold it again: so the peer is not informed, and does not take it, until
    the note is written.
    """
    pair = Fences()
    pair.deb1, pair.deb2 = ForgetfulDisk(pair, 0), ForgetfulDisk(pair, 1)
    pair.start_both()
    turns = {host.name: _turn_of(host) for host in (pair.deb1, pair.deb2)}
    assert sorted(turn.name for turn in turns.values()) == ["HELD", "NONE"]
    holder, other = (pair.deb1, pair.deb2) if turns["deb1"] is Turn.HELD else (pair.deb2, pair.deb1)
    assert isinstance(holder, ForgetfulDisk)
    holder.is_broken = True
    # The other node runs nothing any more, and would fence first.
    for name in ("registry", "files"):
        other.handle(other.life, CommandReceived(next(other.commands), name, Command.STOP))
    pair.run(30)
    assert holder.store.fencing.turn is Turn.HELD and _turn_of(other) is not Turn.HELD
    assert (
        holder.engine is not None
        and _turn_of(holder) is Turn.NONE
        and holder.engine._report().facts.turn is Turn.HELD
    )
    holder.is_broken = False
    pair.run(STORE_RETRY_S + 5)
    assert holder.store.fencing.turn is Turn.NONE and _turn_of(other) is Turn.HELD


def _turn_of(host: Host) -> Turn:
    assert host.engine is not None
    return host.engine._fencing.turns.turn


class OlderPeer(Fences):
    """deb1 is of a version that knows no turns."""

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Its beats have no facts."""
        beat = replace(action.beat, facts=None) if node is self.deb1 else action.beat
        super().send(node, replace(action, beat=beat))


def test_owner_beside_an_older_peer_waits_for_one_fence_of_that_alone() -> None:
    """As long as a fence that the peer may have begun has its effect.

    Then its own, and again within a minute.
    """
    pair = OlderPeer()
    pair.start_both()
    pair.works = False
    pair.deb1.crash()
    died_at = pair.now
    pair.run(600)
    tried = [when - died_at for when, _ in pair.checks()]
    assert OUT_S + TIMEOUT_S + FENCE_S <= tried[0] <= OUT_S + TIMEOUT_S + FENCE_S + 10
    assert max(later - sooner for sooner, later in zip(tried, tried[1:])) <= 60


@pytest.mark.parametrize("restarted_after_s", [3.0, 30.0])
def test_daemon_started_during_the_cut_leaves_its_turns_to_a_holder_that_may_fence(
    restarted_after_s: float,
) -> None:
    """The owner's daemon is killed in the cut, and its service found down: it would start it, but
    the standby may be fencing.
    """
    pair = Fences(names=("registry",), fence_time_s=16.0)
    pair.fence_s, pair.works = 15.0, False
    pair.start_one()
    pair.cut_all()
    pair.run(restarted_after_s)
    pair.deb1.kill_daemon()
    pair.deb1.running.clear()
    pair.deb1.boot({"registry": RecoveredState(S.STOPPED)})
    pair.run(1500)
    fences = {
        name: [when for when, node in pair.checks() if node == name] for name in ("deb1", "deb2")
    }
    assert fences["deb1"], "it has turns of its own"
    assert (
        min(abs(own - other) for own in fences["deb1"] for other in fences["deb2"]) > pair.fence_s
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_wary", [False, True], ids=["equal", "wary"])
@pytest.mark.parametrize("has_facts", [False, True], ids=["started in the cut", "heard before"])
@pytest.mark.parametrize("turn", [Turn.NONE, Turn.HELD])
def test_no_turn_is_waited_for_longer_than_the_bound(
    turn: Turn, has_facts: bool, is_wary: bool
) -> None:
    """At any time of a silence, as after a fence that has just failed in the last turn: the next
    one of a node that must leave its peer most turns is far off.
    """
    pair = Fences(names=("registry",))
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services, fence_time_s=pair.fence_time_s)
    memory = FencingMemory(has_heard=True, turn=turn, silent_since=0.0, is_wary=is_wary)
    view = PeerView(BootId(1, 1))
    if has_facts:
        view.take(Beat("deb2", BootId(1, 2), 1, None, {}, facts=Facts()), -TIMEOUT_S)
    waits = []
    for silent_s in range(0, 10_000, 3):
        now = float(silent_s)
        wait_s = Fencing(spec, memory, now).turn_opens(view, now) - now
        assert wait_s <= fence_wait_bound_s(TIMEOUT_S, FENCE_S, now), silent_s
        waits.append(wait_s)
    assert max(waits) > (3_000 if is_wary and turn is Turn.NONE else 20)


def test_fence_in_flight_while_the_peer_was_heard_proves_nothing() -> None:
    """It succeeds in the next silence: the peer came back after it was begun, so that it is fenced
    again before anything is started.
    """
    pair = Fences(names=("registry",))
    pair.fence_s = 30.0
    pair.on_check = lambda host, action: None
    pair.start_one()
    pair.cut_all()
    pair.run(OUT_S + 2)
    assert len(pair.checks()) == 1
    pair.heal()
    pair.run(3)
    pair.cut_all()
    pair.run(100)
    assert pair.state("deb2") is S.STARTED
    assert [node for _, node in pair.checks()] == ["deb2", "deb2"]


@pytest.mark.parametrize(
    "turns, known",
    [
        pytest.param((Turn.NONE, Turn.NONE), (Turn.NONE, Turn.NONE), id="no node"),
        pytest.param((Turn.CLAIMED, Turn.NONE), (Turn.CLAIMED, Turn.NONE), id="claimed"),
        pytest.param((Turn.NONE, Turn.CLAIMED), (Turn.NONE, Turn.CLAIMED), id="claimed by deb2"),
        pytest.param((Turn.HELD, Turn.NONE), (Turn.HELD, Turn.NONE), id="held"),
        pytest.param((Turn.NONE, Turn.HELD), (Turn.NONE, Turn.HELD), id="held by deb2"),
        pytest.param((Turn.HELD, Turn.NONE), (Turn.CLAIMED, Turn.NONE), id="held, not yet known"),
        pytest.param((Turn.NONE, Turn.HELD), (Turn.NONE, Turn.CLAIMED), id="the same of deb2"),
        pytest.param((Turn.NONE, Turn.NONE), (Turn.HELD, Turn.NONE), id="given up, not yet known"),
    ],
)
def test_two_that_want_to_fence_never_do_at_the_same_time(
    turns: tuple[Turn, Turn], known: tuple[Turn, Turn]
) -> None:
    """Whichever node holds the right, and whatever the other one has heard of that when they are
    cut: no fence of one may begin before one of the other has had its effect.
    """
    pair = Fences(names=("registry",))
    may_begin: list[list[float]] = []
    for index, (own, peer) in enumerate((("deb1", "deb2"), ("deb2", "deb1"))):
        spec = ClusterSpec(own, peer, pair.links, pair.services, fence_time_s=FENCE_S)
        memory = FencingMemory(has_heard=True, turn=turns[index], silent_since=0.0)
        view = PeerView(BootId(1, 1))
        facts = Facts(is_defending=True, turn=known[1 - index], fence_s=FENCE_S)
        view.take(Beat(peer, BootId(1, 2), 1, None, {}, facts=facts), -TIMEOUT_S)
        desk = Fencing(spec, memory, 0.0)
        instants = [number / 2 for number in range(2_000)]
        may_begin.append([at for at in instants if desk.turn_opens(view, at) == at])
    assert all(may_begin), "each has turns"
    gaps = [abs(one - other) for one in may_begin[0] for other in may_begin[1]]
    assert min(gaps) > FENCE_S


def test_right_is_held_from_the_acknowledgement_of_the_claim_on() -> None:
    """A peer that has not heard the claim may take the right itself: acknowledgements of earlier
    beats give nothing, nor does time.
    """
    pair = Fences(names=("registry",))
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services, fence_time_s=FENCE_S)
    desk, view = Fencing(spec, FencingMemory(has_heard=True), 0.0), PeerView(BootId(1, 1))
    view.own_seq = 9
    found = []
    for seq, acked_seq in enumerate((3, 4, 6, 6, 7), start=1):
        ack = Ack(BootId(1, 1), acked_seq)
        beat = Beat("deb2", BootId(1, 2), seq, ack, {"registry": S.STARTED}, facts=Facts())
        assert view.take(beat, seq)
        view.judge(True, None, seq)
        desk.update_turn({"registry": S.STOPPED}, view, next_seq=7)
        found.append(desk.turns.turn)
    assert found == [Turn.CLAIMED] * 4 + [Turn.HELD]


def test_peer_that_was_fenced_takes_no_turns() -> None:
    """Where each service has a fence of its own, the next one follows at once: who was fenced
    cannot shoot, so that nothing is to be waited for.
    """
    pair = Fences(
        names=("registry", "files", "db"),
        fencing=FencingPolicy(is_shared=False),
        policies={"files": Policy(priority=10)},
    )
    pair.start_both()
    pair.deb1.command(Command.UNFREEZE, "db")
    pair.run(5)
    pair.deb2.command(Command.UNFREEZE, "db")
    pair.run(5)
    pair.cut_all()
    pair.run(100)
    assert pair.alive() == {"deb2"}
    (first, _), (second, _) = pair.checks()
    assert pair.fence_s < second - first < pair.fence_s + 1.0
    assert pair.state("deb2", "registry") is pair.state("deb2", "db") is S.STARTED


@pytest.mark.parametrize("is_booting", [False, True])
def test_holder_of_the_right_gives_a_peer_that_boots_time(is_booting: bool) -> None:
    """The first turn is its own, but a peer that was heard booting may be back within
    `BOOT_PATIENCE_S`.
    """
    pair = Fences(names=("registry",))
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services, fence_time_s=FENCE_S)
    desk = Fencing(spec, FencingMemory(has_heard=True, turn=Turn.HELD, silent_since=0.0), 0.0)
    view = PeerView(BootId(1, 1))
    view.take(Beat("deb2", BootId(1, 2), 1, None, {}, facts=Facts(is_booting)), -TIMEOUT_S)
    opens = {at: desk.turn_opens(view, at) for at in (0.0, START_READY_DELAY_S, BOOT_PATIENCE_S)}
    patient = max(START_READY_DELAY_S, BOOT_PATIENCE_S)
    assert opens == {at: max(at, patient) if is_booting else at for at in opens}


@pytest.mark.parametrize("silent_s", [None, 2.0])
def test_turns_are_not_changed_once_the_peer_calls_this_node_silent(silent_s: float | None) -> None:
    """The cut has begun for the peer, which counts turns as they were: its acknowledgement of an
    edited `fence_time` comes too late.
    """
    pair = Fences(names=("registry",))
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services, fence_time_s=FENCE_S)
    desk, view = Fencing(spec, FencingMemory(has_heard=True), 0.0), PeerView(BootId(1, 1))
    view.own_seq = 9
    lengths = []
    for seq, (fence_time_s, acked_seq, reported) in enumerate(
        ((FENCE_S, 5, None), (20.0, 5, None), (20.0, 7, silent_s)), start=1
    ):
        desk.reconfigure(replace(spec, fence_time_s=fence_time_s))
        facts, ack = Facts(fence_s=FENCE_S, silent_s=reported), Ack(BootId(1, 1), acked_seq)
        assert view.take(Beat("deb2", BootId(1, 2), seq, ack, {}, facts=facts), seq)
        desk.record_heard(view, seq)
        desk.update_turn({"registry": S.STOPPED}, view, next_seq=(4, 7, 8)[seq - 1])
        turns = desk.memory.turns
        assert turns is not None
        lengths.append(turns.length_s)
    assert lengths[0] == lengths[1] < 20.0
    assert (lengths[2] == lengths[0]) is (silent_s is not None)


def test_next_daemon_counts_turns_as_the_former_one_did() -> None:
    """With a `fence_time` that was edited meanwhile: what both nodes knew before the cut counts."""
    pair = Fences(names=("registry",))
    opens = []
    for turns in (Turns(START_READY_DELAY_S, 2.0, 19.0), None):
        for fence_time_s in (FENCE_S, 25.0):
            spec = ClusterSpec("deb1", "deb2", pair.links, pair.services, fence_time_s=fence_time_s)
            memory = FencingMemory(has_heard=True, turn=Turn.HELD, silent_since=0.0, turns=turns)
            opens.append(Fencing(spec, memory, 10.0).turn_opens(PeerView(BootId(1, 1)), 10.0))
    assert opens[0] == opens[1] > 10.0
    assert opens[2] != opens[3], "without a memory each counts by its own configuration"


def test_turns_are_planned_with_the_longest_fence_that_worked() -> None:
    """Without a declared time: the limit of the script at first, then what was measured, rounded
    up; neither a quicker fence nor one that failed changes it, and the next daemon knows it.
    """
    pair = Fences(names=("registry",), fence_time_s=None)
    [svc] = pair.services
    spec = ClusterSpec("deb1", "deb2", pair.links, pair.services)
    desk = Fencing(spec, FencingMemory(has_heard=True), 0.0)
    found = [desk.fence_s]
    for took_s, is_ok in ((4.2, True), (2.0, True), (11.0, False), (6.5, True)):
        desk.begin_fence(svc, 100.0)
        desk.end_check(svc, is_ok, "", 100.0 + took_s)
        found.append(desk.fence_s)
    assert found == [CHECK_LIMIT_S, 4.5, 4.5, 4.5, 6.5]
    assert Fencing(spec, desk.memory.after_boot(), 0.0).fence_s == 6.5
