"""Two nodes with a real OpenSVC agent and this cluster, as an operator would set them up.

The agent's source tree is named by OPENSVC_AGENT_ROOT; it is copied into the private disk of each
node and never changed. The Python it runs under is the newest that its line supports, or
OPENSVC_AGENT_PYTHON.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from opensvc_openha.plugin.agents import find_agents

EZ = "/usr/local/cluster"
SVC = "registry.opensvc.com"
PYTHONS = {
    "1.5": ("2.7",),
    "1.6": ("2.7",),
    "1.7": ("2.7",),
    "1.8": ("3.11", "3.9", "2.7"),
    "2.1": ("3.11", "3.10", "3.8"),
}

APP = """#!/bin/sh
# Notes each call, and whether the application runs on this node.
case $1 in
start) [ -e /shared/app.fails ] && exit 1; touch /run/app.runs ;;
stop) rm -f /run/app.runs ;;
status) [ -e /run/app.runs ] ;;
info) : ;;
esac
"""

CONFIG = {
    "1.x": (
        """[DEFAULT]
app = OSVCLAB
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com
monitor_action = freezestop

[app#1]
script = {app}
start = 10
stop = 10
check = 10
{monitor}
"""
    ),
    "2.1": (
        """[DEFAULT]
id = 5be6a4b8-7d0a-4b8e-93ab-8a3f0c7b0d11
app = OSVCLAB
env = DEV
nodes = deb1.opensvc.com deb2.opensvc.com
orchestrate = no

[app#1]
type = forking
script = {app}
start = true
stop = true
check = true
"""
    ),
}
HB = "\n[hb#0]\ntype = OpenHA\nname = registry\n"
APP_HB = "\n[app#hb]\ntype = openha\nname = registry\n"


def find_python(line: str) -> str | None:
    """A Python that the line supports, or None."""
    if os.environ.get("OPENSVC_AGENT_PYTHON"):
        return os.environ["OPENSVC_AGENT_PYTHON"]
    for version in PYTHONS[line]:
        found = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python")))
        found += [
            path for path in (shutil.which(f"python{version}"),) if path and "/shims/" not in path
        ]
        if found:
            return found[-1]
    return None


class AgentNodes:
    """Both nodes, the cluster installed and not started."""

    def __init__(self, nodes: TwoNodes, source: str) -> None:
        self.nodes = nodes
        self.first, self.second = nodes
        agent = find_agents(source)[0]
        self.line = agent.line.name
        self.python = find_python(self.line)
        self.is_spread = self.line in ("1.8", "2.1")
        self.home = "/usr/share/opensvc" if self.is_spread else "/opt/opensvc"
        self.etc = "/etc/opensvc" if self.is_spread else f"{self.home}/etc"
        self.var = "/var/lib/opensvc" if self.is_spread else f"{self.home}/var"
        self.suffix = ".conf" if self.is_spread else ".env"
        self._link_up()
        for node in nodes:
            prepare(node)
            self._install_agent(node, agent.home)
            self.ok(node, "openha install --no-key")
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor_file(2))
            node.environment["PATH"] = (
                f"{self.etc}:{self.home}/bin:{EZ}/bin:{EZ}:" + node.environment["PATH"]
            )
            node.environment["PYTHONWARNINGS"] = "ignore"

    def _install_agent(self, node: Node, source: str) -> None:
        root = node.root
        target = root + self.home
        os.makedirs(target, exist_ok=True)
        subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
        for folder in (
            self.etc,
            self.var,
            "/var/log/opensvc",
            "/var/tmp/opensvc",
            f"{self.home}/log",
            f"{self.home}/tmp",
            f"{self.var}/lock",
            f"{self.var}/node",
        ):
            os.makedirs(root + folder, exist_ok=True)
        if self.is_spread:
            node.write(
                "/etc/default/opensvc", f"OSVC_PYTHON={self.python}\nOSVC_ROOT_PATH={self.home}\n"
            )
            for name in ("svcmgr", "svcmon", "nodemgr", "om"):
                if os.path.exists(f"{target}/bin/{name}"):
                    self.ok(node, f"ln -sf {self.home}/bin/{name} /usr/bin/{name}")
        else:
            self.ok(
                node,
                f"ln -sf {self.python} {self.home}/bin/python; ln -sfn {self.home}/etc"
                " /etc/opensvc",
            )
        node.write(f"{self.etc}/node.conf", "[node]\nhost_mode = TST\nenv = TST\n")
        if self.line == "1.5":
            for name in ("S10app", "K10app"):
                node.write(f"{self.etc}/{SVC}.dir/{name}", APP, 0o755)
            self.ok(node, f"ln -sfn {self.etc}/{SVC}.dir {self.etc}/{SVC}.d")
        node.write("/opt/app.sh", APP, 0o755)
        if self.line == "2.1":
            node.write(
                f"{self.etc}/cluster.conf",
                "[cluster]\nname = lab\nsecret = 0123456789abcdef0123456789abcdef\n"
                "nodes = deb1.opensvc.com deb2.opensvc.com\n\n[hb#1]\ntype = unicast\n",
            )
        else:
            self.ok(
                node,
                (
                    f"ln -sf {self.home}/bin/svcmgr {self.etc}/{SVC}"
                    if not self.is_spread
                    else f"ln -sf /usr/bin/svcmgr {self.etc}/{SVC}"
                ),
            )

    def _link_up(self) -> None:
        """Lets root go from node to node by ssh, as the agents do."""
        key = self.first.root + "/root/.ssh/id_ed25519"
        for node in self.nodes:
            self.ok(
                node,
                "mkdir -p -m 700 /root/.ssh /run/sshd; chmod 700 /root /root/.ssh; rm -f"
                " /root/.ssh/*",
            )
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        for node in self.nodes:
            for name, mode in (("id_ed25519", 0o600), ("id_ed25519.pub", 0o644)):
                with open(self.first.root + f"/root/.ssh/{name}", encoding="ascii") as file:
                    node.write(f"/root/.ssh/{name}", file.read(), mode)
            self.ok(
                node,
                "cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys; ssh-keygen -A >/dev/null;"
                " /usr/sbin/sshd -o UsePAM=no -o PermitRootLogin=yes -o StrictModes=no",
            )

    def add_service(self, with_hb: bool = True, extra: str = "", hb_section: bool = False) -> None:
        """The service file on both nodes."""
        text = CONFIG["2.1" if self.line == "2.1" else "1.x"]
        if self.line == "1.5":
            text = text.partition("[app#1]")[0]
        monitor = "monitor = true" if self.line in ("1.7", "1.8") else ""
        text = text.format(app="/opt/app.sh", monitor=monitor)
        if with_hb:
            text += HB if hb_section or self.line != "2.1" else APP_HB
        for node in self.nodes:
            node.write(f"{self.etc}/{SVC}{self.suffix}", text + extra)

    def start_agent(self, node: Node) -> None:
        """The agent's own daemon, which the 2.1 has."""
        if self.line == "2.1":
            self.ok(
                node,
                f"cd {self.home}; PYTHONPATH=. {self.python} -m opensvc.daemon >/dev/null 2>&1;"
                " sleep 4",
            )

    def ok(self, node: Node, command: str, timeout_s: float = 60.0) -> str:
        """A command that has to succeed; its output."""
        done = node.run(command, timeout_s)
        assert done.returncode == 0, (
            f"{node.name}: {command}: rc {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def svc(
        self, node: Node, action: str, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """An action of the agent on the service."""
        command = f"om {SVC} {action}" if self.line == "2.1" else f"svcmgr -s {SVC} {action}"
        return node.run(command, timeout_s)
