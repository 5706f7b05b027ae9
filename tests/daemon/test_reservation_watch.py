"""The watch of the reserved disks of what runs here: on simulated disks that two nodes share."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator

import pytest

from opensvc_openha.core import timing
from opensvc_openha.core.events import Ejected, Readmitted
from opensvc_openha.daemon import reservation_watch
from opensvc_openha.daemon.issues import ActiveIssues
from opensvc_openha.daemon.reservation_watch import ReservationWatch
from opensvc_openha.fence_devices import shared_disk
from opensvc_openha.fence_devices.held_disks import HeldDisks
from opensvc_openha.fence_devices.scsi_disk import open_port
from opensvc_openha.fence_devices.shared_disk import SharedDisk
from tests.fence_devices.simulated_disk import SimulatedNode, SimulatedUnit
from tests.formats.test_scsi_pr import A, B
from tests.waiting import LIMIT_S, until


class Rig:
    """Two services with a disk of two paths each; this node is deb2, and holds both disks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units = {"disk0": SimulatedUnit(serial="a"), "disk1": SimulatedUnit(serial="b")}
        self.node = SimulatedNode("deb2", self.units, paths=2)
        self.peer = SimulatedNode("deb1", self.units, paths=2)
        defaults = shared_disk.SharedDisk.__init__.__defaults__ or ()
        monkeypatch.setattr(
            shared_disk.SharedDisk.__init__,
            "__defaults__",
            tuple(self.node.open if default is open_port else default for default in defaults),
        )
        for name in self.units:
            self.disk(self.node, name).take(B)
        self.services = {"web": "disk0", "db": "disk1"}
        self.running: frozenset[str] = frozenset()
        self.is_admitted = self.may_register = False
        self.looks = self.asked = 0
        self.before_end = lambda: None
        self.reports: queue.SimpleQueue[Ejected | Readmitted] = queue.SimpleQueue()
        self.renewed: list[str] = []
        self.issues = ActiveIssues("deb2", logging.getLogger("test"))
        self.opened: list[Held] = []
        self.watch = ReservationWatch(
            self._open,
            self._disks_of,
            lambda: self.running,
            lambda: self._ask(self.is_admitted),
            lambda: self._ask(self.may_register),
            self.reports.put,
            self.renewed.append,
            self.issues,
        )

    def disk(self, node: SimulatedNode, name: str) -> SharedDisk:
        """A disk as a node sees it."""
        return SharedDisk(node.address(name), node.open, lambda seconds: None)

    def _ask(self, answer: bool) -> bool:
        self.asked += 1
        return answer

    def _open(self) -> Held:
        self.opened.append(Held(self))
        return self.opened[-1]

    def _disks_of(self, services: frozenset[str]) -> dict[str, dict[str, object]]:
        names = sorted(self.services[service] for service in services)
        return {
            name: {"name": name, "paths": list(self.node.address(name).paths), "key": hex(B)}
            for name in names
        }

    def run(self, *services: str) -> None:
        """These run, and were looked at twice: what they hold is known."""
        self.running = frozenset(services)
        self.watch.start()
        self.look_twice()

    def look_twice(self) -> None:
        """Wait for a look that began after now, and ended."""
        before = self.looks
        until(lambda: self.looks >= before + 3)


class Held(HeldDisks):
    """The disks, whose looks are counted."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig
        self.is_closed = False

    def look(self, disks: object) -> dict[str, object]:
        """One more look; what is to happen in the middle of it happens before it ends."""
        found = super().look(disks)  # type: ignore[arg-type]  # What the watch passes.
        self._rig.before_end()
        self._rig.looks += 1
        return found

    def close(self) -> None:
        """Release them."""
        super().close()
        self.is_closed = True


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Nothing runs yet."""
    monkeypatch.setattr(reservation_watch, "RESERVED_LOOK_S", 0.01)
    made = Rig(monkeypatch)
    yield made
    made.watch.stop()


def test_look_is_due_each_second() -> None:
    """An owner writes again within two seconds after its path came back."""
    assert timing.RESERVED_LOOK_S <= 1.0


