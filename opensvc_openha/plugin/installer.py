"""Plan what `openha agent install` and `remove` change for one agent; report its `status`.

Install keeps the stock driver beside ours (diverted where dpkg owns it), with the shared file and
the file of paths; creates the wrappers of each service of the cluster; and configures the daemon
with the place of the agent's statuses. Remove is the reverse, except for what the cluster needs of
the services that it keeps: their check-up scripts, which no agent writes. No service is stopped or
started.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass, replace

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section, parse_service_text
from opensvc_openha.errors import ConfigError, RefusedError, SystemFault
from opensvc_openha.formats.layout import TREE_ROOT, Layout, fhs_layout, tree_layout
from opensvc_openha.plugin import openha_driver
from opensvc_openha.plugin.changes import Change, Link, Move, Remove, Undivert, Write
from opensvc_openha.plugin.installed_agent import HOMES, Agent, contains
from opensvc_openha.system.files import text_or_empty
from opensvc_openha.system.identity import node_name
from opensvc_openha.system.package_files import shipped_path

STOCK_SUFFIX = ".stock"
_ADDED = "added"
"""Prefix of a line in the file of agents.

The line holds the agent's home and the service that its installation added.
"""
MARK = openha_driver.MARK


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


def plan_install(agent: Agent, layout: Layout, has_hook: bool = False) -> list[Change]:
    """Return the steps still needed until the agent drives this cluster."""
    changes: list[Change] = []
    if not os.path.exists(f"{layout.bin_dir}/service"):
        raise RefusedError(f"no cluster is installed in {layout.ez}: run `openha install` first")
    wanted = [
        agent.line.cache_line(agent),
        *(_added_line(agent, name) for name in _read_former_added(agent)),
    ]
    missing = [line for line in wanted if line not in _agents_lines(layout)]
    if missing:
        changes.append(_with_lines(layout, missing, []))
    for name, text in _files(agent, layout, has_hook).items():
        path = f"{agent.home}/{name}"
        if name == agent.line.driver and os.path.exists(path) and not _is_ours(path):
            changes.append(Move(path, path + STOCK_SUFFIX, _is_owned_by_dpkg(agent, path)))
        write = Write(path, text)
        if not write.is_done:
            changes.append(write)
    for svc in read_services(agent, has_hook):
        if not svc.problem:
            changes += _plan_scripts(agent, layout, svc)
    changes += [
        Remove(path)
        for path, target in _stock_links(agent, layout).items()
        if _leads_to(path, target)
    ]
    return changes


def _plan_scripts(agent: Agent, layout: Layout, svc: AgentService) -> list[Change]:
    texts = {
        kind: text.replace("@SVCNAME@", svc.svcname)
        for kind, text in _wrappers(agent, layout).items()
    }
    scripts = {svc.wrapper: texts["cluster"], svc.agents_check: texts["stonith"]}
    if svc.has_stonith:
        scripts[svc.fence_script(layout)] = texts["stonith"]
    changes: list[Change] = []
    for path, text in scripts.items():
        write = Write(path, text, 0o755)
        if not write.is_done:
            if _is_foreign_script(path):
                changes.append(Move(path, f"{path}.replaced"))
            changes.append(write)
    return changes


def plan_fence_script(agent: Agent, layout: Layout, svc: AgentService) -> list[Change]:
    """Return the steps for a check-up script outside of the agent's place for it.

    The agent regains that place.
    """
    text = _wrappers(agent, layout)["stonith"].replace("@SVCNAME@", svc.svcname)
    write = Write(svc.fence_script(layout), text, 0o755)
    return [] if write.is_done else [write]


def plan_remove(agent: Agent, layout: Layout, used: Collection[str] = ()) -> list[Change]:
    """Return the steps still needed to restore the agent as it was before.

    ``used`` are the scripts of services that stay in the cluster.
    """
    changes: list[Change] = []
    for name in [*agent.line.shipped, agent.line.shared, agent.line.places_file, *agent.line.hook]:
        path = f"{agent.home}/{name}"
        if name == agent.line.driver:
            changes += _plan_former_driver(agent, path)
        elif os.path.exists(path):
            changes.append(Remove(path))
    for path in _made_wrappers(agent):
        kept = f"{path}.replaced"
        if agent.line.linked_command and not agent.is_gone:
            changes.append(Link(path, agent.command(agent.line.linked_command)))
        elif os.path.exists(kept):
            changes.append(Move(path, kept, is_back=True))
        elif path not in used:
            changes.append(Remove(path))
        # Without the agent's own driver, the cluster still needs the scripts of the services it
        # keeps.
    changes += [Remove(path) for path in _fence_scripts(agent, layout) if path not in used]
    changes += [] if agent.is_gone else plan_stock_links(agent, layout)
    line = agent.line.cache_line(agent)
    if line in _agents_lines(layout) and not used:
        changes.append(_with_lines(layout, [], [line]))
    return changes


def _plan_former_driver(agent: Agent, path: str) -> list[Change]:
    """Restore the stock driver, unless an upgrade brought a newer one or the agent is gone."""
    stock = path + STOCK_SUFFIX
    is_ours, is_diverted, has_stock = (
        _is_ours(path),
        _is_diverted(agent, path),
        os.path.exists(stock),
    )
    changes: list[Change] = []
    if has_stock and not agent.is_gone and (is_ours or is_diverted or not os.path.exists(path)):
        return [Move(path, stock, is_diverted, is_back=True)]
    if is_ours:
        changes.append(Remove(path))
    if has_stock:
        changes.append(Remove(stock))
    if is_diverted:
        changes.append(Undivert(path))
    return changes


def plan_stock_links(agent: Agent, layout: Layout) -> list[Change]:
    """Return the steps still needed until the agent's own driver finds this cluster."""
    return [
        Link(path, target)
        for path, target in _stock_links(agent, layout).items()
        if not os.path.lexists(path)
    ]


