"""Both services of the tutorial with their eight containers on two nodes, compared with its text
line by line.

Their files are those of the tutorial, except that the images are our own, and that the volume
groups are disabled: the logical volumes are files under the names of the tutorial. So the status of
the volume group is not compared, nor its column.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.containers import FILES, IMAGES, install_containers, remove_cgroups
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import PRELUDE, prepare
from opensvc_openha.demo.story import NAMES, monitor_file
from opensvc_openha.errors import SystemFault
from tests import waiting
from tests.docker_parts import require_docker
from tests.e2e.transcript import normalised, read_transcript
from tests.waiting import LIMIT_S

TRANSCRIPT = Path(__file__).with_name("tutorial_containers.txt")
ADDRESSES = {"registry.opensvc.com": "37.59.71.25", "busybox.opensvc.com": "37.59.71.24"}
LINK_TIMEOUT_S = 2
DISK_COLUMN = 5


def must(node: Node, command: str) -> str:
    """Run a command that has to succeed; its output."""
    done = node.run(command, LIMIT_S)
    assert done.returncode == 0, f"{node.name}: {command}: {done.stdout}{done.stderr}"
    return done.stdout


def install(nodes: TwoNodes) -> dict[str, str]:
    """Install OpenHA, then services, file systems and images; return the ids of the images."""
    for node in nodes:
        prepare(node)
    images = install_containers(nodes)
    for node in nodes:
        node.write("/usr/local/cluster/conf/nodes", "".join(f"{name}\n" for name in NAMES))
        node.write("/usr/local/cluster/conf/monitor", monitor_file(LINK_TIMEOUT_S))
    return images


class Ids:
    """Knows which real id stands for which one of the tutorial: by the names of the images and
    containers.
    """

    def __init__(self, images: dict[str, str]) -> None:
        self._known = dict(images)

    def learn(self, node: Node, transcript: str) -> None:
        """Take the ids of containers as they are now, each for the one that stands in the
        transcript.
        """
        for service in FILES:
            svc = f"{service}.opensvc.com"
            listed = must(node, f"{svc} docker ps -a --format '{{{{.ID}}}} {{{{.Names}}}}'")
            for real, name in re.findall(r"(\w+) \S+\.container\.(\d+)", listed):
                shown = re.findall(
                    rf"container#{name} .*up +(\w+)@{re.escape(IMAGES[service][0])}", transcript
                )
                self._known[real] = shown[0]

    def output(self, text: str) -> str:
        """The text with the ids of the tutorial."""
        for real, shown in self._known.items():
            text = text.replace(real, shown)
        return text


def comparable(text: str) -> str:
    """Without what depends on volume groups."""
    lines = []
    for line in normalised(text).splitlines():
        line = re.sub(r"(vg#1 +)\S{4} \S+ +", r"\1", line)
        columns = re.findall(r"\S+ *", line)
        if len(columns) == 14 and columns[1].strip() == "DEV":
            columns[DISK_COLUMN] = "-".ljust(len(columns[DISK_COLUMN]))
            line = "".join(columns)
        lines.append(line.rstrip())
    return "\n".join(lines)


@pytest.fixture
def container_nodes() -> Iterator[tuple[TwoNodes, Ids]]:
    """Two nodes with the tutorial's services and their images, and what stands for the ids of
    these.
    """
    require_docker()
    try:
        nodes = TwoNodes(hosts=ADDRESSES)
    except SystemFault as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    try:
        with nodes:
            node_ssh.connect(nodes)
            yield nodes, Ids(install(nodes))
    finally:
        remove_cgroups(*ADDRESSES)


@pytest.mark.e2e
@pytest.mark.root
@pytest.mark.timeout(3600)
def test_the_containers_of_the_tutorial_move_with_their_data(
    container_nodes: tuple[TwoNodes, Ids],
) -> None:
    """Start, takeover after a power failure and failback: every status as printed, the same
    containers, their data there.
    """
    nodes, ids = container_nodes
    text = TRANSCRIPT.read_text()
    for typed in read_transcript(text):
        node = nodes[typed.node]
        began = time.monotonic()
        if typed.how == "!":
            {"halt": node.kill, "boot": lambda: (node.boot(), must(node, "at-boot"))}[
                typed.command
            ]()
            continue
        give_up = began + (LIMIT_S if typed.how == "~" else 0)
        while True:
            asked = time.monotonic()
            try:
                done = node.run(PRELUDE + typed.command, LIMIT_S)
            except subprocess.TimeoutExpired as error:
                pytest.fail(f"{typed.command}: {error.stdout!r}{error.stderr!r}")
            shown = comparable(ids.output(done.stdout + done.stderr))
            if (
                done.returncode == 0 and shown == comparable(typed.expected)
            ) or time.monotonic() >= give_up:
                break
            waiting.pause_after(asked)
        sys.stdout.write(
            f"{time.monotonic() - began:6.1f} s  {node.short_name}{typed.how} {typed.command}\n"
        )
        story = (
            node.run("tail -n 60 /var/log/opensvc/*.log").stdout
            if shown != comparable(typed.expected)
            else ""
        )
        assert shown == comparable(typed.expected), (
            f"{TRANSCRIPT.name}:{typed.line}: on {node.name}: {typed.command}\n{story}"
        )
        assert done.returncode == 0, (
            f"{typed.command}: {node.run('tail -n 60 /var/log/opensvc/*.log').stdout}"
        )
        if typed.command.startswith("busybox.opensvc.com start"):
            ids.learn(node, text)
