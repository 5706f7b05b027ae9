"""``openha ps`` (`ez_ps`): show the node daemon and its threads in the columns of ``ps aux``.

The original had a process for each end of a link; here a thread serves it, whose number stands in
the PID column. All ends on networks have the same one.
"""

from __future__ import annotations

import os
import sys

from opensvc_openha.cli import installation
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.core.status import LinkStatus
from opensvc_openha.errors import NotAnsweringError, NotRunningError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.system import clock
from opensvc_openha.system.processes import stat_of

COLUMNS = "%-8s %5d %4.1f %4.1f %6d %5d %-8s %-4s %5s %6s %s"


def build_parser() -> Parser:
    """Return the parser of ``openha ps``."""
    return Parser(
        "openha ps",
        "Show the node daemon and its threads in the columns of `ps aux`.",
        epilog="Each end of a heartbeat link is shown with the command line of the process that"
        " the original had for it,\nand with the number of the daemon's thread that serves it (`ps"
        " -eLf`, column LWP): one for all ends on\nnetworks, one for each end on a disk. A signal"
        " to any of these numbers is one to the whole daemon: remove\na link with `hb -r`, end the"
        " daemon with `ezha kill`.",
    )


def main(args: list[str]) -> int:
    """Print one line per thread; return the exit code."""
    build_parser().read(args)
    layout = installation.layout()
    pid = client.running_pid(layout)
    if not pid:
        raise NotRunningError("nmond is not running on this node (start it with: ezha start)")
    links: tuple[LinkStatus, ...] = ()
    problem: NotAnsweringError | None = None
    try:
        status = installation.shown_status(layout)
        pid, links = status.pid, status.links
    except NotAnsweringError as error:
        problem = error
    rows = [_row(pid, link.thread, thread_command(layout, link)) for link in links]
    rows.append(_row(pid, pid, f"{layout.bin_dir}/nmond"))
    sys.stdout.write("".join(f"{row}\n" for row in rows if row))
    if sys.stdout.isatty():
        sys.stdout.flush()
        sys.stderr.write(
            f"numbers are those of threads of nmond, pid {pid}: a signal to any of them is one to"
            " the daemon\n"
        )
    if problem is not None:
        raise problem
    return 0


def thread_command(layout: Layout, link: LinkStatus) -> str:
    """Return the original's command line of the process that this thread replaces."""
    from opensvc_openha.links.registry import LINK_TYPES

    spec = link.spec
    known = LINK_TYPES.get(spec.kind)
    suffix = known.process_suffix if known else f"_{spec.kind}"
    words = [f"{layout.bin_dir}/heart{'d' if link.is_sender else 'c'}{suffix}", spec.device]
    words += [str(spec.offset)] if spec.is_disk else [spec.address, str(spec.port)]
    if not link.is_sender:
        words.append(f"{spec.timeout_s:g}")
    return " ".join(words)


def _row(pid: int, thread: int, command: str) -> str:
    """Return one line; empty if the thread has just ended."""
    import psutil

    stat = stat_of(pid, thread)
    if stat is None:
        return ""
    try:
        process = psutil.Process(pid)
        memory = process.memory_info()
        user = process.username()
        share = process.memory_percent()
    except psutil.Error:
        return ""
    ticks = os.sysconf("SC_CLK_TCK")
    used_s = stat.used_ticks / ticks
    began = psutil.boot_time() + int(stat.started) / ticks
    age_s = max(clock.wall() - began, 1 / ticks)
    priority = "<" if stat.nice < 0 else "N" if stat.nice > 0 else ""
    state = stat.state + priority + ("l" if pid == thread else "")
    return COLUMNS % (
        user[:8],
        thread,
        min(100 * used_s / age_s, 99.9),
        share,
        memory.vms // 1024,
        memory.rss // 1024,
        "?",
        state,
        clock.short_stamp(began),
        f"{int(used_s // 60)}:{int(used_s % 60):02d}",
        command,
    )
