"""``service``: show services and request actions on them.

Changes of the service file are in ``service_edit``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from opensvc_openha.cli import installation, output
from opensvc_openha.cli.interrupted import after_interrupt
from opensvc_openha.cli.views import service_view, view_of
from opensvc_openha.control import client
from opensvc_openha.control.rendering import TypedOrder
from opensvc_openha.core.actions import Answer
from opensvc_openha.core.events import Command
from opensvc_openha.errors import (
    ActionError,
    ConfigError,
    OpenhaError,
    RefusedError,
    UsageError,
)
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

ACTIONS = tuple(command.value for command in Command)


def build_parser() -> Parser:
    """Return the parser of ``service``."""
    from opensvc_openha.cli.parsing import Parser

    parser = Parser(
        "service",
        "Show the services of the cluster and their states, add and remove services, and act on"
        " them.",
        usage="service -s [-c | -v | --json]\n"
        "       service -i NAME\n"
        "       service -a NAME SCRIPT PRIMARY SECONDARY CHECK\n"
        "       service -r NAME\n"
        "       service -A [NAME] ACTION [--reason TEXT]",
        epilog=f"ACTION is one of: {', '.join(ACTIONS)}",
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("-s", action="store_true", dest="is_shown", help="show all services")
    modes.add_argument("-i", metavar="NAME", dest="shown", help="show one service")
    modes.add_argument(
        "-a",
        nargs=5,
        metavar="NAME SCRIPT PRIMARY SECONDARY CHECK",
        dest="added",
        help="add a service: its start/stop script, both nodes, and its check-up script",
    )
    modes.add_argument("-r", metavar="NAME", dest="removed", help="remove a service")
    modes.add_argument(
        "-A",
        nargs="+",
        metavar="[NAME] ACTION",
        dest="action",
        help="act on a service, or on all services of this node",
    )
    parser.add_reason()
    parser.add_flag("-c", dest="is_table", help="with -s: as a table")
    parser.add_flag("-v", dest="is_verbose", help="with -s: a table, and the reasons")
    parser.add_flag("--json", dest="is_json", help="with -s: as JSON")
    return parser


def main(args: list[str]) -> int:
    """Run ``service`` with its arguments; return the exit code."""
    view = view_of(["service", *args])
    if view is not None:
        return installation.show(view)
    order = order_of(["service", *args])
    if order is not None:
        return _act(args[-1], args[1:-1] or None)

    parser = build_parser()
    options = parser.read(args)
    has_view = options.is_table or options.is_verbose or options.is_json
    others = (options.shown, options.added, options.removed, options.action)
    if has_view and any(value is not None for value in others):
        parser.error("-c, -v and --json are for -s")
    if options.shown is not None:
        return _info(options.shown)
    if options.added:
        # Imported here: only an edit needs the parsers of the files, and a status must be quick.
        from opensvc_openha.cli import service_edit

        return service_edit.add(*options.added)
    if options.removed is not None:
        from opensvc_openha.cli import service_edit

        return service_edit.remove(options.removed)
    if options.action:
        if len(options.action) > 2:
            parser.error(f"expected `-A [NAME] ACTION`, found {len(options.action)} words")
        return _act(options.action[-1], options.action[:-1] or None)
    if not (options.is_shown or has_view):
        parser.error("an option is missing: expected -s, -i, -a, -r or -A")

    view = service_view(options.is_table, options.is_verbose, options.is_json)
    return installation.show(view)


def _info(name: str) -> int:
    status = installation.shown_status(installation.layout())
    svc = status.service(name)
    if svc is None:
        from opensvc_openha.formats.suggestion import which_service

        known = (other.name for other in status.services)
        raise ConfigError(f"service {name} does not exist: {which_service(name, known)}")
    if svc.own_state is None:
        raise RefusedError(f"we are not primary nor secondary for service {name}")
    sys.stdout.write(output.service_info(status, svc))
    installation.expect_present(status)
    return 0


def _expect_service(layout: Layout, name: str) -> None:
    """Raise ConfigError for a service that is neither configured nor still kept by the daemon.

    The daemon keeps a removed service that may run here.
    """
    from opensvc_openha.storage import configuration

    configured = [svc.name for svc in configuration.read_services(layout)]
    if name in configured:
        return
    status = installation.status_if_running(layout)
    known = None if status is None else status.service(name)
    if known is None or known.own_state is None:
        from opensvc_openha.formats.suggestion import which_service

        raise ConfigError(f"service {name} not found: {which_service(name, configured)}")


def order_of(words: Sequence[str]) -> TypedOrder | None:
    """Return what the usual command line of an order means; None for any other one."""
    if list(words[:2]) != ["service", "-A"] or not 3 <= len(words) <= 4:
        return None
    typed = words[-1].lower()
    if typed not in ACTIONS or words[2].startswith("-"):
        return None
    return TypedOrder(Command(typed), words[2] if len(words) == 4 else None)


def _act(typed: str, names: list[str] | None) -> int:
    """Act on the named service, or on all services of this node."""
    try:
        command = Command(typed.lower())
    except ValueError:
        from opensvc_openha.formats.suggestion import what_to_write

        if names and names[0] in ACTIONS:
            raise UsageError(f"service: write `-A {typed} {names[0]}`, the name first") from None
        raise UsageError(f"action {typed} not found: {what_to_write(typed, ACTIONS)}") from None
    layout = installation.layout()
    if names is not None:
        _expect_service(layout, names[0])
    if command in (Command.STOP, Command.FREEZE_STOP):
        from opensvc_openha.cli.shell_guard import refuse_stop_from_within

        refuse_stop_from_within(layout, names)
    failures = []
    with after_interrupt("the node daemon continues the action, see `service -s -c`"):
        for answer in client.act(layout, command, names):
            if answer.is_ok:
                print(output.answer_line(answer), flush=True)
            else:
                failures.append(answer)
    if failures:
        raise failure_of(failures)
    return 0


def failure_of(failures: Sequence[Answer]) -> OpenhaError:
    """Return the error for answers that are none of success."""
    is_refused = all(answer.is_refused for answer in failures)
    return (RefusedError if is_refused else ActionError)(
        "\n".join(map(output.answer_line, failures))
    )


def raise_unanswered(is_late: bool) -> NoReturn:
    """Raise the error for an order that was sent and has no answer; ``is_late``: not in time."""
    raise client.unanswered(installation.layout(), is_late)
