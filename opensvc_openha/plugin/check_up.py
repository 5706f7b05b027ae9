"""The check-up before a takeover for a service of a real agent.

It succeeds only if the peer is out or was fenced. The agents drop the exit code of a fencing
command. So a callout is run here, with its exit code, and so is a power device; any other type,
such as ilo, is left to the agent, but only where our driver is installed, which makes the agent end
with an error.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from opensvc_openha.agent.actions.peer_fencing import (
    FencingVerdict,
    PeerKnowledge,
    decide,
    knowledge_of,
)
from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section, ServiceFile, parse_service_text
from opensvc_openha.agent.resources.fence_plan import (
    FenceStep,
    callout_step,
    carry_out,
    environment,
    plan_time_s,
    read_power,
)
from opensvc_openha.agent.resources.power_sections import ILO, device_step, is_power_device
from opensvc_openha.agent.values.action_log import ActionLog, LogLines
from opensvc_openha.control import client
from opensvc_openha.errors import ActionError, ConfigError, NotRunningError, RefusedError
from opensvc_openha.fence_devices.power_readings import Power
from opensvc_openha.formats.layout import Layout
from opensvc_openha.plugin.agent_services import AgentService, read_services
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.atomic_files import read_text
from opensvc_openha.system.identity import node_name


def fence_if_needed(agent: Agent, layout: Layout, svcname: str, env: Mapping[str, str]) -> str:
    """Return why the service may start here now; RefusedError or ActionError if it must not."""
    service = _service(agent, svcname)
    peer = knowledge_of(env) or _ask_daemon(layout, service)
    verdict = decide(peer)
    if verdict is FencingVerdict.PEER_IS_OUT:
        return f"no fencing needed: {peer}"
    if verdict is FencingVerdict.REFUSE:
        raise RefusedError(f"not fencing and no start: {peer}")
    steps = _steps(agent, service)
    if not steps:
        raise RefusedError(f"{peer}, and no [stonith#N] section defines how to fence it: no start")
    report = carry_out(steps, plan_time_s(env), _log(svcname))
    if report.level is not None:
        return f"fenced by level {report.level}: {peer}"
    if not any(failure.was_run for failure in report.failures):
        raise RefusedError(f"{peer}, and nothing was fenced: {report.story}: no start")
    raise ActionError(f"fencing failed: {report.story}")


def power_of_peer(agent: Agent, svcname: str, env: Mapping[str, str]) -> Power:
    """Return the peer's power state from the fencing devices of a service; fences nothing."""
    steps = _steps(agent, _service(agent, svcname))
    return read_power(steps, plan_time_s(env), sys.stderr.write)


def _service(agent: Agent, svcname: str) -> AgentService:
    service = next((each for each in read_services(agent) if each.svcname == svcname), None)
    if service is None or service.problem:
        raise ConfigError(
            service.problem if service else f"no OpenHA service {svcname}", agent.etc_dir
        )
    return service


def _steps(agent: Agent, service: AgentService) -> list[FenceStep]:
    node = node_name().lower()
    file = parse_service_text(read_text(service.path), service.path, service.svcname, node)
    sections = [each for each in file.sections if each.group == "stonith"]
    return [_step(agent, file, each) for each in sections if not each.value(schema.DISABLE)]


def _ask_daemon(layout: Layout, service: AgentService) -> PeerKnowledge:
    try:
        node = client.fetch_status(layout)
    except NotRunningError:
        return PeerKnowledge(None, None)
    return PeerKnowledge.of(node, service.cluster_name)


def _step(agent: Agent, file: ServiceFile, section: Section) -> FenceStep:
    """Return what one section runs; ConfigError for an invalid value, before anything is run."""
    node = node_name().lower()
    kind = section.text(schema.TYPE.name).lower()
    if not kind:
        raise section.missing(schema.TYPE)
    if kind == "callout":
        return callout_step(section, file.svcname, node)
    if is_power_device(section) and kind != ILO:
        return device_step(section, file.svcname, node, agent.etc_dir)

    level, timeout_s = section.value(schema.FENCE_LEVEL), section.value(schema.FENCE_TIMEOUT)
    if agent.line.linked_command and agent.has_driver:
        command = agent.command(agent.line.linked_command)
        argv = (command, "-s", file.svcname, "--cluster", "stonith")
        env = environment(section, file.svcname, node)
        return FenceStep(section.name, level, timeout_s, argv, " ".join(argv), env)
    why_not = f"type = {section.text('type')}: its success cannot be verified here"
    return FenceStep(section.name, level, timeout_s, why_not=why_not)


def _log(svcname: str) -> ActionLog:
    """Return a log on stdout, which the node daemon keeps."""
    return ActionLog(LogLines(sys.stdout).write, svcname.upper())
