"""What the other node's requests mean on this one."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from opensvc_openha import __version__
from opensvc_openha.cli import installation
from opensvc_openha.control import client, protocol
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.script_output import without_output
from opensvc_openha.hints import Any
from opensvc_openha.peer_link.channel import MESSAGE_BYTES
from opensvc_openha.peer_link.protocol import (
    AddRequest,
    AgentKind,
    DrillRequest,
    EvacuateRequest,
    InspectRequest,
    JobRequest,
    OrderRequest,
    RemoveRequest,
    SharedFile,
    request_to_json,
)
from opensvc_openha.peer_link.server import Program
from opensvc_openha.storage.history_entry import Entry, entry_to_json
from opensvc_openha.system import clock
from opensvc_openha.system.self_command import self_command

_HISTORY_BYTES = MESSAGE_BYTES // 2
REMOTE_WAIT_LOCK_S = 60
"""Seconds that the other node's part of an order waits for an action that is under way here."""


class ThisNode:
    """This node, as the peer server needs it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def status(self) -> dict[str, Any]:
        """Return the daemon's status, or why there is none, and the version of this package."""
        answer: dict[str, Any] = {"version": __version__, "wall": clock.wall()}
        try:
            status = client.fetch_status(self._layout)
        except OpenhaError as error:
            return {**answer, "problem": str(error)}
        return {**answer, "daemon": protocol.status_to_json(status)}

    def inspect(self, request: InspectRequest) -> dict[str, Any]:
        """Return what a check compares between the nodes."""
        from opensvc_openha.cli.node_facts import node_facts

        facts = node_facts(self._layout)
        if request.is_deep:
            from opensvc_openha.cli.node_outlook import deep_facts

            facts.update(deep_facts(self._layout, request.hardware))
        return facts

    def fetch(self, file: SharedFile) -> str:
        """Return the text of a shared file; empty if there is none."""
        from opensvc_openha.cli.shared_files import read_shared

        return read_shared(self._layout, file)

    def history(self, service: str, limit: int, has_output: bool) -> list[dict[str, Any]]:
        """Return the newest entries of this node's history, of a service or of all."""
        from opensvc_openha.cli.history import newest_of_daemon, read_history

        newest = newest_of_daemon(self._layout)
        found = read_history(self._layout, newest, service, limit=limit)
        # What was seen at an entry is not shown in a timeline, and is most of it.
        shown = found if has_output else [_without_output(entry) for entry in found]
        answers = [entry_to_json(replace(entry, sight=None)) for entry in shown]
        while len(json.dumps(answers)) > _HISTORY_BYTES:
            del answers[: len(answers) // 2 or 1]
        return answers

    def program(self, request: JobRequest) -> Program:
        """Return the program that does what is asked for."""
        if isinstance(request, OrderRequest):
            return Program(_order(request))
        if isinstance(request, DrillRequest):
            given = json.dumps(request_to_json(request))
            return Program([*self_command("opensvc_openha.drill"), "--from-peer"], given)
        if isinstance(request, EvacuateRequest):
            return Program([*self_command(), *evacuation_words(request)])
        word = (
            "add"
            if isinstance(request, AddRequest)
            else "remove"
            if isinstance(request, RemoveRequest)
            else "config"
        )
        words = ["take"] if word == "config" else ["--from-peer"]
        return Program([*self_command(), word, *words], json.dumps(request_to_json(request)))


def _without_output(entry: Entry) -> Entry:
    return replace(entry, reason=without_output(entry.reason))


def evacuation_words(request: EvacuateRequest) -> list[str]:
    """Return the words of the command that an operator would type on that node."""
    if request.is_undo:
        return ["evacuate", "--undo"]
    flags = {"--force": request.is_forced, "--off-limits": request.is_off_limits}
    given = [name for name, is_given in flags.items() if is_given]
    return ["evacuate", "--wait", str(request.wait_s), *given]


def _order(request: OrderRequest) -> list[str]:
    """Return the words that ssh would run here for the same order."""
    if request.agent is AgentKind.REAL:
        from opensvc_openha.plugin.agents import find_agents
        from opensvc_openha.plugin.peer_orders import order_command

        return order_command(find_agents(None), request.service, request.action, request.line)
    svcmgr = os.path.join(installation.agent().bin_dir, "svcmgr")
    wait = ["--waitlock", str(REMOTE_WAIT_LOCK_S)]
    return [svcmgr, "-s", request.service, *wait, request.action, "--remote"]
