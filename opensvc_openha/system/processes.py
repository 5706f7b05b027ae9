"""Look at other processes, and end them.

/proc is read here instead of through psutil: importing that takes half as long as a whole status,
it derives the start of a process from the wall clock, with which it moves, and it counts a zombie
as running.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator

from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system import clock

_ENDED = ("Z", "X")
_PAUSE_FIRST_S = 0.005
_PAUSE_MAX_S = 0.1


class ProcessStat(NamedTuple):
    """What the kernel reports of a process or thread. Source: proc(5), /proc/PID/stat."""

    state: str
    """One letter, as ps shows it."""
    parent: int
    used_ticks: int
    """Processor time."""
    nice: int
    started: str
    """Clock ticks since boot, as text: it only serves to detect a reused pid."""


def stat_of(pid: int, thread: int = 0) -> ProcessStat | None:
    """Return what the kernel reports of a process, or of one thread of it; None if it is gone."""
    line = text_of(pid, f"task/{thread}/stat" if thread else "stat")
    # The command name, in parentheses, may hold anything.
    fields = line.rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    used = int(fields[11]) + int(fields[12])
    return ProcessStat(fields[0], int(fields[1]), used, int(fields[16]), fields[19])


def start_of_process(pid: int) -> str:
    """Return when a process was started, for comparing; empty if it does not run."""
    found = stat_of(pid)
    return "" if found is None or found.state in _ENDED else found.started


def has_ended(pid: int) -> bool:
    """Return True if a process does not run; a zombie may never be collected."""
    return not start_of_process(pid)


def all_pids() -> list[int]:
    """Return the pids of all processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def ancestors(pid: int = 0) -> Iterator[int]:
    """Yield a process (0: this one), its parent, and so on."""
    pid = pid or os.getpid()
    while pid > 0:
        yield pid
        found = stat_of(pid)
        pid = 0 if found is None else found.parent


def descends_from(ancestor: int) -> bool:
    """Return True if this process is a descendant of that one."""
    return ancestor != os.getpid() and ancestor in ancestors()


def descendants_of(ancestor: int) -> list[int]:
    """Return the pids of all processes that descend from that one, by their present parents."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        found = stat_of(pid)
        if found is not None:
            children.setdefault(found.parent, []).append(pid)
    found_pids: list[int] = []
    waiting = [ancestor]
    while waiting:
        own = children.get(waiting.pop(), [])
        found_pids += own
        waiting += own
    return found_pids


def process_name(pid: int) -> str:
    """Return the kernel's name of a process, of up to 15 characters; ``?`` if it is gone."""
    return text_of(pid, "comm").strip() or "?"


def text_of(pid: int, name: str) -> str:
    """Return the text of /proc/PID/``name``; empty if it cannot be read."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def send_signal(pid: int, number: int, is_group: bool = False) -> None:
    """Send a signal to a process, or to the group that it leads, unless it has just ended."""
    with contextlib.suppress(OSError):
        (os.killpg if is_group else os.kill)(pid, number)


def is_ended_child(pid: int) -> bool:
    """Return True if a child has ended; it is not collected, so that its pid is not used again."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_for_child(pid: int, limit_s: float) -> bool:
    """Wait for the end of a child, which is not collected; False if it still runs at the limit.

    Returns at once where the kernel reports the end: Popen.wait sleeps up to 50 ms between two
    polls. A child that is not collected keeps its pid, so that its group can be killed after it.
    """
    try:
        end = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return clock.wait_until(lambda: is_ended_child(pid), limit_s)
    try:
        poll = select.poll()
        poll.register(end, select.POLLIN)
        return bool(poll.poll(max(0.0, limit_s) * 1000))
    finally:
        os.close(end)


def end_processes(
    pids: Iterable[int],
    grace_s: float,
    is_over: Callable[[int], bool] = has_ended,
    is_group: bool = False,
) -> list[int]:
    """Send SIGTERM, and after ``grace_s`` seconds SIGKILL; return those that still run after both.

    ``is_group``: each leads a process group. Its members get the signals too, and SIGKILL also if
    the leader has ended. ``is_over`` is for children, which it collects.
    """
    leaders = left = list(pids)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in leaders if is_group else left:
            send_signal(pid, number, is_group)
        left = wait_for_end(left, grace_s, is_over)
    return left


def wait_for_end(
    pids: Iterable[int], limit_s: float, is_over: Callable[[int], bool] = has_ended
) -> list[int]:
    """Wait for processes to end; return those that still run after ``limit_s`` seconds."""
    give_up = clock.monotonic() + limit_s
    pause_s = _PAUSE_FIRST_S
    left = list(pids)
    while True:
        # Each once: a child that was collected is nobody's child any more.
        left = [pid for pid in left if not is_over(pid)]
        if not left or clock.monotonic() >= give_up:
            return left
        clock.pause(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)
