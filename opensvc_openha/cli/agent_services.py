"""Find the services that an agent's command is about, and its view of the node daemon.

Apart from ``svcmgr``, so that a table of all services loads no action.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.agent.config.wrappers import default_command, ensure_wrappers, orphaned_wrappers
from opensvc_openha.agent.service.loaded_service import cluster_view
from opensvc_openha.agent.values.cluster_client import ClusterAnswer, ClusterView
from opensvc_openha.control.client import act, fetch_own_states, fetch_status, record_observation
from opensvc_openha.errors import OpenhaError, SystemFault, UsageError
from opensvc_openha.formats.layout import AgentLayout, Layout, find_layout
from opensvc_openha.formats.suggestion import did_you_mean, which_service
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.core.events import Command
    from opensvc_openha.peer_link.client import JobEnd

PATTERN = frozenset("*?[")


def named_services(known: list[str], asked: Sequence[str] | None) -> list[str]:
    """Return the requested services without duplicates; patterns are expanded."""
    if asked is None:
        return known
    found = []
    for name in asked:
        if PATTERN.isdisjoint(name):
            found.append(name)
            continue
        from fnmatch import fnmatchcase

        fitting = [service for service in known if fnmatchcase(service, name)]
        if not fitting:
            close = which_service(name, known, "each is a file SERVICE.env")
            raise UsageError(f"no service fits {name}: {close}")
        found += fitting
    return list(dict.fromkeys(found))


def no_such_service(layout: AgentLayout, name: str) -> UsageError:
    """Return the error for a service without a file."""
    left = orphaned_wrappers(layout).get(name)
    more = f", though {', '.join(left)} are left of it" if left else ""
    close = did_you_mean(name, service_names(layout.etc_dir))
    return UsageError(f"no service {name}: {layout.service_file(name)} does not exist{more}{close}")


def repair_wrappers(layout: AgentLayout, names: Sequence[str]) -> None:
    """Repair the wrappers beside these services' files; failures are reported and not fatal."""
    if not os.access(layout.etc_dir, os.W_OK):
        return
    command = default_command(layout)
    for name in names:
        try:
            ensure_wrappers(layout, name, command)
        except SystemFault as error:
            sys.stderr.write(f"{error}\n")


def node_view() -> ClusterView:
    """Return a view of this machine's node daemon, which is asked at first use."""
    layout = find_layout(os.environ, os.path.exists)
    return cluster_view(
        layout,
        lambda: fetch_status(layout),
        lambda command, name, by: _answers(layout, command, name, by),
        lambda *entry: _note(layout, *entry),
        partial(_order_peer, layout),
        lambda: fetch_own_states(layout),
    )


def _order_peer(
    layout: Layout, service: str, action: str, on_line: Callable[[str], None]
) -> JobEnd:
    from opensvc_openha.peer_link.client import order_peer
    from opensvc_openha.peer_link.protocol import AgentKind

    return order_peer(layout, service, action, AgentKind.EMBEDDED, on_line)


def _note(layout: Layout, service: str, word: str, reason: str, is_alarm: bool) -> None:
    """Have the node daemon record an entry in the history.

    Without a daemon there is none, and only the agent's log has the entry.
    """
    try:
        record_observation(layout, service, word, reason, is_alarm)
    except OpenhaError as error:
        sys.stderr.write(f"not recorded in the history: {error}\n")


def _answers(layout: Layout, command: Command, name: str, by: str) -> Iterator[ClusterAnswer]:
    from opensvc_openha.cli.output import answer_line

    for answer in act(layout, command, [name], by):
        yield ClusterAnswer(answer_line(answer), answer.is_ok, answer.is_refused)
