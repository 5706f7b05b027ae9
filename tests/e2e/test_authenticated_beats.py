"""Two nodes on real links: a key that comes, is changed, and stands between them and a third
machine's datagrams.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node
from tests.e2e.two_node_cluster import EZ, Cluster

pytestmark = pytest.mark.e2e

TAP = """
# Records the datagrams of a multicast group for some seconds, then plays them to the group,
# again and again.
import json, socket, struct, sys, time
group, port, device = sys.argv[1], int(sys.argv[2]), sys.argv[3]
record_s, play_s = float(sys.argv[4]), float(sys.argv[5])
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ear.bind((group, port))
index = socket.if_nametoindex(device)
membership = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index)
ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
ear.settimeout(0.1)
tape, end = [], time.monotonic() + record_s
while time.monotonic() < end:
    try:
        tape.append(ear.recv(65536))
    except OSError:
        pass
print(len(tape), flush=True)
mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
interface = struct.pack("=4s4si", bytes(4), bytes(4), index)
mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
end, number = time.monotonic() + play_s, 0
while time.monotonic() < end:
    mouth.sendto(tape[number % len(tape)], (group, port))
    number += 1
    time.sleep(0.02)
"""


def authentication(cluster: Cluster, node: Node) -> Any:
    """Mode and keys as `hb -s --json` reports them."""
    return json.loads(cluster.must(node, f"{EZ}/bin/hb -s --json"))["authentication"]


def copy_key(source: Node, target: Node, cluster: Cluster) -> None:
    """What an operator does with ssh."""
    text = cluster.must(source, f"cat {EZ}/conf/openha.key")
    target.write("/root/peer.key", text, 0o600)
    cluster.must(target, "openha key install /root/peer.key")


def wait_auth(cluster: Cluster, **wanted: Any) -> None:
    for node in cluster.nodes:
        cluster.until(
            lambda: authentication(cluster, node),
            lambda seen: {**seen, **wanted} == seen,
            str(wanted),
        )


def key_ids(cluster: Cluster, node: Node) -> Any:
    """Role to key id."""
    lines = cluster.must(node, f"cat {EZ}/conf/openha.key").splitlines()
    return dict(line.split()[:2] for line in lines if not line.startswith("#"))


def alarms(cluster: Cluster, node: Node) -> list[str]:
    """Lines of the log that report a link or a peer that went away after the start."""
    log = cluster.must(node, f"cat {EZ}/log/nmond.log")
    return [line for line in log.splitlines() if "-> SILENT" in line or ": DOWN: no beat" in line]


def test_key_comes_to_a_running_cluster_and_is_rotated_without_a_lost_beat(
    make_cluster: Callable[..., Cluster],
) -> None:
    """A service runs all along: key to one node, to the other, enforced, next key, both ways round.
    No link ever goes down.
    """
    cluster = make_cluster()
    first, second = cluster.first, cluster.second
    cluster.run_on_first()
    before = [alarms(cluster, node) for node in cluster.nodes]
    cluster.must(first, "openha key generate")
    copy_key(first, second, cluster)
    key = key_ids(cluster, first)["current"]
    wait_auth(cluster, mode="enforced", sends=key, peer_sends=key)
    for rotating, other in ((first, second), (second, first)):
        cluster.must(rotating, "openha key rotate")
        wanted = key_ids(cluster, rotating)["next"]
        copy_key(rotating, other, cluster)
        wait_auth(cluster, sends=wanted, peer_sends=wanted)
        for node in cluster.nodes:
            cluster.until(
                lambda: key_ids(cluster, node),
                lambda seen: seen == {"current": wanted},
                "the former key is gone",
            )
    assert [alarms(cluster, node) for node in cluster.nodes] == before
    for node in cluster.nodes:
        # The other node was restarted a moment ago: it is heard again on each link in its own time.
        cluster.until(
            lambda: set(cluster.listeners(node).values()),
            lambda seen: seen == {"UP"},
            "all links are up",
        )
        cluster.must(node, f"{EZ}/ezha restart")
    for node in cluster.nodes:
        cluster.wait(node, {"registry": "STARTED/STOPPED"})
    assert (cluster.calls("start"), cluster.calls("stop")) == (["deb1"], [])


def test_recorded_beats_of_a_dead_owner_do_not_stop_the_takeover(
    make_cluster: Callable[..., Cluster],
) -> None:
    """Everything on eth1 is recorded.

    The owner loses its power; its beats are played there all along: taken over on deb2.
    """
    cluster = make_cluster()
    first, second = cluster.first, cluster.second
    cluster.must(first, "openha key generate")
    copy_key(first, second, cluster)
    cluster.run_on_first()
    second.write("/root/tap.py", textwrap.dedent(TAP))
    cluster.must(
        second, "python3 /root/tap.py 239.131.50.10 5010 eth1 4 1000 > /root/tap.out 2>&1 &"
    )
    cluster.until(
        lambda: second.run("cat /root/tap.out").stdout.strip(),
        lambda seen: seen.isdigit(),
        "beats recorded",
    )
    first.kill()
    cluster.wait(second, {"registry": "UNKNOWN/STARTED"})
    assert cluster.runs_on() == ["deb2"]

    def replays() -> Any:
        links = json.loads(cluster.must(second, f"{EZ}/bin/hb -s --json"))["links"]
        return sum(link["counts"].get("replayed", 0) for link in links)

    cluster.until(replays, lambda seen: seen > 50, "replays are counted")


def test_only_one_node_has_the_key_and_enforces_it_the_other_reports_it(
    make_cluster: Callable[..., Cluster],
) -> None:
    """Enforced on deb1, nothing on deb2: deb1 hears no peer, deb2 does; both report why."""
    cluster = make_cluster()
    first, second = cluster.nodes
    cluster.must(first, "openha key generate")
    first.write(f"{EZ}/conf/openha.conf", "[heartbeat]\nauthentication = enforced\n")
    for node in cluster.nodes:
        cluster.start(node)
    cluster.until(
        lambda: cluster.listeners(second),
        lambda seen: set(seen.values()) == {"UP"},
        "deb2 hears deb1",
    )
    cluster.until(
        lambda: cluster.must(first, f"{EZ}/bin/hb -s -v"),
        lambda seen: "unauthenticated" in seen,
        "counted",
    )
    assert set(cluster.listeners(first).values()) == {"DOWN"}
    assert "heartbeats are not authenticated" in cluster.must(second, f"{EZ}/bin/hb -s -v")
    copy_key(first, second, cluster)
    cluster.until(
        lambda: cluster.listeners(first),
        lambda seen: set(seen.values()) == {"UP"},
        "deb1 hears deb2",
    )
