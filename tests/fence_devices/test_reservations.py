"""Several disks: one order, the first loss ends it, time for writes that could not be aborted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.reservations import (
    NotAllTaken,
    TakeRules,
    in_order,
    open_all,
    take_all,
)
from opensvc_openha.fence_devices.scsi_disk import DiskFault
from opensvc_openha.fence_devices.shared_disk import SharedDisk
from opensvc_openha.formats.scsi_pr import OutAction
from opensvc_openha.system.clock import monotonic
from tests.fence_devices.duel import duel
from tests.fence_devices.simulated_disk import SimulatedNode, SimulatedUnit
from tests.formats.test_scsi_pr import A, B
from tests.waiting import LIMIT_S


class Pair:
    """Two nodes that see several units, in different order."""

    def __init__(self, *units: SimulatedUnit) -> None:
        self.units = {f"disk{number}": unit for number, unit in enumerate(units)}
        self.nodes = SimulatedNode("deb1", self.units), SimulatedNode("deb2", self.units)
        self.first = self.disks(self.nodes[0])
        self.second = self.disks(self.nodes[1])[::-1]
        self.waits: list[float] = []

    @staticmethod
    def disks(node: SimulatedNode) -> list[SharedDisk]:
        """All units as one node sees them."""
        return [
            SharedDisk(node.address(name), node.open, lambda seconds: None) for name in node.units
        ]


def units(number: int = 2, knows_abort: bool = True) -> list[SimulatedUnit]:
    """Units whose serial numbers are not in the order of their names."""
    return [
        SimulatedUnit(serial=f"s{number - index}", knows_abort=knows_abort)
        for index in range(number)
    ]


def test_disks_are_released_together() -> None:
    """Whatever happens between."""
    pair = Pair(*units())
    with ExitStack() as stack:
        assert open_all(pair.first, stack) == pair.first
        assert not any(port.is_closed for port in pair.nodes[0].ports.values())
    assert all(port.is_closed for port in pair.nodes[0].ports.values())


def test_writes_have_ten_seconds() -> None:
    """Where nothing else is given."""
    assert TakeRules(A).drain_s == 10 and TakeRules(A).is_proof and TakeRules(A).may_abort


def test_order_is_that_of_the_serial_numbers() -> None:
    """Whatever the names are, and in whatever order they were found; then by identifier."""
    pair = Pair(*units(3))
    expected = ["disk2", "disk1", "disk0"]
    assert [disk.name for disk in in_order(pair.first)] == expected
    assert [disk.name for disk in in_order(pair.second)] == expected
    twins = Pair(SimulatedUnit(identifier=b"\x02"), SimulatedUnit(identifier=b"\x01"))
    assert [disk.name for disk in in_order(twins.first)] == ["disk1", "disk0"]


def test_paths_are_met_at_the_same_time() -> None:
    """Those of all disks: one that hangs costs its limit once, not for each of them."""
    shared = {f"disk{n}": SimulatedUnit(serial=f"s{n}") for n in (0, 1)}
    node = SimulatedNode("deb1", shared, paths=2)
    found = [SharedDisk(node.address(name), node.open) for name in shared]
    together = threading.Barrier(4)

    def arrive(nexus: tuple[str, str], command: bytes) -> None:
        if command[:3] == b"\x12\x01\x80":
            together.wait(LIMIT_S)

    for port in node.ports.values():
        port.before = arrive
    assert [disk.name for disk in in_order(found)] == ["disk0", "disk1"]
    assert not together.broken


def test_order_is_known_with_half_of_the_paths() -> None:
    """The others hang."""
    shared = {f"disk{n}": SimulatedUnit(serial=f"s{9 - n}") for n in (0, 1)}
    node = SimulatedNode("deb1", shared, paths=2)
    found = [SharedDisk(node.address(name), node.open) for name in shared]
    node.ports["disk0-0"].is_dead = node.ports["disk1-1"].is_dead = True
    assert [disk.name for disk in in_order(found)] == ["disk1", "disk0"]
    report = take_all(found, TakeRules(A, is_proof=False))
    assert [disk.paths_text for disk in report.taken] == ["1/2 paths registered"] * 2


def test_reservation_that_no_agent_makes_is_no_success() -> None:
    """The message reports what was taken before."""
    pair = Pair(*units())
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    pair.units["disk0"].type = 3
    with pytest.raises(NotAllTaken, match=r"is no reservation of an OpenSVC agent.*taken: disk1\)"):
        take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)


def test_disks_without_a_name_have_no_order() -> None:
    """A single one needs none."""
    nameless = SimulatedUnit(serial="", identifier=b"")
    assert in_order(Pair(nameless).first)
    with pytest.raises(DiskFault, match="disk0 has neither serial number nor identifier"):
        in_order(Pair(nameless, SimulatedUnit()).first)


def test_all_disks_are_taken_from_their_owner() -> None:
    """One line reports what was done; nothing is waited for where all writes were aborted."""
    pair = Pair(*units())
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    report = take_all(pair.second, TakeRules(B), pair.waits.append)
    assert pair.waits == [] and report.hints == () and report.ejected == (A,)
    assert report.text(B) == (
        "preempted 0xdeb1 and aborted its writes; our key 0xdeb2 alone holds disk1, disk0"
    )


def test_writes_without_abort_have_time_to_land() -> None:
    """Once for all disks, after the last of them; and the disks are looked at again."""
    pair = Pair(*units(3, knows_abort=False))
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    assert pair.waits == []
    pair.units["disk0"].write(("deb1", "disk0-0"), "late")

    def wait(seconds: float) -> None:
        pair.waits.append(seconds)
        assert all(set(unit.keys.values()) == {B} for unit in pair.units.values())
        pair.units["disk0"].settle()

    report = take_all(pair.second, TakeRules(B, drain_s=7), wait)
    assert pair.waits == [7] and report.drained_s == 7
    assert report.text(B).endswith("disk2, disk1, disk0; writes without abort had 7 s to land")
    assert "aborted" not in report.text(B)


def test_one_disk_without_abort_is_enough_to_wait() -> None:
    """The others aborted; the text claims no more than is true of all."""
    pair = Pair(SimulatedUnit(serial="a"), SimulatedUnit(serial="b", knows_abort=False))
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    report = take_all(pair.second, TakeRules(B), pair.waits.append)
    assert pair.waits == [10] and report.text(B).startswith("preempted 0xdeb1; our key")


def test_disk_that_is_lost_while_waiting_is_no_success() -> None:
    """The other node took it meanwhile."""
    pair = Pair(*units(knows_abort=False))
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    with pytest.raises(NotAllTaken, match="lost while writes had time to land: 0xdeb1 registered"):
        take_all(pair.second, TakeRules(B), lambda seconds: self_take(pair))


def self_take(pair: Pair) -> None:
    """The first node takes one disk."""
    pair.first[1].take(A)


def test_free_disk_proves_something_only_after_a_wait() -> None:
    """Nobody was registered, so that nothing was aborted: as a proof it takes the time."""
    pair = Pair(*units(1))
    take_all(pair.second, TakeRules(B, is_proof=False), pair.waits.append)
    assert pair.waits == []
    report = take_all(pair.second, TakeRules(B), pair.waits.append)
    assert pair.waits == [10] and report.text(B).startswith("our key 0xdeb2 alone holds disk0; ")


def test_first_loss_ends_it() -> None:
    """The second disk in the order is out of reach: the third is not touched."""
    pair = Pair(*units(3))
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    pair.nodes[1].open("disk1-0")
    pair.second[1].unit()
    pair.nodes[1].ports["disk1-0"].is_dead = True
    with pytest.raises(NotAllTaken, match=r"hung: no answer .* \(already taken: disk2\)"):
        take_all(pair.second, TakeRules(B), pair.waits.append)
    assert set(pair.units["disk0"].keys.values()) == {A}


@pytest.mark.parametrize(
    ("is_proof", "left_s", "waited"), [(False, None, 7), (True, None, 7), (True, 0.0, 0)]
)
def test_failed_take_leaves_no_write_on_its_way(
    is_proof: bool, left_s: float | None, waited: float
) -> None:
    """A disk without abort was taken, the next one not: a second try waits for nothing, nor does
    a start on another proof. The wait ends with the limit of the step.
    """
    ends_at = None if left_s is None else monotonic() + left_s
    pair = Pair(*units(2, knows_abort=False))
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    pair.nodes[1].open("disk0-0")
    pair.second[1].unit()
    pair.nodes[1].ports["disk0-0"].is_dead = True
    pair.units["disk1"].write(("deb1", "disk1-0"), "late")

    def wait(seconds: float) -> None:
        pair.waits.append(seconds)
        pair.units["disk1"].settle()

    with pytest.raises(NotAllTaken, match=r"hung: no answer"):
        take_all(pair.second, TakeRules(B, True, 7, is_proof=is_proof, ends_at=ends_at), wait)
    assert pair.waits == [waited] and pair.units["disk1"].landed
    if not is_proof:
        _take_again(pair, wait)


def _take_again(pair: Pair, wait: Callable[[float], None]) -> None:
    pair.nodes[1].ports["disk0-0"].is_dead = False
    pair.units["disk0"].keys.clear()
    pair.units["disk0"].holder = None
    take_all(pair.second, TakeRules(B, drain_s=7, is_proof=False), wait)
    assert pair.waits == [7]


def test_abort_without_an_answer_has_time_to_end() -> None:
    """The target has ejected the peer, waits for its writes, and is out of reach then."""
    pair = Pair(*units(1))
    take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
    pair.nodes[1].open("disk0-0")
    pair.second[0].unit()
    port = pair.nodes[1].ports["disk0-0"]

    def after(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == bytes([0x5F, OutAction.PREEMPT_AND_ABORT]):
            port.is_dead = True
            raise SystemFault("hung: no answer")

    port.after = after
    with pytest.raises(NotAllTaken, match="hung"):
        take_all(pair.second, TakeRules(B, drain_s=7, is_proof=False), pair.waits.append)
    assert pair.waits == [7] and set(pair.units["disk0"].keys.values()) == {B}


def test_failed_take_whose_ejected_writes_were_aborted_waits_for_nothing() -> None:
    """Neither a start nor a fence."""
    for is_proof in (False, True):
        pair = Pair(*units(2))
        take_all(pair.first, TakeRules(A, is_proof=False), pair.waits.append)
        pair.nodes[1].open("disk0-0")
        pair.second[1].unit()
        pair.nodes[1].ports["disk0-0"].is_dead = True
        with pytest.raises(NotAllTaken, match="already taken: disk1"):
            take_all(pair.second, TakeRules(B, is_proof=is_proof), pair.waits.append)
        assert pair.waits == []


def test_paths_that_are_down_are_hints() -> None:
    """The disk is taken all the same: the peer's paths are all gone."""
    unit = SimulatedUnit()
    node = SimulatedNode("deb2", {"disk": unit}, paths=2)
    disk = SharedDisk(node.address("disk"), node.open)
    disk.unit()
    node.ports["disk-1"].is_dead = True
    report = take_all([disk], TakeRules(B, is_proof=False))
    assert report.hints == ("disk: 1/2 paths registered (not disk-1)",)


@pytest.mark.parametrize("knows_abort", [True, False])
def test_duels_over_several_disks_have_at_most_one_winner(knows_abort: bool) -> None:
    """Both are registered on both disks, each begins at the other end: 40 orders of commands."""
    outcomes: Counter[tuple[bool, bool]] = Counter()
    for seed in range(40):
        pair = Pair(*units(2, knows_abort))
        for disks, key in ((pair.first, A), (pair.second, B)):
            for disk in disks:
                disk.register(key)
        in_order(pair.first), in_order(pair.second)

        def eject_all(disks: list[SharedDisk], key: int, victim: int) -> bool:
            try:
                for disk in in_order(disks):
                    disk.eject(key, victim, knows_abort)
            except Exception:  # noqa: BLE001 - whatever the disks report, it is no win
                return False
            return True

        won = duel(
            seed,
            pair.nodes,
            (lambda: eject_all(pair.first, A, B), lambda: eject_all(pair.second, B, A)),
        )
        outcomes[won[0], won[1]] += 1
        winner = A if won[0] else B
        assert all(set(unit.keys.values()) == {winner} for unit in pair.units.values()), seed
    assert set(outcomes) == {(True, False), (False, True)}
