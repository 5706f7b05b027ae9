"""Details of one service on one node that a pair of engines seldom meets."""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.core.actions import AnswerCode, Persist, RunScript
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    ConfigChanged,
    Leaving,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    StoreFailed,
    Tick,
)
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, Role
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import Moment, ServiceMachine
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import PACES, START_READY_DELAY_S, STORE_RETRY_S
from tests.core.pair import TIMEOUT_S, Pair, links, services


def test_start_ready_delay_counts_again_when_the_peer_falls_silent_later() -> None:
    """START_READY since a while with a live peer that never acknowledges.

    It dies: five full seconds follow its silence.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(3)
    pair.cut_all("deb2")
    deb2.command(Command.UNFREEZE)
    pair.run(8)
    assert deb2.state == "START_READY"
    died_at = pair.now
    deb1.crash()
    pair.run(60)
    check_at = next(
        when for when, node, kind, _ in pair.scripts if node == "deb2" and kind == "check"
    )
    assert check_at - died_at >= TIMEOUT_S - 1.1 + START_READY_DELAY_S


def test_start_ready_delay_is_full_when_the_peer_was_silent_long_before() -> None:
    """Silent for a minute, then the operator unfreezes: START_READY still lasts five seconds."""
    pair = Pair()
    pair.deb1.boot()
    pair.run(60)
    asked_at = pair.now
    pair.deb1.command(Command.UNFREEZE)
    pair.run(10)
    assert pair.starts()[0][0] - asked_at >= START_READY_DELAY_S


def test_beat_with_unknown_names_is_not_acknowledged() -> None:
    """The names behind some states are not known yet: reporting "I have heard you" would be a
    lie.
    """
    spec = ClusterSpec("deb1", "deb2", links(), services())
    engine = Engine(spec, BootId(1, 1), {}, 0.0)
    engine.step(Tick(), 0.0)
    link = spec.listeners[0]
    half = Beat("deb2", BootId(1, 2), 1, None, {}, is_complete=False)
    engine.step(BeatReceived(link, half, 0.5), 0.5)
    assert engine.beat().ack is None
    whole = Beat("deb2", BootId(1, 2), 2, None, {"registry": ServiceState.STOPPED})
    engine.step(BeatReceived(link, whole, 0.6), 0.6)
    ack = engine.beat().ack
    assert ack is not None and ack.seq == 2


def test_beat_under_our_own_name_or_a_strangers_is_ignored() -> None:
    """Holes H1 and H3: no datagram changes our own state or keeps a dead peer alive."""
    spec = ClusterSpec("deb1", "deb2", links(), services())
    engine = Engine(spec, BootId(1, 1), {"registry": RecoveredState(ServiceState.STARTED)}, 0.0)
    engine.step(Tick(), 0.0)
    for node in ("deb1", "mallory"):
        forged = Beat(node, BootId(9, 9), 1, None, {"registry": ServiceState.FROZEN_STOP})
        engine.step(BeatReceived(spec.listeners[0], forged, 0.5), 0.5)
    status = engine.snapshot(0.6)
    assert not any(link.is_up for link in status.links)
    assert status.services[0].own_state is ServiceState.STARTED


def test_state_that_cannot_be_written_starts_nothing_and_is_tried_again() -> None:
    """A full disk at START_READY: back to STOPPED, no script, and a new try after a while."""
    spec = ClusterSpec("deb1", "deb2", links(), services())
    engine = Engine(spec, BootId(1, 1), {"registry": RecoveredState(ServiceState.STOPPED)}, 0.0)
    now, began = 0.0, None
    states = []
    while now < TIMEOUT_S + STORE_RETRY_S + 2:
        for action in engine.step(Tick(), now):
            assert not isinstance(action, RunScript)
            if isinstance(action, Persist):
                states.append((now, action.state.name))
                if action.state is ServiceState.START_READY:
                    engine.step(StoreFailed("registry", "No space left on device"), now)
                    began = began if began is not None else now
        now += 0.25
    assert began is not None
    tries = [when for when, name in states if name == "START_READY"]
    assert len(tries) == 2 and tries[1] - tries[0] >= STORE_RETRY_S
    assert "No space left" in engine.snapshot(now).services[0].reason


def test_removed_service_that_runs_here_is_kept_until_it_is_stopped() -> None:
    """Hole H20: the line vanishes from the services file while STARTED.

    It stays known, then goes.
    """
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    assert deb1.engine is not None
    deb1.handle(deb1.life, ConfigChanged(ClusterSpec("deb1", "deb2", pair.links, ())))
    assert deb1.state == "STARTED"
    deb1.command(Command.STOP)
    pair.run(3)
    assert deb1.engine.snapshot(pair.now).service("registry") is None


def test_command_for_an_unknown_service_is_answered() -> None:
    """No node waits for ever."""
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(1)
    answer = deb1.last_answer(deb1.command(Command.STOP, "nosuch"))
    assert answer is not None and answer.code is AnswerCode.NOT_CONFIGURED


def test_force_is_refused_while_a_script_runs() -> None:
    """The start script runs: its end decides, and the operator learns what is waited for."""
    pair = Pair()
    deb1, _ = pair.boot()
    pair.script_s = lambda action: 0.0 if action.kind is ScriptKind.CHECK else 30.0
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(2)
    answer = deb1.last_answer(deb1.command(Command.FORCE_STOP))
    assert (
        answer is not None
        and answer.code is AnswerCode.REFUSED
        and "start script is running" in answer.detail
    )


def test_restarted_daemon_gives_way_to_a_peer_that_has_taken_the_service() -> None:
    """STARTED by the STATE file only, a wrapper without an answer, and the peer runs it: stop
    here, at once.
    """
    spec = ClusterSpec("deb1", "deb2", links(), services())
    engine = Engine(
        spec, BootId(1, 1), {"registry": RecoveredState(ServiceState.STARTED, must_probe=True)}, 0.0
    )
    engine.step(Tick(), 0.0)
    engine.step(ScriptExited("registry", ScriptKind.PROBE, ScriptOutcome.UNSURE), 0.1)
    beat = Beat("deb2", BootId(1, 2), 1, None, {"registry": ServiceState.STARTED})
    actions = engine.step(BeatReceived(spec.listeners[0], beat, 0.2), 0.2)
    assert [item.kind for item in actions if isinstance(item, RunScript)] == [ScriptKind.STOP]


def test_standby_that_does_not_start_reports_why() -> None:
    """STOPPED here and not running there: the status reports what this node waits for, and nothing
    of the kind where it runs.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    pair.script_ok = lambda host, action: action.kind is not ScriptKind.START
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    deb2.command(Command.UNFREEZE)
    pair.run(1)
    assert deb1.shown == ("START_FAILED", "STOPPED")
    assert "not started here: some of it may be in use on the peer" in deb2.service().reason
    deb1.command(Command.FORCE_START)
    pair.run(1)
    assert "not started" not in deb2.service().reason
    deb1.leave(Leaving.KEEP_SERVICES)
    pair.run(1)
    assert "the peer's daemon said goodbye, and may be back soon" in deb2.service().reason
    deb2.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(1)
    assert "neither heard nor listened to for a full timeout" in deb2.service().reason


