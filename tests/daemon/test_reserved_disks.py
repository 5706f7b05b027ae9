"""The reserved disks of services: found by a real program, used by requests, watched in use."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from opensvc_openha.core.events import Ejected, PathState, Readmitted
from opensvc_openha.core.model import (
    ClusterSpec,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    PathKind,
    ServiceSpec,
)
from opensvc_openha.daemon import reserved_disks
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.reserved_disks import ReservedDisks, ServiceDisks, disks_of
from tests.daemon.fence_devices import Device
from tests.waiting import LIMIT_S, until

DISK = {"name": "/dev/mapper/data", "paths": ["/dev/sda"], "key": "0xdeb2", "may_abort": True}
OTHER = {"name": "/dev/mapper/more", "paths": ["/dev/sdb"], "key": "0xdeb2", "may_abort": True}


def facts(**values: object) -> dict[str, object]:
    """What the program finds of a service."""
    return {
        "fence_needs": "data",
        "has_reserved_data": True,
        "disks": [DISK],
        "drain_s": 10.0,
        "problems": [],
        **values,
    }


class Rig:
    """Two services, a program that finds their disks, and one that looks at them."""

    def __init__(self, root: Path) -> None:
        (root / "find").mkdir()
        (root / "look").mkdir()
        self.finder, self.looker = Device(root / "find"), Device(root / "look")
        self.services = tuple(
            ServiceSpec(name, f"/{name}.sh", "deb1", "deb2", "/bin/true")
            for name in ("web", "db", "mail")
        )
        path = FencePath("reservation", PathKind.RESERVATION, 30.0)
        self.spec = ClusterSpec(
            "deb2", "deb1", (), self.services, fencing=FencingPolicy(levels=((path,),))
        )
        self.running: frozenset[str] = frozenset()
        self.may_register = False
        self.news = 0
        self.asked: list[tuple[str, ...]] = []
        self.reports: queue.SimpleQueue[Ejected | Readmitted] = queue.SimpleQueue()
        self.disks = ReservedDisks(
            self._finder,
            self.looker.program,
            lambda: self.spec,
            lambda: self.running,
            lambda: self.may_register,
            self.reports.put,
            lambda: 10_000.0,
            self._note,
        )
        self.found({"web": facts(), "db": facts(fence_needs="node", disks=[OTHER])})

    def _finder(self, names: tuple[str, ...]) -> FenceProgram:
        self.asked.append(names)
        return self.finder.program

    def _note(self) -> None:
        self.news += 1

    def found(self, values: Mapping[str, object]) -> None:
        """What the program finds from now on."""
        self.finder.write(f"cat << 'END'\n{json.dumps(values)}\nEND")

    def looked(self, **values: object) -> None:
        """What the look at the disks says from now on."""
        self.looker.write(f"cat << 'END'\n{json.dumps(values)}\nEND")

    def start(self) -> None:
        """Start, and wait until the disks are found."""
        self.disks.start()
        until(lambda: self.news == 1)

    def looks(self) -> list[dict[str, Any]]:
        """The requests to look at disks."""
        return self.looker.requests


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Not started."""
    monkeypatch.setattr(reserved_disks, "RESERVED_LOOK_S", 0.02)
    made = Rig(tmp_path)
    yield made
    made.disks.stop()
    for device in (made.finder, made.looker):
        device.program.close()


def test_disks_are_found_and_completed_in_the_configuration_and_in_a_request(rig: Rig) -> None:
    """Those of services that need nothing but their disks; each disk once."""
    rig.found({"web": facts(disks=[DISK, OTHER]), "mail": facts(disks=[OTHER], drain_s=20.0)})
    assert rig.disks.look("reservation").state is PathState.UNTESTED
    rig.start()
    assert rig.asked == [("web", "db", "mail")]
    completed = {svc.name: svc for svc in rig.disks.complete(rig.spec).services}
    assert completed["web"].fence_needs is FenceNeeds.DATA and completed["web"].has_reserved_data
    assert completed["db"] == rig.services[1], "nothing is known of it"
    assert rig.disks.of(("web", "mail")) == {"disks": [DISK, OTHER], "drain_s": 20.0}
    assert rig.disks.of(("db",)) == {"disks": [], "drain_s": 0.0}
    look = rig.disks.look("reservation")
    assert (look.state, look.text) == (PathState.ARMED, "2 disk(s) of mail, web")


def test_disks_of_a_service_that_needs_the_node_are_not_taken(rig: Rig) -> None:
    """They are watched, though."""
    rig.start()
    assert rig.disks.of(("web", "db")) == {"disks": [DISK], "drain_s": 10.0}
    assert rig.disks.complete(rig.spec).services[1].fence_needs is FenceNeeds.NODE


