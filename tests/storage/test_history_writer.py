"""The history's writer, turn by turn in this thread: what it records, when that is on disk, and
what it makes of files that fail.
"""

from __future__ import annotations

import collections
import os
import queue
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.actions import Answer, AnswerCode, Record, RecordKind, RunScript
from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.events import (
    Command,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import (
    Activity,
    DecisionCount,
    PeerStanding,
    ScriptCount,
    Sight,
)
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage import history_writer
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_segments import DamagedFile, PartlyWritten
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system import clock
from opensvc_openha.system.peer_credentials import Caller
from tests.simulated_clock import SimulatedClock

NOTHING = "nothing comes"
CAUSE = Causality(BootId(7, 1), 12)


class Arrivals:
    """The inbox: what comes while the writer waits for it, in groups; then it is asked to end."""

    def __init__(self, time: SimulatedClock) -> None:
        self.items: collections.deque[Entry | None] = collections.deque()
        self.later: list[list[Entry] | str] = []
        self.waits: list[float | None] = []
        self._time = time

    def put(self, item: Entry | None) -> None:
        self.items.append(item)

    def qsize(self) -> int:
        return len(self.items)

    def empty(self) -> bool:
        return not self.items

    def get(self, timeout: float | None = None) -> Entry | None:
        if not self.items:
            self.waits.append(timeout)
            group = self.later.pop(0) if self.later else [None]
            if isinstance(group, str):
                assert timeout is not None, "it waits for ever"
                self._time.now += timeout
                raise queue.Empty
            self.items.extend(group)
        return self.items.popleft()


class Writer:
    """A history whose file is this object."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, services: int = 1) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        monkeypatch.setattr(clock, "wall", lambda: 1_000.0 + self.time.now)
        monkeypatch.setattr(clock, "wall_of", lambda instant: 1_000.0 + instant)
        monkeypatch.setattr(history_writer, "life", lambda: "this boot")
        monkeypatch.setattr(history_writer, "HistoryFile", self._opened)
        monkeypatch.setattr(history_writer, "set_aside", self._set_aside)
        monkeypatch.setattr(history_writer, "read_entries", self._read)
        monkeypatch.setattr(history_writer, "ask_program", self._asked)
        self.names: list[str] = []
        monkeypatch.setattr(history_writer, "name_thread", self.names.append)
        self.layout = tree_layout(str(root))
        self.path = Path(self.layout.history_dir)
        self.path.parent.mkdir(parents=True)
        self.old = Path(self.layout.former_history_file)
        self.reports: list[tuple[bool, str]] = []
        self.history = History(self.layout, services, lambda *report: self.reports.append(report))
        self.arrivals = Arrivals(self.time)
        self.history._inbox = cast(Any, self.arrivals)
        self.opened: list[tuple[str, str]] = []
        self.batches: list[list[Entry]] = []
        self.limits: set[int] = set()
        self.errors: list[Exception | None] = []
        self.sync_errors: list[OSError] = []
        self.aside_errors: list[Exception] = []
        self.synced: list[float] = []
        self.closed = self.aside = 0
        self.is_in_place = True
        self.former: list[Entry] | Exception = []
        self.asked: list[list[str]] = []
        self.answers: list[tuple[int, str] | None] = []

    # the file

    def _opened(self, path: str, machine: str) -> Writer:
        self.opened.append((path, machine))
        return self

    def append(self, batch: Sequence[Entry], limit: int) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.batches.append(list(batch))
        self.limits.add(limit)

    def sync(self) -> None:
        self.synced.append(self.time.now)
        if self.sync_errors:
            raise self.sync_errors.pop(0)

    def _read(self, folder: str, limit: int) -> list[Entry]:
        assert folder == str(self.path)
        if isinstance(self.former, Exception):
            raise self.former
        return self.former[-limit:]

    def close(self) -> None:
        self.closed += 1

    def _set_aside(self, folder: str) -> str:
        assert folder == str(self.path)
        self.aside += 1
        if self.aside_errors:
            raise self.aside_errors.pop(0)
        return f"{folder}/damaged.jsonl"

    def _asked(self, words: list[str], limit_s: float) -> tuple[int, str] | None:
        assert limit_s == 300.0
        self.asked.append(words)
        answer = self.answers.pop(0)
        if answer is not None and answer[0] in (0, 3):
            self.old.unlink()
        return answer

    # what a test does

    def note(self, text: str = "x") -> Entry:
        """One entry comes in."""
        self.history.record(EntryKind.NODE, "deb1", "NOTED", text)
        return self.history.recent[-1]

    def run(self, *later: int | str) -> None:
        """The thread's work to its end; meanwhile so many entries come, one group after another."""
        for group in later:
            self.arrivals.later.append(
                group if isinstance(group, str) else [entry(number) for number in range(group)]
            )
        self.history._run()

    @property
    def written(self) -> list[str]:
        """What is in the file."""
        return [each.reason for batch in self.batches for each in batch]


def entry(number: int, mono: float = 100.0) -> Entry:
    """One entry among many."""
    return Entry(1.0, mono, EntryKind.NODE, "deb1", "", "NOTED", f"late {number}")


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Nothing has been recorded."""
    return Writer(tmp_path, monkeypatch)


# --- what is recorded -----------------------------------------------------------------------------


def test_event_is_recorded_with_both_clocks_and_its_cause(writer: Writer) -> None:
    """It is no alarm unless the caller marks it."""
    writer.history.causality = lambda: CAUSE
    writer.history.record(EntryKind.NODE, "deb1", "NEW", "why")
    writer.history.record(EntryKind.LINK, "eth1", "DOWN", "quiet", "UP", 1.5, is_alarm=True)
    first = Entry(
        1_100.0, 100.0, EntryKind.NODE, "deb1", "", "NEW", "why", machine="this boot", cause=CAUSE
    )
    second = Entry(
        1_100.0, 100.0, EntryKind.LINK, "eth1", "UP", "DOWN", "quiet",
        is_alarm=True, took_s=1.5, machine="this boot", cause=CAUSE,
    )  # fmt: skip
    assert writer.history.recent == [first, second] == list(writer.arrivals.items)


def test_change_is_recorded_with_its_evidence(writer: Writer) -> None:
    """At the instant of that; it is counted, and the caller gets the entry."""
    sight = Sight(90.0, (), PeerStanding.SILENT, 0.0, None)
    record = Record(RecordKind.SERVICE, "web", "STOPPED", "STARTED", "silent", True, "a rule")
    found = writer.history.record_change(record, sight, CAUSE)
    assert found == Entry(
        1_090.0, 90.0, EntryKind.SERVICE, "web", "STOPPED", "STARTED", "silent", "a rule", True,
        sight=sight, cause=CAUSE,
    )  # fmt: skip
    assert writer.history.recent == [replace(found, machine="this boot")]
    counted = writer.history.tally.complete(Activity()).decisions
    assert counted == (DecisionCount("web", "STARTED", 1),)


@pytest.mark.parametrize("is_same_life", [False, True])
def test_start_is_recorded_with_what_was_recovered(writer: Writer, is_same_life: bool) -> None:
    """One entry for the daemon, one for each service with the reason of its state."""
    recovered = {
        "web": RecoveredState(ServiceState.STARTED, reason="it ran"),
        "mail": RecoveredState(ServiceState.STOPPED),
    }
    writer.history.record_start(recovered, is_same_life)
    daemon, *services = writer.history.recent
    assert (daemon.kind, daemon.name, daemon.new) == (EntryKind.DAEMON, "", "STARTED")
    assert f"pid {os.getpid()}" in daemon.reason
    assert ("from before" in daemon.reason) is is_same_life
    assert ("first start" in daemon.reason) is not is_same_life
    assert [(each.kind, each.name, each.new, each.reason) for each in services] == [
        (EntryKind.SERVICE, "web", "STARTED", "it ran"),
        (EntryKind.SERVICE, "mail", "STOPPED", "from its STATE file"),
    ]


def test_command_is_recorded_once_for_all_or_for_each_named(writer: Writer) -> None:
    """With who gave it."""
    caller = cast(Caller, SimpleNamespace(text="alice"))
    writer.history.record_command(Command.STOP, None, caller)
    writer.history.record_command(Command.STOP, ["web", "mail"], caller)
    assert [(each.kind, each.name, each.new, each.reason) for each in writer.history.recent] == [
        (EntryKind.COMMAND, name, Command.STOP.value, "by alice") for name in ("", "web", "mail")
    ]


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("is_ok", [False, True])
def test_only_a_command_that_was_not_carried_out_is_recorded(
    writer: Writer, is_last: bool, is_ok: bool
) -> None:
    """At its end, with the reason, or with both states where there is none."""
    for detail in ("no space", ""):
        writer.history.record_answer(
            Answer(
                1, "start", "web", AnswerCode.REFUSED, ServiceState.STOPPED, ServiceState.UNKNOWN,
                detail, is_last, is_ok,
            )
        )  # fmt: skip
    reasons = ["no space", "we are STOPPED, the peer is UNKNOWN"]
    assert [
        (each.kind, each.name, each.old, each.new, each.reason) for each in writer.history.recent
    ] == [
        (EntryKind.COMMAND, "web", "start", "REFUSED", reason)
        for reason in reasons
        if is_last and not is_ok
    ]


@pytest.mark.parametrize("outcome", [ScriptOutcome.OK, ScriptOutcome.FAILED])
@pytest.mark.parametrize("is_begun", [False, True])
def test_end_of_a_script_is_recorded_with_its_time(
    writer: Writer, outcome: ScriptOutcome, is_begun: bool
) -> None:
    """Its path, or why it failed, which is an alarm; one that another daemon began has no time."""
    script = RunScript(
        "web", ScriptKind.STOP, "/opt/web", ServiceState.UNKNOWN, PeerStanding.SILENT
    )
    if is_begun:
        writer.history.record_script_start(script)
        writer.history.record_script_start(replace(script, kind=ScriptKind.START))
    writer.time.now += 2.5
    end = ScriptExited("web", ScriptKind.STOP, outcome, "exited with 3")
    writer.history.record_script_end(end)
    writer.history.record_script_end(end)
    first, second = writer.history.recent
    is_ok = outcome is ScriptOutcome.OK
    assert first == Entry(
        1_102.5, 102.5, EntryKind.SCRIPT, "web", "stop", outcome.value,
        ("/opt/web" if is_begun else "") if is_ok else "exited with 3",
        is_alarm=not is_ok, took_s=2.5 if is_begun else None, machine="this boot",
    )  # fmt: skip
    assert second.took_s is None and second.reason == ("" if is_ok else "exited with 3")
    (counted,) = writer.history.tally.complete(Activity()).scripts
    assert counted == ScriptCount("web", "stop", outcome.value, 2, 2.5 if is_begun else 0.0, 0.0)


def test_followers_get_each_entry_until_they_do_not_want_it(writer: Writer) -> None:
    """Two of them; when one leaves, the other one stays."""
    first, second = list[Entry](), list[Entry]()
    writer.history.follow(first.append)
    writer.history.follow(second.append)
    one = writer.note("one")
    writer.history.unfollow(first.append)
    two = writer.note("two")
    assert first == [one] and second == [one, two]


def test_300_entries_are_known_without_the_file(writer: Writer) -> None:
    """The newest ones, in a list that nothing changes."""
    for number in range(301):
        writer.note(str(number))
    recent = writer.history.recent
    assert [each.reason for each in recent] == [str(number) for number in range(1, 301)]
    writer.note("then")
    assert len(recent) == 300 and recent[-1].reason == "300"


def test_inbox_has_a_limit(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is counted, passed on, and known; how many is recorded with the next."""
    monkeypatch.setattr(history_writer, "HISTORY_INBOX_LIMIT", 3)
    passed = list[Entry]()
    writer.history.follow(passed.append)
    for number in range(5):
        writer.note(str(number))
    assert writer.arrivals.qsize() == 3 and len(passed) == len(writer.history.recent) == 5
    writer.run()
    text = "the history is written again; 2 entries were lost"
    assert writer.written == ["0", "1", "2", text] and writer.reports == [(False, text)]
    assert writer.history.recent[-1].new == "HISTORY LOST"


@pytest.mark.parametrize("services, limit", [(1, 50_000), (2_500, 50_000), (3_000, 60_000)])
def test_limit_of_the_file_grows_with_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: int, limit: int
) -> None:
    """Twenty entries for each, fifty thousand at least."""
    writer = Writer(tmp_path, monkeypatch, services)
    writer.note()
    writer.run()
    assert writer.limits == {limit}


