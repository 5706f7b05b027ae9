"""Links with wire = legacy: records without an envelope on a disk, and datagrams as the original
sends them.
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.model import LEGACY_SLOT_BLOCKS, LinkSpec, Wire
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_channel import DiskChannel
from opensvc_openha.links.registry import make_listener, make_sender
from tests.links.places import Nodes, received

SAMPLES = pathlib.Path(__file__).parents[1] / "formats" / "legacy"
STARTING = (SAMPLES / "disk_registry_starting_deb1_block0.bin").read_bytes()
BLANK = (SAMPLES / "disk_noservice_deb1_block0.bin").read_bytes()
OFFSET = 19
RECORD_BYTES = LEGACY_SLOT_BLOCKS * 512


def disk(device: str, kind: str = "dio", offset: int = OFFSET) -> LinkSpec:
    return LinkSpec("deb1", kind, device, "", 0, offset, 10.0, wire=Wire.LEGACY)


def write(path: str, data: bytes) -> None:
    """What a C OpenHA does: the record, at its offset."""
    with open(path, "r+b") as file:
        file.seek(OFFSET * 512)
        file.write(data)


@pytest.fixture(params=["dio", "disk"])
def listener(request: pytest.FixtureRequest, disk_file: str) -> Iterator[Any]:
    """A listener that has already seen what was on the disk before."""
    write(disk_file, BLANK)
    made = make_listener(disk(disk_file, request.param), time.monotonic)
    made.open()
    assert made.receive(0.0) is None
    yield made
    made.close()


def test_record_of_a_c_openha_is_read_as_it_lies_there(listener: Any, disk_file: str) -> None:
    """The captured record is written over the old one: its 9,728 bytes come out once, within about
    a beat.
    """
    write(disk_file, STARTING)
    assert received(listener.receive(3.0)).data == STARTING
    assert listener.receive(1.2) is None


def test_zeroed_record_is_no_beat(listener: Any, disk_file: str) -> None:
    """A zeroed disk keeps a dead peer up for ever with the original.

    Here it is counted as blank.
    """
    write(disk_file, bytes(RECORD_BYTES))
    assert listener.receive(1.2) is None
    assert listener.counters["blank"] == 1


def test_our_record_lies_at_its_offset_and_nowhere_else(disk_file: str) -> None:
    """19 blocks without an envelope; the blocks before and behind are left alone."""
    begin, end = OFFSET * 512, OFFSET * 512 + RECORD_BYTES
    # Its own slot has a record, since nothing else is written over, and a blank one only on a
    # device that is nobody's.
    pathlib.Path(disk_file).write_bytes(b"n" * begin + BLANK + b"n" * (64 * 512 - end))
    sender = make_sender(disk(disk_file), time.monotonic)
    sender.open()
    sender.send(STARTING)
    sender.close()
    data = pathlib.Path(disk_file).read_bytes()
    assert data[begin:end] == STARTING
    assert data[:begin] == b"n" * begin and data[end:] == b"n" * (64 * 512 - end)


class WritesDuringTheRead:
    """The real way to the disk, with a peer that writes the rest of its record right before it is
    read once more.
    """

    def __init__(self, channel: DiskChannel, path: str) -> None:
        self._channel = channel
        self._path = path
        self.disk = channel.disk
        self.count_reads = channel.count_reads
        self.is_done = False

    def read(self, offset: int, length: int, limit_s: float) -> bytes:
        if not self.is_done:
            self.is_done = True
            write(self._path, STARTING)
        return self._channel.read(offset, length, limit_s)

    def close(self) -> None:
        self._channel.close()


def test_record_read_while_it_was_written_is_read_again(disk_file: str) -> None:
    """Half the new record, half the old one: never handed on; the next read has it whole."""
    write(disk_file, BLANK)
    listener = make_listener(disk(disk_file), time.monotonic)
    listener.open()
    assert listener.receive(0.0) is None
    write(disk_file, STARTING[:4096])
    vars(listener)["_channel"] = WritesDuringTheRead(vars(listener)["_channel"], disk_file)
    got = listener.receive(4.0)
    listener.close()
    assert received(got).data == STARTING and listener.counters["torn"] == 1


def test_device_of_4_kib_blocks_is_refused(loop_device: Callable[..., Any]) -> None:
    """19 blocks of 512 bytes are no whole number of its blocks, and the original cannot write them
    there either.
    """
    device, _ = loop_device(128, "-b", "4096")
    for make in (make_sender, make_listener):
        with pytest.raises(
            LinkFault,
            match="has blocks of 4096 bytes: the original's 19 x 512 bytes are not whole ones",
        ):
            make(disk(device, offset=24), time.monotonic).open()


def test_device_that_ends_within_the_record_is_too_small(loop_device: Callable[..., Any]) -> None:
    """The record needs its 19 blocks whole."""
    device, _ = loop_device(OFFSET + LEGACY_SLOT_BLOCKS - 1)
    with pytest.raises(LinkFault, match="is too small"):
        make_sender(disk(device), time.monotonic).open()


def test_datagram_of_9384_bytes_comes_from_the_port_it_goes_to(nodes: Nodes) -> None:
    """As the original sends it: fragments and all, source port equal to the link's."""
    link = LinkSpec("deb1", "net", "eth1", "239.131.50.10", 5010, 0, 10.0, wire=Wire.LEGACY)
    for spec, port in ((link, 5010), (replace(link, wire=Wire.OWN, port=5011), None)):
        listener, sender = make_listener(spec, time.monotonic), make_sender(spec, time.monotonic)
        nodes.b.do(listener.open)
        nodes.a.do(sender.open)
        nodes.a.do(sender.send, STARTING[:9384])
        got = nodes.b.do(listener.receive, 3.0)
        nodes.a.do(sender.close)
        nodes.b.do(listener.close)
        assert got.data == STARTING[:9384]
        host, _, source_port = got.source.rpartition(":")
        assert host == "10.50.1.1"
        assert (source_port == str(port)) is (port is not None)
