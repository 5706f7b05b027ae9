"""Track the peer incarnations whose beats are rejected, and which of them keep beating.

Without a key one forged datagram decides which incarnation is accepted. It must not decide forever:
an incarnation that keeps beating while the accepted one is silent is the peer itself. This module
only knows rejected beats, not the consequences.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.state_marks import state_marks
from opensvc_openha.core.timing import PROOF_LIFE_S

PACE = 0.5
_SLACK_BEATS = 2
CHAINS_MAX = 8
"""Rows of beats followed at once; above that the one heard longest ago is dropped."""


@state_marks(not_state={"boot", "first_seq", "seq"}, memory_s={"at": PROOF_LIFE_S + 1})
@dataclass
class _Contender:
    """A row of beats of one incarnation, each newer than the one before."""

    boot: BootId
    began: float
    at: float
    first_seq: int
    seq: int

    def keeps_pace(self, interval_s: float) -> bool:
        """Return True while its beats arrive at half the rate or more at which they were sent.

        A recording cannot be stretched.
        """
        return (
            self.seq - self.first_seq + _SLACK_BEATS >= PACE * (self.at - self.began) / interval_s
        )


class Contenders:
    """The rejected incarnations of one peer.

    One incarnation may have several rows: a forged beat begins its own, so that genuine ones need
    not overtake it.
    """

    def __init__(self) -> None:
        self._chains: list[_Contender] = []

    def record(
        self, boot: BootId, seq: int, now: float, patience_s: float, interval_s: float
    ) -> float | None:
        """Return for how many seconds this incarnation has kept beating.

        None for a first beat, and for a repetition. An incarnation that paused for ``patience_s``
        starts over: held-back beats arrive in bursts. One that arrives more slowly than it was
        sent, every ``interval_s``, is a replay.
        """
        self._chains = [each for each in self._chains if now < each.at + patience_s]
        own = [each for each in self._chains if each.boot == boot]
        if any(each.seq == seq for each in own):
            return None

        found = max(
            (each for each in own if each.seq < seq), key=lambda each: each.seq, default=None
        )
        if found is None:
            # A forger may begin rows without end; the peer's own row is heard from more often.
            if len(self._chains) >= CHAINS_MAX:
                self._chains.remove(min(self._chains, key=lambda each: each.at))
            self._chains.append(_Contender(boot, now, now, seq, seq))
            return None
        found.at, found.seq = now, seq
        return now - found.began if found.keeps_pace(interval_s) else None

    def forget(self) -> None:
        """Drop all rows: one incarnation is accepted now, and the others start over."""
        self._chains.clear()
