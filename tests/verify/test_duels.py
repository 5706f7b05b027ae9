"""Duels of two nodes on a grid: a part of it in each run, and planted faults that it must find."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from opensvc_openha.core.facts import Turn
from opensvc_openha.core.fence_turns import FenceTurns
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.verify.random.duels import TIMES, Duel, duels, play

PART = list(itertools.islice(duels(), 0, None, 23))


@pytest.mark.parametrize("part", range(6))
def test_of_two_nodes_cut_from_each_other_one_survives_and_all_runs_in_the_end(part: int) -> None:
    """Each 23rd duel of the grid; `make enumerate` plays all of them."""
    broken = [f"{duel.text}: {problem}" for duel in PART[part::6] if (problem := play(duel))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("times", ["deb1", "deb2", "none"])
def test_nodes_that_do_not_agree_on_the_last_call_do_not_meet(times: str) -> None:
    """One of them may leave the delay out, and the other not know of it: turns stay apart."""
    broken = [
        f"{duel.text}: {problem}"
        for duel in PART[:: len(PART) // 6]
        if (problem := play(duel, untimed=TIMES[times]))
    ]
    assert not broken, "\n".join(broken)


def _split(offset_s: float, first: str | None = "deb1", lag_s: float = 1.5) -> Duel:
    return Duel(("deb1", "deb2"), first, offset_s, lag_s, (0, 0))


def test_nodes_without_turns_shoot_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rules before did: each fences at the end of its delay."""
    monkeypatch.setattr(FenceTurns, "opens", lambda turns, view, now, fence_s: now)
    assert "S5 broken" in play(_split(0.3, first=None))


def test_nodes_that_both_hold_the_right_shoot_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both claim the first turn."""
    monkeypatch.setattr(
        FenceTurns, "update", lambda turns, *known: setattr(turns, "turn", Turn.HELD)
    )
    assert "S5 broken" in play(_split(0.3, first=None))


def test_fenced_node_that_does_not_keep_still_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fences the survivor in return."""
    monkeypatch.setattr(Fencing, "is_boot_blocked", lambda desk, svc, now: False)
    assert "S8 broken" in play(_split(0.3, first=None))


def test_turns_that_all_begin_earlier_on_one_node_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has left the delay out of each turn, and its peer has not."""
    opens = FenceTurns.opens

    def hasty(turns: FenceTurns, view: PeerView, now: float, fence_s: float | None) -> float:
        plan = turns.agreed
        if turns.is_prompt and plan is not None:
            turns.agreed = replace(plan, first_s=turns.delay_s(view) - 5.0)
        try:
            return opens(turns, view, now, fence_s)
        finally:
            turns.agreed = plan

    monkeypatch.setattr(FenceTurns, "opens", hasty)
    assert any(
        "S5 broken" in play(_split(offset_s, lag_s=12.0), untimed=TIMES["deb1"])
        for offset_s in (8.0, 8.5, 8.9)
    )


def test_turns_that_are_not_counted_from_the_first_silence_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One node is heard calling the other silent for a while before all is cut."""
    heard = FenceTurns.record_heard

    def careless(turns: FenceTurns, view: PeerView, now: float) -> None:
        heard(turns, view, now)
        turns._reported_anchor = None

    monkeypatch.setattr(FenceTurns, "record_heard", careless)
    assert any(
        "S5 broken" in play(_split(offset_s), untimed=TIMES["none"])
        for offset_s in (14.0, 15.2, 16.5, 18.0)
    )
