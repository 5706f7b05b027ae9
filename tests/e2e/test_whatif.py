"""`openha whatif` on two nodes, compared with what then really happens to them.

Order of the states and the end are compared; times are printed, since a loaded machine is slower
than the rehearsal assumes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.formats.state_file import decode
from tests import waiting
from tests.e2e.two_node_cluster import EZ, SCRIPT, Cluster

pytestmark = pytest.mark.e2e

OPTIONS = "[timing]\nprofile = fast\nfence_time = 2\n"
FENCE = """#!/bin/sh
# Orders a power switch, which the test is, and waits for its answer.
[ "$OPENHA_PEER_STANDING" = silent ] || exit 0
rm -f /shared/is_off
touch /shared/cut_$OPENHA_PEER
while [ ! -e /shared/is_off ]; do sleep 0.05; done
"""
SERVICE = "registry"


class TwoLinks(Cluster):
    """Both nodes with two network links, timeouts of 4 s, profile fast, and a fence."""

    def __init__(self, nodes: TwoNodes) -> None:
        self.nodes, self.services = nodes, (SERVICE,)
        self.first, self.second = nodes
        monitor = "".join(
            f"{node.name} net eth{link} 239.131.50.{10 + 2 * node.index + link} 501{link} 4\n"
            for node in nodes
            for link in (1, 2)
        )
        for node in nodes:
            prepare(node)
            self.must(node, "openha install --no-key")
            node.write(f"{EZ}/conf/nodes", "".join(f"{each.name}\n" for each in nodes))
            node.write(f"{EZ}/conf/monitor", monitor)
            node.write(f"{EZ}/conf/openha.conf", OPTIONS)
            node.write(f"/opt/{SERVICE}.sh", SCRIPT, 0o755)
            node.write("/opt/fence", FENCE, 0o755)
            names = f"{self.first.name} {self.second.name}"
            self.must(node, f"{EZ}/bin/service -a {SERVICE} /opt/{SERVICE}.sh {names} /opt/fence")

    def cut_all(self) -> None:
        """Cut both links."""
        for link in ("eth1", "eth2"):
            self.first.cut(link)

    def serve_fence(self) -> None:
        """Be the power switch for one order."""
        victims = {node.name: node for node in self.nodes}
        found = waiting.until(
            lambda: [name for name in victims if self._is_there(f"/shared/cut_{name}")],
            bool,
            "an order to fence",
            self.story,
        )
        victims[found[0]].kill()
        node = next(node for node in self.nodes if node.is_alive)
        node.run(f"rm /shared/cut_{found[0]}; touch /shared/is_off")

    def _is_there(self, path: str) -> bool:
        # Looked at from outside: a command for each look would cost more than all the rest.
        node = next(node for node in self.nodes if node.is_alive)
        return os.path.exists(node.root + path)

    def state_on_disk(self, node: Node) -> str:
        """Return the state in a node's STATE file, from outside of the node."""
        path = f"{node.root}{EZ}/services/{SERVICE}/STATE.{node.name}"
        with open(path, "rb") as file:
            return decode(file.read(64)).state.name

    def revive(self, node: Node) -> None:
        """Boot a node, and wait until it is the standby again."""
        for link in ("eth1", "eth2"):
            node.heal(link)
        node.boot()
        self.start(node)
        other = next(each for each in self.nodes if each is not node)
        wanted = "STOPPED/STARTED" if node is self.first else "STARTED/STOPPED"
        for each in (node, other):
            self.wait(each, {SERVICE: wanted})

    def moves(self, node: Node, since: float) -> list[str]:
        """Return the states that the history of a node has since an instant, oldest first."""
        return [entry["new"] for entry in self.entries(node, SERVICE) if entry["at"] >= since]


@dataclass
class Compared:
    """What was rehearsed, and when: the nodes have the clock of this machine."""

    found: dict[str, Any]
    at: float


