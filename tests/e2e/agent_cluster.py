"""Two nodes with cluster, embedded agent and ssh; the service's application writes to /run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from tests import waiting
from tests.e2e import from_outside
from tests.waiting import Seen

EZ = "/usr/local/cluster"
LINK_TIMEOUT_S = 2

ENV = """\
[DEFAULT]
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com
{default}
[ip#1]
ipdev = eth0
ipname = 10.50.0.71
netmask = 24

[app#1]
script = /opt/web.init
start = 10
stop = 10
check = 10
{app}
[hb#0]
type = OpenHA
name = {name}
"""
NO_CHECK = "[check]\nevery = never\n"
"""Only tests of the check need one."""
INIT = """#!/bin/sh
# Up after a start that /shared/refuses-NODE does not keep from it; notes every change.
[ "$1" = status ] || echo "$1 $(hostname -s)" >> /shared/calls
case $1 in
start) [ -e /shared/refuses-$(hostname -s) ] && { echo no >&2; exit 1; }
       [ -e /shared/slow ] && sleep "$(cat /shared/slow)"; touch /run/web.runs ;;
stop) rm -f /run/web.runs ;;
status) [ -e /run/web.runs ] ;;
esac
"""


class AgentCluster:
    """Both nodes; most tests call ``start`` first."""

    def __init__(
        self,
        nodes: TwoNodes,
        has_ssh: bool = True,
        default: str = "",
        app: str = "",
        options: str = NO_CHECK,
    ) -> None:
        self.nodes = nodes
        self.first, self.second = nodes
        for node in nodes:
            prepare(node)
            self.must(node, "openha install --embedded-agent --no-key")
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor_file(LINK_TIMEOUT_S))
            node.write(f"{EZ}/conf/openha.conf", options)
            node.write("/opt/web.init", INIT, 0o755)
            node.write("/etc/opensvc/web.env", ENV.format(default=default, app=app, name="webha"))
            wrapper = "/etc/opensvc/web.cluster"
            self.must(
                node,
                f"svcmon && {EZ}/bin/service -a webha {wrapper} {self.first.name}"
                f" {self.second.name} /bin/true",
            )
        if has_ssh:
            node_ssh.connect(nodes)

    def must(self, node: Node, command: str, timeout_s: float = waiting.LIMIT_S) -> str:
        """Run a command that must succeed; return its output."""
        return self.act(node, command, 0, timeout_s)

    def act(
        self, node: Node, command: str, exit_code: int = 0, timeout_s: float = waiting.LIMIT_S
    ) -> str:
        """Run a command that must end with this exit code; return its output with stderr."""
        done = node.run(command, timeout_s)
        text = done.stdout + done.stderr
        assert done.returncode == exit_code, (
            f"{node.name}: {command}: {done.returncode}: {text}\n{self.story()}"
        )
        return text

    def start(self) -> None:
        """Start both daemons, with the service frozen stopped."""
        for node in self.nodes:
            self.must(node, f"{EZ}/ezha start")
        self.wait("FROZEN_STOP/FROZEN_STOP")

    def start_with_key(self) -> None:
        """Start both daemons with a key, and wait until each node answers the other one."""
        self.must(self.first, "openha key generate")
        key = self.must(self.first, f"cat {EZ}/conf/openha.key")
        self.second.write(f"{EZ}/conf/openha.key", key, 0o600)
        self.start()
        for node in self.nodes:
            self.until(lambda: from_outside.times_served(node), bool)

    def run_on_first(self) -> None:
        """Run the service on the first node, with the second as standby."""
        self.start()
        self.must(self.first, "svcmgr -s web start")
        self.wait("STARTED/STOPPED")

    def _look(self, node: Node, command: str) -> str:
        """Return the output of a status; repeat it while a daemon is too busy to answer in time."""
        return waiting.until(
            lambda: node.run(command), lambda done: "does not answer" not in done.stderr, command
        ).stdout

    def states(self, node: Node) -> str:
        """Return the states as `service -s -c` shows them on a node."""
        status = from_outside.status(node)
        if status is not None:
            return from_outside.states(status).get("webha", "")
        found = re.search(
            r"(?m)^webha +\S+ +([A-Z_]+) +\S+ +([A-Z_]+) *$",
            self._look(node, f"{EZ}/bin/service -s -c"),
        )
        return f"{found.group(1)}/{found.group(2)}" if found else ""

    def wait(self, wanted: str, nodes: Iterable[Node] | None = None) -> None:
        """Wait until both nodes show the wanted states."""
        for node in nodes or self.nodes:
            self.until(lambda: self.states(node), lambda seen: seen == wanted)

    def until(self, look: Callable[[], Seen], is_good: Callable[[Seen], Any]) -> Seen:
        """Poll until the result is good; return it."""
        return waiting.until(look, is_good, story=self.story)

    def runs_on(self) -> list[str]:
        """Return the running nodes on which the application runs."""
        return [
            node.short_name
            for node in self.nodes
            if node.is_alive and from_outside.is_there(node, "/run/web.runs")
        ]

    def avail(self, node: Node) -> tuple[str, str, bool]:
        """Return avail and hb, as the agent of a node shows them."""
        found = json.loads(node.run("svcmgr -s web json status").stdout)
        return found["avail"], found["hb"], found["frozen"]

    def calls(self) -> list[str]:
        """Return starts and stops of the application, in order."""
        return from_outside.text(self.first, "/shared/calls").splitlines()

    def story(self) -> str:
        """Return states, history and agent log of both nodes, for a failure message."""
        look = (
            f"{EZ}/bin/service -s -v; {EZ}/bin/openha history; tail -n 40 /var/log/opensvc/web.log"
        )
        return "\n".join(
            f"--- {node.name}\n{node.run(look).stdout}" for node in self.nodes if node.is_alive
        )
