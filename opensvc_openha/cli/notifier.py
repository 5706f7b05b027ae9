"""Follow the history, and run the programs of notify.d for what somebody has to know at once.

    history file --> AlertStream --> AlertLimit --> a queue and a thread for each program
                     what is news    not too many       tried again with growing delays

It is a process of its own that the node daemon only starts: whatever a program does, no decision
waits for it, and a program that hangs delays itself alone. The history is the memory: what was not
delivered when this process ended is read again from the entry that the program's mark names. So a
program may get a notification twice after a crash; it gets none that is older than its first run.
While the history cannot be written, as on a full disk, the daemon is asked for what it would write.
"""

from __future__ import annotations

import collections
import contextlib
import json
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from opensvc_openha.cli import json_views
from opensvc_openha.cli.notify_program import Outcome, programs_in, run_program
from opensvc_openha.cli.why import collect
from opensvc_openha.control import client
from opensvc_openha.errors import OpenhaError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.formats.options_file import NotifyOptions
from opensvc_openha.hints import Any
from opensvc_openha.storage import configuration
from opensvc_openha.storage.alert_limit import Admitted, AlertLimit
from opensvc_openha.storage.alerts import AlertStream
from opensvc_openha.storage.explanation import explain
from opensvc_openha.storage.history_entry import Entry, EntryKind, key_of, unwritten
from opensvc_openha.storage.history_file import read_after, read_entries
from opensvc_openha.storage.history_segments import mark_of
from opensvc_openha.storage.history_writer import NOT_WRITTEN
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import write_atomically
from opensvc_openha.system.processes import send_signal

_BACK = 5_000
"""Entries that are read at the start, to know what is open."""
_AT_ONCE = 2_000
_WAITING_MAX = 200
_BACKOFF_FIRST_S = 2.0
_BACKOFF_MAX_S = 60.0
_FOLDER_EVERY_S = 2.0
_LAST_S = 1.5
"""How long programs may run after the daemon has ended: less than it waits for this process."""

