"""Start at boot: the units of systemd and what else on this machine would start a daemon.

Only files are read and links made, as `systemctl enable` does, so that it works in an image, too.
"""

from __future__ import annotations

import glob
import os
import re

from opensvc_openha.cli.installation import MARK
from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.formats.layout import AgentLayout, Layout
from opensvc_openha.system import service_manager
from opensvc_openha.system.atomic_files import make_dir, replace_by, write_atomically
from opensvc_openha.system.package_files import read_template

UNIT = "opensvc-openha.service"
AGENT_UNIT = "opensvc-openha-agent.service"
EXPORTER_UNIT = "openha-exporter.service"
WEB_UNIT = "openha-web.service"
"""Not enabled by us, like the one before: they need libraries that most nodes do not have."""
CATALOG = "opensvc-openha.catalog"
PACKAGE_CATALOG_DIR = "/usr/lib/systemd/catalog"
UNIT_DIR = "/etc/systemd/system"
PACKAGE_UNIT_DIR = "/usr/lib/systemd/system"
_WANTS = f"{UNIT_DIR}/multi-user.target.wants"
_UNIT_DIRS = (UNIT_DIR, "/run/systemd/system", PACKAGE_UNIT_DIR, "/lib/systemd/system")
"""Where systemd looks for a unit, the first one counts."""
_INIT_DIR = "/etc/init.d"
_STARTS_A_DAEMON = re.compile(r"\b(nmond|ezha|openha\.init)\b")


def unit_text(name: str, layout: Layout, agent: AgentLayout) -> str:
    """Return the text of a unit for this installation."""
    text = read_template(name)
    values = {
        **layout.environment(),
        "EZ_NODES": layout.nodes_file,
        "BOOT_FILE": layout.boot_file,
        "OSVC_BIN": agent.bin_dir,
    }
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def enable(layout: Layout, agent: AgentLayout | None, root: str = "") -> list[str]:
    """Have systemd start the daemon at boot, and with an embedded agent the other services.

    Returns the lines to print. Raises RefusedError if something else starts a daemon at boot.
    ``root`` stands for /.
    """
    others = other_starters(root)
    if others:
        raise RefusedError(
            f"{others[0]} starts a daemon at boot: disable that first, two daemons of one node"
            f" would fight ({_how_to_disable(others[0])}); then run `openha install` again"
        )
    lines = [_enable(UNIT, layout, agent or AgentLayout(), root)]
    if agent is not None:
        lines.append(_enable(AGENT_UNIT, layout, agent, root))
    _reload(root)
    return lines


def disable(root: str = "") -> list[str]:
    """Have nothing of this installation started at boot; a running daemon continues.

    Units that a package ships are disabled, those of `openha install` are removed.
    """
    lines = []
    for name in (UNIT, AGENT_UNIT, EXPORTER_UNIT, WEB_UNIT):
        for link in glob.glob(f"{glob.escape(root)}{UNIT_DIR}/*.wants/{name}"):
            os.unlink(link)
            lines.append(f"{name} is not started at boot any more")
        path = f"{root}{UNIT_DIR}/{name}"
        if os.path.isfile(path) and not os.path.islink(path) and _is_ours(path):
            os.unlink(path)
            lines.append(f"Removed {path}")
    _reload(root)
    return lines


def is_enabled(layout: Layout, root: str = "") -> bool:
    """Return whether systemd runs this machine and starts the daemon of this layout at boot."""
    return service_manager.runs_here() and has_enabled_unit(layout, root)


def has_enabled_unit(layout: Layout, root: str = "") -> bool:
    """Return whether the unit that starts this layout's daemon is enabled."""
    path = _unit_file(UNIT, root)
    return (
        bool(glob.glob(f"{glob.escape(root)}{UNIT_DIR}/*.wants/{UNIT}"))
        and path != ""
        and _starts(path, layout)
    )


def other_starters(root: str = "") -> list[str]:
    """Return the init scripts and enabled units, not ours, that start a daemon of OpenHA."""
    found = set()
    for link in glob.glob(f"{glob.escape(root)}/etc/rc[2345].d/S[0-9][0-9]*"):
        name = os.path.basename(link)[3:]
        script = f"{root}{_INIT_DIR}/{name}"
        # systemd ignores a script that has a unit of its name.
        is_shadowed = service_manager.runs_here() and _unit_file(f"{name}.service", root) != ""
        if not is_shadowed and _STARTS_A_DAEMON.search(_text(script)):
            found.add(f"{_INIT_DIR}/{name}")
    for link in glob.glob(f"{glob.escape(root)}{UNIT_DIR}/*.wants/*.service"):
        name = os.path.basename(link)
        text = _text(_unit_file(name, root))
        starts = "\n".join(line for line in text.splitlines() if line.startswith("ExecStart"))
        if name not in (UNIT, AGENT_UNIT) and _STARTS_A_DAEMON.search(starts):
            found.add(name)
    return sorted(found)


def runs(pid: int) -> bool:
    """Return whether systemd started this daemon."""
    return service_manager.runs_here() and service_manager.is_in_unit(pid, UNIT)


def start() -> None:
    """Have systemd start the daemon; return when it serves. Raises SystemFault."""
    try:
        service_manager.systemctl("start", UNIT)
    except SystemFault as error:
        raise SystemFault(f"{error} (see `journalctl -u {UNIT}`; systemd tries it again)") from None


def _enable(name: str, layout: Layout, agent: AgentLayout, root: str) -> str:
    """Write a unit, if no package has it, and link it; return the line to print."""
    own = f"{root}{UNIT_DIR}/{name}"
    text = unit_text(name, layout, agent)
    packaged = f"{PACKAGE_UNIT_DIR}/{name}"
    if os.path.islink(own):
        return f"{own} is a link, as `systemctl mask` makes it: left alone, not enabled"
    if _text(root + packaged) == text:
        source = packaged
        if os.path.exists(own) and _is_ours(own):
            os.unlink(own)  # An earlier one of ours, which would hide that of the package.
    else:
        source = f"{UNIT_DIR}/{name}"
        if os.path.exists(own) and not _is_ours(own):
            return f"{own} is not ours: left alone, not enabled"
        make_dir(os.path.dirname(own))
        write_atomically(own, text.encode("utf-8"), 0o644, is_durable=False)
    make_dir(root + _WANTS)
    replace_by(f"{root}{_WANTS}/{name}", lambda path: os.symlink(source, path))
    return f"Starts at boot: {root}{source}"


def _reload(root: str) -> None:
    if not root and service_manager.runs_here():
        service_manager.systemctl("daemon-reload")


def _how_to_disable(starter: str) -> str:
    if starter.startswith(_INIT_DIR):
        return f"update-rc.d {os.path.basename(starter)} disable"
    return f"systemctl disable {starter}"


def _unit_file(name: str, root: str) -> str:
    """Return the file that systemd uses for a unit, or nothing."""
    paths = (f"{root}{folder}/{name}" for folder in _UNIT_DIRS)
    return next((path for path in paths if os.path.lexists(path)), "")


def _starts(path: str, layout: Layout) -> bool:
    return f"\nExecStart={layout.bin_dir}/nmond -f\n" in _text(path)


def _is_ours(path: str) -> bool:
    return MARK in _text(path)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
