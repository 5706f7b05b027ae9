"""Ports of an engine that record what is done, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    LeaseAction,
    MirrorPeer,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunFenceStep,
    RunScript,
)
from opensvc_openha.errors import SystemFault
from opensvc_openha.storage.state_writer import write_each


class Surroundings:
    """Notes what the node asks for; the disk may be out of order."""

    def __init__(self) -> None:
        self.done: list[Action] = []
        self.waits = 0
        self.is_disk_broken = False
        self.is_note_refused = False

    def persist_all(self, actions: Sequence[Persist], note: Callable[[], None]) -> dict[str, str]:
        """One wait for all of them."""
        self.waits += 1
        states = {action.service: action for action in actions}
        return write_each(states, lambda _, action: self.persist(action), note)

    def persist(self, action: Persist) -> None:
        """Writes nothing: the order is what counts."""
        if self.is_disk_broken:
            raise SystemFault("cannot write the STATE file: I/O error")
        self.done.append(action)

    def remember_fencing(self, action: RememberFencing) -> None:
        """The note of fencing."""
        if self.is_note_refused:
            raise SystemFault("cannot write .proc/fencing: I/O error")
        self.done.append(action)

    def _note(
        self,
        action: RememberIncarnations
        | MirrorPeer
        | Announce
        | RunScript
        | RunFenceStep
        | LeaseAction
        | Answer
        | Record,
    ) -> None:
        self.done.append(action)

    remember_incarnations = mirror = announce = run_script = run_fence_step = _note
    carry_out_lease = answer = record = _note
