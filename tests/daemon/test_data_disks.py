"""What a node sees of its data disks: real disks that hang, fail and vanish, and what follows."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from opensvc_openha.core.events import DisksLook, DisksLooked
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.model import FrozenStorage, Policy, ServiceSpec
from opensvc_openha.daemon.data_disks import DataDisks, DiskProbe, waits_for_disk
from opensvc_openha.daemon.fence_program import FenceAnswer
from opensvc_openha.system import clock
from tests.hanging_disk import HangingDisk, expect_possible
from tests.waiting import until

READS, FROZEN, UNKNOWN = DiskAnswer.ANSWERS, DiskAnswer.FROZEN, DiskAnswer.UNKNOWN


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file in place of a disk."""
    path = tmp_path / "image"
    path.write_bytes(bytes(64 * 512))
    return path


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[HangingDisk]:
    """A loop device that hangs for those who are put in its group."""
    expect_possible()
    disk = HangingDisk(tmp_path)
    yield disk
    disk.close()


def _started(path: str) -> DiskProbe:
    probe = DiskProbe(path)
    probe.start()
    return probe


def _until(probe: DiskProbe, answer: DiskAnswer) -> DisksLook:
    return until(lambda: probe.look, lambda look: look.answer is answer, answer.value)


def test_disk_that_hangs_is_frozen_until_it_answers(hanging: HangingDisk) -> None:
    """Since the read began that has not ended; nobody waits for it, and it is read again."""
    probe = _started(hanging.device)
    try:
        assert _until(probe, READS).since is None
        (hanging.group / "cgroup.procs").write_text(str(probe.worker_pid))
        before = clock.monotonic()
        hanging.set_hung(True)
        look = _until(probe, FROZEN)
        assert look.since is not None and look.text == hanging.device
        assert before <= look.since <= clock.monotonic()
        pid = probe.worker_pid
        hanging.set_hung(False)
        _until(probe, READS)
        assert probe.worker_pid == pid, "no other process was put before the disk"
    finally:
        probe.stop()


def test_disk_that_answers_late_each_time_is_not_frozen_since_the_first_time(
    hanging: HangingDisk,
) -> None:
    """Each read that ends counts, though none was seen to end in time: such a disk is slow."""
    probe = DiskProbe(hanging.device)
    try:
        assert probe.look_again().answer is READS
        (hanging.group / "cgroup.procs").write_text(str(probe.worker_pid))
        since = []
        for _ in range(2):
            hanging.set_hung(True)
            look = until(probe.look_again, lambda look: look.answer is FROZEN, "it is frozen")
            assert probe.look_again() == look, "the same read is still awaited"
            assert look.since is not None
            since.append(look.since)
            hanging.set_hung(False)
            until(lambda: probe.is_hung, lambda is_hung: not is_hung, "it answers, too late")
        assert since[0] < since[1]
    finally:
        hanging.set_hung(False)
        probe.close()


@pytest.mark.parametrize("state", "RSTtZX")
def test_only_a_process_that_waits_for_its_disk_shows_that_it_is_frozen(state: str) -> None:
    """One that gets no processor, or was stopped, could not read a disk in good health either."""
    assert waits_for_disk("D") and not waits_for_disk(state)


def test_process_that_is_stopped_says_nothing_of_its_disk(image: Path) -> None:
    """It could not read a disk in good health either."""
    probe = _started(str(image))
    try:
        _until(probe, READS)
        pid = probe.worker_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert "does not wait for it (state T)" in _until(probe, UNKNOWN).text
        finally:
            os.kill(pid, signal.SIGCONT)
        _until(probe, READS)
    finally:
        probe.stop()


def test_disk_that_is_not_there_is_not_known(image: Path) -> None:
    """Nor is one that is gone; both are read once they are there."""
    image.rename(f"{image}.away")
    probe = _started(str(image))
    try:
        until(lambda: probe.look.text, lambda text: "No such file" in text, "it is reported")
        os.rename(f"{image}.away", image)
        _until(probe, READS)
        image.unlink()
        image.write_bytes(bytes(4096))
        until(lambda: probe.look.text, lambda text: "replaced or removed" in text, "it is noticed")
        _until(probe, READS)
    finally:
        probe.stop()


# --- several disks, several services --------------------------------------------------------------


class Disk:
    """A probe whose look the test chooses."""

    def __init__(self) -> None:
        self.look = DisksLook(READS)
        self.is_read = False

    def start(self) -> None:
        """Is read from now on."""
        self.is_read = True

    def stop(self) -> None:
        """Is not read any more."""
        self.is_read = False


