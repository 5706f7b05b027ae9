"""What ``openha setup`` and ``openha join`` have in common: terminal, installation, start, end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

from opensvc_openha.cli import boot, check
from opensvc_openha.cli.install import Plan, lay_out, plan_here
from opensvc_openha.control import client
from opensvc_openha.errors import ActionError, NoPeerLinkError, RefusedError, UsageError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.client import find_peer
from opensvc_openha.setup.messages import Report
from opensvc_openha.setup.node import Hooks
from opensvc_openha.system import clock

_PEER_LINK_LIMIT_S = 30.0


def expect_root(command: str) -> None:
    """Raise RefusedError for another user."""
    if os.geteuid() != 0:
        raise RefusedError(f"openha {command} is for root: it writes the configuration")


class Terminal:
    """What the operator sees; a line that is shown while something is waited for replaces itself.

    Without a terminal such a line is printed once for each kind of wait.
    """

    def __init__(self, is_yes: bool) -> None:
        self._is_yes = is_yes
        self._is_live = sys.stdout.isatty()
        self._waits_for = ""

    def say(self, text: str) -> None:
        """Print a line."""
        self.wait_line("")
        print(text, flush=True)

    def wait_line(self, text: str) -> None:
        """Show what is waited for; empty ends that."""
        if self._is_live:
            if text or self._waits_for:
                sys.stdout.write(f"\r\x1b[K{text}")
                sys.stdout.flush()
            self._waits_for = text
            return
        kind = text.partition(",")[0]
        if kind and kind != self._waits_for:
            print(text, flush=True)
        self._waits_for = kind or self._waits_for

    def ask(self, question: str) -> bool:
        """Return the operator's answer; True without asking after --yes."""
        if self._is_yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask on: add --yes")
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False


def hooks(terminal: Terminal, plan: Plan) -> Hooks:
    """Return what the set-up needs of the commands."""
    return Hooks(
        install=lambda: _install(terminal, plan),
        start=lambda layout: _start(layout, plan),
        say=terminal.say,
        ask=terminal.ask,
        wait_line=terminal.wait_line,
    )


def plan() -> Plan:
    """Return how this node is or would be laid out."""
    return plan_here(embedded_agent=True)


def agent_of(found: Plan) -> str:
    """Return which agent runs services on this node, for the other one and the operator."""
    return "an OpenSVC agent" if found.agent is None else "the embedded agent"


def _install(terminal: Terminal, found: Plan) -> Layout:
    # Enabled once there is a configuration.
    for line in lay_out(replace(found, enable=False)):
        terminal.say(line)
    return found.layout


def _start(layout: Layout, found: Plan) -> list[str]:
    from opensvc_openha.cli import ezha

    lines = boot.enable(layout, found.agent, root=found.root)
    if client.running_pid(layout):
        client.reload(layout)
        return [*lines, "The node daemon runs, and has read the configuration again."]
    ezha.start(layout)
    return [*lines, "The node daemon runs."]


@contextlib.contextmanager
def explained_interrupt(text: Callable[[], str]) -> Iterator[None]:
    """Print how to continue after Ctrl-C; a lost terminal ends it in order, too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\n{text()}\n")
        raise


def end(layout: Layout, report: Report, peer: str) -> int:
    """Print what to do next, or raise what is wrong."""
    if report.problem or report.down:
        raise ActionError(
            "both nodes are configured, but not all is up: look at `openha hb -s -v` on both; a"
            " daemon that does not run is started by `openha start`"
        )
    _await_peer_link(layout)
    code = check.report(layout)
    print(
        f"Next: openha status; and for each service: openha add FILE.env (on one node; {peer} gets"
        " it by itself)"
    )
    return code if code == check.EXIT_ERRORS else 0


def _await_peer_link(layout: Layout) -> None:
    """Wait until the other node answers requests: its daemon has just started that."""

    def answers() -> bool:
        try:
            find_peer(layout).channel().close()
        except NoPeerLinkError as error:
            return error.reason == "OFF"
        return True

    clock.wait_until(answers, _PEER_LINK_LIMIT_S, poll_s=0.5)
