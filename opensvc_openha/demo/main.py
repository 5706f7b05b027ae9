"""`openha demo`: play the whole tutorial on two nodes made of namespaces.

Ends with a table of the takeover's times.
"""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from opensvc_openha.cli.demo import build_parser
from opensvc_openha.cli.main import run
from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.containers import (
    LEFT_OUT,
    after_boot,
    install_containers,
    missing_for_containers,
    remove_cgroups,
    starts_of_containers,
)
from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.demo.player import (
    Player,
    install_programs,
    last_words,
    prepare,
    starts_of_programs,
)
from opensvc_openha.demo.screen import Screen
from opensvc_openha.demo.story import (
    CONTAINERS,
    FAST,
    FULL,
    NAMES,
    PROGRAMS,
    Step,
    StoryPace,
    story_steps,
)
from opensvc_openha.demo.timeline import render_table
from opensvc_openha.errors import ActionError, OpenhaError

INTERRUPTED = 130
_NEXT = (
    "make demo DEMO=--keep   the same, and both nodes stay: try `openha why registry` on them\n"
    "On two real servers: see README.md."
)


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
    reason = "asked for by --no-containers" if options.no_containers else missing_for_containers()
    cast = PROGRAMS if reason else CONTAINERS
    try:
        with TwoNodes(NAMES, cast.addresses) as nodes:
            for node in nodes:
                prepare(node)
            player = _prepared(nodes, screen, pace, reason, options.timeout)
            return _play(nodes, screen, player, story_steps(pace, cast), options.keep)
    finally:
        if not reason:
            remove_cgroups(*cast.addresses)


def _prepared(
    nodes: TwoNodes, screen: Screen, pace: StoryPace, reason: str, limit_s: float
) -> Player:
    """Set the services up, say what of the tutorial is left out, and return the player."""
    if reason:
        screen.note(f"left out of the tutorial: containers and volume groups: {reason}")
        install_programs(nodes, pace)
        return Player(nodes, screen, limit_s, lambda node: None, starts_of_programs)
    screen.note(f"left out of the tutorial: {LEFT_OUT}")
    screen.note("images and file systems of the services are made (half a minute)")
    node_ssh.connect(nodes)
    install_containers(nodes)
    return Player(nodes, screen, limit_s, after_boot, starts_of_containers)


def _play(
    nodes: TwoNodes, screen: Screen, player: Player, steps: Sequence[Step], is_kept: bool
) -> int:
    code = 0
    try:
        player.play(steps)
        screen.title("The takeover", "Seconds from the power cut, as seen on deb2.")
        screen.output(render_table(player.times))
        screen.title("Next", _NEXT)
    except ActionError as error:
        code = error.exit_code
        screen.alarm(f"\nThe demo failed {error}")
        screen.output(f"\nLast output:\n{player.last_output}\n\n{last_words(nodes)}")
    if is_kept:
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
