"""The check-up before a takeover, for a service of a real agent: 0 only if the peer is out, or was fenced with success.

The agents drop the exit code of a fencing command. So a callout is run here, and its exit code is ours; any other
type is left to the agent, but only where our driver is in place, which has the agent end with an error.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Mapping

from opensvc_openha.agent.fencing import PeerKnowledge, Verdict, decide, knowledge_of
from opensvc_openha.agent.resources.stonith import FENCE_TIMEOUT_S
from opensvc_openha.agent.service_file import Section, ServiceFile, parse_service_text
from opensvc_openha.errors import ActionError, ConfigError, NotRunningError, RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.secrets import mask_script
from opensvc_openha.plugin.agents import Agent
from opensvc_openha.plugin.installer import AgentService, is_in_place, read_services
from opensvc_openha.runtime import control_client
from opensvc_openha.runtime.files import read_text
from opensvc_openha.runtime.machine import node_name


def fence_if_needed(agent: Agent, layout: Layout, svcname: str, env: Mapping[str, str]) -> str:
    """Why the service may start here now. Raises RefusedError or ActionError if it must not."""
    service = next((each for each in read_services(agent) if each.svcname == svcname), None)
    if service is None or service.problem:
        raise ConfigError(service.problem if service else f"no OpenHA service {svcname}", agent.etc_dir)
    peer = knowledge_of(env) or _ask_daemon(layout, service)
    verdict = decide(peer)
    seen = f"peer is {peer.standing.value if peer.standing else 'not known'}, " \
           f"its state is {peer.state.name if peer.state else 'not known'}"
    if verdict is Verdict.PEER_IS_OUT:
        return f"no fencing needed: {seen}"
    if verdict is Verdict.REFUSE:
        raise RefusedError(f"not fencing and no start: {seen}")
    file = parse_service_text(read_text(service.path), service.path, svcname, node_name().lower())
    sections = [each for each in file.sections if each.group == "stonith" and not each.boolean("disable")]
    if not sections:
        raise RefusedError(f"{seen}, and no [stonith#N] section says how to fence it: no start")
    for section in sections:
        _fence(agent, file, section)
    return f"fenced: {seen}"


def _ask_daemon(layout: Layout, service: AgentService) -> PeerKnowledge:
    try:
        node = control_client.fetch_status(layout)
    except NotRunningError:
        return PeerKnowledge(None, None)
    known = node.service(service.cluster_name)
    return PeerKnowledge(node.peer_standing, known.peer_state if known else None)


def _fence(agent: Agent, file: ServiceFile, section: Section) -> None:
    if section.required("type").lower() == "callout":
        command = ["/bin/sh", "-c", section.required("cmd")]
        shown = mask_script(section.required("cmd"))
    elif agent.line.linked_command and is_in_place(agent):
        command = [agent.command(agent.line.linked_command), "-s", file.svcname, "--cluster", "stonith"]
        shown = " ".join(command)
    else:
        raise RefusedError(f"[{section.name}] type = {section.text('type')}: nothing here tells whether it succeeded: no start")
    print(f"{section.name}: {shown}", flush=True)
    limit_s = section.seconds("timeout", FENCE_TIMEOUT_S)
    try:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=limit_s, stderr=sys.stderr,
                              env={**os.environ, "OPENSVC_SVCNAME": file.svcname, "OPENSVC_RID": section.name}).returncode
    except subprocess.TimeoutExpired:
        raise ActionError(f"{section.name}: fencing failed: {shown} did not end within {limit_s:g} s") from None
    if code != 0:
        raise ActionError(f"{section.name}: fencing failed: {shown} exited with {code}")
