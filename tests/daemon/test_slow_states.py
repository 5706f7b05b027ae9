"""States that take long to be written: nothing of them is announced or run before they are on disk,
and the node is not mute.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Persist,
    Record,
    RememberFencing,
    RunScript,
)
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import BeatReceived, Command, CommandReceived, RecoveredState, Tick
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import BEAT_INTERVAL_S, STATE_WRITE_LIMIT_S
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.errors import SystemFault
from opensvc_openha.storage.state_writer import StateWriter
from tests.daemon.recorded_ports import Surroundings

OWN, PEER = BootId(1, 1), BootId(1, 2)


class SlowNode:
    """deb1 with services that are out on both nodes.

    Its states are on disk when the test decides it.
    """

    def __init__(self, count: int = 3) -> None:
        self.links = tuple(
            LinkSpec(name, "net", "eth1", "239.131.50.10", 5010, 0, 2.0)
            for name in ("deb1", "deb2")
        )
        self.names = [f"svc{number}" for number in range(count)]
        services = tuple(
            ServiceSpec(name, "/opt/svc", "deb1", "deb2", "/opt/fence") for name in self.names
        )
        recovered = {name: RecoveredState(ServiceState.FROZEN_STOP) for name in self.names}
        self.now = 100.0
        self.surroundings = Surroundings()
        self.job: Callable[[], dict[str, str]] | None = None
        self.node = ActionExecutor(
            Engine(ClusterSpec("deb1", "deb2", self.links, services), OWN, recovered, self.now),
            self.surroundings,
            self._defer,
        )
        self.node.handle(Tick(), self.now)
        while self.job is not None:
            self.write()
        self.seq = 0
        self.hear(0)
        while self.job is not None:
            self.write()

    def _defer(self, job: Callable[[], dict[str, str]]) -> None:
        assert self.job is None, "one job at a time"
        self.job = job

    def hear(self, acked: int) -> None:
        """The peer is out, and acknowledges that beat."""
        self.seq += 1
        states = dict.fromkeys(self.names, ServiceState.FROZEN_STOP)
        self.node.handle(
            BeatReceived(
                self.links[1], Beat("deb2", PEER, self.seq, Ack(OWN, acked), states), self.now
            ),
            self.now,
        )

    def write(self) -> None:
        """The disk has done it."""
        assert self.job is not None, "nothing is to be written"
        job, self.job = self.job, None
        self.node.engine.mark_busy_until(self.now)
        self.node.written(job(), self.now)

    def unfreeze(self, service: str = "svc0") -> None:
        """An operator's command."""
        self.node.handle(CommandReceived(1, service, Command.UNFREEZE), self.now)

    @property
    def beats(self) -> list[Beat]:
        """All beats that left."""
        return [action.beat for action in self.surroundings.done if isinstance(action, Announce)]

    def done(self, kind: type[Action]) -> list[Action]:
        """What was carried out of one kind."""
        return [action for action in self.surroundings.done if isinstance(action, kind)]


def test_nothing_follows_before_the_state_is_on_disk() -> None:
    """An unfreeze: neither beat nor answer, nor the next step, before its state is written.

    Then all of it, in order.
    """
    slow = SlowNode()
    already = len(slow.surroundings.done)
    slow.unfreeze()
    assert slow.node.is_writing and len(slow.surroundings.done) == already
    slow.write()
    kinds = [type(action).__name__ for action in slow.surroundings.done[already:]]
    assert kinds.index("Persist") < kinds.index("Answer") and not slow.node.is_writing
    slow.node.handle(Tick(), slow.now)
    assert slow.node.is_writing and slow.node.engine.state_of("svc0") is ServiceState.START_READY
    assert "START_READY" not in {beat.states["svc0"].name for beat in slow.beats}
    slow.write()
    assert slow.beats[-1].states["svc0"] is ServiceState.START_READY