@pytest.mark.parametrize(
    "found, text",
    [
        ({"web": facts(has_reserved_data=False)}, "web: not all of its shared disks carry a"),
        ({"web": facts(problems=["fs#1pr: no disk"], disks=[])}, "web: fs#1pr: no disk"),
        ({"web": facts(disks=[])}, "web: not all of its shared disks carry a reservation"),
        ({"web": facts(disks=["sda"])}, "web: not all of its shared disks carry a reservation"),
        ({"web": facts(fence_needs="node")}, "no service has fence_needs = data"),
    ],
)
def test_path_that_proves_nothing_is_wrong(rig: Rig, found: dict[str, object], text: str) -> None:
    """With the reason, by service."""
    rig.found(found)
    rig.start()
    look = rig.disks.look("reservation")
    assert look.state is PathState.WRONG and look.text.startswith(text), look


def test_program_that_fails_is_shown_and_what_was_found_before_holds(rig: Rig) -> None:
    """Disks that hang are those whose fence is needed."""
    rig.start()
    rig.finder.write("exit 7")
    rig.disks.check_soon()
    until(lambda: rig.disks.look("r").state is PathState.WRONG)
    assert "its disks are not known: the fence program ended with 7" in rig.disks.look("r").text
    assert rig.disks.of(("web",))["disks"] == [DISK]
    rig.found({"web": facts()})
    rig.disks.check_soon()
    until(lambda: rig.disks.look("r").state is PathState.ARMED)


def test_disks_are_watched_while_the_service_runs_here(rig: Rig) -> None:
    """With the counter of the last look at which this node held them."""
    rig.looked(is_ejected=False, by="", disks=[{**DISK, "is_held": True, "generation": 7}])
    rig.start()
    assert rig.looks() == []
    rig.running = frozenset({"web"})
    until(lambda: len(rig.looks()) >= 2)
    first, second = rig.looks()[:2]
    assert first == {"do": "watch", "disks": [{**DISK, "generation": None}]}
    assert second == {"do": "watch", "disks": [{**DISK, "generation": 7}]}
    rig.running = frozenset()
    count = len(rig.looks())
    until(lambda: not rig.disks._generations)
    assert len(rig.looks()) <= count + 1
    assert rig.reports.empty()


def test_reservation_that_is_gone_ejects_this_node_once(rig: Rig) -> None:
    """It comes back when its services are down, and the peer knows that."""
    rig.looked(is_ejected=True, by="0xdeb1", disks=[])
    rig.start()
    rig.running = frozenset({"web"})
    assert rig.reports.get(timeout=LIMIT_S) == Ejected("the holder of key 0xdeb1")
    count = len(rig.looks())
    until(lambda: len(rig.looks()) > count + 2)
    assert rig.reports.empty()
    rig.running, rig.may_register = frozenset(), True
    assert rig.reports.get(timeout=LIMIT_S) == Readmitted()


@pytest.mark.parametrize("body", ["exit 1", "echo '{}'", 'echo \'{"is_ejected": "yes"}\''])
def test_disk_that_does_not_answer_ejects_nobody(rig: Rig, body: str) -> None:
    """Only a clear answer does."""
    rig.looker.write(body)
    rig.start()
    rig.running = frozenset({"web"})
    until(lambda: len(rig.looks()) > 2)
    assert rig.reports.empty()


def test_service_that_is_stopped_during_the_look_was_not_ejected(rig: Rig) -> None:
    """Its stop took the keys away."""
    release = rig.looker.root / "release"
    rig.looker.write(
        f"while [ ! -e {release} ]; do sleep 0.02; done;"
        """ echo '{"is_ejected": true, "by": "nobody", "disks": []}'"""
    )
    rig.start()
    rig.running = frozenset({"web"})
    until(lambda: len(rig.looks()) == 1)
    rig.running = frozenset()
    release.touch()
    rig.disks.check_soon()
    until(lambda: len(rig.asked) == 2)
    assert rig.reports.empty()


def test_arbiter_decides_when_an_ejected_node_comes_back(rig: Rig) -> None:
    """Where there is one."""
    policy = FencingPolicy(levels=rig.spec.fencing.levels, has_arbiter=True)
    rig.spec = ClusterSpec("deb2", "deb1", (), rig.services, fencing=policy)
    rig.looked(is_ejected=True, by="0xdeb1", disks=[])
    rig.start()
    rig.running, rig.may_register = frozenset({"web"}), True
    rig.reports.get(timeout=LIMIT_S)
    count = len(rig.looks())
    until(lambda: len(rig.looks()) > count + 2)
    assert rig.reports.empty()


@pytest.mark.parametrize(
    "values",
    [{}, {"disks": "sda"}, {"disks": [1]}, {"disks": [{}]}, {"has_reserved_data": True}],
)
def test_what_is_not_clear_is_not_reserved(values: dict[str, object]) -> None:
    """No disk, no proof."""
    assert disks_of(values) == ServiceDisks()
