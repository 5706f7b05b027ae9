"""The engine's inbox: beats first, in their order; others in theirs, never kept out for good."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    ListenerTried,
    MediumQuiet,
    RenewalConfirmed,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    Tick,
    WatchdogLost,
)
from opensvc_openha.core.expected_beat import EXPECTED_MAX, ExpectedBeat
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.timing import INBOX_LIMIT
from opensvc_openha.daemon import inbox as module
from opensvc_openha.daemon.inbox import BEATS_IN_A_ROW, Barrier, Inbox
from opensvc_openha.errors import NotAnsweringError
from tests.waiting import LIMIT_S, until

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


def test_beat_that_is_added_quietly_wakes_nobody() -> None:
    """It is there all the same, within the limit; the engine is woken once for several."""
    inbox: Inbox[Event] = Inbox()
    got: list[object] = []

    def take() -> None:
        got.append(inbox.get(9 * LIMIT_S))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    until(lambda: len(inbox._changed._waiters) == 1)  # type: ignore[attr-defined]
    assert inbox.offer_quietly(beat(1)) and inbox.offer_quietly(beat(2))
    assert len(inbox._changed._waiters) == 1 and inbox.has_beats  # type: ignore[attr-defined]
    inbox.wake()
    thread.join(LIMIT_S)
    assert got == [beat(1)] and inbox.get(0) == beat(2)
    for number in range(INBOX_LIMIT):
        assert inbox.offer_quietly(beat(number))
    assert not inbox.offer_quietly(beat(0)) and inbox.qsize() == INBOX_LIMIT


def _ended(service: str) -> ScriptExited:
    return ScriptExited(service, ScriptKind.START, ScriptOutcome.OK)


def test_what_happens_to_services_is_taken_together() -> None:
    """Up to what cannot share the step, which stays the next; ticks before that are dropped."""
    inbox: Inbox[Event] = Inbox()
    events: list[Event] = [_ended("a"), Tick(), _ended("b"), _ended("a"), _ended("c")]
    for item in events:
        inbox.put(item)
    assert inbox.get(0) == events[0]
    assert inbox.take_more(events[0]) == [events[2]]
    assert [inbox.get(0), inbox.get(0)] == events[3:] and inbox.qsize() == 0


def test_order_for_many_services_is_taken_together() -> None:
    """Up to another order, and never with the end of a script."""
    inbox: Inbox[Event] = Inbox()
    events: list[Event] = [CommandReceived(n, f"svc{n}", Command.UNFREEZE) for n in range(3)]
    events += [CommandReceived(3, "svc3", Command.STOP), _ended("a")]
    for item in events:
        inbox.put(item)
    assert inbox.get(0) == events[0] and inbox.take_more(events[0]) == events[1:3]
    assert inbox.get(0) == events[3] and inbox.take_more(events[3]) == []


@pytest.mark.parametrize("first", [Tick(), beat(1), Barrier()], ids=["tick", "beat", "barrier"])
def test_only_what_happens_to_a_service_is_joined(first: object) -> None:
    """Whatever else was taken has its step alone."""
    inbox: Inbox[Event] = Inbox()
    inbox.put(_ended("a"))
    assert inbox.take_more(first) == [] and inbox.qsize() == 1


@pytest.mark.parametrize("earlier", [beat(1), WatchdogLost("gone")], ids=["beat", "watchdog"])
def test_what_comes_first_is_not_kept_waiting_by_a_longer_step(earlier: Event) -> None:
    """A beat, or news of the watchdog, came meanwhile: nothing joins the step before it."""
    inbox: Inbox[Event] = Inbox()
    inbox.put(_ended("b"))
    inbox.put(earlier)
    assert inbox.take_more(_ended("a")) == [] and inbox.get(0) == earlier


class Gathering:
    """A thread that takes the end of a script, which waits for others."""

    def __init__(self, awaited: int) -> None:
        self.inbox: Inbox[Event | Barrier] = Inbox()
        self.more: Sequence[Event] | None = None
        self.awaited = awaited
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self) -> None:
        self.more = self.inbox.take_more(_ended("a"), self.awaited, 9 * LIMIT_S)

    @property
    def is_waiting(self) -> bool:
        """Whether the thread waits."""
        return len(self.inbox._changed._waiters) == 1  # type: ignore[attr-defined]


def test_end_waits_for_those_that_complete_its_step() -> None:
    """Whoever brings the last of them wakes the engine, once; what comes later is left."""
    gathering = Gathering(2)
    until(lambda: gathering.is_waiting)
    gathering.inbox.put(_ended("b"))
    assert gathering.is_waiting
    gathering.inbox.put(_ended("c"))
    gathering.thread.join(LIMIT_S)
    assert gathering.more == [_ended("b"), _ended("c")] and gathering.inbox.qsize() == 0
    waits: list[float] = []
    inbox = gathering.inbox
    inbox._changed.wait = waits.append  # type: ignore[assignment, method-assign]
    inbox.put(_ended("d"))
    assert inbox.get(1.0) == _ended("d") and waits == []


URGENT: dict[str, tuple[Event | Barrier, int]] = {
    "beat": (beat(1), 0),
    "watchdog": (WatchdogLost("gone"), 0),
    "order": (CommandReceived(1, "web", Command.STOP), 1),
    "fence": (ScriptExited("web", ScriptKind.CHECK, ScriptOutcome.OK), 1),
    "question": (Tick(), 1),
    "barrier": (Barrier(), 1),
}


@pytest.mark.parametrize("case", URGENT)
def test_anything_else_ends_the_wait(case: str) -> None:
    """What came before an item that does not come first still joins."""
    gathering = Gathering(9)
    until(lambda: gathering.is_waiting)
    gathering.inbox.put(_ended("b"))
    item, joining = URGENT[case]
    gathering.inbox.put(item)
    gathering.thread.join(LIMIT_S)
    assert gathering.more == [_ended("b")][:joining]


def test_beats_added_quietly_end_the_wait_once_they_are_told() -> None:
    """As they wake an engine that has nothing to do."""
    gathering = Gathering(9)
    until(lambda: gathering.is_waiting)
    gathering.inbox.offer_quietly(beat(1))
    gathering.inbox.wake()
    gathering.thread.join(LIMIT_S)
    assert gathering.more == []


@pytest.mark.parametrize("case", URGENT)
def test_end_waits_for_nothing_beside_anything_else(case: str) -> None:
    """It came before the wait."""
    inbox: Inbox[Event | Barrier] = Inbox()
    waits: list[float] = []
    inbox._changed.wait = waits.append  # type: ignore[assignment, method-assign]
    inbox.put(URGENT[case][0])
    assert inbox.take_more(_ended("a"), 2, 1.0) == [] and waits == []


def test_end_waits_no_longer_than_the_limit() -> None:
    """Nor where there is none, or nothing is awaited, or enough has come."""
    inbox: Inbox[Event | Barrier] = Inbox()
    waits: list[float] = []
    inbox._changed.wait = waits.append  # type: ignore[assignment, method-assign]
    inbox.put(_ended("b"))
    for awaited, limit_s in ((2, 0.0), (2, -1.0), (0, 1.0), (1, 1.0)):
        assert inbox.take_more(_ended("a"), awaited, limit_s) == [_ended("b")] and waits == []
        inbox.put(_ended("b"))
    assert inbox.take_more(_ended("a"), 2, 0.5) == [_ended("b")] and waits == [0.5]


def test_barrier_is_reached_behind_what_was_put_before_it() -> None:
    """It is neither passed nor joined."""
    inbox: Inbox[Event | Barrier] = Inbox()
    for item in (_ended("a"), Barrier(), _ended("b")):
        inbox.put(item)
    first = inbox.get(0)
    assert inbox.take_more(first) == [] and isinstance(inbox.get(0), Barrier)


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


def test_beats_that_are_not_handled_yet_are_seen_until_the_next_item_is_taken() -> None:
    """The one in the hand of the engine, and those behind it; nothing else."""
    inbox: Inbox[Event] = Inbox()
    assert inbox.unread() == ()
    for item in (beat(1), ListenerTried(LINK, True), Tick(), beat(2)):
        inbox.put(item)
    assert inbox.unread() == (beat(1), beat(2))
    inbox.get(0)
    assert inbox.unread() == (beat(1), beat(2))
    inbox.get(0)
    assert inbox.unread() == (beat(2),)
    inbox.get(0)
    assert inbox.unread() == (beat(2),)
    inbox.get(0)
    inbox.get(0)
    assert inbox.unread() == ()


OWN = BootId(9, 9)
EXPECTED = ExpectedBeat("deb2", BootId(1, 1), 1, {}, None, 1.0, False, (LINK,), OWN, 5)


def quiet(seq: int) -> BeatReceived:
    """A beat without news."""
    return replace(beat(seq), beat=replace(beat(seq).beat, ack=Ack(OWN, 3)), received_at=seq * 1.0)


def test_beat_without_news_waits_for_the_next_step() -> None:
    """It ends no wait, whichever way it came in; what ends it is taken after it."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    assert inbox.offer(quiet(1)) and inbox.offer_quietly(quiet(2))
    assert not inbox.is_due and inbox.get(0) is None and inbox.qsize() == 2 and inbox.has_beats
    inbox.put(Tick())
    assert inbox.is_due and inbox.get(0) == Tick()
    assert inbox.take_expected() == (quiet(1), quiet(2))
    assert inbox.take_expected() == () and not inbox.has_beats


