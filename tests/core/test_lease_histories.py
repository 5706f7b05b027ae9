"""Whatever the survivor concludes, the owner's watchdog has bitten before."""

from __future__ import annotations

import pytest

from opensvc_openha.core.timing import RESTART_HOLD_S
from tests.core.lease_histories import FalseProof, History, search
from tests.core.leases import FASTEST, SLOWEST

_CUT = ((0.3, "network cut"), (0.0, "disk takes nothing"))


@pytest.mark.parametrize("is_fast", [False, True], ids=["tutorial", "fast"])
@pytest.mark.parametrize("rates", [(SLOWEST, FASTEST), (FASTEST, SLOWEST)], ids=["late", "early"])
def test_an_owner_that_is_cut_off_is_dead_before_it_is_proved(
    is_fast: bool, rates: tuple[float, float]
) -> None:
    """Its clock is slow and the survivor's fast, then the other way round."""
    pair = History(*rates, is_fast=is_fast, steps=_CUT).run()
    [(_, spare_s)] = pair.proved
    assert spare_s > 0 and [name for _, name in pair.bitten] == ["deb1"]
    assert pair.starts()[-1][1] == "deb2"
    # A lone survivor promises nothing, and does not die of it.
    assert pair.deb2.lease.why_not.startswith("deb1 is out: self-fenced")


@pytest.mark.parametrize("fault", ["disk too late", "disk not confirmed"])
def test_a_write_that_lands_late_makes_the_survivor_wait(fault: str) -> None:
    """It is a sign of life to one node, and no permit to the other."""
    steps = ((0.3, "network cut"), (0.05, fault), (2.5, "disk takes nothing"))
    pair = History(SLOWEST, FASTEST, steps=steps).run()
    [(_, spare_s)] = pair.proved
    assert spare_s > 0 and [name for _, name in pair.bitten] == ["deb1"]


def test_a_survivor_that_cannot_read_the_disk_proves_nothing() -> None:
    """The owner lives by its disk, where the survivor does not see it."""
    steps = ((0.3, "network cut"), (0.0, "survivor blind, or not"))
    pair = History(SLOWEST, FASTEST, steps=steps).run()
    assert not pair.proved and not pair.bitten


def test_a_daemon_that_does_not_come_back_is_proved_after_the_hold() -> None:
    """Its keeper pets for the time that the goodbye promises, and the survivor waits for more."""
    pair = History(SLOWEST, FASTEST, steps=((0.3, "owner restarts"),)).run()
    [(_, spare_s)] = pair.proved
    [(bitten_at, _)] = pair.bitten
    assert spare_s > 0 and bitten_at > 112 + RESTART_HOLD_S


def test_a_watchdog_that_bites_later_than_it_says_is_found() -> None:
    """Otherwise these histories would prove nothing."""
    history = History(SLOWEST, FASTEST, steps=_CUT)
    with pytest.raises(FalseProof, match="S1 broken|S6 broken|proved dead, and alive"):
        history.run(late_s=2.0)


def test_histories_by_chance() -> None:
    """Some of what `python -m tests.core.lease_histories` runs."""
    count, proofs, least_s = search(range(8))
    assert count == 8 and proofs and least_s > 0
