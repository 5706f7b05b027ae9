"""What `openha agent install` and `remove` change on this node for one agent, and what `status` finds.

Install: the stock driver is kept beside ours (diverted where dpkg owns it), with the shared file and where things are;
the wrappers of each service of the cluster are made; the daemon learns where the agent keeps its statuses. Remove is
the reverse. A service is never stopped or started by any of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Optional

from opensvc_openha.agent.service_file import Section, parse_service_text
from opensvc_openha.errors import ConfigError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.plugin import openha_driver
from opensvc_openha.plugin.agents import Agent
from opensvc_openha.plugin.changes import Change, Link, Move, Remove, Write
from opensvc_openha.runtime.machine import node_name
from opensvc_openha.runtime.shipped import shipped_path

STOCK_SUFFIX = ".stock"
MARK = openha_driver.MARK


@dataclass(frozen=True)
class AgentService:
    """A service of the agent that the cluster decides about; ``problem`` says why it can't."""

    svcname: str
    cluster_name: str
    nodes: "tuple[str, ...]"
    has_stonith: bool
    path: str
    problem: str = ""


def plan_install(agent: Agent, layout: Layout, has_hook: bool = False) -> "list[Change]":
    """What is left to do until the agent drives this cluster."""
    changes: "list[Change]" = []
    if not os.path.exists(f"{layout.bin_dir}/service"):
        raise RefusedError(f"no cluster is installed in {layout.ez}: run `openha install` first")
    for name, text in _files(agent, layout, has_hook).items():
        path = f"{agent.home}/{name}"
        if name == agent.line.driver and os.path.exists(path) and not _is_ours(path):
            changes.append(Move(path, path + STOCK_SUFFIX, _is_owned_by_dpkg(agent, path)))
        write = Write(path, text)
        if not write.is_done:
            changes.append(write)
    for svc in read_services(agent):
        for kind, text in _wrappers(agent, layout).items():
            write = Write(f"{agent.etc_dir}/{svc.svcname}.{kind}", text.replace("@SVCNAME@", svc.svcname), 0o755)
            if not write.is_done and not svc.problem:
                if _is_foreign_script(write.path):
                    changes.append(Move(write.path, f"{write.path}.replaced"))
                changes.append(write)
    lines = _agents_lines(layout)
    line = agent.line.cache_line(agent)
    if line not in lines:
        changes.append(Write(layout.agents_file, "".join(f"{each}\n" for each in [*lines, line])))
    return changes


def plan_remove(agent: Agent, layout: Layout) -> "list[Change]":
    """What is left to do until the agent is as before."""
    changes: "list[Change]" = []
    for name in [*agent.line.shipped, agent.line.shared, _places_name(agent), *agent.line.hook]:
        path = f"{agent.home}/{name}"
        is_replaced = name == agent.line.driver and os.path.exists(path) and not _is_ours(path)
        if os.path.exists(path) and not is_replaced:
            if name != agent.line.driver or _is_diverted(agent, path) or not os.path.exists(path + STOCK_SUFFIX):
                changes.append(Remove(path))  # Else the stock one takes its place in one go.
        if name == agent.line.driver and os.path.exists(path + STOCK_SUFFIX):
            is_diverted = _is_diverted(agent, path)
            if is_replaced and not is_diverted:
                changes.append(Remove(path + STOCK_SUFFIX))  # An upgrade brought a newer one.
            else:
                changes.append(Move(path, path + STOCK_SUFFIX, is_diverted, is_back=True))
    for path in _made_wrappers(agent):
        kept = f"{path}.replaced"
        if agent.line.linked_command:
            changes.append(Link(path, agent.command(agent.line.linked_command)))
        elif os.path.exists(kept):
            changes.append(Move(path, kept, is_back=True))
        # Without the agent's own, the cluster still needs its scripts.
    lines = _agents_lines(layout)
    line = agent.line.cache_line(agent)
    if line in lines:
        rest = "".join(f"{each}\n" for each in lines if each != line)
        changes.append(Write(layout.agents_file, rest) if rest else Remove(layout.agents_file))
    return changes


def carry_out(change: Change) -> None:
    """Does one step; SystemFault with the reason if the system refuses."""
    try:
        change.carry_out()
    except OSError as error:
        raise SystemFault(f"cannot {change.text}: {error.strerror or error}") from error


def describe(agent: Agent, layout: Layout) -> "tuple[bool, str]":
    """Whether the agent drives this cluster with this package's driver, and that as a line."""
    path = f"{agent.home}/{agent.line.driver}"
    is_known = os.path.exists(f"{agent.home}/{_places_name(agent)}")
    if not is_known:
        return False, "not installed"
    if not os.path.exists(path):
        return False, f"the driver {path} is gone: run `openha agent install` again"
    if not _is_ours(path):
        return False, f"an upgrade of the agent replaced the driver {path}: run `openha agent install` again"
    left = plan_install(agent, layout, has_hook(agent))
    if left:
        return False, f"installed, but not as this package would ({left[0].text}): run `openha agent install` again"
    return True, "installed"


def has_hook(agent: Agent) -> bool:
    """True if the start-up hook of the 2.1 is there."""
    return any(_is_ours(f"{agent.home}/{name}") for name in agent.line.hook)


