"""The journal: datagrams at a socket in the place of that of journald, and the shipped catalog."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.actions import Record, RecordKind
from opensvc_openha.core.status import PeerStanding, Sight
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.journal_fields import JournalFields, path_fields
from opensvc_openha.system import journal
from opensvc_openha.system.logs import DaemonLog, log_record
from tests.generated import ROOT

CATALOG = ROOT / "templates/opensvc-openha.catalog"
SILENT = Sight(1.0, (), PeerStanding.SILENT, 0.0, None)


@pytest.fixture(name="sink")
def make_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What stands in for journald."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sink:
        sink.bind(str(tmp_path / "socket"))
        sink.settimeout(200)
        monkeypatch.setattr(journal.JournalHandler.__init__, "__defaults__", (sink.getsockname(),))
        monkeypatch.setattr(journal.is_there, "__defaults__", (sink.getsockname(),))
        yield sink


def received(sink: socket.socket) -> dict[str, str]:
    """The fields of the next entry, as journald reads them."""
    data, found = sink.recv(200_000), {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, has_value, value = line.partition(b"=")
        if not has_value:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found[name.decode()] = value.decode()
        data = rest
    return found


def test_values_of_several_lines_have_their_length_before_them() -> None:
    """A value cannot add a field of its own."""
    assert journal.encode({"MESSAGE": "up", "OPENHA_NEW": ""}) == b"MESSAGE=up\nOPENHA_NEW=\n"
    forged = "x\nPRIORITY=0"
    assert journal.encode({"MESSAGE": forged}) == (
        b"MESSAGE\n" + struct.pack("<Q", 12) + b"x\nPRIORITY=0\n"
    )
    assert len(journal.encode({"MESSAGE": "y" * 1_000_000})) < 20_000


def test_change_is_logged_with_its_fields(tmp_path: Path, sink: socket.socket) -> None:
    """The text is that of the log file; a line without fields is an entry, too."""
    log = DaemonLog(tree_layout(str(tmp_path)), is_foreground=False)
    record = Record(RecordKind.SERVICE, "web", "STARTING", "STARTED", "script succeeded", rule="r")
    entry = Entry(
        1.0, 1.0, EntryKind.SERVICE, "web", "STARTING", "STARTED", "script succeeded", "r",
        sight=SILENT,
    )  # fmt: skip
    log_record(log.logger, record, JournalFields().of(entry))
    log.logger.warning("node deb1: no fence")
    assert received(sink) == {
        "MESSAGE": "service web: STARTING -> STARTED: script succeeded",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "nmond",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_PID": str(os.getpid()),
        "OPENHA_KIND": "service",
        "OPENHA_SERVICE": "web",
        "OPENHA_OLD": "STARTING",
        "OPENHA_NEW": "STARTED",
        "OPENHA_REASON": "script succeeded",
        "OPENHA_RULE": "r",
        "OPENHA_EVENT": "takeover",
        "OPENHA_IS_OVER": "0",
        "MESSAGE_ID": AlertKind.TAKEOVER.message_id(is_over=False),
    }
    plain = received(sink)
    assert (plain["MESSAGE"], plain["PRIORITY"]) == ("node deb1: no fence", "4")
    assert "MESSAGE_ID" not in plain
    log.flush()
    assert "service web: STARTING" in (tmp_path / "log/nmond.log").read_text()


def test_journal_that_is_gone_loses_no_line_of_the_log_file(
    tmp_path: Path, sink: socket.socket
) -> None:
    """journald is restarted: nothing is raised, and its next socket is used again."""
    log = DaemonLog(tree_layout(str(tmp_path)), is_foreground=False)
    os.rename(tmp_path / "socket", tmp_path / "gone")
    log.logger.info("one")
    log.flush()
    os.rename(tmp_path / "gone", tmp_path / "socket")
    log.logger.info("two")
    assert received(sink)["MESSAGE"] == "two"
    log.flush()
    assert re.findall(r"INFO (\w+)", (tmp_path / "log/nmond.log").read_text()) == ["one", "two"]


def test_daemon_in_the_foreground_of_a_unit_is_in_the_journal_once(
    tmp_path: Path, sink: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stderr is the journal already; a terminal gets the lines as well."""

    def destinations() -> set[str]:
        log = DaemonLog(tree_layout(str(tmp_path)), is_foreground=True)
        return {type(each).__name__ for each in log._destinations}

    found = os.fstat(2)
    assert destinations() == {"StreamHandler", "JournalHandler", "LogFile"}
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert destinations() == {"JournalHandler", "LogFile"}


def test_fields_of_what_begins_and_of_what_ends() -> None:
    """An end without a beginning has no MESSAGE_ID: a link that comes up at the start."""
    fields = JournalFields()

    def of(new: str, is_alarm: bool) -> dict[str, str]:
        return fields.of(
            Entry(1.0, 1.0, EntryKind.LINK, "net eth1", "", new, "why", is_alarm=is_alarm)
        )

    assert of("UP", False) == {
        "OPENHA_KIND": "link",
        "OPENHA_LINK": "net eth1",
        "OPENHA_NEW": "UP",
        "OPENHA_REASON": "why",
    }
    ids = [of("DOWN", True)["MESSAGE_ID"], of("UP", False)["MESSAGE_ID"]]
    assert ids == [AlertKind.LINK_DOWN.message_id(over) for over in (False, True)]
    assert path_fields("ipmi", "no answer")["OPENHA_IS_OVER"] == "0"
    assert path_fields("ipmi", "")["MESSAGE_ID"] == AlertKind.FENCE_PATH_BROKEN.message_id(True)


def test_catalog_explains_each_message_and_no_other() -> None:
    """With fields that an entry of it has."""
    ids = re.findall(r"^-- (\w+)$", CATALOG.read_text(), re.MULTILINE)
    expected = {
        kind.message_id(over) for kind in AlertKind for over in (False, True)[: 1 + kind.has_end]
    }
    assert len(ids) == len(expected) and set(ids) == expected
    fields = set(re.findall(r"@(\w+)@", CATALOG.read_text()))
    assert fields <= {
        "OPENHA_SERVICE",
        "OPENHA_LINK",
        "OPENHA_PEER",
        "OPENHA_FENCE_PATH",
        "OPENHA_NEW",
        "OPENHA_REASON",
    }


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="journalctl is not installed")
def test_catalog_is_taken_by_journalctl(tmp_path: Path) -> None:
    """As the package installs it, below a directory of the test's own."""
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    command = ["journalctl", f"--root={tmp_path}"]
    subprocess.run([*command, "--update-catalog"], check=True, capture_output=True)
    done = subprocess.run([*command, "--list-catalog"], capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == CATALOG.read_text().count("\n-- ")


def test_handler_of_a_place_without_journal_is_not_made(tmp_path: Path) -> None:
    """No socket, or something else in its place."""
    assert not journal.is_there(str(tmp_path / "none"))
    assert not journal.is_there(str(tmp_path))
    assert not journal.has_stream(-1)
    handler = journal.JournalHandler(str(tmp_path / "none"))
    handler.emit(logging.LogRecord("n", logging.INFO, "", 0, "text", (), None))
    handler.close()
