"""Feed events to the engine and carry out its actions, in the order in which they come.

All effects go through Ports, so that other threads, sockets and files can be used, as in tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    AnswerCode,
    Exit,
    GrantPermit,
    LeaseAction,
    MirrorPeer,
    Persist,
    Record,
    RecordKind,
    RememberFencing,
    RememberIncarnations,
    RunFenceStep,
    RunScript,
)
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    Event,
    FenceStepEnded,
    RenewalConfirmed,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
    StoreFailed,
)
from opensvc_openha.core.shared_step import SHARING, shared_step
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import STATE_WRITE_LIMIT_S
from opensvc_openha.errors import SystemFault
from opensvc_openha.hints import Protocol

_FENCING = ""
"""Key of the fencing memory beside the names of services, none of which is empty."""

_WRITTEN = (Persist, RememberFencing)
"""Must be on disk before anything else of a step is done."""


class Ports(Protocol):
    """Effects that a node needs from its environment."""

    def persist_all(self, actions: Sequence[Persist], note: Callable[[], None]) -> dict[str, str]:
        """Write states of different services; they are on disk on return.

        Returns the problem of each, empty where it was written. ``note`` is called after each.
        """

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the newest incarnations of the peer."""

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store what the next daemon must know of fencing; on disk on return.

        Raises SystemFault.
        """

    def mirror(self, action: MirrorPeer) -> None:
        """Mirror the peer's state to a file."""

    def announce(self, action: Announce) -> None:
        """Send a beat on every link."""

    def run_script(self, action: RunScript) -> None:
        """Start a script."""

    def run_fence_step(self, action: RunFenceStep) -> None:
        """Run a step of the fence plan; its end comes back as FenceStepEnded."""

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Do something for this node's own promise, without waiting for it."""

    def answer(self, action: Answer) -> None:
        """Send an answer to an operator."""

    def record(self, action: Record) -> None:
        """Log a change."""