def _stock_links(agent: Agent, layout: Layout) -> dict[str, str]:
    """Return the links for the stock driver.

    The stock 1.8 uses the newer layout if `openha` is on its PATH, as it is after `openha install`.
    """
    newer = fhs_layout(agent.root)
    is_usual_place = agent.home in {f"{agent.root}/{name}" for name in HOMES}
    if (
        agent.line.name != "1.8"
        or not is_usual_place
        or layout != tree_layout(f"{agent.root}{TREE_ROOT}")
    ):
        return {}
    return {newer.monitor_file: layout.monitor_file, newer.services_dir: layout.services_dir}


def _leads_to(path: str, target: str) -> bool:
    return os.path.islink(path) and os.readlink(path) == target


def find_stock_limit(agent: Agent, layout: Layout) -> str:
    """Return why the agent's own driver cannot show this cluster; empty if it can."""
    if agent.is_gone:
        return ""
    if agent.line.hook:
        return (
            "this agent has no driver of its own for the cluster: nothing refuses a start by hand"
            " any more"
        )
    links = _stock_links(agent, layout)
    if links and all(
        _leads_to(path, target) or not os.path.lexists(path) for path, target in links.items()
    ):
        return ""
    command = shutil.which("openha") if agent.line.name == "1.8" else None
    expected = fhs_layout() if command else tree_layout()
    if layout.conf_dir == expected.conf_dir:
        return ""
    why = f", since {command} is on the PATH" if command else ""
    return (
        f"the agent's own driver looks for the cluster in {expected.conf_dir}{why}, and it is in"
        f" {layout.conf_dir}: it will report that the daemons are not running"
    )


def carry_out(change: Change) -> None:
    """Carry out one step; SystemFault with the reason if the system refuses."""
    try:
        change.carry_out()
    except OSError as error:
        raise SystemFault(f"cannot {change.text}: {error.strerror or error}") from error


def describe(agent: Agent, layout: Layout) -> tuple[bool, str]:
    """Return whether this package's driver connects the agent to this cluster, and a line on it."""
    path = f"{agent.home}/{agent.line.driver}"
    if agent.is_gone:
        return False, "the agent is gone, what the driver left is there: run `openha agent remove`"
    if not os.path.exists(f"{agent.home}/{agent.line.places_file}"):
        return False, "not installed"
    if not os.path.exists(path):
        return False, f"the driver {path} is gone: run `openha agent install` again"
    if not _is_ours(path):
        return (
            False,
            f"an upgrade of the agent replaced the driver {path}: run `openha agent install` again",
        )
    left = plan_install(agent, layout, has_hook(agent))
    if left:
        return (
            False,
            (
                f"installed, but not as this package would ({left[0].text}): run `openha agent"
                " install` again"
            ),
        )
    return True, "installed"


def is_in_place(agent: Agent) -> bool:
    """Return whether the agent loads this package's driver."""
    return (
        not agent.is_gone
        and _is_ours(f"{agent.home}/{agent.line.driver}")
        and _is_ours(f"{agent.home}/{agent.line.shared}")
    )


def has_hook(agent: Agent) -> bool:
    """Return whether the start-up hook of the 2.1 is installed."""
    return any(_is_ours(f"{agent.home}/{name}") for name in agent.line.hook)


def read_services(agent: Agent, with_hook: bool | None = None) -> list[AgentService]:
    """Return the services of the agent with an OpenHA resource, by name.

    A service whose file is unreadable has a ``problem``.

    ``with_hook``: whether the 2.1 knows [hb#N]; None means as installed.
    """
    knows_hb = not agent.line.hook or (has_hook(agent) if with_hook is None else with_hook)
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


def read_added(agent: Agent, layout: Layout) -> list[str]:
    """Return the services that the installation added to the cluster; `remove` removes them."""
    prefix = _added_line(agent, "")
    found = [line[len(prefix) :] for line in _agents_lines(layout) if line.startswith(prefix)]
    return sorted({*found, *_read_former_added(agent)})


