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

from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.layout import TREE_ROOT, Layout, fhs_layout, tree_layout
from opensvc_openha.plugin import agents_file, openha_driver
from opensvc_openha.plugin.agent_services import AgentService, read_services
from opensvc_openha.plugin.changes import Change, Link, Move, Remove, Undivert, Write
from opensvc_openha.plugin.installed_agent import HOMES, Agent, contains, is_ours
from opensvc_openha.system.package_files import shipped_path

STOCK_SUFFIX = ".stock"


def plan_install(agent: Agent, layout: Layout, has_hook: bool = False) -> list[Change]:
    """Return the steps still needed until the agent drives this cluster."""
    changes: list[Change] = []
    if not os.path.exists(f"{layout.bin_dir}/service"):
        raise RefusedError(f"no cluster is installed in {layout.ez}: run `openha install` first")
    wanted = [
        agent.line.cache_line(agent),
        *(agents_file.added_line(agent, name) for name in agents_file.read_former_added(agent)),
    ]
    missing = [line for line in wanted if line not in agents_file.read_lines(layout)]
    if missing:
        changes.append(agents_file.with_lines(layout, missing, []))
    for name, text in _files(agent, layout, has_hook).items():
        path = f"{agent.home}/{name}"
        if name == agent.line.driver and os.path.exists(path) and not is_ours(path):
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
    if line in agents_file.read_lines(layout) and not used:
        changes.append(agents_file.with_lines(layout, [], [line]))
    return changes


def _plan_former_driver(agent: Agent, path: str) -> list[Change]:
    """Restore the stock driver, unless an upgrade brought a newer one or the agent is gone."""
    stock = path + STOCK_SUFFIX
    is_replaced = is_ours(path)
    is_diverted = _is_diverted(agent, path)
    has_stock = os.path.exists(stock)
    changes: list[Change] = []
    if has_stock and not agent.is_gone and (is_replaced or is_diverted or not os.path.exists(path)):
        return [Move(path, stock, is_diverted, is_back=True)]
    if is_replaced:
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
        not agent.line.stock_asks_path
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
    command = shutil.which("openha") if agent.line.stock_asks_path else None
    expected = fhs_layout() if command else tree_layout()
    if layout.conf_dir == expected.conf_dir:
        return ""
    why = f", since {command} is on the PATH" if command else ""
    return (
        f"the agent's own driver looks for the cluster in {expected.conf_dir}{why}, and it is in"
        f" {layout.conf_dir}: it will report that the daemons are not running"
    )


def describe(agent: Agent, layout: Layout) -> tuple[bool, str]:
    """Return whether this package's driver connects the agent to this cluster, and a line on it."""
    path = f"{agent.home}/{agent.line.driver}"
    if agent.is_gone:
        return False, "the agent is gone, what the driver left is there: run `openha agent remove`"
    if not os.path.exists(f"{agent.home}/{agent.line.places_file}"):
        return False, "not installed"
    if not os.path.exists(path):
        return False, f"the driver {path} is gone: run `openha agent install` again"
    if not is_ours(path):
        return (
            False,
            f"an upgrade of the agent replaced the driver {path}: run `openha agent install` again",
        )
    left = plan_install(agent, layout, agent.has_hook)
    if left:
        return (
            False,
            (
                f"installed, but not as this package would ({left[0].text}): run `openha agent"
                " install` again"
            ),
        )
    return True, "installed"


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
            agent.line.places_file: json.dumps(places, indent=1, sort_keys=True) + "\n",
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
    return f"# {openha_driver.MARK}, which writes it again: changes here are lost.\n{text}"


def _is_foreign_script(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and not is_ours(path)


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
    return [path for path in paths if not os.path.islink(path) and is_ours(path)]


def _fence_scripts(agent: Agent, layout: Layout) -> list[str]:
    """Return all check-up scripts written by us that call this agent."""
    call = (
        _wrappers(agent, layout)["stonith"].rstrip().rpartition("\n")[2].partition("@SVCNAME@")[0]
    )
    return [
        path
        for path in sorted(glob.glob(f"{glob.escape(layout.fence_dir)}/*"))
        if is_ours(path) and contains(path, f"\n{call}")
    ]


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
