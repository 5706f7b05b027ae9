"""``openha uninstall``: remove what ``openha install`` wrote; the configuration only on request.

What a package has installed is left to the package.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from opensvc_openha.cli import boot, installation
from opensvc_openha.cli.install import (
    PROFILE,
    SAMPLES,
    Plan,
    agent_commands,
    cluster_commands,
    is_fhs,
    is_of_package,
    manual_links,
)
from opensvc_openha.cli.parsing import Parser
from opensvc_openha.control import client
from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.formats.layout import AgentLayout, Layout


def main(args: list[str]) -> int:
    """Run ``openha uninstall``; return the exit code."""
    options = build_parser().read(args)
    layout = installation.layout()
    agent = installation.agent()
    _expect_removable(layout)
    try:
        for line in remove(Plan(layout, is_fhs(layout)), agent, options.purge):
            print(line)
    except OSError as error:
        raise SystemFault(f"cannot remove {error.filename}: {error.strerror}") from error
    return 0


def build_parser() -> Parser:
    """Return the parser of ``openha uninstall``."""
    parser = Parser(
        "openha uninstall",
        "Remove the commands and the start at boot. Services and their files are left as they are.",
    )
    parser.add_flag(
        "--purge", help="remove configuration, key, states, history and logs of the cluster, too"
    )
    return parser


def _expect_removable(layout: Layout) -> None:
    if client.running_pid(layout):
        raise RefusedError(
            "nmond runs on this node: first `openha stop`, which stops the services, so that the"
            " peer takes them; or `openha kill`, after `service -A SERVICE freeze` for each"
        )
    from opensvc_openha.plugin.agents import find_agents

    for found in find_agents(None):
        if found.has_driver:
            raise RefusedError(
                "an OpenSVC agent asks this cluster through its driver: first `openha agent remove`"
            )


def remove(plan: Plan, agent: AgentLayout, purge: bool) -> list[str]:
    """Remove an installation; return the lines to print."""
    layout = plan.layout
    lines = boot.disable(plan.root) if plan.is_usual else []
    # A package owns the commands of the cluster, those of the agent never.
    is_packaged = is_of_package(f"{layout.bin_dir}/openha")
    files = [*([] if is_packaged else cluster_commands(layout)), *agent_commands(agent)]
    if plan.is_usual:
        files += [plan.command, plan.root + PROFILE]
    own = [path for path in files if installation.is_made_by_us(path) and not is_of_package(path)]
    # Not marked: nothing but `openha install` writes these.
    if not is_packaged:
        own += [path for path in _plain_files(layout) if os.path.isfile(path)]
    if plan.is_usual:
        own += [path for path, source in manual_links(plan) if _is_link_to(path, source)]
    for path in own:
        os.unlink(path)
    lines += [f"Removed {path}" for path in own]
    if purge:
        lines += _purge(layout)
    for folder in (
        f"{layout.ez}/doc",
        layout.bin_dir,
        agent.bin_dir,
        os.path.dirname(agent.bin_dir),
        layout.ez,
    ):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    if not purge:
        lines.append(f"Kept: {layout.conf_dir}, {layout.services_dir}, {layout.log_dir}")
    return lines


def _is_link_to(path: str, source: str) -> bool:
    return os.path.islink(path) and os.readlink(path) == source


def _plain_files(layout: Layout) -> list[str]:
    units = (boot.UNIT, boot.AGENT_UNIT, boot.EXPORTER_UNIT, boot.WEB_UNIT)
    names = (*SAMPLES, *units, boot.CATALOG, "opensvc-openha.logrotate")
    return [f"{layout.ez}/env.sh", *(f"{layout.ez}/doc/{name}" for name in names)]


def _purge(layout: Layout) -> list[str]:
    folders = [layout.conf_dir, layout.services_dir, layout.proc_dir, layout.log_dir]
    if layout.var_dir != layout.ez:
        folders.append(layout.var_dir)
    lines = []
    for folder in folders:
        if os.path.isdir(folder):
            shutil.rmtree(folder)
            lines.append(f"Removed {folder}")
    return lines
