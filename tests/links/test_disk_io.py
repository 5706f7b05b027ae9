"""What the I/O process of a device does of itself: it watches places, and checks what it writes."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from opensvc_openha.links import disk_io, disk_worker
from opensvc_openha.links.disk_io import Device, Server, Watch
from opensvc_openha.links.disk_requests import (
    LEAVE,
    LOOK,
    NOT_AS_LEFT,
    NOT_AS_WRITTEN,
    NOTE,
    NOTES_BYTES,
    READ,
    REPLACE,
    REPLACE_HEAD,
    REQUEST,
    UNDERWAY,
    WATCH,
    WATCH_FORM,
    WRITTEN,
)
from opensvc_openha.system import clock as system_clock
from tests.waiting import LIMIT_S

ONE, TWO, THREE = b"1" * 512, b"2" * 512, b"3" * 512


class Machine:
    """Its clock, and what a process says on its standard output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.said: list[tuple[int, int, bytes]] = []
        self.asked = b""
        monkeypatch.setattr(disk_io, "now", lambda: self.now)
        monkeypatch.setattr(disk_io, "_reply", lambda *reply: self.said.append(reply))
        monkeypatch.setattr(disk_io, "_read_exactly", self._read)

    def _read(self, length: int) -> bytes:
        data, self.asked = self.asked[:length], self.asked[length:]
        assert len(data) == length
        return data

    def ask(self, server: Server, operation: bytes, number: int, offset: int, *rest: Any) -> None:
        """One request, which is taken."""
        data = b"".join(rest)
        self.asked = REQUEST.pack(operation, number, offset, len(data)) + data
        server._take()

    def replies(self) -> list[tuple[int, int, bytes]]:
        """What was said since the last look."""
        said, self.said = self.said, []
        return said


