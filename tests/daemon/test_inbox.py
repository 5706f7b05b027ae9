"""The engine's inbox: beats first, in their order; others in theirs, never kept out for good."""

from __future__ import annotations

import threading

from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.events import (
    BeatReceived,
    Event,
    ListenerTried,
    MediumQuiet,
    RenewalConfirmed,
    Tick,
)
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.daemon.inbox import BEATS_IN_A_ROW, Inbox

LINK = LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 2.0)


def beat(seq: int) -> BeatReceived:
    """The peer's beat with that number."""
    return BeatReceived(LINK, Beat("deb2", BootId(1, 1), seq, None, {}), 1.0)


def test_beats_overtake_what_came_before_them() -> None:
    """A thousand ends of scripts wait, then two beats come: they are taken first, and in their
    order.
    """
    inbox: Inbox[Event | int] = Inbox()
    for number in range(1000):
        inbox.put(number)
    inbox.put(ListenerTried(LINK, True))
    inbox.put(beat(1))
    inbox.put(beat(2))
    assert inbox.qsize() == 1003 and inbox.has_beats
    assert inbox.get(0) == ListenerTried(LINK, True)
    assert [inbox.get(0), inbox.get(0)] == [beat(1), beat(2)]
    assert not inbox.has_beats
    assert [inbox.get(0) for _ in range(1000)] == list(range(1000))
    assert inbox.get(0) is None


def test_quiet_slot_never_overtakes_the_beats_of_its_link() -> None:
    """Not even where others have their turn in a flood: it says that there is none before it."""
    inbox: Inbox[Event] = Inbox()
    for seq in range(2 * BEATS_IN_A_ROW):
        inbox.put(beat(seq))
    inbox.put(MediumQuiet(LINK.mark, 1.0))
    inbox.put(Tick())
    taken = [inbox.get(0) for _ in range(2 * BEATS_IN_A_ROW + 2)]
    assert taken[-1] == MediumQuiet(LINK.mark, 1.0) and taken[BEATS_IN_A_ROW] == Tick()


def test_renewal_of_the_own_promise_comes_before_all() -> None:
    """Also while the engine may take nothing else."""
    inbox: Inbox[Event] = Inbox()
    renewals = [RenewalConfirmed(LINK.mark, seq, 1.0, 1.1) for seq in (1, 2)]
    items: list[Event] = [Tick(), beat(1), *renewals]
    for item in items:
        inbox.put(item)
    assert inbox.qsize() == 4 and inbox.take_renewal() == renewals[0]
    assert [inbox.get(0) for _ in range(3)] == [renewals[1], beat(1), Tick()]
    assert inbox.take_renewal() is None


def test_flood_of_beats_lets_others_through() -> None:
    """Beats without end: an operator's command has its turn after a bounded number of them."""
    inbox: Inbox[Event] = Inbox()
    inbox.put(Tick())
    for seq in range(3 * BEATS_IN_A_ROW):
        inbox.put(beat(seq))
    taken = [inbox.get(0) for _ in range(BEATS_IN_A_ROW + 1)]
    assert taken[-1] == Tick()


def test_beat_in_the_hands_of_the_engine_is_not_taken_yet() -> None:
    """A thread that asks whether all is taken must wait for the step that has the last beat."""
    inbox: Inbox[Event] = Inbox()
    assert inbox.are_beats_taken
    inbox.put(beat(1))
    assert not inbox.are_beats_taken
    inbox.get(0)
    assert not inbox.has_beats and not inbox.are_beats_taken
    inbox.get(0)
    assert inbox.are_beats_taken


def test_who_waits_is_woken() -> None:
    """An item put by another thread ends the wait."""
    inbox: Inbox[Event] = Inbox()
    threading.Timer(0.05, inbox.put, [beat(7)]).start()
    assert inbox.get(30.0) == beat(7)