def test_path_that_came_back_is_registered_again(rig: Rig) -> None:
    """Its writes pass; the operator sees which path it was."""
    rig.run("web")
    rig.units["disk0"].reconnect(("deb2", "disk0-1"))
    assert not rig.units["disk0"].may_write(("deb2", "disk0-1"))
    until(lambda: rig.units["disk0"].may_write(("deb2", "disk0-1")))
    until(lambda: rig.renewed)
    assert rig.renewed == ["disk0-1 of disk0 came back: registered again"]
    rig.look_twice()
    assert rig.renewed[1:] == [] and rig.reports.empty() and rig.issues.texts == ()


def test_io_processes_are_kept_between_two_looks_and_released_with_the_service(rig: Rig) -> None:
    """Nothing is opened again; a node that runs nothing asks no disk."""
    rig.run("web", "db")
    rig.look_twice()
    assert len(rig.opened) == 1
    ports = rig.node.ports
    assert not any(port.is_closed for port in ports.values())
    rig.running = frozenset({"web"})
    until(lambda: ports["disk1-0"].is_closed and ports["disk1-1"].is_closed)
    assert not ports["disk0-0"].is_closed
    rig.running = frozenset()
    until(lambda: ports["disk0-0"].is_closed and rig.opened[0].is_closed)
    looks = rig.looks
    rig.running = frozenset({"web"})
    until(lambda: rig.looks > looks + 1)
    assert len(rig.opened) == 2 and rig.reports.empty()


def test_reservation_that_is_gone_ejects_this_node_once(rig: Rig) -> None:
    """It comes back when its services are down, and the peer knows that."""
    rig.run("web", "db")
    rig.disk(rig.peer, "disk1").take(A)
    assert rig.reports.get(timeout=LIMIT_S) == Ejected(f"the holder of key {hex(A)}")
    rig.look_twice()
    rig.running = frozenset()
    for rig.is_admitted, rig.may_register in ((False, True), (False, False), (True, False)):
        rig.asked = 0
        until(lambda: rig.asked >= 3)
        assert rig.reports.empty(), "the arbiter has removed it, or the peer does not know yet"
    rig.may_register = True
    assert rig.reports.get(timeout=LIMIT_S) == Readmitted()


def test_disk_that_does_not_answer_ejects_nobody_and_is_shown(rig: Rig) -> None:
    """Until it answers."""
    rig.run("web")
    for number in (0, 1):
        rig.node.ports[f"disk0-{number}"].is_dead = True
    until(lambda: rig.issues.texts)
    assert rig.issues.texts[0].startswith(
        "reserved disk of a service that runs here: disk0 is not held by this node: hung"
    )
    for number in (0, 1):
        rig.node.ports[f"disk0-{number}"].is_dead = False
    until(lambda: not rig.issues.texts)
    assert rig.reports.empty()


def test_service_that_is_stopped_during_the_look_was_not_ejected(rig: Rig) -> None:
    """Its stop took the keys away."""
    rig.run("web", "db")

    def stop() -> None:
        rig.running = frozenset({"db"})

    rig.before_end = stop
    rig.disk(rig.node, "disk0").clear(B)
    rig.look_twice()
    assert rig.reports.empty() and "db" in rig.running
    rig.before_end = lambda: None
    rig.disk(rig.peer, "disk1").take(A)
    assert rig.reports.get(timeout=LIMIT_S) == Ejected(f"the holder of key {hex(A)}")


def test_reservation_that_was_never_seen_here_is_a_problem_and_no_ejection(rig: Rig) -> None:
    """A daemon that was restarted does not know whether it was ever held."""
    rig.disk(rig.peer, "disk0").take(A)
    rig.run("web")
    until(lambda: rig.issues.texts)
    assert f"disk0 is not held by this node: {hex(A)} registered" in rig.issues.texts[0]
    assert rig.reports.empty()


def test_look_that_fails_is_shown_and_the_next_one_is_made(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a defect of ours or of a thread that cannot be started."""
    with monkeypatch.context() as broken:

        def fail(disks: object) -> None:
            raise RuntimeError("can't start new thread")

        broken.setattr("opensvc_openha.fence_devices.held_disks.meet", fail)
        rig.running = frozenset({"web"})
        rig.watch.start()
        until(lambda: rig.issues.texts)
        assert "RuntimeError: can't start new thread" in rig.issues.texts[0]
    until(lambda: not rig.issues.texts)
