"""Pacemaker on corosync: one resource of an OCF agent, no fencing."""

from __future__ import annotations

from functools import partial

from bench.node_commands import must
from bench.peers.pair import PeerPair
from opensvc_openha.demo.nodes import NAMES, Node, TwoNodes

PROGRAM = "pacemakerd"
STATUS_COMMANDS = ("crm_mon -1",)
COROSYNC = """\
totem {{
    version: 2
    cluster_name: bench
    transport: knet
    crypto_cipher: none
    crypto_hash: none
    token: {token_ms}
}}
quorum {{
    provider: corosync_votequorum
    two_node: 1
    wait_for_all: 0
}}
logging {{
    to_syslog: no
    to_logfile: yes
    logfile: /var/log/corosync.log
}}
nodelist {{
{nodes}}}
"""
NODE = """\
    node {{
        name: {name}
        nodeid: {number}
        ring0_addr: {first}
        ring1_addr: {second}
    }}
"""
AGENT = """#!/bin/sh
case $1 in
start|stop) date +%s.%N >> /var/tmp/$1.times;;
esac
case $1 in
start) touch /run/up;;
stop) rm -f /run/up;;
monitor) [ -e /run/up ] || exit 7;;
meta-data) cat << END
<?xml version="1.0"?>
<resource-agent name="svc" version="1.0">
<version>1.0</version>
<longdesc lang="en">Records its calls.</longdesc>
<shortdesc lang="en">Records its calls.</shortdesc>
<parameters/>
<actions>
<action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/><action name="meta-data" timeout="5s"/>
</actions>
</resource-agent>
END
;;
esac
exit 0
"""
RESOURCE = (
    '<primitive id="svc" class="ocf" provider="bench" type="svc"><operations>'
    '<op id="svc-monitor" name="monitor" interval="10s" timeout="20s"/>'
    "</operations></primitive>"
)


class PacemakerPair(PeerPair):
    """corosync's token timeout in ms; two links, as the heartbeats here have."""

    def __init__(self, nodes: TwoNodes, token_ms: int) -> None:
        self.token_ms = token_ms
        self.is_new = True
        super().__init__(nodes)
        self.is_new = False

    def configure(self, node: Node) -> None:
        """Write corosync's file and the resource agent."""
        members = "".join(
            NODE.format(
                name=each.name,
                number=each.index + 1,
                first=each.address("eth1"),
                second=each.address("eth2"),
            )
            for each in self.nodes
        )
        node.write(
            "/etc/corosync/corosync.conf", COROSYNC.format(token_ms=self.token_ms, nodes=members)
        )
        node.write("/usr/lib/ocf/resource.d/bench/svc", AGENT, 0o755)

    def start(self, node: Node) -> None:
        """Start both programs; the first time, write the cluster's configuration."""
        must(node, "mkdir -p /run/crm; chown hacluster:haclient /run/crm; corosync")
        must(node, "pacemakerd > /var/log/pacemakerd.log 2>&1 &")
        if self.is_new and node.index == len(NAMES) - 1:
            self.until(lambda: all(map(self.is_joined, self.nodes)), "both nodes online")
            must(node, "crm_attribute -t crm_config -n stonith-enabled -v false")
            must(node, "crm_attribute -t rsc_defaults -n resource-stickiness -v 100")
            must(node, f"cibadmin -C -o resources -X '{RESOURCE}'")

    def is_joined(self, node: Node) -> bool:
        """Return whether its status shows both nodes online."""
        found = node.run("crm_mon -1")
        online = [line for line in found.stdout.splitlines() if "Online:" in line]
        return bool(online) and all(name in online[0] for name in NAMES)

    def move(self) -> None:
        """Move the resource, then clear the constraint that the move has left."""
        must(self.owner, f"crm_resource -r svc --move -N {self.standby.name}")
        self.until(lambda: self.runs(self.standby), "moved")
        must(self.owner, "crm_resource -r svc --clear")


SETTINGS = {
    "token 1 s": partial(PacemakerPair, token_ms=1_000),
    "3 s (default)": partial(PacemakerPair, token_ms=3_000),
}
