"""Containers in real docker daemons, on a node with processes, mounts and network of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from opensvc_openha.demo.containers import LOOP, busybox_tar, remove_cgroups
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import prepare
from opensvc_openha.errors import SystemFault
from tests.docker_parts import require_docker

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]
LIMIT_S = 90.0


@dataclass(frozen=True)
class DockerService:
    """One service with containers on the node. Its data is on an ext4 file system of its own."""

    node: Node
    name: str

    def write(self, containers: str, default: str = "") -> None:
        """Write the service file: a file system for docker, and these sections."""
        self.node.write(
            f"/etc/opensvc/{self.name}.env",
            f"[DEFAULT]\ndocker_data_dir = /opt/{self.name}/docker\n{default}\n[fs#1]\ntype ="
            f" ext4\ndev = /shared/{self.name}.img\nmnt = /opt/{self.name}\n{containers}",
        )

    def act(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one action; it has to succeed, unless asked otherwise."""
        done = self.node.run(["svcmgr", "-s", self.name, *words], LIMIT_S)
        assert (done.returncode == 0) is ok, (
            f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log()}"
        )
        return done

    def log(self) -> str:
        """The end of the daemon's log."""
        return self.node.run(f"tail -n 20 /var/lib/opensvc/{self.name}/docker.log").stdout

    def containers(self) -> dict[str, dict[str, str]]:
        """What the status reports of the containers, by resource."""
        found = json.loads(self.act("json", "status").stdout)["resources"]
        return {rid: entry for rid, entry in found.items() if rid.startswith("container")}

    def labels(self) -> dict[str, str]:
        """What the status calls the containers that are up."""
        return {
            rid: entry["label"]
            for rid, entry in self.containers().items()
            if entry["status"] == "up"
        }

    def with_image(self) -> DockerService:
        """Mount the file system and put the image in it."""
        self.act("start", "--rid", "fs")
        change = shlex.quote(LOOP)
        self.node.run(
            f"svcmgr -s {self.name} docker import --change {change} - bb:1 < /shared/bb.tar",
            LIMIT_S,
        )
        assert "bb" in self.act("docker", "images").stdout, self.log()
        return self

    def daemon_pid(self) -> str:
        """Pid of its daemon."""
        return self.node.read(f"/var/lib/opensvc/{self.name}/docker.pid").strip()

    def traces(self) -> str:
        """What is left of its daemon on the node: processes, mounts, interfaces, packet filter
        rules, files.
        """
        return self.node.run(["/usr/local/bin/traces", self.name]).stdout


TRACES = """#!/bin/sh
ps -eo args | grep -E 'docker|containerd' | grep "$1" | grep -v grep
ip -o link | grep ': ha-'
grep "$1" /proc/mounts
iptables -S | grep ha-
iptables -t nat -S | grep ha-
ls -d /run/openha-docker/*$1* /var/lib/opensvc/$1/docker.[ps]* 2>/dev/null
find /sys/fs/cgroup -path "*opensvc/$1*" -type d
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A booted node with the embedded agent and the tar of an image."""
    require_docker()
    try:
        nodes = TwoNodes(("deb1.opensvc.com",))
    except SystemFault as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    with nodes:
        only = nodes[0]
        prepare(only)
        assert only.run("openha install --embedded-agent --no-key").returncode == 0
        only.write("/usr/local/bin/traces", TRACES, 0o755)
        tar = busybox_tar(tmp_path_factory.mktemp("image") / "bb.tar")
        with open(f"{only.root}/shared/bb.tar", "wb") as copy:
            copy.write(tar.read_bytes())
        yield only


@pytest.fixture
def service(node: Node, request: pytest.FixtureRequest) -> Iterator[Callable[[str], DockerService]]:
    """Makes a service; it is stopped at the end, or what is left of it killed."""
    made = []

    def make(name: str) -> DockerService:
        found = DockerService(node, f"{name}{os.getpid()}")
        made.append(found)
        image = f"/shared/{found.name}.img"
        assert node.run(f"truncate -s 200M {image} && mkfs.ext4 -q {image}").returncode == 0
        return found

    yield make
    for each in made:
        node.run(["svcmgr", "-s", each.name, "stop"], LIMIT_S)
        node.run(f"rm -f /etc/opensvc/{each.name}.* /shared/{each.name}.img; ip -br link")
    remove_cgroups(*(each.name for each in made))


Make = Callable[[str], DockerService]

