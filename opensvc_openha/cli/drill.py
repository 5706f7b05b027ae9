"""``openha drill``: run a drill, a program of its own above the commands."""

from __future__ import annotations

import os
import sys

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.system.self_command import self_command

FROM_PEER = "--from-peer"
"""The other node's part of a drill, which its peer server runs here."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(
        "openha drill",
        "Try out what the cluster is for, one failure at a time: guided, measured, recorded.\n"
        "It refuses where it could harm, and takes back what it did at the first thing that is not"
        " as predicted.",
        epilog="Exit code: 0 passed, 5 refused: nothing was done, 6 not passed: what was changed"
        " is taken back, or the\noutput says what is not.",
    )
    listed = parser.add_verb("list", "what can be tried out here now, and what is refused and why")
    listed.add_flag("--json", dest="is_json", help="as JSON")
    links = parser.add_verb("links", "cut each heartbeat link in turn, or LINK alone")
    links.add_argument("link", nargs="?", default="", metavar="LINK", help="as `drill list` has it")
    switch = parser.add_verb("switch", "move a service to the other node, and back")
    switch.add_argument("service", metavar="SERVICE", help="name of the service")
    takeover = parser.add_verb(
        "takeover", "take over what the other node runs, which plays dead for that"
    )
    takeover.add_argument(
        "service", nargs="+", metavar="SERVICE", help="all services that run on the other node"
    )
    takeover.epilog = (
        "The other node falls silent on all links and stops them, as if it died; here they start"
        " once it has\nanswered that. No fence is used: it is held back. The services stay on this"
        " node."
    )
    power = parser.add_verb("power", "cut the power of the other node, which runs nothing")
    power.add_argument("path", nargs="?", default="", metavar="PATH", help="a path of levels")
    power.add_flag(
        "--watchdog",
        dest="is_watchdog",
        help="let the watchdog of this node reset it, instead: only while nothing runs here",
    )
    for verb in (links, switch, takeover, power):
        verb.add_flag(
            "--dry-run",
            dest="is_dry_run",
            help="print each step, what could go wrong, and what is refused; do nothing",
        )
        verb.add_reason()
    for verb in (links, switch, takeover):
        verb.add_flag("--yes", dest="is_yes", help="do not ask")
    report = parser.add_verb("report", "what was measured, and when each drill was last passed")
    report.add_flag("--json", dest="is_json", help="as JSON")
    report.add_argument("--html", default="", metavar="FILE", help="write a page instead")
    return parser


def main(args: list[str]) -> int:
    """Replace this process by the drill."""
    build_parser().read(args)
    command = [*self_command("opensvc_openha.drill"), *args]
    sys.stdout.flush()
    os.execv(command[0], command)
