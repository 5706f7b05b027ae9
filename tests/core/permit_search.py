"""Try every order of what can happen to the owner of a promise, and judge each permit.

The judge keeps its own account of what the media show and of what a peer may still believe in. It
shares no code with the owner but the values:

* a permit comes no later than the time for an answer after its renewal began, never twice for one,
  and never for what was not confirmed;
* while a peer may believe in a promise, only a medium that this promise names gives permits, and
  acknowledgements;
* the watchdog is disarmed once no peer can believe in a promise, or nothing runs any more on a node
  that leaves; there is no permit after that.

python -m tests.core.permit_search DEPTH    tries all orders of so many moves
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

from opensvc_openha.core.actions import (
    Action,
    ArmWatchdog,
    DisarmWatchdog,
    GrantPermit,
    HoldWatchdog,
)
from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.events import RenewalConfirmed, WatchdogLost, WatchdogReady
from opensvc_openha.core.lease_owner import Circumstances, LeaseOwner
from opensvc_openha.core.model import ClusterSpec, FencingPolicy, LeasePolicy, LinkSpec
from opensvc_openha.core.promise import CLOCK_RATIO, Promise, media_of
from opensvc_openha.core.timing import LEASE_CONFIRM_S, RESTART_HOLD_S

_POLICY = LeasePolicy("/dev/watchdog", timeout_s=4.0, answer_s=1.0)
_OTHER_POLICY = replace(_POLICY, timeout_s=6.0, answer_s=0.5)
_DISKS = tuple(LinkSpec("deb1", "dio", f"/dev/hb{n}", "", 0, 20 * n, 10.0) for n in range(2))
_FIRST, _SECOND = media_of(_DISKS).values()


class PermitBroken(AssertionError):
    """The owner did what a peer does not count with."""


class Bench:
    """One owner, what happens to it, and the judge."""

    def __init__(self) -> None:
        self.now = 100.0
        self.policy: LeasePolicy | None = _POLICY
        self.disks = _DISKS[:1]
        self.owner = LeaseOwner(self._spec(), self.now)
        self.at = Circumstances(1, True, False, "", "", Goodbye.NONE)
        self.has_facts = True
        self.timeout_s = 4.0
        self.trace: list[str] = []
        # What the judge knows.
        self.beats: list[tuple[float, bool, Promise | None]] = []
        self.shown: dict[bytes, int] = {}
        self.acked = 0
        """Newest beat with facts that the peer has."""
        self.said_at: list[tuple[int, float, Promise | None]] = []
        """From which beat with facts on this was said, and when that was decided."""
        self.promise: Promise | None = None
        self.decided_at = self.now
        self.is_armed = False
        self.answer_s = 0.0
        self.granted = -math.inf
        self.permits = 0

    def _spec(self) -> ClusterSpec:
        return ClusterSpec("deb1", "deb2", self.disks, (), fencing=FencingPolicy(lease=self.policy))

    # --- moves ------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Let the next beat leave."""
        self.now += 0.3
        self._update()
        seq = self.at.next_seq
        promise = self.owner.promise if self.has_facts else None
        self._judge(self.owner.record_beat(seq, self.has_facts, self.now))
        self.beats.append((self.now, self.has_facts, promise))
        if self.has_facts and (not self.said_at or self.said_at[-1][2] != promise):
            self.said_at.append((seq, self.decided_at, promise))
        self.at = replace(self.at, next_seq=seq + 1)
        self._update()

    def acknowledge(self, back: int = 0) -> None:
        """Let the peer acknowledge one of the last beats."""
        self.now += 0.1
        seq = len(self.beats) - back
        if seq > 0:
            if self.beats[seq - 1][1]:
                self.acked = max(seq, self.acked)
            done = self.owner.acknowledged(seq, self.now)
            self._judge(done, self.beats[seq - 1][0])
        self._update()

    def write(self, medium: bytes, took_s: float = 0.2, back: int = 0) -> None:
        """Let one of the last beats be read back from a medium, if this node has it."""
        seq, began_at = len(self.beats) - back, self.now
        self.now += took_s
        if seq <= 0 or medium not in media_of(self.disks).values():
            return self._update()
        if self.beats[seq - 1][1]:
            self.shown[medium] = max(seq, self.shown.get(medium, 0))
        event = RenewalConfirmed(medium, seq, began_at, self.now)
        self._judge(self.owner.confirmed(event, self.now), began_at, medium)
        return self._update()

    def ready(self) -> None:
        """Let the keeper open the watchdog, if it was ordered to and has had a permit."""
        if self.is_armed and self.permits:
            event = WatchdogReady(self.timeout_s, 0.1, 2, False, "softdog")
            self.owner.watchdog_ready(event, self.now)
        self._update()

    def lose(self) -> None:
        """Let the daemon lose the keeper: there is nobody to give a permit to."""
        self.is_armed = False
        self._judge(self.owner.watchdog_lost(WatchdogLost("gone"), self.now))
        self._update()

    def use(self) -> None:
        """Stop what runs here, or start it."""
        self.at = replace(self.at, is_in_use=not self.at.is_in_use)
        self._update()

    def prove(self) -> None:
        """Prove the peer out, until it acknowledges something."""
        self.at = replace(self.at, proved_out="confirmed by root")
        self._update()
        self.at = replace(self.at, proved_out="")

    def forget(self) -> None:
        """Let the peer's daemon be started again: beats have no facts for a while."""
        self.has_facts = not self.has_facts
        self.at = replace(self.at, peer_problem="" if self.has_facts else "not known")
        self._update()

    def configure(self) -> None:
        """Edit the settings of the watchdog."""
        self.policy = _OTHER_POLICY if self.policy == _POLICY else _POLICY
        self.owner.reconfigure(self._spec())
        self._update()

    def remove(self) -> None:
        """Remove the lease, or add it again."""
        self.policy = None if self.policy else _POLICY
        self.owner.reconfigure(self._spec())
        self._update()

    def plug(self) -> None:
        """Add a disk, take the first one away, or come back to that."""
        here = _DISKS.index(self.disks[-1])
        self.disks = {(0, 1): _DISKS, (1, 2): _DISKS[1:], (1, 1): _DISKS[:1]}[here, len(self.disks)]
        self.owner.reconfigure(self._spec())
        self._update()

    def leave(self, goodbye: Goodbye) -> None:
        """Order the daemon to leave; it says its goodbye if it may."""
        self.at = replace(self.at, goodbye=goodbye)
        self._update()
        if not self.owner.holds_back(self.now):
            for action in self.owner.leave():
                if isinstance(action, HoldWatchdog):
                    self._judge_hold(action)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self._update()

    def _update(self) -> None:
        self._judge(self.owner.update(self.at, self.now))
        if self.owner.promise != self.promise:
            self.promise, self.decided_at = self.owner.promise, self.now
        for deadline in self.owner.deadlines(self.now):
            if deadline <= self.now:
                raise PermitBroken(f"waits for {deadline:.1f} at {self.now:.1f}")

    # --- the judge --------------------------------------------------------------------------------

    def _believed(self) -> list[tuple[Promise, float]]:
        """What a peer may still believe in, and until when it was said.

        It reads every medium of it, and believes its newest beat.
        """
        found = []
        for number, (_, _, promise) in enumerate(self.said_at):
            if promise is None:
                continue
            later = self.said_at[number + 1 :]
            ended, ended_at = later[0][:2] if later else (sys.maxsize, math.inf)
            shown = [self.acked, *(self.shown.get(medium, 0) for medium in promise.media)]
            if max(shown) < ended:
                found.append((promise, ended_at))
        return found

    def _judge(
        self, done: Iterable[Action], renewed_at: float | None = None, medium: bytes | None = None
    ) -> None:
        for action in done:
            if isinstance(action, ArmWatchdog):
                assert self.policy is not None
                self.is_armed, self.permits = True, 0
                self.answer_s = self.policy.answer_s
            elif isinstance(action, GrantPermit):
                self._judge_permit(action, renewed_at, medium)
            elif isinstance(action, DisarmWatchdog):
                self._judge_end()
                self.is_armed = False

    def _judge_permit(
        self, action: GrantPermit, renewed_at: float | None, medium: bytes | None
    ) -> None:
        self.permits += 1
        if action.renewed_at != renewed_at:
            raise PermitBroken(f"a permit for {action.renewed_at}, which was not confirmed now")
        if not self.is_armed:
            raise PermitBroken("a permit after the end")
        if self.now > renewed_at + self.answer_s:
            raise PermitBroken(f"a permit {self.now - renewed_at:.2f} s after the renewal")
        if renewed_at <= self.granted:
            raise PermitBroken("a second permit for a renewal")
        self.granted = renewed_at
        if medium is not None and any(medium not in each.media for each, _ in self._believed()):
            raise PermitBroken("a permit by a medium that a peer need not look at")

    def _judge_end(self) -> None:
        is_left = self.at.goodbye is not Goodbye.NONE and not self.at.is_in_use
        if self._believed() and not is_left:
            raise PermitBroken("disarmed while a peer may believe in a promise")
        missing = [
            medium
            for number, (_, _, promise) in enumerate(self.said_at[:-1])
            if promise is not None and self.now < self.said_at[number + 1][1] + LEASE_CONFIRM_S
            for medium in promise.media
            if self.shown.get(medium, 0) < self.said_at[number + 1][0]
        ]
        if missing and not is_left:
            raise PermitBroken("disarmed before every medium had the time to show it")

    def _judge_hold(self, action: HoldWatchdog) -> None:
        least_s = CLOCK_RATIO * RESTART_HOLD_S
        for promise, ended_at in self._believed():
            if promise.death_s < least_s or ended_at < math.inf:
                raise PermitBroken(f"held while a peer may believe in {promise.death_s} s")
        if action.until > self.now + RESTART_HOLD_S:
            raise PermitBroken("held for longer than promised")


