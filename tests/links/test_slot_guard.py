"""A slot is written only where nobody else's data is, and what was written is looked at again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.disk_slot import encode_slot
from opensvc_openha.formats.legacy_frame import LegacyRecord, encode_disk_record
from opensvc_openha.links import blkid_probe
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.dio import DioListener, DioSender
from opensvc_openha.links.disk import DiskSender
from opensvc_openha.links.disk_channel import START_LIMIT_S, Difference, channel_for
from opensvc_openha.links.slot_link import ForeignData
from tests.links.places import run
from tests.waiting import LIMIT_S, until


def spec(device: str, offset: int = 0) -> LinkSpec:
    return LinkSpec("deb1", "dio", device, "", 0, offset, 2.0)


@pytest.fixture
def sender() -> Iterator[Callable[..., Any]]:
    """Makes senders and closes them."""
    made: list[Any] = []

    def make(device: str, offset: int = 0, kind: type[Any] = DioSender) -> Any:
        made.append(kind(spec(device, offset)))
        return made[-1]

    yield make
    for end in made:
        end.close()


def content(path: str, offset: int = 0, length: int = 5120) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset * 512)
        return file.read(length)


def put(path: str, data: bytes, offset: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(offset * 512)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@pytest.mark.parametrize("kind", [DioSender, DiskSender])
def test_someone_elses_data_is_not_written_over_unless_forced_once(
    sender: Callable[..., Any], disk_file: str, kind: type[Any]
) -> None:
    """Text where the slot shall be: refused, untouched, and the way to force it is named.

    Forced, it is ours for good.
    """
    text = b"the accounts of 2013 " * 200
    put(disk_file, text, 10)
    one = sender(disk_file, 10, kind)
    with pytest.raises(ForeignData, match="hb --force -n deb1 -t dio"):
        one.open()
    assert content(disk_file, 10, len(text)) == text
    one.claim()
    for _ in range(2):
        one.open()
        one.send(b"beat")
        one.close()


@pytest.mark.parametrize("command", ["mkfs.ext4 -q -F {}", "mkswap {}"])
def test_blank_slot_on_a_device_with_a_file_system_is_refused(
    sender: Callable[..., Any], disk_dir: str, command: str
) -> None:
    """The blocks of the slot are zeros by chance, the device is somebody's: refused."""
    image = os.path.join(disk_dir, "image")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    path = os.environ["PATH"] + ":/sbin:/usr/sbin"
    subprocess.run(
        command.format(image).split(), check=True, capture_output=True, env={"PATH": path}
    )
    offset = next(
        block for block in range(20_000, 32_000, 10) if not content(image, block).strip(b"\0")
    )
    with pytest.raises(ForeignData, match="file system|swap"):
        sender(image, offset).open()


@contextlib.contextmanager
def mounted(device: str, place: str) -> Iterator[None]:
    """In a mount namespace of its own: one made meanwhile by another process would copy the mount,
    and keep it.
    """
    script = f"mount {device} {place} && echo mounted && exec sleep 60"
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout and holder.stdout.readline() == "mounted\n"
            yield
        finally:
            holder.kill()


def is_in_use(device: str) -> bool:
    channel = channel_for(device, True)
    try:
        return channel.open(True, START_LIMIT_S).is_in_use
    finally:
        channel.close()


def test_mounted_device_is_refused_wherever_the_slot_is(
    sender: Callable[..., Any], loop_device: Callable[..., Any], disk_dir: str
) -> None:
    """A file system without a sign at the start of the device, but mounted: the kernel reports that
    it is in use.
    """
    device, image = loop_device(32_768)
    run("mkfs.ext4", "-q", device)
    place = os.path.join(disk_dir, "mnt")
    os.mkdir(place)
    offset = next(
        block for block in range(20_000, 32_000, 10) if not content(image, block).strip(b"\0")
    )
    with mounted(device, place):
        one = sender(device, offset)
        with pytest.raises(ForeignData, match="file system"):
            one.open()
        assert one._channel is None
        assert is_in_use(device)
    until(lambda: not is_in_use(device))


