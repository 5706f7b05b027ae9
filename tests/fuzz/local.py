"""What a local user or a damaged disk brings: requests over the control socket, and the files of
the history.

A request becomes one with the right types, which an engine takes without raising, or a UsageError
of one line. A history is read as entries that can be shown, or refused with a SystemFault; and its
writer always ends with a file that can be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sqlite3
import tempfile

from opensvc_openha.control import requests
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, CommandReceived, LeaveRequested, Leaving
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.errors import SystemFault, UsageError
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.explanation import describe, explain
from opensvc_openha.storage.history_conversion import convert
from opensvc_openha.storage.history_entry import Entry, EntryKind, entry_from_json, entry_to_json
from opensvc_openha.storage.history_file import HistoryFile, read_after, read_entries
from opensvc_openha.storage.history_segments import DamagedFile, path_of
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.outlook import Circumstances

ENTRY = Entry(1.4e9, 7.5, EntryKind.NODE, "deb1", "", "NOTED", "after")
REQUESTS = tuple(
    json.dumps(each).encode()
    for each in (
        {"do": "status"},
        {"do": "history"},
        {"do": "reload"},
        {"do": "forget-peer"},
        {"do": "leave", "how": "keep"},
        {"do": "act", "command": "freeze-stop", "services": None},
        {"do": "act", "command": "stop", "services": ["mail", "web.1"]},
        {
            "do": "note",
            "service": "mail",
            "word": "FAILED",
            "reason": "app#1 is down",
            "is_alarm": True,
        },
    )
)


def take_request(data: bytes, engine: Engine, now: float) -> str:
    """One line of the control socket; the name of what it became."""
    try:
        request = requests.parse_request(data[: requests.REQUEST_BYTES])
    except UsageError as error:
        assert len(str(error)) < 400 and str(error).isprintable(), error
        return "refused"
    if isinstance(request, requests.ActRequest):
        assert isinstance(request.command, Command)
        for name in request.services or ():
            assert isinstance(name, str) and "/" not in name
            engine.step(CommandReceived(1, name, request.command), now)
    elif isinstance(request, requests.LeaveRequest):
        assert isinstance(request.leaving, Leaving)
        LeaveRequested(request.leaving)
    elif isinstance(request, requests.NoteRequest):
        texts = (request.service, request.word, request.reason)
        assert all(
            isinstance(text, str) and len(text) <= 12 * requests.NOTE_CHARACTERS for text in texts
        )
        assert not any(mark in text for text in texts for mark in "\n\r\x1b\u2028") and isinstance(
            request.is_alarm, bool
        )
        "".join(texts).encode("utf-8")
    return type(request).__name__


class DamagedHistory:
    """A history of two services, damaged in one way or the other, and what becomes of it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="openha-fuzz.")
        self._layout = tree_layout(self._folder.name)
        os.makedirs(self._layout.proc_dir)
        self._path = self._layout.history_dir
        self._file = path_of(self._path, 1)
        sight = Sight(
            5.0,
            (LinkSight("net eth1:239.1.1.1", False, 10.25, 10.0),),
            PeerStanding.SILENT,
            0.125,
            2.5,
        )
        file = HistoryFile(self._path, "a machine")
        for number in range(30):
            name = ("mail", "web.1")[number % 2]
            entry = Entry(
                1.4e9 + number,
                5.0 + number,
                EntryKind.SERVICE,
                name,
                "STOPPED",
                "START_READY",
                f"reason {number}",
                "a rule",
                sight=sight,
            )
            file.append([entry], 1000)
        file.close()
        with open(self._file, "rb") as data:
            self.genuine = data.read()
        self._former = self._former_bytes()

    def _former_bytes(self) -> bytes:
        """The file of a version before, with an entry."""
        path = f"{self._folder.name}/former"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(
                "CREATE TABLE life(id INTEGER PRIMARY KEY, machine TEXT NOT NULL);"
                "CREATE TABLE sight(id INTEGER PRIMARY KEY, seen TEXT NOT NULL);"
                "CREATE TABLE entry(id INTEGER PRIMARY KEY, life, at, mono, kind, name, old, new,"
                " reason, rule, is_alarm, took_s, sight); PRAGMA user_version = 1;"
                "INSERT INTO life VALUES(1, 'm'); INSERT INTO entry VALUES(3, 1, 1.5, 2.5, 'node',"
                " 'deb1', '', 'NOTED', 'before', '', 0, NULL, NULL)"
            )
        with open(path, "rb") as file:
            return file.read()

    def _begin(self) -> None:
        shutil.rmtree(self._layout.proc_dir)
        os.makedirs(self._path)

    def take_bytes(self, data: bytes) -> str:
        """The whole file."""
        self._begin()
        with open(self._file, "wb") as file:
            file.write(data)
        outcome = self._read()
        history = History(self._layout, 2, lambda is_fault, text: None)
        history._write([ENTRY])
        assert not history.problem, history.problem
        newest = read_entries(self._path, limit=1)
        assert [entry.reason for entry in newest] == [ENTRY.reason]
        after = read_after(self._path, newest[0].number - 1, 10)
        assert [entry.reason for entry in after][-1:] == [ENTRY.reason]
        history._drop_file()
        return outcome

    def take_former(self, data: bytes) -> str:
        """The file of an older version: some bytes of it are others."""
        self._begin()
        os.rmdir(self._path)
        damaged = bytearray(self._former)
        for place, value in zip(data[::3], data[2::3]):
            damaged[(place * 37 + value * 11) % len(damaged)] = value
        with open(self._layout.former_history_file, "wb") as file:
            file.write(damaged)
        try:
            convert(self._layout.former_history_file, self._path)
        except DamagedFile as error:
            assert str(error).isprintable()
            return "set aside"
        return self._read()

    def take_value(self, column: int, data: bytes) -> str:
        """One value of each entry, or of what was seen at it, replaced by another of any type."""
        text = data[1:].decode("utf-8", "replace")
        choices: tuple[object, ...] = (
            text,
            data[1:].decode("latin-1"),
            None,
            len(data),
            -1.5e300,
            float("inf"),
            int.from_bytes(data[1:8], "big"),
            [text],
            {text: 1},
            10**400,
        )
        value = choices[data[0] % len(choices)] if data else None
        lines = [json.loads(line) for line in self.genuine.splitlines()]
        for line in lines[1:]:
            keys = list(line["sight"]) if column % 2 else list(line)
            (line["sight"] if column % 2 else line)[keys[(column >> 1) % len(keys)]] = value
        self._begin()
        with open(self._file, "w") as file:
            file.writelines(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines)
        return self._read()

    def _read(self) -> str:
        try:
            found = read_entries(self._path)
        except SystemFault as error:
            assert str(error).isprintable()
            return "refused"
        for entry in found:
            assert (
                isinstance(entry.at, float)
                and isinstance(entry.mono, float)
                and isinstance(entry.kind, EntryKind)
            )
            assert isinstance(describe(entry), str)
            assert entry_from_json(
                json.loads(json.dumps(entry_to_json(entry)))
            ) == dataclasses.replace(entry)
        spec = ServiceSpec("mail", "/etc/mail", "deb1", "deb2", "/bin/true")
        explain(
            Circumstances(
                "mail",
                "deb1",
                "deb2",
                spec,
                tuple(found),
                tuple(found),
                None,
                "no daemon",
                "",
                "",
                "log",
                5.0,
            )
        )
        return "read"
