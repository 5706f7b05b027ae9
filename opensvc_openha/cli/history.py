"""``openha history``: past events of this node.

The history is read from its files, so that it can be shown while no daemon answers. It is a moment
late, so the daemon's newest entries are added: what a status shows is explained at once. Users who
may not read the file get these alone, without the output of scripts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opensvc_openha.cli import installation
from opensvc_openha.control import client
from opensvc_openha.errors import NotRunningError, OpenhaError, SystemFault, UsageError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.suggestion import which_service
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.storage import configuration
from opensvc_openha.storage.explanation import describe
from opensvc_openha.storage.history_entry import Entry, EntryKind, is_of, unwritten
from opensvc_openha.storage.history_file import Damaged, has_service, read_entries
from opensvc_openha.system import clock

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

_NEWEST = 50
_USUAL_MAX = 500
"""Most entries of a usual call: each costs the daemon time that words them."""
_NO_GOODBYE = (
    "the previous daemon ended without a goodbye: killed, crashed, or the machine went down"
)


def build_parser() -> Parser:
    """Return the parser of ``openha history``."""
    from argparse import ArgumentTypeError

    from opensvc_openha.cli.parsing import Parser

    def number(word: str) -> int:
        if not word.isdigit():
            raise ArgumentTypeError(f"expected a number; found {word!r}")
        return int(word)

    def moment(word: str) -> float:
        try:
            return clock.read_stamp(word)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    parser = Parser(
        "openha history",
        "What happened on this node, oldest first: changes of services, links and peer, scripts,"
        "\ncommands, starts and ends of the daemon.",
    )
    parser.add_argument(
        "service", metavar="SERVICE", nargs="?", default="", help="only events of this service"
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        type=moment,
        help="90s, 10m, 2h or 3d ago, 09:30 today, 2014-06-19, or '2014-06-19 09:30'",
    )
    parser.add_argument(
        "-n",
        metavar="NUMBER",
        dest="limit",
        type=number,
        help=f"the newest so many, 0: all (default {_NEWEST}, all with --since)",
    )
    parser.add_flag(
        "--both", dest="is_of_both", help="of both nodes, in the order of cause and effect"
    )
    parser.add_flag("--json", dest="is_json", help="as JSON")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha history``; return the exit code."""
    usual = usual_call(args)
    if usual is not None:
        layout = installation.layout()
        text = history_text(layout, newest_of_daemon(layout), usual, sys.stderr.write)
        warn_of_rest(layout)
        sys.stdout.write(text)
        return 0
    options = build_parser().read(args)
    layout = installation.layout()
    limit = options.limit
    if limit is None:
        limit = _NEWEST if options.since is None else -1
    newest = newest_of_daemon(layout)
    entries = _entries(
        layout, newest, options.service, options.since or 0.0, limit, sys.stderr.write
    )
    warn_of_rest(layout)
    if options.is_of_both:
        from opensvc_openha.cli.node_timeline import show_timeline

        return show_timeline(
            layout, entries, options.service, options.since or 0.0, limit, options.is_json
        )
    if options.is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.history(entries).text())
    else:
        sys.stdout.write(_text(entries))
    return 0


@dataclass(frozen=True)
class UsualCall:
    """The newest entries, of a service or (empty) of all."""

    service: str
    limit: int


def usual_call(args: Sequence[str]) -> UsualCall | None:
    """Return what is asked for by words that need no parser; None for other ones."""
    limit, rest = _NEWEST, list(args)
    if "-n" in rest[:-1]:
        place = rest.index("-n")
        word = rest[place + 1]
        if not (word.isascii() and word.isdigit() and len(word) <= 3):
            return None
        limit = int(word)
        del rest[place : place + 2]
    if len(rest) > 1 or not 0 < limit <= _USUAL_MAX or any(word.startswith("-") for word in rest):
        return None
    return UsualCall("".join(rest), limit)


def history_text(
    layout: Layout, newest: list[Entry], call: UsualCall, warn: Callable[[str], object]
) -> str:
    """Return the text of a usual call; ``newest`` are the entries of the daemon."""
    return _text(_entries(layout, newest, call.service, 0.0, call.limit, warn))


