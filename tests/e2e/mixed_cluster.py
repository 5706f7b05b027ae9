"""A cluster whose nodes run this package or a C OpenHA in turn, on the same files.

The files are those of the newer layout. The C programs are not part of this project: OPENHA_C_ROOT
names a tree with a build of them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from tests import waiting

BIN = "/usr/lib/openha/bin"
SAVED_BIN = "/usr/lib/openha/bin.c"
INIT = "/usr/share/openha/init/openha.init"
LINK_TIMEOUT_S = 2
C_NODE_LOOP_S = 2
START_READY_S = 5

MONITOR = f"""deb1.opensvc.com net eth1 239.131.50.10 5010 {LINK_TIMEOUT_S}
deb1.opensvc.com net eth2 239.131.50.11 5011 {LINK_TIMEOUT_S}
deb2.opensvc.com net eth1 239.131.50.12 5012 {LINK_TIMEOUT_S}
deb2.opensvc.com net eth2 239.131.50.13 5013 {LINK_TIMEOUT_S}
deb1.opensvc.com dio /dev/mapper/disk.hb.0 0 {LINK_TIMEOUT_S}
deb2.opensvc.com dio /dev/mapper/disk.hb.0 19 {LINK_TIMEOUT_S}
"""
OPTIONS = "[heartbeat]\nwire = legacy\n"
SCRIPT = """#!/bin/sh
echo "$1 $(hostname -s)" >> /shared/calls
case $1 in
start) touch /run/registry.runs ;;
stop) rm -f /run/registry.runs ;;
status) if [ -e /run/registry.runs ]; then echo up; else echo down; exit 1; fi ;;
esac
"""
C_ENVIRONMENT = {
    "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
    "EZ_BIN": BIN,
    "EZ_VAR": "/var/lib/openha",
    "EZ_CONF": "/etc/openha",
    "EZ_LOG": "/var/log/openha",
    "EZ_SERVICES": "/etc/openha/services",
    "EZ_NODES": "/etc/openha/nodes",
    "EZ_MONITOR": "/etc/openha/monitor",
}


class MixedCluster:
    """Both nodes configured, nothing installed or started."""

    def __init__(self, nodes: TwoNodes, c_root: str) -> None:
        self.nodes = nodes
        self.first, self.second = nodes
        self.ours, self.original = self.first, self.second
        self._c_root = c_root
        self._is_c: dict[str, bool] = {}
        self.c_environment = C_ENVIRONMENT
        for node in nodes:
            prepare(node)
            node.write("/etc/openha/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write("/etc/openha/monitor", MONITOR)
            node.write("/opt/registry.sh", SCRIPT, 0o755)
            self.must(
                node,
                "mkdir -p /var/lib/openha/services /var/lib/openha/proc /var/log/openha"
                " /usr/lib/openha",
            )

    def use_c(self, node: Node) -> None:
        """Install the C programs on a node, or restore them."""
        saved = node.run(f"test -d {SAVED_BIN}").returncode == 0
        if saved:
            self.must(node, f"rm -rf {BIN} && mv {SAVED_BIN} {BIN}")
        else:
            self.must(
                node,
                f"mkdir -p {BIN} {INIT.rsplit('/', 1)[0]} && cd {self._c_root} && cp src/nmond"
                f" src/service src/hb src/heart[cd] src/heart[cd]_* {BIN}/ && rm -f {BIN}/*.[oc] &&"
                f" cp openha.init {INIT} && chmod +x {INIT}",
            )
        self._is_c[node.name] = True

    def use_ours(self, node: Node) -> None:
        """Install this package, with the legacy format, over the C programs, which are kept."""
        self.must(
            node,
            f"if [ -d {BIN} ] && [ ! -d {SAVED_BIN} ]; then mv {BIN} {SAVED_BIN}; fi;"
            " openha install --no-key --layout fhs",
        )
        node.write("/etc/openha/openha.conf", OPTIONS)
        self._is_c[node.name] = False

    def add_service(self) -> None:
        """Add the service on both nodes, with the options that both programs support."""
        for node in self.nodes:
            done = self.command(
                node,
                f"service -a registry /opt/registry.sh {self.first.name} {self.second.name}"
                " /bin/true",
            )
            assert done.returncode == 0, done

    def command(
        self, node: Node, words: str, timeout_s: float = waiting.LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run ``service`` or ``hb`` of the installed program."""
        env = C_ENVIRONMENT if self._is_c[node.name] else None
        # The command gives up on a busy daemon before it changes anything.
        return waiting.until(
            lambda: node.run(f"{BIN}/{words}", timeout_s, env=env),
            lambda done: "does not answer" not in done.stderr,
            words,
        )

    def must(self, node: Node, command: str, timeout_s: float = waiting.LIMIT_S) -> str:
        """Run a shell line that must succeed."""
        done = node.run(command, timeout_s)
        assert done.returncode == 0, f"{node.name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, node: Node) -> None:
        """Start the daemons of a node as at boot."""
        if self._is_c[node.name]:
            # The init script writes to the console, which is that of the host.
            self.must(node, "rm -f /dev/console; : > /dev/console")
            self.must(node, f"setsid -w {INIT} start < /dev/null > /var/log/openha/init.out 2>&1")
        else:
            self.must(node, "/usr/lib/openha/ezha start")

    def act(self, node: Node, action: str) -> None:
        """Run ``service -A registry ACTION``."""
        done = self.command(node, f"service -A registry {action}")
        assert done.returncode == 0, (
            f"{node.name}: {action}: {done.stdout}{done.stderr}\n{self.story()}"
        )

    def states(self, node: Node) -> str:
        """Return both states as ``service -s -c`` shows them: primary, a slash, secondary."""
        out = self.command(node, "service -s -c").stdout
        found = re.search(r"(?m)^registry +\S+ +([A-Z_]+) +\S+ +([A-Z_]+) *$", out)
        return f"{found[1]}/{found[2]}" if found else out

    def listeners(self, node: Node) -> dict[str, str]:
        """Map the listeners' devices to UP or DOWN."""
        out = self.command(node, "hb -s").stdout
        return dict(
            re.findall(r"(?m)^\S+ listener ([^:\s]+):\S+ (?:pid \d+ )?status (UP|DOWN)", out)
        )

    def wait(self, wanted: str, *nodes: Node) -> None:
        """Poll until these nodes (both if none is named) show these states."""
        for node in nodes or self.nodes:
            self.until(lambda: self.states(node), wanted, f"{node.name} {wanted}")

    def wait_links(self, *nodes: Node) -> None:
        """Poll until every listener of these nodes is up."""
        up = {"eth1": "UP", "eth2": "UP", "/dev/mapper/disk.hb.0": "UP"}
        for node in nodes or self.nodes:
            self.until(lambda: self.listeners(node), up, f"{node.name} links")

    def until(self, look: Callable[[], Any], wanted: object, what: str) -> None:
        """Poll until the result is as wanted."""
        waiting.until(look, lambda seen: seen == wanted, what, self.story)

    def stays(self, wanted: str, for_s: float) -> None:
        """Check that both nodes show these states for the whole time."""
        waiting.stays(
            lambda: [self.states(node) for node in self.nodes],
            lambda seen: seen == [wanted] * 2,
            for_s,
            self.story,
        )

    def entries(self, node: Node) -> list[dict[str, Any]]:
        """Return the service's changes of state in a node's history, oldest first."""
        found = json.loads(self.must(node, f"{BIN}/openha history registry -n 0 --json"))["entries"]
        return [entry for entry in found if entry["kind"] == "service"]

    def seconds_ready(self, node: Node) -> float:
        """Return the duration of the last START_READY that the service left on one of our nodes."""
        entries = self.entries(node)
        left = max(number for number, entry in enumerate(entries) if entry["old"] == "START_READY")
        return float(entries[left]["mono"] - entries[left - 1]["mono"])

    def calls(self) -> list[str]:
        """Return the calls of the service's script, with their nodes."""
        node = next(node for node in self.nodes if node.is_alive)
        return [
            line
            for line in node.run("cat /shared/calls").stdout.splitlines()
            if not line.startswith("status")
        ]

    def runs_on(self) -> list[str]:
        """Return the running nodes on which the service runs."""
        alive = [node for node in self.nodes if node.is_alive]
        return [
            node.short_name
            for node in alive
            if node.run("test -e /run/registry.runs").returncode == 0
        ]

    def story(self) -> str:
        """Return status and logs, for a failure message."""
        parts = []
        for node in self.nodes:
            if node.is_alive:
                shown = [self.command(node, words) for words in ("service -s -c", "hb -s")]
                log = node.run("tail -n 30 /var/log/openha/*").stdout
                parts += [f"--- {node.name}", *(done.stdout + done.stderr for done in shown), log]
        return "\n".join([*parts, "--- calls", *self.calls()])
