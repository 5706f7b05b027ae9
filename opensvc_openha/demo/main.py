"""`openha demo`: play the whole tutorial on two nodes made of namespaces.

Ends with a table of the takeover's times.
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType
from typing import NoReturn

from opensvc_openha.cli.main import run
from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.demo.player import Player, install_services, last_words, prepare
from opensvc_openha.demo.screen import Screen
from opensvc_openha.demo.story import ADDRESSES, FAST, FULL, NAMES, tell
from opensvc_openha.demo.timeline import render_table
from opensvc_openha.errors import ActionError, OpenhaError

DEFAULT_LIMIT_S = 300.0
INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the demo's options."""
    parser = argparse.ArgumentParser(
        prog="openha demo", description="Replay the tutorial on two nodes of this machine."
    )
    parser.add_argument("--fast", action="store_true", help="link timeouts of 2 s instead of 10")
    parser.add_argument(
        "--keep", action="store_true", help="leave the nodes running at the end, until Ctrl-C"
    )
    parser.add_argument("--no-color", action="store_true", help="no colours, even on a terminal")
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_LIMIT_S,
        metavar="SECONDS",
        help="limit of the whole demo",
    )
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the demo; return 0 only if every step had its expected result."""
    options = build_parser().parse_args(args)
    screen = Screen(sys.stdout, not options.no_color)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _demonstrate(options, screen)
    except KeyboardInterrupt:
        screen.alarm("interrupted")
        return INTERRUPTED
    except OpenhaError as error:
        print(f"openha demo: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)


def console() -> NoReturn:
    """Entry point of the console script."""
    run(main)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _demonstrate(options: argparse.Namespace, screen: Screen) -> int:
    pace = FAST if options.fast else FULL
    with TwoNodes(NAMES, ADDRESSES) as nodes:
        for node in nodes:
            prepare(node)
        install_services(nodes, pace)
        player = Player(nodes, screen, options.timeout)
        code = 0
        try:
            player.play(tell(pace))
            screen.title("The takeover", "Seconds from the power cut, as seen on deb2.")
            screen.output(render_table(player.times))
        except ActionError as error:
            code = error.exit_code
            screen.alarm(f"\nThe demo failed {error}")
            screen.output(f"\nLast output:\n{player.last_output}\n\n{last_words(nodes)}")
        if options.keep:
            _keep(nodes, screen)
        return code


def _keep(nodes: TwoNodes, screen: Screen) -> None:
    """Print how to inspect the nodes, and wait for Ctrl-C."""
    screen.title("The nodes are kept", "Press Ctrl-C here to end them. From another terminal:")
    for node in nodes:
        screen.output(f"{node.name}:  {node.entry_command}")
    try:
        signal.pause()
    except KeyboardInterrupt:
        screen.note("ended")
