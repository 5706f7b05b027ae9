"""Take the disks of services from a silent peer, in the one order that both nodes use.

Two nodes that take several disks each in an order of its own end with some of them each. So disks
are taken by their serial numbers, and the first loss ends it. Where a disk could not abort the
writes of the node that was ejected, these may land some seconds later: then the whole takes
``drain_s`` longer, and is looked at once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from opensvc_openha.errors import OpenhaError, SystemFault
from opensvc_openha.fence_devices.scsi_disk import DiskFault
from opensvc_openha.fence_devices.shared_disk import SharedDisk, Taken, meet
from opensvc_openha.formats.reservation_key import key_text
from opensvc_openha.system.clock import monotonic, pause

DRAIN_S = 10.0
"""How long a write without abort may still be on its way."""
DRAIN_MAX_S = 600.0
"""Longest such time that a fence waits."""


class NotAllTaken(SystemFault):
    """A disk could not be taken; the message says which ones this node has."""


@dataclass(frozen=True)
class TakeRules:
    """How disks are taken.

    ``is_proof``: from which follows that nobody else writes: so it is also waited where nobody was
    registered whose writes could have been aborted.
    """

    key: int
    may_abort: bool = True
    drain_s: float = DRAIN_S
    is_proof: bool = True
    ends_at: float | None = None
    """Instant, of ``clock.monotonic``, at which this process will be killed."""


@dataclass(frozen=True)
class TakeReport:
    """All disks, in the order in which they were taken."""

    taken: tuple[Taken, ...] = ()
    drained_s: float = 0.0
    hints: tuple[str, ...] = field(default=())

    @property
    def ejected(self) -> tuple[int, ...]:
        """Keys of the nodes that were ejected from any disk."""
        return tuple(dict.fromkeys(key for disk in self.taken for key in disk.ejected))

    def text(self, key: int) -> str:
        """One line for reasons and logs."""
        names = ", ".join(disk.name for disk in self.taken)
        done = f"our key {key_text(key)} alone holds {names}"
        if self.ejected:
            keys = ", ".join(map(key_text, self.ejected))
            is_aborted = all(disk.was_aborted for disk in self.taken)
            done = f"preempted {keys}{' and aborted its writes' if is_aborted else ''}; {done}"
        if self.drained_s:
            done += f"; writes without abort had {self.drained_s:g} s to land"
        return done


def in_order(disks: Iterable[SharedDisk]) -> list[SharedDisk]:
    """Return disks in the order of every node; DiskFault if that cannot be known."""
    known = list(disks)
    meet(known)
    nameless = [disk.name for disk in known if disk.unit().is_empty]
    if nameless and len(known) > 1:
        raise DiskFault(
            f"{nameless[0]} has neither serial number nor identifier: the nodes cannot agree on"
            " an order of the disks"
        )
    return sorted(known, key=lambda disk: (disk.unit().serial, disk.unit().identifier))


def take_all(
    disks: Sequence[SharedDisk], rules: TakeRules, wait: Callable[[float], None] = pause
) -> TakeReport:
    """Become the only node that may write these disks; NotAllTaken at the first loss."""
    taken: list[Taken] = []
    ordered = in_order(disks)
    for disk in ordered:
        try:
            taken.append(disk.take(rules.key, rules.may_abort))
        except OpenhaError as error:
            ours = ", ".join(done.name for done in taken)
            if any(each.may_hold_writes for each in ordered):
                # What is tried next, or a start on another proof, finds these disks its own, and
                # nobody to wait for.
                left_s = math.inf if rules.ends_at is None else rules.ends_at - monotonic()
                wait(max(min(rules.drain_s, left_s), 0.0))
            raise NotAllTaken(f"{error}{f' (already taken: {ours})' if ours else ''}") from None
    hints = tuple(
        f"{disk.name}: {disk.paths_text} (not {', '.join(disk.failed_paths)})"
        for disk in taken
        if disk.failed_paths
    )
    if not any(_needs_drain(disk, rules) for disk in taken):
        return TakeReport(tuple(taken), 0.0, hints)
    left_s = math.inf if rules.ends_at is None else rules.ends_at - monotonic()
    if left_s < rules.drain_s:
        # The daemon waits in place of this process, see ``FencePlan``.
        raise NotAllTaken(
            f"writes without abort need drain = {rules.drain_s:g} s to land, and {left_s:.0f} s are"
            " left of the limit"
        )
    wait(rules.drain_s)
    for disk in ordered:
        state = disk.read()
        if not state.is_only(rules.key):
            raise NotAllTaken(f"{disk.name}: lost while writes had time to land: {state}")
    return TakeReport(tuple(taken), rules.drain_s, hints)


def open_all(disks: Iterable[SharedDisk], stack: ExitStack) -> list[SharedDisk]:
    """Return the disks, which the stack closes."""
    opened = list(disks)
    for disk in opened:
        stack.callback(disk.close)
    return opened


def _needs_drain(disk: Taken, rules: TakeRules) -> bool:
    return not disk.was_aborted or (rules.is_proof and not disk.ejected)