class ActionExecutor:
    """Drive one engine through its ports.

    With ``defer``, another thread writes states and the fencing memory: ``defer`` gets the job, and
    the owner calls ``written`` with the result. Until then ``is_writing`` is true, the engine
    decides nothing, and the rest of the step waits; the owner calls ``speak_meanwhile`` at
    ``speak_at``, which repeats the last beat, so that the peer keeps hearing this node.
    """

    def __init__(
        self,
        engine: Engine,
        ports: Ports,
        defer: Callable[[Callable[[], dict[str, str]]], None] | None = None,
    ) -> None:
        self.engine = engine
        self.is_done = False
        self.changes = 0
        """Counts the changes that were recorded."""
        self._ports = ports
        self._defer = defer
        self._unwritten: set[str] = set()
        self._is_fencing_unwritten = False
        self._events: list[Event] = []
        self._under_way: set[tuple[str, ScriptKind]] = set()
        self._held: list[Action] | None = None
        self._progress = 0
        """Counts the states written, in the writing thread."""
        self._seen_progress = 0
        self._moved_on_at = -math.inf

    def handle(self, event: Event, now: float) -> None:
        """Handle one event, and carry out the actions that follow."""
        self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: float) -> None:
        """Handle events in their order; those of ``shared_step`` take one step together."""
        for event in events:
            self._events.append(event)
            if isinstance(event, ScriptExited):
                self._under_way.discard((event.service, event.kind))
        self._advance(now)

    @property
    def scripts_under_way(self) -> int:
        """Number of ordered scripts whose ends may share a step, and are still to come."""
        return len(self._under_way)

    def _advance(self, now: float) -> None:
        while self._events and not self.is_writing:
            if self._defer is not None:
                self.engine.make_room()
            events = shared_step(self._events)
            del self._events[: len(events)]
            actions = self._permit(self.engine.step_all(events, now))
            if self._defer is not None and any(isinstance(action, _WRITTEN) for action in actions):
                self._held, self._seen_progress, self._moved_on_at = actions, self._progress, now
                self._defer(partial(self._write_all, actions))
            else:
                self._finish(actions, self._write_all(actions), now)

    def _permit(self, actions: list[Action]) -> list[Action]:
        """Hand out the watchdog's permits, which wait for no disk; return all other actions."""
        for action in actions:
            if isinstance(action, GrantPermit):
                self._ports.carry_out_lease(action)
        return [action for action in actions if not isinstance(action, GrantPermit)]

    @property
    def is_writing(self) -> bool:
        """True while states are being written, during which nothing may be decided."""
        return self._held is not None

    @property
    def writes_held(self) -> int:
        """Number of waits for the disk: one for all states, and one for the fencing memory."""
        return len({type(action) for action in self._held or () if isinstance(action, _WRITTEN)})

    @property
    def is_start_held(self) -> bool:
        """True while a start waits for its state to be on disk."""
        return any(
            isinstance(action, Persist) and action.state is ServiceState.STARTING
            for action in self._held or ()
        )

    def written(self, problems: dict[str, str], now: float) -> None:
        """Carry out what waited for the states now on disk.

        ``problems`` names those that could not be written.
        """
        assert self._held is not None, "nothing is being written"
        actions, self._held = self._held, None
        self.engine.wrote(now)
        self._finish(actions, problems, now)
        self._advance(now)

    def renew(self, event: RenewalConfirmed, now: float) -> None:
        """Hand out what a renewal permits while states are being written."""
        for permit in self.engine.confirm_renewal(event, now):
            self._ports.carry_out_lease(permit)

    @property
    def speak_at(self) -> float:
        """When to repeat the last beat while states are being written."""
        return self.engine.repeat_at

    def speak_meanwhile(self, now: float) -> bool:
        """Repeat the last beat if it is due.

        False once the disk has written nothing for so long that this node falls silent.
        """
        if self._progress != self._seen_progress:
            self._seen_progress, self._moved_on_at = self._progress, now
        if now >= self._moved_on_at + STATE_WRITE_LIMIT_S:
            return False
        announce = self.engine.repeat(now) if now >= self.speak_at else None
        if announce is not None:
            self._ports.announce(announce)
            for order in self.engine.renew_meanwhile(announce.beat.seq):
                self._ports.carry_out_lease(order)
        return True

    def _finish(self, actions: list[Action], problems: dict[str, str], now: float) -> None:
        for action in actions:
            if isinstance(action, Persist):
                self._report_problem(action, problems[action.service])
            elif isinstance(action, RememberFencing):
                self._report_fencing_problem(problems[_FENCING])
                self.engine.remembered_fencing(action.memory, not problems[_FENCING], now)
        failed = self._carry_out(actions, problems)
        self._events.extend(StoreFailed(service, detail) for service, detail in failed.items())

    def _carry_out(self, actions: list[Action], problems: dict[str, str]) -> dict[str, str]:
        """Carry out actions.

        Return the services whose start was dropped for lack of a stored state.
        """
        failed: dict[str, str] = {}
        for action in actions:
            if isinstance(action, Persist):
                if problems[action.service] and action.state in (
                    ServiceState.START_READY,
                    ServiceState.STARTING,
                ):
                    failed[action.service] = problems[action.service]
            elif isinstance(action, Announce):
                self._ports.announce(action)
            elif isinstance(action, RememberIncarnations):
                self._ports.remember_incarnations(action)
            elif isinstance(action, RememberFencing):
                pass
            elif isinstance(action, MirrorPeer):
                self._ports.mirror(action)
            elif isinstance(action, RunScript):
                if action.service in failed:
                    continue
                problem = problems.get(_FENCING, "")
                if problem and action.kind is ScriptKind.CHECK:
                    # The next daemon must not assume a right to fence that it does not hold, nor
                    # restart the count of turns.
                    self._events.append(
                        ScriptExited(action.service, action.kind, ScriptOutcome.POSTPONED, problem)
                    )
                else:
                    if action.kind in SHARING:
                        self._under_way.add((action.service, action.kind))
                    self._ports.run_script(action)
            elif isinstance(action, RunFenceStep):
                self._run_fence_step(
                    action, problems.get(_FENCING, "") or _problem_of_all(action, failed)
                )
            elif isinstance(action, LeaseAction):
                self._ports.carry_out_lease(action)
            elif isinstance(action, Record):
                self.changes += 1
                self._ports.record(action)
            elif isinstance(action, Answer):
                problem = problems.get(action.service, "")
                if problem and action.is_last and action.is_ok:
                    # Valid until the daemon ends, but a restart would not know it.
                    action = replace(
                        action,
                        code=AnswerCode.FAILED,
                        is_ok=False,
                        detail=f"done, but not kept: {problem}",
                    )
                self._ports.answer(action)
            else:
                assert isinstance(action, Exit), f"no handler for action: {action!r}"
                self.is_done = True
        return failed

    def _run_fence_step(self, action: RunFenceStep, problem: str) -> None:
        if not problem:
            self._ports.run_fence_step(action)
            return
        # As for a check-up script: what must outlive the daemon is on disk before a fence begins.
        self._events.append(
            FenceStepEnded(action.step.number, StepOutcome.NOT_BEGUN, problem, took_s=0.0)
        )

    def _write_all(self, actions: list[Action]) -> dict[str, str]:
        """Write what a step needs on disk; callable from any thread.

        Returns the problem of each state, or of the fencing memory, that could not be written.
        """
        states = [action for action in actions if isinstance(action, Persist)]
        problems = self._ports.persist_all(states, self._note_progress) if states else {}
        for action in actions:
            if isinstance(action, RememberFencing):
                try:
                    self._ports.remember_fencing(action)
                    problems[_FENCING] = ""
                except SystemFault as error:
                    problems[_FENCING] = str(error)
                self._progress += 1
        return problems

    def _note_progress(self) -> None:
        self._progress += 1

    def _report_problem(self, action: Persist, problem: str) -> None:
        """Report once that a state could not be written, and once that it can be again."""
        if problem:
            if action.service not in self._unwritten:
                self._unwritten.add(action.service)
                self._record_write(action, "NOT WRITTEN", problem, is_alarm=True)
            return
        if action.service in self._unwritten:
            self._unwritten.discard(action.service)
            self._record_write(action, "WRITTEN", "the state can be written again", is_alarm=False)

    def _report_fencing_problem(self, problem: str) -> None:
        """Report once that the fencing memory cannot be written, and once that it can be again."""
        if bool(problem) is self._is_fencing_unwritten:
            return
        self._is_fencing_unwritten = bool(problem)
        text = (
            f"{problem}: this node does not fence before it can be"
            if problem
            else "the note of fencing can be written again"
        )
        what = "NOT WRITTEN" if problem else "WRITTEN"
        self._ports.record(
            Record(RecordKind.NODE, self.engine.spec.node, "", what, text, is_alarm=bool(problem))
        )

    def _record_write(self, action: Persist, what: str, text: str, is_alarm: bool) -> None:
        self._ports.record(
            Record(RecordKind.SERVICE, action.service, action.state.name, what, text, is_alarm)
        )


def _problem_of_all(action: RunFenceStep, failed: dict[str, str]) -> str:
    """Return why a step serves nobody: no state of its services could be written."""
    services = action.step.services
    return failed[services[0]] if all(name in failed for name in services) else ""
