"""The daemon drops what the OpenSVC agents keep of an hb status, at each change of state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.daemon import agent_cache_invalidation
from opensvc_openha.daemon.agent_cache_invalidation import AgentCaches
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.system.processes import wait_for_end
from tests.cluster_dir import ClusterDir
from tests.waiting import LIMIT_S, until


def keep(cluster: ClusterDir, *names: str) -> Path:
    """Files as an agent keeps them for the service web.opensvc.com."""
    folder = cluster.root / "var" / "web.opensvc.com"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("up\n")
    return folder


def add_service(cluster: ClusterDir) -> None:
    """A service whose script is named as the wrapper of an agent's service."""
    cluster.path("conf/agents").write_text(
        f"# Written by a test.\ndrop {cluster.root}/var\nrun /bin/sh -c 'echo @SVCNAME@ >> "
        f"{cluster.root}/looked'\n"
    )
    script = cluster.script("web.opensvc.com.cluster", "exit 0")
    cluster.ok(f"service -a web {script} {os.uname().nodename} peer.opensvc.com /bin/true")


def test_a_change_of_state_drops_what_the_agent_keeps_and_has_it_look(
    cluster_dir: ClusterDir,
) -> None:
    """The service is unfrozen: the hb status and the summary go, other statuses stay, the command
    is run.
    """
    add_service(cluster_dir)
    cluster_dir.ok("ezha start")
    folder = keep(
        cluster_dir, "resource.status.last.hb#0", "status.json", "resource.status.last.fs#1"
    )
    cluster_dir.ok("service -A web unfreeze")
    cluster_dir.wait(
        lambda: sorted(os.listdir(folder)) == ["resource.status.last.fs#1"],
        "the kept hb status is gone",
    )
    looked = cluster_dir.path("looked")
    cluster_dir.wait(
        lambda: looked.exists() and "web.opensvc.com" in looked.read_text().split(),
        "the agent was made to look",
    )


def test_a_daemon_that_starts_and_one_that_ends_drop_it_too(cluster_dir: ClusterDir) -> None:
    """Start: all statuses go, which may be from before a power failure.

    End: the hb status goes, the others are true still.
    """
    add_service(cluster_dir)
    folder = keep(
        cluster_dir,
        "resource.status.last.hb#0",
        "status.json",
        "resource.status.last.fs#1",
        "other",
    )
    cluster_dir.ok("ezha start")
    assert os.listdir(folder) == ["other"]
    (folder / "other").unlink()
    keep(cluster_dir, "resource.status.last.hb#0", "status.json")
    cluster_dir.ok("ezha stop")
    cluster_dir.wait(lambda: os.listdir(folder) == [], "dropped at the end")


def test_a_damaged_list_of_agents_does_no_harm(cluster_dir: ClusterDir) -> None:
    """Lines that report nothing, a directory that is none: the daemon works as without them."""
    add_service(cluster_dir)
    cluster_dir.path("conf/agents").write_bytes(
        b"drop\n\xff\xfe\ndrop /nonexistent\nrun /nonexistent 'x\nrun\n"
    )
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A web unfreeze")
    cluster_dir.wait_state("web", "STARTED")


def test_an_agent_with_a_daemon_of_its_own_is_made_to_look_at_the_start_and_at_the_end(
    cluster_dir: ClusterDir,
) -> None:
    """It shows `not running` for as long as it is not asked to look: the command is run once ours
    answers, and when it is gone.
    """
    add_service(cluster_dir)
    looked = cluster_dir.path("looked")
    cluster_dir.ok("ezha start")
    cluster_dir.wait(lambda: looked.exists(), "looked at the start")
    count = len(looked.read_text().split())
    cluster_dir.ok("ezha stop")
    cluster_dir.wait(lambda: len(looked.read_text().split()) > count, "looked at the end")


def test_a_service_in_a_namespace_is_named_with_it(cluster_dir: ClusterDir) -> None:
    """The wrapper stands in the directory of a namespace: the agent is asked for the service of
    that namespace.
    """
    folder = cluster_dir.root / "namespaces" / "test" / "svc"
    folder.mkdir(parents=True)
    script = cluster_dir.script("namespaces/test/svc/web.cluster", "exit 0")
    looked = cluster_dir.path("looked")
    cluster_dir.path("conf/agents").write_text(f"run /bin/sh -c 'echo @SVCNAME@ >> {looked}'\n")
    cluster_dir.ok(f"service -a web {script} {os.uname().nodename} peer.opensvc.com /bin/true")
    cluster_dir.ok("ezha start")
    cluster_dir.wait(
        lambda: looked.exists() and looked.read_text().split() == ["test/svc/web"], "looked"
    )


def test_a_command_that_hangs_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its child is a member of its process group, and would stay at each change of state."""
    layout, child = tree_layout(str(tmp_path)), tmp_path / "child"
    script = tmp_path / "agent"
    script.write_text(
        f"#!/bin/sh\nsleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait\n"
    )
    script.chmod(0o755)
    os.mkdir(os.path.dirname(layout.agents_file))
    Path(layout.agents_file).write_text(f"run {script} @SVCNAME@\n")
    monkeypatch.setattr(agent_cache_invalidation, "_RUN_LIMIT_S", 0.5)
    caches = AgentCaches(layout, lambda: {"web": "/x/web.opensvc.com.cluster"})
    # Again and again: a busy machine may not have begun the child within the limit.
    until(lambda: caches.invalidate("web") or child.exists())
    assert wait_for_end([int(child.read_text())], LIMIT_S) == []
