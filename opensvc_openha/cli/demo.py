"""``openha demo``: run the demo, a program of its own, in a layer above the commands."""

from __future__ import annotations

import os
import sys

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.system.self_command import self_command

_LIMIT_S = 600.0


def build_parser() -> Parser:
    """Return the parser of the demo's options."""
    parser = Parser("openha demo", "Replay the tutorial on two nodes of this machine.")
    parser.add_flag("--fast", help="link timeouts of 2 s instead of 10")
    parser.add_flag("--keep", help="leave the nodes running at the end, until Ctrl-C")
    parser.add_flag(
        "--no-containers", help="small programs as services, also where docker could run them"
    )
    parser.add_flag("--no-color", help="no colours, even on a terminal")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_LIMIT_S,
        metavar="SECONDS",
        help=f"limit of the whole demo (default {_LIMIT_S:g})",
    )
    return parser


def main(args: list[str]) -> int:
    """Replace this process by the demo."""
    build_parser().read(args)
    command = [*self_command("opensvc_openha.demo"), *args]
    sys.stdout.flush()
    os.execv(command[0], command)
