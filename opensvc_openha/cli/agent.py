"""``openha agent``: install, remove and show this cluster's driver in the node's OpenSVC agents."""

from __future__ import annotations

import os
from argparse import Namespace

from opensvc_openha.cli import installation, service_edit
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.daemon.check_scripts import find_doubt
from opensvc_openha.errors import NotAnsweringError, OpenhaError, RefusedError, UsageError
from opensvc_openha.fence_devices.power_readings import EXIT_CODES
from opensvc_openha.formats.layout import Layout
from opensvc_openha.plugin import agents_file, check_up, installer, probe
from opensvc_openha.plugin.agent_services import AgentService, read_services
from opensvc_openha.plugin.agents import find_agents
from opensvc_openha.plugin.changes import Change, carry_out
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.storage import configuration

_NOT_IN_PLACE = 1


def main(args: list[str]) -> int:
    """Run ``openha agent``; return the exit code."""
    parser = build_parser()
    options = parser.read(args)
    if (options.what in ("fence", "probe")) != (options.svcname is not None):
        parser.error("a service is named for fence and probe, and only there")
    layout = installation.layout()
    agents = find_agents(options.agent_root)
    if not agents:
        place = options.agent_root or "/opt/opensvc and /usr/share/opensvc"
        raise RefusedError(f"no OpenSVC agent found in {place} (known: 1.5, 1.6, 1.7, 1.8, 2.1)")
    if options.what in ("fence", "probe", "install") and agents[0].is_gone:
        raise RefusedError(
            f"the OpenSVC agent in {agents[0].home} is gone: `openha agent remove` removes what"
            " its driver left"
        )
    if options.what == "fence":
        if options.word == "status":
            power = check_up.power_of_peer(agents[0], options.svcname, os.environ)
            print(power.value)
            return EXIT_CODES[power]
        if options.dry_run:
            print(f"would check the peer of {options.svcname}, and fence it if it is silent")
            return 0
        print(check_up.fence_if_needed(agents[0], layout, options.svcname, os.environ))
        return 0
    if options.what == "probe":
        word, code = probe.avail_status(agents[0], options.svcname)
        print(word)
        return code
    codes = [_VERBS[options.what](agent, layout, options) for agent in agents]
    return max(codes)


def build_parser() -> Parser:
    """Return the parser of ``openha agent``."""
    parser = Parser("openha agent", "Drive this cluster from the OpenSVC agents of this node.")
    parser.add_argument(
        "what",
        metavar="VERB",
        choices=("install", "remove", "status", "fence", "probe"),
        help="install or remove the driver and show it; fence and probe are what the scripts of a"
        " service call",
    )
    parser.add_argument(
        "svcname", metavar="SERVICE", nargs="?", help="fence and probe: the service"
    )
    parser.add_argument(
        "word",
        metavar="WORD",
        nargs="?",
        help="fence: status only asks for the peer's power; any other (start) fences",
    )
    parser.add_argument(
        "--agent-root", metavar="DIR", help="the agent's own directory, or one that stands for /"
    )
    parser.add_flag("--dry-run", help="only print what would be done")
    parser.add_flag("--no-services", help="install: do not add the agent's services to the cluster")
    parser.add_flag(
        "--hb-section",
        help=("install, agent 2.1: support [hb#N] type = OpenHA too, by a hook at the start of om"),
    )
    return parser


def _install(agent: Agent, layout: Layout, options: Namespace) -> int:
    _title(agent)
    if options.hb_section and not agent.line.hook:
        raise UsageError(
            f"--hb-section is for the agent 2.1: the {agent.line.name} supports [hb#N] already"
        )
    has_hook = options.hb_section or agent.has_hook
    changes = installer.plan_install(agent, layout, has_hook)
    _carry_out(changes, options)
    services = [] if options.no_services else read_services(agent, has_hook)
    problems = [_register(agent, layout, service, options) for service in services]
    if not changes:
        print("nothing to do: the driver is in place")
    return max(problems, default=0)


def _register(agent: Agent, layout: Layout, service: AgentService, options: Namespace) -> int:
    """Add one service to the cluster as its service file describes it; return an exit code."""
    # The agent can report what it sees of it only once the driver is installed.
    problem = service.problem or ("" if options.dry_run else probe.find_blindness(agent, service))
    registered = {known.name: known for known in configuration.read_services(layout)}
    known = registered.get(service.cluster_name)
    if problem:
        standing = (
            "not added"
            if known is None
            else f"IN THE CLUSTER as {known.name}, take it out or correct it"
        )
        print(f"{service.svcname}: {standing}: {problem}")
        return RefusedError.exit_code
    if known is not None:
        return _correct(layout, service, known, options)
    names = {name.lower(): name for name in configuration.read_nodes(layout)}
    nodes = [names.get(node.lower(), node) for node in service.nodes]
    check = service.fence_script(layout) if service.has_stonith else "/bin/true"
    print(
        f"{service.svcname}: service -a {service.cluster_name} {service.wrapper} {nodes[0]}"
        f" {nodes[1]} {check}",
        flush=True,
    )
    if not service.has_stonith:
        print(
            f"{service.svcname}: no [stonith#N] section: nothing fences the peer before a takeover",
            flush=True,
        )
    if options.dry_run:
        return 0
    try:
        code = service_edit.add(service.cluster_name, service.wrapper, nodes[0], nodes[1], check)
        agents_file.record_added(agent, layout, service.cluster_name)
        return code
    except OpenhaError as error:
        print(f"{service.svcname}: not added: {error}")
        return error.exit_code


