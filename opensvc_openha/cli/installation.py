"""Find the installation that a command works on, from the environment and files of this machine."""

from __future__ import annotations

import os
import sys

from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import ConfigError, NotAnsweringError, NotRunningError
from opensvc_openha.formats.layout import AgentLayout, Layout, agent_layout, find_layout
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.control.rendering import View

MARK = "Made by `openha install`"
"""Each file that is written by an installation of this package contains it."""


def layout() -> Layout:
    """Return the OpenHA layout in force; ConfigError if the directory in EZ does not exist."""
    ez = os.environ.get("EZ")
    if ez and not os.path.isdir(ez):
        hint = "unset EZ, correct it, or lay it out with `openha install --prefix`"
        raise ConfigError(f"EZ={ez}: there is no such directory: {hint}")
    return find_layout(os.environ, os.path.exists)


def shown_status(layout: Layout) -> NodeStatus:
    """Return the daemon's status to be shown; of an engine that hangs the newest one.

    The caller shows it, then calls ``expect_present``.
    """
    return client.fetch_status(layout, is_old_fine=True)


def expect_present(status: NodeStatus) -> None:
    """Raise NotAnsweringError for an old status, once it is shown."""
    if status.age_s:
        raise NotAnsweringError(
            f"this status is {status.age_s:.1f} s old: nmond (pid {status.pid}) does not answer,"
            " its engine hangs; its log may tell why, `ezha kill` ends it without the services"
        )


def show(view: View) -> int:
    """Print the daemon's status in one of its views; return the exit code."""
    status = shown_status(layout())
    sys.stdout.write(view(status))
    expect_present(status)
    return 0


def status_if_running(layout: Layout) -> NodeStatus | None:
    """Return the daemon's status; None if no daemon runs.

    NotAnsweringError if one runs that does not answer: what it would report is not known.
    """
    try:
        return client.fetch_status(layout)
    except NotAnsweringError:
        raise
    except NotRunningError:
        return None


def agent() -> AgentLayout:
    """Return the embedded agent's layout in force."""
    return agent_layout("", os.environ)


def is_made_by_us(path: str) -> bool:
    """Return whether this command was written by an installation of this package."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return MARK in file.read(300)
    except OSError:
        return False