class Comparison:
    """Rehearse an event, let it happen, and compare."""

    def __init__(self, cluster: TwoLinks) -> None:
        self.cluster = cluster

    def rehearse(self, node: Node, event: str) -> Compared:
        """Ask a node once its copy of both nodes is like them, and both have heard each other."""
        cluster = self.cluster
        found = waiting.until(
            lambda: json.loads(cluster.must(node, f"{EZ}/bin/openha whatif {event} --json")),
            lambda seen: not seen["unlike"] and "not heard" not in seen["assumed"][0],
            f"a rehearsal of {event} that begins as the nodes are",
            cluster.story,
        )
        return Compared(found, time.time())

    def expect(self, compared: Compared) -> None:
        """Wait for the end states that were rehearsed, and compare the way to them."""
        cluster, found = self.cluster, compared.found
        service = found["services"][0]
        for outcome in service["nodes"]:
            node = next(each for each in cluster.nodes if each.name == outcome["node"])
            if outcome["after"] == "no power":
                assert not node.is_alive
                continue
            if outcome["after"] == "no daemon":
                continue
            rehearsed = [
                moment["new"]
                for moment in found["moments"]
                if moment["node"] == node.name
                and moment["kind"] == "service"
                and moment["service"] == SERVICE
            ]
            what = f"{found['events']} on {node.name}: {rehearsed}, then {outcome['after']}"
            waiting.until(
                lambda: cluster.state_on_disk(node),
                lambda state: state == outcome["after"],
                what,
                cluster.story,
            )
            # The history follows the state.
            really = waiting.until(
                lambda: cluster.moves(node, compared.at),
                lambda seen: is_within(rehearsed, seen) and last(seen, outcome) == outcome["after"],
                what,
                cluster.story,
            )
            print(f"{found['events']} on {node.name}: rehearsed {rehearsed}, really {really}")
        ran_on = [outcome["node"].split(".")[0] for outcome in service["nodes"] if outcome["is_up"]]
        assert cluster.runs_on() == ran_on
        print(f"{found['events']}: away for {service['away_s']} s, if nothing else works here")


def last(states: list[str], outcome: dict[str, Any]) -> str:
    """Return the newest state, or the one before if nothing has changed."""
    return states[-1] if states else str(outcome["before"])


def is_within(wanted: list[str], seen: list[str]) -> bool:
    """Return True if the states come in this order, among others that a slow machine adds."""
    rest = iter(seen)
    return all(state in rest for state in wanted)


@pytest.fixture
def comparison(two_nodes: TwoNodes) -> Comparison:
    """A running cluster: the service on deb1, deb2 is standby."""
    cluster = TwoLinks(two_nodes)
    cluster.run_on_first()
    return Comparison(cluster)


def test_what_is_rehearsed_then_happens(comparison: Comparison) -> None:
    """A switch, an unfreeze, a cut link, an orderly stop, a killed daemon, a cut of all links and a
    power failure: each node goes through the states that were rehearsed, and ends in the same.
    """
    cluster = comparison.cluster
    first, second = cluster.first, cluster.second

    def play(node: Node, event: str, happen: Callable[[], object]) -> dict[str, Any]:
        compared = comparison.rehearse(node, event)
        happen()
        comparison.expect(compared)
        return compared.found

    play(first, f"service {SERVICE} stop", lambda: cluster.act(first, SERVICE, "stop"))
    cluster.act(second, SERVICE, "freeze-stop")
    cluster.wait(first, {SERVICE: "STARTED/FROZEN_STOP"})
    play(second, f"service {SERVICE} unfreeze", lambda: cluster.act(second, SERVICE, "unfreeze"))

    found = play(second, "link eth1 down", lambda: first.cut("eth1"))
    down = {moment["node"] for moment in found["moments"] if "UP -> DOWN" in moment["text"]}
    assert down == {first.name, second.name}
    for node in cluster.nodes:
        cluster.until(lambda: cluster.listeners(node).get("eth1"), is_down, "eth1 is down")
    first.heal("eth1")

    play(first, "daemon-stops", lambda: cluster.must(first, f"{EZ}/ezha stop"))
    cluster.start(first)
    for node in cluster.nodes:
        cluster.wait(node, {SERVICE: "STOPPED/STARTED"})

    def kill_daemon() -> None:
        pid = json.loads(cluster.must(second, f"{EZ}/bin/hb -s --json"))["pid"]
        cluster.must(second, f"kill -9 {pid}")
        cluster.serve_fence()

    found = play(first, "peer-daemon-dies", kill_daemon)
    assert [moment["cuts"] for moment in found["moments"] if moment["cuts"]] == [second.name]
    cluster.revive(second)

    def cut_all() -> None:
        cluster.cut_all()
        cluster.serve_fence()

    found = play(second, "all-links down", cut_all)
    assert [moment["cuts"] for moment in found["moments"] if moment["cuts"]] == [first.name]
    cluster.revive(first)

    def lose_power() -> None:
        second.kill()
        cluster.serve_fence()

    play(first, "peer-dies", lose_power)

    advice = json.loads(cluster.must(first, f"{EZ}/bin/openha advise --json"))
    assert [link["gaps"] > 0 for link in advice["links"]] == [True, True]
    assert SERVICE in [starts["service"] for starts in advice["starts"]]


def is_down(verdict: object) -> bool:
    """True for a listener that is down."""
    return verdict == "DOWN"
