"""Keep the history: take entries from any thread without waiting, and write them in an own one.

Decisions continue whatever happens to the files: entries that cannot be written are counted and
lost, which is logged once. A file that cannot be continued is set aside, and a new one begun.

All that waits is one write, after which it outlives this process. It is on disk, and outlives the
machine, at once where nothing was written in the last half second, else at the end of that: so a
decision that comes alone is on disk before the next one, and a thousand that come together cost two
waits for the disk a second.
"""

from __future__ import annotations

import collections
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from opensvc_openha import __version__
from opensvc_openha.core.actions import Answer, Record, RunScript
from opensvc_openha.core.beat import Causality
from opensvc_openha.core.events import (
    Command,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
)
from opensvc_openha.core.status import Sight
from opensvc_openha.core.timing import HISTORY_ENTRIES, HISTORY_INBOX_LIMIT
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile, read_entries
from opensvc_openha.storage.history_segments import DamagedFile, PartlyWritten, set_aside
from opensvc_openha.storage.tally import Tally
from opensvc_openha.system import clock
from opensvc_openha.system.bounded_program import ask_program
from opensvc_openha.system.identity import life
from opensvc_openha.system.peer_credentials import Caller
from opensvc_openha.system.self_command import self_command
from opensvc_openha.system.thread_names import name_thread

NOT_WRITTEN = "the history is not written"
"""What the problem begins with while entries are lost."""
_BATCH = 2_000
_GATHER_S = 0.05
_SYNC_EVERY_S = 0.5
_CLOSE_LIMIT_S = 2.0
_ENTRIES_PER_SERVICE = 20
_RECENT = 300
_LATE_S = 5.0
"""Entries written this many seconds after they were recorded are reported."""
_CONVERSION = "opensvc_openha.storage.history_conversion"
_CONVERSION_S = 300.0
_CONVERT_AGAIN_S = 60.0
_DAMAGED_FORMER = 3
"""Exit code of the conversion of a file that it has set aside."""


