"""Keep the cluster's file of agents: how each drops its statuses, and the services added for it.

A line is the command of an agent's cache, or ``added HOME SERVICE``.
"""

from __future__ import annotations

import json

from opensvc_openha.formats.layout import Layout
from opensvc_openha.plugin.changes import Change, Remove, Write, carry_out
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.files import text_or_empty

_ADDED = "added"


def read_lines(layout: Layout) -> list[str]:
    """Return all lines; none without the file."""
    return text_or_empty(layout.agents_file).splitlines()


def with_lines(layout: Layout, more: list[str], less: list[str]) -> Change:
    """Return the step that adds and removes these lines in the file of agents.

    An empty file is removed.
    """
    lines = [*[line for line in read_lines(layout) if line not in less], *more]
    return (
        Write(layout.agents_file, "".join(f"{line}\n" for line in lines))
        if lines
        else Remove(layout.agents_file)
    )


def read_added(agent: Agent, layout: Layout) -> list[str]:
    """Return the services that the installation added to the cluster; `remove` removes them."""
    prefix = added_line(agent, "")
    found = [line[len(prefix) :] for line in read_lines(layout) if line.startswith(prefix)]
    return sorted({*found, *read_former_added(agent)})


def added_line(agent: Agent, name: str) -> str:
    """Return the line of a service that was added for this agent."""
    return f"{_ADDED} {agent.home} {name}"


def record_added(agent: Agent, layout: Layout, name: str) -> None:
    """Record that the installation added this service, for as long as it is in the cluster."""
    line = added_line(agent, name)
    if line not in read_lines(layout):
        carry_out(with_lines(layout, [line], []))


def forget_added(agent: Agent, layout: Layout, name: str) -> None:
    """Drop the record of a service that is no longer in the cluster."""
    line = added_line(agent, name)
    if line in read_lines(layout):
        carry_out(with_lines(layout, [], [line]))


def read_former_added(agent: Agent) -> list[str]:
    """Read the record that an earlier version kept beside the driver."""
    try:
        with open(f"{agent.home}/{agent.line.places_file}", encoding="utf-8") as file:
            return [str(name) for name in json.load(file).get("added", [])]
    except (OSError, ValueError, AttributeError):
        return []
