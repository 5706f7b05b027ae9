"""Two nodes with a key and without ssh: what one asks of the other goes over the peer link."""

from __future__ import annotations

import re

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.e2e import from_outside
from tests.e2e.agent_cluster import EZ, AgentCluster

pytestmark = pytest.mark.e2e

DB = """\
[DEFAULT]
nodes = deb2.opensvc.com deb1.opensvc.com

[app#1]
script = /opt/web.init
start = 10
stop = 10
check = 10

[hb#0]
type = OpenHA
"""
EDITOR = r"""#!/bin/sh
printf '[scripts]\nparallel = %s\n' $VALUE > $1
"""
LOG = f"{EZ}/log/peer-link.log"


@pytest.fixture
def cluster(two_nodes: TwoNodes) -> AgentCluster:
    """Return the cluster with a key, started, the service frozen stopped."""
    cluster = AgentCluster(two_nodes, has_ssh=False)
    cluster.start_with_key()
    return cluster


def serves(cluster: AgentCluster, node: Node, times: int = 1) -> None:
    """Wait until the peer server of a node has begun to serve that often."""
    cluster.until(
        lambda: from_outside.times_served(node),
        lambda count: count == times,
    )


def server_pid(node: Node) -> str:
    """Return the pid of a node's peer server; empty without one."""
    return node.run("ps -eo pid=,args= | awk '/[p]eer-server/ {print $1}'").stdout.strip()


def added(cluster: AgentCluster, words: str) -> str:
    """Run `openha add` on the first node, which may find a link down on a busy machine."""
    done = cluster.until(
        lambda: cluster.first.run(f"openha add {words}"),
        lambda done: "does not answer" not in done.stderr,
    )
    assert done.returncode in (0, 2), done.stdout + done.stderr
    return done.stdout


def test_orders_need_no_ssh(cluster: AgentCluster) -> None:
    """Start, switch and stop drive both nodes over the link, each with an entry in the log there;
    a peer that allows no orders refuses them, and one whose server was killed has a new one.
    Without a daemon, or switched off, nothing listens.
    """
    first, second = cluster.nodes
    assert "over the peer link: exit code 0" in cluster.must(first, "web start")
    cluster.wait("STARTED/STOPPED")
    cluster.must(first, "web switch --reason CHG-12")
    cluster.wait("STOPPED/STARTED")
    why = cluster.must(first, "openha why webha")
    assert re.search(r"by root \(pid \d+, reason: CHG-12\)", why), why
    # The order here is the cause of the start there, which comes before what was heard of it here.
    timeline = cluster.must(second, "openha history webha --both")
    story = r"deb1\S+ +command stop for webha: by root \(pid \d+, reason: CHG-12\)"
    story += r"(?s:.*)deb2\S+ +service webha: STOPPED -> START_READY(?s:.*)STARTED"
    assert re.search(story, timeline), timeline
    assert "'switch --remote' on node deb2.opensvc.com over the peer link" in cluster.must(
        first, "web switch --to deb1.opensvc.com"
    )
    cluster.wait("STARTED/STOPPED")
    assert re.search(
        r"deb1\.opensvc\.com: request [0-9a-f]{8}: switch web", cluster.must(second, f"cat {LOG}")
    )

    second.write(f"{EZ}/conf/openha.conf", "[peer_link]\nallow = files\n")
    serves(cluster, second, 2)
    refused = cluster.act(first, "web freeze", 5)
    assert "this node does not take orders from the other node: [peer_link] allow" in refused
    assert ", so ssh is used" in refused
    cluster.wait("FROZEN_START/STOPPED")

    second.write(f"{EZ}/conf/openha.conf", "")
    serves(cluster, second, 3)
    killed = server_pid(second)
    cluster.must(second, f"kill -9 {killed}")
    serves(cluster, second, 4)
    assert "peer server: was ended by signal 9: started again" in cluster.must(
        second, f"cat {EZ}/log/nmond.log"
    )
    cluster.must(first, "web thaw")
    cluster.must(first, "web stop")
    cluster.wait("FROZEN_STOP/FROZEN_STOP")

    # The server ends with the daemon, however that ends, and when it is switched off.
    pid = cluster.must(second, f"cat {EZ}/services/.proc/nmond.lock").split()[0]
    cluster.must(second, f"kill -9 {pid}")
    cluster.until(lambda: server_pid(second), lambda found: not found)

    first.write(f"{EZ}/conf/openha.conf", "[peer_link]\nenabled = no\n")
    cluster.until(lambda: server_pid(first), lambda found: not found)
    assert "switched off" in cluster.must(first, f"cat {LOG}")
    assert "peer server" not in cluster.must(first, f"cat {EZ}/log/nmond.log")


