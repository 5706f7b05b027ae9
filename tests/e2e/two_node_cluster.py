"""A cluster on the two nodes of the end-to-end tests: scripts as services, used by commands."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

from opensvc_openha.core.states import ServiceState
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from opensvc_openha.formats.state_file import StoredState, encode
from tests import waiting
from tests.e2e import from_outside
from tests.waiting import Seen

EZ = "/usr/local/cluster"
LINK_TIMEOUT_S = 2
START_READY_S = 5

SCRIPT = """#!/bin/sh
# Notes each call, and whether the service runs on this node: /run is empty after a power failure.
svc=$(basename $0 .sh)
echo "$svc $1 $(hostname -s)" >> /shared/calls
case $1 in
start) [ -e /shared/$svc.hangs ] && sleep 1000; touch /run/$svc.runs ;;
stop) [ -e /shared/$svc.stops_slowly ] && sleep 1; rm -f /run/$svc.runs ;;
status) if [ -e /run/$svc.runs ]; then echo up; else echo down; exit 1; fi ;;
esac
"""

STATUS = (
    f"{EZ}/bin/service -s -c; {EZ}/bin/hb -s; tail -n 30 $(find {EZ}/log -name '*log*' -type f)"
)


@functools.cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="openha-installed.")


class Cluster:
    """Both nodes with OpenHA installed and services added, daemons not started."""

    def __init__(self, nodes: TwoNodes, checks: dict[str, str]) -> None:
        """``checks`` maps each service to its check-up script."""
        self.nodes = nodes
        self.services = tuple(checks)
        self.first, self.second = nodes
        for node in nodes:
            prepare(node)
            self._install(node)
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor_file(LINK_TIMEOUT_S))
            # Only tests of the check need one.
            node.write(f"{EZ}/conf/openha.conf", "[check]\nevery = never\n")
            self._add(node, checks)

    def _install(self, node: Node) -> None:
        """Install OpenHA: one node of this process has the installer, the others a copy of that."""
        installed = f"{_copies().name}/cluster"
        if os.path.isdir(installed):
            shutil.copytree(installed, f"{node.root}{EZ}", dirs_exist_ok=True)
        else:
            self.must(node, "openha install --no-key")
            shutil.copytree(f"{node.root}{EZ}", installed)

    def _add(self, node: Node, checks: dict[str, str]) -> None:
        """Add the services, as `service -a` does: other tests are about that."""
        lines = ""
        frozen = encode(StoredState(ServiceState.FROZEN_STOP)).decode("ascii")
        for service, check in checks.items():
            node.write(f"/opt/{service}.sh", SCRIPT, 0o755)
            lines += f"{service} /opt/{service}.sh {self.first.name} {self.second.name} {check}\n"
            for each in self.nodes:
                node.write(f"{EZ}/services/{service}/STATE.{each.name}", frozen)
        node.write(f"{EZ}/conf/services", lines)

    def share_key(self) -> None:
        """Give both nodes a new key."""
        self.must(self.first, f"{EZ}/bin/openha key generate")
        key = self.first.read(f"{EZ}/conf/openha.key")
        self.second.write(f"{EZ}/conf/openha.key", key, 0o600)

    def must(self, node: Node, command: str, timeout_s: float = waiting.LIMIT_S) -> str:
        """Run a command that must succeed; return its output."""
        done = self.patiently(node, command, timeout_s)
        assert done.returncode == 0, (
            f"{node.name}: {command}: {done.stdout}{done.stderr}{self.story()}"
        )
        return done.stdout

    def patiently(
        self, node: Node, command: str, timeout_s: float = waiting.LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; repeat it if it gave up on a busy daemon: nothing has changed then."""
        return waiting.until(
            lambda: node.run(command, timeout_s),
            lambda done: "does not answer" not in done.stderr,
            command,
        )

    def start(self, node: Node) -> None:
        """Run `ezha start` on a node."""
        self.must(node, f"{EZ}/ezha start")

    def act(self, node: Node, service: str, action: str) -> None:
        """Run `service -A service action` on a node."""
        self.must(node, f"{EZ}/bin/service -A {service} {action}")

    def run_on_first(self) -> None:
        """Start both daemons and every service on the first node, with the second as standby."""
        for node in self.nodes:
            self.start(node)
        self.wait(self.second, {service: "FROZEN_STOP/FROZEN_STOP" for service in self.services})
        for service in self.services:
            self.act(self.first, service, "unfreeze")
        started = {service: "STARTED/FROZEN_STOP" for service in self.services}
        self.wait(self.first, started)
        for service in self.services:
            self.act(self.second, service, "unfreeze")
        ready = {service: "STARTED/STOPPED" for service in self.services}
        for node in self.nodes:
            self.wait(node, ready)

    def await_right(self) -> None:
        """Wait until the standby holds the right to fence first, which takes some beats."""
        self.until(
            lambda: from_outside.status(self.second),
            lambda seen: seen is not None and seen.fencing.turn == "held",
            "the standby has the right to fence first",
        )

    def states(self, node: Node) -> dict[str, str]:
        """Return `service -s -c` of a node: service to "primary/secondary"."""
        status = from_outside.status(node)
        if status is not None:
            return from_outside.states(status)
        done = self.patiently(node, f"{EZ}/bin/service -s -c")
        found = re.findall(r"(?m)^(\S+) +\S+ +([A-Z_]+) +\S+ +([A-Z_]+) *$", done.stdout)
        return {service: f"{primary}/{secondary}" for service, primary, secondary in found}

    def wait(self, node: Node, wanted: dict[str, str]) -> None:
        """Poll the states of a node until they are as wanted."""
        self.until(
            lambda: self.states(node),
            lambda seen: {**seen, **wanted} == seen,
            f"{node.name} {wanted}",
        )

    def until(self, look: Callable[[], Seen], is_good: Callable[[Seen], Any], what: str) -> Seen:
        """Poll until the result is good; return it."""
        return waiting.until(look, is_good, what, self.story)

    def stays(self, look: Callable[[], Seen], is_good: Callable[[Seen], Any], for_s: float) -> None:
        """Poll for some time: each result must be good."""
        waiting.stays(look, is_good, for_s, self.story)

    def entries(self, node: Node, service: str = "registry") -> list[dict[str, Any]]:
        """Return the changes of state in a node's history, oldest first."""
        found = json.loads(self.must(node, f"{EZ}/bin/openha history {service} -n 0 --json"))[
            "entries"
        ]
        return [entry for entry in found if entry["kind"] == "service"]

    def seconds_in(self, node: Node, state: str, service: str = "registry") -> float:
        """Return the duration of the last stay of the service in a state that it left."""
        entries = self.entries(node, service)
        left = max(number for number, entry in enumerate(entries) if entry["old"] == state)
        return float(entries[left]["mono"] - entries[left - 1]["mono"])

    def listeners(self, node: Node) -> dict[str, str]:
        """Return `hb -s` of the listeners: device to UP or DOWN."""
        status = from_outside.status(node)
        if status is not None:
            return from_outside.listeners(status)
        out = self.must(node, f"{EZ}/bin/hb -s")
        return dict(
            re.findall(r"(?m)^\S+ listener ([^:\s]+):\S+ (?:pid \d+ )?status (UP|DOWN)", out)
        )

    def heartbeats(self, node: Node) -> dict[str, Any]:
        """Return `hb -s --json` of a node."""
        status = from_outside.status(node)
        if status is not None:
            return from_outside.heartbeats(status)
        return dict(json.loads(self.must(node, f"{EZ}/bin/hb -s --json")))

    def shown_links(self, node: Node) -> list[dict[str, Any]]:
        """Return the links of `hb -s --json`."""
        return list(self.heartbeats(node)["links"])

    def calls(self, word: str, service: str = "registry") -> list[str]:
        """Return the nodes on which a service's script was called with a word, in order."""
        lines = (line.split() for line in self._shared("calls").splitlines())
        return [node for svc, called, node in lines if (svc, called) == (service, word)]

    def runs_on(self, service: str = "registry") -> list[str]:
        """Return the running nodes on which a service runs now."""
        return [
            node.short_name
            for node in self.nodes
            if node.is_alive and from_outside.is_there(node, f"/run/{service}.runs")
        ]

    def _shared(self, name: str) -> str:
        node = next(node for node in self.nodes if node.is_alive)
        return from_outside.text(node, f"/shared/{name}")

    def story(self) -> str:
        """Return status and logs of both nodes, for a failure message."""
        parts = []
        for node in self.nodes:
            if node.is_alive:
                parts.append(f"--- {node.name}\n{node.run(STATUS).stdout}")
        return "\n".join(parts + ["--- calls", self._shared("calls")])
