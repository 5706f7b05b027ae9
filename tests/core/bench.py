"""One engine at a bench: events go in by hand, and what it decides is read."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import MagicMock

from pytest_mock import MockerFixture

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    Exit,
    Record,
    RunScript,
)
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    RecoveredState,
    ScriptExited,
    Tick,
)
from opensvc_openha.core.events import (
    ScriptKind as K,
)
from opensvc_openha.core.events import (
    ScriptOutcome as End,
)
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import ClusterSpec, LinkSpec, Policy
from opensvc_openha.core.service_machine import ServiceMachine
from opensvc_openha.core.states import ServiceState as S
from tests.core.pair import CHECK_ALWAYS, links, services

OWN = BootId(5, 55)


LIFE = BootId(1, 11)


KEY = "aabbccdd"


class Bench:
    """deb1's engine alone: its peer, its scripts and its operator are played by the test."""

    def __init__(
        self,
        state: S = S.STOPPED,
        must_probe: bool = False,
        frozen_target: S | None = None,
        node: str = "deb1",
        is_begun: bool = True,
        known_incarnations: dict[str, BootId] | None = None,
        policy: Policy = Policy(),
    ) -> None:
        self.now = 100.0
        both = links(count=1)
        self.peer = "deb2" if node == "deb1" else "deb1"
        spec = ClusterSpec(
            node,
            self.peer,
            both,
            tuple(replace(svc, policy=policy) for svc in services()),
            fencing=CHECK_ALWAYS,
        )
        self.engine = Engine(
            spec,
            OWN,
            {"registry": RecoveredState(state, frozen_target, must_probe)},
            self.now,
            known_incarnations,
        )
        self.link: LinkSpec = spec.listeners[0]
        self.seq = 0
        self.done: list[Action] = []
        if is_begun:
            self.step(Tick())

    def step(self, event: Event) -> list[Action]:
        """One event now, and the steps that follow within the same instant."""
        done = list(self.engine.step(event, self.now))
        while self.engine.next_deadline() <= self.now and not any(
            isinstance(action, Exit) for action in done
        ):
            done += self.engine.step(Tick(), self.now)
        self.done += done
        return done

    def run(self, seconds: float, announced: S | None = None) -> list[Action]:
        """Time passes; with ``reported`` the peer reports that each half second, and acknowledges
        everything.
        """
        end, done = self.now + seconds, []
        next_beat = self.now
        while True:
            at = min(self.engine.next_deadline(), next_beat if announced is not None else end + 1)
            if at > end:
                break
            self.now = max(self.now, at)
            if announced is not None and self.now >= next_beat:
                next_beat += 0.5
                done += self.hear(announced)
            else:
                done += self.step(Tick())
        self.now = end
        return done

    def hear(
        self,
        announced: S,
        goodbye: Goodbye = Goodbye.NONE,
        is_acked: bool = True,
        wants_ack: bool = False,
    ) -> list[Action]:
        """A beat of the peer."""
        self.seq += 1
        ack = Ack(OWN, self.engine.seq if is_acked else 0)
        beat = Beat(
            self.peer,
            LIFE,
            self.seq,
            ack,
            {"registry": announced},
            goodbye,
            wants_ack,
            facts=Facts(),
        )
        return self.step(BeatReceived(self.link, beat, self.now))

    def ends(self, kind: K, outcome: End = End.OK) -> list[Action]:
        """A script ends."""
        return self.step(ScriptExited("registry", kind, outcome, "exited with 1"))

    def order(self, command: Command, number: int = 1) -> list[Answer]:
        """An operator's command, and what is answered at once."""
        return [
            item
            for item in self.step(CommandReceived(number, "registry", command))
            if isinstance(item, Answer)
        ]

    @property
    def state(self) -> S:
        """The service's state."""
        return self.engine.state_of("registry")

    def started(self) -> Bench:
        """The service is started here by the rules, the peer being out."""
        self.hear(S.STOPPED)
        self.now += 0.1
        self.hear(S.STOPPED)
        self.ends(K.CHECK)
        self.ends(K.START)
        assert self.state is S.STARTED
        return self


def scripts(done: list[Action]) -> list[K]:
    """Which scripts are to be run."""
    return [action.kind for action in done if isinstance(action, RunScript)]


def beats(done: list[Action]) -> list[Beat]:
    """What is reported."""
    return [action.beat for action in done if isinstance(action, Announce)]


def records(done: list[Action], new: str) -> list[Record]:
    """What is recorded under that heading."""
    return [action for action in done if isinstance(action, Record) and action.new == new]


def watch_evaluations(mocker: MockerFixture) -> MagicMock:
    """Count the services that are evaluated from now on."""
    return mocker.spy(ServiceMachine, "evaluate")


def evaluated(spy: MagicMock) -> list[str]:
    """Return the services that were evaluated, in order."""
    return [call.args[0].spec.name for call in spy.call_args_list]
