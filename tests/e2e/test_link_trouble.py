"""What happens to network links on two nodes: each trouble takes down what it must, for as long as
it lasts, and no more.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.errors import SystemFault
from tests.e2e.cabled_cluster import lay_cables
from tests.e2e.two_node_cluster import EZ, Cluster
from tests.waiting import LIMIT_S

pytestmark = pytest.mark.e2e

TIMEOUT_S = 2
SERVICES = 1_000
CABLES = 2
WALL_CLOCK = """
# The wall clock of this program goes wrong by as many seconds as the file holds, at any time;
# the monotonic one is as it was.
import time
_time, _localtime = time.time, time.localtime
def _offset():
    try:
        with open("/run/clock.offset") as file:
            return float(file.read() or 0)
    except OSError:
        return 0.0
time.time = lambda: _time() + _offset()
time.time_ns = lambda: int(time.time() * 1e9)
time.localtime = lambda seconds=None: _localtime(time.time() if seconds is None else seconds)
"""
HOLD_PORT = """
import socket, sys
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
holder.bind(("0.0.0.0", int(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


def monitor(names: Iterable[str]) -> str:
    """Two cables with multicast and unicast, a third network, and a disk.

    The other node sends on the same places.
    """
    lines = []
    for number, name in enumerate(names):
        other = 2 - number
        for n in range(CABLES):
            lines.append(f"{name} net h{n} 239.131.6{number}.{n} 6000 {TIMEOUT_S}")
            lines.append(f"{name} unicast h{n} 10.60.{n}.{other} 61{number}{n} {TIMEOUT_S}")
        lines.append(f"{name} unicast h1 fd00:60:1::{other} 6200 {TIMEOUT_S}")
        lines.append(f"{name} net eth1 239.131.50.{number} 5010 {TIMEOUT_S}")
        lines.append(f"{name} unicast eth1 10.50.1.{other} 5110 {TIMEOUT_S}")
        lines.append(f"{name} dio /dev/mapper/disk.hb.0 {10 * number} {TIMEOUT_S}")
    return "".join(f"{line}\n" for line in lines)


class TroubledCluster(Cluster):
    """A thousand services in states without any rule, frozen, and one that runs on the first
    node.
    """

    def __init__(self, nodes: TwoNodes) -> None:
        super().__init__(nodes, {"registry": "/bin/true"})
        for node in nodes:
            node.write(f"{EZ}/conf/monitor", monitor([each.name for each in nodes]))
            more = [
                f"svc{n:04} /bin/true {self.first.name} {self.second.name} /bin/true"
                for n in range(SERVICES - 1)
            ]
            node.write(
                f"{EZ}/conf/services",
                node.read(f"{EZ}/conf/services") + "".join(f"{line}\n" for line in more),
            )
            self._give_states(node, f"{EZ}/services")
            node.write("/opt/clock/sitecustomize.py", textwrap.dedent(WALL_CLOCK))
            python = f"env PYTHONPATH=/opt/clock:{node.environment['PYTHONPATH']} {sys.executable}"
            for launcher in ("ezha", "bin/nmond"):
                words = f"s,^exec .*/start.py ,exec {python} -m opensvc_openha ,"
                self.must(node, f"sed -i '{words}' {EZ}/{launcher}")

    def _give_states(self, node: Node, folder: str) -> None:
        """States that a restarted daemon takes as they are, different ones, so that a beat of them
        is long.
        """
        dice = random.Random(node.index)
        for n in range(SERVICES - 1):
            place = f"{node.root}{folder}/svc{n:04}"
            os.makedirs(place)
            with open(f"{place}/STATE.{node.name}", "w", encoding="ascii") as file:
                file.write(f"{dice.choice('456')}\0")

    def link_states(self, node: Node) -> Any:
        """What `hb -s --json` reports of each link: name to is_up, for both directions."""
        return {f"{link['kind']} {link['label']}": link for link in self.shown_links(node)}

    def down(self, node: Node) -> set[str]:
        """The links that are down."""
        return {name for name, link in self.link_states(node).items() if not link["is_up"]}

    def wait_down(self, node: Node, *wanted: str) -> None:
        """Until exactly these links are down."""
        self.until(
            lambda: self.down(node), lambda seen: seen == set(wanted), f"{node.name} down: {wanted}"
        )

    def wait_whole(self) -> None:
        """Until all links are up."""
        for node in self.nodes:
            self.wait_down(node)

    def ip(self, node: Node, *lines: str) -> None:
        """`ip` commands in the network of a node."""
        self.nodes.enclosure.ip(*lines, net=self.nodes.switch._net_files[node.index])


@pytest.fixture(scope="module")
def running() -> Iterator[TroubledCluster]:
    """The cluster, once for all troubles."""
    try:
        nodes = TwoNodes()
    except SystemFault as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with nodes:
        lay_cables(nodes, range(CABLES))
        cluster = TroubledCluster(nodes)
        for node in nodes:
            cluster.start(node)
        cluster.wait(cluster.second, {"registry": "FROZEN_STOP/FROZEN_STOP"})
        cluster.act(cluster.first, "registry", "unfreeze")
        yield cluster


@pytest.fixture
def cluster(running: TroubledCluster) -> Iterator[TroubledCluster]:
    """All is well before, and after.

    In between no peer fell silent and no service was started or stopped.
    """
    running.wait(running.second, {"registry": "STARTED/FROZEN_STOP"})
    running.wait_whole()
    yield running
    running.wait_whole()
    for node in running.nodes:
        assert "LIVE -> SILENT" not in running.must(
            node, f"cat {EZ}/log/nmond.log* 2>/dev/null || true"
        )
        assert running.states(node)["registry"] == "STARTED/FROZEN_STOP"
    assert running.calls("start") == ["deb1"] and running.calls("stop") == []


def test_multicast_blocked_by_the_switch_takes_down_multicast_only(
    cluster: TroubledCluster,
) -> None:
    """The switch floods no multicast to deb2: its net listener on eth1 is down, unicast on eth1 is
    not; and back.
    """
    port = "link set node1eth1 type bridge_slave mcast_flood"
    cluster.nodes.enclosure.ip(f"{port} off")
    try:
        cluster.wait_down(cluster.second, "net eth1:239.131.50.0")
        assert cluster.down(cluster.first) == set()
    finally:
        cluster.nodes.enclosure.ip(f"{port} on")


def test_interface_deleted_and_made_again_is_used_again(cluster: TroubledCluster) -> None:
    """A cable is taken away on deb1, and laid again: its links are down with the reason, then up
    without any help.
    """
    first = cluster.first
    gone = {name for name in cluster.link_states(first) if " h1:" in name}
    cluster.ip(first, "link del h1")
    try:
        cluster.wait_down(first, *gone)
        reasons = {cluster.link_states(first)[name]["reason"] for name in gone}
        assert reasons == {"interface h1 does not exist"}
    finally:
        lay_cables(cluster.nodes, [1])


def test_address_removed_and_put_back(cluster: TroubledCluster) -> None:
    """deb1 loses its address on h0: unicast to it is down, never more than h0.

    With the address all is up again.
    """
    first = cluster.first
    here = {name for name in cluster.link_states(first) if " h0:" in name}
    lost = {"unicast h0:10.60.0.1"}
    cluster.ip(first, "addr del 10.60.0.1/24 dev h0")
    try:
        cluster.until(
            lambda: cluster.down(first), lambda seen: lost <= seen <= here, "unicast on h0 is down"
        )
    finally:
        cluster.ip(first, "addr add 10.60.0.1/24 dev h0")


@pytest.mark.parametrize("mtu", [600, 1280])
def test_small_mtu_at_both_ends_loses_no_beat_of_a_thousand_services(
    cluster: TroubledCluster, mtu: int
) -> None:
    """Beats do not fit in one packet: IPv4 continues all the same.

    IPv6, which a link below 1,280 bytes cannot carry, is down.
    """
    lost = (
        {name for name in cluster.link_states(cluster.first) if "h1:fd00" in name}
        if mtu < 1280
        else set()
    )
    try:
        for node in cluster.nodes:
            cluster.ip(node, f"link set h1 mtu {mtu}")
        for node in cluster.nodes:
            cluster.wait_down(node, *lost)
        cluster.stays(lambda: cluster.down(cluster.second), lambda seen: seen == lost, TIMEOUT_S)
    finally:
        for number, node in enumerate(cluster.nodes, 1):
            cluster.ip(
                node, "link set h1 mtu 1500", f"addr replace fd00:60:1::{number}/64 dev h1 nodad"
            )


def test_taken_port_concerns_its_link_and_is_taken_over_when_free(cluster: TroubledCluster) -> None:
    """A link is added whose port another program of deb2 holds: it is down with the reason.

    The port is free: it is up.
    """
    first, second = cluster.nodes
    link = f"-n {first.name} -t unicast -i eth1 -d 10.50.1.2 -p 7000"
    holder = second.popen(
        ["python3", "-c", HOLD_PORT, "7000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for node in cluster.nodes:
            cluster.must(node, f"{EZ}/bin/hb -a {link} -T {TIMEOUT_S}")
        cluster.until(
            lambda: [each["reason"] for each in _links(cluster, second) if each["port"] == 7000],
            lambda seen: seen == ["eth1 10.50.1.2 port 7000: Address already in use"],
            "the reason",
        )
        assert [each["port"] for each in _links(cluster, second) if not each["is_up"]] == [7000]
    finally:
        holder.communicate(timeout=LIMIT_S)
    cluster.wait_whole()
    for node in cluster.nodes:
        cluster.must(node, f"{EZ}/bin/hb -r {link}")


def _links(cluster: TroubledCluster, node: Node) -> Any:
    return cluster.shown_links(node)


def test_host_name_that_does_not_resolve_and_later_does(cluster: TroubledCluster) -> None:
    """A link to a name that no one knows is added: down with the reason, nothing else.

    The name becomes known: up.
    """
    first, second = cluster.nodes
    link = f"-n {first.name} -t unicast -i eth1 -d deb2-hb.invalid -p 7001"
    for node in cluster.nodes:
        cluster.must(node, f"{EZ}/bin/hb -a {link} -T {TIMEOUT_S}")
    try:
        name = "unicast eth1:deb2-hb.invalid"
        cluster.wait_down(first, name)
        assert (
            "host name deb2-hb.invalid cannot be resolved"
            in cluster.link_states(first)[name]["reason"]
        )
        first.write(
            "/etc/hosts", first.read("/etc/hosts") + f"{second.address('eth1')} deb2-hb.invalid\n"
        )
        cluster.wait_whole()
    finally:
        for node in cluster.nodes:
            cluster.must(node, f"{EZ}/bin/hb -r {link}")


def test_clock_stepped_by_a_day_changes_nothing(cluster: TroubledCluster) -> None:
    """deb1's clock jumps a day ahead, then a day back, deb2's the other way: every link stays up,
    no line in the log.
    """
    first, second = cluster.nodes

    def logs() -> dict[str, str]:
        # A log that an earlier test moved away is there again with the next line only.
        return {
            node.name: cluster.must(node, f"cat {EZ}/log/nmond.log 2>/dev/null || true")
            for node in cluster.nodes
        }

    before = logs()
    try:
        for step in (86_400, -86_400):
            first.write("/run/clock.offset", str(step))
            second.write("/run/clock.offset", str(-step))
            asked = time.time()
            cluster.stays(
                lambda: [cluster.down(node) for node in cluster.nodes],
                lambda seen: seen == [set(), set()],
                TIMEOUT_S + 1,
            )
            shown = max(each["updated_at"] for each in _links(cluster, first))
            assert abs(shown - asked - step) < 60, "the clock that is shown was not stepped"
    finally:
        for node in cluster.nodes:
            node.write("/run/clock.offset", "0")
    assert logs() == before


def test_address_of_this_node_in_its_own_line_is_reported(cluster: TroubledCluster) -> None:
    """deb1's new link sends to deb1 itself, where the line for deb2 listens: counted as own, a
    warning reports it, never up.
    """
    first, second = cluster.nodes
    ours = f"-n {first.name} -t unicast -i lo -d 127.0.0.1 -p 7002"
    theirs = f"-n {second.name} -t unicast -i lo -d 127.0.0.1 -p 7002"
    for link in (ours, theirs):
        cluster.must(first, f"{EZ}/bin/hb -a {link} -T {TIMEOUT_S}")
    try:
        warning = "this node hears its own heartbeats: the address or port of this link is wrong"
        cluster.until(
            lambda: cluster.must(first, f"{EZ}/bin/hb -s -v"), lambda seen: warning in seen, warning
        )
        assert not next(
            each
            for each in _links(cluster, first)
            if each["port"] == 7002 and not each["is_sender"]
        )["is_up"]
    finally:
        for link in (theirs, ours):
            cluster.must(first, f"{EZ}/bin/hb -r {link}")
