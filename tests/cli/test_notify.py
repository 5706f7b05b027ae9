"""The programs of notify.d: behind a real daemon, and on a history that is written here."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from opensvc_openha.cli import notifier as module
from opensvc_openha.cli.json_views import NotificationView, NotifyStatusView
from opensvc_openha.cli.notifier import Notifier, read_marks
from opensvc_openha.cli.notify_program import programs_in, run_program
from opensvc_openha.errors import ActionError, SystemFault, UsageError
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.formats.options_file import NotifyOptions
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import HistoryFile, read_entries
from opensvc_openha.system import clock
from tests.cli.test_json_views import published
from tests.cluster_dir import HERE, PEER, ClusterDir
from tests.waiting import until

RECORD = (
    'out="${0%/*}/../${0##*/}"; cat >>"$out.got"; echo "$OPENHA_EVENT $OPENHA_IS_OVER" >>"$out.env"'
)
"""Leaves what it has read beside notify.d."""


def program(folder: Path, name: str, body: str, mode: int = 0o755) -> Path:
    """A program of notify.d."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


def beside(path: Path, what: str) -> Path:
    """A file that a program has left."""
    return path.parent.with_name(f"{path.name}.{what}")


def got(path: Path) -> list[dict[str, Any]]:
    """What a program has read, each of the published schema."""
    file = beside(path, "got")
    if not file.exists():
        return []
    found = _objects(file.read_text())
    for each in found:
        jsonschema.validate(each, published(NotificationView), jsonschema.Draft202012Validator)
    return found


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a text that is perhaps still being written."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            break
        found.append(value)
    return found


def events(path: Path) -> list[str]:
    """Event and subject of what a program has read."""
    return [f"{each['event']}{' over' * each['is_over']} {each['subject']}" for each in got(path)]


def test_takeover_of_a_real_daemon_is_delivered_although_another_program_hangs(
    cluster_dir: ClusterDir,
) -> None:
    """With why, as `openha why` has it; the one that hangs is killed, and nothing waits for it."""
    folder = cluster_dir.path("conf/notify.d")
    good, hanging = program(folder, "good", RECORD), program(folder, "hangs", "sleep 3600 & wait")
    cluster_dir.path("conf/openha.conf").write_text("[notify]\ntimeout = 0.5\n")
    cluster_dir.ok("ezha start")
    cluster_dir.add("registry")
    cluster_dir.ok("service -A registry unfreeze")
    until(lambda: "takeover registry" in events(good), what="the takeover", story=cluster_dir.log)
    taken = next(each for each in got(good) if each["event"] == "takeover")
    assert (taken["service"], taken["node"], taken["peer"]) == ("registry", HERE, PEER)
    assert taken["why"]["state"] == "STARTED" and taken["entry"]["sight"]["standing"] == "silent"
    assert f"peer-silent {PEER}" in events(good)
    assert "daemon-restarted daemon" not in events(good)  # The first start is none.
    log = cluster_dir.path("log/notify.log")
    until(
        lambda: log.exists() and "hangs: peer-silent" in log.read_text(),
        what="it is killed",
    )
    assert "did not end within 0.5 s: killed" in log.read_text()
    assert cluster_dir.state("registry") == "STARTED"
    assert not beside(hanging, "got").exists()
    # Another daemon continues where this one was: nothing twice, nothing lost.
    before = events(good)
    cluster_dir.ok("ezha restart")
    until(lambda: len(events(good)) > len(before), what="the restart", story=cluster_dir.log)
    assert events(good)[len(before)] == "daemon-restarted daemon"


@pytest.fixture(name="layout")
def make_layout(tmp_path: Path) -> Layout:
    """A directory of a cluster that was never installed."""
    layout = tree_layout(str(tmp_path))
    for folder in (layout.proc_dir, layout.log_dir, layout.notify_dir):
        os.makedirs(folder)
    Path(layout.nodes_file).write_text(f"{HERE}\n{PEER}\n")
    return layout


