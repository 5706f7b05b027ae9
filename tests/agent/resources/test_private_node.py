"""File systems and addresses for real, on a node in namespaces of its own. Needs root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.agent.host.mounts import Mount, parse_mounts, top_mount
from tests.agent.embedded import PrivateNode
from tests.waiting import LIMIT_S, until

pytestmark = pytest.mark.root


def statuses(node: PrivateNode, svcname: str = "a") -> dict[str, str]:
    found = json.loads(node.agent(svcname, "json", "status").stdout)["resources"]
    return {rid: resource["status"] for rid, resource in found.items() if rid != "sync#i0"}


def logs(node: PrivateNode, svcname: str = "a") -> str:
    found = json.loads(node.agent(svcname, "json", "status").stdout)["resources"]
    return "".join(resource["log"] for resource in found.values())


def act(node: PrivateNode, action: str, *options: str, exit_code: int = 0) -> str:
    result = node.agent("a", action, *options)
    assert result.returncode == exit_code, result.stderr
    return result.stderr


def addresses(run: Callable[..., Any]) -> str:
    return str(run("ip", "-o", "addr", "show", "dev", "eth0").stdout)


def test_bind_mount_goes_up_and_down(private_node: PrivateNode) -> None:
    """A bind mount and a tmpfs inside it: down, up, up again without change, down."""
    source, point = private_node.root / "source", private_node.root / "point"
    (source / "inner").mkdir(parents=True)
    private_node.write(
        "a",
        f"[fs#1]\ntype = tmpfs\ndev = scratch\nmnt = {point}/inner\n"
        f"[fs#2]\ntype = bind\ndev = {source}\nmnt = {point}\nmnt_opts = ro\n",
    )
    assert statuses(private_node) == {"fs#1": "down", "fs#2": "down"}
    act(private_node, "start")
    assert statuses(private_node) == {"fs#1": "up", "fs#2": "up"}
    assert "already mounted" in act(private_node, "start")
    act(private_node, "stop")
    assert statuses(private_node) == {"fs#1": "down", "fs#2": "down"}
    assert str(point) not in private_node.run("cat", "/proc/self/mountinfo").stdout


def test_image_file_is_mounted_through_a_loop_device(private_node: PrivateNode) -> None:
    """ext4 in a regular file: what is written is there after stop and start, and no loop device is
    left.
    """
    if not shutil.which("mkfs.ext4"):
        pytest.fail("needs mkfs.ext4")
    image, point = private_node.root / "disk image", private_node.root / "point"
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    private_node.write(
        "a", f"[fs#1]\ntype = ext4\ndev = {image}\nmnt = {point}\nmnt_opt = rw,noatime\n"
    )
    act(private_node, "start")
    assert statuses(private_node) == {"fs#1": "up"}
    private_node.run("sh", "-c", f"echo kept > {point}/file")
    act(private_node, "stop")
    assert statuses(private_node) == {"fs#1": "down"}
    act(private_node, "start")
    assert private_node.run("cat", f"{point}/file").stdout == "kept\n"
    act(private_node, "stop")
    assert (
        str(image) not in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
    )


def hold(node: PrivateNode, command: str) -> subprocess.Popen[bytes]:
    """A process of the node that runs ``command; exec sleep 100``; returns once it sleeps."""
    holder = subprocess.Popen(
        [
            "nsenter",
            f"--target={node.pid}",
            "--mount",
            "--",
            "sh",
            "-c",
            f"{command}; exec sleep 100",
        ]
    )
    until(lambda: open(f"/proc/{holder.pid}/comm").read() == "sleep\n")
    return holder


@pytest.mark.parametrize("use", ["cd {point}", "exec 5> {point}/file", "trap '' TERM; cd {point}"])
def test_busy_file_system_names_who_holds_it_and_ends_that(
    private_node: PrivateNode, use: str
) -> None:
    """A directory or an open file on the mount, SIGTERM obeyed or ignored: the holder is named and
    ended, as in the agent.
    """
    point = private_node.root / "point"
    private_node.write("a", f"[fs#1]\ntype = tmpfs\ndev = scratch\nmnt = {point}\n")
    act(private_node, "start")
    holder = hold(private_node, use.format(point=point))
    try:
        assert f"{point} is in use by sleep({holder.pid}): ending them" in act(private_node, "stop")
        assert holder.wait(LIMIT_S) < 0
    finally:
        holder.kill()
        holder.wait()
    assert statuses(private_node) == {"fs#1": "down"}


def test_shell_that_asked_for_the_stop_is_spared(private_node: PrivateNode) -> None:
    """The operator stands in the mounted directory: the stop is refused, reports where, and the
    shell lives.
    """
    point = private_node.root / "point"
    private_node.write("a", f"[fs#1]\ntype = tmpfs\ndev = scratch\nmnt = {point}\n")
    act(private_node, "start")
    line = (
        f"cd {point}; {sys.executable} -m opensvc_openha.cli.svcmgr -s a stop; echo stop ended with"
        " $?, $$ lives"
    )
    result = private_node.run("sh", "-c", line)
    assert "stop ended with 5" in result.stdout and "lives" in result.stdout
    assert f"{point}, which the stop unmounts" in result.stderr


def test_start_in_one_mount_is_no_holder_of_the_other_side_of_a_bind(
    private_node: PrivateNode,
) -> None:
    """Processes in the source of a bind mount are left alone: its unmount does not need that."""
    source, point = private_node.root / "source", private_node.root / "point"
    source.mkdir()
    private_node.write("a", f"[fs#1]\ntype = bind\ndev = {source}\nmnt = {point}\n")
    act(private_node, "start")
    holder = hold(private_node, f"cd {source}")
    try:
        act(private_node, "stop")
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()


def image_of(node: PrivateNode, kind: str, megabytes: int) -> str:
    if not shutil.which(f"mkfs.{kind}"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs mkfs.{kind}")
    path = str(node.root / f"{kind}.img")
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run([f"mkfs.{kind}", "-q", path], check=True, stdout=subprocess.DEVNULL)
    return path


def test_file_system_that_became_read_only_is_a_warning(private_node: PrivateNode) -> None:
    """What the kernel does to an ext4 with errors: up is not reported of it, unless ro was asked
    for.
    """
    image, point = image_of(private_node, "ext4", 8), private_node.root / "point"
    private_node.write("a", f"[fs#1]\ntype = ext4\ndev = {image}\nmnt = {point}\n")
    act(private_node, "start")
    private_node.run("mount", "-o", "remount,ro", str(point))
    assert statuses(private_node) == {"fs#1": "warn"}
    assert f"{point} is mounted read-only" in logs(private_node)
    private_node.write(
        "a", f"[fs#1]\ntype = ext4\ndev = {image}\nmnt = {point}\nmnt_opt = noatime,ro\n"
    )
    assert statuses(private_node) == {"fs#1": "up"}
    act(private_node, "stop")


def test_xfs_on_a_loop_device_of_its_own(private_node: PrivateNode) -> None:
    """A loop device made by the service, xfs on it: both come up and go down in order.

    A busy loop device is an error.
    """
    image, point = image_of(private_node, "xfs", 300), private_node.root / "point"
    private_node.write("a", f"[disk#1]\ntype = loop\nfile = {image}\n")
    act(private_node, "start")
    device = subprocess.run(
        ["losetup", "-j", image], capture_output=True, text=True
    ).stdout.partition(":")[0]
    private_node.write(
        "a", f"[loop#1]\nfile = {image}\n[fs#1]\ntype = xfs\ndev = {device}\nmnt = {point}\n"
    )
    assert statuses(private_node) == {"loop#1": "up", "fs#1": "down"}
    act(private_node, "start")
    assert statuses(private_node) == {"loop#1": "up", "fs#1": "up"}
    err = act(private_node, "stop", "--rid", "loop#1", exit_code=6)
    assert f"{device} (mounted on {point}) is still in use: unmount what is on it" in err
    act(private_node, "stop", "--rid", "fs#1")
    act(private_node, "stop")
    assert statuses(private_node) == {"loop#1": "down", "fs#1": "down"}


@pytest.mark.parametrize(
    "damage, message",
    [
        ("rm {image}", "fs#1: {image} does not exist"),
        ("touch {point}", "cannot make directory {point}: File exists"),
        (
            "dd if=/dev/zero of={image} bs=1M count=8 status=none",
            "fs#1: e2fsck -p {image} ended with exit code",
        ),
        ("sed -i 's/= ext4/= xfs/' {env}", "mount -t xfs"),
        ("sed -i s/noatime/nonsense/ {env}", "nonsense"),
    ],
)
def test_mount_that_cannot_be_made_reports_why_and_the_address_is_taken_back(
    private_node: PrivateNode, damage: str, message: str
) -> None:
    """Device gone, a file for the mount point, no file system, a wrong type, a wrong option: rolled
    back each time.
    """
    image, point = image_of(private_node, "ext4", 8), private_node.root / "point"
    env = private_node.root / "etc" / "a.env"
    private_node.write(
        "a",
        "[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n"
        f"[fs#1]\ntype = ext4\ndev = {image}\nmnt = {point}\nmnt_opt = noatime\n",
    )
    subprocess.run(["sh", "-c", damage.format(image=image, point=point, env=env)], check=True)
    err = act(private_node, "start", exit_code=6)
    assert message.format(image=image, point=point) in err
    assert "rolling back" in err
    assert re.search(r" A +fs#1: (?!.*dmesg)", err.splitlines()[-1]), (
        "the last line names the resource and the reason"
    )
    assert "10.99.0.71" not in addresses(private_node.run)
    assert image not in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout


def test_device_mounted_in_another_place_is_no_successful_stop(private_node: PrivateNode) -> None:
    """Mounted twice on its place and once elsewhere by hand: its place is cleared, the rest is
    reported, and the stop ends with 6.
    """
    image, point, other = (
        image_of(private_node, "ext4", 8),
        private_node.root / "point",
        private_node.root / "other",
    )
    private_node.write(
        "a", f"[loop#1]\nfile = {image}\n[fs#1]\ntype = ext4\ndev = {image}\nmnt = {point}\n"
    )
    act(private_node, "start")
    other.mkdir()
    device = private_node.run("findmnt", "-n", "-o", "SOURCE", str(point)).stdout.strip()
    for place in (point, other):
        private_node.run("mount", device, str(place))
    assert f"fs#1: {image} is still mounted on {other}: umount {other}" in act(
        private_node, "stop", exit_code=6
    )
    assert str(point) not in private_node.run("cat", "/proc/self/mountinfo").stdout
    private_node.run("umount", str(other))
    act(private_node, "stop")
    assert image not in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout


def test_mount_that_another_namespace_keeps_is_no_successful_stop(
    private_node: PrivateNode,
) -> None:
    """A process with mounts of its own, as a container has, took the mount along: it is named.

    Without it stop succeeds.
    """
    image, point = image_of(private_node, "ext4", 8), private_node.root / "point"
    private_node.write("a", f"[fs#1]\ntype = ext4\ndev = {image}\nmnt = {point}\n")
    act(private_node, "start")
    enter = [
        "nsenter",
        f"--target={private_node.pid}",
        "--mount",
        "unshare",
        "--mount",
        "--propagation=private",
    ]
    holder = subprocess.Popen([*enter, "sleep", "100"])
    until(lambda: open(f"/proc/{holder.pid}/comm").read() == "sleep\n")
    try:
        err = act(private_node, "stop", exit_code=6)
        assert (
            f"fs#1: {image} is still mounted for sleep({holder.pid}) in another mount namespace:"
            " end that process" in err
        )
    finally:
        holder.kill()
        holder.wait()
    until(
        lambda: (
            image not in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout
        )
    )
    act(private_node, "stop")


@pytest.mark.parametrize(
    "damage, message", [("chmod -x", "is not executable (chmod +x "), ("rm", "does not exist")]
)
def test_script_lost_while_the_service_runs_is_no_successful_stop(
    private_node: PrivateNode, damage: str, message: str
) -> None:
    """It can neither be stopped nor asked whether it runs: exit code 6, the rest is stopped.

    With the data down nothing is to stop.
    """
    point, script = private_node.root / "point", private_node.root / "web"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    private_node.write(
        "a",
        f"[fs#1]\ntype = tmpfs\ndev = x\nmnt = {point}\n[app#1]\nscript = {script}\nstart = 1\nstop"
        " = 1\n",
    )
    act(private_node, "start")
    subprocess.run(f"{damage} {script}", shell=True, check=True)
    assert f"app#1: script {script} {message}" in act(private_node, "stop", exit_code=6)
    assert statuses(private_node)["fs#1"] == "down"
    assert "nothing to stop" in act(private_node, "stop")


def test_script_on_a_file_system_that_is_not_mounted_needs_no_stop(
    private_node: PrivateNode,
) -> None:
    """What a killed start left: the address is up, what holds the script is not.

    The stop takes the address away, with 0.
    """
    point = private_node.root / "point"
    private_node.write(
        "a",
        f"[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n[fs#1]\ntype = tmpfs\ndev = x\nmnt = {point}\n"
        f"[app#1]\nscript = {point}/web\nstart = 1\nstop = 1\n",
    )
    act(private_node, "start", "--rid", "ip#1")
    act(private_node, "stop")
    assert "10.99.0.71" not in addresses(private_node.run)


def test_share_needs_no_stop_where_nothing_can_be_exported(private_node: PrivateNode) -> None:
    """No exportfs here: down with what to install, a stop is done, a start is refused with the same
    words.
    """
    private_node.write("a", f"[share#1]\npath = {private_node.root}\nopts = *(ro)\n")
    if private_node.run("sh", "-c", "command -v exportfs").returncode == 0:
        pytest.skip("exportfs is installed here")
    assert statuses(private_node) == {"share#1": "down"}
    act(private_node, "stop")
    assert "exportfs is not installed: apt-get install nfs-kernel-server" in act(
        private_node, "start", exit_code=6
    )


def test_mount_point_that_shows_something_else_is_a_warning_and_start_is_refused(
    private_node: PrivateNode,
) -> None:
    """Somebody else's file system on our mount point: neither up nor down.

    Start and stop leave it alone.
    """
    source, point = private_node.root / "source", private_node.root / "point"
    source.mkdir()
    point.mkdir()
    private_node.write("a", f"[fs#1]\ntype = bind\ndev = {source}\nmnt = {point}\n")
    private_node.run("mount", "-t", "tmpfs", "other", str(point))
    assert statuses(private_node) == {"fs#1": "warn"}
    assert "other is mounted on" in act(private_node, "start", exit_code=6)
    assert "left alone" in act(private_node, "stop", exit_code=6)
    assert "other" in private_node.run("cat", "/proc/self/mounts").stdout


def test_address_goes_up_and_down_with_the_prefix_of_its_network(private_node: PrivateNode) -> None:
    """An address of the interface's network: added with its prefix, seen by status, removed
    again.
    """
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n")
    assert statuses(private_node) == {"ip#1": "down"}
    act(private_node, "start")
    assert statuses(private_node) == {"ip#1": "up"}
    assert "10.99.0.71/24" in addresses(private_node.run)
    assert private_node.run_on_peer(
        "ping", "-c1", "-W2", "10.99.0.71"
    ).returncode == 0 or not shutil.which("ping")
    act(private_node, "stop")
    act(private_node, "stop")
    assert "10.99.0.71" not in addresses(private_node.run)
    assert "10.99.0.1/24" in addresses(private_node.run)


@pytest.mark.parametrize(
    "netmask, shown",
    [("25", "/25"), ("255.255.255.192", "/26"), ("0xfffffff0", "/28"), ("", "/24")],
)
def test_netmask_in_each_spelling_is_taken(
    private_node: PrivateNode, netmask: str, shown: str
) -> None:
    """A prefix length, a dotted mask, hexadecimal, and the interface's own where none is given."""
    private_node.write("a", f"[ip#1]\nipdev = eth0\nipname = 10.98.0.71\nnetmask = {netmask}\n")
    act(private_node, "start")
    assert f"10.98.0.71{shown}" in addresses(private_node.run)
    act(private_node, "stop")
    assert "10.98.0.71" not in addresses(private_node.run)


