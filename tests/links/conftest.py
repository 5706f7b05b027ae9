"""Real places for links: two network namespaces joined by veth pairs, files, loop devices.

If the machine lacks the privileges, a test is skipped with the reason; with CI=true it fails, so
that a test that never runs is noticed.
"""

import concurrent.futures
import ctypes
import os
import shutil
import subprocess
import tempfile
import uuid

import pytest

from tests.waiting import LIMIT_S, until

CLONE_NEWNET = 0x40000000


@pytest.fixture(scope="session")
def require():
    """Return a function that skips with a reason unless a condition holds.

    It fails instead where everything must be available.
    """

    def check(condition, reason):
        if not condition:
            if os.environ.get("CI") == "true":
                pytest.fail(f"this machine must be able to run this test: {reason}")
            pytest.skip(reason)

    return check


def run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout


class Place:
    """Where one node's link ends run: one thread, in its network namespace if it has one."""

    def __init__(self, namespace=None):
        self.namespace = namespace
        self._thread = concurrent.futures.ThreadPoolExecutor(1, initializer=self._enter)

    def _enter(self):
        if self.namespace:
            with open(f"/run/netns/{self.namespace}") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")

    def do(self, function, *args):
        return self._thread.submit(function, *args).result(LIMIT_S)

    def ip(self, *argv):
        return run("ip", "-n", self.namespace, *argv)

    def leave(self):
        self._thread.shutdown(wait=True)


class Nodes:
    """Two namespaces joined by veth pairs eth1 and eth2, addresses 10.50.L.N and fd00:L::N."""

    def __init__(self):
        # Not by pid: another run may use the same in a container, or may have been killed with it.
        unique = uuid.uuid4().hex[:10]
        self.names = [f"ohl{unique}{letter}" for letter in "ab"]
        for name in self.names:
            run("ip", "netns", "add", name)
        self.a, self.b = (Place(name) for name in self.names)
        for place in (self.a, self.b):
            place.ip("link", "set", "lo", "up")
        for link in (1, 2):
            self.join(link)
        # IPv6 packets are lost until duplicate address detection is complete.
        for place in (self.a, self.b):
            until(lambda: "tentative" not in place.ip("-6", "addr"))

    def join(self, link):
        """Create the veth pair number ``link``."""
        name = f"eth{link}"
        run(
            "ip",
            "link",
            "add",
            name,
            "netns",
            self.names[0],
            "type",
            "veth",
            "peer",
            "name",
            name,
            "netns",
            self.names[1],
        )
        for number, place in enumerate((self.a, self.b), 1):
            place.ip("addr", "add", f"10.50.{link}.{number}/24", "dev", name)
            place.ip("addr", "add", f"fd00:{link}::{number}/64", "dev", name, "nodad")
            place.ip("link", "set", name, "up")

    def remove(self):
        for place in (self.a, self.b):
            place.leave()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture(scope="module")
def nodes(require):
    """Yield two nodes on two private cables."""
    require(os.geteuid() == 0 and shutil.which("ip"), "network namespaces need root and ip")
    made = Nodes()
    yield made
    made.remove()


@pytest.fixture
def disk_dir():
    """Yield a directory on a real file system: a tmpfs would hide the needs of O_DIRECT."""
    path = tempfile.mkdtemp(dir="/var/tmp", prefix="ohl")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def disk_file(disk_dir):
    """Return an empty shared file of 64 blocks."""
    path = os.path.join(disk_dir, "disk.hb.0")
    with open(path, "wb") as file:
        file.truncate(64 * 512)
    return path


@pytest.fixture
def loop_device(require, disk_dir):
    """Yield ``loop_device(blocks, option...)``, which returns a device and the file behind it."""
    require(
        os.geteuid() == 0 and shutil.which("losetup") and os.path.exists("/dev/loop-control"),
        "loop devices need root",
    )
    made = []

    def make(blocks=64, *options):
        image = os.path.join(disk_dir, f"image{len(made)}")
        with open(image, "wb") as file:
            file.truncate(blocks * 512)
        device = run("losetup", "-f", "--show", *options, image).strip()
        made.append(device)
        return device, image

    yield make
    for device in made:
        run("losetup", "-d", device)