def test_last_beat_is_repeated_while_states_are_written() -> None:
    """Five seconds for a state: a beat each interval, each with a number of its own, and all of
    them report what was so before.
    """
    slow = SlowNode()
    slow.unfreeze()
    before, began_at = slow.beats[-1], slow.now
    while slow.now < began_at + 5.0:
        slow.now = slow.node.speak_at
        assert slow.node.speak_meanwhile(slow.now)
    repeats = slow.beats[slow.beats.index(before) + 1 :]
    assert len(repeats) == 5
    assert all(beat.states == before.states for beat in repeats)
    slow.write()
    slow.now += BEAT_INTERVAL_S
    slow.node.handle(Tick(), slow.now)
    numbers = [beat.seq for beat in slow.beats]
    assert numbers == sorted(set(numbers))
    slow.write()
    assert slow.beats[-1].states["svc0"] is ServiceState.START_READY


def test_acknowledged_repeat_is_no_proof() -> None:
    """START_READY is being written.

    The peer acknowledges a repeat that was sent meanwhile: nothing is started on that.
    """
    slow = SlowNode()
    slow.unfreeze()
    slow.write()
    slow.node.handle(Tick(), slow.now)
    slow.now = slow.node.speak_at
    assert slow.node.speak_meanwhile(slow.now)
    repeated = slow.beats[-1]
    assert repeated.states["svc0"] is not ServiceState.START_READY
    slow.write()
    assert slow.beats[-1].states["svc0"] is ServiceState.START_READY
    slow.hear(repeated.seq)
    slow.node.handle(Tick(), slow.now)
    assert (
        slow.node.engine.state_of("svc0") is ServiceState.START_READY and slow.done(RunScript) == []
    )
    slow.hear(slow.beats[-1].seq)
    assert slow.node.engine.state_of("svc0") is ServiceState.STARTING
    slow.write()
    assert len(slow.done(RunScript)) == 1


def test_disk_that_writes_nothing_makes_the_node_silent() -> None:
    """A hung disk: the last beat is repeated until the limit, and the peer may take over after
    that.
    """
    slow = SlowNode()
    slow.unfreeze()
    began_at = slow.now
    while slow.now < began_at + STATE_WRITE_LIMIT_S - 0.1:
        slow.now += 0.5
        assert slow.node.speak_meanwhile(slow.now) is (slow.now < began_at + STATE_WRITE_LIMIT_S)
    already = len(slow.beats)
    slow.now += 60.0
    assert not slow.node.speak_meanwhile(slow.now)
    assert len(slow.beats) == already


def test_node_that_was_mute_while_it_wrote_asks_its_peer_before_it_continues() -> None:
    """START_READY, and the disk hangs for longer than the peer's patience: what the peer reported
    before is no proof any more.
    """
    slow = SlowNode()
    slow.unfreeze()
    slow.write()
    slow.node.handle(Tick(), slow.now)
    slow.write()
    asked = slow.beats[-1].seq
    slow.unfreeze("svc1")
    slow.now += STATE_WRITE_LIMIT_S + 5.0
    assert not slow.node.speak_meanwhile(slow.now)
    slow.write()
    while slow.node.is_writing:
        slow.write()
    slow.hear(asked)
    assert slow.node.engine.state_of("svc0") is not ServiceState.STARTING


def test_failure_to_write_is_reported_as_ever() -> None:
    """The disk is full: the start is given up, and no script runs."""
    slow = SlowNode()
    slow.unfreeze()
    slow.write()
    slow.surroundings.is_disk_broken = True
    slow.node.handle(Tick(), slow.now)
    while slow.node.is_writing:
        slow.write()
    assert slow.node.engine.state_of("svc0") is ServiceState.STOPPED
    assert slow.done(RunScript) == [] and len(slow.done(Persist)) == 1