THREE = """
[container#1]
type = docker
run_image = bb:1
run_args = -p 5000:5000 -v /opt/{name}/data:/data
subset = 00database

[container#2]
type = docker
run_image = bb:1
subset = 01appservers

[container#3]
type = docker
run_image = bb:1
run_command = /bin/sh -c "sleep 1000"
stop_timeout = 1
subset = 01appservers

[subset#container.docker:01appservers]
parallel = true
"""


def test_containers_start_stop_and_come_back_as_they_were(service: Make) -> None:
    """Start, stop, start: up with id and image, stopped without a trace, and the same containers
    with their data again.
    """
    svc = service("life")
    svc.write(THREE.format(name=svc.name))
    down = svc.containers()["container#1"]
    assert (down["status"], down["label"], down["log"]) == (
        "down",
        "bb:1",
        "# docker daemon is not running\n",
    )

    failed = svc.act("start", ok=False)
    assert (
        "there is no image bb:1" in failed.stderr
        and f"'{svc.name} docker load -i FILE'" in failed.stderr
    )
    assert svc.traces() == "", "rolled back"

    svc.with_image()
    done = svc.act("start")
    assert "side by side: container#2, container#3" in done.stderr
    first = svc.labels()
    assert sorted(first) == ["container#1", "container#2", "container#3"]
    assert all(re.fullmatch("[0-9a-f]{12}@bb:1", label) for label in first.values()), first
    name = f"{svc.name}.container.2"
    svc.act("docker", "exec", name, "/bin/sh", "-c", "echo kept > /written")
    assert "is already running" in svc.act("start").stderr

    svc.act("stop")
    assert svc.traces() == ""
    assert "is already stopped" in svc.act("stop").stderr
    svc.act("start")
    assert svc.labels() == first
    assert svc.act("docker", "exec", name, "/bin/cat", "/written").stdout == "kept\n"


