"""The agent 2.1: a site driver provides `[app#hb] type = openha`, beside the agent's own files.

This agent has no hb group any more. The optional hook adds `[hb#0] type = OpenHA`: it wraps a
function of the agent at start-up, and may break with an update of the agent.
"""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.plugin.installed_agent import Agent, AgentLine, contains
from opensvc_openha.system.package_files import read_template

_DRIVER = "site_opensvc/drivers/resource/app/openha.py"


def _is_home(home: str) -> bool:
    return contains(f"{home}/opensvc/core/objects/builder.py", "def add_resources")


def _wrappers(agent: Agent, command: str) -> Mapping[str, str]:
    cluster = read_template("agent-2.1.cluster").replace("@OM@", agent.command("om"))
    texts = {"cluster": cluster, "stonith": read_template("agent.stonith")}
    return {kind: text.replace("@OPENHA@", command) for kind, text in texts.items()}


LINE = AgentLine(
    name="2.1",
    is_home=_is_home,
    driver=_DRIVER,
    shared="site_opensvc/openha_driver.py",
    shipped={_DRIVER: "app_openha_2_1.py"},
    wrappers=_wrappers,
    probe=lambda agent, svcname: [
        agent.command("om"),
        svcname,
        "print",
        "status",
        "--refresh",
        "--local",
        "--format",
        "json",
    ],
    cache_line=lambda agent: f"run {agent.command('om')} @SVCNAME@ status --refresh --local",
    linked_command="",
    suffixes=(".conf",),
    hook={
        "usercustomize.py": "usercustomize_2_1.py",
        "site_opensvc/drivers/resource/hb/openha.py": "hb_openha_2_1.py",
    },
    section="app",
    has_namespaces=True,
)