def _correct(layout: Layout, service: AgentService, known: ServiceSpec, options: Namespace) -> int:
    """Correct a service that is in the cluster: no agent may write its check-up script."""
    print(f"{service.svcname}: service {known.name} is in the cluster")
    if service.has_stonith and not known.is_fenced:
        print(
            f"{service.svcname}: it has a [stonith#N] section, but its check-up script is"
            f" {known.check}, which fences nothing"
        )
    if known.check == service.agents_check and service.has_stonith:
        _use_fence_script(layout, service, options)
    return 0


def _use_fence_script(layout: Layout, service: AgentService, options: Namespace) -> None:
    """Replace the check-up script, which the agent may overwrite at any time.

    The agent's own script always succeeds.
    """
    script = service.fence_script(layout)
    change = "would change" if options.dry_run else "change"
    print(
        f"{service.svcname}: {change} the check-up script of service {service.cluster_name} to"
        f" {script}",
        flush=True,
    )
    if not options.dry_run:
        service_edit.replace_check(service.cluster_name, script)


def _remove(agent: Agent, layout: Layout, options: Namespace) -> int:
    _title(agent)
    try:
        installation.status_if_running(layout)
    except NotAnsweringError as error:
        raise NotAnsweringError(
            f"{error}: nothing is changed, what runs here is not known"
        ) from error
    known = {service.name for service in configuration.read_services(layout)}
    added = [name for name in agents_file.read_added(agent, layout) if name in known]
    for name in added:
        print(f"{'would run' if options.dry_run else 'run'} service -r {name}", flush=True)
        if not options.dry_run:
            _unregister(agent, layout, name)
    gone = set(added) if options.dry_run else set()
    for service in read_services(agent):
        _keep_check_script(agent, layout, service, gone, options)
    stays = [each for each in configuration.read_services(layout) if each.name not in gone]
    changes = installer.plan_remove(
        agent, layout, {path for each in stays for path in (each.script, each.check)}
    )
    _carry_out(changes, options)
    if not changes and not added:
        print("nothing to do: the driver is not there")
    elif installer.find_stock_limit(agent, layout):
        print(f"note: {installer.find_stock_limit(agent, layout)}")
    return 0


def _unregister(agent: Agent, layout: Layout, name: str) -> None:
    """Remove a service from the cluster that `install` added.

    A service that runs is kept, and stays recorded as added.
    """
    try:
        service_edit.remove(name)
    except RefusedError as error:
        print(f"the cluster continues to decide about {name}: {error}", flush=True)
        return
    agents_file.forget_added(agent, layout, name)


def _keep_check_script(
    agent: Agent, layout: Layout, service: AgentService, gone: set[str], options: Namespace
) -> None:
    """Give a service that stays in the cluster a check-up script that fences."""
    known = next(
        (each for each in configuration.read_services(layout) if each.name == service.cluster_name),
        None,
    )
    if known is None or known.name in gone or known.check != service.agents_check:
        return
    _carry_out(installer.plan_fence_script(agent, layout, service), options)
    _use_fence_script(layout, service, options)


def _status(agent: Agent, layout: Layout, options: Namespace) -> int:
    is_in_place, line = installer.describe(agent, layout)
    print(f"OpenSVC agent {agent.line.name} in {agent.home}: {line}")
    registered = {known.name: known for known in configuration.read_services(layout)}
    for service in read_services(agent):
        problem = service.problem or probe.find_blindness(agent, service)
        known = registered.get(service.cluster_name)
        doubt = "" if known is None else find_doubt(known.check, layout)
        standing = (
            "not in the cluster: run `openha agent install` again"
            if known is None
            else "in the cluster"
        )
        print(
            f"  {service.svcname}: service {service.cluster_name}, {problem or doubt or standing}"
        )
        is_in_place = is_in_place and known is not None and not problem and not doubt
    return 0 if is_in_place else _NOT_IN_PLACE


def _title(agent: Agent) -> None:
    print(f"OpenSVC agent {agent.line.name} in {agent.home}")


def _carry_out(changes: list[Change], options: Namespace) -> None:
    for change in changes:
        print(f"{'would ' if options.dry_run else ''}{change.text}", flush=True)
        if not options.dry_run:
            carry_out(change)


_VERBS = {"install": _install, "remove": _remove, "status": _status}