def test_beat_without_news_wakes_nobody() -> None:
    """Nor does the thread of the links, which has added it."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    got: list[object] = []
    thread = threading.Thread(target=lambda: got.append(inbox.get(9 * LIMIT_S)), daemon=True)
    thread.start()
    until(lambda: len(inbox._changed._waiters) == 1)  # type: ignore[attr-defined]
    inbox.put(quiet(1))
    inbox.offer_quietly(quiet(2))
    inbox.wake()
    assert len(inbox._changed._waiters) == 1  # type: ignore[attr-defined]
    inbox.offer_quietly(beat(3))
    inbox.wake()
    thread.join(LIMIT_S)
    assert got == [beat(3)] and inbox.take_expected() == (quiet(1), quiet(2))


@pytest.mark.parametrize("news", [beat(2), MediumQuiet(LINK.mark, 1.0)], ids=["beat", "quiet slot"])
def test_nothing_overtakes_news(news: Event) -> None:
    """Until the engine says again what it expects, when none of it waits any more."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    for item in (quiet(1), news, quiet(3)):
        inbox.put(item)
    inbox.expect(EXPECTED)
    inbox.put(quiet(4))
    assert inbox.take_expected() == (quiet(1),)
    assert [inbox.get(0) for _ in range(3)] == [news, quiet(3), quiet(4)]
    inbox.put(quiet(5))
    assert inbox.get(0) == quiet(5)
    inbox.expect(EXPECTED)
    inbox.put(quiet(6))
    assert inbox.get(0) is None and inbox.take_expected() == (quiet(6),)


