"""The daemon dies at every point between two actions of a step, and is started again: nothing runs
twice, nothing is forgotten.

Services and scripts live on without their daemon. What the new one knows comes from the STATE files
as the real store reads them, and from the wrapper, which it asks only once the script of the dead
daemon has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    Persist,
    Record,
    RememberFencing,
    RunScript,
)
from opensvc_openha.core.events import Command, Event, Leaving, ScriptKind, ServiceEvent
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.verify.simulated_node import SimulatedNode
from tests.core.pair import TIMEOUT_S, Host, Pair

SCRIPT_S = 1.0
GATHERED_S = 0.01
THREE = ("mail", "registry", "web")


class _CrashPair(Pair):
    """A pair whose check-up script takes the power from a silent peer."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.invariants = None
        self.deb1, self.deb2 = _Victim(self, 0), _Victim(self, 1)
        self.doubled: list[str] = []
        self.script_s = lambda action: 0.0 if action.kind is ScriptKind.PROBE else SCRIPT_S
        self.on_check = self._fence

    def _fence(self, host: Host, action: RunScript) -> None:
        if action.peer_state is ServiceState.UNKNOWN:
            self.other(host).crash()

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Runs a script; no start of a service that runs, here or on the other node."""
        if action.kind is ScriptKind.START and action.service in node.running:
            self.doubled.append(f"start on {node.name} at {self.now} of what runs there")
        super().run_script(node, action)
        for svc in self.services:
            assert not self.both_run(svc.name), f"both nodes run {svc.name} at {self.now}"


class _Killed(BaseException):
    """The daemon dies in the middle of a step."""


class _Victim(Host):
    """Its daemon dies after the given number of actions, and is started again a little later."""

    dies_after = -1
    down_s = 0.3
    gathers = False
    """Ends of scripts that come within a moment are handled together, as by a busy daemon."""
    carried_out = 0
    moved_at = 0
    died_at = ""
    shared = 0
    """Most events of one step."""

    def __init__(self, pair: Pair, index: int) -> None:
        super().__init__(pair, index)
        self.waiting: list[Event] = []

    def step_all(self, events: Sequence[Event]) -> None:
        try:
            super().step_all(events)
        except _Killed:
            self.kill_daemon()
            self.pair.schedule(self.down_s, self.start_again)

    def give(self, event: Event) -> None:
        if self.gathers and isinstance(event, ServiceEvent) and self.executor is not None:
            self.waiting.append(event)
            self.pair.schedule(GATHERED_S, self._take_all, self.life)
        else:
            super().give(event)

    def _take_all(self, life: int) -> None:
        if life != self.life:
            self.waiting.clear()
        elif self.waiting:
            events, self.waiting = self.waiting, []
            self.shared = max(self.shared, len(events))
            self.step_all(events)

    def _count(self, action: Action) -> None:
        self.carried_out += 1
        if isinstance(action, (Persist, RunScript)):
            self.moved_at = self.carried_out
        if self.carried_out == self.dies_after:
            self.died_at = type(action).__name__
            raise _Killed

    def persist(self, action: Persist) -> None:
        super().persist(action)
        self._count(action)

    def remember_fencing(self, action: RememberFencing) -> None:
        super().remember_fencing(action)
        self._count(action)

    def announce(self, action: Announce) -> None:
        super().announce(action)
        self._count(action)

    def run_script(self, action: RunScript) -> None:
        super().run_script(action)
        self._count(action)

    def record(self, action: Record) -> None:
        super().record(action)
        self._count(action)

    def answer(self, action: Answer) -> None:
        super().answer(action)
        self._count(action)

    def start_again(self) -> None:
        """Starts the daemon, and the machine if it was fenced, from the STATE files."""
        if self.engine is None:
            self.boot_from_files()


def _begin(victim_name: str) -> tuple[_CrashPair, _Victim, Host]:
    pair = _CrashPair()
    for host in (pair.deb1, pair.deb2):
        host.store.write_state("registry", StoredState(ServiceState.FROZEN_STOP))
        host.boot_from_files()
    victim, other = (pair.deb1, pair.deb2) if victim_name == "deb1" else (pair.deb2, pair.deb1)
    assert isinstance(victim, _Victim)
    return pair, victim, other


def _start_on(pair: Pair, owner: Host, other: Host) -> None:
    pair.run(2)
    owner.command(Command.UNFREEZE)
    pair.run(4)
    other.command(Command.UNFREEZE)
    pair.run(2)


def _unfreeze(pair: _CrashPair, victim: Host, other: Host) -> None:
    pair.run(2)
    other.command(Command.UNFREEZE)
    victim.command(Command.UNFREEZE)


def _freeze_stop(pair: _CrashPair, victim: Host, other: Host) -> None:
    victim.command(Command.FREEZE_STOP)


def _take_over(pair: _CrashPair, victim: Host, other: Host) -> None:
    other.crash()


def _peer_leaves(pair: _CrashPair, victim: Host, other: Host) -> None:
    other.leave(Leaving.STOP_SERVICES)


def _freeze_start(pair: _CrashPair, victim: Host, other: Host) -> None:
    victim.command(Command.FREEZE_START)


Story = Callable[[_CrashPair, Host, Host], None]
STORIES: dict[str, tuple[bool, Story, str]] = {
    # Whether the victim owns the service before, what happens, and the state of the victim at the
    # end.
    "freeze-stop on the owner": (True, _freeze_stop, "FROZEN_STOP"),
    "freeze-start on the owner": (True, _freeze_start, "FROZEN_START"),
    "takeover from a dead owner": (False, _take_over, "STARTED"),
    "takeover from an owner that leaves": (False, _peer_leaves, "STARTED"),
}


def _play(
    name: str, victim_name: str, dies_after: int, down_s: float
) -> tuple[_CrashPair, _Victim, Host]:
    owns, story, _ = STORIES[name]
    pair, victim, other = _begin(victim_name)
    _start_on(pair, *((victim, other) if owns else (other, victim)))
    victim.carried_out, victim.moved_at, victim.dies_after, victim.down_s = 0, 0, dies_after, down_s
    story(pair, victim, other)
    pair.run(TIMEOUT_S + 60)
    return pair, victim, other


@pytest.mark.exhaustive
@pytest.mark.parametrize("victim_name", ["deb1", "deb2"])
@pytest.mark.parametrize("name", STORIES)
def test_daemon_killed_after_each_action_ends_where_it_should(name: str, victim_name: str) -> None:
    """At every boundary of persist, announce and run, back soon or after the peer's timeout: one
    copy, in the right place.
    """
    _, _, victim_ends = STORIES[name]
    _, undisturbed, _ = _play(name, victim_name, -1, 0.0)
    interesting = undisturbed.moved_at + 4
    died_at = set()
    for down_s in (0.3, TIMEOUT_S + 8):
        for point in range(1, interesting + 1):
            pair, victim, other = _play(name, victim_name, point, down_s)
            died_at.add(victim.died_at)
            where = f"killed after action {point} ({victim.died_at}), down for {down_s} s"
            assert not pair.doubled, f"{where}: {pair.doubled}"
            running = [host.name for host in (pair.deb1, pair.deb2) if host.running]
            assert len(running) == 1, f"{where}: runs on {running}, victim {victim.state}"
            # Where the daemon died before it had the order, the order is lost and nothing has
            # moved.
            ends = {victim_ends, "STARTED"} if victim_ends.startswith("FROZEN") else {victim_ends}
            # A node that was fenced comes back with nothing running, frozen if it was.
            gone = {"STOPPED", "FROZEN_STOP"} if victim_ends.startswith("FROZEN") else {"STOPPED"}
            assert victim.state in (gone if other.running else ends), (
                f"{where}: victim is {victim.state}"
            )
    assert {"Persist", "Announce"} <= died_at


@pytest.mark.exhaustive
@pytest.mark.parametrize("victim_name", ["deb1", "deb2"])
def test_daemon_killed_after_each_action_of_a_race_starts_it_once(victim_name: str) -> None:
    """Both nodes are unfrozen in the same instant, and one daemon dies at any point: one copy,
    never two.
    """
    for down_s in (0.3, TIMEOUT_S + 8):
        for point in range(1, 40):
            pair, victim, other = _begin(victim_name)
            victim.carried_out, victim.dies_after, victim.down_s = 0, point, down_s
            _unfreeze(pair, victim, other)
            pair.run(TIMEOUT_S + 60)
            where = f"killed after action {point} ({victim.died_at}), down for {down_s} s"
            assert not pair.doubled, f"{where}: {pair.doubled}"
            assert len([host for host in (pair.deb1, pair.deb2) if host.running]) == 1, where


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["freeze-stop", "takeover"])
def test_daemon_killed_after_each_action_of_a_shared_step_loses_no_service(name: str) -> None:
    """Scripts of three services end together: their states are written, announced and followed in
    one step, and the daemon dies at each point of it.
    """
    for down_s in (0.3, TIMEOUT_S + 8):
        died_at, point = set(), 0
        while True:
            point += 1
            pair = _CrashPair(*THREE)
            for host in (pair.deb1, pair.deb2):
                for each in THREE:
                    host.store.write_state(each, StoredState(ServiceState.FROZEN_STOP))
                host.boot_from_files()
            owner, victim = pair.deb1, pair.deb2
            if name == "freeze-stop":
                owner, victim = victim, owner
            assert isinstance(victim, _Victim)
            pair.run(2)
            for node in (pair.deb1, pair.deb2):
                for each in THREE:
                    node.command(Command.UNFREEZE, each)
                pair.run(4)
            victim.gathers, victim.carried_out = True, 0
            victim.dies_after, victim.down_s = point, down_s
            if name == "takeover":
                owner.crash()
            else:
                for each in THREE:
                    victim.command(Command.FREEZE_STOP, each)
            pair.run(TIMEOUT_S + 60)
            where = f"killed after action {point} ({victim.died_at}), down for {down_s} s"
            assert not pair.doubled, f"{where}: {pair.doubled}"
            running = sorted([*pair.deb1.running, *pair.deb2.running])
            assert running == list(THREE), f"{where}: {running}"
            died_at.add(victim.died_at)
            if not victim.died_at:
                break
        assert victim.shared == len(THREE), "they took one step"
        assert {"Persist", "Announce", "RunScript", "Record"} <= died_at
