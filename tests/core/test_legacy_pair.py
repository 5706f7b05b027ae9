"""Our engine beside a node with the original's rules, in simulated time and with the original's
bytes between them.
"""

from __future__ import annotations

import pytest

from opensvc_openha.core.events import Command, RecoveredState, ScriptKind
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import START_READY_DELAY_S
from tests.core.legacy_pair import GRACE_S, LOOP_S, MixedPair
from tests.core.pair import TIMEOUT_S, Host
from tests.seeds import seeds

ROLES = pytest.mark.parametrize("our_index", [0, 1], ids=["ours is primary", "ours is secondary"])


def _unfreeze(pair: MixedPair, index: int) -> None:
    node = pair.node(index)
    if isinstance(node, Host):
        node.command(Command.UNFREEZE)
    else:
        node.unfreeze()


def _started_on_primary(pair: MixedPair) -> None:
    pair.boot_both()
    _unfreeze(pair, 0)
    pair.watch(12)
    _unfreeze(pair, 1)
    pair.watch(10)
    assert [node for _, node in pair.starts()] == ["deb1"], pair.history()
    assert pair.ours.shown == ("STARTED", "STOPPED")


@ROLES
def test_both_nodes_see_each_others_states(our_index: int) -> None:
    """Frozen, then running on the primary: each node shows the states of both."""
    pair = MixedPair(our_index)
    ours, original = pair.boot_both()
    assert ours.shown == ("FROZEN_STOP", "FROZEN_STOP")
    assert original.peer is S.FROZEN_STOP
    _unfreeze(pair, 0)
    pair.run(12)
    assert ours.shown == ("STARTED", "FROZEN_STOP")
    assert original.peer is ours.service().own_state


def test_start_against_a_peer_that_cannot_acknowledge_takes_the_whole_delay() -> None:
    """Ours is unfrozen, the C OpenHA stays frozen: STARTING not before 5 s, and at the next beat
    after them.
    """
    pair = MixedPair(0)
    ours, _ = pair.boot_both()
    began = pair.now
    ours.command(Command.UNFREEZE)
    pair.run(START_READY_DELAY_S - 0.1)
    assert ours.state == "START_READY" and pair.starts() == []
    assert ours.service().reason == "peer is out and cannot acknowledge: start-ready delay"
    pair.run(3)
    assert START_READY_DELAY_S <= pair.starts()[0][0] - began <= START_READY_DELAY_S + 1.1
    assert ours.state == "STARTED"


@ROLES
def test_takeover_works_in_both_directions(our_index: int) -> None:
    """The primary dies, the secondary takes over.

    It returns and is standby; then the other way round.
    """
    pair = MixedPair(our_index)
    _started_on_primary(pair)
    pair.node(0).crash()
    pair.watch(TIMEOUT_S + LOOP_S + GRACE_S + 2)
    assert "registry" in pair.node(1).running, pair.history()
    first = pair.node(0)
    first.boot({"registry": RecoveredState(S.STOPPED)}) if isinstance(first, Host) else first.boot()
    pair.watch(20)
    assert "registry" in pair.node(1).running
    pair.node(1).crash()
    pair.watch(TIMEOUT_S + LOOP_S + GRACE_S + 2)
    assert "registry" in pair.node(0).running, pair.history()
    assert [node for _, node in pair.starts()] == ["deb1", "deb2", "deb1"]


@ROLES
@pytest.mark.parametrize("seed", seeds(25, fast=5))
def test_both_nodes_unfrozen_at_about_the_same_time_start_once(our_index: int, seed: int) -> None:
    """Any phases of beats and loops, up to 3 s apart: one start.

    If both came to START_READY, on the primary.
    """
    pair = MixedPair(our_index, seed)
    ours, original = pair.boot_both()
    first = pair.random.randrange(2)
    _unfreeze(pair, first)
    pair.run(pair.random.uniform(0, 3))
    _unfreeze(pair, 1 - first)
    pair.watch(25)
    assert len(pair.starts()) == 1, pair.history()
    is_contested = any(state is S.START_READY for _, _, state in ours.states) and any(
        state is S.START_READY for _, state in original.states
    )
    if is_contested:
        assert pair.starts()[0][1] == "deb1", pair.history()


@ROLES
@pytest.mark.parametrize("seed", seeds(20, fast=4))
def test_disk_that_the_peer_reads_every_ten_seconds_is_no_double_start(
    our_index: int, seed: int
) -> None:
    """Nothing but a disk between the nodes, unfrozen within 5 s: two C nodes often start both,
    these never.
    """
    pair = MixedPair(our_index, seed, has_net=False, has_disk=True)
    pair.boot_both()
    pair.run(pair.random.uniform(0, TIMEOUT_S))
    _unfreeze(pair, our_index)
    pair.run(pair.random.choice([0.0, pair.random.uniform(1, 5)]))
    _unfreeze(pair, 1 - our_index)
    pair.watch(60)
    assert len(pair.starts()) == 1, pair.history()


def test_disk_was_read_by_the_primary_just_before_we_began() -> None:
    """The C primary reads the disk next 10 s later and begins 4 s after us: our wait outlasts its
    blindness, one start.
    """
    # The seed of 1,000 with which a delay of 5 s ended in two running services.
    pair = MixedPair(1, 492, has_net=False, has_disk=True)
    pair.boot_both()
    pair.run(pair.random.uniform(0, TIMEOUT_S))
    _unfreeze(pair, 1)
    pair.run(pair.random.uniform(2, 5))
    _unfreeze(pair, 0)
    pair.watch(40)
    assert len(pair.starts()) == 1, pair.history()


