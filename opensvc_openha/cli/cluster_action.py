"""``openha cluster-action``: an action of a real agent on a service, for the agent's driver.

Not for operators: the driver answers the lines that it prints (see ``plugin.agent_actions``).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from functools import partial

from opensvc_openha.agent.values.cluster_client import ClusterAnswer, ClusterView
from opensvc_openha.cli import installation
from opensvc_openha.cli.output import answer_line
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.cli.shell_guard import refuse_stop_from_within
from opensvc_openha.control import client
from opensvc_openha.core.events import Command
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.plugin.agent_actions import ACTIONS, AgentActions, Request

if TYPE_CHECKING:
    from opensvc_openha.peer_link.client import JobEnd


def build_parser() -> Parser:
    """Return the parser of ``openha cluster-action``."""
    parser = Parser(
        "openha cluster-action",
        "Run an action of an OpenSVC agent on both nodes. Called by the agent's driver, which"
        " answers what is printed.",
    )
    parser.add_argument("service", metavar="SERVICE", help="the service, as the cluster names it")
    parser.add_argument(
        "action", metavar="ACTION", choices=ACTIONS, help=f"one of {', '.join(ACTIONS)}"
    )
    parser.add_argument(
        "--node", metavar="NODE", required=True, help="this node, as the agent spells it"
    )
    parser.add_argument(
        "--nodes", metavar="NODES", required=True, help="the nodes of the service, with blanks"
    )
    parser.add_flag("--remote", help="the peer's agent is the caller")
    parser.add_flag("--dry-run", help="only print what would be done")
    parser.add_argument("--to", metavar="NODE", default="", help="switch: the node to move to")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha cluster-action``; return the exit code."""
    options = build_parser().read(args)
    layout = installation.layout()

    def act(command: Command, name: str, by: str) -> Iterator[ClusterAnswer]:
        if command is Command.FREEZE_STOP:
            refuse_stop_from_within(layout, [name])
        for answer in client.act(layout, command, [name], by):
            yield ClusterAnswer(answer_line(answer), answer.is_ok, answer.is_refused)

    request = Request(
        options.action,
        options.node,
        options.nodes.split(),
        options.remote,
        options.dry_run,
        options.to,
    )
    view = ClusterView(
        lambda: client.fetch_status(layout), act=act, order_peer=partial(_ask_peer, layout)
    )
    command = f"{layout.bin_dir}/service"
    # The agent's locale may have another encoding; its driver reads this one.
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    return AgentActions(options.service, view, command, request, _send, sys.stdin.readline).run()


def _ask_peer(layout: Layout, service: str, action: str, on_line: Callable[[str], None]) -> JobEnd:
    from opensvc_openha.plugin.peer_orders import ask_peer

    return ask_peer(layout, service, action, on_line)


def _send(word: str, text: str) -> None:
    print(f"{word} {one_line(text)}", flush=True)
