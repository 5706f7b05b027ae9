"""Synchronisation of two nodes through a real sshd and rsync: configuration, data, who may send,
and what goes wrong.
"""

from __future__ import annotations

import json
import os

import pytest

from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from tests.e2e.agent_cluster import AgentCluster

ENV = """\
[DEFAULT]
service_type = DEV
nodes = deb1.opensvc.com deb2.opensvc.com

[ip#1]
ipdev = eth0
ipname = 10.50.0.71
netmask = 24

[sync#1]
type = rsync
src = /srv/data
dst = /srv
target = nodes
options = --exclude=*.tmp
"""


@pytest.fixture
def linked_nodes(two_nodes: TwoNodes) -> TwoNodes:
    """Two nodes with the embedded agent, the service file on the first only, no ssh yet."""
    missing = node_ssh.missing_tools() or ("root" if os.geteuid() != 0 else "")
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {missing}")
    for node in two_nodes:
        prepare(node)
        done = node.run("openha install --embedded-agent --no-key")
        assert done.returncode == 0, done.stderr
    two_nodes[0].write("/etc/opensvc/web.env", ENV)
    two_nodes[0].write("/etc/opensvc/web.d/check", "#!/bin/sh\n", 0o755)
    two_nodes[0].write("/srv/data/page", "hello\n")
    two_nodes[0].write("/srv/data/x.tmp", "no\n")
    return two_nodes


def act(node: Node, command: str, exit_code: int = 0) -> str:
    done = node.run(command)
    assert done.returncode == exit_code, f"{node.name}: {command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def syncs(node: Node) -> dict[str, tuple[str, str]]:
    """rid to (status, log) of the syncs."""
    found = json.loads(node.run("svcmgr -s web json status").stdout)["resources"]
    return {
        rid: (res["status"], res["log"]) for rid, res in found.items() if rid.startswith("sync")
    }


@pytest.mark.e2e
def test_configuration_and_data_reach_the_peer_and_both_report_it(linked_nodes: TwoNodes) -> None:
    """Not sent yet: down where the service is up.

    After syncnodes: the files, the commands and "up" on both nodes.
    """
    first, second = linked_nodes
    node_ssh.connect(linked_nodes)
    act(first, "svcmgr -s web start")
    assert syncs(first) == {
        rid: ("down", "# deb2.opensvc.com need update\n") for rid in ("sync#1", "sync#i0")
    }
    act(first, "svcmgr -s web syncnodes --force")
    assert second.read("/etc/opensvc/web.env") == ENV
    assert (
        second.run("ls /srv/data; ls -l /etc/opensvc/web.d/check | cut -c1-10").stdout
        == "page\n-rwxr-xr-x\n"
    )
    assert os.path.lexists(second.root + "/etc/opensvc/web"), (
        "the commands of the service were not made"
    )
    assert {rid: status for rid, (status, _) in syncs(first).items()} == {
        "sync#1": "up",
        "sync#i0": "up",
    }
    assert syncs(second) == {"sync#1": ("up", ""), "sync#i0": ("up", "")}
    assert "|  '- sync#i0        .... up       rsync svc config to drpnodes, nodes" in act(
        second, "web print status"
    )

    first.run("rm /srv/data/page; echo 2 > /srv/data/other")
    act(first, "web syncall --rid sync#1")
    assert second.run("ls /srv/data").stdout == "other\n"

    refused = act(second, "web syncnodes", 5)
    assert (
        "sync#i0: won't send, for web is down on deb2.opensvc.com, run it where it is up" in refused
    )
    assert first.read("/etc/opensvc/web.env") == ENV

    # A day and a half later nothing was sent any more.
    for node in linked_nodes:
        act(
            node,
            "for f in /var/lib/opensvc/sync/*/web!sync#i0; do echo '2020-01-02 03:04:05.000000' >"
            " $f; done",
        )
    assert syncs(first)["sync#i0"] == (
        "down",
        "# deb2.opensvc.com need update\n# deb2.opensvc.com: last done 2020-01-02 03:04:05\n",
    )
    assert syncs(second)["sync#i0"] == (
        "warn",
        "# passive node needs update\n# deb2.opensvc.com: last done 2020-01-02 03:04:05\n",
    )


