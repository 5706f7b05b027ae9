"""Define what a node remembers of fencing from one daemon to the next."""

from __future__ import annotations

from opensvc_openha.core.facts import Turn
from opensvc_openha.records import dataclass


@dataclass(frozen=True)
class Turns:
    """Division of the time after a cut, in seconds.

    ``first_s`` from the silence to the first turn, ``open_s`` the part of a turn in which a fence
    may begin, ``length_s`` the turn.
    """

    first_s: float
    open_s: float
    length_s: float


@dataclass(frozen=True)
class FencingMemory:
    """What a daemon remembers of fencing for the next one.

    Instants hold for one boot of the machine.

    ``has_heard`` is True if the peer was heard, and had heard this node, since the machine was
    booted. ``measured_s`` is the longest time that each group's fence took, and outlives a boot.
    """

    has_heard: bool = False
    turn: Turn = Turn.NONE
    silent_since: float | None = None
    booted_at: float | None = None
    measured_s: tuple[tuple[str, float], ...] = ()
    ended: tuple[tuple[str, bool, float], ...] = ()
    """Result of each group's last fence: (group, success, instant)."""
    turns: Turns | None = None
    """What both nodes knew when they heard each other last: a configuration edited during a cut
    changes nothing of it."""
    is_wary: bool = False
    """In this silence the peer may fence at any time except in the turns that it leaves to this
    node.
    """
    confirmed_by: str = ""
    """Who confirmed the peer out while that daemon ran.

    It proves nothing to the next daemon, which reports that the confirmation has ended.
    """
    seen_on: tuple[str, ...] = ()
    """Paths of the fence plan, with the mark of their options, that reported the peer on while it
    was heard; outlives a boot."""
    ejected_by: str = ""
    """Who ejected this node from the arbiter."""
    lost_to: str = ""
    """How this node lost the arbiter's claim in the present silence."""
    draining: tuple[tuple[str, float], ...] = ()
    """Services whose disks a step takes, or may have taken, from the peer, and until when what that
    one had on its way may land there."""

    def after_boot(self, shift_s: float = 0.0) -> FencingMemory:
        """Return the part that stays valid after a boot of the machine.

        ``shift_s`` takes an instant of the former boot to one of this boot. A boot of this node
        lets nothing of the peer's land any earlier.
        """
        draining = tuple((name, until + shift_s) for name, until in self.draining)
        return FencingMemory(measured_s=self.measured_s, seen_on=self.seen_on, draining=draining)