def test_services_and_files_are_managed_from_one_node(cluster: AgentCluster) -> None:
    """Add, check, remove and the cluster's files: checked by both nodes, then changed on both, and
    what is wrong anywhere changes nothing.
    """
    first, second = cluster.nodes
    quiet = cluster.until(lambda: first.run("openha check"), lambda done: done.returncode == 1)
    assert "no fencing" in quiet.stdout

    # A service: its file is wrong; then only tried; then added; then there already.
    first.write("/root/wrong.env", DB.replace("nodes = deb2.opensvc.com", "nodes = deb3"))
    assert "/root/wrong.env:2: " in cluster.act(first, "openha add /root/wrong.env", 3)
    first.write("/root/db.env", DB)
    dry = cluster.must(first, "openha add --dry-run /root/db.env")
    assert "deb2.opensvc.com: write /etc/opensvc/db.env" in dry
    assert second.run("test -e /etc/opensvc/db.env").returncode == 1
    added(cluster, "/root/db.env")
    for node in cluster.nodes:
        # What has no fence of its own is not taken over without a proof.
        line = f"/etc/opensvc/db.cluster\tdeb2.opensvc.com\tdeb1.opensvc.com\t{EZ}/bin/fence"
        assert f"db\t{line}" in cluster.must(node, f"cat {EZ}/conf/services")
        assert (
            node.run("test -x /etc/opensvc/db.cluster && test -L /etc/opensvc/db").returncode == 0
        )
    waits = "db beside a silent peer can only wait for openha fence confirm"
    cluster.until(lambda: first.run("openha check").stdout, lambda text: waits in text)
    assert "db: nothing to do" in added(cluster, "/root/db.env")

    # A different file of it is replaced if that is said, and the old one is kept.
    first.write("/root/db.env", f"{DB}# more\n")
    assert "--yes does it" in cluster.act(first, "openha add /root/db.env", 5)
    added(cluster, "--yes /root/db.env")
    assert cluster.must(second, "cat /etc/opensvc/db.env") == f"{DB}# more\n"
    assert cluster.must(second, "cat /etc/opensvc/db.env.before") == DB

    # What a check finds.
    cluster.must(second, "chmod -x /etc/opensvc/web.cluster; echo '# x' >> /etc/opensvc/db.env")
    found = cluster.act(first, "openha check", 2)
    assert "error: deb2.opensvc.com: service webha: /etc/opensvc/web.cluster is not exec" in found
    assert "error: service db: db.env is not the same on both nodes" in found

    # It is not removed where it runs, then from both nodes at once.
    cluster.must(first, "openha remove --here --dry-run db")
    cluster.must(second, "db start")
    assert "stop it first" in cluster.act(first, "openha remove db --yes", 5)
    cluster.must(first, "db stop")
    assert "--yes does it" in cluster.act(first, "openha remove db", 5)
    cluster.must(first, "openha remove db --yes")
    for node in cluster.nodes:
        assert "db.cluster" not in cluster.must(node, f"cat {EZ}/conf/services; ls /etc/opensvc")
        assert node.run("test -e /etc/opensvc/db.env.removed").returncode == 0
    assert "no service db" in cluster.act(first, "openha remove db --yes", 2)

    # The cluster's files.
    conf = f"{EZ}/conf/openha.conf"
    assert "the same on both nodes" in cluster.must(first, "openha config diff")
    first.write("/root/edit", EDITOR, 0o755)
    edit = "VALUE={} EDITOR=/root/edit openha config edit openha.conf"
    assert f"{conf}:2: parallel: expected a whole number" in cluster.act(
        first, edit.format("many"), 3
    )
    assert "parallel = many" in cluster.must(first, f"cat {conf}.rejected")
    cluster.must(first, edit.format(3))
    assert cluster.must(second, f"cat {conf}") == "[scripts]\nparallel = 3\n"
    second.write(conf, "[scripts]\nparallel = 4\n", 0o600)
    first.write(conf, "[scripts]\nparallel = 5\n")
    assert "changes that were not seen on this node" in cluster.act(
        first, "openha config push --yes", 5
    )
    assert "-parallel = 4\n+parallel = 5" in cluster.act(first, "openha config diff", 1)
    cluster.must(first, "openha config push --yes")
    assert cluster.must(second, f"cat {conf}") == "[scripts]\nparallel = 5\n"
    assert cluster.must(second, f"cat {conf}.before") == "[scripts]\nparallel = 4\n"
    assert cluster.must(second, f"stat -c %a {conf} {conf}.before").split() == ["600", "600"]