@pytest.mark.e2e
def test_edits_on_either_node_are_seen_and_none_is_lost(linked_nodes: TwoNodes) -> None:
    """Sent, then edited on the passive node: a warning there, and not overwritten without --force;
    edited here: to be sent.
    """
    first, second = linked_nodes
    node_ssh.connect(linked_nodes)
    act(first, "svcmgr -s web start")
    act(first, "svcmgr -s web syncnodes --rid sync#i0")
    assert syncs(first)["sync#i0"] == syncs(second)["sync#i0"] == ("up", "")

    edited = ENV.replace("DEV", "PRD")
    second.write("/etc/opensvc/web.env", edited)
    second.write("/etc/opensvc/web.d/check", "#!/bin/sh\n# better\n", 0o755)
    second.run("touch -d '1 minute' /etc/opensvc/web.env /etc/opensvc/web.d/check")
    assert syncs(second)["sync#i0"] == (
        "warn",
        "# differs from what was last received: edited here?\n",
    )
    output = act(first, "svcmgr -s web syncnodes --rid sync#i0", 5)
    newer = (
        "/etc/opensvc/web.d/check, /etc/opensvc/web.env on deb2.opensvc.com is newer than here, and"
        " differs"
    )
    assert newer in output and "overwrite it with --force" in output
    assert second.read("/etc/opensvc/web.env") == edited

    act(first, "svcmgr -s web syncnodes --rid sync#i0 --force")
    assert second.read("/etc/opensvc/web.env") == ENV
    assert second.read("/var/lib/opensvc/web/replaced/etc/opensvc/web.env") == edited
    assert syncs(first)["sync#i0"] == syncs(second)["sync#i0"] == ("up", "")

    first.write("/etc/opensvc/web.d/check", "#!/bin/sh\n# best\n", 0o755)
    assert syncs(first)["sync#i0"] == (
        "down",
        "# deb2.opensvc.com need update: changed here since it was sent\n",
    )
    act(first, "svcmgr -s web syncnodes --rid sync#i0")
    assert syncs(first)["sync#i0"] == syncs(second)["sync#i0"] == ("up", "")
    assert "# best" in second.read("/etc/opensvc/web.d/check")


@pytest.mark.e2e
def test_due_synchronisation_is_sent_by_the_node_that_runs_the_service(
    linked_nodes: TwoNodes,
) -> None:
    """Under the node daemon, schedule = @1: the peer has file and data by itself.

    A service that is down or frozen sends none.
    """
    cluster = AgentCluster(linked_nodes, options="[agent]\nmonitor_interval = 0.5\n")
    first, second = linked_nodes
    env = (
        first.read("/etc/opensvc/web.env")
        + "[sync#1]\nsrc = /srv/data\ndst = /srv\nschedule = @1\n"
    )
    for node in linked_nodes:
        node.write("/etc/opensvc/web.env", env)
    cluster.run_on_first()
    cluster.until(lambda: second.run("cat /srv/data/page").stdout, lambda seen: seen == "hello\n")
    cluster.until(lambda: syncs(first)["sync#1"][0], lambda status: status == "up")
    cluster.until(lambda: syncs(second)["sync#1"], lambda seen: seen == ("up", ""))
    log = first.read("/var/log/opensvc/web.log")
    assert "WEB.SYNC#1" in log and "deb2.opensvc.com is up to date" in log
    assert "SYNC#" not in (second.read("/var/log/opensvc/web.log"))


@pytest.mark.e2e
def test_each_reason_why_nothing_is_sent_is_reported_with_what_to_do(
    linked_nodes: TwoNodes,
) -> None:
    """No sshd, no key, no source, no file system at the destination: each named, exit code 6, and
    never "up" afterwards.
    """
    first, second = linked_nodes
    act(first, "svcmgr -s web start")
    output = act(first, "svcmgr -s web syncnodes --rid sync#i0", 6)
    assert "no sshd listens there: install openssh-server and start it" in output
    node_ssh.connect(linked_nodes)
    second.write("/root/.ssh/authorized_keys", "")
    output = act(first, "svcmgr -s web syncnodes --rid sync#i0", 6)
    assert (
        "it does not accept our ssh key" in output and "ssh-copy-id root@deb2.opensvc.com" in output
    )
    second.write("/root/.ssh/authorized_keys", first.read("/root/.ssh/id_ed25519.pub"))
    first.write("/etc/opensvc/web.env", ENV + "dstfs = /srv/fs\n")
    output = act(first, "svcmgr -s web syncnodes --rid sync#1", 6)
    assert "deb2.opensvc.com: /srv/fs is not mounted there: nothing was sent" in output
    first.run("mv /srv/data /srv/away")
    output = act(first, "svcmgr -s web syncnodes", 6)
    assert "sync#1: /srv/data does not exist: nothing was sent" in output
    assert {rid: status for rid, (status, _) in syncs(first).items()} == {
        "sync#1": "down",
        "sync#i0": "up",
    }
