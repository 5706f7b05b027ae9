"""Convert the history of an older version, one sqlite file, once.

    python -m opensvc_openha.storage.history_conversion FILE FOLDER

A process of its own, which the daemon's writer starts and waits for: sqlite is in no other one. All
entries keep their numbers, so that what follows the history continues. They are complete in a
folder beside before that takes its place; only then the file gets another name, by which an
operator who goes back to the older version finds it. Where there is a history already, since that
version has run once more, its entries follow with the next numbers.

A file that sqlite cannot read is set aside. The outcome is one line and the exit code.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from opensvc_openha.core.timing import HISTORY_ENTRIES
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.storage.history_entry import (
    Entry,
    EntryKind,
    finite_number,
    key_of,
    load_cause,
    load_sight,
)
from opensvc_openha.storage.history_file import HistoryFile, read_entries
from opensvc_openha.storage.history_segments import (
    MODE,
    DamagedFile,
    PartlyWritten,
    numbers_in,
    set_aside,
)

CONVERTED, DAMAGED = ".converted", ".damaged"
EXIT_DAMAGED, EXIT_FAILED = 3, 1
_VERSION = 1
_FORMATS, _FORMAT_MAX = slice(18, 20), 2
"""Bytes of a sqlite file's header that say how it is written and read."""
_BATCH = 2_000
_AT_LEAST_KEPT = 2 * HISTORY_ENTRIES
"""More than an older version has kept: nothing is dropped by a conversion."""
_SELECT = """
SELECT entry.id, entry.at, entry.mono, kind, name, old, new, reason, rule, is_alarm, took_s, seen,
    machine {cause}
FROM entry LEFT JOIN sight ON sight.id = entry.sight LEFT JOIN life ON life.id = entry.life
{join} ORDER BY entry.id
"""
_CAUSE = ", own, sent, heard_of, heard"
_CAUSE_JOIN = "LEFT JOIN cause ON cause.entry = entry.id"
_NOT_THE_FILE = (
    "full",
    "disk i/o error",
    "unable to open",
    "readonly",
    "locked",
    "interrupted",
    "out of memory",
)
"""sqlite's messages for problems of the environment; any other means that the file is damaged."""


