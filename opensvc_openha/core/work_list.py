"""Choose the services that a step evaluates, and keep what each of them announces.

With thousands of services a step must not look at each: those move on which something has an
effect, or whose own deadline has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opensvc_openha.core.service_machine import Moment, ServiceMachine
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import ServiceState


@state_marks(
    not_state={
        "announced",
        "unacknowledged",
        "in_use",
        "starting",
        "given_up",
        "away",
        "left_by_order",
        "deadlines",
        "is_question_new",
    }
)
class WorkList:
    """The services to evaluate, and the states to announce."""

    def __init__(self) -> None:
        self.is_dirty = True
        """Every service is to be evaluated."""
        self._touched: set[str] = set()
        self.deadlines: dict[str, float] = {}
        """When time alone may move a service."""
        self.announced: Mapping[str, ServiceState] = {}
        """The states that beats report, of all services.

        Another mapping after each change, never changed itself: beats and what is worked out of it
        keep it.
        """
        self.unacknowledged: set[str] = set()
        """The services that wait for the peer's acknowledgement."""
        self.in_use: set[str] = set()
        """The services of which some may be in use here."""
        self.starting: set[str] = set()
        """The services that are about to be started."""
        self.given_up: set[str] = set()
        """The services that are given up since their disks are frozen here."""
        self.away: set[str] = set()
        """The services that may go back to their primary."""
        self.left_by_order: set[str] = set()
        """The services that an operator has taken from here."""
        self.is_question_new = False
        """The first service asks for an acknowledgement: further ones can wait with it."""

    def mark(self, services: Iterable[str]) -> None:
        """Evaluate these services in the next step, or in this one."""
        self._touched.update(services)

    def mark_all(self) -> None:
        """Evaluate every service."""
        self.is_dirty = True

    @property
    def is_waiting(self) -> bool:
        """True if a service is to be evaluated again at once."""
        return bool(self._touched)

    def chosen(self, services: Mapping[str, ServiceMachine], now: float) -> list[str]:
        """Return the services that may move: all, or those marked or with a deadline reached."""
        if self.is_dirty:
            return list(services)
        due = {name for name, at in self.deadlines.items() if at <= now}
        return sorted(name for name in self._touched | due if name in services)

    def update_deadlines(
        self, names: Iterable[str], services: Mapping[str, ServiceMachine], at: Moment
    ) -> None:
        """Ask ``names`` for their deadlines again."""
        if self.is_dirty:
            self.deadlines.clear()
        for name in names:
            machine = services.get(name)
            due = None if machine is None else machine.next_deadline(at.view, at.now)
            if due is None:
                self.deadlines.pop(name, None)
            else:
                self.deadlines[name] = due

    def update_announced(
        self, names: Iterable[str], services: Mapping[str, ServiceMachine], at: Moment
    ) -> bool:
        """Update the announced states of ``names``; return True if one is new or certain again.

        No beat has reported it yet.
        """
        before, had_questions = self.announced, bool(self.unacknowledged)
        new: dict[str, ServiceState] = {}
        gone: list[str] = []
        if self.is_dirty:
            gone = [name for name in before if name not in services]
            for members in self._sets:
                members.clear()
        for name in names:
            machine = services.get(name)
            if machine is None:
                if name in before:
                    gone.append(name)
                for members in self._sets:
                    members.discard(name)
                continue
            if before.get(name) is not machine.announced:
                new[name] = machine.announced
            _put(name, self.unacknowledged, machine.is_waiting_for_ack(at.view))
            _put(name, self.in_use, machine.is_in_use)
            _put(name, self.starting, machine.is_starting)
            _put(name, self.given_up, machine.is_given_up)
            _put(name, self.away, machine.is_away)
            _put(name, self.left_by_order, machine.is_left_by_order)
        if new or gone:
            announced = {**before, **new}
            for name in gone:
                announced.pop(name, None)
            self.announced = announced
        self.is_question_new = bool(self.unacknowledged) and not had_questions
        return bool(new)

    @property
    def _sets(self) -> tuple[set[str], ...]:
        own = self.unacknowledged, self.in_use, self.starting, self.given_up
        return *own, self.away, self.left_by_order

    def finish(self, moved: set[str]) -> None:
        """End a step: of all services, those that have just moved are evaluated again."""
        self.is_dirty = False
        # A state just entered may lead on at once, but is written and announced first.
        self._touched = moved


def _put(name: str, members: set[str], is_member: bool) -> None:
    (members.add if is_member else members.discard)(name)
