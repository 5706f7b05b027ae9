"""Print the table of all services on this node."""

from __future__ import annotations

import os
import sys

from opensvc_openha.agent.config.service_file import misnamed_files, service_names
from opensvc_openha.agent.config.wrappers import leftover_lines
from opensvc_openha.agent.host.lvm import AllVolumeGroups
from opensvc_openha.agent.service.loaded_service import load_service
from opensvc_openha.agent.show.parallel_status import Look, status_of_all
from opensvc_openha.agent.show.render import print_status_lines, svcmon_lines
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.resource_status import ServiceReport
from opensvc_openha.cli.agent_services import (
    named_services,
    no_such_service,
    node_view,
    repair_wrappers,
)
from opensvc_openha.errors import NotRunningError
from opensvc_openha.formats.layout import agent_layout
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.cli.parsing import Parser


def build_parser() -> Parser:
    """Return the parser of ``svcmon``."""
    from argparse import SUPPRESS

    from opensvc_openha.cli.parsing import Parser

    parser = Parser("svcmon", "Show the services of this node and their status in a table.")
    parser.add_argument(
        "-s", "--service", metavar="LIST", help="comma-separated list of services (default: all)"
    )
    parser.add_flag("-v", "--verbose", help="the status tree of each service")
    parser.add_flag(
        "-w",
        "--watch",
        help="refresh the table on the whole terminal, with keys to inspect a service",
    )
    # Options of the agent that have no effect here.
    for options in (
        ("-c", "--cluster"),
        ("--updatedb",),
        ("--upddb",),
        ("--refresh",),
        ("--debug",),
    ):
        parser.add_flag(*options, dest="ignored", help=SUPPRESS)
    parser.add_argument("--maxdelaydb", dest="ignored", help=SUPPRESS)
    return parser


def main(args: list[str]) -> int:
    """Print the table; return 0, or the exit code of the first invalid service file."""
    asked, is_verbose, is_watch = "", False, False
    if len(args) == 1 and args[0].startswith("--service="):  # The usual calls need no parser.
        asked = args[0].partition("=")[2]
    elif args:
        options = build_parser().read(args)
        asked, is_verbose, is_watch = options.service or "", options.verbose, options.watch
    names = [name for name in asked.split(",") if name] if asked else None
    if is_watch:
        from opensvc_openha.cli.watch import watch

        return watch(lambda: _read_statuses(names))
    reports, exit_code = _reports(_read_statuses(names))
    for problem in misnamed_files(agent_layout("", os.environ).etc_dir) if names is None else []:
        # Backup copies of editors and operators (web.env~, web.env.bak) deserve no line each time.
        if problem.path.lower().endswith(".env"):
            sys.stderr.write(f"warning: {problem}\n")
    for line in leftover_lines(agent_layout("", os.environ)) if names is None else []:
        sys.stderr.write(f"warning: {line}\n")
    if is_verbose:
        outlooks = _outlooks()
        lines = [
            line
            for report in reports
            for line in (*print_status_lines(report), *outlooks.get(report.name, ()))
        ]
    else:
        lines = svcmon_lines(reports)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return exit_code


def _outlooks() -> dict[str, list[str]]:
    """Return what the node daemon knows of a takeover of each service; nothing without one."""
    from opensvc_openha.cli.output import outlook_lines

    try:
        status = node_view().node_status()
    except NotRunningError:
        return {}
    return {svc.name: outlook_lines(svc) for svc in status.services}


def _read_statuses(asked: list[str] | None) -> list[Look]:
    """Read the status of each service."""
    layout = agent_layout("", os.environ)
    cluster = node_view()
    known = service_names(layout.etc_dir)
    repair_wrappers(layout, known)

    volume_groups = AllVolumeGroups()

    def look(name: str) -> ServiceReport:
        if name not in known:
            raise no_such_service(layout, name)
        with open_log(layout.log_dir, name) as log:
            return load_service(layout, name, log, cluster, volume_groups).report()

    return status_of_all(named_services(known, asked), look)


def _reports(looks: list[Look]) -> tuple[list[ServiceReport], int]:
    """Return the reports of the readable services, and an exit code for the others.

    The errors of the others are printed.
    """
    problems = [seen.problem for seen in looks if seen.problem is not None]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    exit_code = problems[0].exit_code if problems else 0
    return [seen.report for seen in looks if seen.report is not None], exit_code