def test_writer_hands_over_what_came_of_a_job_and_raises_what_it_raised() -> None:
    """A job's end, a job that takes its time, and one that fails."""
    writer = StateWriter(lambda: None)
    assert writer.wait(0.0) is None
    writer.begin(lambda: {"svc0": ""})
    assert writer.wait(30.0) == {"svc0": ""}

    def fail() -> dict[str, str]:
        raise SystemFault("the lock is gone")

    writer.begin(fail)
    with pytest.raises(SystemFault):
        writer.wait(30.0)
    writer.close()


def test_event_that_comes_while_states_are_written_is_decided_on_afterwards() -> None:
    """Two commands, one after the other: the second is not begun before the first is on disk, and
    is not lost.
    """
    slow = SlowNode()
    slow.unfreeze("svc0")
    assert slow.node.is_writing
    slow.unfreeze("svc1")
    assert slow.node.writes_held == 1
    slow.write()
    assert slow.node.is_writing, "now the second"
    while slow.job is not None:
        slow.write()
    assert {action.service for action in slow.done(Persist) if isinstance(action, Persist)} == {
        "svc0",
        "svc1",
    }


def _fenced_node() -> SlowNode:
    """The services are to be started here once the peer is proved out, which holds the right to
    fence first.
    """
    slow = SlowNode(1)
    slow.unfreeze()
    _settle(slow)
    return slow


def _settle(slow: SlowNode) -> None:
    while slow.job is not None:
        slow.write()


def _fall_silent(slow: SlowNode, until: Callable[[], bool]) -> None:
    """Nothing is heard any more, and the disk is quick until something is so."""
    for _ in range(1000):
        slow.now = max(slow.now, slow.node.engine.next_deadline())
        slow.node.handle(Tick(), slow.now)
        if until():
            return
        _settle(slow)
    raise AssertionError("it never was so")


def test_node_is_not_mute_while_the_note_of_fencing_is_written() -> None:
    """The verdict of silence, and a disk that takes five seconds for the note: beats leave as ever,
    and no fence before it.
    """
    slow = _fenced_node()
    _fall_silent(slow, lambda: slow.node.is_writing and slow.node.engine.is_peer_silent)
    assert slow.done(RememberFencing) == [
        action for action in slow.done(RememberFencing) if _anchor_of(action) is None
    ]
    already, began_at = len(slow.beats), slow.now
    while slow.now < began_at + 5.0:
        slow.now = slow.node.speak_at
        assert slow.node.speak_meanwhile(slow.now)
    assert len(slow.beats) >= already + 5 and slow.done(RunScript) == []
    slow.write()
    assert _anchor_of(slow.done(RememberFencing)[-1]) is not None
    _fall_silent(slow, lambda: slow.done(RunScript) != [])
    done = slow.surroundings.done
    notes = [
        index
        for index, action in enumerate(done)
        if isinstance(action, RememberFencing) and _anchor_of(action) is not None
    ]
    assert notes[0] < next(
        index for index, action in enumerate(done) if isinstance(action, RunScript)
    )


def _anchor_of(action: Action) -> float | None:
    assert isinstance(action, RememberFencing)
    return action.memory.silent_since


def test_no_fence_is_begun_while_its_note_cannot_be_written() -> None:
    """Reported once; the states can be written, and the check-up script waits all the same, until
    the note can be, too.
    """
    slow = _fenced_node()
    slow.surroundings.is_note_refused = True
    began_at = slow.now
    _fall_silent(slow, lambda: slow.now > began_at + 60.0)
    assert slow.done(RunScript) == []
    reports = [
        action.new
        for action in slow.done(Record)
        if isinstance(action, Record) and action.name == "deb1"
    ]
    assert reports.count("NOT WRITTEN") == 1 and "WRITTEN" not in reports
    slow.surroundings.is_note_refused = False
    _fall_silent(slow, lambda: slow.done(RunScript) != [])
    reports = [
        action.new
        for action in slow.done(Record)
        if isinstance(action, Record) and action.name == "deb1"
    ]
    assert reports.count("WRITTEN") == 1
