"""A third machine was cloned from the first and bears its name: a node that can see it reports
it.
"""

from __future__ import annotations

import pytest

from opensvc_openha.demo.nodes import TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.demo.story import monitor_file
from tests.e2e.two_node_cluster import EZ
from tests.waiting import until

pytestmark = pytest.mark.e2e

NAMES = ("deb1.opensvc.com", "deb2.opensvc.com", "deb1.opensvc.com")


def test_two_nodes_of_one_name_are_reported_by_the_peer_and_by_both(two_nodes: TwoNodes) -> None:
    """deb1 twice and deb2: deb2 believes the one it knows and names the other.

    Both deb1 find their disk slot overwritten.
    """
    two_nodes.close()
    with TwoNodes(NAMES) as nodes:
        for node in nodes:
            prepare(node)
            node.run("openha install --no-key")
            node.write(f"{EZ}/conf/nodes", "".join(f"{name}\n" for name in NAMES[:2]))
            node.write(f"{EZ}/conf/monitor", monitor_file(2))
            assert node.run(f"{EZ}/ezha start").returncode == 0
        written_over = (
            "warning: link dio /dev/mapper/disk.hb.0:0: something else writes to this node's slot"
        )
        wanted = (
            written_over,
            "warning: two nodes are named deb1.opensvc.com: one with boot counter",
            written_over,
        )
        for node, text in zip(nodes, wanted):
            until(
                lambda: node.run(f"{EZ}/bin/hb -s -v").stdout,
                lambda shown: text in shown,
                text,
                lambda: node.run(f"cat {EZ}/log/nmond.log").stdout,
            )
        assert "peer deb1.opensvc.com: live" in nodes[1].run(f"{EZ}/bin/hb -s -v").stdout
