"""Lives of the peer's daemon whose beats are refused, and which of them keep beating all the same.

Without a key one forged datagram decides which life is believed. It must not decide for ever: a
life that keeps beating while the believed one is silent is the peer itself. Knows only what was
refused, not what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.beat import BootId

PACE = 0.5
_SLACK_BEATS = 2
CHAINS_MAX = 8
"""More rows of beats than that are not followed at once: the one heard longest ago is dropped."""


@dataclass
class _Contender:
    """A row of beats of one life, each newer than the one before."""

    boot: BootId
    began: float
    at: float
    first_seq: int
    seq: int

    def keeps_pace(self, interval_s: float) -> bool:
        """True while its beats come at half the pace at least at which they were said: a recording
        cannot be stretched.
        """
        return (
            self.seq - self.first_seq + _SLACK_BEATS >= PACE * (self.at - self.began) / interval_s
        )


class Contenders:
    """The refused lives of one peer.

    One life may have several rows: a forged beat begins its own, which the true ones need not
    overtake.
    """

    def __init__(self) -> None:
        self._chains: list[_Contender] = []

    def note(
        self, boot: BootId, seq: int, now: float, patience_s: float, interval_s: float
    ) -> float | None:
        """For how many seconds this life has kept beating.

        None for a first beat, and for one that came before.

        A life that paused for ``patience_s`` begins again: what was held back somewhere comes in
        bursts. One that comes more slowly than its sender said it, every ``interval_s``, is being
        replayed.
        """
        self._chains = [each for each in self._chains if now < each.at + patience_s]
        own = [each for each in self._chains if each.boot == boot]
        if any(each.seq == seq for each in own):
            return None

        found = max(
            (each for each in own if each.seq < seq), key=lambda each: each.seq, default=None
        )
        if found is None:
            if len(self._chains) >= CHAINS_MAX:
                self._chains.remove(min(self._chains, key=lambda each: each.at))
            self._chains.append(_Contender(boot, now, now, seq, seq))
            return None
        found.at, found.seq = now, seq
        return now - found.began if found.keeps_pace(interval_s) else None

    def forget(self) -> None:
        """One of them is believed from now on; the others begin again."""
        self._chains.clear()