# --- the writer's turns ---------------------------------------------------------------------------


def test_entries_are_gathered_for_a_moment_and_written_together(writer: Writer) -> None:
    """It waits for the first without a limit, and not at all before its end."""
    writer.run(2, 3)
    assert [len(batch) for batch in writer.batches] == [2, 3]
    assert writer.time.pauses == [0.05, 0.05, 0.0] and writer.arrivals.waits[:2] == [None, None]
    assert writer.opened == [(str(writer.path), "this boot")] and writer.closed == 1
    assert writer.names == ["history"] and writer.reports == []
    assert writer.history._thread.daemon and not writer.history.is_open


def test_batch_is_bounded(writer: Writer) -> None:
    """2,001 wait: a batch of 2,000 and one of the rest."""
    writer.run(2_001)
    assert [len(batch) for batch in writer.batches] == [2_000, 1]


def test_what_came_before_the_end_is_written(writer: Writer) -> None:
    """And nothing that would come after it."""
    for text in ("one", "two"):
        writer.note(text)
    writer.arrivals.put(None)
    writer.arrivals.put(entry(1))
    writer.run()
    assert writer.written == ["one", "two"] and writer.history._unwritten == 0
    assert writer.closed == 1


def test_end_without_an_entry_opens_no_file(writer: Writer) -> None:
    """There is nothing to write."""
    writer.run()
    assert writer.opened == [] and writer.closed == 0