class Bench:
    """A notifier on a history that the test writes."""

    def __init__(self, layout: Layout, options: NotifyOptions) -> None:
        self.layout = layout
        self.options = options
        self.log: list[str] = []
        self.unwritten: list[Entry] = []
        self.file = HistoryFile(layout.history_dir, "m")
        self.write(EntryKind.DAEMON, "", "", "STARTED")
        self.notifier = self.again()

    def again(self) -> Notifier:
        """Return a new notifier, as of a daemon that was started again."""
        self.notifier = Notifier(
            self.layout, lambda: self.options, self.log.append, lambda layout: self.unwritten
        )
        return self.notifier

    def write(self, kind: EntryKind, name: str, old: str, new: str, is_alarm: bool = False) -> None:
        """Write an entry."""
        self.file.append([self.entry(kind, name, old, new, is_alarm)], 1_000)

    def entry(
        self, kind: EntryKind, name: str, old: str, new: str, is_alarm: bool = False
    ) -> Entry:
        """An entry of now."""
        at = clock.wall(), clock.monotonic()
        return Entry(*at, kind, name, old, new, "why", is_alarm=is_alarm, machine="m")

    def link(self, name: str, *states: str) -> None:
        """Write changes of a link."""
        for state in states:
            self.write(EntryKind.LINK, name, "", state, is_alarm=state == "DOWN")

    def until(self, path: Path, *expected: str) -> None:
        """Follow the history until the program has read this, and no more."""

        def look() -> list[str]:
            self.notifier.follow()
            return events(path)

        until(look, lambda seen: seen == list(expected), str(expected), lambda: "\n".join(self.log))

    def until_logged(self, text: str) -> None:
        """Follow the history until this is in the log."""

        def look() -> bool:
            self.notifier.follow()
            return any(text in line for line in self.log)

        until(look, what=text, story=lambda: "\n".join(self.log))