def test_service_stopped_by_an_operator_reports_that_it_is_held_back_for_the_peer() -> None:
    """`stop` where the peer is frozen: held back for some seconds, reported as long as it lasts,
    and of no other standby.
    """
    pair = Pair()
    deb1, deb2 = pair.start_on_deb1()
    assert "held back" not in deb2.service().reason
    deb2.command(Command.FREEZE_STOP)
    pair.run(1)
    deb1.command(Command.STOP)
    pair.run(1)
    assert deb1.shown == ("STOPPED", "FROZEN_STOP")
    assert "held back for some seconds, so that the peer may go first" in deb1.service().reason
    pair.run(30)
    assert deb1.shown == ("STARTED", "FROZEN_STOP")


def _alone() -> tuple[ServiceMachine, Fencing, PeerView]:
    """A stopped service with a fence, on a node whose peer has just fallen silent."""
    (svc,) = (replace(svc, check="/etc/registry.check") for svc in services())
    spec = ClusterSpec("deb1", "deb2", links(), (svc,))
    fencing = Fencing(spec, FencingMemory(has_heard=True), 0.0)
    stopped = RecoveredState(ServiceState.STOPPED)
    machine = ServiceMachine(svc, Role.PRIMARY, stopped, 0.0, PACES[spec.profile], fencing)
    view = PeerView(BootId(1, 1))
    view.judge(False, 0.0, 0.0)
    return machine, fencing, view


def test_fence_that_a_full_disk_kept_from_being_begun_is_waited_for_by_no_service() -> None:
    """STARTING could not be written, so its check-up script never runs and reports no end."""
    machine, fencing, view = _alone()
    for now in (0.0, START_READY_DELAY_S):
        machine.evaluate(Moment(now, view, None, 1))
    assert machine.running is ScriptKind.CHECK and fencing.flight is not None
    machine.store_failed("no space left", Moment(START_READY_DELAY_S, view, None, 1))
    assert machine.state is ServiceState.STOPPED and fencing.flight is None


def test_service_that_waits_for_the_turn_of_its_node_has_that_as_its_deadline() -> None:
    """The delay is over, and the peer may be fencing first."""
    machine, fencing, view = _alone()
    fencing.judge(view)
    for now in (0.0, START_READY_DELAY_S):
        machine.evaluate(Moment(now, view, None, 1))
    opens = fencing.turn_opens(view, START_READY_DELAY_S)
    assert machine.state is ServiceState.START_READY and opens > START_READY_DELAY_S
    assert machine.next_deadline(view, START_READY_DELAY_S) == opens
