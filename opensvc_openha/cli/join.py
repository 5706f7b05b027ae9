"""``openha join TOKEN``: the other node's part of ``openha setup``."""

from __future__ import annotations

import sys

from opensvc_openha.cli.parsing import Parser
from opensvc_openha.errors import UsageError


def build_parser() -> Parser:
    """Return the parser of ``openha join``."""
    parser = Parser(
        "openha join",
        "Join the cluster that `openha setup` proposes on the other node, which prints the token.",
        epilog="Without TOKEN it is asked for, with - read from standard input. As an argument it"
        " is hidden\nfrom the list of processes at once; behind `sudo` it is not: leave it out"
        " there.",
    )
    parser.add_argument("token", metavar="TOKEN", nargs="?", default="", help="of `openha setup`")
    parser.add_flag("--yes", help="ask nothing")
    parser.add_flag("--dry-run", help="show what would be written, and change nothing")
    return parser


def main(args: list[str]) -> int:
    """Run ``openha join``; return the exit code."""
    _hide(args)
    options = build_parser().read(args)
    from opensvc_openha.cli import joining
    from opensvc_openha.formats.join_token import decode

    joining.expect_root("join")
    token = decode(_read_token(options.token))
    from opensvc_openha.setup.second_node import SecondNode

    plan = joining.plan()
    terminal = joining.Terminal(options.yes)
    node = SecondNode(
        plan.layout,
        token,
        joining.hooks(terminal, plan),
        agent=joining.agent_of(plan),
        is_dry_run=options.dry_run,
    )
    with joining.explained_interrupt(
        lambda: (
            "ended; the configuration is there: `openha start`, then `openha hb -s`"
            if node.is_kept
            else "ended: nothing was changed on this node"
        )
    ):
        report = node.run()
    return 0 if report is None else joining.end(plan.layout, report, "the other one")


def _hide(args: list[str]) -> None:
    """Hide what may be a token before anything else is done, wherever it stands."""
    from opensvc_openha.system.hidden_argument import hide_argument

    for word in args:
        if not word.startswith("-") and not hide_argument(word):
            sys.stderr.write("the token could be seen in the list of processes\n")


def _read_token(word: str) -> str:
    if word == "-":
        return sys.stdin.read(1_000)
    if word:
        return word
    if not sys.stdin.isatty():
        raise UsageError("openha join: expected the token, or - to read it from standard input")
    import getpass

    return getpass.getpass("Token of `openha setup` (not shown): ")