_ASK_EVERY_S = 10.0
_NEWEST = 1_000
"""Entries by which those that the daemon has beside the file are known."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Mark:
    """What is remembered of a program: up to which entry it was run, and how it did."""

    number: int
    delivered_at: float | None = None
    failed_at: float | None = None
    failure: str = ""


def read_marks(layout: Layout) -> dict[str, Mark]:
    """Return the marks of all programs; none if the file is missing or damaged."""
    try:
        with open(layout.notify_file, encoding="utf-8") as file:
            found = json.load(file)["programs"]
        return {str(name): Mark(**{**mark, "number": int(mark["number"])}) for name, mark in found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def read_waiting(layout: Layout) -> dict[str, int]:
    """Return how many notifications wait for each program, as of a moment ago."""
    try:
        with open(layout.notify_file, encoding="utf-8") as file:
            return {str(name): int(number) for name, number in json.load(file)["waiting"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


class Message:
    """A notification, as all programs get it; its ``why`` is asked for when it is first sent."""

    def __init__(self, admitted: Admitted, layout: Layout, is_test: bool = False) -> None:
        self.admitted = admitted
        self._layout = layout
        self._is_test = is_test
        self._lock = threading.Lock()
        self._view: json_views.NotificationView | None = None

    @property
    def number(self) -> int:
        """Number of its entry in the history."""
        return self.admitted.alert.entry.number

    def view(self, lost: int = 0) -> json_views.NotificationView:
        """Return what a program reads that has lost so many before."""
        with self._lock:
            if self._view is None:
                names, explanation = names_of(self._layout), None
                service = self.admitted.alert.service
                if service:
                    # Whatever is wrong with the rest: the alert itself goes out.
                    with contextlib.suppress(Exception):
                        explanation = explain(collect(self._layout, service))
                self._view = json_views.notification(
                    self.admitted, names, explanation, is_test=self._is_test
                )
            return replace(self._view, lost=lost)


def names_of(layout: Layout) -> tuple[str, str]:
    """Return the names of this node and of its peer."""
    return configuration.names_or(layout, "the peer")


def environment_of(view: json_views.NotificationView, layout: Layout) -> dict[str, str]:
    """Return the variables of a program, for those that read no JSON."""
    return {
        **layout.environment(),
        "OPENHA_EVENT": view.event,
        "OPENHA_IS_OVER": "1" if view.is_over else "0",
        "OPENHA_SUBJECT": view.subject,
        "OPENHA_SERVICE": view.service,
        "OPENHA_NODE": view.node,
        "OPENHA_PEER": view.peer,
        "OPENHA_SUMMARY": view.summary,
        "OPENHA_IS_TEST": "1" if view.is_test else "0",
    }


def send(
    path: str,
    view: json_views.NotificationView,
    layout: Layout,
    limit_s: float,
    running: set[int] | None = None,
) -> Outcome:
    """Run a program once; its process is in ``running`` meanwhile."""
    env = {key: value.replace("\0", "") for key, value in environment_of(view, layout).items()}
    text = view.text().encode("utf-8", "replace")
    return run_program(path, text, limit_s, env, set() if running is None else running)


def entries_not_written(layout: Layout) -> list[Entry]:
    """Return the newest entries of a daemon that cannot write its history; none if it can."""
    try:
        status = client.fetch_status(layout, is_old_fine=True)
        if any(text.startswith(NOT_WRITTEN) for text in status.warnings):
            return client.fetch_history(layout)
    except OpenhaError:
        pass  # Asked again in a moment.
    return []


@dataclass
class _Program:
    """One program: what waits for it, and the thread that runs it."""

    name: str
    mark: Mark
    waiting: collections.deque[Message] = field(default_factory=collections.deque)
    lost: int = 0
    is_gone: bool = False


class Notifier:
    """All programs of this node; ``follow`` is called from time to time by one thread."""

    def __init__(
        self,
        layout: Layout,
        options: Callable[[], NotifyOptions],
        log: Log,
        ask: Callable[[Layout], list[Entry]] = entries_not_written,
    ) -> None:
        self._layout = layout
        self._ask = ask
        self._ask_at = clock.monotonic() + _ASK_EVERY_S
        self._newest: collections.deque[Entry] = collections.deque(maxlen=_NEWEST)
        self._unwritten: collections.deque[tuple[object, ...]] = collections.deque(maxlen=_NEWEST)
        """Keys of entries that were taken from the daemon: the file may have them later."""
        self._options = options
        self._log = log
        self._changed = threading.Condition()
        self._programs: dict[str, _Program] = {}
        self._problems: dict[str, str] = {}
        self._stream = AlertStream()
        self._limit = AlertLimit(options().most)
        self._first = 0
        """Alerts go out from the entry after this one on."""
        self._number: int | None = None
        """The last entry that was read; None before the first."""
        self._seen: object = None
        self._saved: object = None
        self._looked_at = -_FOLDER_EVERY_S
        self._marks = read_marks(layout)
        self._is_over = False
        self._running: set[int] = set()
        """Processes of programs: none is left behind without a limit."""
        self._reading_problem = ""

    def follow(self) -> None:
        """Read what is new, and hand it to the programs."""
        if clock.monotonic() >= self._looked_at + _FOLDER_EVERY_S:
            self._looked_at = clock.monotonic()
            self._limit.most = self._options().most
            self._look_at_folder()
        for entry in self._new_entries():
            self._newest.append(entry)
            if key_of(entry) not in self._unwritten:
                self._take(entry)
            self._number = entry.number
        for entry in self._entries_beside_the_file():
            self._newest.append(entry)
            self._unwritten.append(key_of(entry))
            self._take(replace(entry, number=0))
        self._hand_out(self._limit.due(clock.monotonic()))
        self._save()

    def _take(self, entry: Entry) -> None:
        for alert in self._stream.take(entry):
            is_due = entry.number == 0 or entry.number > self._first
            if is_due and alert.kind in self._options().events:
                self._hand_out(self._limit.take(alert, clock.monotonic()))

    def _entries_beside_the_file(self) -> list[Entry]:
        if clock.monotonic() < self._ask_at:
            return []
        self._ask_at = clock.monotonic() + _ASK_EVERY_S
        return unwritten(list(self._newest), self._ask(self._layout))

    def end(self) -> None:
        """Read the last entries, and give the programs a moment; what is left is for the next."""
        self.follow()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not any(program.waiting for program in self._programs.values()), _LAST_S
            )
        self._save()
        for pid in list(self._running):
            send_signal(pid, signal.SIGKILL, is_group=True)

    # --- the history ------------------------------------------------------------------------------

    def _new_entries(self) -> list[Entry]:
        """Return the entries since the last call; a history that cannot be read has none."""
        path = self._layout.history_dir
        try:
            seen = mark_of(path)
        except OSError:
            return []
        if seen is None or seen == self._seen:
            return []
        try:
            if self._number is None:
                entries = self._first_entries(read_entries(path, limit=_BACK))
            else:
                entries = read_after(path, self._number, _AT_ONCE)
                if not entries and self._has_begun_again(path):
                    self._log("the history was begun again: read from its first entry")
                    self._begin_again()
                    entries = read_after(path, 0, _AT_ONCE)
        except SystemFault as error:
            if str(error) != self._reading_problem:
                self._reading_problem = str(error)
                self._log(str(error))
            return []
        # Where there may be more, the next call reads on.
        self._seen = None if len(entries) >= _AT_ONCE else seen
        self._reading_problem = ""
        return entries

    def _has_begun_again(self, path: str) -> bool:
        newest = read_entries(path, limit=1)
        return bool(newest) and self._number is not None and newest[0].number < self._number

    def _begin_again(self) -> None:
        self._number = self._first = 0
        with self._changed:
            for program in self._programs.values():
                program.mark = replace(program.mark, number=0)

    def _first_entries(self, entries: list[Entry]) -> list[Entry]:
        """Determine from which entry on alerts go out; return all of them.

        From where the programs were, or from this daemon's start.
        """
        newest = entries[-1].number if entries else 0
        starts = [
            entry.number
            for entry in entries
            if entry.kind is EntryKind.DAEMON and entry.new == "STARTED"
        ]
        begin = starts[-1] if starts else newest
        for program in self._programs.values():
            # A mark behind the newest entry is of a history that was lost.
            if not 0 <= program.mark.number <= newest:
                program.mark = replace(program.mark, number=begin)
        marks = [program.mark.number for program in self._programs.values()]
        self._first = min(marks, default=newest)
        return entries

    # --- the programs -----------------------------------------------------------------------------

    def _look_at_folder(self) -> None:
        found = programs_in(self._layout.notify_dir)
        for name, problem in found.items():
            if problem and self._problems.get(name) != problem:
                self._log(f"{name}: {problem}")
        self._problems = found
        usable = [name for name, problem in found.items() if not problem]
        with self._changed:
            for name in [name for name in self._programs if name not in usable]:
                self._programs.pop(name).is_gone = True
            self._changed.notify_all()
            for name in usable:
                if name not in self._programs:
                    # A new one begins now; before the first entry was read, -1 stands for that.
                    known = self._marks.get(name, Mark(-1))
                    is_new = self._number is not None and name not in self._marks
                    mark = Mark(self._number or 0) if is_new else known
                    self._programs[name] = program = _Program(name, mark)
                    threading.Thread(
                        target=self._serve, args=(program,), name=f"notify {name}", daemon=True
                    ).start()

    def _hand_out(self, admitted: list[Admitted]) -> None:
        for each in admitted:
            message = Message(each, self._layout)
            with self._changed:
                for program in self._programs.values():
                    # 0: it is not in the file.
                    if message.number == 0 or message.number > program.mark.number:
                        if len(program.waiting) >= _WAITING_MAX:
                            program.waiting.popleft()
                            program.lost += 1
                        program.waiting.append(message)
                self._changed.notify_all()

    def _serve(self, program: _Program) -> None:
        """Run one program for all that comes, in its own thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: program.waiting or program.is_gone)
                if program.is_gone:
                    return
                message, lost = program.waiting[0], program.lost
            try:
                outcome = self._deliver(program, message, lost)
            # The only catch-all of this thread: the next notification may be delivered.
            except Exception as error:
                outcome = Outcome(f"unexpected: {type(error).__name__}: {error}", "")
                self._log(f"{program.name}: {outcome.problem}: given up")
            if outcome is None:
                return
            now = clock.wall()
            with self._changed:
                if program.waiting and program.waiting[0] is message:
                    program.waiting.popleft()
                if outcome.problem:
                    failure = one_line(f"{outcome.problem}: {outcome.output}"[:300])
                    program.lost += 1
                    program.mark = replace(program.mark, failed_at=now, failure=failure)
                else:
                    program.lost -= lost
                    program.mark = replace(program.mark, delivered_at=now)
                self._changed.notify_all()

    def _deliver(self, program: _Program, message: Message, lost: int) -> Outcome | None:
        """Try a program until it succeeds or its attempts are over; None if it is gone."""
        path = f"{self._layout.notify_dir}/{program.name}"
        pause_s = _BACKOFF_FIRST_S
        attempt = 0
        while True:
            attempt += 1
            options = self._options()
            view = message.view(lost)
            outcome = send(path, view, self._layout, options.timeout_s, self._running)
            what = f"{program.name}: {view.event}{' over' * view.is_over} {view.subject}"
            if not outcome.problem:
                self._log(f"{what}: delivered")
                return outcome
            text = f"{what}: {outcome.problem}" + f": {outcome.output}" * bool(outcome.output)
            if attempt >= options.attempts:
                self._log(f"{text}: given up after {attempt} attempts")
                return outcome
            self._log(f"{text}: tried again in {pause_s:g} s")
            with self._changed:
                if self._changed.wait_for(lambda: program.is_gone or self._is_over, pause_s):
                    return None
            pause_s = min(_BACKOFF_MAX_S, 2 * pause_s)

    # --- what is remembered -----------------------------------------------------------------------

    def _save(self) -> None:
        """Write the marks where they have changed; a disk that is full forgets them."""
        if self._number is None:
            return
        with self._changed:
            held = self._limit.oldest_held
            for program in self._programs.values():
                ends = [self._number, *(each.number - 1 for each in program.waiting)]
                ends += [] if held is None else [held - 1]
                if program.mark.number < min(ends):
                    program.mark = replace(program.mark, number=min(ends))
            marks = {
                **{name: mark for name, mark in self._marks.items() if name in self._problems},
                **{name: program.mark for name, program in self._programs.items()},
            }
            waiting = {name: len(program.waiting) for name, program in self._programs.items()}
        if (marks, waiting) == self._saved:
            return
        self._saved = marks, waiting
        text = json.dumps(_saved_form(marks, waiting), indent=1)
        with contextlib.suppress(OSError):
            write_atomically(self._layout.notify_file, text.encode(), 0o640, is_durable=False)


def _saved_form(marks: Mapping[str, Mark], waiting: Mapping[str, int]) -> dict[str, Any]:
    return {
        "programs": [[name, vars(mark)] for name, mark in sorted(marks.items())],
        "waiting": dict(waiting),
    }