@pytest.mark.parametrize("waited_s", [4.75, 5.0])
def test_late_entries_are_reported(writer: Writer, waited_s: float) -> None:
    """From five seconds on, for the oldest of the batch."""
    writer.arrivals.later.append([entry(1, 100.05 - waited_s), entry(2, 100.05)])
    writer.run()
    text = "2 entries of the history were written 5 s late"
    assert writer.reports == ([(False, text)] if waited_s == 5.0 else [])


def test_file_that_is_not_in_place_is_begun_again(writer: Writer) -> None:
    """The one that is gone is closed, and the recent entries are not filled in twice."""
    writer.former = [entry(7)]
    writer.note("one")
    writer.is_in_place = False
    writer.run(1)
    assert len(writer.opened) == 2 and writer.closed == 2
    assert [each.reason for each in writer.history.recent] == ["late 7", "one"]


def test_entries_of_the_daemon_before_are_known(writer: Writer) -> None:
    """The newest of them before those of this one, 300 in all."""
    writer.former = [entry(number) for number in range(400)]
    writer.note("one")
    writer.run()
    reasons = [each.reason for each in writer.history.recent]
    assert reasons == [*(f"late {number}" for number in range(101, 400)), "one"]


def test_entries_before_that_cannot_be_read_are_left_out(writer: Writer) -> None:
    """The file is written all the same."""
    writer.former = SystemFault("cannot read the history")
    writer.note("one")
    writer.run()
    assert writer.written == ["one"] and len(writer.history.recent) == 1 and writer.reports == []