@pytest.mark.parametrize("later", [None, EXPECTED._replace(seq=2)], ids=["nothing", "another"])
def test_what_is_not_expected_any_more_has_a_step_of_its_own(later: ExpectedBeat | None) -> None:
    """Something is awaited, or it is older than what is expected: in its order, and at once."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    inbox.put(quiet(1))
    inbox.put(quiet(2))
    inbox.expect(later)
    inbox.put(quiet(3))
    assert inbox.take_expected() == () and inbox.is_due
    assert [inbox.get(0) for _ in range(3)] == [quiet(1), quiet(2), quiet(3)]


def test_beats_that_fit_what_is_expected_now_wait_on() -> None:
    """They came in during the step."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    inbox.put(quiet(2))
    inbox.expect(EXPECTED._replace(seq=2))
    assert not inbox.is_due and inbox.take_expected() == (quiet(2),)


def test_beats_without_news_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of them wakes the engine, and fills the inbox as any other."""
    monkeypatch.setattr(module, "INBOX_LIMIT", EXPECTED_MAX + 1)
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    for seq in range(1, EXPECTED_MAX):
        assert inbox.offer(quiet(seq)) and not inbox.is_due
    assert inbox.offer(quiet(EXPECTED_MAX)) and inbox.is_due
    assert inbox.offer(quiet(EXPECTED_MAX + 1)) and not inbox.offer(quiet(EXPECTED_MAX + 2))
    assert inbox.get(30.0) is None and len(inbox.take_expected()) == EXPECTED_MAX + 1


def test_beats_without_news_are_not_taken_before_their_step_is_over() -> None:
    """A thread that asks whether all is taken waits for that."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    inbox.put(quiet(1))
    assert not inbox.are_beats_taken
    assert inbox.get(0) is None and not inbox.are_beats_taken
    inbox.take_expected()
    assert not inbox.are_beats_taken
    inbox.get(0)
    inbox.take_expected()
    assert inbox.are_beats_taken


