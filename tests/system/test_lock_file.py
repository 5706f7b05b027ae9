"""Locks on real files, held by this process through other handles and by other processes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.system.lock_file import hold_lock, is_locked, open_lock, read_owner, try_lock
from tests.simulated_clock import SimulatedClock
from tests.waiting import LIMIT_S


def test_second_holder_is_refused_with_the_words_of_the_first(tmp_path: Path) -> None:
    """At once without a time to wait; the lock is free after its holder, and so is its file."""
    path = str(tmp_path / "made" / "a.lock")
    before = os.listdir("/proc/self/fd")
    with hold_lock(path, 0, RefusedError, "pid 1 start"):
        for _ in range(2):
            with (
                pytest.raises(RefusedError, match="^pid 1 start$"),
                hold_lock(path, 0, RefusedError),
            ):
                pass
    with hold_lock(path, 0, RefusedError):
        assert Path(path).read_text() == ""
    assert os.listdir("/proc/self/fd") == before


def test_waiting_ends_with_the_holder_and_reports_it_meanwhile(tmp_path: Path) -> None:
    """The first report makes the holder leave."""
    path, leave, reported = str(tmp_path / "a.lock"), threading.Event(), []
    entered = threading.Event()

    def hold() -> None:
        with hold_lock(path, 0, RefusedError, "monitor"):
            entered.set()
            assert leave.wait(LIMIT_S)

    def on_wait(owner: str) -> None:
        reported.append(owner)
        leave.set()

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(LIMIT_S)
    with hold_lock(path, LIMIT_S, RefusedError, "start", on_wait):
        assert reported[0] == "monitor" and Path(path).read_text() == "start\n"
    thread.join()


def test_holder_that_fails_leaves_the_lock_free(tmp_path: Path) -> None:
    """Its error is passed on."""
    path = str(tmp_path / "a.lock")
    with pytest.raises(ValueError), hold_lock(path, 0, RefusedError, "start"):
        raise ValueError
    with hold_lock(path, 0, RefusedError):
        pass


def test_looking_at_a_lock_takes_it_only_shared(tmp_path: Path) -> None:
    """Two that look are not in each other's way, but in that of one who takes it."""
    handles = [open_lock(str(tmp_path / "a.lock")) for _ in range(3)]
    assert not is_locked(handles[0]) and not is_locked(handles[1])
    assert not try_lock(handles[2], 0)
    os.close(handles[0])
    os.close(handles[1])
    assert try_lock(handles[2], 0) and read_owner(handles[2]) == ""
    os.close(handles[2])


def test_lock_file_is_closed_to_others_and_no_link(tmp_path: Path) -> None:
    """One that an older version left open is closed; a link would lead somewhere else."""
    path = tmp_path / "a.lock"
    path.touch(0o666)
    path.chmod(0o666)
    os.close(open_lock(str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(SystemFault, match=f"cannot open {link}: "):
        open_lock(str(link))


def test_held_lock_is_tried_again_20_times_a_second_until_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it is reported; nothing is waited for once the limit is reached."""
    first, second = (open_lock(str(tmp_path / "a.lock")) for _ in range(2))
    clock, reports = SimulatedClock(monkeypatch), []
    assert try_lock(first, 0)
    assert not try_lock(second, 0.1, lambda: reports.append(clock.now))
    assert (clock.pauses, reports) == ([0.05, 0.05], [0.0, 0.05])
    os.close(first)
    os.close(second)


def test_owner_is_read_up_to_200_bytes(tmp_path: Path) -> None:
    """Whoever may write to the file may write anything."""
    path = tmp_path / "a.lock"
    path.write_text("x" * 300)
    handle = open_lock(str(path))
    assert read_owner(handle) == "x" * 200
    os.close(handle)
