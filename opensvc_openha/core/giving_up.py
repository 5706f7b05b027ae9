"""Decide about a service whose disks are frozen on this node, while its peer may read them.

It is given up if the peer reads them, says so in a new and authenticated beat, and would start it.
A stop that hangs on the disks, or that ends while they do not answer, proves nothing: what was
written here may still be on its way. Then only the end of this node is a proof.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.data_disks import DataDisks
from opensvc_openha.core.events import DisksLook
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.model import Policy, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.states import UP, ServiceState
from opensvc_openha.core.status import PeerStanding, ServiceStatus
from opensvc_openha.core.timing import FROZEN_STOP_S, GIVE_UPS_MAX, GIVE_UPS_WINDOW_S
from opensvc_openha.records import dataclass

_SEEN = {
    DiskAnswer.ANSWERS: "answer",
    DiskAnswer.FROZEN: "do not answer",
    DiskAnswer.UNKNOWN: "are not known to answer",
}
_NOT_KNOWN = "not known"
_NO_PEER = (None, ServiceState.UNKNOWN)


@dataclass(frozen=True)
class DisksSight:
    """What both nodes see of a service's disks.

    ``frozen_s`` is for how long they have not answered here, 0 if they do. ``why_not`` is why the
    peer would not start the service if it were stopped here; empty if it would.
    """

    own: DisksLook
    frozen_s: float
    peer: DiskAnswer
    peer_frozen_s: int | None
    why_not: str

    @property
    def is_frozen(self) -> bool:
        """True if they do not answer here."""
        return self.own.answer is DiskAnswer.FROZEN

    @property
    def is_read_here(self) -> bool:
        """True if they answer here."""
        return self.own.answer is DiskAnswer.ANSWERS

    @property
    def own_text(self) -> str:
        """What this node sees, for the operator."""
        if self.is_frozen:
            return f"no answer of {self.own.text} for {self.frozen_s:.0f} s"
        return "answer" if self.is_read_here else f"{_NOT_KNOWN}: {self.own.text}"

    @property
    def peer_text(self) -> str:
        """What the peer reports, for the operator."""
        if self.peer is DiskAnswer.FROZEN:
            return f"no answer for {self.peer_frozen_s} s"
        return "answer" if self.peer is DiskAnswer.ANSWERS else _NOT_KNOWN


def sight_of(service: str, disks: DataDisks, view: PeerView, now: float) -> DisksSight:
    """Return what both nodes see of the disks of a service."""
    peer = view.disks_of(service, now)
    if peer is DiskAnswer.ANSWERS and disks.is_frozen_unheard(service, view.facts_acked_seq):
        peer = DiskAnswer.UNKNOWN
    frozen = {} if view.facts is None else view.facts.frozen
    return DisksSight(
        disks.look_at(service, now),
        disks.frozen_s(service, now),
        peer,
        frozen.get(service),
        _why_not(service, peer, view),
    )


def _why_not(service: str, peer: DiskAnswer, view: PeerView) -> str:
    if view.standing is not PeerStanding.LIVE:
        return "the peer is not heard"
    if peer is DiskAnswer.FROZEN:
        return "they do not answer on the peer either"
    if peer is DiskAnswer.UNKNOWN:
        return "it is not known whether the peer reads them"
    if not view.hears_this_node:
        return "the peer does not hear this node"
    return view.why_not_taking(service)


def warnings(services: Iterable[ServiceStatus], peer: str) -> tuple[str, ...]:
    """Return warnings about services that could not be given up, since nothing is known."""
    found = []
    for svc in services:
        if svc.disks.startswith(_NOT_KNOWN):
            found.append(
                f"frozen_storage = give_up of {svc.name} has no effect: its disks are {svc.disks}"
            )
        elif svc.disks and svc.peer_disks == _NOT_KNOWN and svc.peer_state not in _NO_PEER:
            found.append(
                f"frozen_storage = give_up of {svc.name} has no effect: {peer} does not report"
                " whether it reads the disks (the same option there, and a key?)"
            )
    return tuple(found)


@state_marks(memory_s={"_began_at": FROZEN_STOP_S + 1})
class GivingUp:
    """One service that this node gives up, from the decision until it is stopped."""

    def __init__(self) -> None:
        self._instants: tuple[float, ...] = ()
        self._began_at: float | None = None
        self.is_stop_hung = False
        """Its stop failed while its disks did not answer: it is stopped again once they do."""
        self.is_to_freeze = False
        """Whoever ordered that stop wanted it frozen as stopped."""
        self._was_frozen = False
        """Its disks did not answer at some time since its stop began."""

    @property
    def is_going_on(self) -> bool:
        """True from the decision on, until it was stopped or something else was decided."""
        return self._began_at is not None

    def begin(self, now: float) -> None:
        """Give the service up."""
        if not self.is_going_on:
            self._instants = (*self._recent(now), now)
        self._began_at, self.is_stop_hung, self.is_to_freeze = now, False, False

    def stop_begins(self, sight: DisksSight) -> None:
        """Note that a stop script begins."""
        self._was_frozen = sight.is_frozen

    def stop_goes_on(self, sight: DisksSight) -> None:
        """Note what is seen of the disks while it runs."""
        self._was_frozen = self._was_frozen or sight.is_frozen

    def stop_again(self, now: float) -> None:
        """Stop it once more, now that its disks answer: given up or not, as it was."""
        self._began_at = now if self.is_going_on else None
        self.is_stop_hung = self.is_to_freeze = False

    def stop_failed(self, sight: DisksSight, is_to_freeze: bool) -> None:
        """Judge the end of a stop that proves nothing: the disks, or the stop itself."""
        if self.is_stop_unproved(sight):
            self.is_stop_hung, self.is_to_freeze = True, is_to_freeze
        else:
            # An operator has to look.
            self.end()

    def end(self) -> None:
        """Leave it at that: it is stopped, or is not to be given up any more."""
        self._began_at = None
        self.is_stop_hung = self.is_to_freeze = False

    def forget(self) -> None:
        """Clear the count: an operator acted on the service."""
        self._instants = ()

    def _recent(self, now: float) -> tuple[float, ...]:
        return tuple(at for at in self._instants if at > now - GIVE_UPS_WINDOW_S)

    def is_due(self, policy: Policy, sight: DisksSight, now: float) -> bool:
        """Return True if a service that runs here is to be given up now."""
        is_overdue = sight.is_frozen and sight.frozen_s >= policy.frozen_after_s
        return is_overdue and not sight.why_not and self._is_allowed(now)

    def _is_allowed(self, now: float) -> bool:
        return len(self._recent(now)) < GIVE_UPS_MAX

    def is_stop_unproved(self, sight: DisksSight) -> bool:
        """Return True if the end of a stop script proves nothing."""
        is_doubtful = self.is_going_on or self._was_frozen
        return sight.is_frozen or (is_doubtful and not sight.is_read_here)

    def is_flush_due(self, sight: DisksSight) -> bool:
        """Return True if a stop that has ended may have left writes behind, which land now."""
        return self._was_frozen and sight.is_read_here

    def is_to_stop_again(self, sight: DisksSight) -> bool:
        """Return True if a stop that hung may succeed now."""
        return self.is_stop_hung and sight.is_read_here

    def why_not_needed(
        self,
        svc: ServiceSpec,
        state: ServiceState,
        sight: DisksSight,
        view: PeerView,
        now: float,
    ) -> str:
        """Return why this node need not be proved out for the service; empty if it must be."""
        name = svc.name
        if self._began_at is None:
            return f"{name} is {state.name}"
        if state is not ServiceState.STOP_FAILED and now < self._began_at + FROZEN_STOP_S:
            return f"{name} is being stopped"
        if not sight.is_frozen:
            return f"here the disks of {name} {_SEEN[sight.own.answer]}"
        if sight.frozen_s < svc.policy.frozen_after_s:
            return f"the disks of {name} have answered here since"
        if view.standing is not PeerStanding.LIVE:
            return "the peer is not heard any more"
        if view.state_of(name) in UP:
            return f"the peer runs {name}"
        if sight.peer is not DiskAnswer.ANSWERS:
            return f"on the peer the disks of {name} {_SEEN[sight.peer]}"
        return ""

    def explain(
        self, state: ServiceState, policy: Policy, sight: DisksSight, silence: str, now: float
    ) -> str:
        """Explain to the operator what follows of frozen disks; empty if they answer here.

        ``silence`` says what this node does that has given it up, or why it does nothing.
        """
        if not sight.is_frozen:
            return ""
        text = f"its disks do not answer here: {sight.own_text}"
        if self.is_going_on:
            return f"{text}; given up; {silence or 'its stop is waited for'}"
        if state is ServiceState.FROZEN_START:
            return f"{text}; an operator froze it: not given up"
        if state is ServiceState.STOPPED:
            return text if sight.why_not else f"{text}; left to the peer, which reads them"
        if state is not ServiceState.STARTED:
            return text
        if sight.why_not:
            return f"{text}; not given up: {sight.why_not}"
        if not self._is_allowed(now):
            minutes = GIVE_UPS_WINDOW_S / 60
            return f"{text}; not given up again: {GIVE_UPS_MAX} times within {minutes:g} min"
        left_s = max(0.0, policy.frozen_after_s - sight.frozen_s)
        return f"{text}; the peer reads them: given up in {left_s:.0f} s"