def test_beats_without_news_are_unread_until_their_step_is_over() -> None:
    """Before those that came after them; where they count, they count by their arrival."""
    inbox: Inbox[Event] = Inbox()
    inbox.expect(EXPECTED)
    inbox.put(quiet(1))
    inbox.put(beat(2))
    assert inbox.unread() == (quiet(1), beat(2))
    assert inbox.get(0) == beat(2) and inbox.unread() == (beat(2), quiet(1))
    assert inbox.take_expected() == (quiet(1),) and inbox.unread() == (quiet(1), beat(2))
    inbox.get(0)
    assert inbox.unread() == ()


def test_who_waits_is_woken() -> None:
    """An item put by another thread ends the wait."""
    inbox: Inbox[Event] = Inbox()
    threading.Timer(0.05, inbox.put, [beat(7)]).start()
    assert inbox.get(30.0) == beat(7)


RENEWAL = RenewalConfirmed(b"medium", 1, 99.0, 100.0, True)


def test_beats_have_a_limit_and_nothing_else_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that waits counts: a beat that does not fit is dropped."""
    monkeypatch.setattr(module, "INBOX_LIMIT", 3)
    inbox: Inbox[Event | int] = Inbox()
    inbox.put(RENEWAL)
    inbox.put(7)
    assert inbox.offer(beat(1)) and not inbox.offer(beat(2)) and inbox.qsize() == 3
    inbox.put(8)
    assert inbox.qsize() == 4
    assert [inbox.get(0) for _ in range(5)] == [RENEWAL, beat(1), 7, 8, None]


def test_renewal_is_taken_ahead_only_if_nothing_of_the_watchdog_comes_before_it() -> None:
    """That it is lost, for instance; beats do not matter."""
    inbox: Inbox[Event | int] = Inbox()
    assert inbox.take_renewal() is None
    inbox.put(beat(1))
    inbox.put(7)
    assert inbox.take_renewal() is None
    inbox.put(RENEWAL)
    lost = WatchdogLost("gone")
    inbox.put(lost)
    inbox.put(replace(RENEWAL, seq=2))
    assert inbox.take_renewal() == RENEWAL and inbox.take_renewal() is None
    assert inbox.qsize() == 4 and inbox.get(0) == lost
    assert inbox.take_renewal() == replace(RENEWAL, seq=2)


@pytest.mark.parametrize("item", [RENEWAL, beat(1), 7], ids=["watchdog", "beat", "other"])
def test_inbox_waits_only_while_it_is_empty(
    item: RenewalConfirmed | BeatReceived | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it is asked to, and not at all for no time."""
    inbox: Inbox[Event | int] = Inbox()
    waits = list[float]()
    monkeypatch.setattr(inbox._changed, "wait", waits.append)
    assert inbox.get(0.25) is None and waits == [0.25]
    assert inbox.get(0.0) is None and inbox.get(-1.0) is None and waits == [0.25]
    inbox.put(item)
    assert inbox.get(0.25) == item and waits == [0.25]


def test_barrier_is_waited_for_with_the_limit_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not come to it does not answer."""
    barrier, waits = Barrier(), list[float]()
    monkeypatch.setattr(barrier.reached, "wait", lambda limit_s: waits.append(limit_s))
    with pytest.raises(NotAnsweringError, match="the engine does not answer"):
        barrier.wait()
    assert waits == [1.5]
    other = Barrier()
    assert not other.reached.is_set()
    other.reach()
    other.wait()


def test_each_turn_of_another_item_begins_a_new_row_of_beats() -> None:
    """So that beats wait behind one item at most."""
    inbox: Inbox[Event | int] = Inbox()
    for number in range(2):
        inbox.put(number)
    for seq in range(2 * BEATS_IN_A_ROW):
        inbox.put(beat(seq))
    taken = [inbox.get(0) for _ in range(2 * BEATS_IN_A_ROW + 2)]
    assert taken.index(0) == BEATS_IN_A_ROW and taken.index(1) == 2 * BEATS_IN_A_ROW + 1
