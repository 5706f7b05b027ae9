"""``openha setup PEER``: make a cluster of this node and another one, which joins by a token."""

from __future__ import annotations

from argparse import Namespace

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.errors import UsageError

_FENCE_HELP = (
    "how a silent peer is fenced, may be repeated:"
    " ipmi:ADDRESS,PEER_ADDRESS,USER,PASSWORD_FILE (the boards of this node and of PEER);"
    " agent:fence_NAME,option=value,option@NODE=value; command:PATH[,STATUS_PATH]; reservation;"
    " lease[:DEVICE]"
)


def build_parser() -> Parser:
    """Return the parser of ``openha setup``."""
    parser = Parser(
        "openha setup",
        "Set up a cluster of this node and PEER: both get the same configuration and key, the unit"
        " is enabled, the node daemon started. PEER joins by the command that this one prints;"
        " nothing is changed before.",
        epilog="A node that is configured already keeps that, and PEER gets it: so is a node"
        " replaced.\nFor a second run without questions: openha setup PEER --yes",
    )
    parser.add_argument("peer", metavar="PEER", help="name of the other node (its `uname -n`)")
    parser.add_argument(
        "--link",
        metavar="INTERFACE",
        action="append",
        default=[],
        help="use this interface for heartbeats, may be repeated (default: all that both share)",
    )
    parser.add_flag("--multicast", help="multicast in place of unicast links")
    parser.add_argument(
        "--disk",
        metavar="DEVICE",
        default="",
        help="heartbeats through this unused shared disk, too; the same path on both",
    )
    parser.add_argument("--fence", metavar="HOW", action="append", default=[], help=_FENCE_HELP)
    parser.add_argument(
        "--witness",
        metavar="URL",
        default="",
        help="an etcd that decides which of two nodes cut from each other may fence",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="timeout of the links (default 10)",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=600.0,
        help="how long the token is valid (default 600)",
    )
    parser.add_argument(
        "--port", metavar="PORT", type=int, default=5430, help="TCP port to wait on (default 5430)"
    )
    parser.add_flag("--yes", help="ask nothing")
    parser.add_flag("--dry-run", help="print what would be done, and change nothing")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha setup``; return the exit code."""
    options = build_parser().read(args)
    _check(options)
    from opensvc_openha.cli import joining
    from opensvc_openha.setup.fence_words import read_fence_words
    from opensvc_openha.setup.first_node import FirstNode, Wishes
    from opensvc_openha.setup.interfaces import own_addresses
    from opensvc_openha.setup.node import is_complete

    joining.expect_root("setup")
    wishes = Wishes(
        options.peer,
        tuple(options.link),
        options.multicast,
        options.disk,
        read_fence_words(options.fence, options.witness),
        options.timeout,
        options.wait,
        options.port,
    )
    plan = joining.plan()
    terminal = joining.Terminal(options.yes)
    hooks = joining.hooks(terminal, plan)
    node = FirstNode(plan.layout, wishes, hooks, joining.agent_of(plan), own_addresses())
    if node.is_configured and is_complete(plan.layout):
        print(f"nothing to do: this node is configured, and hears {options.peer} on every link")
        return 0
    for line in node.preview():
        terminal.say(line)
    node.check_disk()
    if options.dry_run:
        print("dry run: nothing was changed")
        return 0
    if not terminal.ask("Continue?"):
        print("nothing was changed")
        return 0

    with joining.explained_interrupt(
        lambda: (
            "ended; the configuration is there: `openha start`, then `openha hb -s`"
            if node.is_kept
            else f"ended: nothing was changed; `openha setup {options.peer}` prints a new token"
        )
    ):
        hooks.install()
        report = node.run()
        return joining.end(plan.layout, report, options.peer)


def _check(options: Namespace) -> None:
    if not 1 <= options.wait <= 86_400:
        raise UsageError(
            f"openha setup: --wait: expected 1 to 86400 seconds; found {options.wait:g}"
        )
    if not 1 <= options.port <= 65_000:
        raise UsageError(f"openha setup: --port: expected 1 to 65000; found {options.port}")
    if not 1 <= options.timeout <= 86_400:
        raise UsageError(
            f"openha setup: --timeout: expected 1 to 86400 seconds; found {options.timeout:g}"
        )
    if options.disk and not options.disk.startswith("/"):
        raise UsageError(
            f"openha setup: --disk: expected the path of a device; found {options.disk!r}"
        )