def test_the_docker_command_is_passed_through(service: Make) -> None:
    """Words, exit code, terminal and %instances% reach docker.

    Where the file system is not mounted no daemon is started.
    """
    svc = service("pass")
    svc.write(THREE.format(name=svc.name))
    refused = svc.act("docker", "ps", ok=False)
    assert f"on the file system of /opt/{svc.name}, which is not mounted here" in refused.stderr
    assert svc.traces() == ""
    svc.with_image().act("start", "--rid", "container#1")
    name = f"{svc.name}.container.1"
    assert svc.act("docker", "ps", "--format", "{{.Names}}").stdout == f"{name}\n"
    assert (
        svc.node.run(
            [f"/etc/opensvc/{svc.name}", "docker", "exec", name, "/bin/sh", "-c", "exit 7"]
        ).returncode
        == 7
    )
    found = svc.act("docker", "inspect", "-f", "{{.Name}}", "%instances%", ok=False).stdout
    assert found == f"/{name}\n\n" or found.startswith(f"/{name}"), "the others do not exist"
    master, slave = pty.openpty()
    words = [
        "svcmgr",
        "-s",
        svc.name,
        "docker",
        "exec",
        "-it",
        name,
        "/bin/sh",
        "-c",
        "test -t 0 && exit 9",
    ]
    process = svc.node.popen(words, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    assert process.wait(LIMIT_S) == 9
    os.close(master)

    svc.act("docker", "pause", name)
    assert svc.containers()["container#1"]["log"] == "# is paused\n"
    svc.act("stop")
    assert svc.traces() == "", "a paused container is stopped too"


def test_a_killed_daemon_leaves_nothing_behind(service: Make) -> None:
    """SIGKILL for dockerd: the status warns, a start brings the same containers back.

    For containerd: a stop frees all.
    """
    svc = service("kill")
    svc.write(THREE.format(name=svc.name))
    svc.with_image().act("start")
    first = svc.labels()
    svc.node.run(["kill", "-9", svc.daemon_pid()])
    assert {entry["status"] for entry in svc.containers().values()} == {"warn"}
    assert "containers it started still run" in svc.containers()["container#1"]["log"]
    assert "killing what is left of the docker daemon" in svc.act("start").stderr
    assert svc.labels() == first
    svc.node.run(["pkill", "-9", "-f", f"containerd --config .*{svc.name}"])
    assert "the docker daemon has lost its containerd: killing it" in svc.act("stop").stderr
    assert svc.traces() == ""


def test_a_hung_daemon_is_killed_and_reported(service: Make) -> None:
    """dockerd does not answer: the status reports it, and a stop kills it with its containers."""
    svc = service("hung")
    svc.write(THREE.format(name=svc.name))
    svc.with_image().act("start", "--rid", "container#1")
    pid = svc.daemon_pid()
    svc.node.run(["kill", "-STOP", pid])
    assert svc.containers()["container#1"]["log"] == "# docker daemon does not answer\n"
    assert (
        f"the docker daemon (pid {pid}) does not answer within 10 s: killing it"
        in svc.act("stop").stderr
    )
    assert svc.traces() == ""


ONE = "\n[container#1]\ntype = docker\nrun_image = bb:1\n{more}\n"


def test_a_container_that_ends_at_once_fails_the_start(service: Make) -> None:
    """Its exit code and last words are in the message, and it is not kept: with the file corrected
    the next start succeeds.
    """
    svc = service("ends")
    svc.write(ONE.format(more="run_command = /bin/sh -c 'echo no such table; exit 3'"))
    failed = svc.with_image().act("start", "--disable-rollback", ok=False)
    name = f"{svc.name}.container.1"
    assert f"{name} exited with exit code 3 at once: no such table" in failed.stderr
    svc.write(ONE.format(more=""))
    svc.act("start")
    assert list(svc.labels()) == ["container#1"]
    # One that was up once is kept, whatever becomes of it: there may be data in it.
    svc.act("docker", "exec", name, "/bin/sh", "-c", "echo exit 4 > /tmp/end")
    svc.act("stop")
    svc.write(ONE.format(more="run_command = /bin/sh -c 'exit 5'"))
    assert f"{svc.name} docker rm -f {name}" in svc.act("start").stderr
    assert svc.act("docker", "exec", name, "/bin/cat", "/tmp/end").stdout == "exit 4\n"


def test_arguments_that_docker_refuses_are_corrected_by_the_next_start(service: Make) -> None:
    """A port that is in use: docker's reason is in the message and no half-made container stays in
    the way.
    """
    svc = service("port")
    holder = svc.node.popen(["/bin/busybox", "nc", "-l", "-p", "7001"], stdin=subprocess.DEVNULL)
    try:
        svc.write(ONE.format(more="run_args = -p 7001:80"))
        assert "7001" in svc.with_image().act("start", ok=False).stderr
    finally:
        holder.kill()
        holder.wait()
    svc.write(ONE.format(more="run_args = -p 7002:80"))
    svc.act("start")
    assert "7002" in svc.act("docker", "port", f"{svc.name}.container.1").stdout


def test_a_daemon_that_does_not_start_reports_why(service: Make) -> None:
    """A word in docker_daemon_args that dockerd does not know: its own words are in the message,
    and nothing is left.
    """
    svc = service("args")
    svc.write(ONE.format(more=""), "docker_daemon_args = --nonsense\n")
    failed = svc.act("start", ok=False).stderr
    assert (
        "dockerd ended with exit code" in failed
        and ": unknown flag: --nonsense (see /var/lib/opensvc/" in failed
    )
    assert svc.traces() == ""


def test_an_interrupted_start_is_rolled_back(service: Make) -> None:
    """SIGTERM while the second container starts: the first is stopped again, and the daemon with
    it.
    """
    svc = service("intr")
    svc.write(
        ONE.format(more="")
        + ONE.format(more="pre_start = /bin/sleep 30").replace("container#1", "container#2")
    )
    svc.with_image()
    process = svc.node.popen(["svcmgr", "-s", svc.name, "start"], stderr=subprocess.PIPE)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "pre_start trigger" in line:
            os.killpg(process.pid, signal.SIGTERM)
            svc.node.run(f"pkill -TERM -f 'svcmgr -s {svc.name} start'")
    assert process.wait(LIMIT_S) != 0
    assert "interrupted by SIGTERM" in "".join(lines)
    svc.act("stop")
    assert svc.traces() == ""


def test_two_services_start_at_once_with_networks_of_their_own(service: Make) -> None:
    """Both daemons come up, with bridges in different subnets, and both published ports answer."""
    services = [service("twoa"), service("twob")]
    for port, svc in zip((7101, 7102), services):
        serve = f"run_command = /bin/sh -c 'echo {port} > /tmp/x; httpd -f -h /tmp'"
        svc.write(ONE.format(more=f"run_args = -p {port}:80\nstop_timeout = 1\n{serve}"))
        svc.with_image().act("stop")
    started = [
        svc.node.popen(["svcmgr", "-s", svc.name, "start"], stderr=subprocess.PIPE)
        for svc in services
    ]
    for process in started:
        _, reported = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0, reported
    node = services[0].node
    subnets = re.findall(r"ha-two\S+\s+inet (\S+)", node.run("ip -o -4 addr").stdout)
    assert len(set(subnets)) == 2
    for port in (7101, 7102):
        assert (
            node.run(f"busybox wget -qO- http://{node.address('eth0')}:{port}/x").stdout
            == f"{port}\n"
        )
