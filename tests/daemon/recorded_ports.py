"""Ports of an engine that record what is done, in order."""

from __future__ import annotations

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


class Surroundings:
    """Notes what the node asks for; the disk may be out of order."""

    def __init__(self) -> None:
        self.done: list[Action] = []
        self.durable: list[bool] = []
        self.synced_after: list[int] = []
        self.is_disk_broken = False
        self.is_note_refused = False

    def persist(self, action: Persist, is_durable: bool) -> None:
        """Writes nothing: the order is what counts."""
        if is_durable and self.is_disk_broken:
            raise SystemFault("cannot write the STATE file: I/O error")
        self.done.append(action)
        self.durable.append(is_durable)

    def sync_states(self) -> None:
        """One wait."""
        self.synced_after.append(len(self.done))
        if self.is_disk_broken:
            raise SystemFault("cannot write services to disk: I/O error")

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
