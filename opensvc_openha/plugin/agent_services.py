"""Find the services of an agent that the cluster decides about: those with an OpenHA resource."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, replace

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section, parse_service_text
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.plugin.installed_agent import Agent
from opensvc_openha.system.files import text_or_empty
from opensvc_openha.system.identity import node_name


@dataclass(frozen=True)
class AgentService:
    """A service of the agent that the cluster decides about; ``problem`` is why it cannot.

    ``svcname`` is the agent's name for it, with the namespace if it is in one; ``section`` is the
    one that names the cluster.
    """

    svcname: str
    cluster_name: str
    nodes: tuple[str, ...]
    has_stonith: bool
    path: str
    problem: str = ""
    section: str = ""

    @property
    def wrapper(self) -> str:
        """Path of the script that starts and stops it, beside the service file."""
        return f"{os.path.splitext(self.path)[0]}.cluster"

    @property
    def agents_check(self) -> str:
        """Path of the check-up script where agents put their own."""
        return f"{os.path.splitext(self.path)[0]}.stonith"

    def fence_script(self, layout: Layout) -> str:
        """Path of its check-up script, where no agent writes."""
        return f"{layout.fence_dir}/{self.svcname.replace('/', '+')}"


def read_services(agent: Agent, with_hook: bool | None = None) -> list[AgentService]:
    """Return the services of the agent with an OpenHA resource, by name.

    A service whose file is unreadable has a ``problem``.

    ``with_hook``: whether the 2.1 knows [hb#N]; None means as installed.
    """
    knows_hb = not agent.line.hook or (agent.has_hook if with_hook is None else with_hook)
    found = {}
    for suffix in reversed(agent.line.suffixes):
        for svcname, path in _service_files(agent, suffix).items():
            service = _read_service(agent, svcname, path, knows_hb)
            if service is not None:
                found[svcname] = service
    return _without_namesakes([found[name] for name in sorted(found)])


def _service_files(agent: Agent, suffix: str) -> dict[str, str]:
    """Return the file of each service by name, with its namespace where the agent has them."""
    found = {}
    for path in sorted(glob.glob(f"{glob.escape(agent.etc_dir)}/*{suffix}")):
        svcname = os.path.basename(path)[: -len(suffix)]
        if svcname not in ("", "node", "auth", "cluster", "namespace"):
            found[svcname] = path
    if agent.line.has_namespaces:
        for path in sorted(glob.glob(f"{glob.escape(agent.etc_dir)}/namespaces/*/svc/*{suffix}")):
            namespace, kind, name = path.split("/")[-3:]
            found[f"{namespace}/{kind}/{name[: -len(suffix)]}"] = path
    return found


def _without_namesakes(services: list[AgentService]) -> list[AgentService]:
    """Reject two services under one name of the cluster, since it starts only one script."""
    checked = []
    for svc in services:
        others = [
            each.svcname
            for each in services
            if each.cluster_name == svc.cluster_name and each is not svc and each.nodes
        ]
        if others and svc.nodes and not svc.problem:
            svc = replace(
                svc,
                problem=(
                    f"{svc.path}: [{svc.section}] name: {svc.cluster_name} is also the name of "
                    f"{' and '.join(others)}: the cluster knows one service by a name"
                ),
            )
        checked.append(svc)
    return checked


def _read_service(agent: Agent, svcname: str, path: str, knows_hb: bool) -> AgentService | None:
    name = svcname.rpartition("/")[2]
    try:
        with open(path, encoding="utf-8") as text:
            file = parse_service_text(text.read(), path, name, node_name().lower())
        resources = [
            each
            for each in file.sections
            if _is_openha(agent, each) and not each.value(schema.DISABLE)
        ]
        if not resources:
            return None
        section = resources[0]
        problem = (
            "" if len(file.nodes) == 2 else f"{path}: nodes: expected two, found {len(file.nodes)}"
        )
        if len(resources) > 1:
            named = ", ".join(f"[{each.name}]" for each in resources)
            problem = f"{path}: {named}: only one section may name the service for the cluster"
        if section.group == "hb" and not knows_hb:
            what = "".join(
                f", {key} = {section.text(key)}" for key in ("name",) if section.text(key)
            )
            problem = (
                f"{path}: [{section.name}] is ignored by the agent {agent.line.name}, which would"
                f" start the service on both nodes: write [app#hb] with type = openha{what}"
                " instead, or install with --hb-section"
            )
        if agent.line.hook and (file.default.text("orchestrate") or "no") != "no":
            problem = f"{path}: orchestrate must be no: the agent's own daemon would decide too"
        stonith = any(
            each.group == "stonith" and not each.value(schema.DISABLE) for each in file.sections
        )
        first = {node.lower() for node in file.default.words(schema.AUTOSTART_NODE)}
        nodes = tuple(sorted(file.nodes, key=lambda node: node.lower() not in first))
        return AgentService(
            svcname, section.text("name") or name, nodes, stonith, path, problem, section.name
        )
    except (ConfigError, OSError, ValueError) as error:
        return (
            AgentService(svcname, name, (), False, path, str(error))
            if _mentions_openha(path)
            else None
        )


def _is_openha(agent: Agent, section: Section) -> bool:
    return section.group in ("hb", agent.line.section) and section.text("type").lower() == "openha"


def _mentions_openha(path: str) -> bool:
    return "openha" in text_or_empty(path).lower()
