"""heartbeat of the Linux-HA project, with haresources: no cluster resource manager, no fencing."""

from __future__ import annotations

from functools import partial

from bench.node_commands import must
from bench.peers.pair import SCRIPT, PeerPair
from opensvc_openha.demo.nodes import NAMES, Node, TwoNodes

PROGRAM = "/usr/libexec/heartbeat/heartbeat"
STATUS_COMMANDS = ("cl_status hbstatus",)
CONFIGURATION = """\
logfile /var/log/ha-log
keepalive {keepalive_ms}ms
deadtime {deadtime_s:g}
initdead {initdead_s:g}
udpport 694
mcast eth1 239.131.50.20 694 1 0
mcast eth2 239.131.50.21 694 1 0
auto_failback off
crm no
node {nodes}
"""
STATUS = """case $1 in
status) if [ -e /run/up ]; then echo running; else echo stopped; fi;;
esac
"""


class HeartbeatPair(PeerPair):
    """Its deadtime in seconds; four of its packets are missed before that."""

    settle_s = 3.0

    def __init__(self, nodes: TwoNodes, deadtime_s: float) -> None:
        self.deadtime_s = deadtime_s
        super().__init__(nodes)

    def configure(self, node: Node) -> None:
        """Write its three files and the resource's script."""
        node.write(
            "/etc/ha.d/ha.cf",
            CONFIGURATION.format(
                keepalive_ms=int(250 * self.deadtime_s),
                deadtime_s=self.deadtime_s,
                initdead_s=max(5.0, 2 * self.deadtime_s),
                nodes=" ".join(NAMES),
            ),
        )
        node.write("/etc/ha.d/authkeys", "auth 1\n1 crc\n", 0o600)
        node.write("/etc/ha.d/haresources", f"{NAMES[0]} svc\n")
        node.write("/etc/ha.d/resource.d/svc", SCRIPT + STATUS, 0o755)

    def start(self, node: Node) -> None:
        """Start it as a daemon, with the directory that its unit would make."""
        must(
            node,
            "mkdir -p /run/heartbeat/ccm /run/heartbeat/dopd /run/heartbeat/rsctmp;"
            " chown hacluster:haclient /run/heartbeat/ccm /run/heartbeat/dopd;"
            f" {PROGRAM} > /var/log/heartbeat.start 2>&1",
        )

    def is_joined(self, node: Node) -> bool:
        """Return whether it shows the other node as active."""
        return node.run(f"cl_status nodestatus {NAMES[1 - node.index]}").stdout.strip() == "active"

    def move(self) -> None:
        """Give all resources to the other node."""
        must(self.owner, "/usr/share/heartbeat/hb_standby all")


SETTINGS = {
    "deadtime 10 s": partial(HeartbeatPair, deadtime_s=10.0),
    "2 s": partial(HeartbeatPair, deadtime_s=2.0),
}