@pytest.fixture(name="bench")
def make_bench(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Programs are looked for at once, and tried again at once."""
    monkeypatch.setattr(module, "_FOLDER_EVERY_S", 0.0)
    monkeypatch.setattr(module, "_BACKOFF_FIRST_S", 0.01)
    bench = Bench(layout, NotifyOptions(timeout_s=200.0))
    yield bench
    bench.notifier.end()


def test_link_that_goes_and_comes_back(bench: Bench) -> None:
    """Its end has the subject of its beginning; JSON and variables say the same."""
    path = program(Path(bench.layout.notify_dir), "record", RECORD)
    bench.notifier.follow()
    bench.link("net eth1", "DOWN", "UP", "UP")
    bench.until(path, "link-down net eth1", "link-down over net eth1")
    assert beside(path, "env").read_text() == "link-down 0\nlink-down 1\n"
    assert got(path)[0]["summary"] == f"{HERE}: link net eth1: down: why"
    assert got(path)[0]["why"] is None


def test_program_that_fails_is_tried_again_and_given_up(bench: Bench) -> None:
    """The next notification tells it how many it has not got."""
    bench.options = replace(bench.options, attempts=2)
    body = f'{RECORD}; [ "$OPENHA_SUBJECT" != bad ] || {{ echo no mail server; exit 75; }}'
    path = program(Path(bench.layout.notify_dir), "record", body)
    bench.notifier.follow()
    bench.link("bad", "DOWN")
    bench.link("good", "DOWN")
    bench.until(path, "link-down bad", "link-down bad", "link-down good")
    assert [each["lost"] for each in got(path)] == [0, 0, 1]
    bench.until_logged("record: link-down bad: ended with 75: no mail server: given up after 2")
    until(lambda: read_status(bench)["delivered_at"], what="the mark is written")
    found = read_status(bench)
    assert found["failure"] == "ended with 75: no mail server" and found["failed_at"] is not None


def read_status(bench: Bench) -> dict[str, Any]:
    """The mark of the program, once more after what it did."""
    bench.notifier.follow()
    return vars(read_marks(bench.layout)["record"])


def test_what_was_not_delivered_is_delivered_by_the_next_notifier(bench: Bench) -> None:
    """The history is the memory: also of what came while none ran."""
    switch = Path(bench.layout.notify_dir) / ".broken"
    switch.touch()
    path = program(
        Path(bench.layout.notify_dir), "record", f'[ ! -e "{switch}" ] || exit 1; {RECORD}'
    )
    bench.options = replace(bench.options, attempts=100)
    bench.notifier.follow()
    bench.link("net eth1", "DOWN")
    bench.until_logged("record: link-down net eth1: ended with 1: tried again")
    bench.notifier.end()
    bench.link("net eth2", "DOWN")
    switch.unlink()
    bench.again()
    bench.until(path, "link-down net eth1", "link-down net eth2")
    bench.notifier.end()
    bench.again()
    bench.link("net eth1", "UP")  # Known to be open from the history.
    bench.until(path, "link-down net eth1", "link-down net eth2", "link-down over net eth1")


def test_alert_goes_out_whatever_else_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without why, if that cannot be had; and a notification that cannot be made stops no other."""

    def fails(*_: object) -> None:
        raise ValueError("damaged")

    path = program(Path(bench.layout.notify_dir), "record", RECORD)
    bench.notifier.follow()
    with monkeypatch.context() as patched:
        patched.setattr(module, "collect", fails)
        bench.write(EntryKind.SERVICE, "web", "STARTING", "START_FAILED", is_alarm=True)
        bench.until(path, "start-failed web")
        patched.setattr(module, "send", fails)
        bench.link("net eth1", "DOWN")
        bench.until_logged("record: unexpected: ValueError: damaged: given up")
    assert got(path)[0]["why"] is None
    bench.link("net eth2", "DOWN")
    bench.until(path, "start-failed web", "link-down net eth2")


def test_only_the_events_that_are_chosen(bench: Bench) -> None:
    """`events` of openha.conf."""
    bench.options = replace(bench.options, events=frozenset({AlertKind.PEER_SILENT}))
    path = program(Path(bench.layout.notify_dir), "record", RECORD)
    bench.notifier.follow()
    bench.link("net eth1", "DOWN")
    bench.write(EntryKind.PEER, PEER, "LIVE", "SILENT", is_alarm=True)
    bench.until(path, f"peer-silent {PEER}")


def test_history_that_was_set_aside_is_followed_from_its_beginning(bench: Bench) -> None:
    """Its numbers begin again."""
    path = program(Path(bench.layout.notify_dir), "record", RECORD)
    bench.notifier.follow()
    bench.link("net eth1", "DOWN", "UP", "DOWN", "UP")
    expected = ["link-down net eth1", "link-down over net eth1"] * 2
    bench.until(path, *expected)
    bench.file.close()
    shutil.rmtree(bench.layout.history_dir)
    bench.file = HistoryFile(bench.layout.history_dir, "m")
    bench.link("net eth2", "DOWN")
    bench.until(path, *expected, "link-down net eth2")


def test_history_that_cannot_be_written_is_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: each entry once, also if the file has it in the end."""
    path = program(Path(bench.layout.notify_dir), "record", RECORD)
    bench.notifier.follow()
    bench.link("net eth1", "DOWN")
    bench.until(path, "link-down net eth1")
    bench.notifier._ask_at = 0.0
    monkeypatch.setattr(module, "_ASK_EVERY_S", 0.0)
    silent = bench.entry(EntryKind.PEER, PEER, "LIVE", "SILENT", is_alarm=True)
    bench.unwritten = [*read_entries(bench.layout.history_dir), silent]
    bench.until(path, "link-down net eth1", f"peer-silent {PEER}")
    late = bench.entry(EntryKind.LINK, "net eth2", "UP", "DOWN", is_alarm=True)
    bench.unwritten = [*bench.unwritten, late]
    expected = ["link-down net eth1", f"peer-silent {PEER}", "link-down net eth2"]
    bench.until(path, *expected)
    bench.file.append([silent, late], 1_000)
    bench.unwritten = []
    bench.link("net eth2", "UP")
    bench.until(path, *expected, "link-down over net eth2")


def test_program_that_comes_and_goes_while_it_runs(bench: Bench) -> None:
    """A new one begins with what happens from then on."""
    folder = Path(bench.layout.notify_dir)
    old = program(folder, "old", RECORD)
    bench.notifier.follow()
    bench.link("net eth1", "DOWN")
    bench.until(old, "link-down net eth1")
    new = program(folder, "record", RECORD)
    bench.notifier.follow()
    old.unlink()
    bench.notifier.follow()
    bench.link("net eth1", "UP")
    bench.until(new, "link-down over net eth1")
    assert events(old) == ["link-down net eth1"]


def test_backlog_of_a_program_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are dropped, and counted."""
    monkeypatch.setattr(module, "_WAITING_MAX", 3)
    hold = Path(bench.layout.notify_dir) / ".hold"
    hold.touch()
    path = program(
        Path(bench.layout.notify_dir),
        "record",
        f'touch "{hold}.began"; while [ -e "{hold}" ]; do sleep 0.05; done; {RECORD}',
    )
    bench.notifier.follow()
    bench.link("link0", "DOWN")
    bench.notifier.follow()
    until(hold.with_name(".hold.began").exists, what="the first one runs")
    bench.link("link1", "DOWN")
    for number in range(2, 6):
        bench.link(f"link{number}", "DOWN")
    bench.notifier.follow()
    hold.unlink()
    bench.until(path, *(f"link-down link{number}" for number in (0, 3, 4, 5)))
    assert [each["lost"] for each in got(path)] == [0, 3, 0, 0]


@pytest.mark.parametrize(
    "body, problem, output",
    [
        ("cat >/dev/null; echo fine", "", "fine"),
        ("echo no >&2; exit 3", "ended with 3", "no"),
        ("kill -9 $$", "was ended by signal 9", ""),
        ("sleep 3600 & exit 0", "", ""),
        ("exec >/dev/null 2>&1; exit 4", "ended with 4", ""),
        ("yes | head -c 1000000; exit 0", "", "\n".join(["y"] * 2048)),
    ],
)
def test_programs_end_as_they_like(tmp_path: Path, body: str, problem: str, output: str) -> None:
    """One that does not read its input, one that leaves something behind, one that talks a lot."""
    path = program(tmp_path, "it", body)
    outcome = run_program(str(path), b"x" * 1_000_000, 200.0, {}, set())
    assert (outcome.problem, outcome.output) == (problem, output)


def test_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """Also one that talks without end."""
    pid = tmp_path / "pid"
    path = program(tmp_path, "it", f"sleep 3600 & echo $! >{pid}; cat /dev/zero")
    outcome = run_program(str(path), b"", 0.5, {}, set())
    assert outcome.problem == "did not end within 0.5 s: killed"
    until(lambda: not ClusterDir.is_alive(int(pid.read_text())), what="its child is killed")


def test_file_that_anybody_may_write_is_not_run(tmp_path: Path) -> None:
    """Nor one that is not executable; copies and hidden files are no programs at all."""
    folder = tmp_path / "notify.d"
    for name in ("good", "copy~", ".hidden", "mail.sample", "x.dpkg-old"):
        program(folder, name, "exit 0")
    program(folder, "open", "exit 0", 0o777)
    program(folder, "plain", "exit 0", 0o644)
    (folder / "directory").mkdir()
    (folder / "gone").symlink_to("nowhere")
    assert programs_in(str(folder)) == {
        "good": "",
        "gone": "not used: No such file or directory",
        "open": "not used: it can be written by others than its owner",
        "plain": "not used: it is not executable",
    }
    folder.chmod(0o777)
    assert programs_in(str(folder))["good"] == (
        "not used: its directory can be written by others than its owner"
    )


def test_test_runs_each_program_and_shows_what_it_printed(cluster_dir: ClusterDir) -> None:
    """Without a daemon; the exit code says whether all have succeeded."""
    assert "there is no program in" in cluster_dir.fails("openha notify test", 7)
    folder = cluster_dir.path("conf/notify.d")
    path = program(folder, "good", f"{RECORD}; echo sent")
    assert cluster_dir.ok("openha notify test dual-run --over") == "good: ok\n  sent\n"
    (found,) = got(path)
    assert (found["event"], found["is_over"], found["is_test"]) == ("dual-run", True, True)
    program(folder, "bad", "exit 1")
    assert cluster_dir.quick("openha notify test --program good").returncode == 0
    done = cluster_dir.quick("openha notify test")
    assert (done.returncode, done.stderr) == (ActionError.exit_code, "not delivered by bad\n")
    assert "bad: ended with 1\n" in done.stdout and "good: ok\n" in done.stdout
    for words, text in (
        ("takeover --over", "takeover has no end"),
        ("--program none", "there is no program none"),
        ("tkeover", "takeover"),
    ):
        done = cluster_dir.quick(f"openha notify test {words}")
        assert done.returncode == UsageError.exit_code and text in done.stderr
    assert SystemFault.exit_code == 7


def test_status_shows_how_each_program_did(bench: Bench, cluster_dir: ClusterDir) -> None:
    """And which are not used, and why; exit code 1 if there is something to look at."""
    folder = cluster_dir.path("conf/notify.d")
    assert cluster_dir.quick("openha notify status").returncode == 0
    program(folder, "good", RECORD)
    assert cluster_dir.quick("openha notify status").stdout == "good: not run yet\n"
    program(folder, "plain", "exit 0", 0o644)
    done = cluster_dir.quick("openha notify status --json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    jsonschema.validate(found, published(NotifyStatusView), jsonschema.Draft202012Validator)
    assert [each["problem"] for each in found["programs"]] == [
        "",
        "not used: it is not executable",
    ]


def test_killed_notifier_is_replaced_and_nothing_is_told_twice(cluster_dir: ClusterDir) -> None:
    """The daemon keeps it running, and waits for none of it."""
    path = program(cluster_dir.path("conf/notify.d"), "good", RECORD)
    cluster_dir.ok("ezha start")
    until(lambda: f"peer-silent {PEER}" in events(path), what="the peer", story=cluster_dir.log)
    marks = cluster_dir.path("services/.proc/notify.json")
    layout = tree_layout(str(cluster_dir.root))
    until(lambda: read_marks(layout) and read_marks(layout)["good"].delivered_at, what="its mark")
    assert marks.stat().st_mode & 0o777 == 0o640
    first = notifier_of(cluster_dir)
    os.kill(first, signal.SIGKILL)
    second = until(
        lambda: notifier_of(cluster_dir), lambda seen: seen not in (0, first), "another one"
    )
    assert second and events(path).count(f"peer-silent {PEER}") == 1


def notifier_of(cluster: ClusterDir) -> int:
    """Pid of the notifier of this directory; 0 for none."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            env = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        is_ours = f"EZ={cluster.root}".encode() in env and words[-3:-1] == [b"notify", b"run"]
        if is_ours and cluster.is_alive(int(folder.name)):
            return int(folder.name)
    return 0
