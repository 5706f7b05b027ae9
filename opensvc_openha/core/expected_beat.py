"""Recognise beats without news: they differ from the newest one in nothing but what each renews.

At rest that is nearly every beat. Such a beat need not wake the engine: it waits for the next step,
which takes all that wait before it decides anything (``ExpectedBeats``). So no link is down, and no
peer silent, for a beat that waits, and each beat of this node acknowledges all that came in before
it. A step is due in time: this node's own beats are more frequent than any timeout.

What is expected follows from what the engine knows (``Engine.expected``): nothing is, unless the
peer is heard and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.beat import BootId, Goodbye
from opensvc_openha.core.events import BeatReceived
from opensvc_openha.core.facts import Facts
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.named_tuples import NamedTuple

EXPECTED_MAX = 64
"""So many beats wait at most: those that come in between two beats of this node, and many more."""


class ExpectedBeat(NamedTuple):
    """What a beat without news has, and the links on which it may come in.

    ``seq`` is the newest beat of the peer, ``own_seq`` that of this node.
    """

    node: str
    boot: BootId
    seq: int
    states: Mapping[str, ServiceState]
    facts: Facts | None
    interval_s: float
    is_authentic: bool
    links: tuple[LinkSpec, ...]
    own_boot: BootId
    own_seq: int

    def matches(self, event: BeatReceived) -> bool:
        """Return True for a beat without news."""
        beat = event.beat
        ack = beat.ack
        return (
            beat.boot == self.boot
            and beat.seq >= self.seq
            and ack is not None
            and ack.is_taken
            and ack.boot == self.own_boot
            and ack.seq <= self.own_seq
            and not beat.wants_ack
            and beat.goodbye is Goodbye.NONE
            and beat.is_complete
            and not beat.mute
            and beat.interval_s == self.interval_s
            and bool(event.key_id) is self.is_authentic
            and beat.node == self.node
            and event.link in self.links
            and beat.facts == self.facts
            and beat.states == self.states
        )
