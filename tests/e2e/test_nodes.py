"""The test bed itself: what two nodes share, what each has of its own, and that nothing is left
behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

from opensvc_openha.demo.nodes import Node, TwoNodes
from tests.waiting import LIMIT_S, stays, until

pytestmark = pytest.mark.e2e

LISTEN = """
import socket, sys
group, ip = sys.argv[1], sys.argv[2]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((group, 5010))
membership = socket.inet_aton(group) + socket.inet_aton(ip)
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
print("listening", flush=True)
sys.stdin.readline()
s.settimeout(0.2)
try:
    print("heard", s.recv(100).decode())
except socket.timeout:
    print("silence")
"""

SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[2]))
s.sendto(b"beat", (sys.argv[1], 5010))
print("sent")
"""

DISK = """
import mmap, os, sys
fd = os.open("/dev/mapper/disk.hb.0", os.O_RDWR | os.O_DIRECT)
block = mmap.mmap(-1, 4096)
if sys.argv[1] == "write":
    block[:4] = sys.argv[2].encode()
    os.pwrite(fd, block, 4096)
else:
    os.preadv(fd, [block], 4096)
    print(block[:4].decode())
"""


def python(code: str, *args: str) -> list[str]:
    """Command line for a Python snippet inside a node."""
    return [sys.executable, "-I", "-S", "-c", code, *args]


