"""Two engines whose disks are slow, or that were stopped for a while: what is their own delay, and
what it proves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from opensvc_openha.core.actions import Announce, Record
from opensvc_openha.core.beat import BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    Leaving,
    RecoveredState,
    ScriptKind,
    Tick,
)
from opensvc_openha.core.link_monitor import LinkMonitor
from opensvc_openha.core.model import Profile
from opensvc_openha.core.states import ServiceState
from tests.core.pair import TIMEOUT_S, Host, Pair, links

_STOPPED = RecoveredState(ServiceState.STOPPED)


class _SlowHost(Host):
    """A node whose engine waits for its disk at each state it writes.

    Its listeners continue meanwhile.
    """

    write_s = 0.0

    def __init__(self, pair: Pair, index: int) -> None:
        super().__init__(pair, index)
        self.defer = self._write_later

    def give(self, event: Event) -> None:
        if self.executor is not None and self.executor.is_writing:
            self.pair.parked.append((self, self.life, event))
        else:
            super().give(event)

    def _write_later(self, job: Callable[[], dict[str, str]]) -> None:
        assert self.executor is not None
        took_s = self.write_s * self.executor.writes_held
        self.pair.schedule(took_s, self._written, self.life, job)

    def _written(self, life: int, job: Callable[[], dict[str, str]]) -> None:
        if self.executor is None or life != self.life:
            return
        self.executor.engine.mark_busy_until(self.now)
        self.executor.written(job(), self.now)
        self.pair.resume(self)
        self.finish_step()


@pytest.mark.parametrize(
    "profile, timeout_s, write_s, count",
    [
        (Profile.FAST, 0.3, 0.1, 1),
        pytest.param(Profile.FAST, 0.5, 0.005, 32, marks=pytest.mark.exhaustive),
        (Profile.TUTORIAL, 2.0, 0.02, 32),
        (Profile.TUTORIAL, 10.0, 0.1, 32),
    ],
)
def test_slow_disk_delays_starts_but_does_not_undo_them(
    profile: Profile, timeout_s: float, write_s: float, count: int
) -> None:
    """Each state takes longer to write than a stall may last: all services start once, and once
    more on the survivor.
    """
    names = [f"svc{number}" for number in range(count)]
    pair = Pair(*names, timeout_s=timeout_s, profile=profile)
    slow = _SlowHost(pair, 0), _SlowHost(pair, 1)
    pair.deb1, pair.deb2 = slow
    for host in slow:
        host.write_s = write_s
        host.boot(dict.fromkeys(names, _STOPPED))
    pair.run(40)
    assert [[node for _, node in pair.starts(name)] for name in names] == [["deb1"]] * count
    pair.deb1.crash()
    pair.run(40)
    assert [[node for _, node in pair.starts(name)] for name in names] == [["deb1", "deb2"]] * count


@pytest.mark.parametrize("is_back", [True, False])
def test_goodbye_read_after_a_stall_proves_nothing_before_the_peer_was_listened_to(
    is_back: bool,
) -> None:
    """deb2 is stopped while deb1 leaves, comes back and takes the service.

    Only the goodbye is left in deb2's buffers.

    deb2 hears the living deb1 before it acts; where deb1 stays away, deb2 starts the service after
    the links' timeout.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb2.command(Command.UNFREEZE)
    deb1.command(Command.UNFREEZE)
    pair.run(3)
    deb2.is_stalled = True
    pair.run(1)
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(4)
    if is_back:
        deb1.boot({"registry": _STOPPED})
        pair.run(40)
        assert "registry" in deb1.running
    pair.parked = [
        (host, life, replace(event, received_at=pair.now))
        for host, life, event in pair.parked
        if isinstance(event, BeatReceived) and event.beat.goodbye is not Goodbye.NONE
    ]
    assert pair.parked
    resumed_at = pair.now
    pair.resume(deb2)
    pair.run(9)
    assert "registry" not in deb2.running
    pair.run(20)
    if is_back:
        assert [node for _, node in pair.starts()] == ["deb1", "deb1"]
    else:
        assert 9 < pair.starts()[-1][0] - resumed_at < 12
        assert deb2.state == "STARTED"