def read_services(agent: Agent) -> "list[AgentService]":
    """The services of the agent with an OpenHA resource, by name; a file that cannot be read is one with a problem."""
    found = {}
    for suffix in reversed(agent.line.suffixes):
        for entry in sorted(os.listdir(agent.etc_dir)) if os.path.isdir(agent.etc_dir) else []:
            svcname = entry[: -len(suffix)]
            if entry.endswith(suffix) and svcname not in ("", "node", "auth", "cluster"):
                service = _read_service(agent, svcname, f"{agent.etc_dir}/{entry}")
                if service is not None:
                    found[svcname] = service
    return [found[name] for name in sorted(found)]


def _read_service(agent: Agent, svcname: str, path: str) -> Optional[AgentService]:
    try:
        with open(path, encoding="utf-8") as text:
            file = parse_service_text(text.read(), path, svcname, node_name().lower())
        resources = [each for each in file.sections if _is_openha(agent, each) and not each.boolean("disable")]
        if not resources:
            return None
        problem = "" if len(file.nodes) == 2 else f"{path}: nodes: expected two, found {len(file.nodes)}"
        if agent.line.name == "2.1" and file.default.text("orchestrate", "no") != "no":
            problem = f"{path}: orchestrate must be no: the agent's own daemon would decide too"
        stonith = any(each.group == "stonith" and not each.boolean("disable") for each in file.sections)
        first = file.default.words("autostart_node")
        nodes = tuple(sorted(file.nodes, key=lambda node: node not in first))
        return AgentService(svcname, resources[0].text("name", svcname), nodes, stonith, path, problem)
    except (ConfigError, OSError, ValueError) as error:
        return AgentService(svcname, svcname, (), False, path, str(error)) if _mentions_openha(path) else None


def _is_openha(agent: Agent, section: Section) -> bool:
    return section.group in ("hb", agent.line.section) and section.text("type").lower() == "openha"


def _mentions_openha(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "openha" in file.read().lower()
    except OSError:
        return False


def read_added(agent: Agent) -> "list[str]":
    """The services that the installation added to the cluster."""
    try:
        with open(f"{agent.home}/{_places_name(agent)}", encoding="utf-8") as file:
            return [str(name) for name in json.load(file).get("added", [])]
    except (OSError, ValueError, AttributeError):
        return []


def note_added(agent: Agent, name: str) -> None:
    """Remembers that this service was added by the installation."""
    path = f"{agent.home}/{_places_name(agent)}"
    with open(path, encoding="utf-8") as file:
        places = json.load(file)
    places["added"] = sorted({*places.get("added", []), name})
    carry_out(Write(path, _places_text(places)))


def _places_text(places: "dict[str, object]") -> str:
    return json.dumps(places, indent=1, sort_keys=True) + "\n"


def _files(agent: Agent, layout: Layout, with_hook: bool) -> "dict[str, str]":
    """Path below the agent's home to content. The driver comes last: it needs the others."""
    places: "dict[str, object]" = {
        "service_command": f"{layout.bin_dir}/service",
        "control_socket": layout.control_socket,
        "lock_file": layout.lock_file,
        "services_dir": layout.services_dir,
        "wrappers": dict(_wrappers(agent, layout)),
        "added": read_added(agent),
    }
    with open(openha_driver.__file__, encoding="utf-8") as file:
        files = {agent.line.shared: _marked(file.read()),
                 _places_name(agent): _places_text(places)}
    shipped = {**agent.line.shipped, **(agent.line.hook if with_hook else {})}
    for name, source in shipped.items():
        with open(shipped_path("resources", source), encoding="utf-8") as file:
            files[name] = _marked(file.read())
    return files


def _wrappers(agent: Agent, layout: Layout) -> "dict[str, str]":
    root = f" --agent-root {agent.root or agent.home}" if agent.root or not agent.home.startswith(("/opt/", "/usr/")) else ""
    return dict(agent.line.wrappers(agent, f"{layout.bin_dir}/openha agent{root}"))


def _marked(text: str) -> str:
    return f"# {MARK}, which writes it again: changes here are lost.\n{text}"


def _places_name(agent: Agent) -> str:
    return agent.line.shared[: -len(".py")] + ".json"


def _is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return MARK in file.read(300)
    except OSError:
        return False


def _is_foreign_script(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and not _is_ours(path)


def _made_wrappers(agent: Agent) -> "list[str]":
    """Every wrapper of ours, also of services that are gone."""
    if not os.path.isdir(agent.etc_dir):
        return []
    paths = [f"{agent.etc_dir}/{entry}" for entry in sorted(os.listdir(agent.etc_dir))
             if entry.endswith(tuple(f".{kind}" for kind in openha_driver.WRAPPERS))]
    return [path for path in paths if not os.path.islink(path) and _is_ours(path)]


def _agents_lines(layout: Layout) -> "list[str]":
    try:
        with open(layout.agents_file, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _is_owned_by_dpkg(agent: Agent, path: str) -> bool:
    if agent.root or shutil.which("dpkg") is None:
        return False
    return subprocess.run(["dpkg", "-S", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def _is_diverted(agent: Agent, path: str) -> bool:
    if agent.root or shutil.which("dpkg-divert") is None:
        return False
    done = subprocess.run(["dpkg-divert", "--list", path], capture_output=True, text=True)
    return f"{path}{STOCK_SUFFIX}" in done.stdout
