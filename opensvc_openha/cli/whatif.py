"""``openha whatif``: run the rehearsal of an event, a program of its own above the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.system.self_command import self_command

BOOT_S, LIMIT_S = 60.0, 600.0
_EVENTS = """EVENT is one of:
  peer-dies, peer-reboots, peer-boots               power of the other node
  this-node-dies, this-node-reboots                 power of this node
  peer-daemon-dies | -stops | -restarts | -starts   its node daemon (kill -9, ezha stop, ...)
  daemon-dies | -stops | -restarts | -starts        the node daemon here
  link NAME down | up                               a heartbeat link, which nobody notices at once
  all-links down | up                               all of them
  interface NAME down | up                          of this node, which its daemon notices
  disk SERVICE hangs | answers                      the data disks of a service, here
  uplink down | up                                  the targets of [connectivity], for this node
  gateway down | up                                 the same for both nodes
  service -A NAME ORDER                             an operator's order given here, or `switch`
  fence confirm                                     the operator's word that the peer runs nothing

Several events: EVENT then [SECONDS] EVENT, as in `link eth1 down then 20 peer-dies`."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser(
        "openha whatif",
        "What would happen: the decisions of both nodes from their present states on, in simulated"
        " time. Nothing of the cluster is touched.",
        usage="openha whatif EVENT [then [SECONDS] EVENT]... [--boot-time SECONDS]"
        " [--limit SECONDS] [--json]",
        epilog=_EVENTS,
    )
    parser.add_argument("event", nargs="+", metavar="EVENT", help="what happens: see below")
    parser.add_argument(
        "--boot-time",
        type=float,
        default=BOOT_S,
        metavar="SECONDS",
        help=f"time that a machine needs to be back (default {BOOT_S:g})",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT_S,
        metavar="SECONDS",
        help=f"longest time that is looked at after the last event (default {LIMIT_S:g})",
    )
    parser.add_flag("--json", dest="is_json", help="as JSON")
    return parser


def read_words(args: Sequence[str]) -> argparse.Namespace:
    """Return the parsed words; an event may contain ``-A``, which is no option of this command."""
    options = build_parser().read([word for word in args if word != "-A"])
    if not 0 <= options.boot_time <= 86_400 or not 0 < options.limit <= 86_400:
        build_parser().error("--boot-time and --limit are seconds, of a day at most")
    return options


def main(args: list[str]) -> int:
    """Replace this process by the rehearsal."""
    read_words(args)
    command = [*self_command("opensvc_openha.whatif"), *args]
    sys.stdout.flush()
    os.execv(command[0], command)