def test_ipv6_address_goes_up_usable_at_once(private_node: PrivateNode) -> None:
    """IPv6: added without waiting for duplicate detection, announced, removed."""
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = fd00:99::71\nnetmask = 64\n")
    act(private_node, "start")
    shown = next(
        line for line in addresses(private_node.run).splitlines() if "fd00:99::71/64" in line
    )
    assert "tentative" not in shown
    assert statuses(private_node) == {"ip#1": "up"}
    act(private_node, "stop")
    assert "fd00:99::71" not in addresses(private_node.run)


def test_address_that_answers_elsewhere_is_refused(private_node: PrivateNode) -> None:
    """The peer still has the address: start fails and names its hardware address.

    Without the peer it works.
    """
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = 10.99.0.2\n")
    hardware = private_node.run_on_peer("cat", "/sys/class/net/eth0/address").stdout.strip()
    owner = json.loads(private_node.run_on_peer("ip", "-j", "link", "show", "eth0").stdout)[0][
        "address"
    ]
    assert f"already in use on eth0's network by {owner}" in act(
        private_node, "start", exit_code=6
    ), hardware
    private_node.run_on_peer("ip", "addr", "flush", "dev", "eth0")
    act(private_node, "start")


def test_ipv6_address_that_answers_elsewhere_is_refused(private_node: PrivateNode) -> None:
    """The peer has the IPv6 address: start fails and names the peer's hardware address, whatever
    the load.
    """
    private_node.run_on_peer("ip", "addr", "add", "fd00:99::71/64", "dev", "eth0", "nodad")
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = fd00:99::71\nnetmask = 64\n")
    owner = json.loads(private_node.run_on_peer("ip", "-j", "link", "show", "eth0").stdout)[0][
        "address"
    ]
    assert f"already in use on eth0's network by {owner}" in act(private_node, "start", exit_code=6)
    private_node.run_on_peer("ip", "addr", "flush", "dev", "eth0")
    act(private_node, "start")


