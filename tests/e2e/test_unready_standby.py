"""A standby that could not run the service reports it, and is given nothing.

Nodes that are configured differently report it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from opensvc_openha.demo.nodes import Node
from tests.e2e.two_node_cluster import EZ, Cluster

pytestmark = pytest.mark.e2e


def look_again(cluster: Cluster, node: Node) -> None:
    """Has the daemon look at once, as each edit does."""
    cluster.must(node, f"kill -HUP $(cat {EZ}/services/.proc/nmond.lock)")


def reports(cluster: Cluster, node: Node, text: str) -> None:
    """Waits until `service -s -v` has a text."""
    cluster.until(
        lambda: cluster.must(node, f"{EZ}/bin/service -s -v"), lambda shown: text in shown, text
    )


def test_stop_that_would_leave_the_service_to_a_node_without_its_script_is_refused(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The script on the standby is not executable: both nodes warn, `stop` ends with 5.

    Repaired, the service moves.
    """
    cluster = make_cluster()
    cluster.run_on_first()
    cluster.must(cluster.second, "chmod 644 /opt/registry.sh")
    look_again(cluster, cluster.second)
    reports(cluster, cluster.second, "/opt/registry.sh is not executable")
    reports(cluster, cluster.first, "deb2.opensvc.com could not start registry")
    refused = cluster.first.run(f"{EZ}/bin/service -A registry stop")
    assert refused.returncode == 5 and "could not start it" in refused.stderr
    assert cluster.runs_on() == ["deb1"]
    cluster.must(cluster.second, "chmod 755 /opt/registry.sh")
    look_again(cluster, cluster.second)
    cluster.until(
        lambda: cluster.must(cluster.first, f"{EZ}/bin/service -s -v"),
        lambda shown: "could not start" not in shown,
        "no warning any more",
    )
    cluster.act(cluster.first, "registry", "stop")
    cluster.wait(cluster.first, {"registry": "STOPPED/STARTED"})


def test_nodes_whose_files_differ_report_in_what(make_cluster: Callable[..., Cluster]) -> None:
    """Another timeout and swapped roles on one node: a warning on both, in both commands, that
    names the files.
    """
    cluster = make_cluster()
    for node in cluster.nodes:
        cluster.start(node)
    cluster.wait(cluster.first, {"registry": "FROZEN_STOP/FROZEN_STOP"})
    for node in cluster.nodes:
        assert "configured differently" not in cluster.must(node, f"{EZ}/bin/service -s -v")
    services = cluster.must(cluster.second, f"cat {EZ}/conf/services").split()
    services[2], services[3] = services[3], services[2]
    cluster.second.write(f"{EZ}/conf/services", " ".join(services) + "\n")
    cluster.must(cluster.second, f"sed -i 's/2$/3/' {EZ}/conf/monitor")
    for node in cluster.nodes:
        reports(cluster, node, "the services file: which node is primary")
        reports(cluster, node, "the monitor file")
        assert "configured differently" in cluster.must(node, f"{EZ}/bin/hb -s -v")
