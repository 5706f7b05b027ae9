"""``openha agent``: puts this cluster's driver into the OpenSVC agents of this node, takes it out, says what is there."""

from __future__ import annotations

import argparse
import os

from opensvc_openha.cli import here, service_edit
from opensvc_openha.errors import OpenhaError, RefusedError, UsageError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.plugin import fence, installer, probe
from opensvc_openha.plugin.agents import Agent, find_agents
from opensvc_openha.plugin.changes import Change
from opensvc_openha.plugin.installer import AgentService
from opensvc_openha.runtime import configuration

_NOT_IN_PLACE = 1


def main(args: "list[str]") -> int:
    """Runs ``openha agent``; returns the exit code."""
    options = _parse(args)
    layout = here.layout()
    agents = find_agents(options.agent_root)
    if not agents:
        place = options.agent_root or "/opt/opensvc and /usr/share/opensvc"
        raise RefusedError(f"no OpenSVC agent found in {place} (known: 1.5, 1.6, 1.7, 1.8, 2.1)")
    if options.what == "fence":
        print(fence.fence_if_needed(agents[0], layout, options.svcname, os.environ))
        return 0
    if options.what == "probe":
        word, code = probe.avail_status(agents[0], options.svcname)
        print(word)
        return code
    codes = [_VERBS[options.what](agent, layout, options) for agent in agents]
    return max(codes)


def _parse(args: "list[str]") -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="openha agent", description="Drive this cluster from the OpenSVC agents of this node.")
    parser.add_argument("what", choices=("install", "remove", "status", "fence", "probe"))
    parser.add_argument("svcname", nargs="?", help="fence and probe, what the scripts of a service call: the service")
    parser.add_argument("--agent-root", metavar="DIR", help="the agent's own directory, or one that stands for /")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--no-services", action="store_true", help="install: do not add the agent's services to the cluster")
    parser.add_argument("--hb-section", action="store_true",
                        help="install, agent 2.1: make [hb#N] type = OpenHA known too, by a hook at the start of om")
    options = parser.parse_args(args)
    if (options.what in ("fence", "probe")) != (options.svcname is not None):
        raise UsageError("agent: a service is named for fence and probe, and only there")
    return options


def _install(agent: Agent, layout: Layout, options: argparse.Namespace) -> int:
    _title(agent)
    if options.hb_section and not agent.line.hook:
        raise UsageError(f"--hb-section is for the agent 2.1: the {agent.line.name} knows [hb#N] by itself")
    changes = installer.plan_install(agent, layout, options.hb_section or installer.has_hook(agent))
    _carry_out(changes, options)
    services = [] if options.no_services else installer.read_services(agent)
    problems = [_register(agent, layout, service, options) for service in services]
    if not changes:
        print("nothing to do: the driver is in place")
    return max(problems, default=0)


def _register(agent: Agent, layout: Layout, service: AgentService, options: argparse.Namespace) -> int:
    """Adds one service to the cluster as its service file says; the code of what went wrong."""
    if service.problem:
        print(f"{service.svcname}: not added: {service.problem}")
        return RefusedError.exit_code
    if any(known.name == service.cluster_name for known in configuration.read_services(layout)):
        print(f"{service.svcname}: service {service.cluster_name} is in the cluster")
        return 0
    names = {name.lower(): name for name in configuration.read_nodes(layout)}
    nodes = [names.get(node.lower(), node) for node in service.nodes]
    prefix = f"{agent.etc_dir}/{service.svcname}"
    check = f"{prefix}.stonith" if service.has_stonith else "/bin/true"
    print(f"{service.svcname}: service -a {service.cluster_name} {prefix}.cluster {nodes[0]} {nodes[1]} {check}")
    if not service.has_stonith:
        print(f"{service.svcname}: no [stonith#N] section: nothing fences the peer before a takeover")
    if options.dry_run:
        return 0
    try:
        code = service_edit.add(service.cluster_name, f"{prefix}.cluster", nodes[0], nodes[1], check)
        installer.note_added(agent, service.cluster_name)
        return code
    except OpenhaError as error:
        print(f"{service.svcname}: not added: {error}")
        return error.exit_code


def _remove(agent: Agent, layout: Layout, options: argparse.Namespace) -> int:
    _title(agent)
    known = {service.name for service in configuration.read_services(layout)}
    added = [name for name in installer.read_added(agent) if name in known]
    changes = installer.plan_remove(agent, layout)
    for name in added:
        print(f"{'would run' if options.dry_run else 'run'} service -r {name}", flush=True)
        if not options.dry_run:
            _unregister(name)
    _carry_out(changes, options)
    if not changes:
        print("nothing to do: the driver is not there")
    return 0


def _unregister(name: str) -> None:
    """Takes a service out of the cluster that `install` added; one that runs is left where it is."""
    try:
        service_edit.remove(name)
    except OpenhaError as error:
        print(f"the cluster keeps deciding about {name}: {error}")


def _status(agent: Agent, layout: Layout, options: argparse.Namespace) -> int:
    is_in_place, line = installer.describe(agent, layout)
    print(f"OpenSVC agent {agent.line.name} in {agent.home}: {line}")
    registered = {known.name for known in configuration.read_services(layout)}
    for service in installer.read_services(agent):
        known = "in the cluster" if service.cluster_name in registered else "not in the cluster"
        print(f"  {service.svcname}: service {service.cluster_name}, {service.problem or known}")
    return 0 if is_in_place else _NOT_IN_PLACE


def _title(agent: Agent) -> None:
    print(f"OpenSVC agent {agent.line.name} in {agent.home}")


def _carry_out(changes: "list[Change]", options: argparse.Namespace) -> None:
    for change in changes:
        print(f"{'would ' if options.dry_run else ''}{change.text}", flush=True)
        if not options.dry_run:
            installer.carry_out(change)


_VERBS = {"install": _install, "remove": _remove, "status": _status}