# --- the disk -------------------------------------------------------------------------------------


def test_entries_that_come_alone_are_on_disk_at_once(writer: Writer) -> None:
    """Those of one decision: behind the moment in which they are gathered."""
    writer.run(2)
    assert writer.synced == [100.05]


def test_entries_that_come_together_are_on_disk_twice_a_second(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many writes there are: half a second after the last time at the latest."""
    monkeypatch.setattr(history_writer, "_GATHER_S", 0.0625)
    writer.run(*[1] * 18)
    assert len(writer.batches) == 18
    assert writer.synced == [100.0625, 100.5625, 101.0625, 101.125], "the last one at its end"


def test_entries_that_nothing_follows_are_on_disk_half_a_second_later(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is waited for with a limit once all is on disk."""
    monkeypatch.setattr(history_writer, "_GATHER_S", 0.0625)
    writer.run(1, 1, NOTHING, 1)
    assert writer.synced == [100.0625, 100.5625, 100.625]
    assert writer.arrivals.waits == [None, None, 0.4375, None, 0.4375]


def test_disk_that_refuses_entries_loses_them(writer: Writer) -> None:
    """They were written, and it is not known what became of them: counted as lost, in a file that
    is opened again.
    """
    writer.sync_errors = [OSError(5, "Input/output error")]
    writer.run(3, 1)
    problem = f"the history is not written ({writer.path}: [Errno 5] Input/output error); "
    again = "the history is written again; 3 entries were lost"
    assert [text for _, text in writer.reports] == [
        f"{problem}decisions do not depend on it",
        again,
    ]
    assert writer.written[-1] == again and len(writer.opened) == 2


# --- a file that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        RuntimeError("what now"),
    ],
    ids=str,
)
def test_what_is_wrong_around_the_file_loses_entries_only(writer: Writer, error: Exception) -> None:
    """Reported once, until it works again; then with how many were lost. Nothing is set aside."""
    writer.errors = [error, error]
    problems = list[str]()
    writer.history.follow(lambda each: problems.append(writer.history.problem))
    writer.path.touch()
    writer.run(2, 3, 1)
    why = f"RuntimeError: {error}" if isinstance(error, RuntimeError) else str(error)
    problem = f"the history is not written ({writer.path}: {why}); decisions do not depend on it"
    again = "the history is written again; 5 entries were lost"
    assert writer.reports == [(True, problem), (False, again)]
    assert writer.written == ["late 0", again] and writer.history.problem == ""
    assert problems == [""], "recorded once it works"
    assert len(writer.opened) == writer.closed == 3 and os.listdir(writer.path.parent) == [
        writer.path.name
    ]


