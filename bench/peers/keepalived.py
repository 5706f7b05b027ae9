"""keepalived: one VRRP instance with an address, whose notify scripts are the resource."""

from __future__ import annotations

import os
from functools import partial

from bench.node_commands import must
from bench.peers.pair import SCRIPT_PATH, PeerPair
from opensvc_openha.demo.nodes import Node, TwoNodes

PROGRAM = "keepalived"
STATUS_COMMANDS = ("keepalived --version",)
"""It has no command that shows its state: of what there is, this starts it and ends."""
CONFIGURATION = """\
global_defs {{
    script_user root
    vrrp_version 3
}}
vrrp_instance svc {{
    state BACKUP
    nopreempt
    interface eth1
    virtual_router_id 51
    priority {priority}
    advert_int {advert_s:g}
    virtual_ipaddress {{
        10.50.1.100/24 dev eth1
    }}
    notify_master "{script} start"
    notify_backup "{script} stop"
    notify_stop "{script} stop"
}}
"""
PID_FILE = "/run/keepalived.pid"


class KeepalivedPair(PeerPair):
    """Adverts at this interval; the other node is master after three of them and a skew."""

    def __init__(self, nodes: TwoNodes, advert_s: float) -> None:
        self.advert_s = advert_s
        self.settle_s = 5 * advert_s
        super().__init__(nodes)

    def configure(self, node: Node) -> None:
        """Write the one file, with the priority of the node."""
        node.write(
            "/etc/keepalived/keepalived.conf",
            CONFIGURATION.format(
                priority=100 - node.index, advert_s=self.advert_s, script=SCRIPT_PATH
            ),
        )

    def start(self, node: Node) -> None:
        """Start it as a daemon."""
        must(node, f"keepalived --dont-fork --log-console -p {PID_FILE} > /var/log/k 2>&1 &")

    def is_joined(self, node: Node) -> bool:
        """Return whether it runs: a backup that hears a master has nothing to show for it."""
        return os.path.exists(f"{node.root}{PID_FILE}")

    def move(self) -> None:
        """End it on the owner: with ``nopreempt`` there is no other order; then start it again."""
        must(self.owner, f"kill -TERM $(cat {PID_FILE})")
        self.until(lambda: self.runs(self.standby) and not self.is_joined(self.owner), "moved")
        self.start(self.owner)


SETTINGS = {
    "adverts 1 s": partial(KeepalivedPair, advert_s=1.0),
    "0.1 s": partial(KeepalivedPair, advert_s=0.1),
}
