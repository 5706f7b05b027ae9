"""The engine's loop, turn by turn in this thread: what it takes, whom it answers, how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.events import (
    BeatReceived,
    ExpectedBeats,
    RenewalConfirmed,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    Tick,
)
from opensvc_openha.core.expected_beat import ExpectedBeat
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.shared_step import GATHER_FROM
from opensvc_openha.core.status import NodeStatus, PeerStanding, StageFigure
from opensvc_openha.daemon import engine_loop
from opensvc_openha.daemon.engine_loop import EngineLoop
from opensvc_openha.daemon.inbox import ANSWER_LIMIT_S, Barrier, EngineInbox
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.errors import NotAnsweringError, RefusedError
from tests.simulated_clock import SimulatedClock

STATUS = NodeStatus("deb1", "deb2", 7, PeerStanding.LIVE, "heard", (), ())
BEAT = BeatReceived(
    LinkSpec("deb2", "net", "eth1", "239.131.50.10", 5010, 0, 2.0),
    Beat("deb2", BootId(1, 1), 1, None, {}),
    100.0,
)
SCRIPT = ScriptExited("web", ScriptKind.START, ScriptOutcome.OK)
RENEWAL = RenewalConfirmed(b"medium", 1, 99.0, 100.0, True)


class Rig:
    """A loop whose executor, engine, writer and supervisor are this object, and note what is asked
    of them.
    """

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.notes: list[tuple[Any, ...]] = []
        self.status: NodeStatus | Exception = STATUS
        self.is_writing = False
        self.is_done = False
        self.scripts_under_way = 0
        self.changes = 0
        self.deadline = 100.0
        self.speak_at = 1e9
        self.speaks = False
        self.problems: list[str] | None = None
        self.is_stopped = False
        self.during_step: Callable[[], None] = lambda: None
        self.snapshots = 0
        self.snapshot_s = 0.0
        self.waits: list[float] = []
        self.inbox = EngineInbox()
        self.is_verdict_due = False
        self.looked: Callable[[], bool] = lambda: False
        self.unread: list[bool] = []
        self.ended = 0
        own = cast(Any, self)
        self.engine = SimpleNamespace(
            next_deadline=lambda: self.deadline,
            beats_wait=lambda now: self.notes.append(("beats wait", now)),
            mark_busy_until=lambda at: self.notes.append(("busy until", at)),
            snapshot=self._snapshot,
            late_s=0.25,
            is_verdict_due=lambda now: self.is_verdict_due,
            record_unread=self.unread.append,
            peer_standing=PeerStanding.SILENT,
            is_deaf="deaf", promised="promised", renewing="renewing", may_register="may register",
            wrong_paths="wrong paths", settled_services="settled",
        )  # fmt: skip
        self.engine.expected = None
        issues = SimpleNamespace(report=lambda issue, text: self.notes.append((issue, text)))
        self.loop = EngineLoop(
            own, own, self.inbox, own, own, cast(Any, issues), own, lambda: self.looked()
        )

    def _snapshot(self, now: float) -> NodeStatus:
        self.snapshots += 1
        self.clock.now += self.snapshot_s
        if isinstance(self.status, Exception):
            raise self.status
        return self.status

    # the executor

    def handle_all(self, events: tuple[object, ...], now: float) -> None:
        self.notes.append(("handle", *events, now))
        self.during_step()

    def written(self, problems: list[str], now: float) -> None:
        self.notes.append(("written", problems, now))

    def speak_meanwhile(self, now: float) -> bool:
        self.notes.append(("speak", now))
        return self.speaks

    def renew(self, renewal: RenewalConfirmed, now: float) -> None:
        self.notes.append(("renew", renewal, now))

    # the ports, the writer, the stall detector, the supervisor

    def begin_step(self, now: float) -> None:
        self.notes.append(("begin", now))

    def revoke(self) -> None:
        self.notes.append(("revoke",))

    def wait(self, limit_s: float) -> list[str] | None:
        self.waits.append(limit_s)
        return self.problems

    def close(self) -> None:
        self.notes.append(("close",))

    def was_stopped(self, since: float) -> bool:
        self.notes.append(("stopped since", since))
        return self.is_stopped

    def alive(self) -> None:
        self.notes.append(("alive",))

    # what a test does

    def answer_at_once(self) -> None:
        """The engine takes a turn with each event that is put."""
        put = self.inbox.put

        def put_and_take(item: Any) -> None:
            put(item)
            self.loop._take_one()

        self.inbox.put = put_and_take  # type: ignore[method-assign]

    def hang(self, seconds: float) -> None:
        """The engine's step has taken so long."""
        self.loop._busy_since = self.clock.now - seconds

    def run(self) -> None:
        """The thread's work, to its end."""
        self.loop._main(lambda: self.notes.append(("enter",)), self._end)

    def _end(self) -> None:
        self.ended += 1
        self.notes.append(("end", self.loop.is_over.is_set()))

    def noted(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [note for note in self.notes if note[0] in kinds]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """At 100.0, with nothing to do."""
    clock = SimulatedClock(monkeypatch)
    clock.now = 100.0
    return Rig(clock)


def plain(status: NodeStatus) -> NodeStatus:
    """Without what the loop measured of itself."""
    return replace(status, activity=STATUS.activity)


# who asks


def test_status_is_answered_ahead_of_what_waits(rig: Rig) -> None:
    """With one turn of an engine in good health."""
    rig.inbox.put(BEAT)
    rig.answer_at_once()
    assert plain(rig.loop.status()) == STATUS
    assert plain(rig.loop.newest_status()) == STATUS


def test_status_of_an_engine_that_hangs_is_none_to_decide_by(rig: Rig) -> None:
    """Although there is one that was published: at once, and nothing is left to answer."""
    rig.answer_at_once()
    rig.inbox.put(Tick())
    rig.hang(ANSWER_LIMIT_S)
    before = rig.inbox.qsize()
    with pytest.raises(NotAnsweringError, match="the engine does not answer"):
        rig.loop.status()
    assert rig.inbox.qsize() == before and rig.loop._questions.empty()


def test_reader_gets_the_published_status_of_an_engine_that_hangs(rig: Rig) -> None:
    """With its age, which is never nothing."""
    with pytest.raises(NotAnsweringError, match="the engine does not answer"):
        rig.hang(0.5)
        rig.loop.newest_status()
    rig.loop._take_one()
    rig.clock.now = 103.0
    rig.hang(0.5)
    assert plain(rig.loop.newest_status()) == replace(STATUS, age_s=3.0)
    rig.loop._published = STATUS, rig.clock.now
    assert rig.loop.newest_status().age_s == 0.001


def test_engine_in_a_short_step_does_not_hang(rig: Rig) -> None:
    """Half a second for readers; who decides waits longer."""
    rig.hang(0.49)
    assert not rig.loop._hangs(0.5)
    rig.hang(0.5)
    assert rig.loop._hangs(0.5) and not rig.loop._hangs(ANSWER_LIMIT_S)
    rig.loop._busy_since = None
    assert not rig.loop._hangs(0.0)


def test_answer_is_waited_for_with_a_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """By looks at whether it hangs meanwhile."""
    waits: list[float] = []

    def wait(limit_s: float) -> bool:
        waits.append(limit_s)
        rig.clock.now += 0.5
        return False

    question = SimpleNamespace(answered=SimpleNamespace(wait=wait), status=None)
    monkeypatch.setattr(engine_loop, "_Question", lambda: question)
    with pytest.raises(NotAnsweringError):
        rig.loop.status()
    assert waits == [0.02] * 3  # 1.5 s.
    waits.clear()
    rig.hang(0.25)
    with pytest.raises(NotAnsweringError):
        rig.loop.newest_status()
    assert waits == [0.02]


def test_answer_ends_the_wait(rig: Rig) -> None:
    """An answer without a status is one, too."""
    rig.status = ValueError("why")
    rig.answer_at_once()
    with pytest.raises(NotAnsweringError):
        rig.loop.status()
    assert rig.noted("handle")
    assert (Issue.INTERNAL, "no status: ValueError: why") in rig.notes


def test_events_are_awaited_behind_what_waits(rig: Rig) -> None:
    """Also by who reads records; that one waits for no engine that hangs."""
    rig.answer_at_once()
    rig.loop.await_events()
    rig.loop.await_records()
    assert [note[1] for note in rig.noted("handle")] == [Tick(), Tick()]
    rig.hang(0.5)
    rig.loop.await_records()
    assert len(rig.noted("handle")) == 2


def test_events_of_an_engine_that_takes_none_are_not_awaited_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who decides by them gets an error; who reads records has those that there are."""
    monkeypatch.setattr("opensvc_openha.daemon.inbox.ANSWER_LIMIT_S", 0.01)
    with pytest.raises(NotAnsweringError):
        rig.loop.await_events()
    waits: list[float] = []

    def wait(limit_s: float) -> bool:
        waits.append(limit_s)
        rig.clock.now += 0.5
        return False

    barrier = SimpleNamespace(reached=SimpleNamespace(wait=wait))
    monkeypatch.setattr(engine_loop, "Barrier", lambda: barrier)
    rig.hang(0.25)
    rig.loop.await_records()
    assert waits == [0.02]


def test_single_values_are_the_engines(rig: Rig) -> None:
    """Read after its last step."""
    loop = rig.loop
    assert [
        loop.peer_standing, loop.is_deaf, loop.promised, loop.renewing, loop.may_register,
        loop.wrong_paths, loop.settled_services,
    ] == [
        PeerStanding.SILENT, "deaf", "promised", "renewing", "may register", "wrong paths",
        "settled",
    ]  # fmt: skip


# a turn


def test_turn_takes_one_event_and_is_as_old_as_that(rig: Rig) -> None:
    """The ports hear of its age before the engine decides; then the supervisor hears a sign of
    life.
    """
    rig.inbox.put(BEAT)
    busy: list[float | None] = []
    rig.during_step = lambda: busy.append(rig.loop._busy_since)
    rig.loop._take_one()
    assert rig.notes == [("begin", 100.0), ("handle", BEAT, 100.0), ("alive",)]
    assert busy == [100.0] and rig.loop._busy_since is None


def test_lateness_of_each_step_is_in_the_status(rig: Rig) -> None:
    """As the engine knows it after the step, and at the instant of the question."""
    rig.loop._take_one()
    rig.loop._take_one()
    status = rig.loop._snapshot(100.0)
    assert status is not None
    activity = status.activity
    assert (activity.steps, activity.late_s, activity.most_late_s) == (2, 0.25, 0.25)
    late = rig.loop._snapshot(400.0)
    assert late is not None and late.activity.most_late_s == 0.0


def test_sockets_are_looked_at_when_a_verdict_is_due(rig: Rig) -> None:
    """And not at other steps. What is read meanwhile is in the inbox by then, and waits as well."""
    looks: list[float] = []

    def look() -> bool:
        looks.append(rig.clock.now)
        return len(looks) == 1

    rig.looked = look
    rig.loop._take_one()
    assert (looks, rig.unread) == ([], [False])
    rig.is_verdict_due = True
    rig.loop._take_one()
    assert (looks, rig.unread) == ([100.0], [False, True])

    def is_read() -> bool:
        rig.inbox.put(BEAT)
        return False

    rig.looked = is_read
    rig.loop._take_one()
    assert rig.unread[2:] == [False] and rig.noted("beats wait") == [("beats wait", 100.0)]


def test_wait_of_a_beat_for_the_engine_is_measured_from_its_read(rig: Rig) -> None:
    """Of beats on networks; those of disks have stages of their own."""
    rig.loop._take_one()
    assert (status := rig.loop._snapshot(100.0)) is not None and status.activity.stages == ()
    disk = LinkSpec("deb2", "dio", "/dev/sdb", "", 0, 0, 10.0)
    for beat in (
        replace(BEAT, received_at=99.0, read_at=99.5),
        replace(BEAT, link=disk, received_at=98.0),
    ):
        rig.inbox.put(beat)
        rig.loop._take_one()
    assert (status := rig.loop._snapshot(100.0)) is not None
    assert status.activity.stages == (StageFigure("read -> engine", 0.5, 0.5, 1),)


def test_turn_without_an_event_is_a_tick_at_the_deadline(rig: Rig) -> None:
    """No wait for one that has passed."""
    rig.deadline = 90.0
    rig.loop._take_one()
    assert rig.noted("handle") == [("handle", Tick(), 100.0)]


def test_turn_takes_the_ends_of_scripts_that_wait(rig: Rig) -> None:
    """Together, unless a beat waits, which is taken before the others; a tick among them is one
    turn with them.
    """
    ends = [ScriptExited(name, ScriptKind.START, ScriptOutcome.OK) for name in "abcd"]
    rig.inbox.put(ends[0])
    rig.inbox.put(Tick())
    rig.inbox.put(ends[1])
    rig.loop._take_one()
    assert rig.noted("handle") == [("handle", ends[0], ends[1], 100.0)]
    for end in ends[2:]:
        rig.inbox.put(end)
    rig.inbox.put(Barrier())
    rig.inbox.put(BEAT)
    rig.loop._take_one()
    rig.loop._take_one()
    assert rig.noted("handle")[1:] == [("handle", BEAT, 100.0), ("handle", *ends[2:], 100.0)]
    assert rig.inbox.qsize() == 1


@pytest.mark.parametrize("left_s, waits", [(1.0, [timing.GATHER_S]), (0.005, [0.005]), (0.0, [])])
def test_end_of_a_script_waits_for_others_until_a_deadline(
    rig: Rig, left_s: float, waits: list[float]
) -> None:
    """While many are under way; no deadline of the engine is late for it."""
    found: list[float] = []
    rig.inbox._changed.wait = found.append  # type: ignore[assignment, method-assign]
    rig.deadline = 100.0 + left_s
    for under_way, expected in ((1, []), (GATHER_FROM, waits)):
        rig.scripts_under_way = under_way
        rig.inbox.put(ScriptExited("a", ScriptKind.START, ScriptOutcome.OK))
        rig.loop._take_one()
        assert found == pytest.approx(expected)


EXPECTED = ExpectedBeat(
    "deb2", BootId(1, 1), 1, {}, None, 1.0, False, (BEAT.link,), BootId(9, 9), 5
)
QUIET = replace(BEAT, beat=replace(BEAT.beat, ack=Ack(BootId(9, 9), 3)))


def test_beats_without_news_lead_the_step_that_is_due(rig: Rig) -> None:
    """Or that comes for another reason; how late they are taken counts from when it was due."""
    disk = replace(QUIET, link=replace(BEAT.link, address=""))
    rig.engine.expected = EXPECTED._replace(links=(BEAT.link, disk.link))
    rig.loop._take_one()
    rig.clock.now, rig.deadline = 101.0, 100.75
    for quiet in (QUIET, disk):
        rig.inbox.put(quiet)
    rig.loop._take_one()
    assert rig.noted("handle")[1:] == [("handle", ExpectedBeats((QUIET, disk)), Tick(), 101.0)]
    assert rig.loop._taken.figure(101.0) == StageFigure("read -> engine", 0.25, 0.25, 1)
    rig.deadline = 200.0
    rig.inbox.put(QUIET)
    rig.inbox.put(SCRIPT)
    rig.loop._take_one()
    assert rig.noted("handle")[2:] == [("handle", ExpectedBeats((QUIET,)), SCRIPT, 101.0)]
    assert rig.loop._taken.figure(101.0) == StageFigure("read -> engine", 0.25, 0.25, 1)


@pytest.mark.parametrize("asks", ["status", "barrier"])
def test_who_asks_gets_what_came_in_before(rig: Rig, asks: str) -> None:
    """Beats without news have a step first; events are waited for no longer than before."""
    rig.engine.expected = EXPECTED
    rig.loop._take_one()
    rig.deadline = 200.0
    rig.inbox.put(QUIET)
    snapshots: list[int] = []
    barrier = Barrier()
    if asks == "status":
        answer = SimpleNamespace(answer=lambda status: snapshots.append(len(rig.noted("handle"))))
        rig.loop._questions.put(cast(Any, answer))
        rig.inbox.put(SCRIPT)
    else:
        rig.inbox.put(barrier)
        rig.during_step = lambda: snapshots.extend([2] * (not barrier.reached.is_set()))
    rig.loop._take_one()
    item = SCRIPT if asks == "status" else Tick()
    assert rig.noted("handle")[1:] == [
        ("handle", ExpectedBeats((QUIET,)), Tick(), 100.0),
        ("handle", item, 100.0),
    ]
    assert snapshots == [2] and (asks == "status" or barrier.reached.is_set())


@pytest.mark.parametrize("is_writing", [True, False])
def test_nothing_is_expected_while_states_are_written(rig: Rig, is_writing: bool) -> None:
    """What comes in then is no beat at rest."""
    rig.engine.expected = EXPECTED

    def work() -> None:
        rig.is_writing = is_writing

    rig.during_step = work
    rig.loop._take_one()
    rig.inbox.put(QUIET)
    assert rig.inbox.is_due is is_writing


def test_engine_hears_that_beats_wait(rig: Rig) -> None:
    """Before it decides."""
    for _ in range(2):
        rig.inbox.put(BEAT)
    rig.loop._take_one()
    rig.loop._take_one()
    assert [note[0] for note in rig.notes if note[0] in ("beats wait", "handle")] == [
        "beats wait", "handle", "handle",
    ]  # fmt: skip


@pytest.mark.parametrize("is_stopped", [True, False])
@pytest.mark.parametrize("took_s", [0.9, 1.0])
def test_long_work_is_no_stall(rig: Rig, took_s: float, is_stopped: bool) -> None:
    """Of the engine; one in which the whole process stood still is."""
    took_s *= timing.WORK_NOTED_S
    rig.is_stopped = is_stopped
    # At the beginning of time: so the limit itself is met.
    rig.deadline = rig.clock.now = 0.0

    def work() -> None:
        rig.clock.now += took_s

    rig.during_step = work
    rig.loop._take_one()
    is_noted = took_s >= timing.WORK_NOTED_S and not is_stopped
    assert rig.noted("busy until") == ([("busy until", took_s)] if is_noted else [])


def test_work_of_a_step_that_writes_states_is_not_over(rig: Rig) -> None:
    """It is excused once they are written."""

    def work() -> None:
        rig.is_writing = True
        rig.clock.now += 10.0

    rig.during_step = work
    rig.clock.now = 103.0
    rig.loop._take_one()
    assert not rig.noted("busy until")
    rig.problems = []
    rig.clock.now += 5.0
    rig.loop._await_states()
    assert rig.noted("stopped since", "busy until") == [
        ("stopped since", 103.0),
        ("busy until", 118.0),
    ]


# while states are written


def test_states_are_waited_for_until_it_is_time_to_speak(rig: Rig) -> None:
    """Requests for a status wait a twentieth of a second at most; always for a moment."""
    for speak_at, wait_s in ((1e9, 0.05), (100.02, 0.02), (99.0, 0.001)):
        rig.speak_at = speak_at
        rig.loop._await_states()
        assert rig.waits[-1] == pytest.approx(wait_s)


@pytest.mark.parametrize("speaks", [True, False])
def test_beats_are_sent_while_states_are_written(rig: Rig, speaks: bool) -> None:
    """Which is a sign of life; so are renewals handed out, and status requests answered."""
    rig.speaks = speaks
    rig.inbox.put(RENEWAL)
    rig.inbox.put(RENEWAL)
    rig.inbox.put(BEAT)
    rig.loop._await_states()
    assert rig.notes == [
        ("renew", RENEWAL, 100.0),
        ("renew", RENEWAL, 100.0),
        ("speak", 100.0),
        *([("alive",)] if speaks else []),
    ]
    assert rig.inbox.qsize() == 1 and rig.loop._busy_since is None


def test_wait_for_the_disk_is_no_part_of_a_step(rig: Rig) -> None:
    """What follows it is as old as its end, and a request meanwhile gets an answer."""
    found: list[NodeStatus] = []
    busy: list[float | None] = []

    def wait(limit_s: float) -> None:
        rig.clock.now += limit_s

    def speak(now: float) -> bool:
        busy.append(rig.loop._busy_since)
        return now == 100.05

    rig.wait, rig.speak_meanwhile = wait, speak  # type: ignore[method-assign]
    rig.loop._questions.put(cast(Any, SimpleNamespace(answer=found.append)))
    rig.loop._await_states()
    assert busy == [100.05] and rig.notes == [("alive",)]
    assert [plain(status) for status in found] == [STATUS]


def test_written_states_go_on_with_the_step(rig: Rig) -> None:
    """With what could not be written."""
    rig.problems = ["web"]
    rig.loop._await_states()
    assert rig.noted("written", "speak", "alive") == [("written", ["web"], 100.0), ("alive",)]


# what is published


def test_status_is_published_after_a_change_or_five_seconds(rig: Rig) -> None:
    """Or later, where a snapshot takes more than half a percent of the time."""
    rig.loop._take_one()
    rig.loop._take_one()
    assert rig.snapshots == 1
    rig.changes = 1
    rig.loop._take_one()
    assert rig.snapshots == 2
    rig.clock.now = 104.99
    rig.loop._take_one()
    assert rig.snapshots == 2
    rig.clock.now, rig.snapshot_s = 105.0, 0.25
    rig.loop._take_one()
    assert rig.snapshots == 3
    rig.snapshot_s, rig.changes = 0.0, 2
    rig.clock.now = 105.25 + 49.9
    rig.loop._take_one()
    assert rig.snapshots == 3
    rig.clock.now = 105.25 + 50.0
    rig.loop._take_one()
    assert rig.snapshots == 4
    rig.changes = 3
    rig.loop._await_states()
    assert rig.snapshots == 5


def test_status_that_cannot_be_made_is_not_published(rig: Rig) -> None:
    """The former one stays, and the engine goes on."""
    rig.loop._take_one()
    rig.status, rig.changes = ValueError("why"), 1
    rig.loop._take_one()
    rig.hang(0.5)
    assert plain(replace(rig.loop.newest_status(), age_s=0.0)) == STATUS
    assert not [note for note in rig.notes if note[0] is Issue.INTERNAL]


def test_all_who_ask_get_one_snapshot(rig: Rig) -> None:
    """It costs the engine's time."""
    rig.loop._published = STATUS, 100.0
    found: list[NodeStatus] = []
    questions = [SimpleNamespace(answer=found.append) for _ in range(3)]
    for question in questions:
        rig.loop._questions.put(cast(Any, question))
    rig.loop._take_one()
    assert [plain(status) for status in found] == [STATUS] * 3 and rig.snapshots == 1


# the end


def test_loop_ends_when_the_engine_is_done(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes while states are to be written; the last call is that of the end."""
    names = list[str]()
    monkeypatch.setattr(engine_loop, "name_thread", names.append)

    def step() -> None:
        rig.is_writing = True

    def wait(limit_s: float) -> list[str]:
        rig.is_writing, rig.is_done = False, True
        return []

    rig.during_step = step
    rig.wait = wait  # type: ignore[method-assign]
    rig.run()
    kinds = [note[0] for note in rig.notes]
    assert kinds[0] == "enter" and kinds[-2:] == ["close", "end"] and rig.ended == 1
    assert rig.notes[-1] == ("end", True)
    assert (rig.loop.failure, rig.loop.displaced) == (None, "") and "revoke" not in kinds
    assert names == ["engine"]


def test_failure_of_the_engine_ends_the_loop_and_revokes_what_waits(rig: Rig) -> None:
    """A silent node is a safe node."""
    error = ValueError("why")

    def fail() -> None:
        raise error

    rig.during_step = fail
    rig.run()
    assert rig.loop.failure is error and rig.loop.is_over.is_set() and not rig.loop.displaced
    assert rig.notes[-3:] == [("revoke",), ("close",), ("end", True)]


def test_another_daemon_in_its_place_ends_the_loop(rig: Rig) -> None:
    """Found by a write, or by the main thread; that is no failure."""

    def refuse() -> None:
        raise RefusedError("nmond is already running")

    rig.during_step = refuse
    rig.run()
    assert rig.loop.displaced == "nmond is already running" and rig.loop.failure is None
    assert not rig.noted("revoke")


def test_displaced_loop_takes_no_event_more(rig: Rig) -> None:
    """Not another word to the peer."""
    rig.loop.displace("lost its lock")
    assert rig.loop.is_over.is_set()
    rig.run()
    assert not rig.noted("handle") and rig.loop.displaced == "lost its lock" and rig.ended == 1


def test_loop_has_a_thread_that_ends_with_the_program(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that hangs keeps no process alive."""
    started: list[threading.Thread] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            started.append(self)

    monkeypatch.setattr(engine_loop, "threading", SimpleNamespace(Thread=Thread))
    rig.is_done = True
    rig.loop.start(lambda: None, rig._end)
    ((name, is_daemon),) = [(thread.name, thread.daemon) for thread in started]
    assert (name, is_daemon) == ("engine", True)
    started[0].run()
    assert rig.ended == 1 and rig.loop.failure is None
