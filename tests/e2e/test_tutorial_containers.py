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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.player import PRELUDE, prepare
from opensvc_openha.demo.story import NAMES, monitor_file
from opensvc_openha.errors import SystemFault
from tests.agent.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from tests.docker_parts import LOOP, busybox_tar, remove_cgroups, require_docker
from tests.e2e.transcript import normalised, read_transcript
from tests.waiting import LIMIT_S

TRANSCRIPT = Path(__file__).with_name("tutorial_containers.txt")
ADDRESSES = {"registry.opensvc.com": "37.59.71.25", "busybox.opensvc.com": "37.59.71.24"}
VOLUMES = {
    "registry": (
        "vgregistry-lvregistryroot",
        "vgregistry-lvdockerdata",
        "vgregistry-lvregistrydata",
    ),
    "busybox": ("vgbusybox-lvbusyboxroot", "vgbusybox-lvbusyboxdata"),
}
FILES = {"registry": REGISTRY_ENV, "busybox": BUSYBOX_ENV}
IMAGES = {
    "registry": ("registry:latest", "de9a91835513"),
    "busybox": ("opensvc/busybox:date", "b073e328878e"),
}
SERVE = (
    'CMD ["/bin/sh", "-c", "httpd -p 5000 -h $STORAGE_PATH; trap \'exit 0\' TERM; while true; do'
    ' sleep 1 & wait $!; done"]'
)
COMMANDS = {"registry": SERVE, "busybox": LOOP}
LINK_TIMEOUT_S = 2
DISK_COLUMN = 5

AT_BOOT = f"""#!/bin/sh
# What is gone after a power failure: the names of the volumes,
# and the way to the services' addresses.
for volume in {" ".join(name for names in VOLUMES.values() for name in names)}; do
    ln -sf /shared/$volume.img /dev/mapper/$volume
done
ip route add 37.59.71.0/24 dev eth0
"""


def must(node: Node, command: str) -> str:
    """Run a command that has to succeed; its output."""
    done = node.run(command, LIMIT_S)
    assert done.returncode == 0, f"{node.name}: {command}: {done.stdout}{done.stderr}"
    return done.stdout


def install(nodes: TwoNodes, tar: Path) -> dict[str, str]:
    """Services, file systems and OpenHA; the images in the services' docker data.

    Gives the ids of the images.
    """
    for node in nodes:
        prepare(node)
        node.write("/usr/local/bin/at-boot", AT_BOOT, 0o755)
        must(node, "at-boot")
        for service, text in FILES.items():
            node.write(
                f"/etc/opensvc/{service}.opensvc.com.env",
                text.replace("[vg#1]\n", "[vg#1]\ndisable = true\n"),
            )
        must(node, "openha install --embedded-agent --no-key")
        node.write("/usr/local/cluster/conf/nodes", "".join(f"{name}\n" for name in NAMES))
        node.write("/usr/local/cluster/conf/monitor", monitor_file(LINK_TIMEOUT_S))
    for volume in [name for names in VOLUMES.values() for name in names]:
        must(
            nodes[0], f"truncate -s 100M /shared/{volume}.img && mkfs.ext4 -q /shared/{volume}.img"
        )
    with open(f"{nodes[0].root}/shared/bb.tar", "wb") as copy:
        copy.write(tar.read_bytes())
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda service: bring_image(nodes[0], service), FILES))
    for service, image in zip(FILES, found):
        for node in nodes:
            path = f"/etc/opensvc/{service}.opensvc.com.env"
            node.write(path, node.read(path).replace(IMAGES[service][1], image))
    return {image: IMAGES[service][1] for service, image in zip(FILES, found)}


def bring_image(node: Node, service: str) -> str:
    """Put the image in the docker data of a service, which stays mounted.

    The short id that docker gave it.
    """
    svc = f"{service}.opensvc.com"
    node.write(f"/shared/{service}.change", COMMANDS[service])
    must(node, f"{svc} start --rid fs")
    command = (
        f'{svc} docker import --change "$(cat /shared/{service}.change)" - {IMAGES[service][0]} <'
        " /shared/bb.tar"
    )
    return str(re.findall("sha256:([0-9a-f]{12})", must(node, command))[0])


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
def container_nodes(tmp_path: Path) -> Iterator[tuple[TwoNodes, Ids]]:
    """Two nodes with the tutorial's services and their images, and what stands for the ids of
    these.
    """
    require_docker()
    missing = node_ssh.missing_tools()
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs {missing}")
    try:
        nodes = TwoNodes(hosts=ADDRESSES)
    except SystemFault as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    try:
        with nodes:
            node_ssh.connect(nodes)
            yield nodes, Ids(install(nodes, busybox_tar(tmp_path / "bb.tar")))
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
            try:
                done = node.run(PRELUDE + typed.command, LIMIT_S)
            except subprocess.TimeoutExpired as error:
                pytest.fail(f"{typed.command}: {error.stdout!r}{error.stderr!r}")
            shown = comparable(ids.output(done.stdout + done.stderr))
            if (
                done.returncode == 0 and shown == comparable(typed.expected)
            ) or time.monotonic() >= give_up:
                break
            time.sleep(0.1)
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