class History:
    """The history of one node, for its daemon."""

    def __init__(self, layout: Layout, services: int, report: Callable[[bool, str], None]) -> None:
        """Set up a history that is not open yet.

        ``report`` is called from another thread with what is wrong with the file (True), and when
        it works again.
        """
        self._path, self._former = layout.history_dir, layout.former_history_file
        self._limit = max(HISTORY_ENTRIES, _ENTRIES_PER_SERVICE * services)
        self._report = report
        self._machine = life()
        self._inbox: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._scripts: dict[tuple[str, ScriptKind], tuple[RunScript, float]] = {}
        self._lost = 0
        self._file: HistoryFile | None = None
        self._unwritten = self._unsynced = 0
        self._synced_at = -_SYNC_EVERY_S
        self._convert_at = -_CONVERT_AGAIN_S
        self._is_filled = False
        self._recent: collections.deque[Entry] = collections.deque(maxlen=_RECENT)
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self.tally = Tally()
        """How often what happened."""
        self._followers: list[Callable[[Entry], None]] = []
        self.causality: Callable[[], Causality | None] = lambda: None
        """What the engine has sent and heard by now; set once there is one."""
        self.problem = ""
        """Why entries are being lost; empty if they are not."""

    def open(self) -> None:
        """Start to write."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self.problem = f"{NOT_WRITTEN}: {error}"

    @property
    def is_open(self) -> bool:
        """True while entries are accepted."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write what is left, and end; a hung disk is waited for with a limit."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join(_CLOSE_LIMIT_S)
        left = self._unwritten + self._inbox.qsize()
        if left:
            why = self.problem or f"{self._path} could not be written in time"
            self._report(True, f"the last {left} entries of the history are lost: {why}")

    def follow(self, follower: Callable[[Entry], None]) -> None:
        """Have each new entry passed on; by any thread, the engine's too, so it must be quick."""
        self._followers = [*self._followers, follower]

    def unfollow(self, follower: Callable[[Entry], None]) -> None:
        """Pass nothing on to it any more."""
        self._followers = [each for each in self._followers if each != follower]

    @property
    def recent(self) -> list[Entry]:
        """Return the newest entries, oldest first, unwritten ones included."""
        return list(self._recent.copy())

    def record_change(self, record: Record, sight: Sight, cause: Causality | None = None) -> Entry:
        """Record a change by the engine, with its evidence; return the entry."""
        self.tally.count(record)
        entry = Entry(
            clock.wall_of(sight.at),
            sight.at,
            EntryKind(record.kind.value),
            record.name,
            record.old,
            record.new,
            record.reason,
            record.rule,
            record.is_alarm,
            sight=sight,
            cause=cause,
        )
        self._put(entry)
        return entry

    def record_start(self, recovered: Mapping[str, RecoveredState], is_same_life: bool) -> None:
        """Record the start of the daemon, with the recovered state of its services."""
        since = (
            "services may run from before"
            if is_same_life
            else "first start since the machine was started"
        )
        self.record(
            EntryKind.DAEMON, "", "STARTED", f"version {__version__}, pid {os.getpid()}, {since}"
        )
        for name, known in recovered.items():
            self.record(
                EntryKind.SERVICE, name, known.state.name, known.reason or "from its STATE file"
            )

    def record_command(self, command: Command, services: list[str] | None, caller: Caller) -> None:
        """Record an operator's command; one entry even if it is for all services."""
        for name in [""] if services is None else services:
            self.record(EntryKind.COMMAND, name, command.value, f"by {caller.text}")

    def record_answer(self, answer: Answer) -> None:
        """Record how a command ended that was not carried out."""
        if answer.is_last and not answer.is_ok:
            text = answer.detail or f"we are {answer.own.name}, the peer is {answer.peer.name}"
            self.record(
                EntryKind.COMMAND, answer.service, answer.code.name, text, old=answer.command
            )

    def record_script_start(self, action: RunScript) -> None:
        """Note the start of a script; only its end becomes an entry."""
        self._scripts[action.service, action.kind] = action, clock.monotonic()

    def record_script_end(self, event: ScriptExited) -> None:
        """Record the end of a script, its outcome and its duration."""
        begun = self._scripts.pop((event.service, event.kind), None)
        took_s = None if begun is None else clock.monotonic() - begun[1]
        path = "" if begun is None else begun[0].path
        is_ok = event.outcome is not ScriptOutcome.FAILED
        self.tally.count_script(event.service, event.kind, event.outcome, took_s or 0.0)
        self.record(
            EntryKind.SCRIPT,
            event.service,
            event.outcome.value,
            path if is_ok else event.detail,
            event.kind.value,
            took_s,
            is_alarm=not is_ok,
        )

    def record(
        self,
        kind: EntryKind,
        name: str,
        new: str,
        reason: str,
        old: str = "",
        took_s: float | None = None,
        is_alarm: bool = False,
    ) -> None:
        """Record any other event, which happens now."""
        self._put(
            Entry(
                clock.wall(),
                clock.monotonic(),
                kind,
                name,
                old,
                new,
                reason,
                is_alarm=is_alarm,
                took_s=took_s,
                cause=self.causality(),
            )
        )

    def _put(self, entry: Entry) -> None:
        entry = replace(entry, machine=self._machine)
        self._recent.append(entry)
        for follower in self._followers:
            follower(entry)
        if self._inbox.qsize() < HISTORY_INBOX_LIMIT:
            self._inbox.put(entry)
        else:
            self._lost += 1

    def _run(self) -> None:
        name_thread("history")
        is_over = False
        while not is_over:
            due_s = self._synced_at + _SYNC_EVERY_S - clock.monotonic()
            try:
                first = self._inbox.get(timeout=max(0.0, due_s) if self._unsynced else None)
            except queue.Empty:
                self._sync()
                continue
            is_over = first is None
            batch = [first] if first is not None else []
            # A decision makes a few entries, and a write costs as much for one.
            clock.pause(0.0 if is_over else _GATHER_S)
            while not is_over and len(batch) < _BATCH and not self._inbox.empty():
                entry = self._inbox.get()
                is_over = entry is None
                batch += [entry] if entry is not None else []
            self._unwritten = len(batch)
            if batch:
                self._write(batch)
            self._unwritten = 0
            if is_over or clock.monotonic() >= self._synced_at + _SYNC_EVERY_S:
                self._sync()
        self._drop_file()

    def _write(self, batch: list[Entry]) -> None:
        """Write a batch, or lose what of it cannot be written."""
        try:
            self._append(batch)
        except DamagedFile as error:
            self._set_aside(batch, str(error))
        except PartlyWritten as failure:
            self._unsynced += failure.whole
            self._lose(len(batch) - failure.whole, str(failure.error))
        # The only catch-all of this thread: entries are lost, and the loss is reported.
        except Exception as error:
            is_usual = isinstance(error, OSError)
            why = str(error) if is_usual else f"{type(error).__name__}: {error}"
            self._lose(len(batch), why)
        else:
            self._unsynced += len(batch)
            waited_s = clock.monotonic() - batch[0].mono
            if waited_s >= _LATE_S:
                text = f"{len(batch)} entries of the history were written {waited_s:.0f} s late"
                self._report(False, text)

    def _sync(self) -> None:
        """Have on disk what was written; lose it where the disk refuses it."""
        self._synced_at = clock.monotonic()
        unsynced, self._unsynced = self._unsynced, 0
        if self._file is None or not unsynced:
            return
        try:
            self._file.sync()
        except OSError as error:
            self._lose(unsynced, str(error))

    def _append(self, batch: list[Entry]) -> None:
        if self._file is not None and not self._file.is_in_place:
            self._drop_file()
        if self._file is None:
            self._convert_former()
            self._file = HistoryFile(self._path, self._machine)
            self._fill_recent()
        self._file.append(batch, self._limit)
        if self._lost or self.problem:
            lost, self._lost, self.problem = self._lost, 0, ""
            text = f"the history is written again; {lost} entries were lost"
            self.record(EntryKind.NODE, "", "HISTORY LOST", text)
            self._report(False, text)

    def _convert_former(self) -> None:
        """Have the file of an older version converted, in a process of its own.

        Raises OSError for as long as that fails: the numbers of new entries follow its.
        """
        if not os.path.lexists(self._former):
            return
        why = "tried again later"
        if clock.monotonic() >= self._convert_at + _CONVERT_AGAIN_S:
            self._convert_at = clock.monotonic()
            words = [*self_command(_CONVERSION), self._former, self._path]
            code, output = ask_program(words, _CONVERSION_S) or (None, "it did not end in time")
            why = one_line(output.strip().rpartition("\n")[2])
            if code == 0:
                self._report(False, f"the history of an older version was converted: {why}")
                return
            if code == _DAMAGED_FORMER:
                self._report(
                    True,
                    f"the history of an older version was damaged ({why}): it is now"
                    f" {self._former}.damaged, and a new one was begun",
                )
                return
        raise OSError(f"{self._former} of an older version cannot be converted: {why}")

    def _fill_recent(self) -> None:
        """Load entries from before this daemon, for users who may not read the files."""
        if self._is_filled:
            return
        self._is_filled = True
        try:
            former = read_entries(self._path, limit=_RECENT)
        except SystemFault:
            return  # The present entries are shown.
        for entry in reversed(former):
            if len(self._recent) < _RECENT:
                self._recent.appendleft(entry)

    def _lose(self, count: int, why: str) -> None:
        # What was written before that outlives the machine all the same.
        self._sync()
        self._drop_file()
        self._lost += count
        if not self.problem:
            self.problem = f"{NOT_WRITTEN} ({self._path}: {why}); decisions do not depend on it"
            self._report(True, self.problem)

    def _set_aside(self, batch: list[Entry], why: str) -> None:
        """Begin a new file; the damaged one stays beside it for examination."""
        self._drop_file()
        try:
            damaged = set_aside(self._path)
            self._append(batch)
        except (DamagedFile, PartlyWritten, OSError, ValueError) as error:
            self._lose(len(batch), f"{why}; and it cannot be set aside: {error}")
            return
        self._unsynced += len(batch)
        self._report(
            True, f"the history was damaged ({why}): it is now {damaged}, and a new one was begun"
        )

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