class Former:
    """The file of an older version, and how many of its entries could not be read so far."""

    def __init__(self, path: str) -> None:
        """Open it. Raises sqlite3.Error or OSError, and DamagedFile if it is no history."""
        with open(path, "rb") as file:
            formats = file.read(_FORMATS.stop)[_FORMATS]
        # sqlite takes a file whose header has a later number for one that it may only read, and its
        # message is the one for a file without the permission.
        if formats and max(formats) > _FORMAT_MAX:
            raise DamagedFile(f"its format is {max(formats)}, and at most {_FORMAT_MAX} is known")
        self.unreadable = 0
        # What a crash has left half written is rolled back.
        self._connection = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        # A damaged file holds any bytes; a decoding error must not hide the actual problem.
        self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            self._has_causes = self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> bool:
        """Return whether it holds causes; raise DamagedFile if it is no whole history."""
        run = self._connection.execute
        version = run("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version != _VERSION or not {"life", "sight", "entry"} <= tables:
            raise DamagedFile(f"it is no history of an older version (its version is {version})")
        found = run("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise DamagedFile(found)
        return "cause" in tables

    def entries(self) -> Iterator[Entry]:
        """Yield its entries, oldest first. Raises sqlite3.Error."""
        text = _SELECT.format(
            cause=_CAUSE if self._has_causes else "", join=_CAUSE_JOIN if self._has_causes else ""
        )
        last = 0
        for row in self._connection.execute(text):
            try:
                entry = _entry(row)
            except (ValueError, TypeError, OverflowError, RecursionError):
                self.unreadable += 1
                continue
            if entry.number > last:
                last = entry.number
                yield entry

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _entry(row: tuple[object, ...]) -> Entry:
    """Convert a row; ValueError if no version wrote it."""
    number, at, mono, kind, name, old, new, reason, rule, is_alarm, took_s, seen, machine = row[:13]
    if not isinstance(number, int):
        raise ValueError(f"an entry has the number {number!r}")
    cause = row[13:]
    try:
        sight = None if seen is None else load_sight(str(seen))
    except (ValueError, TypeError, OverflowError, RecursionError):
        sight = None  # It is that of several entries: none of them is lost for it.
    return Entry(
        finite_number(at),
        finite_number(mono),
        EntryKind(kind),
        str(name),
        str(old),
        str(new),
        str(reason),
        str(rule),
        bool(is_alarm),
        None if took_s is None else finite_number(took_s),
        sight,
        str(machine or ""),
        number,
        None if not cause or cause[0] is None else load_cause(cause),
    )


def convert(former: str, folder: str) -> str:
    """Convert a file, if it is there; return what was done.

    Raises OSError and sqlite3.Error for what another attempt may overcome, DamagedFile for a file
    that was set aside.
    """
    try:
        handle = os.open(former, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "there is none"
    try:
        # Kept to the end: another daemon's conversion may still run.
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not os.path.lexists(former):
            return "it was converted meanwhile"
        try:
            return _convert(former, folder)
        except (sqlite3.DatabaseError, UnicodeDecodeError, DamagedFile) as error:
            why = one_line(str(error))
            is_operational = isinstance(error, sqlite3.OperationalError)
            if is_operational and any(text in why.lower() for text in _NOT_THE_FILE):
                raise
            _rename(former, DAMAGED)
            raise DamagedFile(why) from error
    finally:
        os.close(handle)


def _convert(path: str, folder: str) -> str:
    former = Former(path)
    aside = ""
    try:
        entries = former.entries()
        if os.path.isdir(folder) and numbers_in(folder):
            try:
                HistoryFile(folder, "").close()
            except DamagedFile as error:
                # Damage of the present history, not of the older version's file.
                aside = f"; the newest file of {folder} was damaged ({error}): it is now"
                aside += f" {set_aside(folder)}"
            count = _write(folder, _unconverted(entries, folder), is_numbered=False)
        else:
            beside = f"{folder}.new"
            shutil.rmtree(beside, ignore_errors=True)
            try:
                count = _write(beside, entries, is_numbered=True)
                os.rename(beside, folder)
            except BaseException:
                shutil.rmtree(beside, ignore_errors=True)
                raise
        unreadable = former.unreadable
    finally:
        former.close()
    _rename(path, CONVERTED)
    more = f", and {unreadable} could not be read" if unreadable else ""
    return f"{count} entries{more}: the file is now {path}{CONVERTED}{aside}"


def _unconverted(entries: Iterable[Entry], folder: str) -> Iterator[Entry]:
    """Yield what an attempt that was interrupted has not converted yet."""
    known = {(entry.at, *key_of(entry)) for entry in read_entries(folder)}
    return (entry for entry in entries if (entry.at, *key_of(entry)) not in known)


def _write(folder: str, entries: Iterator[Entry], is_numbered: bool) -> int:
    count = 0
    with contextlib.closing(HistoryFile(folder, "")) as file:
        while batch := list(islice(entries, _BATCH)):
            file.append(batch, _AT_LEAST_KEPT, is_numbered)
            count += len(batch)
        file.sync()
    return count


def _rename(path: str, ending: str) -> None:
    os.chmod(path, MODE)  # One of the first versions is open to all.
    os.replace(path, f"{path}{ending}")
    with contextlib.suppress(FileNotFoundError):
        os.replace(f"{path}-journal", f"{path}{ending}-journal")
    handle = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main(former: str, folder: str) -> int:
    """Convert, print one line, and return the exit code."""
    try:
        print(convert(former, folder))
    except DamagedFile as error:
        print(error)
        return EXIT_DAMAGED
    except PartlyWritten as failure:
        print(failure.error)
        return EXIT_FAILED
    except (OSError, sqlite3.Error) as error:
        print(one_line(str(error)))
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