def test_label_and_name_of_a_stacked_interface_are_understood(private_node: PrivateNode) -> None:
    """eth0:7 puts the address on eth0 under that label; eth0@if9 is eth0."""
    private_node.write(
        "a",
        "[ip#1]\nipdev = eth0:7\nipname = 10.99.0.71\n[ip#2]\nipdev = eth0@if9\nipname ="
        " 10.99.0.72\n",
    )
    act(private_node, "start")
    assert statuses(private_node) == {"ip#1": "up", "ip#2": "up"}
    shown = addresses(private_node.run)
    assert "10.99.0.71/24 scope global secondary eth0:7" in shown
    assert "10.99.0.72/24 scope global secondary eth0" in shown
    act(private_node, "stop")
    assert statuses(private_node) == {"ip#1": "down", "ip#2": "down"}


def test_interface_that_is_down_ends_the_start_and_reports_what_to_do(
    private_node: PrivateNode,
) -> None:
    """The link was set down: no address is added to it."""
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n")
    private_node.run("ip", "link", "set", "eth0", "down")
    assert "ip#1: interface eth0 is not up: ip link set eth0 up" in act(
        private_node, "start", exit_code=6
    )
    assert "10.99.0.71" not in addresses(private_node.run)


def test_address_that_went_with_ours_is_put_back(private_node: PrivateNode) -> None:
    """Two services share a network that is only theirs: stopping the first leaves the address of
    the second.
    """
    private_node.run("sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=0")
    private_node.run("sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=0")
    for svcname, number in (("a", 71), ("b", 72)):
        private_node.write(
            svcname, f"[ip#1]\nipdev = eth0\nipname = 10.77.0.{number}\nnetmask = 24\n"
        )
        assert private_node.agent(svcname, "start").returncode == 0
    assert "10.77.0.72 went with it: added again" in act(private_node, "stop")
    assert statuses(private_node) == {"ip#1": "down"}
    assert statuses(private_node, "b") == {"ip#1": "up"}


