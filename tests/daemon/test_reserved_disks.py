"""The reserved disks of services: found by a real program, used by requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from opensvc_openha.core.events import PathState
from opensvc_openha.core.model import (
    ClusterSpec,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    PathKind,
    ServiceSpec,
)
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.reserved_disks import ReservedDisks, ServiceDisks, disks_of
from tests.daemon.fence_devices import Device
from tests.waiting import until

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
    """Three services, and a program that finds their disks."""

    def __init__(self, root: Path) -> None:
        (root / "find").mkdir()
        self.finder = Device(root / "find")
        self.services = tuple(
            ServiceSpec(name, f"/{name}.sh", "deb1", "deb2", "/bin/true")
            for name in ("web", "db", "mail")
        )
        path = FencePath("reservation", PathKind.RESERVATION, 30.0)
        self.spec = ClusterSpec(
            "deb2", "deb1", (), self.services, fencing=FencingPolicy(levels=((path,),))
        )
        self.news = 0
        self.asked: list[tuple[str, ...]] = []
        self.disks = ReservedDisks(
            self._finder,
            lambda: self.spec,
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

    def start(self) -> None:
        """Start, and wait until the disks are found."""
        self.disks.start()
        until(lambda: self.news == 1)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Not started."""
    made = Rig(tmp_path)
    yield made
    made.disks.stop()
    made.finder.program.close()


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


def test_step_that_takes_disks_may_last_as_long_as_their_writes_take_to_land(rig: Rig) -> None:
    """The longest of those that it may take; other steps keep their limit."""
    power = FencePath("ipmi", PathKind.POWER, 30.0)
    ((disks,),) = rig.spec.fencing.levels
    rig.spec = replace(rig.spec, fencing=FencingPolicy(levels=((power, disks), (disks,))))
    rig.found(
        {
            "web": facts(drain_s=40.0),
            "mail": facts(drain_s=20.0),
            "db": facts(fence_needs="node", drain_s=300.0),
        }
    )
    assert rig.disks.complete(rig.spec) == rig.spec, "nothing is known yet"
    rig.start()
    levels = rig.disks.complete(rig.spec).fencing.levels
    assert [[path.limit_s for path in level] for level in levels] == [[30.0, 70.0], [70.0]]


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


def test_all_disks_of_services_are_watched_also_of_one_that_needs_the_node(rig: Rig) -> None:
    """Each once, by its name."""
    rig.start()
    assert rig.disks.disks_of(frozenset({"web", "db", "mail"})) == {
        DISK["name"]: DISK,
        OTHER["name"]: OTHER,
    }
    assert rig.disks.disks_of(frozenset({"mail"})) == {}


@pytest.mark.parametrize(
    "values",
    [{}, {"disks": "sda"}, {"disks": [1]}, {"disks": [{}]}, {"has_reserved_data": True}],
)
def test_what_is_not_clear_is_not_reserved(values: dict[str, object]) -> None:
    """No disk, no proof."""
    assert disks_of(values) == ServiceDisks()