def test_acknowledgement_older_than_the_peers_patience_starts_nothing() -> None:
    """deb2 calls deb1 silent after 2 s, deb1 calls deb2 silent after 20 s, and the cable breaks
    during deb1's long check-up.

    By the end of it deb2 has taken the service: that it had agreed 12 s ago is no reason to start a
    second copy.
    """
    pair = Pair()
    pair.links = tuple(
        replace(link, timeout_s=2.0 if link.node == "deb1" else 20.0) for link in links()
    )
    pair.invariants = None
    deb1, deb2 = pair.boot()
    pair.script_s = lambda action: 12.0 if action.kind is ScriptKind.CHECK else 1.0
    pair.run(3)
    deb1.command(Command.UNFREEZE)
    pair.run(0.5)
    deb2.command(Command.UNFREEZE)
    pair.run(0.5)
    assert deb1.state == "STARTING"
    pair.script_s = lambda action: 1.0
    pair.cut_all()
    pair.run(13)
    assert "registry" in deb2.running
    assert "registry" not in deb1.running
    assert deb1.state == "START_READY"


def test_link_taken_out_makes_no_silence_in_the_past() -> None:
    """One link is down for long, the other is removed: the peer is silent from now on, not since
    the first one fell.
    """
    first, second = links(count=2)[2:]
    monitor = LinkMonitor((first, second), 0.0)
    monitor.expire(90.0)
    monitor.record_beat(second, BootId(1, 1), 1, 95.0, 0)
    assert monitor.silent_since(100.0) is None
    monitor.update((first,), 100.0)
    assert monitor.silent_since(100.0) == 100.0
    assert monitor.silent_since(101.0) == 100.0


def test_unfrozen_service_that_was_found_down_is_looked_at_again() -> None:
    """Frozen as started, found down by a restarted daemon: unfrozen, it is asked again, and started
    since it is down.
    """
    pair = Pair()
    pair.deb1.boot({"registry": RecoveredState(ServiceState.FROZEN_START, must_probe=True)})
    pair.deb2.boot({"registry": RecoveredState(ServiceState.STOPPED)})
    pair.run(5)
    assert pair.deb1.state == "FROZEN_START"
    assert "found down" in pair.deb1.service().reason
    pair.deb1.command(Command.UNFREEZE)
    pair.run(10)
    assert [kind for _, node, kind, _ in pair.scripts if node == "deb1"] == [
        "status",
        "status",
        "check",
        "start",
    ]
    assert pair.deb1.shown == ("STARTED", "STOPPED")


def test_beats_that_waited_for_a_slow_write_keep_the_peer_alive() -> None:
    """deb2's disk takes 0.8 s with a link timeout of 0.5 s: what came in meanwhile is taken before
    any verdict.
    """
    pair = Pair(timeout_s=0.5, profile=Profile.FAST)
    slow = _SlowHost(pair, 1)
    pair.deb2 = slow
    pair.boot()
    pair.run(2)
    slow.write_s = 0.8
    slow.command(Command.UNFREEZE)
    pair.run(0.79)
    slow.write_s = 0.0
    pair.run(2)
    assert "stalled" not in " ".join(record.reason for record in slow.records)
    assert [record for record in slow.records if record.new in ("SILENT", "DOWN")] == []
    assert slow.state == "STARTED"