def hears(sender: Node, listener: Node, link: Any) -> bool:
    """True if one multicast datagram sent by one node on a link reaches the other.

    On a switch it arrives in the same moment or never, so that it is there, or not, when the sender
    has ended.
    """
    group = f"239.131.50.{10 + int(link[-1])}"
    ear = listener.popen(
        python(LISTEN, group, listener.address(link)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert ear.stdout is not None
    assert ear.stdout.readline() == "listening\n"
    assert sender.run(python(SEND, group, sender.address(link))).stdout == "sent\n"
    answer = ear.communicate("sent\n", timeout=LIMIT_S)[0]
    assert answer in ("heard beat\n", "silence\n")
    return answer == "heard beat\n"


def is_disk_left(file: str) -> bool:
    """True while the file of a shared disk, or a loop device over it, exists on the host."""
    backing = []
    for name in os.listdir("/sys/block"):
        path = f"/sys/block/{name}/loop/backing_file"
        if os.path.exists(path):
            with open(path, encoding="utf-8") as shown:
                backing.append(shown.read().split(" ")[0].strip())
    return os.path.exists(file) or file in backing


def own_mounts() -> list[str]:
    """The mounts of the host, as this process sees them.

    Without those that other tests make, on this or another checkout.
    """
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        lines = [
            line
            for line in file
            if not line.split()[4].startswith(("/run/netns", "/tmp/", "/var/tmp/"))
        ]
    return sorted(line.split(" - ")[1] for line in lines)


def test_each_node_knows_itself_and_the_other_by_name(two_nodes: TwoNodes) -> None:
    """Two nodes run: each has its own host name, and both names lead to the addresses on eth0."""
    for node in two_nodes:
        assert node.run("hostname").stdout == f"{node.name}\n"
        assert node.run(python("import socket; print(socket.getfqdn())")).stdout == f"{node.name}\n"
        hosts = node.run("getent hosts deb1.opensvc.com deb2.opensvc.com").stdout.split()
        assert "10.50.0.1" in hosts and "10.50.0.2" in hosts


def test_what_a_node_writes_stays_in_the_node(two_nodes: TwoNodes) -> None:
    """A node writes in /etc, /usr/local, /var/lib and /tmp: neither the other node nor the host
    sees it, /shared both do.
    """
    first, second = two_nodes
    places = [
        "/etc/openha.here",
        "/usr/local/openha.here",
        "/var/lib/openha.here",
        "/tmp/openha.here",
        "/run/openha.here",
    ]
    first.run(f"touch {' '.join(places)} /shared/both")
    for place in places:
        assert first.run(["test", "-e", place]).returncode == 0, place
        assert second.run(["test", "-e", place]).returncode == 1
        assert not os.path.exists(place)
    assert second.run(["test", "-e", "/shared/both"]).returncode == 0


def test_a_shell_builtin_runs_in_the_node_too(two_nodes: TwoNodes) -> None:
    """`kill` is also a builtin of every shell: it still finds the node's processes, and those
    only.
    """
    node = two_nodes[0]
    assert node.run(["kill", "-0", str(node.pid)]).returncode != 0
    pid = node.run("sleep 30 & echo $!").stdout.strip()
    assert node.run(["kill", "-0", pid]).returncode == 0


def test_a_command_that_takes_too_long_is_ended(two_nodes: TwoNodes) -> None:
    """A command with a limit hangs: TimeoutExpired carries its output, and its process is gone from
    the node.
    """
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        two_nodes[0].run("echo begun; sleep 876", timeout_s=0.5)
    assert caught.value.stdout == "begun\n"
    until(lambda: "sleep" not in two_nodes[0].run("cat /proc/[1-9]*/comm").stdout)


def test_a_background_process_does_not_hold_the_command_that_started_it(
    two_nodes: TwoNodes,
) -> None:
    """A command leaves a daemon with its output open: run() returns at once, the daemon lives on,
    init reaps it later.
    """
    done = two_nodes[0].run("sleep 10000 & echo $!")
    pid = done.stdout.strip()
    assert two_nodes[0].run(["kill", pid]).returncode == 0
    until(lambda: two_nodes[0].run(["test", "-d", f"/proc/{pid}"]).returncode == 1)


@pytest.mark.parametrize("link", ["eth0", "eth1", "eth2"])
def test_a_link_carries_multicast_both_ways(two_nodes: TwoNodes, link: str) -> None:
    """Nothing is cut: a datagram from either node reaches the other."""
    assert hears(two_nodes[0], two_nodes[1], link)
    assert hears(two_nodes[1], two_nodes[0], link)


def test_a_cut_link_is_silent_for_both_and_heals(two_nodes: TwoNodes) -> None:
    """eth1 is cut: sending still succeeds, nothing arrives either way, the carrier stays.

    Eth2 works; healed, all works.
    """
    first, second = two_nodes
    first.cut("eth1")
    assert not hears(first, second, "eth1")
    assert not hears(second, first, "eth1")
    assert hears(first, second, "eth2")
    assert "state UP" in first.run("ip -o link show eth1").stdout
    assert "state UP" in second.run("ip -o link show eth1").stdout
    first.heal("eth1")
    assert hears(first, second, "eth1")
    assert hears(second, first, "eth1")


@pytest.mark.parametrize("direction, deaf", [("in", 0), ("out", 1)])
def test_a_one_way_cut_loses_one_direction_only(
    two_nodes: TwoNodes, direction: str, deaf: int
) -> None:
    """The first node's eth1 is cut in one direction: that direction is lost, the other works."""
    two_nodes[0].cut("eth1", direction)
    assert not hears(two_nodes[1 - deaf], two_nodes[deaf], "eth1")
    assert hears(two_nodes[deaf], two_nodes[1 - deaf], "eth1")


def test_a_cut_loses_unicast_with_known_neighbours_too(two_nodes: TwoNodes) -> None:
    """Both nodes already know each other's hardware address: a cut link still loses their unicast
    packets.
    """
    first, second = two_nodes
    connect = python(
        "import socket; s = socket.socket(); s.settimeout(0.4)\n"
        f"try: s.connect(('{second.address('eth1')}', 9)); print('through')\n"
        "except ConnectionRefusedError: print('through')\n"
        "except OSError: print('lost')"
    )
    assert first.run(connect).stdout == "through\n"
    first.cut("eth1", "in")
    assert first.run(connect).stdout == "lost\n"
    first.heal("eth1")
    until(lambda: first.run(connect).stdout == "through\n")


def test_the_disk_shows_one_node_what_the_other_wrote(two_nodes: TwoNodes) -> None:
    """Both nodes open the shared disk with O_DIRECT: what one writes the other reads, both ways."""
    first, second = two_nodes
    for writer, reader, word in ((first, second, "abcd"), (second, first, "wxyz")):
        assert writer.run(python(DISK, "write", word)).stderr == ""
        assert reader.run(python(DISK, "read")).stdout == f"{word}\n"


def test_a_disk_cut_from_one_node_works_for_the_other(two_nodes: TwoNodes) -> None:
    """The disk is taken from the first node: it no longer gets through to it, the second does.

    Healed, both do.
    """
    first, second = two_nodes
    assert second.run(python(DISK, "write", "old.")).returncode == 0
    first.cut_disk()
    assert "old." not in first.run(python(DISK, "read")).stdout
    first.run(python(DISK, "write", "lost"))
    assert second.run(python(DISK, "read")).stdout == "old.\n"
    assert second.run(python(DISK, "write", "new.")).returncode == 0
    first.heal_disk()
    assert first.run(python(DISK, "read")).stdout == "new.\n"


def test_an_open_disk_is_cut_too(two_nodes: TwoNodes) -> None:
    """A process has the disk open and writes in a loop: after the cut its writes no longer arrive,
    after healing they do.
    """
    first, second = two_nodes
    first.popen(
        python(
            "import mmap, os, time\n"
            "fd = os.open('/dev/mapper/disk.hb.0', os.O_RDWR | os.O_DIRECT)\n"
            "block = mmap.mmap(-1, 4096)\n"
            "for n in range(100000):\n"
            "    block[:4] = b'%04d' % (n % 10000)\n"
            "    try: os.pwrite(fd, block, 4096)\n"
            "    except OSError: pass\n"
            "    time.sleep(0.005)\n"
        )
    )

    def seen() -> Any:
        return second.run(python(DISK, "read")).stdout

    def moves() -> bool:
        before = seen()
        time.sleep(0.5)  # A hundred times as long as the writer takes for a block.
        return bool(seen() != before)

    until(moves)
    first.cut_disk()
    # What was on its way when the disk was cut may still have arrived.
    until(lambda: not moves())
    assert not moves()
    first.heal_disk()
    until(moves)


def test_a_killed_node_keeps_its_disk_and_loses_its_processes(two_nodes: TwoNodes) -> None:
    """A node is killed and booted: its files are there, its processes and /run are gone, it is a
    new boot; the other stays.
    """
    first, second = two_nodes
    first.write("/etc/opensvc/kept.env", "kept\n")
    first.run("touch /run/lost; sleep 500 &")
    boots = [first.read("/proc/sys/kernel/random/boot_id")]
    second.run("sleep 501 &")
    first.kill()
    assert not first.is_alive
    assert "state UP" in second.run("ip -o link show eth1").stdout
    first.boot()
    assert first.read("/etc/opensvc/kept.env") == "kept\n"
    assert first.run(["test", "-e", "/run/lost"]).returncode == 1
    assert "sleep" not in first.run("cat /proc/[1-9]*/comm").stdout
    assert "sleep" in second.run("cat /proc/[1-9]*/comm").stdout
    assert first.read("/proc/sys/kernel/random/boot_id") not in boots
    assert hears(first, second, "eth1") and hears(second, first, "eth2")


def test_a_cut_outlives_a_reboot(two_nodes: TwoNodes) -> None:
    """A link is cut and the node rebooted: the link is still cut until it is healed."""
    first, second = two_nodes
    first.cut("eth2")
    first.kill()
    first.boot()
    assert not hears(first, second, "eth2")
    first.heal("eth2")
    assert hears(first, second, "eth2")


def test_a_frozen_node_does_nothing_until_thawed(two_nodes: TwoNodes) -> None:
    """A node counts in a file and is frozen: the count stops, and continues after thawing."""
    node = two_nodes[0]
    node.run(
        "(n=0; while :; do n=$((n+1)); echo $n > /run/count; sleep 0.01; done) > /dev/null 2>&1 &"
    )
    until(lambda: node.run("cat /run/count").stdout.strip() not in ("", "1"))
    node.freeze()
    before = node.run("cat /run/count").stdout
    stays(lambda: node.run("cat /run/count").stdout, lambda seen: seen == before, 0.1)
    node.thaw()
    until(lambda: node.run("cat /run/count").stdout.strip() not in ("", before.strip()))


def test_a_command_that_was_frozen_ends_after_thawing(two_nodes: TwoNodes) -> None:
    """A command runs while its node is frozen and thawed: it continues, its exit code arrives."""
    node = two_nodes[0]
    process = node.popen(
        "echo begun; read line; exit 7", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    node.freeze()
    assert process.stdin is not None
    process.stdin.write("go\n")
    assert process.stdin is not None
    process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.2)
    node.thaw()
    assert process.wait(timeout=LIMIT_S) == 7
    assert process.stdout is not None
    process.stdout.close()


def test_a_frozen_command_does_not_outlive_its_node(two_nodes: TwoNodes) -> None:
    """A command is frozen when its node is killed: the process that waits for it on the host ends
    too.
    """
    node = two_nodes[0]
    process = node.popen("echo begun; sleep 100", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    node.freeze()
    node.kill()
    assert process.wait(timeout=LIMIT_S) != 0
    assert process.stdout is not None
    process.stdout.close()


def test_closing_leaves_nothing_behind(two_nodes: TwoNodes) -> None:
    """Both nodes are in use, one was rebooted: after close() no process, mount, loop device or file
    of theirs is left.
    """
    two_nodes[0].run("sleep 300 &")
    two_nodes[0].run(python(DISK, "write", "abcd"))
    two_nodes[1].kill()
    two_nodes[1].boot()
    pids, file, mounts = [node.pid for node in two_nodes], two_nodes.disk.file, own_mounts()
    assert is_disk_left(file)
    two_nodes.close()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    until(lambda: not is_disk_left(file))
    assert own_mounts() == mounts


OWNER = """
import sys, time
from opensvc_openha.demo.nodes import TwoNodes
nodes = TwoNodes()
for node in nodes:
    node.run("(while :; do : < /dev/mapper/disk.hb.0; sleep 1; done) > /dev/null 2>&1 &")
print(nodes.disk.file, *[node.pid for node in nodes], flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_the_owner_dies_and_nothing_is_left_behind(two_nodes: TwoNodes, name: str) -> None:
    """The owning process is killed, or interrupted: its nodes die within seconds, and the host is
    as before.
    """
    two_nodes.close()
    mounts = own_mounts()
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert owner.stdout is not None
    file, *words = owner.stdout.readline().decode().split()
    pids = [int(word) for word in words]
    assert (
        len(pids) == 2
        and is_disk_left(file)
        and all(os.path.exists(f"/proc/{pid}") for pid in pids)
    )
    owner.send_signal(getattr(signal, name))
    owner.wait(timeout=LIMIT_S)
    assert owner.stdout is not None
    owner.stdout.close()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    until(lambda: not is_disk_left(file))
    assert own_mounts() == mounts
