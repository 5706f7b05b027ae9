"""Requests of the node daemon about reservations: what they report, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import pytest

from opensvc_openha.errors import UsageError
from opensvc_openha.fence_devices import arbiter_disk, held_disks, reservation_program, shared_disk
from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.fence_devices.run import answer_to
from opensvc_openha.fence_devices.scsi_disk import open_port
from opensvc_openha.fence_devices.shared_disk import SharedDisk
from tests.fence_devices.simulated_disk import SimulatedNode, SimulatedUnit
from tests.formats.test_scsi_pr import A, B


class World:
    """Units, as this node (deb2) reaches them while a request is answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units = {"disk0": SimulatedUnit(serial="a"), "disk1": SimulatedUnit(serial="b")}
        self.node = SimulatedNode("deb2", self.units)
        self.peer = SimulatedNode("deb1", self.units)
        # Defaults of functions: what they open is bound when the module is read.
        for made in (shared_disk.SharedDisk.__init__, arbiter_disk.ArbiterDisk.__init__):
            defaults = [
                self.node.open if default is open_port else default
                for default in made.__defaults__ or ()
            ]
            defaults = [
                self._find if default is arbiter_disk.address_of_arbiter else default
                for default in defaults
            ]
            monkeypatch.setattr(made, "__defaults__", tuple(defaults))

    def _find(self, path: str) -> DiskAddress:
        return DiskAddress(path, (f"{path}-0",))

    def owned_by_peer(self) -> None:
        """The peer holds all of them."""
        for name in self.units:
            SharedDisk(self.peer.address(name), self.peer.open).take(A)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Two disks."""
    return World(monkeypatch)


def disks(**more: object) -> list[dict[str, object]]:
    """Both, as a request names them."""
    return [{"name": f"disk{n}", "paths": [f"disk{n}-0"], "key": "0xdeb2", **more} for n in (0, 1)]


def test_preempt_takes_the_disks(world: World) -> None:
    """The answer proves, and reports what for."""
    world.owned_by_peer()
    answer = answer_to({"do": "preempt", "disks": disks(), "services": ["registry"]})
    assert answer["is_proved"] and answer["covers"] == ["registry"]
    assert answer["text"] == (
        "preempted 0xdeb1 and aborted its writes; our key 0xdeb2 alone holds disk0, disk1"
    )
    assert answer["readings"] == [
        "disk0: 1/1 paths registered",
        "disk1: 1/1 paths registered",
    ]
    assert all(set(unit.keys.values()) == {B} for unit in world.units.values())


def test_preempt_waits_where_nothing_was_aborted(world: World) -> None:
    """As long as the request demands."""
    world.owned_by_peer()
    answer = answer_to(
        {"do": "preempt", "disks": disks(may_abort=False), "services": [], "drain_s": 0.01}
    )
    assert str(answer["text"]).endswith("writes without abort had 0.01 s to land")


def test_wait_that_does_not_fit_the_limit_is_reported_at_once(world: World) -> None:
    """The daemon would kill the program while it waits, and nobody would know why."""
    world.owned_by_peer()
    request = {"do": "preempt", "disks": disks(may_abort=False), "services": [], "drain_s": 40}
    answer = answer_to({**request, "limit_s": 30})
    assert answer["is_proved"] is False
    assert "need drain = 40 s to land, and 30 s are left of the limit" in str(answer["text"])


def test_preempt_that_fails_proves_nothing(world: World) -> None:
    """The text reports why; no service is covered."""
    world.owned_by_peer()
    world.node.open("disk1-0").is_dead = True
    answer = answer_to({"do": "preempt", "disks": disks(), "services": ["registry"]})
    assert answer["is_proved"] is False and answer["covers"] == []
    assert "hung" in str(answer["text"])


def test_claim_reports_who_has_the_right(world: World) -> None:
    """Won, lost, or not to be known."""
    request: Mapping[str, object] = {
        "do": "claim",
        "options": {"disk": "disk0"},
        "node": "deb2",
        "peer": "deb1",
        "generation": None,
    }
    assert answer_to(request)["outcome"] == "unable"
    ours = arbiter_disk.ArbiterDisk("disk0", "deb2", "deb1")
    theirs = arbiter_disk.ArbiterDisk("disk0", "deb1", "deb2", world.peer.open)
    ours.register_in_peace()
    theirs.register_in_peace()
    assert answer_to(request)["outcome"] == "won"
    theirs.register_in_peace(is_readmitted=True)
    theirs.claim()
    lost = answer_to(request)
    assert (lost["outcome"], lost["by"]) == ("lost", "deb1")


def test_claim_on_no_disk_is_unable() -> None:
    """An arbiter that is not there decides nothing."""
    answer = answer_to(
        {"do": "claim", "options": {"disk": "/dev/null"}, "node": "deb2", "peer": "deb1"}
    )
    assert answer["outcome"] == "unable" and "needs one SCSI disk" in str(answer["text"])


def test_watch_distinguishes_an_ejection_from_a_reconnect(world: World) -> None:
    """Each disk with its counter; the first look knows nothing yet."""
    for name in world.units:
        SharedDisk(world.node.address(name), world.node.open).take(B)
    first = answer_to({"do": "watch", "disks": disks()})
    assert first["is_ejected"] is False
    looks = first["disks"]
    assert isinstance(looks, list) and [look["is_held"] for look in looks] == [True, True]
    world.units["disk0"].reconnect(("deb2", "disk0-0"))
    again = answer_to({"do": "watch", "disks": disks(generation=looks[0]["generation"])})
    assert isinstance(again["disks"], list)
    assert [look["renewed"] for look in again["disks"]] == [["disk0-0"], []]
    world.owned_by_peer()
    ejected = answer_to({"do": "watch", "disks": disks(generation=looks[0]["generation"])})
    assert (ejected["is_ejected"], ejected["by"]) == (True, "0xdeb1")
    world.node.ports["disk0-0"].is_dead = True
    world.node.ports["disk1-0"].is_dead = True
    unknown = answer_to({"do": "watch", "disks": disks(generation=1)})
    assert unknown["is_ejected"] is False


def test_look_reports_what_each_disk_shows(world: World) -> None:
    """A disk that another node holds, without having been ours: no ejection. One that is free."""
    world.owned_by_peer()
    seen = answer_to({"do": "watch", "disks": disks()})
    assert (seen["is_ejected"], seen["by"]) == (False, "")
    assert isinstance(seen["disks"], list) and isinstance(seen["took_s"], float)
    assert 0 <= seen["took_s"] < 1000
    assert seen["disks"][0] == {
        "name": "disk0",
        "is_held": False,
        "generation": 1,
        "by": "",
        "renewed": [],
        "problem": "",
        "text": "0xdeb1 registered, held by 0xdeb1 (write exclusive, registrants only)",
    }


def test_disk_whose_keys_are_gone_was_taken_by_nobody(world: World) -> None:
    """Known to be ours, and now free: an ejection all the same, for anybody may write."""
    for name in world.units:
        SharedDisk(world.node.address(name), world.node.open).take(B)
    world.units["disk1"].keys.clear()
    world.units["disk1"].holder = None
    seen = answer_to({"do": "watch", "disks": disks(generation=1)})
    assert (seen["is_ejected"], seen["by"]) == (True, "nobody")
    assert isinstance(seen["disks"], list)
    assert "own key 0xdeb2 is gone" not in seen["disks"][0]["text"]
    world.units["disk0"].reconnect(("deb2", "disk0-0"))
    changed = answer_to({"do": "watch", "disks": disks(generation=7)})
    assert isinstance(changed["disks"], list)
    assert "was changed meanwhile" in changed["disks"][0]["problem"]
    world.node.ports["disk0-0"].is_dead = True
    dead = answer_to({"do": "watch", "disks": disks(generation=1)})
    assert isinstance(dead["disks"], list) and dead["disks"][0]["is_held"] is False


def test_one_disk_that_must_not_be_aborted_is_enough(world: World) -> None:
    """All are preempted without abort then: a mixture would promise too much."""
    world.owned_by_peer()
    mixed = disks()
    mixed[0]["may_abort"] = False
    answer_to({"do": "preempt", "disks": mixed, "services": [], "drain_s": 0})
    for unit in world.units.values():
        assert "PREEMPT_AND_ABORT" not in [name for nexus, name in unit.log if nexus[0] == "deb2"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"do": "preempt"}, "disks: expected the disks"),
        ({"do": "preempt", "disks": []}, "disks: expected the disks"),
        ({"do": "preempt", "disks": {"a": 1}}, "disks: expected the disks"),
        ({"do": "preempt", "disks": [1]}, "disks: expected objects"),
        ({"do": "preempt", "disks": [*disks(), 1]}, "disks: expected objects"),
        ({"do": "claim", "options": {"disk": 5}, "node": "a", "peer": "b"}, "expected the disk"),
        ({"do": "claim", "options": {"disk": ""}, "node": "a", "peer": "b"}, "expected the disk"),
        ({"do": "preempt", "disks": [{"name": "d", "key": "0x1"}]}, "paths: expected one path"),
        ({"do": "preempt", "disks": disks(key="deb2")}, "key is 'deb2', must have 16"),
        ({"do": "preempt", "disks": disks(name="")}, "name: expected a word; found ''"),
        ({"do": "preempt", "disks": disks(paths=[1])}, "paths: expected a list of words"),
        ({"do": "preempt", "disks": disks(), "drain_s": -1}, "drain_s: expected seconds up to 600"),
        ({"do": "preempt", "disks": disks(), "services": "a"}, "services: expected a list"),
        ({"do": "preempt", "disks": [*disks(), *disks(key="0x1")]}, "expected one key"),
        ({"do": "watch", "disks": disks(generation="x")}, "generation: expected a number"),
        ({"do": "claim", "node": "a", "peer": "b"}, "expected the disk of the arbiter"),
        ({"do": "claim", "options": {"disk": "/dev/x"}, "peer": "b"}, "node: expected a word"),
    ],
)
def test_request_that_cannot_be_used_is_named(request_: Mapping[str, object], text: str) -> None:
    """Nothing is done on a guess."""
    with pytest.raises(UsageError, match=text):
        reservation_program.answer(request_)


def test_paths_that_a_disk_has_now_are_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that came back may have another name than it had when the disk was found; a map that has
    no path at the moment is looked at over those that it had.
    """
    two = SimulatedNode("deb2", world.units, paths=2)
    world.node.paths = 2
    SharedDisk(two.address("disk0"), world.node.open).take(B)
    found: dict[str, tuple[DiskAddress, ...]] = {}
    monkeypatch.setattr(held_disks, "disks_under", lambda device: found.get(device, ()))
    with closing(held_disks.HeldDisks()) as held:
        (look,) = _looks(held.look(disks()[:1]))
        world.units["disk0"].reconnect(("deb2", "disk0-1"))
        found["disk0"] = (two.address("disk0"),)
        (look,) = _looks(held.look([{**disks()[0], "generation": look["generation"]}]))
        assert look["renewed"] == ["disk0-1"]
        found["disk0"] = (DiskAddress("disk0", ()),)
        (look,) = _looks(held.look(disks()[:1]))
        assert look["is_held"] is True
        found["disk0"] = (DiskAddress("other", ("disk1-0",)),)
        (look,) = _looks(held.look(disks()[:1]))
        assert look["is_held"] is True


def _looks(answer: Mapping[str, object]) -> list[dict[str, object]]:
    looks = answer["disks"]
    assert isinstance(looks, list)
    return looks
