"""The installation a command works on, as the environment and the files of this machine say."""

from __future__ import annotations

import os

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import AgentLayout, Layout, agent_layout, find_layout


def layout() -> Layout:
    """The OpenHA layout in force; ConfigError where EZ names a directory that is not there."""
    ez = os.environ.get("EZ")
    if ez and not os.path.isdir(ez):
        hint = "unset EZ, correct it, or lay it out with `openha install --prefix`"
        raise ConfigError(f"EZ={ez}: there is no such directory: {hint}")
    return find_layout(os.environ, os.path.exists)


def agent() -> AgentLayout:
    """The embedded agent's layout in force."""
    return agent_layout("", os.environ)