def _entries(
    layout: Layout,
    newest: list[Entry],
    service: str,
    since: float,
    limit: int,
    warn: Callable[[str], object],
) -> list[Entry]:
    configured = [svc.name for svc in configuration.read_services(layout)] if service else []
    # Commands for all services are entries of each, also of one that never was.
    if (
        service not in ("", *configured)
        and not any(is_of(entry, service, 0.0, False) and entry.name for entry in newest)
        and not (_is_readable(layout, newest) and has_service(layout.history_dir, service))
    ):
        raise no_such_service(service, configured)

    def report(damaged: int) -> None:
        lines = "a damaged line" if damaged == 1 else f"{damaged} damaged lines"
        warn(f"{lines} of the history {layout.history_dir} left out\n")

    return read_history(layout, newest, service, since, limit or -1, on_damage=report)


def _text(entries: list[Entry]) -> str:
    return "".join(f"{line}\n" for line in _history_lines(entries))


def no_such_service(service: str, configured: list[str]) -> UsageError:
    """Return the error for a service that is neither configured nor in the history."""
    return UsageError(
        f"no service {service} is configured here, and none of that name is in the history:"
        f" {which_service(service, configured)}"
    )


def warn_of_rest(layout: Layout) -> None:
    """Report that a user sees a part of the history only."""
    if not may_read(layout):
        sys.stderr.write("only root may read the whole history: these are its newest entries\n")


def may_read(layout: Layout) -> bool:
    """Return whether this user may read the history file; True if it is missing.

    Reading a missing file gives the proper message.
    """
    return not os.path.exists(layout.history_dir) or os.access(layout.history_dir, os.R_OK)


def newest_of_daemon(layout: Layout) -> list[Entry]:
    """Return the daemon's newest entries; without a daemon none, if the file can be read."""
    try:
        return client.fetch_history(layout)
    except OpenhaError as error:
        if may_read(layout):
            return []
        if not isinstance(error, NotRunningError):
            raise
        raise SystemFault(
            f"only root may read the history {layout.history_dir}, and nmond cannot show it:"
            f" {error}"
        ) from error


def newest_if_any(layout: Layout) -> list[Entry]:
    """Return the daemon's newest entries; none if it does not answer."""
    try:
        return client.fetch_history(layout)
    except OpenhaError:
        return []


def newest_entries(layout: Layout, limit: int) -> list[Entry]:
    """Return the newest entries of all that happened on this node, oldest first."""
    return read_history(layout, newest_of_daemon(layout), "", limit=limit)


def read_history(
    layout: Layout,
    newest: list[Entry],
    service: str,
    since: float = 0.0,
    limit: int = -1,
    is_with_node: bool = False,
    on_damage: Damaged | None = None,
) -> list[Entry]:
    """Return the entries of a service, or of all; the newest ``limit`` of them, -1 for all.

    ``newest`` are those of the daemon, ``since`` is wall-clock seconds.
    """
    written = (
        read_entries(layout.history_dir, service, since, limit, is_with_node, on_damage)
        if _is_readable(layout, newest)
        else []
    )
    newest = [entry for entry in newest if is_of(entry, service, since, is_with_node)]
    found = [*written, *unwritten(written, newest)]
    return found if limit < 0 else found[len(found) - min(limit, len(found)) :]


def _is_readable(layout: Layout, newest: list[Entry]) -> bool:
    """Return whether to read the files; where there is nothing, reading them gives the message."""
    return may_read(layout) and (os.path.exists(layout.history_dir) or not newest)


def _history_lines(entries: list[Entry]) -> list[str]:
    lines = []
    is_up = False
    for entry in entries:
        text = describe(entry)
        if entry.kind is EntryKind.DAEMON:
            if entry.new == "STARTED" and is_up:
                text += f" ({_NO_GOODBYE})"
            is_up = entry.new == "STARTED"
        lines.append(f"{clock.precise_stamp(entry.at)} {'!' if entry.is_alarm else ' '} {text}")
    return lines