def test_acknowledgement_that_waited_out_a_stall_starts_nothing() -> None:
    """deb2 is stopped for 4 s just when the answer to its START_READY is on its way: it asks again,
    and the peer does not hear it.

    However often the peer reports that it is out: what it agreed to was asked before the stall.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2.5)
    deb2.command(Command.UNFREEZE)
    pair.run(0.0005)
    deb2.is_stalled = True
    pair.run(4)
    pair.cut_all("deb2")
    pair.parked = [
        (
            host,
            life,
            replace(event, received_at=pair.now) if isinstance(event, BeatReceived) else event,
        )
        for host, life, event in pair.parked
    ]
    assert any(isinstance(event, BeatReceived) and event.beat.ack for _, _, event in pair.parked)
    pair.resume(deb2)
    pair.run(5)
    assert deb2.state == "START_READY"
    assert pair.scripts == []
    pair.heal()
    pair.run(3)
    assert deb2.state == "STARTED"


def test_stall_after_a_slow_write_is_still_a_stall() -> None:
    """A write of 3 s is work, the 4 s after it in which the whole process stands still are not."""
    pair = Pair()
    slow = _SlowHost(pair, 1)
    pair.deb2 = slow
    pair.boot()
    pair.run(2)
    slow.write_s = 3.0
    slow.command(Command.STOP)
    slow.command(Command.UNFREEZE)
    pair.run(2.9)
    slow.write_s = 0.0
    pair.run(0.2)
    assert "STALLED" not in [record.new for record in slow.records]
    pair.run(3)
    slow.is_stalled = True
    pair.run(4)
    pair.resume(slow)
    pair.run(0.1)
    assert "STALLED" in [record.new for record in slow.records]


def test_owner_that_was_away_is_sure_again_at_the_first_answer_of_a_frozen_peer() -> None:
    """deb2 reports the same before and after deb1's stall: its acknowledgement alone ends the
    doubt, and it is asked for.
    """
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.command(Command.UNFREEZE)
    pair.run(3.5)
    deb1.is_stalled = True
    pair.run(12)
    pair.resume(deb1)
    pair.run(0.0015)
    assert deb2.shown == ("UNKNOWN", "FROZEN_STOP")
    pair.run(0.1)
    assert deb2.shown == ("STARTED", "FROZEN_STOP")


def test_restarted_daemon_claims_nothing_before_its_wrapper_has_answered() -> None:
    """Left STARTED, but down.

    The status script takes 5 s, and deb2 is there all the time: it never hears STARTED.
    """
    pair = Pair()
    pair.invariants = None
    pair.script_s = lambda action: 5.0 if action.kind is ScriptKind.PROBE else 1.0
    pair.deb1.boot({"registry": RecoveredState(ServiceState.STARTED, must_probe=True)})
    pair.deb2.boot()
    for _ in range(48):
        pair.run(0.1)
        assert pair.deb2.shown == ("UNKNOWN", "FROZEN_STOP")
    pair.run(3)
    assert pair.starts() and pair.deb1.shown == ("STARTED", "FROZEN_STOP")


def test_links_of_a_peer_that_left_are_down_at_once() -> None:
    """After the goodbye no link is shown as up for another timeout."""
    pair = Pair()
    deb1, deb2 = pair.boot()
    pair.run(2)
    deb1.leave(Leaving.STOP_SERVICES)
    pair.run(0.5)
    assert deb2.engine is not None
    assert [link.is_up for link in deb2.engine.snapshot(pair.now).links] == [False, False]


def test_repeats_have_numbers_below_that_of_the_state_being_written() -> None:
    """A peer that acknowledges a repeat has not heard the beat whose state is being written."""
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(2)
    engine = deb1.engine
    assert engine is not None
    engine.make_room()
    announced = [
        action.beat.seq
        for action in engine.step(CommandReceived(1, "registry", Command.UNFREEZE), pair.now)
        if isinstance(action, Announce)
    ]
    repeats = [engine.repeat(pair.now + wait_s) for wait_s in (0.1, 0.2, 0.3)]
    numbers = [repeat.beat.seq for repeat in repeats if repeat is not None]
    assert len(announced) == 1 and len(numbers) == 3
    assert numbers == sorted(set(numbers)) and max(numbers) < announced[0]


def test_nothing_is_repeated_before_the_first_beat() -> None:
    """A daemon that has sent nothing yet has nothing to repeat."""
    pair = Pair()
    deb1, _ = pair.boot()
    assert deb1.engine is not None
    fresh = Engine(deb1.engine.spec, BootId(9, 9), {}, pair.now)
    assert fresh.repeat(pair.now) is None and fresh.repeat_at == math.inf


def test_repeat_that_came_too_late_hides_no_stall() -> None:
    """States are still being written and the process stands still: the beat that is repeated after
    that is as late as a step would be.
    """
    pair = Pair()
    deb1, _ = pair.boot()
    pair.run(2)
    engine = deb1.engine
    assert engine is not None
    engine.make_room()
    engine.step(CommandReceived(1, "registry", Command.UNFREEZE), pair.now)
    late = pair.now + 2 * TIMEOUT_S
    assert engine.repeat(late) is not None
    done = engine.step(Tick(), late + 0.01)
    assert "STALLED" in [action.new for action in done if isinstance(action, Record)]