def _added_line(agent: Agent, name: str) -> str:
    return f"{_ADDED} {agent.home} {name}"


def note_added(agent: Agent, layout: Layout, name: str) -> None:
    """Record that the installation added this service, for as long as it is in the cluster."""
    line = _added_line(agent, name)
    if line not in _agents_lines(layout):
        carry_out(_with_lines(layout, [line], []))


def note_removed(agent: Agent, layout: Layout, name: str) -> None:
    """Drop the record of a service that is no longer in the cluster."""
    line = _added_line(agent, name)
    if line in _agents_lines(layout):
        carry_out(_with_lines(layout, [], [line]))


def _read_former_added(agent: Agent) -> list[str]:
    """Read the record that an earlier version kept beside the driver."""
    try:
        with open(f"{agent.home}/{agent.line.places_file}", encoding="utf-8") as file:
            return [str(name) for name in json.load(file).get("added", [])]
    except (OSError, ValueError, AttributeError):
        return []


def _places_text(places: dict[str, object]) -> str:
    return json.dumps(places, indent=1, sort_keys=True) + "\n"


def _files(agent: Agent, layout: Layout, with_hook: bool) -> dict[str, str]:
    """Map each path below the agent's home to its content.

    The driver comes last: it needs the others.
    """
    places: dict[str, object] = {
        "openha_command": f"{layout.bin_dir}/openha",
        "service_command": f"{layout.bin_dir}/service",
        "control_socket": layout.control_socket,
        "lock_file": layout.lock_file,
        "services_dir": layout.services_dir,
        "wrappers": dict(_wrappers(agent, layout)),
        "line": agent.line.name,
    }
    with open(openha_driver.__file__, encoding="utf-8") as file:
        files = {
            agent.line.shared: _marked(file.read()),
            agent.line.places_file: _places_text(places),
        }
    shipped = {**agent.line.shipped, **(agent.line.hook if with_hook else {})}
    for name, source in shipped.items():
        with open(shipped_path("resources", source), encoding="utf-8") as file:
            files[name] = _marked(file.read())
    return files


def _wrappers(agent: Agent, layout: Layout) -> dict[str, str]:
    root = (
        f" --agent-root {agent.root or agent.home}"
        if agent.root or not agent.home.startswith(("/opt/", "/usr/"))
        else ""
    )
    return dict(agent.line.wrappers(agent, f"{layout.bin_dir}/openha agent{root}"))


def _marked(text: str) -> str:
    return f"# {MARK}, which writes it again: changes here are lost.\n{text}"


def _is_ours(path: str) -> bool:
    return MARK in text_or_empty(path, 300)


def _is_foreign_script(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and not _is_ours(path)


def _made_wrappers(agent: Agent) -> list[str]:
    """Return all wrappers written by us, including those of removed services."""
    places = [agent.etc_dir]
    if agent.line.has_namespaces:
        places += sorted(glob.glob(f"{glob.escape(agent.etc_dir)}/namespaces/*/svc"))
    paths = [
        path
        for place in places
        for kind in openha_driver.WRAPPERS
        for path in sorted(glob.glob(f"{glob.escape(place)}/*.{kind}"))
    ]
    return [path for path in paths if not os.path.islink(path) and _is_ours(path)]


def _fence_scripts(agent: Agent, layout: Layout) -> list[str]:
    """Return all check-up scripts written by us that call this agent."""
    call = (
        _wrappers(agent, layout)["stonith"].rstrip().rpartition("\n")[2].partition("@SVCNAME@")[0]
    )
    return [
        path
        for path in sorted(glob.glob(f"{glob.escape(layout.fence_dir)}/*"))
        if _is_ours(path) and contains(path, f"\n{call}")
    ]


def _agents_lines(layout: Layout) -> list[str]:
    return text_or_empty(layout.agents_file).splitlines()


def _with_lines(layout: Layout, more: list[str], less: list[str]) -> Change:
    """Return the step that adds and removes these lines in the file of agents.

    An empty file is removed.
    """
    lines = [*[line for line in _agents_lines(layout) if line not in less], *more]
    return (
        Write(layout.agents_file, "".join(f"{line}\n" for line in lines))
        if lines
        else Remove(layout.agents_file)
    )


def _is_owned_by_dpkg(agent: Agent, path: str) -> bool:
    if agent.root or shutil.which("dpkg") is None:
        return False
    return (
        subprocess.run(
            ["dpkg", "-S", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode
        == 0
    )


def _is_diverted(agent: Agent, path: str) -> bool:
    if agent.root or shutil.which("dpkg-divert") is None:
        return False
    done = subprocess.run(["dpkg-divert", "--list", path], capture_output=True, text=True)
    return f"{path}{STOCK_SUFFIX}" in done.stdout