def test_slot_of_the_c_openha_is_taken_over(sender: Callable[..., Any], disk_file: str) -> None:
    """A cluster comes from the original: its record in the slot is a heartbeat, not someone's
    data.
    """
    put(
        disk_file,
        b"deb1.opensvc.com".ljust(128, b"\0") + (1).to_bytes(4, "little") + bytes(9252),
        0,
    )
    one = sender(disk_file)
    one.open()
    one.send(b"beat")
    assert content(disk_file) == encode_slot(b"beat", 5120).ljust(5120, b"\0")


def test_two_writers_on_one_slot_are_noticed(sender: Callable[..., Any], disk_file: str) -> None:
    """Another node was given the same offset: counted at each beat of ours that the other one wrote
    over.
    """
    one, two = sender(disk_file), sender(disk_file)
    one.open()
    two.open()
    for number in range(3):
        one.send(b"one %d" % number)
        two.send(b"two %d" % number)
    assert one.counters["overwritten"] == 2 and two.counters["overwritten"] == 2


def test_slot_alone_on_its_blocks_is_never_called_overwritten(
    sender: Callable[..., Any], disk_file: str
) -> None:
    """Two nodes beside each other: nothing to report."""
    one, two = sender(disk_file), sender(disk_file, 10)
    for end in (one, two):
        end.open()
    for _ in range(5):
        one.send(b"x" * 5000)
        two.send(b"y" * 5000)
    assert (one.counters, two.counters) == ({"overwritten": 0}, {"overwritten": 0})


def test_data_that_appears_in_the_slot_of_a_running_link_stops_it(
    sender: Callable[..., Any], disk_file: str
) -> None:
    """Somebody begins to use the disk for something else: the next beat is not written over it."""
    one = sender(disk_file)
    one.open()
    one.send(b"beat")
    put(disk_file, b"a new owner " * 400)
    with pytest.raises(ForeignData):
        one.send(b"beat 2")
    assert content(disk_file).startswith(b"a new owner")


def test_zeroed_slot_of_a_running_link_is_counted_and_written_again(
    sender: Callable[..., Any], disk_file: str
) -> None:
    """Somebody wiped the slot: reported, and the link continues."""
    one = sender(disk_file)
    one.open()
    one.send(b"beat")
    put(disk_file, bytes(5120))
    one.send(b"beat 2")
    assert one.counters["overwritten"] == 1 and b"beat 2" in content(disk_file)


def test_lost_write_is_a_fault(sender: Callable[..., Any], disk_file: str) -> None:
    """The disk takes the write and does not keep it: the link reports it instead of beating into
    the void.
    """
    one = sender(disk_file)
    one.open()
    replace = one._channel.replace
    one._channel.replace = lambda offset, former, data, limit_s: Difference(True, bytes(len(data)))
    try:
        with pytest.raises(LinkFault, match="does not hold what was just written"):
            one.send(b"beat")
    finally:
        one._channel.replace = replace


@pytest.mark.parametrize("blocks", [1, 5, 9])
def test_torn_slot_is_never_a_beat(disk_file: str, blocks: int) -> None:
    """Old and new blocks mixed, in either order, any number of them: counted as damaged, and never
    delivered.
    """
    old, new = (encode_slot(letter * 4900, 5120).ljust(5120, b"\0") for letter in (b"a", b"b"))
    listener = DioListener(spec(disk_file), time.monotonic, poll_s=0.01)
    put(disk_file, old)
    listener.open()
    assert listener.receive(0.05) is None
    cut = blocks * 512
    for mixed in (new[:cut] + old[cut:], old[:cut] + new[cut:]):
        put(disk_file, mixed)
        assert listener.receive(0.1) is None
    assert listener.counters["checksum"] >= 2
    put(disk_file, new)
    received = listener.receive(1.0)
    assert received is not None and received.data == b"b" * 4900
    listener.close()


