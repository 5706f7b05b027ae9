"""A stop that an operator asks for from within a file system of the service: refused, before
anything is stopped.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.agent.embedded import PrivateNode
from tests.cluster_dir import HERE, ClusterDir


@pytest.fixture
def node(private_node: PrivateNode) -> PrivateNode:
    """A service with a file system that is mounted, and an application that notes its calls."""
    script = private_node.root / "app"
    script.write_text(f"#!/bin/sh\necho $1 >> {private_node.root}/calls\n")
    script.chmod(0o755)
    private_node.write(
        "a",
        f"""\
        [fs#1]
        type = tmpfs
        dev = none
        mnt = {private_node.root}/data
        [app#1]
        script = {script}
        start = 1
        stop = 1
        """,
    )
    assert private_node.agent("a", "start").returncode == 0
    return private_node


def svcmgr(words: str) -> str:
    return f"{sys.executable} -m opensvc_openha.cli.svcmgr -s a {words}"


@pytest.mark.parametrize(
    "words", ["stop", "restart", "stopfs", "shutdown", "stop --dry-run", "stop --rid fs"]
)
def test_a_stop_from_within_the_file_system_is_refused(node: PrivateNode, words: str) -> None:
    """`cd /data; svcmgr -s a stop`: the shell is named, no application is stopped, and what is
    mounted stays so.
    """
    done = node.run(
        "bash", "-c", f"cd {node.root}/data && {{ {svcmgr(words)}; echo ended with $?; }}"
    )
    assert "ended with 5" in done.stdout
    assert (
        f"uses {node.root}/data, which the stop unmounts" in done.stderr and "bash(" in done.stderr
    )
    assert "nothing was done" in done.stderr
    assert "stop" not in (node.root / "calls").read_text().split()
    assert node.run("mountpoint", f"{node.root}/data").returncode == 0


def test_a_shell_with_a_file_open_there_is_named_too(node: PrivateNode) -> None:
    """An operator's script on the file system that is to be unmounted: its shell keeps it open."""
    script = node.root / "data" / "stop-all"
    node.run("sh", "-c", f"echo '{svcmgr('stop')}' > {script}")
    done = node.run("bash", str(script))
    assert (done.returncode, "from which this command was started" in done.stderr) == (5, True)


@pytest.mark.parametrize("words", ["stop --rid app#1", "print status", "startfs", "syncall"])
def test_other_actions_may_be_asked_for_from_there(node: PrivateNode, words: str) -> None:
    """Nothing is unmounted by them."""
    done = node.run("bash", "-c", f"cd {node.root}/data && {svcmgr(words)}; echo ended with $?")
    assert "which the stop unmounts" not in done.stderr and "ended with 0" in done.stdout


def test_a_stop_from_elsewhere_ends_others_that_keep_it_busy(node: PrivateNode) -> None:
    """A process in the file system that the command does not descend from: named, and ended, as
    before.
    """
    done = node.run(
        "bash", "-c", f"(cd {node.root}/data && exec sleep 300) & sleep 0.5; cd /; {svcmgr('stop')}"
    )
    assert done.returncode == 0 and "sleep(" in done.stderr


@pytest.fixture
def cluster(node: PrivateNode) -> Iterator[tuple[PrivateNode, ClusterDir]]:
    """A daemon on that node, which found the service running."""
    layout = ClusterDir(node.root / "ez")
    for name in ("etc", "var", "log", "bin"):
        layout.env[f"OSVC_{name.upper()}"] = str(node.root / name)
    environment = [f"{key}={value}" for key, value in layout.env.items() if key.startswith("OSVC_")]

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return node.run("env", "-u", "EZ", *environment, "bash", "-c", command)

    wrapper = node.root / "etc" / "a.cluster"
    added = run(
        f"{layout.root}/bin/service -a a {wrapper} {HERE} peer.opensvc.com /bin/true &&"
        f" {layout.root}/ezha start"
    )
    assert added.returncode == 0, added.stderr
    try:
        assert run(f"{layout.root}/bin/service -A a force-start").returncode == 0
        yield node, layout
    finally:
        run(f"cd /; {layout.root}/ezha kill")


@pytest.mark.parametrize(
    "command",
    ["bin/service -A a stop", "bin/service -A a freeze-stop", "bin/service -A stop", "ezha stop"],
)
def test_the_clusters_commands_refuse_it_too(
    cluster: tuple[PrivateNode, ClusterDir], command: str
) -> None:
    """Asked for through the cluster, the daemon's script would end the shell of the operator."""
    node, layout = cluster
    done = node.run(
        "bash",
        "-c",
        f"cd {node.root}/data && env -u EZ OSVC_ETC={node.root}/etc {layout.root}/{command}; "
        "echo ended with $?, still here",
    )
    assert "ended with 5, still here" in done.stdout, done
    assert "which the stop unmounts" in done.stderr and "Traceback" not in done.stderr
    assert (
        " STARTED " in node.run("env", "-u", "EZ", f"{layout.root}/bin/service", "-s", "-c").stdout
    )
    assert node.run("mountpoint", f"{node.root}/data").returncode == 0
