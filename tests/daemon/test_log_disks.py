"""Logs that are full, moved away or endless: what becomes of an action never depends on them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.daemon.log_keeper import little_room
from opensvc_openha.system.log_file import LogFile
from opensvc_openha.system.script_log import ROOM_BYTES, ScriptLog, bound_log
from tests.cluster_dir import ClusterDir
from tests.full_disk import FullDisk

PRINTS = f"""exec {sys.executable} -c "
import os, sys
runs = '$0.runs'
os.close(os.open(runs, os.O_CREAT)) if '$1' == 'start' else None
os.path.exists(runs) and os.unlink(runs) if '$1' == 'stop' else None
print('up' if os.path.exists(runs) else 'down')
print('what a Python wrapper prints ' * 100)
"
"""


@pytest.fixture
def full_logs(cluster_dir: ClusterDir) -> Iterator[FullDisk]:
    """The logs on a disk of their own: needs root. A skip for lack of it fails where CI=true."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "mounting a tmpfs needs root"
        )
    disk = FullDisk(cluster_dir.path("log"))
    yield disk
    cluster_dir.close()
    disk.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[FullDisk]:
    """A disk of its own: needs root. A skip for lack of it fails where CI=true."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "mounting a tmpfs needs root"
        )
    disk = FullDisk(tmp_path / "disk")
    yield disk
    disk.close()


def is_log_lost(cluster: ClusterDir) -> bool:
    """Asks for a line until the last block of the log is full."""
    for _ in range(10):
        cluster.kill(signal.SIGHUP)
        time.sleep(0.05)
    return "log not written" in cluster.ok("service -s -v")


@pytest.mark.root
def test_full_log_disk_is_no_failed_start_and_no_failed_stop(
    cluster_dir: ClusterDir, full_logs: FullDisk
) -> None:
    """Scripts in Python, whose exit code is 120 where their output cannot be written: checked,
    started, stopped, and believed.
    """
    cluster_dir.add("registry", PRINTS, check=cluster_dir.script("check.sh", PRINTS))
    cluster_dir.ok("ezha start")
    full_logs.fill()
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")
    cluster_dir.wait(lambda: is_log_lost(cluster_dir), "the lost lines are reported")
    cluster_dir.kill()
    cluster_dir.ok("ezha start")
    cluster_dir.wait(
        lambda: "found up" in cluster_dir.ok("service -s -v"),
        "the answer of the status script is believed",
    )
    cluster_dir.ok("service -A registry freeze-stop")
    assert cluster_dir.state("registry") == "FROZEN_STOP"
    full_logs.free()
    cluster_dir.kill(signal.SIGHUP)
    cluster_dir.wait(
        lambda: "lines were lost: " in cluster_dir.path("log/nmond.log").read_text(),
        "what was lost is reported",
    )
    cluster_dir.wait(
        lambda: "log not written" not in cluster_dir.ok("service -s -v"), "and is over"
    )


@pytest.mark.root
def test_reason_of_a_failed_script_is_known_on_a_full_log_disk(
    cluster_dir: ClusterDir, full_logs: FullDisk
) -> None:
    """A check-up script that fails reports why, although no log can take it."""
    cluster_dir.add(
        "registry",
        check=cluster_dir.script("check.sh", "echo no power switch >/dev/stderr; exit 3"),
    )
    cluster_dir.ok("ezha start")
    full_logs.fill()
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "START_FAILED")
    assert "exited with 3 (no power switch)" in cluster_dir.ok("service -s -v")


@pytest.mark.root
def test_little_room_is_warned_about_beforehand(
    cluster_dir: ClusterDir, full_logs: FullDisk
) -> None:
    """The disk of the logs is nearly full: reported in the status while everything still works, and
    taken back.
    """
    cluster_dir.ok("ezha start")
    assert "little room" not in cluster_dir.ok("hb -s -v")
    full_logs.fill()
    warning = "little room for logs: less than 1 MiB free on the disk of"
    cluster_dir.wait(lambda: warning in cluster_dir.ok("hb -s -v"), "warned")
    full_logs.free()
    cluster_dir.wait(lambda: "little room" not in cluster_dir.ok("hb -s -v"), "over")


@pytest.mark.root
def test_room_is_reserved_before_a_script_begins(full_disk: FullDisk) -> None:
    """The disk fills up while the script runs: what it prints has its place."""
    log = ScriptLog(str(full_disk.folder / "web.log"), is_answer=False, may_linger=True)
    full_disk.fill()
    assert not log.is_lost and os.write(log.handle, b"x" * (ROOM_BYTES - 4096)) == ROOM_BYTES - 4096
    log.close()
    late = ScriptLog(str(full_disk.folder / "web.log"), is_answer=False, may_linger=True)
    assert late.is_lost and os.write(late.handle, b"y" * 1000) == 1000
    late.close()
    kept = ScriptLog(str(full_disk.folder / "web.log"), is_answer=False, may_linger=False)
    os.write(kept.handle, b"a reason\n")
    assert kept.output() == "a reason\n"
    kept.close()


def test_log_of_a_service_is_bounded_for_every_writer(cluster_dir: ClusterDir) -> None:
    """A daemon that the start script left behind prints without end: the log stays bounded, and the
    daemon lives.
    """
    pids, block = cluster_dir.root / "pid", "x" * 99
    talker = (
        f"while :; do i=0; while [ $i -lt 200 ]; do echo {block}; i=$((i+1)); done; sleep 0.01;"
        " done"
    )
    cluster_dir.add("registry", f"[ $1 != start ] || {{ ({talker}) & echo $! > {pids}; }}")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait_state("registry", "STARTED")
    talking = int(pids.read_text())
    log, kept = cluster_dir.path("log/registry.log"), cluster_dir.path("log/registry.log.1")
    try:
        cluster_dir.wait(kept.exists, "the log was emptied")
        emptied = kept.stat().st_mtime_ns
        cluster_dir.wait(lambda: kept.stat().st_mtime_ns != emptied, "and once more")
        cluster_dir.ok("service -s")
        assert (
            cluster_dir.is_alive(talking)
            and kept.stat().st_size <= 5_000_000
            and kept.stat().st_mode & 0o777 == 0o640
        )
    finally:
        os.kill(talking, signal.SIGKILL)
    assert "\0" not in log.read_text()


def test_bounded_log_keeps_its_end(tmp_path: Path) -> None:
    """Under the limit nothing happens.

    Over it, the end is in the second file, and appending continues at the beginning.
    """
    path = tmp_path / "web.log"
    with open(path, "ab", buffering=0) as writer:
        writer.write(b"a" * 90 + b"\n")
        assert not bound_log(str(path), 100) and not (tmp_path / "web.log.1").exists()
        writer.write(b"b" * 4096)
        assert bound_log(str(path), 100)
        writer.write(b"after\n")
    assert path.read_bytes() == b"after\n" and (tmp_path / "web.log.1").read_bytes() == b"b" * 100


@pytest.mark.root
def test_log_is_emptied_on_a_full_disk(full_disk: FullDisk) -> None:
    """There is no room for a copy: its last lines stay, and there is room again."""
    path = full_disk.folder / "web.log"
    path.write_bytes(b"old line\n" * 30_000 + b"last line\n")
    full_disk.fill()
    assert bound_log(str(path), 100_000)
    left = path.read_bytes()
    assert len(left) < 100_000 and left.endswith(b"old line\nlast line\n")


def test_output_is_read_from_a_log_that_was_emptied_meanwhile(tmp_path: Path) -> None:
    """The reason of a failure is there although the log began again while the script ran."""
    path = tmp_path / "web.log"
    path.write_bytes(b"x" * 10_000)
    log = ScriptLog(str(path), is_answer=False, may_linger=True)
    log.note("start\n")
    os.truncate(path, 0)
    os.write(log.handle, b"the reason\n")
    assert log.output() == "the reason\n"
    log.close()


def test_answer_is_copied_to_the_log(tmp_path: Path) -> None:
    """What a status script prints is kept, too.

    One that opens its output again by name loses nothing of what follows.
    """
    log = ScriptLog(str(tmp_path / "web.log"), is_answer=True, may_linger=False)
    log.note("status\n")
    subprocess.run(
        "echo down; echo why > /dev/stderr; echo more",
        shell=True,
        stdout=log.handle,
        stderr=log.handle,
        check=True,
    )
    assert "more" in log.output() and "\0" not in log.output()
    log.close()
    assert (tmp_path / "web.log").read_text().startswith("status\n") and "more" in (
        tmp_path / "web.log"
    ).read_text()


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("nmond", logging.INFO, "", 0, text, (), None)


def test_log_that_was_moved_away_is_opened_again(tmp_path: Path) -> None:
    """Moved by an operator or logrotate: the next line is in a new file, and nothing is lost."""
    path = tmp_path / "nmond.log"
    log = LogFile(str(path), 1000, 2)
    log.emit(line("one"))
    path.rename(tmp_path / "elsewhere")
    log.emit(line("two"))
    log.close()
    assert (path.read_text(), (tmp_path / "elsewhere").read_text()) == ("two\n", "one\n")


def test_log_rotates_within_its_bounds(tmp_path: Path) -> None:
    """Ten files' worth of lines: three files are left, none longer than allowed, the newest lines
    in the first.
    """
    log = LogFile(str(tmp_path / "nmond.log"), 100, 2)
    for number in range(100):
        log.emit(line(f"line {number:04}"))
    log.close()
    sizes = {name: (tmp_path / name).stat().st_size for name in os.listdir(tmp_path)}
    assert set(sizes) == {"nmond.log", "nmond.log.1", "nmond.log.2"} and max(sizes.values()) <= 100
    assert (tmp_path / "nmond.log").read_text().endswith("line 0099\n")


@pytest.mark.root
def test_lines_that_a_full_disk_cannot_take_are_counted(full_disk: FullDisk) -> None:
    """No half lines, and the number of those that are missing before the first one that is there
    again.
    """
    path = full_disk.folder / "nmond.log"
    log = LogFile(str(path), 1 << 20, 2)
    log.emit(line("one"))
    full_disk.fill()
    for number in range(50):
        log.emit(line(f"{number} " + "x" * 1000))
    assert "No space left" in log.problem
    full_disk.free()
    log.emit(line("again"))
    log.close()
    lines = path.read_text().splitlines()
    lost = int(lines[-2].split()[0])
    assert (
        lines[-1] == "again"
        and "lines were lost: " in lines[-2]
        and lost + len(lines) - 3 == 50
        and not log.problem
    )
    assert all(len(text) == len(f"{number} ") + 1000 for number, text in enumerate(lines[1:-2]))


def test_sighup_opens_a_log_that_was_moved_away(cluster_dir: ClusterDir) -> None:
    """As logrotate asks for it: the new file is there at once, with the signal in it."""
    cluster_dir.ok("ezha start")
    log = cluster_dir.path("log/nmond.log")
    cluster_dir.wait(lambda: "starting" in log.read_text(), "the log is begun")
    log.rename(cluster_dir.path("log/elsewhere"))
    cluster_dir.kill(signal.SIGHUP)
    cluster_dir.wait(lambda: log.exists() and "SIGHUP" in log.read_text(), "the log is there again")


def test_plenty_of_room_is_no_warning(tmp_path: Path) -> None:
    """And a directory that does not exist is reported by who wants to write there."""
    assert little_room(str(tmp_path / "nowhere")) == ""
