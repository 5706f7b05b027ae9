"""Histories of an owner and a survivor: clocks at the extremes, faults, and what is concluded.

The survivor's proof is compared with the owner's watchdog, which bites as late as it can. Both
engines are those of production; nothing but values goes from one to the other.

python -m tests.core.lease_histories COUNT    runs so many histories, from seed 0 on
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opensvc_openha.core.events import Command, Leaving
from opensvc_openha.core.model import Profile
from opensvc_openha.core.proof import ProofKind
from opensvc_openha.verify.invariants import InvariantBroken, Observation
from tests.core.leases import FAST_POLICY, FASTEST, POLICY, SLOWEST, LeaseHost, LeasePair

RATES = (SLOWEST, 1.0, FASTEST)
_FOLLOW_S = 45.0
"""A history goes on for so long after its last fault: longer than a goodbye is believed."""


class FalseProof(AssertionError):
    """The survivor took for dead what was alive."""


class WatchedPair(LeasePair):
    """A pair that notes each life of the owner, and judges each proof of the survivor."""

    def __init__(self, is_fast: bool = False, disks: int = 1) -> None:
        super().__init__(
            policy=FAST_POLICY if is_fast else POLICY,
            profile=Profile.FAST if is_fast else Profile.TUTORIAL,
            # Short, so that the promise decides, and not the start-ready delay.
            timeout_s=0.3 if is_fast else 2.5,
            disks=disks,
            is_believed=True,
        )
        self.proved: list[tuple[float, float]] = []
        """When the survivor proved the owner dead, and for how long it had been."""
        self.deb1 = _Owner(self, 0)
        self.deb2 = _Survivor(self, 1)
        self.deb1.peer, self.deb2.peer = self.deb2, self.deb1
        self.hosts = (self.deb1, self.deb2)

    def observe(self, seen: Observation) -> None:
        """Check what must never happen; on such a network nothing need come to rest."""
        try:
            super().observe(seen)
        except InvariantBroken as error:
            if not str(error).startswith("L"):
                raise


class _Owner(LeaseHost):
    """Knows which of its daemons ran since the power came last, and when it went."""

    def __init__(self, pair: WatchedPair, index: int) -> None:
        super().__init__(pair, index)
        self.born = 0
        self.lost_at = -math.inf

    def power_on(self) -> None:
        """Boot the machine."""
        self.born = self.life
        super().power_on()

    def power_off(self, why: str = "power lost") -> None:
        """End everything on the machine."""
        self.lost_at = self.pair.now
        super().power_off(why)


class _Survivor(LeaseHost):
    """Judged whenever it has a new proof."""

    proved_at: float | None = None

    def finish_step(self) -> None:
        """Judge what follows of a step."""
        super().finish_step()
        engine, pair = self.engine, self.pair
        assert isinstance(pair, WatchedPair)
        proofs = () if engine is None else engine.snapshot(self.now).fencing.proofs
        proof = next((each for each in proofs if each.kind == ProofKind.SELF_FENCED.value), None)
        at = None if proof is None else proof.at
        if at is not None and at != self.proved_at:
            owner, newest = pair.deb1, self._newest_life()
            assert isinstance(owner, _Owner)
            if owner.is_powered and newest >= owner.born:
                raise FalseProof(f"{pair.now:.3f}: proved dead, and alive")
            pair.proved.append((pair.now, pair.now - owner.lost_at))
        self.proved_at = at

    def _newest_life(self) -> int:
        """The newest daemon of the owner that this node takes for its peer."""
        assert self.engine is not None and self.engine.promised is not None
        return self.engine.promised[0].counter


Fault = Callable[[LeasePair], None]


def _lossy(pair: LeasePair) -> None:
    lost = itertools.cycle((True, True, False))
    pair.is_lost = lambda: next(lost)


def _one_way(pair: LeasePair) -> None:
    pair.cut |= {("deb2", link) for link in pair.links_of(pair.deb2) if not link.is_disk}


def _heal(pair: LeasePair) -> None:
    pair.heal()
    pair.is_lost = lambda: False


def _late(seconds: float) -> Fault:
    def slow(pair: LeasePair) -> None:
        pair.deb1.write_s = lambda: seconds * pair.policy.answer_s

    return slow


def _unconfirmed(pair: LeasePair) -> None:
    pair.deb1.confirm_s = lambda: math.inf


def _mend(pair: LeasePair) -> None:
    pair.mend_disk(pair.deb1)
    pair.deb1.confirm_s = lambda: 0.002


def _blind(pair: LeasePair) -> None:
    pair.deb2.can_read = not pair.deb2.can_read


def _boot(pair: LeasePair) -> None:
    for host in pair.hosts:
        if host.engine is None:
            host.boot_from_files()


def _leave(leaving: Leaving) -> Fault:
    def leave(pair: LeasePair) -> None:
        if pair.deb1.engine is not None:
            pair.deb1.leave(leaving)

    return leave


def _kill(name: str) -> Fault:
    def kill(pair: LeasePair) -> None:
        host = pair.deb1 if name == "deb1" else pair.deb2
        if host.engine is not None:
            host.kill_daemon()

    return kill


def _switch(command: Command) -> Fault:
    def order(pair: LeasePair) -> None:
        if pair.deb1.engine is not None:
            pair.deb1.command(command)

    return order


def _lose_keeper(pair: LeasePair) -> None:
    if pair.deb1.engine is not None:
        pair.deb1.keeper.lose()


def _edit(pair: LeasePair) -> None:
    """Another time for an answer: withdrawn, disarmed, armed anew."""
    if pair.deb1.engine is not None:
        pair.configure(pair.deb1, pair.policy)


FAULTS: dict[str, Fault] = {
    "network cut": LeasePair.cut_net,
    "network cut one way": _one_way,
    "network lossy": _lossy,
    "network healed": _heal,
    "disk takes nothing": lambda pair: pair.break_disk(pair.deb1),
    "disk late": _late(0.7),
    "disk too late": _late(1.6),
    "disk not confirmed": _unconfirmed,
    "disk mended": _mend,
    "survivor blind, or not": _blind,
    "owner's daemon killed": _kill("deb1"),
    "survivor's daemon killed": _kill("deb2"),
    "owner restarts": _leave(Leaving.KEEP_SERVICES),
    "owner stops": _leave(Leaving.STOP_SERVICES),
    "daemons started": _boot,
    "service stopped": _switch(Command.FREEZE_STOP),
    "service started": _switch(Command.UNFREEZE),
    "owner without power": lambda pair: pair.deb1.crash(),
    "keeper lost": _lose_keeper,
    "configuration read again": _edit,
}


@dataclass(frozen=True)
class History:
    """One owner and one survivor, and what happens to them; waits are parts of the promise."""

    owner_rate: float = 1.0
    survivor_rate: float = 1.0
    pet_late: float = 1.0
    is_fast: bool = False
    steps: tuple[tuple[float, str], ...] = field(default=())

    def run(self, late_s: float = 0.0) -> WatchedPair:
        """Let it happen; raises FalseProof.

        ``late_s`` is how much later the owner's watchdog bites than its driver says.
        """
        pair = WatchedPair(self.is_fast)
        pair.deb1.keeper.late_s = late_s
        pair.deb1.rate, pair.deb2.rate = self.owner_rate, self.survivor_rate
        pair.deb1.keeper.pet_late = pair.deb2.keeper.pet_late = self.pet_late
        try:
            pair.start_first()
            for wait, fault in self.steps:
                pair.run(wait * (3.0 if self.is_fast else 11.4))
                FAULTS[fault](pair)
            pair.run(10.0 if self.is_fast else _FOLLOW_S)
        except (FalseProof, InvariantBroken) as error:
            raise FalseProof(f"{error}, in {self}") from error
        return pair


def drawn(seed: int) -> History:
    """Return a history by chance."""
    chance = random.Random(seed)
    steps = tuple(
        (chance.choice((0.01, 0.1, 0.3, 0.7, 1.1)), chance.choice(sorted(FAULTS)))
        for _ in range(chance.randint(1, 8))
    )
    rates = chance.choice(RATES), chance.choice(RATES)
    return History(*rates, chance.choice((0.0, 1.0)), chance.random() < 0.5, steps)


def search(seeds: Iterable[int]) -> tuple[int, int, float]:
    """Run histories; return how many, how many proofs there were, and the least time to spare."""
    count, proofs, least_s = 0, 0, math.inf
    for count, seed in enumerate(seeds, 1):  # noqa: B007 - counted
        pair = drawn(seed).run()
        proofs += len(pair.proved)
        least_s = min([least_s, *(spare_s for _, spare_s in pair.proved)])
    return count, proofs, least_s


if __name__ == "__main__":
    count, proofs, least_s = search(range(int(sys.argv[1])))
    print(f"{count} histories, {proofs} proofs, at least {least_s:.3f} s to spare")
