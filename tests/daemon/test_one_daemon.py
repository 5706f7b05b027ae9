"""One daemon per node: the lock, who holds it, and what becomes of it when its file is removed or
replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.daemon import lock
from opensvc_openha.daemon.lock import Place, already_running, lock_is_in_place, take_lock
from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout, tree_layout
from opensvc_openha.system import clock
from tests.simulated_clock import SimulatedClock

_HOLDER = """
import sys
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.daemon.lock import take_lock
open("/proc/self/comm", "w").write(sys.argv[2])
take_lock(tree_layout(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="layout")
def make_layout(tmp_path: Path) -> Layout:
    """Of a node that has run nothing yet."""
    return tree_layout(str(tmp_path))


@contextlib.contextmanager
def holder(layout: Layout, comm: str = "nmond") -> Iterator[int]:
    """A process of that name that holds the lock: its pid."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, layout.ez, comm],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process.pid
        assert process.stdin
        process.stdin.close()


def open_files() -> int:
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_lock_is_held_until_it_is_closed_with_the_pid_inside(layout: Layout) -> None:
    """Made with its directory; the next daemon writes its own pid over the one of the last."""
    handle = take_lock(layout)
    pid = f"{os.getpid():<15}\n".encode()
    assert Path(layout.lock_file).read_bytes() == pid and lock_is_in_place(layout, handle)
    os.close(handle)
    Path(layout.lock_file).write_bytes(b"%-15d\n" % 4_000_000)
    os.close(take_lock(layout))
    assert Path(layout.lock_file).read_bytes() == pid


def test_second_daemon_is_refused_and_names_the_first(layout: Layout) -> None:
    """Whatever it is called, and as often as it is tried; nothing is left open."""
    with holder(layout, "python") as pid:
        before = open_files()
        for _ in range(2):
            with pytest.raises(RefusedError, match=rf"already running on this node \(pid {pid}\)$"):
                take_lock(layout)
        assert open_files() == before
    os.close(take_lock(layout))


def test_holder_that_wrote_no_pid_is_not_named(layout: Layout) -> None:
    """Its disk was full.

    A daemon that is the first process of a container is named as any other.
    """
    with holder(layout):
        Path(layout.lock_file).write_bytes(b"")
        with pytest.raises(RefusedError, match="already running on this node$"):
            take_lock(layout)
    assert str(already_running(1)).endswith("(pid 1)")


def test_daemon_is_refused_after_a_quarter_of_a_second(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that looks for a daemon is done by then."""
    handle, time = take_lock(layout), SimulatedClock(monkeypatch)
    with pytest.raises(RefusedError):
        take_lock(layout)
    assert time.pauses == [0.05] * 5
    os.close(handle)


def test_lock_that_was_removed_is_taken_again_and_reported(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and only then; the first handle stays open until the daemon ends."""
    handle = take_lock(layout)
    place = Place(layout, handle, "deb1", logging.getLogger("nmond"))
    place.expect()
    assert place.handle == handle and caplog.messages == []
    os.unlink(layout.lock_file)
    for _ in range(2):
        place.expect()
        assert lock_is_in_place(layout, place.handle)
    assert caplog.messages == [f"node deb1: {layout.lock_file} had been removed"]
    os.close(handle)
    os.close(place.handle)


def test_lock_that_another_daemon_has_taken_meanwhile_is_not_taken_again(layout: Layout) -> None:
    """This one has to end."""
    handle = take_lock(layout)
    place = Place(layout, handle, "deb1", logging.getLogger("nmond"))
    os.unlink(layout.lock_file)
    with holder(layout) as pid, pytest.raises(RefusedError, match=rf"\(pid {pid}\)$"):
        place.expect()
    assert place.handle == handle
    os.close(handle)


def test_command_that_looks_for_an_instant_keeps_no_daemon_from_starting(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the lock while it looks whether a daemon runs, and gives it back: tried again, not
    refused.
    """
    looks, pauses = [take_lock(layout)], []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(looks.pop())

    monkeypatch.setattr(clock, "pause", pause)
    os.close(take_lock(layout))
    assert not looks and len(pauses) == 3


def test_lock_that_cannot_be_had_is_an_error_with_its_path(layout: Layout) -> None:
    """A directory stands in its place."""
    os.makedirs(layout.lock_file)
    with pytest.raises(SystemFault, match=f"cannot open {layout.lock_file}: Is a directory"):
        take_lock(layout)


def test_daemon_starts_on_a_full_disk_where_its_pid_has_no_room(layout: Layout) -> None:
    """The lock holds all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        handle = take_lock(layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path(layout.lock_file).read_bytes() == b"" and lock_is_in_place(layout, handle)
    with pytest.raises(RefusedError):
        take_lock(layout)
    os.close(handle)


def test_daemon_whose_lock_file_was_removed_keeps_others_from_starting(layout: Layout) -> None:
    """Until it ends; then the new file is as good as any."""
    with holder(layout) as pid:
        os.unlink(layout.lock_file)
        before = open_files()
        with pytest.raises(RefusedError, match=rf"pid {pid}\); {layout.lock_file} was removed"):
            take_lock(layout)
        assert open_files() == before
    os.close(take_lock(layout))


def test_removed_lock_of_another_cluster_or_another_program_is_in_nobodys_way(
    layout: Layout, tmp_path: Path
) -> None:
    """A daemon below another directory lost its lock file.

    A backup reads ours, which was removed meanwhile.
    """
    other = tree_layout(str(tmp_path / "other"))
    with holder(other), holder(layout, "backup"):
        os.unlink(other.lock_file)
        os.unlink(layout.lock_file)
        os.close(take_lock(layout))


def test_removed_lock_of_the_same_name_on_another_file_system_is_another_node(
    layout: Layout,
) -> None:
    """A container sees its own tree below the same path."""
    with holder(layout) as pid:
        device = os.stat(layout.lock_file).st_dev
        os.unlink(layout.lock_file)
        assert lock._holder_of_removed_lock(layout, device) == pid
        assert lock._holder_of_removed_lock(layout, device + 1) == 0


def test_daemon_is_not_in_its_own_way(layout: Layout) -> None:
    """Its own lock file was removed: it may take the new one."""
    program = _HOLDER.replace(
        "print(",
        "import os; os.unlink(tree_layout(sys.argv[1]).lock_file)\n"
        "take_lock(tree_layout(sys.argv[1]))\nprint(",
    )
    done = subprocess.run(
        [sys.executable, "-c", program, layout.ez, "nmond"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr


def test_lock_that_was_removed_or_replaced_is_not_in_place(layout: Layout) -> None:
    """The next daemon would take the other file."""
    handle = take_lock(layout)
    os.unlink(layout.lock_file)
    assert lock_is_in_place(layout, handle) is False
    Path(layout.lock_file).write_bytes(b"")
    assert lock_is_in_place(layout, handle) is False
    os.close(handle)
