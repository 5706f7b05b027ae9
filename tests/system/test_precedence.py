"""What works for a favoured thread is favoured, too: real threads, processes and sessions."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from opensvc_openha.system import precedence
from opensvc_openha.system.precedence import Precedence, give_weight
from tests.waiting import LIMIT_S

RESETTING = os.SCHED_RESET_ON_FORK


def in_a_thread(work: Callable[[], object]) -> None:
    """Do something in a thread, whose precedence ends with it."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join(LIMIT_S)
    if errors:
        raise errors[0]


def favour(policy: int, priority: int, nice: int) -> None:
    try:
        os.sched_setscheduler(0, policy | RESETTING, os.sched_param(priority))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        pytest.skip("needs the right to favour a thread")


@pytest.mark.parametrize(
    "wanted", [(os.SCHED_FIFO, 7, 0), (os.SCHED_OTHER, 0, -9), (os.SCHED_OTHER, 0, 0)]
)
def test_thread_and_process_get_what_their_thread_has(wanted: tuple[int, int, int]) -> None:
    """Not by themselves: the flag takes it from all that a thread starts."""

    def work() -> None:
        favour(*wanted)
        own = Precedence.of_this_thread()
        assert own == (wanted[0] | RESETTING, *wanted[1:])
        found: list[Precedence] = []

        def look() -> None:
            found.append(Precedence.of_this_thread())
            own.give(0)
            found.append(Precedence.of_this_thread())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join(LIMIT_S)
        assert found == [(os.SCHED_OTHER, 0, 0), own]
        with subprocess.Popen(["sleep", "60"]) as child:
            try:
                own.give(child.pid)
                assert os.sched_getscheduler(child.pid) == own.policy
                assert os.sched_getparam(child.pid).sched_priority == own.priority
                assert os.getpriority(os.PRIO_PROCESS, child.pid) == own.nice
            finally:
                child.kill()

    in_a_thread(work)


def test_what_is_not_permitted_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, whatever is refused, and for a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait(LIMIT_S)
    Precedence.of_this_thread().give(child.pid)
    give_weight(child.pid)
    monkeypatch.setattr(precedence, "_AUTOGROUP", "/proc/{}/nonexistent")
    give_weight(os.getpid())


def test_session_without_a_weight_gives_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's file is empty in a session that is older than the container it runs in."""
    (tmp_path / "self").touch()
    monkeypatch.setattr(precedence, "_AUTOGROUP", str(tmp_path / "{}"))
    give_weight(os.getpid())
    assert os.listdir(tmp_path) == ["self"]


def weight(pid: int | str) -> str:
    with open(f"/proc/{pid}/autogroup", encoding="ascii") as file:
        return file.read().split()[-1]


def test_session_gets_the_weight_of_this_one() -> None:
    """Of a session of its own, which the kernel takes for another user's otherwise."""
    if not os.path.exists("/proc/self/autogroup"):
        pytest.skip("the kernel does not share by sessions")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            with open("/proc/self/autogroup", "w", encoding="ascii") as file:
                file.write("-5")
            grandchild = subprocess.Popen(["sleep", "60"], start_new_session=True)
            before = weight(grandchild.pid)
            give_weight(grandchild.pid)
            os.write(write_end, f"{before} {weight(grandchild.pid)} {weight('self')}".encode())
            grandchild.kill()
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        said = pipe.read().split()
    os.waitpid(child, 0)
    if not said:
        pytest.skip("needs the right to favour a session")
    assert said == ["0", "-5", "-5"]