@pytest.mark.parametrize("whole", [0, 2])
def test_full_disk_loses_what_was_not_whole(writer: Writer, whole: int) -> None:
    """Those of a batch that it has taken are not counted."""
    writer.errors = [PartlyWritten(whole, OSError(28, "No space left on device"))]
    writer.run(3, 1)
    assert [is_fault for is_fault, _ in writer.reports] == [True, False]
    assert "No space left on device" in writer.reports[0][1]
    assert writer.reports[1][1].endswith(f"; {3 - whole} entries were lost")


def test_full_disk_loses_nothing_that_was_written(writer: Writer) -> None:
    """What the file has taken is on disk before it is left."""
    writer.errors = [None, None, PartlyWritten(1, OSError(28, "No space left on device"))]
    writer.run(1, 1, 3)
    assert writer.synced == [100.05, pytest.approx(100.15)] and writer.closed == 1


def test_damaged_file_is_set_aside(writer: Writer) -> None:
    """The batch is in the new one."""
    writer.errors = [DamagedFile("it is another version")]
    writer.run(2)
    damaged = writer.path / "damaged.jsonl"
    why = "it is another version"
    assert writer.reports == [
        (True, f"the history was damaged ({why}): it is now {damaged}, and a new one was begun")
    ]
    assert writer.written == ["late 0", "late 1"] and writer.aside == 1
    assert len(writer.opened) == writer.closed == 2 and len(writer.synced) == 1