@dataclass
class Finder:
    """A program that finds what the test chooses."""

    values: Mapping[str, object]
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def ask(self, request: Mapping[str, object], limit_s: float) -> FenceAnswer:
        """Find it."""
        problem = "" if self.values else "LVM hangs"
        return FenceAnswer(self.values, problem)

    def close(self) -> None:
        """Nothing is to be killed."""


class Room:
    """The watch of one node, over disks of the test."""

    def __init__(self, values: Mapping[str, object], **disks: tuple[str, ...]) -> None:
        self.finder = Finder(values)
        self.disks: dict[str, Disk] = {}
        self.seen: list[DisksLooked] = []
        self.services = tuple(
            ServiceSpec(
                name,
                "/x",
                "deb1",
                "deb2",
                "/y",
                policy=Policy(frozen_storage=FrozenStorage.GIVE_UP, data_disks=paths),
            )
            for name, paths in disks.items()
        )
        self.watch = DataDisks(lambda: self.services, self._find, self.seen.append, self._disk)

    def _find(self, names: tuple[str, ...]) -> Finder:
        self.finder.asked.append(names)
        return self.finder

    def _disk(self, path: str) -> Disk:
        self.disks[path] = Disk()
        return self.disks[path]

    def look(self) -> Mapping[str, DisksLook]:
        """Look once, and return what the engine gets."""
        self.watch._look()
        return self.seen[-1].looks


def test_service_is_frozen_with_the_first_of_its_disks() -> None:
    """And not known with the first that is not known; two services share what they share."""
    room = Room({}, registry=("/dev/a", "/dev/b"), mail=("/dev/b",))
    assert {each.answer for each in room.look().values()} == {READS}
    assert len(room.disks) == 2
    room.disks["/dev/a"].look = DisksLook(UNKNOWN, text="no such device")
    assert room.look()["registry"] == DisksLook(UNKNOWN, text="no such device")
    assert room.look()["mail"].answer is READS
    room.disks["/dev/b"].look = DisksLook(FROZEN, 5.0, "/dev/b")
    assert room.look()["registry"] == room.look()["mail"] == DisksLook(FROZEN, 5.0, "/dev/b")
    room.disks["/dev/a"].look = DisksLook(FROZEN, 3.0, "/dev/a")
    looks = room.look()
    assert looks["registry"].since == 3.0 and looks["mail"].since == 5.0
    room.services = room.services[1:]
    room.look()
    assert not room.disks["/dev/a"].is_read and room.disks["/dev/b"].is_read


def test_disks_are_those_of_the_service_file_unless_they_are_named() -> None:
    """They are not looked for while one hangs: LVM would hang as well."""
    room = Room({"mail": {"disks": ["/dev/c"], "problem": ""}}, registry=("/dev/a",), mail=())
    assert room.look()["mail"].text == "its disks are being looked for"
    room.watch._find_all()
    assert room.finder.asked == [("mail",)]
    assert room.look()["mail"].answer is READS and "/dev/c" in room.disks
    room.disks["/dev/a"].look = DisksLook(FROZEN, 5.0, "/dev/a")
    room.watch._find_all()
    assert room.finder.asked == [("mail",)]


def test_service_without_a_known_disk_is_not_known() -> None:
    """Why is said; what was found before is not forgotten for one search that fails."""
    room = Room({"mail": {"disks": [], "problem": "it has no service file"}}, mail=())
    room.watch._find_all()
    assert room.look()["mail"] == DisksLook(UNKNOWN, text="it has no service file")
    room.finder.values = {"mail": {"disks": ["/dev/c"], "problem": ""}}
    room.watch._find_all()
    room.finder.values = {}
    room.watch._find_all()
    assert room.look()["mail"].answer is READS
    lost = Room({}, mail=())
    lost.watch._find_all()
    assert lost.look()["mail"].text == "its disks were not found: LVM hangs"


def test_without_the_option_nothing_is_read() -> None:
    """No thread, no process."""
    room = Room({}, registry=("/dev/a",))
    room.services = tuple(
        ServiceSpec(svc.name, "/x", "deb1", "deb2", "/y") for svc in room.services
    )
    room.watch.start()
    try:
        assert not room.watch._has_threads and not room.disks
        room.watch._look()
        assert not room.seen
    finally:
        room.watch.stop()
