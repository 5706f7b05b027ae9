"""Owner and survivor together: whatever fails, nothing runs on a node that is proved out.

Random histories of two nodes whose clocks run at the extremes. Networks are cut and disks hang, in
one direction or both; writes land late, or land and are reported lost; reads fail; daemons are
stopped, killed and started; keepers die, and pet as late as they may. The invariants of the pair
find a start beside a copy that still runs, and a start without a ground.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from opensvc_openha.core.events import Leaving
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind, Profile
from opensvc_openha.verify.invariants import Disturbed, InvariantChecker
from tests.core.leases import FAST_POLICY, FASTEST, POLICY, SLOWEST, LeaseHost, LeasePair
from tests.seeds import seeds

LEASE = FencePath("lease", PathKind.LEASE, 0.0)
HISTORY_S = 150.0
INFINITE = float("inf")


class History(LeasePair):
    """A pair by a plan of the lease alone, and what happens to it by one seed."""

    def __init__(self, seed: int, profile: Profile | None = None, timeout_s: float = 5.0) -> None:
        self.random = choose = random.Random(seed)
        if profile is None:
            profile = choose.choice([Profile.FAST, Profile.TUTORIAL, Profile.TUTORIAL])
            timeout_s = choose.choice([5.0, 10.0])
        is_fast = profile is Profile.FAST
        super().__init__(
            policy=FAST_POLICY if is_fast else POLICY,
            profile=profile,
            timeout_s=1.0 if is_fast else timeout_s,
            disks=choose.choice([1, 1, 2]),
            check="/bin/true",
        )
        self.unit_s = 0.3 if is_fast else 1.0
        self.fencing = FencingPolicy(levels=((LEASE,),), lease=self.policy)
        assert isinstance(self.invariants, InvariantChecker)
        self.invariants.expect_plan()
        self.proved = 0
        for host in self.hosts:
            host.rate = choose.choice([FASTEST, 1.0, SLOWEST])
            host.keeper.pet_late = choose.choice([0.0, 0.5, 1.0])
            host.keeper.holders = self.policy.holders

    def play(self) -> None:
        """Something happens again and again, and then the owner loses everything."""
        self.start_first()
        end = self.now + HISTORY_S
        while self.now < end:
            self.observe(Disturbed())
            self.random.choice(self.moves())()
            self.run(self.random.choice([0.2, 1.0, 3.0, 9.0, 15.0]) * self.unit_s)
            self._note_proofs()

    def _note_proofs(self) -> None:
        for host in self.hosts:
            engine = host.engine
            proofs = () if engine is None else engine.snapshot(host.now).fencing.proofs
            if any(proof.kind == "self-fenced" for proof in proofs):
                self.proved += 1
                assert not (host.peer.running and host.peer.is_powered), "it is not dead"

    def moves(self) -> list[Callable[[], None]]:
        """What may happen now, on either node."""
        found: list[Callable[[], None]] = [self.heal, self.cut_net, self.cut_net, self._cut_one]
        for host in self.hosts:
            if not host.is_powered or host.engine is None:
                found += [host.boot_from_files] * 2
                continue
            found += [
                host.crash,
                host.end_daemon,
                lambda host=host: self._stop(host),  # type: ignore[misc]
                lambda host=host: self.break_disk(host),  # type: ignore[misc]
                lambda host=host: self.mend_disk(host),  # type: ignore[misc]
                lambda host=host: self._slow_disk(host),  # type: ignore[misc]
                lambda host=host: self._lie(host),  # type: ignore[misc]
                lambda host=host: self._blind(host),  # type: ignore[misc]
                lambda host=host: host.keeper.lose(),  # type: ignore[misc]
                lambda host=host: host.leave(Leaving.KEEP_SERVICES),  # type: ignore[misc]
            ]
        return found

    def _cut_one(self) -> None:
        name = self.random.choice(["deb1", "deb2"])
        self.cut |= {(link.node, link) for link in self.links if link.node == name}

    def _stop(self, host: LeaseHost) -> None:
        """The daemon stands still for a while, its keeper does not."""
        host.is_stalled = True
        self.run(self.random.choice([0.5, 2.0, 8.0, 20.0]) * self.unit_s)
        if host.is_stalled:
            self.resume(host)

    def _slow_disk(self, host: LeaseHost) -> None:
        """Writes land late, some after they were given up."""
        host.write_s = lambda: self.random.choice([0.005, 0.5, 1.5, 2.9, 6.0, 20.0]) * self.unit_s

    def _lie(self, host: LeaseHost) -> None:
        """Writes land, and are reported lost."""
        host.write_s, host.confirm_s = (lambda: 0.005), (lambda: INFINITE)

    def _blind(self, host: LeaseHost) -> None:
        host.can_read = not host.can_read

    def mend_disk(self, host: LeaseHost) -> None:
        """Writes land at once again, and are read back."""
        super().mend_disk(host)
        host.confirm_s = lambda: 0.002


@pytest.mark.parametrize("seed", seeds(5, fast=1))
def test_nothing_runs_on_a_node_that_is_proved_out(seed: int) -> None:
    """Neither at the start beside it, nor while the proof holds."""
    History(seed).play()


@pytest.mark.parametrize("owner_rate", [FASTEST, SLOWEST])
@pytest.mark.parametrize("profile", [Profile.TUTORIAL, Profile.FAST])
def test_clocks_at_the_extremes_leave_the_watchdog_its_time(
    owner_rate: float, profile: Profile
) -> None:
    """Both are slewed as far as they are ever, in opposite directions; the keeper pets late."""
    history = History(3, profile, timeout_s=3.0)
    deb1, deb2 = history.deb1, history.deb2
    deb1.rate, deb2.rate = owner_rate, FASTEST + SLOWEST - owner_rate
    deb1.keeper.pet_late = 1.0
    history.start_first()
    history.run(5)
    history.cut_net()
    history.break_disk(deb1)
    while not history.bitten:
        history.run(0.05)
        assert deb2.state != "STARTED"
    while deb2.state != "STARTED":
        history.run(0.05)
        assert history.now < history.bitten[0][0] + 40.0, deb2.service().reason


def test_histories_prove_something() -> None:
    """A history without a proof would show nothing: over some seeds there are many."""
    histories = [History(seed) for seed in (20, 21)]
    for history in histories:
        history.play()
    assert sum(history.proved for history in histories) > 2
    assert sum(len(history.bitten) for history in histories) > 1
    assert sum(len(history.starts()) for history in histories) > 2