def image_of(disk_dir: str, size: int = 16 << 20) -> str:
    path = os.path.join(disk_dir, "image")
    with open(path, "wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    "sign, offset, what",
    [
        (b"_BHRfS_M", 65_600, "btrfs"),
        (b"ORCLDISKDATA0001", 32, "Oracle ASM"),
        (b"anything at all", 1 << 20, "data of an unknown kind"),
        (b"at the very end", (16 << 20) - 512, "data of an unknown kind"),
    ],
)
def test_blank_slot_on_a_device_that_is_not_blank_is_refused_unless_forced_once(
    sender: Callable[..., Any], disk_dir: str, sign: bytes, offset: int, what: str
) -> None:
    """Unmounted, and the slot is zeros by chance: what is known is named, what is not known is
    refused as well.
    """
    image = image_of(disk_dir)
    put(image, sign, offset // 512) if offset % 512 == 0 else put(
        image, bytes(offset % 512) + sign, offset // 512
    )
    one = sender(image, 16)
    with pytest.raises(ForeignData, match=what):
        one.open()
    one.claim()
    for _ in range(2):
        one.open()
        one.send(b"beat")
        one.close()
    assert sign in content(image, offset // 512, 1024)


def test_blkid_names_what_the_own_table_does_not_know(
    sender: Callable[..., Any], disk_dir: str
) -> None:
    """A minix file system: util-linux makes it, and knows it."""
    image = image_of(disk_dir)
    run("mkfs.minix", image)
    with pytest.raises(ForeignData, match="a minix file system"):
        sender(image, 20_000).open()


def test_without_blkid_what_is_not_known_is_refused_all_the_same(
    sender: Callable[..., Any], disk_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No util-linux on the node: the own table, and no guess."""
    image = image_of(disk_dir)
    run("mkfs.minix", image)
    monkeypatch.setattr(blkid_probe, "_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ForeignData, match="data of an unknown kind"):
        sender(image, 20_000).open()


def test_slots_of_others_do_not_make_a_device_somebodys(
    sender: Callable[..., Any], disk_dir: str
) -> None:
    """A disk for many clusters: beats of ours and of the original beside a new slot, at the start
    and in the middle.
    """
    image = image_of(disk_dir)
    for offset in (0, 10, 500, 4000):
        put(image, encode_slot(os.urandom(4900), 5120).ljust(5120, b"\0"), offset)
    put(
        image,
        encode_disk_record(
            LegacyRecord("deb7.opensvc.com", (("web", ServiceState.STARTED),), 1_800_000_000, 123)
        ),
        100,
    )
    one = sender(image, 20)
    one.open()
    one.send(b"beat")


def test_slot_that_is_wiped_while_the_link_runs_is_written_again_on_a_forced_device(
    sender: Callable[..., Any], disk_dir: str
) -> None:
    """The unknown data was there before, and forced once: a zeroed slot is no reason to stop the
    link now.
    """
    image = image_of(disk_dir)
    put(image, b"anything at all", 2048)
    one = sender(image, 10)
    one.claim()
    one.open()
    one.send(b"beat")
    put(image, bytes(5120), 10)
    one.send(b"beat 2")
    assert one.counters["overwritten"] == 1 and b"beat 2" in content(image, 10)


@pytest.mark.parametrize("how", ["removed", "replaced", "truncated"])
def test_disk_that_vanishes_is_not_called_a_second_writer(
    sender: Callable[..., Any], disk_file: str, how: str
) -> None:
    """The path is gone, names another disk, or the disk has no end there any more: reported as
    such, and nothing is counted.
    """
    one = sender(disk_file)
    one.open()
    one.send(b"beat 1")
    if how == "truncated":
        os.truncate(disk_file, 0)
    else:
        os.rename(disk_file, f"{disk_file}.old")
        put(f"{disk_file}.old", b"something else")
    if how == "replaced":
        with open(disk_file, "wb") as new:
            new.write(bytes(1 << 20))
    words = "vanished or shrunk" if how == "truncated" else "replaced or removed"
    with pytest.raises(LinkFault, match=words):
        one.send(b"beat 2")
    assert one.counters["overwritten"] == 0


def test_device_that_has_become_shorter_is_no_blank_slot(
    sender: Callable[..., Any], loop_device: Callable[..., Any]
) -> None:
    """Somebody shrinks the volume under both ends: each reports that it is gone."""
    device, image = loop_device(64)
    one, listener = sender(device), DioListener(spec(device), time.monotonic)
    one.open()
    one.send(b"beat 1")
    listener.open()
    try:
        assert listener.receive(0.0) is None
        os.truncate(image, 0)
        run("losetup", "-c", device)
        with pytest.raises(LinkFault, match="vanished or shrunk"):
            listener.receive(LIMIT_S)
    finally:
        listener.close()
    with pytest.raises(LinkFault, match="vanished or shrunk"):
        one.send(b"beat 2")
    assert one.counters["overwritten"] == 0
