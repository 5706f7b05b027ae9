"""``openha notify``: the programs of notify.d, which are run for what somebody has to know at once.

`run` is the process that the node daemon keeps; the other verbs are for operators.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable

from opensvc_openha.cli import installation
from opensvc_openha.errors import ActionError, OpenhaError, SystemFault, UsageError
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.options_file import NotifyOptions
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system import clock

if TYPE_CHECKING:
    from argparse import Namespace

    from opensvc_openha.cli import json_views
    from opensvc_openha.cli.notifier import Message
    from opensvc_openha.cli.parsing import Parser

_LOOK_S = 0.5
_NICE = 5
"""Less than the daemon, whose heartbeats no program may delay."""
_LOG_BYTES, _LOGS_KEPT = 1_000_000, 3


def build_parser() -> Parser:
    """Return the parser of ``openha notify``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "openha notify",
        "The programs in notify.d, which are run for a takeover, a failed start, a link that is"
        " down\nand the like: see docs/alerts.md.",
    )
    test = parser.add_verb("test", "run the programs with a notification of an event, as a test")
    test.add_argument(
        "event",
        nargs="?",
        metavar="EVENT",
        choices=[kind.value for kind in AlertKind],
        default=AlertKind.LINK_DOWN.value,
        help=f"one of {', '.join(kind.value for kind in AlertKind)}"
        f" (default {AlertKind.LINK_DOWN.value})",
    )
    test.add_flag("--over", dest="is_over", help="the end of it, where it has one")
    test.add_argument("--program", metavar="NAME", help="this program alone")
    test.epilog = (
        "Each is run once, without limit of their number and without further attempts.\n\n"
        "Exit code: 0 all have succeeded, 6 one has failed."
    )
    status = parser.add_verb("status", "show the programs, and how each did last")
    status.add_flag("--json", dest="is_json", help="as JSON")
    status.epilog = "Exit code: 0 all have succeeded last, 1 one has failed, or is not used."
    parser.add_verb("run", "follow the history and run them, which the node daemon does")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha notify``; return the exit code."""
    # The process of the daemon is spared the memory of a parser.
    if args == ["run"]:
        return _run(installation.layout())
    options = build_parser().read(args)
    layout = installation.layout()
    return _test(layout, options) if options.verb == "test" else _status(layout, options)


def _run(layout: Layout) -> int:
    from opensvc_openha.cli.notifier import Notifier
    from opensvc_openha.system.lock_file import open_lock, try_lock
    from opensvc_openha.system.thread_names import name_thread

    name_thread("notify")
    os.umask(0o022)
    os.nice(_NICE)
    # A read of the pipe ends with the signal as well.
    end, wake = os.pipe()
    signal.signal(signal.SIGTERM, lambda number, frame: _close(wake))
    lock = open_lock(f"{layout.notify_file}.lock")
    while not try_lock(lock, 0.0):
        # The one of a daemon before is about to end.
        if _is_over(end, _LOOK_S):
            return 0
    log = _log_to(layout.notify_log)
    notifier = Notifier(layout, lambda: _options(layout), log)
    while not _is_over(end, _LOOK_S):
        notifier.follow()
    notifier.end()
    return 0


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):  # A second signal.
        os.close(handle)


def _is_over(end: int, wait_s: float) -> bool:
    """Wait; return True as soon as the input, or the pipe of the signal, is closed."""
    ready, _, _ = select.select([0, end], [], [], wait_s)
    return any(not os.read(handle, 4096) for handle in ready)


def _options(layout: Layout) -> NotifyOptions:
    """Return the options as of now; an error in the file is reported by the daemon."""
    from opensvc_openha.storage import configuration

    try:
        return configuration.read_options(layout).notify
    except OpenhaError:
        return NotifyOptions()


def _log_to(path: str) -> Callable[[str], None]:
    from opensvc_openha.formats.one_line import one_line
    from opensvc_openha.system.log_file import LogFile

    file = LogFile(path, _LOG_BYTES, _LOGS_KEPT)
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("notify")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(file)
    return lambda text: logger.info("%s", one_line(text))


def _test(layout: Layout, options: Namespace) -> int:
    from opensvc_openha.cli.notifier import send
    from opensvc_openha.cli.notify_program import programs_in

    kind = AlertKind(options.event)
    if options.is_over and not kind.has_end:
        raise UsageError(f"openha notify test: {kind.value} has no end")
    found = programs_in(layout.notify_dir)
    if options.program is not None:
        if options.program not in found:
            raise UsageError(
                f"openha notify test: there is no program {options.program} in {layout.notify_dir}"
            )
        found = {options.program: found[options.program]}
    if not found:
        raise SystemFault(
            f"there is no program in {layout.notify_dir}: copy one of the samples there (see"
            " docs/alerts.md), and make it executable"
        )
    message, failed = _sample(layout, kind, options.is_over), []
    for name, problem in found.items():
        output = ""
        if not problem:
            limit_s = _options(layout).timeout_s
            outcome = send(f"{layout.notify_dir}/{name}", message.view(), layout, limit_s)
            problem, output = outcome.problem, outcome.output
        sys.stdout.write(f"{name}: {problem or 'ok'}\n")
        sys.stdout.write("".join(f"  {line}\n" for line in output.splitlines()))
        failed += [name] if problem else []
    if failed:
        raise ActionError(f"not delivered by {', '.join(failed)}")
    return 0


def _sample(layout: Layout, kind: AlertKind, is_over: bool) -> Message:
    """Return a notification of something that has not happened."""
    from opensvc_openha.cli.notifier import Message, names_of
    from opensvc_openha.storage.alert_limit import Admitted
    from opensvc_openha.storage.alerts import Alert
    from opensvc_openha.storage.history_entry import Entry, EntryKind

    _, peer = names_of(layout)
    what = f"{kind.value}{' over' * is_over}: a test by openha notify test, nothing happened"
    entry = Entry(
        clock.wall(), clock.monotonic(), EntryKind.DAEMON, peer, "", "TEST", what, is_alarm=True
    )
    return Message(Admitted(Alert(kind, "test", is_over, what, entry)), layout, is_test=True)


def _status(layout: Layout, options: Namespace) -> int:
    from opensvc_openha.cli.json_views import NotifierView, NotifyStatusView
    from opensvc_openha.cli.notifier import Mark, read_marks, read_waiting
    from opensvc_openha.cli.notify_program import programs_in

    marks, waiting = read_marks(layout), read_waiting(layout)
    programs = []
    for name, problem in programs_in(layout.notify_dir).items():
        mark = marks.get(name, Mark(0))
        programs.append(
            NotifierView(
                name,
                problem,
                waiting.get(name, 0),
                mark.delivered_at,
                mark.failed_at,
                mark.failure,
            )
        )
    if options.is_json:
        sys.stdout.write(NotifyStatusView(tuple(programs)).text())
    else:
        sys.stdout.write("".join(f"{_line(program)}\n" for program in programs))
        if not programs:
            sys.stdout.write(f"no program in {layout.notify_dir}\n")
    return int(any(program.problem or _has_failed(program) for program in programs))


def _has_failed(program: json_views.NotifierView) -> bool:
    return (program.failed_at or 0.0) > (program.delivered_at or 0.0)


def _line(program: json_views.NotifierView) -> str:
    parts = [program.problem] if program.problem else []
    if program.delivered_at is not None:
        parts.append(f"delivered {clock.stamp(program.delivered_at)}")
    if program.failed_at is not None:
        parts.append(f"failed {clock.stamp(program.failed_at)}: {program.failure}")
    parts += [f"{program.waiting} waiting"] if program.waiting else []
    return f"{program.name}: {'; '.join(parts) or 'not run yet'}"