@ROLES
@pytest.mark.parametrize("seed", seeds(12, fast=3))
def test_random_operators_and_crashes_never_run_it_twice(our_index: int, seed: int) -> None:
    """Freezes, thaws, crashes and boots of both nodes at random times, with networks and a disk
    whole: never both.
    """
    pair = MixedPair(our_index, seed, has_disk=bool(seed % 2))
    ours, original = pair.boot_both()
    for _ in range(15):
        what = pair.random.choice(
            [
                "thaw ours",
                "thaw theirs",
                "freeze ours",
                "freeze theirs",
                "crash ours",
                "crash theirs",
            ]
        )
        if what == "crash ours":
            frozen = ours.engine is not None and ours.state == "FROZEN_STOP"
            ours.crash()
            pair.watch(pair.random.uniform(0.5, 30))
            ours.boot({"registry": RecoveredState(S.FROZEN_STOP if frozen else S.STOPPED)})
        elif what == "crash theirs":
            original.crash()
            pair.watch(pair.random.uniform(0.5, 30))
            original.boot()
        elif what.endswith("ours"):
            ours.command(Command.UNFREEZE if what.startswith("thaw") else Command.FREEZE_STOP)
        elif what.startswith("thaw"):
            original.unfreeze()
        else:
            original.freeze_stop()
        pair.watch(pair.random.uniform(0, 12))


@pytest.mark.parametrize("cut_after_s", [1.5, 3.2, 4.5])
def test_peer_that_falls_silent_during_the_delay_is_no_proof(cut_after_s: float) -> None:
    """The C OpenHA is cut off within the 5 s: no start on what it sent before, only after the
    timeout of its link.
    """
    pair = MixedPair(0)
    ours, _ = pair.boot_both()
    began = pair.now
    ours.command(Command.UNFREEZE)
    pair.run(cut_after_s)
    pair.cut_all("deb2")
    pair.run(TIMEOUT_S - 1)
    assert ours.state == "START_READY" and pair.starts() == []
    pair.run(20)
    assert pair.starts()[0][0] - began > cut_after_s - 1 + TIMEOUT_S + START_READY_DELAY_S


def test_peer_that_falls_silent_during_the_check_script_is_no_proof_any_more() -> None:
    """Heard out for 5 s, then cut off while our check-up script runs for 6 s: no start before its
    link has timed out.
    """
    pair = MixedPair(0)
    ours, _ = pair.boot_both()
    pair.script_s = lambda action: 6.0 if action.kind is ScriptKind.CHECK else 1.0
    pair.on_check = lambda host, action: pair.cut_all("deb2")
    ours.command(Command.UNFREEZE)
    pair.run(12.5)
    assert ours.state == "START_READY" and pair.starts() == []


def test_peer_that_changes_within_what_is_out_begins_the_delay_again() -> None:
    """FROZEN_STOP becomes STOPPED after 4 s: another whole delay, in which the C OpenHA can be seen
    to start.
    """
    pair = MixedPair(0)
    ours, original = pair.boot_both()
    ours.command(Command.UNFREEZE)
    pair.run(4)
    original.unfreeze()
    changed = pair.now
    pair.run(15)
    assert pair.starts()[0][0] - changed >= START_READY_DELAY_S
    assert [node for _, node in pair.starts()] == ["deb1"]


def test_peer_looked_at_again_after_the_check_script() -> None:
    """An operator forces the service on the C OpenHA while our check-up script runs: we do not
    start it.
    """
    pair = MixedPair(0)
    ours, original = pair.boot_both()
    pair.script_s = lambda action: 8.0 if action.kind is ScriptKind.CHECK else 1.0

    def force(_host: object, _action: object) -> None:
        original.state = S.STARTED

    pair.on_check = force
    ours.command(Command.UNFREEZE)
    pair.run(30)
    assert pair.starts() == []
    assert ours.shown == ("STOPPED", "STARTED")


@pytest.mark.parametrize("step_s", [-86_400.0, -30.0, 86_400.0])
def test_clock_of_the_peer_that_is_set_moves_nothing(step_s: float) -> None:
    """A day forth, half a minute or a day back: no link goes down, and its states are followed
    again within seconds.
    """
    pair = MixedPair(1)
    _started_on_primary(pair)
    pair.original.clock_step_s = step_s
    pair.watch(5)
    assert not [record for record in pair.ours.records if record.new == "DOWN"]
    pair.original.freeze_stop()
    pair.run(5)
    assert pair.ours.service().peer_state is S.FROZEN_STOP
    pair.watch(20)
    assert [node for _, node in pair.starts()] == ["deb1", "deb2"]


def test_frozen_service_that_runs_here_looks_busy_to_the_peer() -> None:
    """FROZEN_START is START_READY to a C OpenHA: it never starts the service."""
    pair = MixedPair(0)
    _started_on_primary(pair)
    pair.ours.command(Command.FREEZE_START)
    pair.watch(30)
    assert pair.original.peer is S.START_READY and pair.original.state is S.STOPPED
    assert len(pair.starts()) == 1


def test_node_that_is_unsure_of_its_own_service_is_not_taken_over() -> None:
    """UNKNOWN here would be a dead node to a C OpenHA, so it hears STOP_FAILED and leaves the
    service alone.
    """
    pair = MixedPair(1)
    pair.boot_both()
    pair.ours.crash()
    pair.run(TIMEOUT_S + 5)
    pair.ours.boot({"registry": RecoveredState(S.UNKNOWN)})
    pair.run(3)
    pair.original.unfreeze()
    pair.run(30)
    assert pair.original.peer is S.STOP_FAILED
    assert pair.starts() == []
