"""What a local user or a damaged disk brings: requests over the control socket, and the file of the
history.

A request becomes one with the right types, which an engine takes without raising, or a UsageError
of one line. A history is read as entries that can be shown, or refused with a SystemFault; and its
writer always ends with a file that can be read.
"""

from __future__ import annotations

import dataclasses
import json
import os
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
from opensvc_openha.storage.history_file import (
    Entry,
    EntryKind,
    HistoryFile,
    entry_from_json,
    entry_to_json,
    read_entries,
)
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
        self._path = self._layout.history_file
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
        with open(self._path, "rb") as data:
            self.genuine = data.read()
        self._name_at = self.genuine.index(b"tableentryentry") + len("table")
        self._schema_bytes = self.genuine.index(b")", self._name_at) - self._name_at

    def take_bytes(self, data: bytes) -> str:
        """The whole file."""
        for name in os.listdir(self._layout.proc_dir):
            os.unlink(f"{self._layout.proc_dir}/{name}")
        with open(self._path, "wb") as file:
            file.write(data)
        outcome = self._read()
        history = History(self._layout, 2, lambda is_fault, text: None)
        assert history._write([ENTRY]), "an entry waits for a file that is only damaged"
        assert not history.problem, history.problem
        assert history._file is not None and history._file.newest(1)[0].reason == ENTRY.reason
        history._drop_file()
        return outcome

    def damaged_schema(self, data: bytes) -> bytes:
        """The file with bytes of a table's name and definition replaced: what sqlite reports of it
        repeats them.
        """
        changed = bytearray(self.genuine)
        for place, value in zip(data[::2], data[1::2]):
            changed[self._name_at + place % self._schema_bytes] = value
        return bytes(changed)

    def take_value(self, column: int, data: bytes) -> str:
        """One value of each entry, or of what was seen at it, replaced by another of any type."""
        with open(self._path, "wb") as file:
            file.write(self.genuine)
        columns = (
            "at",
            "mono",
            "kind",
            "name",
            "old",
            "new",
            "reason",
            "rule",
            "is_alarm",
            "took_s",
            "sight",
            "life",
        )
        connection = sqlite3.connect(self._path, isolation_level=None)
        text = data[1:].decode("utf-8", "replace")
        values: tuple[object, ...] = (
            text,
            data[1:],
            None,
            len(data),
            -1.5e300,
            float("inf"),
            int.from_bytes(data[1:8], "big"),
        )
        value = values[data[0] % len(values)] if data else None
        try:
            if column % 2:
                connection.execute("UPDATE sight SET seen = ?", (value,))
            else:
                connection.execute(
                    f"UPDATE entry SET {columns[(column >> 1) % len(columns)]} = ?", (value,)
                )
        except sqlite3.Error:
            pass  # The schema forbids it.
        connection.close()
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
