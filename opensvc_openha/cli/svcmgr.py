"""The agent's command: `svcmgr -s a,b ACTION`, `<service> ACTION`, and the wrappers.

The wrappers are `<service>.cluster` and `<service>.stonith`; all*services act on many services. The
name of the command selects the services; the agent package does everything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from opensvc_openha.agent.actions.action_options import ActionOptions
from opensvc_openha.agent.actions.dispatch import (
    group_actions,
    is_change,
    perform,
    shown_actions,
)
from opensvc_openha.agent.config.service_file import (
    COMMAND_NAMES,
    SERVICE_NAME,
    misnamed_files,
    service_names,
)
from opensvc_openha.agent.config.wrappers import (
    leftover_lines,
)
from opensvc_openha.agent.service.action_lock import DEFAULT_WAIT_S
from opensvc_openha.agent.service.loaded_service import (
    ResourceSelector,
    load_service,
    validate,
)
from opensvc_openha.agent.service.selection import ServiceSelector, is_chosen
from opensvc_openha.agent.values.action_log import ActionLog, open_log
from opensvc_openha.agent.values.cluster_client import ClusterView
from opensvc_openha.cli.agent_services import (
    PATTERN,
    named_services,
    no_such_service,
    node_view,
    repair_wrappers,
)
from opensvc_openha.errors import (
    ConfigError,
    InterruptedAction,
    OpenhaError,
    SystemFault,
    UsageError,
)
from opensvc_openha.formats.layout import AgentLayout, agent_layout, find_layout
from opensvc_openha.formats.nodes_file import parse_nodes
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.atomic_files import read_text
from opensvc_openha.system.identity import node_name

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser

VALIDATE = "validate_config"
"""The one action that accepts an invalid service file."""

POWER = "stonith_status"
"""Action of SERVICE.stonith for the word status; any other word fences."""

FOR_ALL = ("boot", "resource_monitor", VALIDATE)
"""Actions that apply to all services if none is named."""

_ONLY_WARNINGS = 1
_STATES = {"up": ServiceSelector.UP, "down": ServiceSelector.DOWN, "warn": ServiceSelector.WARN}


class Call(NamedTuple):
    """One parsed command line.

    ``services`` is None for all; of these, the call applies to those that every choice matches.
    """

    services: tuple[str, ...] | None
    choices: tuple[ServiceSelector, ...]
    action: str
    options: ActionOptions


def build_parser() -> Parser:
    """Return the parser of ``svcmgr`` and of the commands named after services."""
    from argparse import SUPPRESS

    from opensvc_openha.cli.parsing import Parser

    groups = sorted(action[5:] for action in group_actions() if action.startswith("start"))
    parser = Parser(
        "svcmgr",
        "Act on services of this node.",
        usage="svcmgr -s SERVICE[,SERVICE] [options] ACTION\n"
        "       SERVICE [options] ACTION\n"
        "       allservices | allupservices | alldownservices | allprimaryservices |"
        " allsecondaryservices ACTION",
        epilog=f"Actions: {', '.join([*shown_actions(), 'validate config'])}\n"
        f"         start and stop with a group: {', '.join(groups)}",
    )
    parser.add_argument(
        "-s",
        "--service",
        metavar="LIST",
        help="comma-separated list of services, with * ? [..] as in a shell",
    )
    parser.add_argument(
        "--status",
        metavar="up|down|warn",
        choices=tuple(_STATES),
        help="only services that are in this state",
    )
    parser.add_flag("--onlyprimary", help="only those that prefer it here")
    parser.add_flag("--onlysecondary", help="only those that prefer the other node")
    parser.add_flag(
        "-c", "--cluster", help="act here and now although a cluster decides about the service"
    )
    parser.add_flag("-f", "--force", help="act on a frozen service")
    for option, text in (
        ("--rid", "only these resources (fs#1) or groups (fs)"),
        ("--tags", "only resources with one of these tags (a+b: with both)"),
        ("--subsets", "only resources of these subsets"),
    ):
        parser.add_argument(option, metavar="LIST", default="", type=_words_of, help=text)
    parser.add_argument(
        "--to", metavar="NODE", default="", help="for switch: the node that shall run the service"
    )
    parser.add_argument(
        "--waitlock",
        metavar="N",
        type=_seconds,
        default=DEFAULT_WAIT_S,
        help=f"wait N seconds for an action that is under way (default {DEFAULT_WAIT_S:g})",
    )
    parser.add_flag("--disable-rollback", help="leave what a failed start had started")
    parser.add_flag("--dry-run", help="only print what would be done, in its order")
    parser.add_argument(
        "--format", metavar="json", choices=("json",), default="", help="for print status"
    )
    parser.add_reason()
    parser.add_argument("action", metavar="ACTION", nargs="*", help="one of those below")
    parser.add_flag("--remote", help=SUPPRESS)
    # Options of the agent that have no effect here.
    for options in (("-p", "--parallel"), ("--debug",), ("--refresh",), ("--cron",)):
        parser.add_flag(*options, dest="ignored", help=SUPPRESS)
    return parser


def _words_of(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _seconds(word: str) -> float:
    if not word.isdigit() or len(word) > 6:
        from argparse import ArgumentTypeError

        raise ArgumentTypeError(f"{word!r} is wrong, expected a number of seconds")
    return float(word)


def main(args: list[str]) -> int:
    """Run one command line; a launcher passes the name it was called by, which selects services."""
    if args[:1] == ["--called-as"] and len(args) > 1:
        return run(args[1], args[2:])
    return run("svcmgr", args)


def run(argv0: str, args: Sequence[str]) -> int:
    """Run one command line of the command ``argv0``; return its exit code.

    Raises OpenhaError if the command line or its only service file is invalid.
    """
    call = parse_call(os.path.basename(argv0), args)
    layout = agent_layout("", os.environ)
    _expect_rights(layout, call)
    cluster = node_view()
    known = service_names(layout.etc_dir)
    names = named_services(known, call.services)
    repair_wrappers(layout, [name for name in names if name in known])
    exit_code = 0
    for number, name in enumerate(names):
        try:
            code = _run_one(layout, name, call, cluster)
        except (InterruptedAction, KeyboardInterrupt):
            _report_not_begun(call.action, names[number + 1 :])
            raise
        except OpenhaError as error:
            if len(names) == 1:
                raise
            # One broken service must not prevent the action on the others.
            sys.stderr.write(f"{error}\n")
            code = error.exit_code
        exit_code = exit_code or code
    if call.action == VALIDATE and call.services is None:
        skipped = misnamed_files(layout.etc_dir)
        warnings = [*map(str, skipped), *leftover_lines(layout)]
        sys.stdout.write("".join(f"warning: {problem}\n" for problem in warnings))
        exit_code = exit_code or (_ONLY_WARNINGS if warnings else 0)
    return exit_code


def _report_not_begun(action: str, names: Sequence[str]) -> None:
    if names:
        sys.stderr.write(f"{action.replace('_', ' ')} was not run for {', '.join(names)}\n")


def parse_call(called_as: str, args: Sequence[str]) -> Call:
    """Parse a command name and its arguments; UsageError if they are invalid."""
    usual = _usual_call(args)
    if usual is not None:
        return _by_name(usual, called_as)
    own_args, docker_args = _split_docker(args)
    parser = build_parser()
    given = parser.read(own_args)
    options = ActionOptions(
        choice=ResourceSelector(given.rid or (), given.tags or (), given.subsets or ()),
        is_cluster=given.cluster,
        is_forced=given.force,
        is_remote=given.remote,
        to_node=given.to,
        has_rollback=not given.disable_rollback,
        is_dry_run=given.dry_run,
        wait_lock_s=given.waitlock,
        output_format=given.format,
    )
    choices = [ServiceSelector.PRIMARY] if given.onlyprimary else []
    choices += [ServiceSelector.SECONDARY] if given.onlysecondary else []
    choices += [_STATES[given.status]] if given.status else []
    call = Call(_service_list(given.service), tuple(choices), "_".join(given.action), options)
    call = _by_name(call, called_as)
    if docker_args:
        call = call._replace(
            action="docker",
            options=call.options._replace(docker_words=tuple(docker_args[1:])),
        )
    if not call.action:
        parser.error("no action given")
    return call


def _usual_call(args: Sequence[str]) -> Call | None:
    """Return what the usual words mean, those of the wrappers among them; None for other ones.

    They need no parser: `[-s NAME] [--cluster] ACTION`.
    """
    rest, services = list(args), None
    if rest[:1] == ["-s"] and len(rest) > 1 and not rest[1].startswith("-"):
        services = _service_list(rest[1])
        del rest[:2]
    is_cluster = rest[:1] == ["--cluster"]
    words = rest[1:] if is_cluster else rest
    if not words or any(word.startswith("-") or word == "docker" for word in words):
        return None
    return Call(services, (), "_".join(words), ActionOptions(is_cluster=is_cluster))


def _expect_rights(layout: AgentLayout, call: Call) -> None:
    """Raise SystemFault for a change requested by a user who may change no service here."""
    if os.geteuid() == 0 or call.options.is_dry_run or not is_change(call.action):
        return
    if os.path.isdir(layout.var_dir) and not os.access(layout.var_dir, os.W_OK):
        words = call.action.replace("_", " ")
        raise SystemFault(
            f"{words} is for root: {layout.var_dir} cannot be written by uid {os.geteuid()}:"
            " nothing was done"
        )


def _run_one(layout: AgentLayout, name: str, call: Call, cluster: ClusterView) -> int:
    if not os.path.exists(layout.service_file(name)):
        error = no_such_service(layout, name)
        # The exit code of UsageError has a meaning of its own there: the peer is off.
        raise SystemFault(str(error)) if call.action == POWER else error
    with open_log(layout.log_dir, name) as log:
        if call.action == VALIDATE:
            return _validate(layout, name, log, cluster)
        service = load_service(layout, name, log, cluster)
        is_meant = all(is_chosen(service, choice) for choice in call.choices)
        return perform(service, call.action, call.options) if is_meant else 0


def _validate(layout: AgentLayout, name: str, log: ActionLog, cluster: ClusterView) -> int:
    """Print all problems of a service file; return 0 without any, 1 for warnings, 3 for errors."""
    problems = validate(layout, name, log, cluster, _peer())
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    if not problems:
        sys.stdout.write(f"{layout.service_file(name)}: valid\n")
    if all(problem.is_warning for problem in problems):
        return _ONLY_WARNINGS if problems else 0
    return ConfigError.exit_code


def _peer() -> str | None:
    """Return the other node of the cluster; None if the files name none or are unreadable."""
    layout = find_layout(os.environ, os.path.exists)
    try:
        nodes = parse_nodes(read_text(layout.nodes_file), layout.nodes_file)
    except OpenhaError:
        return None
    return next((node for node in nodes if node.lower() != node_name().lower()), None)


def _by_name(call: Call, called_as: str) -> Call:
    """Add what the command's name implies: services, --cluster, the stonith action."""
    if called_as in {choice.value for choice in ServiceSelector}:
        return call._replace(choices=(*call.choices, ServiceSelector(called_as)))
    name, _, suffix = called_as.rpartition(".")
    if suffix in ("cluster", "stonith") and name:
        options = call.options._replace(is_cluster=True)
        fences = POWER if call.action == "status" else "stonith"
        action = fences if suffix == "stonith" else call.action
        return call._replace(services=(_service_name(name),), options=options, action=action)
    if called_as in ("svcmgr", "svcmgr.py", "__main__.py"):
        if call.services is None and not call.choices and call.action not in FOR_ALL:
            raise UsageError(
                "no service given, expected -s SERVICE or a command named after the service"
            )
        return call
    return call._replace(services=(_service_name(called_as),))


def _split_docker(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments at the word docker: the options behind it are docker's."""
    args = list(args)
    for position, word in enumerate(args):
        if word == "docker" and (
            position == 0 or args[position - 1] not in ("-s", "--service", "--rid", "--waitlock")
        ):
            return args[:position], args[position:]
    return args, []


def _service_list(names: str | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not names.replace(",", "").strip():
        # An unset variable in a script must not look like success.
        raise UsageError(f"--service is {names!r}, expected names of services")
    return tuple(
        name if not PATTERN.isdisjoint(name) else _service_name(name)
        for name in names.split(",")
        if name
    )


def _service_name(name: str) -> str:
    if not SERVICE_NAME.match(name):
        raise UsageError(
            f"{name!r} is no service name, expected letters, digits, dots, dashes and underscores"
        )
    if name in COMMAND_NAMES:
        raise UsageError(
            f"no service can be named {name}, which is a command of the agent: rename its service"
            " file"
        )
    return name


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OpenhaError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except InterruptedAction as error:
        sys.exit(error.exit_code)
