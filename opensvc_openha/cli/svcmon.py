"""Print the table of all services on this node."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence

from opensvc_openha import __version__
from opensvc_openha.agent.config.service_file import misnamed_files, service_names
from opensvc_openha.agent.config.wrappers import leftover_lines
from opensvc_openha.agent.host.lvm import AllVolumeGroups
from opensvc_openha.agent.service.service import load_service
from opensvc_openha.agent.show.parallel_status import Look, status_of_all
from opensvc_openha.agent.show.render import print_status_lines, svcmon_lines
from opensvc_openha.agent.values.action_log import open_log
from opensvc_openha.agent.values.status import ServiceReport
from opensvc_openha.cli.svcmgr import named_services, node_view, repair_wrappers
from opensvc_openha.errors import UsageError
from opensvc_openha.formats.layout import agent_layout

USAGE = """\
Usage: svcmon [options]

Display services status

Options:
  -s, --service=LIST    comma-separated list of services (default: all)
      --verbose         the status tree of each service
  -w, --watch           the table again and again, with keys to look into a service
      --version, -h, --help
"""

_LONG = (
    "service=",
    "verbose",
    "watch",
    "version",
    "help",
    "updatedb",
    "upddb",
    "refresh",
    "debug",
    "cluster",
    "maxdelaydb=",
)


def main(args: Sequence[str]) -> int:
    """Print the table; return 0, or the exit code of the first invalid service file."""
    try:
        found, words = getopt.gnu_getopt(list(args), "s:hvcw", list(_LONG))
    except getopt.GetoptError as error:
        raise UsageError(f"{error.msg}, see svcmon --help") from error
    given = {name.lstrip("-"): value for name, value in found}
    if words:
        raise UsageError(f"{words[0]!r} is not expected, see svcmon --help")
    if "h" in given or "help" in given:
        sys.stdout.write(USAGE)
        return 0
    if "version" in given:
        sys.stdout.write(f"svcmon {__version__}\n")
        return 0
    asked = given.get("s", given.get("service"))
    names = [name for name in asked.split(",") if name] if asked else None
    if "w" in given or "watch" in given:
        from opensvc_openha.cli.watch import watch

        return watch(lambda: _look(names))
    reports, exit_code = _reports(_look(names))
    for problem in misnamed_files(agent_layout("", os.environ).etc_dir) if names is None else []:
        # Backup copies of editors and operators (web.env~, web.env.bak) deserve no line each time.
        if problem.path.lower().endswith(".env"):
            sys.stderr.write(f"warning: {problem}\n")
    for line in leftover_lines(agent_layout("", os.environ)) if names is None else []:
        sys.stderr.write(f"warning: {line}\n")
    if "verbose" in given or "v" in given:
        lines = [line for report in reports for line in print_status_lines(report)]
    else:
        lines = svcmon_lines(reports)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return exit_code


def _look(asked: list[str] | None) -> list[Look]:
    """Read the status of each service."""
    layout = agent_layout("", os.environ)
    cluster = node_view()
    known = service_names(layout.etc_dir)
    repair_wrappers(layout, known)

    volume_groups = AllVolumeGroups()

    def look(name: str) -> ServiceReport:
        if name not in known:
            raise UsageError(f"no service {name}: {layout.service_file(name)} does not exist")
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
