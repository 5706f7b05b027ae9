"""``openha advise``: run the advice, a program of its own above the commands."""

from __future__ import annotations

import os
import sys

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.system.self_command import self_command


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(
        "openha advise",
        "What was measured on this node, and what follows: link timeouts with the odds of a false"
        " alarm and the takeover that follows, links that share a path, services whose start is"
        " slow. Nothing is changed.",
    )
    parser.add_flag("--json", dest="is_json", help="as JSON")
    return parser


def main(args: list[str]) -> int:
    """Replace this process by the advice."""
    build_parser().read(args)
    command = [*self_command("opensvc_openha.advise"), *args]
    sys.stdout.flush()
    os.execv(command[0], command)