@pytest.mark.parametrize(
    "error",
    [
        DamagedFile("again"),
        PartlyWritten(0, OSError("again")),
        OSError("again"),
        ValueError("again"),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("fails_at", ["rename", "write"])
def test_damaged_file_that_cannot_be_set_aside_loses_entries(
    writer: Writer, error: Exception, fails_at: str
) -> None:
    """It is not there, or the new one fails as well."""
    writer.errors = [DamagedFile("no history")]
    if fails_at == "write":
        writer.errors.append(error)
    else:
        writer.aside_errors.append(OSError("again"))
    writer.run(2)
    ((is_fault, text),) = writer.reports
    assert is_fault and "no history; and it cannot be set aside: " in text
    assert writer.written == [] and writer.history.problem == text
    assert writer.history._lost == 2


# --- the history of an older version --------------------------------------------------------------


def test_file_of_an_older_version_is_converted_first(writer: Writer) -> None:
    """By a process of its own, once, before the first entry; reported with what it has printed."""
    writer.old.touch()
    writer.answers = [(0, "a warning\n7 entries: the file is now /x\n")]
    writer.run(2, 1)
    (words,) = writer.asked
    assert words[-3:] == [
        "opensvc_openha.storage.history_conversion", str(writer.old), str(writer.path)
    ]  # fmt: skip
    assert len(writer.written) == 3
    text = "the history of an older version was converted: 7 entries: the file is now /x"
    assert writer.reports == [(False, text)]


def test_damaged_file_of_an_older_version_is_reported(writer: Writer) -> None:
    """It was set aside: the new history is begun."""
    writer.old.touch()
    writer.answers = [(3, "file is not a database\n")]
    writer.run(1)
    text = (
        "the history of an older version was damaged (file is not a database): it is now"
        f" {writer.old}.damaged, and a new one was begun"
    )
    assert writer.reports == [(True, text)] and writer.written == ["late 0"]


@pytest.mark.parametrize("answer", [None, (1, "disk is full"), (-9, "")])
def test_conversion_that_fails_is_tried_again_after_a_minute(
    writer: Writer, answer: tuple[int, str] | None
) -> None:
    """Meanwhile entries are lost: they would be numbered before those of the old file."""
    writer.old.touch()
    writer.answers = [answer, (0, "7 entries")]
    writer.arrivals.later += [[entry(1)], [entry(2)]]
    writer.run()
    assert len(writer.asked) == 1 and writer.history._lost == 2 and writer.opened == []
    ((is_fault, text),) = writer.reports
    assert is_fault and f"{writer.old} of an older version cannot be converted: " in text
    assert (answer[1] if answer else "it did not end in time") in text

    writer.time.now = 100.05 + 59.75
    writer.run(1)
    assert len(writer.asked) == 1 and writer.history._lost == 3
    writer.time.now = 100.05 + 60.0
    writer.run(1)
    assert len(writer.asked) == 2 and writer.written[0] == "late 0"
    assert [text for _, text in writer.reports[1:] if "late" not in text] == [
        "the history of an older version was converted: 7 entries",
        "the history is written again; 3 entries were lost",
    ]


# --- its beginning and its end --------------------------------------------------------------------


class Threads:
    """The writer's thread, which hangs in a disk or has ended."""

    def __init__(self, is_alive: bool) -> None:
        self._is_alive = is_alive
        self.joined: list[float] = []
        self.error: Exception | None = None

    def start(self) -> None:
        if self.error is not None:
            raise self.error

    def is_alive(self) -> bool:
        return self._is_alive

    def join(self, limit_s: float) -> None:
        self.joined.append(limit_s)


@pytest.mark.parametrize("is_alive", [False, True])
def test_end_waits_for_a_disk_with_a_limit(writer: Writer, is_alive: bool) -> None:
    """Only while there is a thread, and two seconds; what is left is reported as lost."""
    thread = Threads(is_alive)
    writer.history._thread = cast(Any, thread)
    writer.history._unwritten = 4
    writer.note()
    assert writer.history.is_open is is_alive
    writer.history.close()
    assert thread.joined == ([2.0] if is_alive else [])
    assert list(writer.arrivals.items)[1:] == ([None] if is_alive else [])
    left = 6 if is_alive else 5
    text = f"the last {left} entries of the history are lost: "
    assert writer.reports == [(True, f"{text}{writer.path} could not be written in time")]
    writer.history.problem = "the disk is full"
    writer.history.close()
    assert writer.reports[1][1].endswith("lost: the disk is full")


def test_end_with_nothing_left_is_silent(writer: Writer) -> None:
    """All is written."""
    writer.history.close()
    assert writer.reports == []


def test_history_without_a_thread_is_a_problem(writer: Writer) -> None:
    """The daemon continues; where there is one, nothing is wrong."""
    thread = Threads(False)
    writer.history._thread = cast(Any, thread)
    writer.history.open()
    assert writer.history.problem == ""
    thread.error = RuntimeError("can't start new thread")
    writer.history.open()
    assert writer.history.problem == "the history is not written: can't start new thread"


def test_thread_that_is_had_later_ends_the_problem(writer: Writer) -> None:
    """The next daemon of the process opens the history again; nothing was lost."""
    writer.history.problem = "the history is not written: can't start new thread"
    writer.note("one")
    writer.run()
    text = "the history is written again; 0 entries were lost"
    assert writer.history.problem == "" and writer.reports == [(False, text)]
    assert writer.written == ["one", text]
