"""A disk that hangs, truly, for the processes of a cgroup: not even SIGKILL ends who waits."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S, until

BLKIO = Path("/sys/fs/cgroup/blkio")


def workers(device: str) -> set[int]:
    """Processes that do I/O for the device, zombies left out."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if device.encode() in words and any(word.endswith(b"disk_worker.py") for word in words):
            found.add(int(place.name))
    return found


class HangingDisk:
    """A loop device that hangs for the processes of a cgroup."""

    def __init__(self, folder: Path) -> None:
        image = folder / "image"
        image.write_bytes(bytes(64 * 512))
        self.device = subprocess.run(
            ["losetup", "-f", "--show", str(image)],
            check=True,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        ).stdout.strip()
        number = os.stat(self.device).st_rdev
        self._number = f"{os.major(number)}:{os.minor(number)}"
        self.group = BLKIO / f"oht{uuid.uuid4().hex}"
        self.group.mkdir()

    def set_hung(self, is_hung: bool) -> None:
        """One byte a second, or as it should be."""
        for way in ("read", "write"):
            (self.group / f"blkio.throttle.{way}_bps_device").write_text(
                f"{self._number} {int(is_hung)}"
            )

    def close(self) -> None:
        """Takes all away; fails if somebody still uses it."""
        self.set_hung(False)
        until(
            lambda: not workers(self.device) and not (self.group / "cgroup.procs").read_text(),
            bool,
            "all have left",
            lambda: f"{workers(self.device)}",
        )
        self.group.rmdir()
        subprocess.run(["losetup", "-d", self.device], check=True, timeout=LIMIT_S)


def expect_possible() -> None:
    """Skip a test where no disk can be made to hang; on CI that is a failure."""
    reason = "needs root, loop devices and a writable cgroup v1 blkio controller"
    if (
        os.geteuid()
        or not os.path.exists("/dev/loop-control")
        or not os.access(BLKIO / "cgroup.procs", os.W_OK)
    ):
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
