"""Gather what a check compares between the nodes: as JSON, since the other node sends it too."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from opensvc_openha import __version__
from opensvc_openha.agent.config.service_file import service_names
from opensvc_openha.cli import installation
from opensvc_openha.cli.drill_findings import facts_of
from opensvc_openha.cli.shared_files import digest_of, read_shared
from opensvc_openha.cli.target_checks import target_problems
from opensvc_openha.control import client
from opensvc_openha.core.start_problems import warnings
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import Any
from opensvc_openha.peer_link.protocol import SharedFile
from opensvc_openha.storage import configuration
from opensvc_openha.storage.durations import read_durations
from opensvc_openha.storage.key_store import read_keys
from opensvc_openha.system.atomic_files import read_text
from opensvc_openha.system.identity import node_name
from opensvc_openha.system.programs import why_not_runnable

_HARDWARE_CHARACTERS = 17
VERSION = 1
"""Of what is gathered; a newer one has more."""


def node_facts(layout: Layout) -> dict[str, Any]:
    """Return the facts of this node; each part that cannot be read has its reason instead."""
    answer = _or_problem(lambda: client.fetch_status(layout))
    status = answer if isinstance(answer, NodeStatus) else None
    return {
        "facts": VERSION,
        "version": __version__,
        "node": node_name(),
        "files": {file.value: _or_problem(partial(_digest, layout, file)) for file in SharedFile},
        "env": _or_problem(_service_files),
        "services": _or_problem(lambda: _services(layout)),
        "keys": _or_problem(lambda: _keys(layout)),
        "daemon": answer if status is None else _daemon(status),
        "configuration": _or_problem(lambda: _configuration(layout)),
        "targets": _or_problem(lambda: target_problems(layout)),
        "hardware": list(hardware_addresses()),
        "drills": _or_problem(lambda: facts_of(layout, status)),
        "starts": {
            name: list(times.starts)
            for name, times in read_durations(layout).items()
            if times.starts
        },
    }


def hardware_addresses() -> tuple[str, ...]:
    """Return the hardware addresses of this node's Ethernet interfaces."""
    import psutil

    found = {
        entry.address.lower()
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == psutil.AF_LINK and len(entry.address) == _HARDWARE_CHARACTERS
    }
    return tuple(sorted(found - {"00:00:00:00:00:00"}))


def wrapped_service(script: str) -> str:
    """Return the name of the service file that a wrapper runs; empty for another script."""
    name, ending = os.path.splitext(os.path.basename(script))
    return name if ending == ".cluster" else ""


def problem_of(part: Any) -> str:
    """Return why a part of the facts is missing; empty if it is not."""
    return str(part["problem"]) if isinstance(part, dict) and "problem" in part else ""


def _or_problem(gather: Callable[[], Any]) -> Any:
    try:
        return gather()
    except OpenhaError as error:
        return {"problem": str(error)}


def _digest(layout: Layout, file: SharedFile) -> str:
    return digest_of(read_shared(layout, file))


def _service_files() -> dict[str, str]:
    agent = installation.agent()
    return {
        name: digest_of(read_text(agent.service_file(name)))
        for name in service_names(agent.etc_dir)
    }


def _services(layout: Layout) -> list[dict[str, str]]:
    """Return each service of the cluster, with why its scripts cannot be run here."""
    own = node_name().lower()
    return [
        {
            "name": svc.name,
            "script": svc.script,
            "primary": svc.primary,
            "secondary": svc.secondary,
            "check": svc.check,
            "problem": "; ".join(
                problem for problem in map(_script_problem, (svc.script, svc.check)) if problem
            )
            if own in (svc.primary.lower(), svc.secondary.lower())
            else "",
        }
        for svc in configuration.read_services(layout)
    ]


def _script_problem(path: str) -> str:
    if not os.path.exists(path):
        return f"{path} does not exist"
    return why_not_runnable(path)


def _keys(layout: Layout) -> list[str]:
    ring = read_keys(layout)
    return [] if ring is None else [key.key_id for key in ring.keys]


def _daemon(status: NodeStatus) -> dict[str, Any]:
    about_services = warnings(status.services, status.peer)
    return {
        "peer": status.peer_standing.value,
        "links": [
            {"link": link.spec.link_id, "is_up": link.is_up}
            for link in status.links
            if not link.is_sender
        ],
        # Those about services are findings of their own.
        "warnings": [text for text in status.warnings if text not in about_services],
        "paths": [
            {"path": path.name, "state": path.state, "text": path.text}
            for path in status.fencing.paths
        ],
        "targets": [
            {"address": target.address, "text": target.text}
            for target in ([] if status.connectivity is None else status.connectivity.targets)
            if not target.answers
        ],
        "states": {
            svc.name: svc.own_state.name for svc in status.services if svc.own_state is not None
        },
    }


def _configuration(layout: Layout) -> dict[str, Any]:
    """Return the services that the files configure, having checked all of them."""
    spec = configuration.read_cluster(layout)
    return {"services": [svc.name for svc in spec.services]}
