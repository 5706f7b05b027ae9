"""L3: what can be proved about a silent peer is proved soon, and tried again soon.

While a service waits on a node for the proof of a fence plan, and no step is in the air, the next
step begins, or the service is started,

    within the START_READY delay of the silence, or of its own beginning to wait
    within a minute of the end of a step that did not prove enough

and in the time that the peer promised to be dead within, where that is a proof,

so that a silent peer is taken over within timeout, START_READY delay and the steps themselves, and
a path that works again is found within a minute. The wait is counted from the last sign of life,
fault or command, and the last pause of this node's own beats.

Exceptions:

* without an arbiter the node may have to wait for its turn: the bound of L1 holds
* the node lost its right to the peer, or was not answered since its boot
* the peer's daemon said goodbye, and may be back: that time is added

Every service is one that some level serves.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core import timing
from opensvc_openha.core.states import AWAITS_PROOF
from opensvc_openha.verify.invariants.observations import StepBegan, StepEnded
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise

L3 = Promise(
    "L3",
    "a silent peer that can be proved out is taken over in time; a failed round is followed by"
    " another within a minute",
)
ROUND_LIMIT_S = 60.0
_SLACK_S = 3 * timing.BEAT_INTERVAL_S
_PAUSE_S = 1.5 * timing.BEAT_INTERVAL_S
"""A node whose beats paused for longer stood still."""


class Rounds:
    """When the fence plan of one node last did something."""

    def __init__(self, longest_timeout_s: float) -> None:
        self._longest_timeout_s = longest_timeout_s
        self.lease_s = 0.0
        """For so long a round waits for the peer's promise, before it begins a step."""
        self._is_in_air = False
        self._has_ended = False
        """A step has ended since the peer was heard."""
        self._since = 0.0
        """From when on the wait is counted."""
        self._quiet_since = 0.0
        self._beat_at: float | None = None

    def disturb(self) -> None:
        """Count from the next beat on."""
        self._beat_at = None

    def hear(self, at: float) -> None:
        """Record a sign of life of the peer."""
        self._quiet_since, self._has_ended = at, False

    def begin_step(self, seen: StepBegan) -> None:
        """Record that a step begins."""
        self._is_in_air, self._since = True, seen.at

    def end_step(self, seen: StepEnded) -> None:
        """Record that a step ended, whatever it proved."""
        self._is_in_air, self._has_ended, self._since = False, True, seen.at

    def end_daemon(self) -> None:
        """Forget a daemon; the next one has to listen first."""
        self._is_in_air = self._has_ended = False
        self._beat_at = None

    def check(
        self,
        at: float,
        node: str,
        places: dict[str, ServicePlace],
        may_fence: bool,
        has_goodbye: bool,
    ) -> None:
        """Check, with each beat that the node announces, how long services have waited."""
        is_first = self._beat_at is None or at > self._beat_at + _PAUSE_S
        self._beat_at = at
        if is_first:
            # What it missed meanwhile must not become a verdict.
            self._quiet_since = max(self._quiet_since, at)
            self._since = at
        waiting = _waiting(places.values())
        if not waiting or self._is_in_air or not may_fence:
            self._since = at
            return
        if self._has_ended:
            limit_s, since = ROUND_LIMIT_S, self._since
        else:
            limit_s = timing.START_READY_DELAY_S + _SLACK_S
            hold_s = timing.RESTART_HOLD_S if has_goodbye else 0.0
            silent_at = self._quiet_since + max(self._longest_timeout_s, hold_s)
            since = max(self._since, silent_at)
        limit_s += self.lease_s
        if at > since + limit_s:
            names = ", ".join(name for name, place in places.items() if place in waiting)
            text = f"no step has begun for {at - since:.1f} s, and nothing else"
            L3.fail(at, node, names, text)


def _waiting(places: Iterable[ServicePlace]) -> list[ServicePlace]:
    return [place for place in places if place.is_trying and place.state in AWAITS_PROOF]