def test_address_is_removed_though_its_name_or_interface_changed_meanwhile(
    private_node: PrivateNode,
) -> None:
    """The name is gone, then the file states another address and interface: stop removes what start
    had placed.
    """
    hosts = private_node.root / "hosts"
    hosts.write_text("10.99.0.71 shop.example\n")
    private_node.run("mount", "--bind", str(hosts), "/etc/hosts")
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = shop.example\n")
    act(private_node, "start")
    hosts.write_text("127.0.0.1 localhost\n")
    assert statuses(private_node) == {"ip#1": "warn"}
    assert "could not resolve name shop.example\n# 10.99.0.71 is on eth0" in logs(private_node)
    act(private_node, "stop")
    assert "10.99.0.71" not in addresses(private_node.run)
    assert "cannot tell if the address is here" in act(private_node, "stop", exit_code=6)

    hosts.write_text("10.99.0.71 shop.example\n")
    act(private_node, "start")
    private_node.write("a", "[ip#1]\nipdev = lo\nipname = 10.99.0.72\n")
    act(private_node, "stop")
    assert "10.99.0.71" not in addresses(private_node.run)


def test_neighbour_learns_at_once_who_has_the_address_now(private_node: PrivateNode) -> None:
    """The peer remembers the address at a machine that is gone: after start it knows ours."""
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n")
    gone = "02:00:00:00:00:99"
    private_node.run_on_peer(
        "ip", "neigh", "replace", "10.99.0.71", "lladdr", gone, "dev", "eth0", "nud", "stale"
    )
    ours = json.loads(private_node.run("ip", "-j", "link", "show", "eth0").stdout)[0]["address"]
    act(private_node, "start")
    until(
        lambda: (
            f"lladdr {ours}" in private_node.run_on_peer("ip", "neigh", "show", "10.99.0.71").stdout
        )
    )


