"""Real places for links: two network namespaces joined by veth pairs, files, loop devices.

If the machine lacks the privileges, a test is skipped with the reason; with CI=true it fails, so
that a test that never runs is noticed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.links.places import Nodes, run


@pytest.fixture(scope="session")
def require() -> Callable[..., Any]:
    """Return a function that skips with a reason unless a condition holds.

    It fails instead where everything must be available.
    """

    def check(condition: bool | str, reason: str) -> None:
        if not condition:
            if os.environ.get("CI") == "true":
                pytest.fail(f"this machine must be able to run this test: {reason}")
            pytest.skip(reason)

    return check


@pytest.fixture(scope="module")
def nodes(require: Callable[..., Any]) -> Iterator[Nodes]:
    """Yield two nodes on two private cables."""
    require(os.geteuid() == 0 and shutil.which("ip"), "network namespaces need root and ip")
    made = Nodes()
    yield made
    made.remove()


@pytest.fixture
def disk_dir() -> Iterator[str]:
    """Yield a directory on a real file system: a tmpfs would hide the needs of O_DIRECT."""
    path = tempfile.mkdtemp(dir="/var/tmp", prefix="ohl")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def disk_file(disk_dir: str) -> str:
    """Return an empty shared file of 64 blocks."""
    path = os.path.join(disk_dir, "disk.hb.0")
    with open(path, "wb") as file:
        file.truncate(64 * 512)
    return path


@pytest.fixture
def loop_device(require: Callable[..., Any], disk_dir: str) -> Iterator[Callable[..., Any]]:
    """Yield ``loop_device(blocks, option...)``, which returns a device and the file behind it."""
    require(
        os.geteuid() == 0 and shutil.which("losetup") and os.path.exists("/dev/loop-control"),
        "loop devices need root",
    )
    made: list[str] = []

    def make(blocks: int = 64, *options: Any) -> tuple[str, str]:
        image = os.path.join(disk_dir, f"image{len(made)}")
        with open(image, "wb") as file:
            file.truncate(blocks * 512)
        device = run("losetup", "-f", "--show", *options, image).strip()
        made.append(device)
        return device, image

    yield make
    for device in made:
        run("losetup", "-d", device)
