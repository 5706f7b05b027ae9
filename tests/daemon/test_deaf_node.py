"""A daemon whose links cannot be opened hears no peer, and starts nothing for that."""

from __future__ import annotations

from opensvc_openha.core.timing import START_READY_DELAY_S
from tests.cluster_dir import ClusterDir
from tests.waiting import stays


def test_node_that_can_open_none_of_its_links_starts_nothing_until_one_is_opened(
    cluster_dir: ClusterDir,
) -> None:
    """Names of interface and disk have changed: no takeover, and it is reported why.

    The disk appears, and is listened to first.
    """
    disk = cluster_dir.path("disk").rename(cluster_dir.path("unplugged"))
    monitor = cluster_dir.path("conf/monitor")
    monitor.write_text(monitor.read_text().replace("\tlo\t", "\tgone0\t"))
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry unfreeze")
    cluster_dir.wait(
        lambda: "no link of this node could be opened yet" in cluster_dir.ok("hb -s -v"),
        "it is reported",
    )
    # By then a takeover would have come.
    stays(
        lambda: cluster_dir.state("registry"),
        lambda seen: seen == "STOPPED",
        START_READY_DELAY_S + 4,
    )
    assert "not started here yet" in cluster_dir.ok("service -s -v")
    assert (
        "DEAF: no link of this node could be opened yet, so that it hears no peer: no verdict"
        in cluster_dir.log()
    )
    disk.rename(cluster_dir.path("disk"))
    cluster_dir.wait_state("registry", "STARTED")
    assert "LISTENS: a link could be opened" in cluster_dir.log()
    assert cluster_dir.calls("registry.sh") == ["start"]