def test_address_on_another_interface_is_a_warning(private_node: PrivateNode) -> None:
    """Somebody put the service address on lo: a warning that names both interfaces, and no
    start.
    """
    private_node.write("a", "[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n")
    private_node.run("ip", "addr", "add", "10.99.0.71/32", "dev", "lo")
    assert statuses(private_node) == {"ip#1": "warn"}
    assert "10.99.0.71 is on lo instead of eth0" in logs(private_node)
    act(private_node, "start", exit_code=6)


def test_interface_that_is_not_there_is_a_warning(private_node: PrivateNode) -> None:
    """ipdev names no interface: status reports it, start is refused."""
    private_node.write("a", "[ip#1]\nipdev = eth7\nipname = 10.99.0.71\n")
    assert "interface eth7 not found" in logs(private_node)
    act(private_node, "start", exit_code=6)


def test_failed_app_takes_down_address_and_mount_again(private_node: PrivateNode) -> None:
    """A whole service whose app fails: address and file system are gone afterwards, in the reverse
    order.
    """
    point = private_node.root / "point"
    private_node.write(
        "a",
        "[ip#1]\nipdev = eth0\nipname = 10.99.0.71\n"
        f"[fs#1]\ntype = tmpfs\ndev = scratch\nmnt = {point}\n"
        "[app#1]\nstart = exit 9\n",
    )
    err = act(private_node, "start", exit_code=6)
    assert err.index("umount") < err.index("addr del")
    assert statuses(private_node) == {"ip#1": "down", "fs#1": "down", "app#1": "n/a"}


def test_mount_table_line_is_read_with_its_escapes() -> None:
    """A mount point with a blank, and the last of two mounts on one point."""
    mounts = tuple(
        parse_mounts(
            [
                r"36 35 98:0 /mnt1 /a\040b rw,noatime master:1 - ext3 /dev/root rw" + "\n",
                "37 36 7:1 / /a\\040b rw - ext4 /dev/loop1 rw\n",
                "not a mount\n",
            ]
        )
    )
    assert mounts[0] == Mount(
        "98:0", "/mnt1", "/a b", "ext3", "/dev/root", frozenset({"rw", "noatime"})
    )
    assert top_mount("/a b", mounts) == mounts[1]
    assert top_mount("/a", mounts) is None
