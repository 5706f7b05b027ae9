"""`openha demo`: play the whole tutorial on two nodes made of namespaces.

Ends with a table of the takeover's times.
"""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from types import FrameType
from typing import NoReturn

from opensvc_openha.cli.demo import build_parser
from opensvc_openha.cli.main import run
from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.demo.player import Player, install_services, last_words, prepare
from opensvc_openha.demo.screen import Screen
from opensvc_openha.demo.story import ADDRESSES, FAST, FULL, NAMES, story_steps
from opensvc_openha.demo.timeline import render_table
from opensvc_openha.errors import ActionError, OpenhaError

INTERRUPTED = 130


def main(args: list[str]) -> int:
    """Run the demo; return 0 only if every step had its expected result."""
    options = build_parser().read(args)
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


def _demonstrate(options: Namespace, screen: Screen) -> int:
    pace = FAST if options.fast else FULL
    with TwoNodes(NAMES, ADDRESSES) as nodes:
        for node in nodes:
            prepare(node)
        install_services(nodes, pace)
        player = Player(nodes, screen, options.timeout)
        code = 0
        try:
            player.play(story_steps(pace))
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