MOVES: dict[str, Callable[[Bench], object]] = {
    "beat": Bench.beat,
    "acknowledged": Bench.acknowledge,
    "acknowledged late": lambda bench: bench.acknowledge(3),
    "slot": lambda bench: bench.write(_FIRST),
    "second slot": lambda bench: bench.write(_SECOND),
    "slot late": lambda bench: bench.write(_FIRST, 1.05),
    "old beat in the slot": lambda bench: bench.write(_FIRST, back=1),
    "ready": Bench.ready,
    "lost": Bench.lose,
    "use": Bench.use,
    "proved out": Bench.prove,
    "peer restarted": Bench.forget,
    "configured": Bench.configure,
    "lease removed": Bench.remove,
    "disk plugged": Bench.plug,
    "restart": lambda bench: bench.leave(Goodbye.RESTART),
    "stop": lambda bench: bench.leave(Goodbye.LEFT),
    "half a second": lambda bench: bench.wait(0.5),
    "six seconds": lambda bench: bench.wait(6.0),
}
ARMED = ("beat", "acknowledged", "ready", "beat", "slot")
"""After these moves a promise is confirmed."""


def run(names: Iterable[str], bench: Bench | None = None) -> Bench:
    """Let all this happen, in this order; raises PermitBroken with the order."""
    bench = bench or Bench()
    bench.wait(0.0)
    done: list[str] = []
    for name in names:
        done.append(name)
        try:
            MOVES[name](bench)
        except AssertionError as error:
            raise PermitBroken(f"{error}, after: {', '.join(done)}") from error
    return bench


def search(depth: int, before: tuple[str, ...] = ARMED) -> int:
    """Try all orders of ``depth`` moves after some others; return how many there were."""
    count = 0
    for order in itertools.product(MOVES, repeat=depth):
        run((*before, *order))
        count += 1
    return count


if __name__ == "__main__":
    print(f"{search(int(sys.argv[1]))} orders, no permit that a peer does not count with")
