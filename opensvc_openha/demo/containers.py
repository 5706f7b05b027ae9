"""The tutorial's services with their containers on two nodes: images, volumes, what is missing.

Their files are those of the tutorial. The images are made of the host's static busybox, so that
nothing is downloaded; the logical volumes are files on the shared disk under the names that the
tutorial has.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from opensvc_openha.demo import node_ssh
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.sandbox_namespaces import TOOL_PATH
from opensvc_openha.demo.tutorial_files import BUSYBOX_ENV, REGISTRY_ENV
from opensvc_openha.errors import ActionError

APPLETS = ("sh", "sleep", "date", "cat", "echo", "touch", "nc", "httpd", "test", "true")
LOOP = 'CMD ["/bin/sh", "-c", "trap \'exit 0\' TERM; while true; do date; sleep 1 & wait $!; done"]'
"""Command of the image: prints the date forever, as the tutorial's, and ends at once on SIGTERM."""
SERVE = (
    'CMD ["/bin/sh", "-c", "httpd -p 5000 -h $STORAGE_PATH; trap \'exit 0\' TERM; while true; do'
    ' sleep 1 & wait $!; done"]'
)
COMMANDS = {"registry": SERVE, "busybox": LOOP}
FILES = {"registry": REGISTRY_ENV, "busybox": BUSYBOX_ENV}
IMAGES = {
    "registry": ("registry:latest", "de9a91835513"),
    "busybox": ("opensvc/busybox:date", "b073e328878e"),
}
"""Name of each image, and the id that it has in the tutorial."""
VOLUMES = {
    "registry": (
        "vgregistry-lvregistryroot",
        "vgregistry-lvdockerdata",
        "vgregistry-lvregistrydata",
    ),
    "busybox": ("vgbusybox-lvbusyboxroot", "vgbusybox-lvbusyboxdata"),
}
LAST_CONTAINERS = {"registry": 1, "busybox": 7}
LEFT_OUT = (
    "the volume groups, since both nodes share the kernel of this machine: the logical volumes are"
    " files (`make acceptance` has two kernels, and real ones)"
)
PROGRAMS = ("dockerd", "docker", "containerd", "runc", "mkfs.ext4")

AT_BOOT = f"""#!/bin/sh
# What is gone after a power failure: the names of the volumes,
# and the way to the services' addresses.
for volume in {" ".join(name for names in VOLUMES.values() for name in names)}; do
    ln -sf /shared/$volume.img /dev/mapper/$volume
done
ip route add 37.59.71.0/24 dev eth0
"""

_BUSYBOX = "/bin/busybox"
_SIZE = "100M"
_LIMIT_S = 120.0


def missing_for_containers() -> str:
    """Return why no containers can run on the nodes; empty if they can."""
    if os.geteuid():
        return "needs root"
    programs = [name for name in PROGRAMS if not shutil.which(name, path=TOOL_PATH)]
    if programs:
        return f"needs {', '.join(programs)} (packages docker.io, e2fsprogs)"
    if not _is_static(_BUSYBOX):
        return f"needs a static {_BUSYBOX} (package busybox-static)"
    tools = node_ssh.missing_tools()
    return f"needs {tools} (packages openssh-server, rsync)" if tools else ""


def install_containers(nodes: TwoNodes) -> dict[str, str]:
    """Write service files, file systems and images; map the images' ids to the tutorial's.

    The embedded agent is installed, the file systems are left mounted on the first node.
    """
    for node in nodes:
        node.write("/usr/local/bin/at-boot", AT_BOOT, 0o755)
        _must(node, "at-boot")
        for service, text in FILES.items():
            node.write(
                f"/etc/opensvc/{service}.opensvc.com.env",
                text.replace("[vg#1]\n", "[vg#1]\ndisable = true\n"),
            )
        _must(node, "openha install --embedded-agent --no-key")
    for volume in [name for names in VOLUMES.values() for name in names]:
        image = f"/shared/{volume}.img"
        _must(nodes[0], f"truncate -s {_SIZE} {image} && mkfs.ext4 -q {image}")
    busybox_tar(Path(f"{nodes[0].root}/shared/bb.tar"))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda service: _bring_image(nodes[0], service), FILES))
    for service, image in zip(FILES, found):
        for node in nodes:
            path = f"/etc/opensvc/{service}.opensvc.com.env"
            node.write(path, node.read(path).replace(IMAGES[service][1], image))
    return {image: IMAGES[service][1] for service, image in zip(FILES, found)}


def _bring_image(node: Node, service: str) -> str:
    """Put the image into the docker data of a service; return the short id that docker gave it."""
    svc = f"{service}.opensvc.com"
    node.write(f"/shared/{service}.change", COMMANDS[service])
    _must(node, f"{svc} start --rid fs")
    command = (
        f'{svc} docker import --change "$(cat /shared/{service}.change)" - {IMAGES[service][0]} <'
        " /shared/bb.tar"
    )
    return str(re.findall("sha256:([0-9a-f]{12})", _must(node, command))[0])


def busybox_tar(
    path: Path, applets: Sequence[str] = APPLETS, busybox: str | Path = _BUSYBOX
) -> Path:
    """Write a root file system with busybox and some of its commands, for ``docker import``."""
    with tarfile.open(path, "w") as tar:
        tar.add(os.path.realpath(busybox), "bin/busybox")
        for name in applets:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp, io.BytesIO())
    return path


def remove_cgroups(*svcnames: str) -> None:
    """Remove the empty control groups of killed nodes from the machine's shared hierarchies."""
    for hierarchy in Path("/sys/fs/cgroup").glob("*/opensvc"):
        for top in hierarchy.iterdir():
            if top.is_dir() and top.name.startswith(svcnames):
                for directory, _, _ in os.walk(top, topdown=False):
                    _rmdir(directory)
        _rmdir(str(hierarchy))


def after_boot(node: Node) -> None:
    """Make what is gone after a power failure: the names of the volumes, and sshd."""
    _must(node, "at-boot")
    node_ssh.start_sshd(node)


def starts_of_containers(node: Node) -> dict[str, float]:
    """Return when the last container of each service was started, in wall-clock seconds."""
    found = {}
    for service, number in LAST_CONTAINERS.items():
        svc = f"{service}.opensvc.com"
        form = "'{{.State.StartedAt}}'"
        inspect = f"{svc} docker inspect -f {form} {svc}.container.{number}"
        found[service] = float(_must(node, f'date -d "$({inspect})" +%s.%N'))
    return found


def _must(node: Node, command: str) -> str:
    done = node.run(command, _LIMIT_S)
    if done.returncode != 0:
        raise ActionError(f"on {node.name}: {command}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def _rmdir(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _is_static(path: str) -> bool:
    if not os.path.exists(path):
        return False
    found = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    return (
        "not a dynamic executable" in found.stdout + found.stderr
        or "statically linked" in found.stdout
    )