class Disk(Device):
    """In memory; each I/O takes its time and may do something else besides."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.data = bytearray(8 * 512)
        self.read_s = self.write_s = 0.0
        self.error = 0
        self.is_lossy = False
        self.done: list[str] = []
        self.on_read: Callable[[], object] = bool

    def read(self, offset: int, length: int) -> bytes:
        self.done.append(f"read {offset // 512}")
        self.machine.now += self.read_s
        if self.error:
            raise OSError(self.error, "")
        data = bytes(self.data[offset : offset + length])
        self.on_read()
        return data

    def write(self, offset: int, data: bytes) -> bytes:
        self.done.append(f"write {offset // 512}")
        self.machine.now += self.write_s
        if not self.is_lossy:
            self.data[offset : offset + len(data)] = data
        return b""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """In simulated time."""
    return Machine(monkeypatch)


def request(former: bytes, data: bytes, until: float = 1000.0, slow_s: float = 9.0) -> bytes:
    return REPLACE_HEAD.pack(len(former), until, slow_s) + former + data


def page() -> mmap.mmap:
    """A page for notes that nobody else reads."""
    return mmap.mmap(-1, NOTES_BYTES)


def form(pause_s: float, place: int = 0) -> bytes:
    """What is asked of a watch of 512 bytes."""
    return WATCH_FORM.pack(512, pause_s, place)


def look(reply: tuple[int, int, bytes]) -> tuple[int, int, float, float, bytes]:
    """A report, taken apart: id, number of the read, instants, content."""
    number, status, payload = reply
    began_at, ended_at, reads = LOOK.unpack_from(payload)
    assert not status
    return number, reads, began_at, ended_at, payload[LOOK.size :]


def noted(notes: mmap.mmap, place: int = 0) -> tuple[int, int, int, int, float, float]:
    """What the page has of a place, in both copies."""
    begin = 2 * place * NOTE.size
    first, second = (NOTE.unpack_from(notes, begin + copy * NOTE.size) for copy in (0, 1))
    assert first == second
    return first


def test_clock_is_that_of_the_daemon() -> None:
    """Else its instants would be of another time after a suspension."""
    before, found = system_clock.monotonic(), disk_io.now()
    assert before <= found <= system_clock.monotonic()


def test_watched_place_is_reported_if_it_differs_and_noted(machine: Machine) -> None:
    """The first content is news, whatever it is; each read is dated around itself. A read is noted
    after it was reported: who finds the note can find the report.
    """
    disk, notes = Disk(machine), page()
    disk.read_s = 0.125
    watch = Watch(7, 512, form(0.25, place=2), notes)

    def report(*reply: Any) -> None:
        before.append(noted(notes, 2)[1])
        machine.said.append(reply)

    before: list[int] = []
    watch.look(disk, report)
    assert [look(reply) for reply in machine.replies()] == [(7, 1, 100.0, 100.125, bytes(512))]
    assert watch.due_at == 100.375 and noted(notes, 2) == (7, 1, 1, True, 100.0, 100.125)
    watch.look(disk, report)
    assert machine.replies() == [] and noted(notes, 2) == (7, 2, 1, False, 100.125, 100.25)
    disk.data[512:1024] = ONE
    watch.look(disk, report)
    assert [look(reply)[1::3] for reply in machine.replies()] == [(3, ONE)]
    watch.look(disk, report)
    assert machine.replies() == [] and noted(notes, 2)[:4] == (7, 4, 2, False)
    disk.data[512:1024] = bytes(512)
    watch.look(disk, report)
    assert [look(reply)[1::3] for reply in machine.replies()] == [(5, bytes(512))]
    assert before == [0, 2, 4] and notes[: 4 * NOTE.size] == bytes(4 * NOTE.size)


def test_empty_place_is_news_once(machine: Machine) -> None:
    """A file that does not reach to it."""
    disk = Disk(machine)
    disk.data = bytearray()
    watch = Watch(0, 512, form(0.25), page())
    for _ in range(2):
        watch.look(disk, lambda *reply: machine.said.append(reply))
    assert [look(reply)[4] for reply in machine.replies()] == [b""]


def test_places_are_read_when_they_are_due(machine: Machine) -> None:
    """Each at its own pace, until it is left; the last note may be on its way then."""
    disk, notes = Disk(machine), page()
    server = Server(disk, notes)
    machine.ask(server, WATCH, 1, 0, form(0.25, place=0))
    machine.ask(server, WATCH, 2, 512, form(1.0, place=1))
    assert machine.replies() == [] and disk.done == []
    server._look()
    server._look()
    assert [look(reply)[0] for reply in machine.replies()] == [1, 2]
    disk.done.clear()
    for _ in range(4):
        machine.now += 0.25
        server._look()
    assert disk.done == ["read 0"] * 4 + ["read 1"] and machine.replies() == []
    assert [noted(notes, place)[:2] for place in (0, 1)] == [(1, 5), (2, 2)]
    machine.ask(server, LEAVE, 1, 0)
    assert machine.replies() == [(1, 0, b"")]
    machine.now += 1.0
    server._look()
    assert [noted(notes, place)[:2] for place in (0, 1)] == [(1, 5), (2, 3)]
    machine.ask(server, LEAVE, 1, 0)
    assert machine.replies() == [(1, 0, b"")], "twice does no harm"


def test_place_that_cannot_be_read_is_reported_and_left(machine: Machine) -> None:
    """With the error; others are read on, and so is what is asked for."""
    disk = Disk(machine)
    server = Server(disk, page())
    machine.ask(server, WATCH, 1, 0, form(0.25))
    disk.error = errno.EIO
    server._look()
    assert machine.replies() == [(1, errno.EIO, b"")]
    disk.error = 0
    machine.now += 1.0
    server._look()
    assert machine.replies() == []
    machine.asked = REQUEST.pack(READ, 2, 0, 512)
    server._take()
    assert machine.replies() == [(2, 0, bytes(512))]


def test_what_is_due_is_read_between_the_parts_of_a_write(machine: Machine) -> None:
    """A slow disk takes a second for each I/O: no watched place waits for more than one."""
    disk = Disk(machine)
    server = Server(disk, page())
    machine.ask(server, WATCH, 1, 512, form(0.25))
    server._look()
    disk.done.clear()
    disk.read_s = disk.write_s = 1.0
    machine.ask(server, REPLACE, 2, 0, request(bytes(512), ONE))
    assert disk.done == ["read 0", "read 1", "write 0", "read 1", "read 0"]
    assert machine.replies()[-1] == (2, 0, WRITTEN)


@pytest.mark.parametrize(("read_s", "write_s", "number"), [
    (0.0, 0.0, 0), (1.0, 0.0, 1), (0.0, 1.0, 1), (1.0, 1.0, 2), (0.99, 0.99, 0),
])  # fmt: skip
def test_parts_that_take_their_time_are_reported(
    machine: Machine, read_s: float, write_s: float, number: int
) -> None:
    """Each I/O of the three has the limit for itself; the answer comes last."""
    disk = Disk(machine)
    disk.read_s, disk.write_s = read_s, write_s
    machine.ask(Server(disk, page()), REPLACE, 5, 0, request(bytes(512), ONE, slow_s=1.0))
    assert machine.replies() == [(5, UNDERWAY, b"")] * number + [(5, 0, WRITTEN)]


def test_write_is_checked_before_and_afterwards(machine: Machine) -> None:
    """Whatever is found instead is reported whole."""
    disk = Disk(machine)
    server = Server(disk, page())
    machine.ask(server, REPLACE, 1, 0, request(b"", ONE))
    machine.ask(server, REPLACE, 2, 0, request(ONE, TWO))
    assert machine.replies() == [(1, 0, WRITTEN), (2, 0, WRITTEN)]
    disk.data[:512] = THREE
    disk.done.clear()
    machine.ask(server, REPLACE, 3, 0, request(TWO, ONE))
    assert machine.replies() == [(3, 0, NOT_AS_LEFT + THREE)] and disk.data[:512] == THREE
    assert disk.done == ["read 0"]
    disk.data = disk.data[:100]
    machine.ask(server, REPLACE, 4, 0, request(TWO, ONE))
    assert machine.replies() == [(4, 0, NOT_AS_LEFT + THREE[:100])]
    disk.data, disk.is_lossy = bytearray(512), True
    machine.ask(server, REPLACE, 5, 0, request(b"", ONE))
    assert machine.replies() == [(5, 0, NOT_AS_WRITTEN + bytes(512))]
    disk.error = errno.EIO
    machine.ask(server, REPLACE, 6, 0, request(b"", ONE))
    assert machine.replies() == [(6, errno.EIO, b"")]


@pytest.mark.parametrize(("read_s", "is_written"), [(0.0, True), (0.999, True), (1.0, False)])
def test_what_comes_too_late_is_not_written(
    machine: Machine, read_s: float, is_written: bool
) -> None:
    """The first read hung: who asked has given up, and may be dead when the disk comes back."""
    disk = Disk(machine)
    disk.data[:512] = ONE
    disk.read_s = read_s
    machine.ask(Server(disk, page()), REPLACE, 1, 0, request(ONE, TWO, until=101.0))
    assert (disk.data[:512] == TWO) is is_written
    assert machine.replies() == [(1, 0, WRITTEN) if is_written else (1, errno.ETIMEDOUT, b"")]


def test_standard_input_that_ends_ends_the_process() -> None:
    """Also while places are watched."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(read_end, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.close(write_end)
            server = Server(Device("/dev/null", False), page())
            server._watches[1] = Watch(1, 0, form(3600.0), page())
            server._watches[1].due_at = disk_io.now() + 3600.0
            server.run()
        except EOFError:
            os._exit(7)
        finally:
            os._exit(1)
    os.close(read_end)
    os.close(write_end)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_worker_imports_little() -> None:
    """What a disk's process has is memory of each node: nothing of the package, and no ``os``."""

    def imported(*words: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr
        return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    found = imported(disk_worker.__file__, "/dev/null", "direct", "-1") - imported("-c", "pass")
    package = {name for name in found if name.startswith("opensvc_openha")}
    assert package - {"opensvc_openha", "opensvc_openha.links"} == {
        "opensvc_openha.links.disk_io",
        "opensvc_openha.links.disk_requests",
    }
    assert found - package <= {"errno", "fcntl", "mmap", "select", "struct", "_struct"}
