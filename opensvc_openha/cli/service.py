"""``service``: show services and request actions on them.

Changes of the service file are in ``service_edit``.
"""

from __future__ import annotations

import sys

from opensvc_openha.cli import installation, render
from opensvc_openha.cli.interrupted import goes_on
from opensvc_openha.control import client
from opensvc_openha.core.events import Command
from opensvc_openha.errors import (
    ActionError,
    ConfigError,
    NotAnsweringError,
    NotRunningError,
    RefusedError,
    UsageError,
)
from opensvc_openha.formats.layout import Layout

ACTIONS = tuple(command.value for command in Command)
USAGE = (
    "Usage: service -s [-c | -v | --json]                               "
    "show services and their states\n"
    "       service -i NAME                                             show one service\n"
    "       service -a NAME SCRIPT PRIMARY SECONDARY CHECK              add a service\n"
    "       service -r NAME                                             remove a service\n"
    "       service -A [NAME] ACTION                                    "
    "act on a service, or on all of this node\n"
    "\n"
    f"ACTION is one of: {', '.join(ACTIONS)}\n"
)


def main(args: list[str]) -> int:
    """Run ``service`` with its arguments; return the exit code."""
    option, rest = (args[0], args[1:]) if args else ("", [])
    if option in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if option in ("-s", "-sc", "-c", "--json", "-v"):
        return _show(set(args))
    if option == "-i":
        return _info(_exactly(rest, 1, "-i NAME")[0])
    if option in ("-a", "-r"):
        # Imported here: only an edit needs the parsers of the files, and a status must be quick.
        from opensvc_openha.cli import service_edit

        if option == "-a":
            return service_edit.add(*_exactly(rest, 5, "-a NAME SCRIPT PRIMARY SECONDARY CHECK"))
        return service_edit.remove(_exactly(rest, 1, "-r NAME")[0])
    if option == "-A":
        return _act(rest)
    what = f"unknown option {option!r}" if option else "an option is missing"
    raise UsageError(f"service: {what}; expected -s, -i, -a, -r or -A (service --help tells more)")


def _exactly(args: list[str], count: int, usage: str) -> list[str]:
    if len(args) != count:
        raise UsageError(
            f"service: expected `service {usage}`, got {len(args)} argument(s) after the option"
        )
    return args


def _show(options: set[str]) -> int:
    unknown = options - {"-s", "-c", "-sc", "-v", "--json"}
    if unknown:
        raise UsageError(f"service -s takes -c, -v or --json, not {' '.join(sorted(unknown))}")
    status = client.fetch_status(installation.layout())
    if "--json" in options:
        import json

        from opensvc_openha.control.protocol import status_to_json

        print(json.dumps(status_to_json(status), indent=2))
    elif "-v" in options:
        sys.stdout.write(render.service_reasons(status))
    elif options & {"-c", "-sc"}:
        sys.stdout.write(render.service_table(status))
    else:
        sys.stdout.write(render.service_list(status))
    return 0


def _info(name: str) -> int:
    status = client.fetch_status(installation.layout())
    svc = status.service(name)
    if svc is None:
        raise ConfigError(f"service {name} does not exist")
    if svc.own_state is None:
        raise RefusedError(f"we are not primary nor secondary for service {name}")
    sys.stdout.write(render.service_info(status, svc))
    return 0


def _expect_service(layout: Layout, name: str) -> None:
    """Raise ConfigError for a service that is neither configured nor still kept by the daemon.

    The daemon keeps a removed service that may run here.
    """
    from opensvc_openha.storage import configuration

    if any(svc.name == name for svc in configuration.read_services(layout)):
        return
    try:
        known = client.fetch_status(layout).service(name)
    except NotAnsweringError:
        raise
    except NotRunningError:
        known = None
    if known is None or known.own_state is None:
        raise ConfigError(f"service {name} not found")


# --- actions --------------------------------------------------------------------------------------


def _act(args: list[str]) -> int:
    names: list[str] | None
    if len(args) == 1:
        names, typed = None, args[0]
    elif len(args) == 2:
        names, typed = [args[0]], args[1]
    else:
        raise UsageError(
            f"service: expected `service -A [NAME] ACTION`, got {len(args)} argument(s) after the"
            " option"
        )
    try:
        command = Command(typed.lower())
    except ValueError:
        raise UsageError(
            f"action {typed} not found (expected one of: {', '.join(ACTIONS)})"
        ) from None
    layout = installation.layout()
    if names is not None:
        _expect_service(layout, names[0])
    if command in (Command.STOP, Command.FREEZE_STOP):
        from opensvc_openha.cli.shell_guard import refuse_stop_from_within

        refuse_stop_from_within(layout, names)
    failures = []
    with goes_on("what the node daemon was asked for goes on, see `service -s -c`"):
        for answer in client.act(layout, command, names):
            line = render.answer_line(answer)
            if answer.is_ok:
                print(line, flush=True)
            else:
                failures.append((answer, line))
    if not failures:
        return 0
    is_refused = all(answer.is_refused for answer, _ in failures)
    raise (RefusedError if is_refused else ActionError)("\n".join(line for _, line in failures))
