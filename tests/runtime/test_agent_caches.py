"""The daemon drops what the OpenSVC agents keep of an hb status, at each change of state."""

import os


def keep(cluster, *names):
    """Files as an agent keeps them for the service web.opensvc.com."""
    folder = cluster.root / "var" / "web.opensvc.com"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("up\n")
    return folder


def add_service(cluster):
    """A service whose script is named as the wrapper of an agent's service."""
    cluster.path("conf/agents").write_text(f"# Written by a test.\ndrop {cluster.root}/var\nrun /bin/sh -c 'echo @SVCNAME@ >> "
                                           f"{cluster.root}/looked'\n")
    script = cluster.script("web.opensvc.com.cluster", "exit 0")
    cluster.ok(f"service -a web {script} {os.uname().nodename} peer.opensvc.com /bin/true")


def test_a_change_of_state_drops_what_the_agent_keeps_and_has_it_look(cluster_dir):
    """The service is unfrozen: the hb status and the summary go, other statuses stay, the command is run."""
    add_service(cluster_dir)
    cluster_dir.ok("ezha start")
    folder = keep(cluster_dir, "resource.status.last.hb#0", "status.json", "resource.status.last.fs#1")
    cluster_dir.ok("service -A web unfreeze")
    cluster_dir.wait(lambda: sorted(os.listdir(folder)) == ["resource.status.last.fs#1"], "the kept hb status is gone")
    looked = cluster_dir.path("looked")
    cluster_dir.wait(lambda: looked.exists() and "web.opensvc.com" in looked.read_text().split(), "the agent was made to look")


def test_a_daemon_that_starts_and_one_that_ends_drop_it_too(cluster_dir):
    """What was kept while no daemon ran is dropped at its start, what was kept while it ran at its end."""
    add_service(cluster_dir)
    folder = keep(cluster_dir, "resource.status.last.hb#0", "status.json")
    cluster_dir.ok("ezha start")
    assert os.listdir(folder) == []
    keep(cluster_dir, "resource.status.last.hb#0", "status.json")
    cluster_dir.ok("ezha stop")
    cluster_dir.wait(lambda: os.listdir(folder) == [], "dropped at the end")


def test_a_damaged_list_of_agents_hurts_nobody(cluster_dir):
    """Lines that say nothing, a directory that is none: the daemon works as without them."""
    add_service(cluster_dir)
    cluster_dir.path("conf/agents").write_bytes(b"drop\n\xff\xfe\ndrop /nonexistent\nrun /nonexistent 'x\nrun\n")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A web unfreeze")
    cluster_dir.wait_state("web", "STARTED")
