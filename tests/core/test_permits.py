"""No permit that a peer does not count with, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensvc_openha.core.actions import DisarmWatchdog, GrantPermit, HoldWatchdog
from tests.core.permit_search import ARMED, MOVES, PermitBroken, run, search


def test_each_order_of_some_moves() -> None:
    """All orders of two moves from the beginning, and of three after a promise was confirmed."""
    assert search(2, ()) == len(MOVES) ** 2
    assert search(3) == len(MOVES) ** 3


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.sampled_from(sorted(MOVES)), max_size=40), st.booleans())
def test_long_orders_by_chance(names: list[str], is_armed: bool) -> None:
    """Orders of up to forty moves."""
    run((*(ARMED if is_armed else ()), *names))


def test_the_first_moves_make_a_promise() -> None:
    """Otherwise the search would judge nothing."""
    bench = run(ARMED)
    assert bench.owner.promise is not None and bench.is_armed and bench.permits
    assert run((*ARMED, "use", "beat", "slot")).is_armed is False


def test_the_judge_knows_a_wrong_permit() -> None:
    """Late, of something else, given twice, by a medium that is not named, after the end."""
    bench = run(ARMED)
    at = bench.now
    wrong = [
        (at - 1.2, at - 1.2, None, "after the renewal"),
        (at - 0.5, at, None, "not confirmed now"),
        (bench.granted, bench.granted, None, "second permit"),
        (at, at, b"another ", "need not look at"),
    ]
    for permit_at, renewed_at, medium, text in wrong:
        with pytest.raises(PermitBroken, match=text):
            bench._judge([GrantPermit(permit_at)], renewed_at, medium)
    with pytest.raises(PermitBroken, match="may believe"):
        bench._judge([DisarmWatchdog()])
    with pytest.raises(PermitBroken, match="held while"):
        bench._judge_hold(HoldWatchdog(at + 20))
    bench.is_armed = False
    with pytest.raises(PermitBroken, match="after the end"):
        bench._judge([GrantPermit(at + 1)], at + 1)
