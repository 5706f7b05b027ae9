"""The node loop: feeds events to the engine and carries out its actions, in the order they come.

It knows its surroundings only through Ports, so that threads, sockets and files can be others elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    Exit,
    MirrorPeer,
    Persist,
    Record,
    RecordKind,
    RememberLives,
    RunScript,
    Word,
)
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Event, StoreFailed
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import SystemFault


_WAITS_AT_MOST = 32
"""More states than that are written with one wait for the disk: each wait is one in which the engine hears nothing."""


class Ports(Protocol):
    """What a node needs of the world."""

    def persist(self, action: Persist, is_durable: bool) -> None:
        """Writes a state; on disk when it returns if it is to be durable, else after ``sync_states``. Raises SystemFault."""

    def sync_states(self) -> None:
        """Returns when all states written are on disk; raises SystemFault."""

    def remember_lives(self, action: RememberLives) -> None:
        """Writes down the newest lives of the peer."""

    def mirror(self, action: MirrorPeer) -> None:
        """Has the peer's state written."""

    def announce(self, action: Announce) -> None:
        """Has a beat sent on every link."""

    def run_script(self, action: RunScript) -> None:
        """Starts a script."""

    def answer(self, action: Answer) -> None:
        """Tells an operator."""

    def record(self, action: Record) -> None:
        """Logs a change."""


class Node:
    """One engine and its surroundings."""

    def __init__(self, engine: Engine, ports: Ports) -> None:
        self.engine = engine
        self.is_done = False
        self._ports = ports
        self._unwritten: "set[str]" = set()

    def handle(self, event: Event, now: float) -> None:
        """One event, and all that follows from it."""
        waiting = [event]
        while waiting:
            failed = self._carry_out(self.engine.step(waiting.pop(0), now))
            waiting += [StoreFailed(service, detail) for service, detail in failed.items()]

    def _carry_out(self, actions: "list[Action]") -> "dict[str, str]":
        """Returns the services whose start was given up because its state could not be written."""
        # The engine's order: all that is to be persisted comes first.
        problems = self._persist_all([action for action in actions if isinstance(action, Persist)])
        failed: "dict[str, str]" = {}
        for action in actions:
            if isinstance(action, Persist):
                if problems[action.service] and action.state in (ServiceState.START_READY, ServiceState.STARTING):
                    failed[action.service] = problems[action.service]
            elif isinstance(action, Announce):
                self._ports.announce(action)
            elif isinstance(action, RememberLives):
                self._ports.remember_lives(action)
            elif isinstance(action, MirrorPeer):
                self._ports.mirror(action)
            elif isinstance(action, RunScript):
                if action.service not in failed:
                    self._ports.run_script(action)
            elif isinstance(action, Record):
                self._ports.record(action)
            elif isinstance(action, Answer):
                problem = problems.get(action.service, "")
                if problem and action.is_last and action.is_ok:
                    # It is so until the daemon ends, but a restart would not know it.
                    action = replace(action, word=Word.FAILED, is_ok=False, detail=f"done, but not kept: {problem}")
                self._ports.answer(action)
            else:
                assert isinstance(action, Exit), f"an action nobody carries out: {action!r}"
                self.is_done = True
        return failed

    def _persist_all(self, actions: "list[Persist]") -> "dict[str, str]":
        """Writes states; returns why each could not be written. Many are on disk with one wait, not with one for each."""
        is_batch = len(actions) > _WAITS_AT_MOST
        problems: "dict[str, str]" = {}
        for action in actions:
            try:
                self._ports.persist(action, is_durable=not is_batch)
                problems[action.service] = ""
            except SystemFault as error:
                problems[action.service] = str(error)
        if is_batch:
            try:
                self._ports.sync_states()
            except SystemFault as error:
                problems = {service: problem or str(error) for service, problem in problems.items()}
        for action in actions:
            self._tell_problem(action, problems[action.service])
        return problems

    def _tell_problem(self, action: Persist, problem: str) -> None:
        """Reports once that a state could not be written, and once that it can be again."""
        if problem:
            if action.service not in self._unwritten:
                self._unwritten.add(action.service)
                self._report(action, "NOT WRITTEN", problem, is_alarm=True)
            return
        if action.service in self._unwritten:
            self._unwritten.discard(action.service)
            self._report(action, "WRITTEN", "the state can be written again", is_alarm=False)

    def _report(self, action: Persist, what: str, text: str, is_alarm: bool) -> None:
        self._ports.record(Record(RecordKind.SERVICE, action.service, action.state.name, what, text, is_alarm))
