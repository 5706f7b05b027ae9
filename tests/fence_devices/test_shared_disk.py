"""A disk over all its paths: taken, ejected, cleared, registered again after a reconnect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.errors import RefusedError
from opensvc_openha.fence_devices.scsi_disk import DiskFault, ScsiDisk
from opensvc_openha.fence_devices.shared_disk import DiskState, Ejected, SharedDisk, Taken
from opensvc_openha.formats.scsi_pr import Reservation
from tests.fence_devices.duel import duel
from tests.fence_devices.simulated_disk import SimulatedNode, SimulatedUnit
from tests.formats.test_scsi_pr import A, B

STRANGER = 0x77


class Pair:
    """Two nodes that see one unit, each over some paths."""

    def __init__(self, unit: SimulatedUnit | None = None, paths: int = 1) -> None:
        self.unit = unit or SimulatedUnit()
        self.nodes = tuple(
            SimulatedNode(name, {"disk": self.unit}, paths) for name in ("deb1", "deb2")
        )
        self.first, self.second = (self.disk(node) for node in self.nodes)

    @staticmethod
    def disk(node: SimulatedNode) -> SharedDisk:
        """The disk as one node sees it."""
        return SharedDisk(node.address("disk"), node.open, lambda seconds: None)

    def names(self, node: str) -> list[str]:
        """The commands of one node, in their order."""
        return [name for nexus, name in self.unit.log if nexus[0] == node]


def test_free_disk_is_taken() -> None:
    """Registered over each path, reserved, read back: nobody was ejected."""
    pair = Pair(paths=3)
    assert pair.first.take(A) == Taken("disk", (), True, 3, 3)
    assert pair.unit.keys == {("deb1", f"disk-{number}"): A for number in range(3)}
    assert pair.unit.holder == ("deb1", "disk-0") and pair.unit.type == 5
    assert pair.first.read() == DiskState(3, (A, A, A), Reservation(A, 5))
    assert pair.first.take(A).paths_text == "3/3 paths registered"


def test_owner_is_ejected_and_its_writes_are_aborted() -> None:
    """A write on its way never lands; the next one is refused."""
    pair = Pair(paths=2)
    pair.first.take(A)
    assert pair.unit.write(("deb1", "disk-1"), "late")
    assert pair.second.take(B) == Taken("disk", (A,), True, 2, 2)
    pair.unit.settle()
    assert pair.unit.landed == [] and not pair.unit.write(("deb1", "disk-0"), "later")
    assert set(pair.unit.keys.values()) == {B}


def test_target_without_abort_is_preempted_without() -> None:
    """The writes that are on their way land: so it is reported."""
    pair = Pair(SimulatedUnit(knows_abort=False))
    pair.first.take(A)
    pair.unit.write(("deb1", "disk-0"), "late")
    assert pair.second.take(B) == Taken("disk", (A,), False, 1, 1)
    pair.unit.settle()
    assert pair.unit.landed


def test_abort_is_not_asked_for_where_it_is_not_wanted() -> None:
    """`no_preempt_abort`: some targets stop at it."""
    pair = Pair()
    pair.first.take(A)
    assert not pair.second.take(B, may_abort=False).was_aborted
    assert "PREEMPT_AND_ABORT" not in pair.names("deb2") and "PREEMPT" in pair.names("deb2")


def test_every_other_registered_node_is_ejected() -> None:
    """One that is registered without holding the reservation may write as well."""
    pair = Pair()
    pair.first.take(A)
    pair.unit.keys[("deb3", "disk-0")] = STRANGER
    assert pair.second.take(B).ejected == (A, STRANGER)
    assert pair.second.read().is_only(B)


def test_node_that_is_registered_on_a_free_disk_is_ejected() -> None:
    """No reservation keeps it from writing, and a reservation of ours would not either."""
    pair = Pair()
    pair.first.register(A)
    assert pair.second.take(B).ejected == (A,)
    assert pair.unit.holder == ("deb2", "disk-0")


def test_faster_node_is_not_ejected_in_return() -> None:
    """The own key is gone when the peer's is to be removed: lost, and nothing is done."""
    pair = Pair()
    pair.first.take(A)
    pair.second.register(B)
    pair.second.eject(B, A, may_abort=True)
    with pytest.raises(Ejected, match="own key 0xdeb1 is gone: 0xdeb2 registered, held by 0xdeb2"):
        pair.first.eject(A, B, may_abort=True)
    assert set(pair.unit.keys.values()) == {B}
    assert pair.names("deb1").count("PREEMPT_AND_ABORT") == 1


def test_command_without_an_answer_is_judged_by_the_disk() -> None:
    """The path died after the command: the key is gone, whether writes were aborted is unknown."""
    pair = Pair(paths=2)
    pair.first.take(A)
    pair.second.register(B)
    port = pair.nodes[1].ports["disk-0"]

    def die(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x05":
            port.is_dead = True
            raise DiskFault("hung")

    port.after = die
    assert pair.second.eject(B, A, may_abort=True) is False
    assert pair.second.read().keys == (B, B)


def test_dead_path_is_left_for_the_next() -> None:
    """And counted; a node without any path gets an error."""
    pair = Pair(paths=3)
    for number in (0, 2):
        pair.second.register(B)
        pair.nodes[1].ports[f"disk-{number}"].is_dead = True
    pair.first.take(A)
    taken = pair.second.take(B)
    assert (taken.registered, taken.paths, taken.failed_paths) == (1, 3, ("disk-0", "disk-2"))
    assert taken.paths_text == "1/3 paths registered"
    pair.nodes[1].ports["disk-1"].is_dead = True
    with pytest.raises(DiskFault, match="hung: no answer"):
        pair.second.take(B)


def test_path_that_lost_its_registration_is_not_taken_for_a_loss() -> None:
    """Reconnected: the key is there, but this path may not use it; the next path may."""
    pair = Pair(paths=2)
    pair.first.register(A)
    pair.second.register(B)
    pair.unit.reconnect(("deb2", "disk-0"))
    assert pair.second.eject(B, A, may_abort=True)
    single = Pair()
    single.first.register(A)
    single.second.register(B)
    single.unit.reconnect(("deb2", "disk-0"))
    with pytest.raises(DiskFault, match="0xdeb1 is still registered: disk-0: reservation conflict"):
        single.second.eject(B, A, may_abort=True)


def test_node_that_comes_back_again_and_again_is_not_fought_for_ever() -> None:
    """An agent that registers without asking: the disk is taken in four rounds, or not at all."""
    pair = Pair()
    pair.first.take(A)

    def come_back(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x05":
            pair.unit.keys[("deb1", "disk-0")] = A

    pair.nodes[1].open("disk-0").after = come_back
    with pytest.raises(DiskFault, match="0xdeb1 is still registered"):
        pair.second.take(B)


def test_node_that_registers_meanwhile_is_ejected_as_well() -> None:
    """The reservation is ours already, but it could write beside us."""
    pair = Pair()
    pair.first.take(A)

    def come(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x05" and ("deb1", "disk-0") not in seen:
            seen.add(("deb1", "disk-0"))
            pair.unit.keys[("deb3", "disk-0")] = STRANGER

    seen: set[tuple[str, str]] = set()
    pair.nodes[1].open("disk-0").after = come
    assert pair.second.take(B).ejected == (A, STRANGER)
    assert pair.second.read().is_only(B)


def test_nodes_that_keep_registering_end_the_attempt() -> None:
    """One more after each that was ejected: it is no success, and it ends."""
    pair = Pair()
    pair.first.take(A)
    came: list[int] = []

    def come(nexus: tuple[str, str], command: bytes) -> None:
        is_read_back = [name for _, name in pair.unit.log][-3:-1] == [
            "PREEMPT_AND_ABORT",
            "READ_RESERVATION",
        ]
        if command[:2] == b"\x5e\x00" and is_read_back:
            assert len(came) < 20
            came.append(STRANGER + len(came))
            pair.unit.keys[("deb3", f"disk-{len(came)}")] = came[-1]

    pair.nodes[1].open("disk-0").after = come
    with pytest.raises(DiskFault, match="other nodes keep registering there: 0xdeb2, 0x7"):
        pair.second.take(B)
    assert len(came) == 4


def test_reservation_of_another_kind_is_refused() -> None:
    """One that all registered nodes hold has no owner that could be ejected."""
    pair = Pair()
    pair.first.take(A)
    pair.unit.type = 3
    with pytest.raises(RefusedError, match=r"disk is reserved by 0xdeb1 \(exclusive access\)"):
        pair.first.take(A)
    taken = pair.second.take(B)
    assert taken.ejected == (A,) and pair.unit.type == 5


def test_paths_to_different_disks_are_refused() -> None:
    """Cables exchanged: nothing is registered on a disk that nobody meant."""
    pair = Pair(paths=2)
    pair.nodes[0].open("disk-1").unit = SimulatedUnit(serial="other")
    with pytest.raises(DiskFault, match="its paths lead to different disks: disk-0 leads to beaf"):
        pair.first.unit()


# Stop ------------------------------------------------------------------------------------------


def test_stop_of_the_owner_removes_all_keys() -> None:
    """As the agents do it; a second stop has nothing to do."""
    pair = Pair(paths=2)
    pair.first.take(A)
    pair.unit.keys[("deb3", "disk-0")] = STRANGER
    assert pair.first.clear(A) and not pair.first.clear(A)
    assert pair.unit.keys == {} and pair.unit.holder is None


def test_stop_of_an_ejected_node_leaves_the_owner_alone() -> None:
    """A clear would take its disk from it."""
    pair = Pair()
    pair.first.take(A)
    pair.second.take(B)
    assert not pair.first.clear(A)
    assert pair.second.read().is_only(B) and "CLEAR" not in pair.names("deb1")


def test_stop_of_a_node_that_was_ejected_at_that_moment_is_no_success() -> None:
    """The disk refuses: the reservation is the new owner's."""
    pair = Pair()
    pair.first.take(A)

    def eject(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x03":
            pair.second.take(B)

    pair.nodes[0].ports["disk-0"].before = eject
    assert pair.first.clear(A)
    assert pair.second.read().is_only(B)


def test_stop_of_a_node_that_only_registered_removes_its_own_key() -> None:
    """A start that was refused half way."""
    pair = Pair(paths=2)
    pair.first.take(A)
    pair.second.register(B)
    assert pair.second.clear(B)
    assert pair.first.read().is_only(A)


def test_stop_that_the_disk_did_not_execute_is_no_success() -> None:
    """The command got no answer, and the disk shows that it did nothing."""
    pair = Pair()
    pair.first.take(A)

    def die(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x03":
            raise DiskFault("hung")

    pair.nodes[0].ports["disk-0"].before = die
    with pytest.raises(DiskFault, match="disk still shows 0xdeb1 registered, .* a clear: hung"):
        pair.first.clear(A)


# Reconnect -------------------------------------------------------------------------------------


def test_owner_writes_again_after_a_reconnect() -> None:
    """Its key is there, and nothing has changed: registered again, the old entry removed."""
    pair = Pair()
    pair.first.take(A)
    generation = pair.first.read().generation
    assert pair.first.renew(A, generation) == ()
    pair.unit.reconnect(("deb1", "disk-0"))
    assert not pair.unit.write(("deb1", "disk-0"), "refused")
    assert pair.first.renew(A, generation) == ("disk-0",)
    assert pair.unit.write(("deb1", "disk-0"), "fine")
    assert pair.unit.keys == {("deb1", "disk-0"): A} and pair.unit.holder == ("deb1", "disk-0")


def test_one_path_of_many_comes_back() -> None:
    """The entry of the old connection stays: to remove it would cost the living paths theirs."""
    pair = Pair(paths=3)
    pair.first.take(A)
    generation = pair.first.read().generation
    pair.unit.reconnect(("deb1", "disk-1"))
    assert pair.first.refused_paths() == ("disk-1",)
    assert pair.first.renew(A, generation) == ("disk-1",)
    assert pair.first.refused_paths() == ()
    assert list(pair.unit.keys.values()) == [A] * 4


def test_ejected_node_does_not_let_itself_in_again() -> None:
    """Its key is gone: that is no reconnect."""
    pair = Pair()
    pair.first.take(A)
    generation = pair.first.read().generation
    pair.second.take(B)
    with pytest.raises(Ejected, match="own key 0xdeb1 is gone"):
        pair.first.renew(A, generation)
    assert set(pair.unit.keys.values()) == {B}


def test_change_since_the_last_look_forbids_a_registration() -> None:
    """Another node registered meanwhile: it might have ejected this one as well."""
    pair = Pair()
    pair.first.take(A)
    generation = pair.first.read().generation
    pair.unit.reconnect(("deb1", "disk-0"))
    pair.second.register(B)
    with pytest.raises(DiskFault, match="was changed meanwhile .generation 2, known 1.: left so"):
        pair.first.renew(A, generation)
    assert ("deb1", "disk-0") not in pair.unit.keys


def test_path_is_not_even_tried_when_the_counter_is_another() -> None:
    """A registration that is taken back lets writes pass for a moment."""
    pair = Pair()
    pair.first.register(A)
    generation = pair.first.read().generation
    before = pair.names("deb1").count("REGISTER_AND_IGNORE")
    with pytest.raises(DiskFault, match="no path could be registered again"):
        pair.first.register_again(A, generation - 1)
    assert pair.names("deb1").count("REGISTER_AND_IGNORE") == before
    pair.first.register_again(A, generation)


def test_ejection_during_a_registration_takes_it_back() -> None:
    """Between the look and the command: the counter shows it, and the key goes at once."""
    pair = Pair()
    pair.first.take(A)
    generation = pair.first.read().generation
    pair.unit.reconnect(("deb1", "disk-0"))

    def eject(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x06" and nexus[0] == "deb1":
            pair.second.take(B)

    pair.nodes[0].ports["disk-0"].before = eject
    with pytest.raises(Ejected, match="another node changed the registrations meanwhile"):
        pair.first.renew(A, generation)
    assert set(pair.unit.keys.values()) == {B} and pair.second.read().is_only(B)


@given(seed=st.integers(0, 2**32), paths=st.integers(1, 2), knows_abort=st.booleans())
def test_owner_that_reconnects_while_it_is_ejected_never_writes_after(
    seed: int, paths: int, knows_abort: bool
) -> None:
    """Whatever the order of the commands: the last word is the new owner's, and its alone."""
    pair = Pair(SimulatedUnit(knows_abort=knows_abort), paths)
    pair.first.take(A)
    generation = pair.first.read().generation
    pair.unit.reconnect(("deb1", "disk-0"))

    def renew() -> str:
        try:
            return str(pair.first.renew(A, generation))
        except (DiskFault, Ejected):
            return "refused"

    def take() -> str:
        try:
            return str(pair.second.take(B).ejected)
        except DiskFault as error:
            return f"failed: {error}"

    duel(seed, (pair.nodes[0], pair.nodes[1]), (renew, take))
    state = pair.second.read()
    if not state.is_only(B):
        # Both changed the registrations between each other's commands: taken in the next attempt.
        pair.second.take(B)
    assert pair.second.read().is_only(B)
    assert not pair.unit.write(("deb1", "disk-0"), "after")


def test_registrants_are_named_where_the_disk_lists_them() -> None:
    """For reasons and history: the name of the initiator is more than a key."""
    pair = Pair()
    pair.first.take(A)
    assert pair.second.holders() == "iqn.deb1"
    pair.unit.lists_connections = False
    assert pair.second.holders() == ""


def test_states_are_described() -> None:
    """Who is registered, who holds it."""
    assert str(DiskState(1, (), None)) == "no key registered, free"
    held = DiskState(1, (A, A, B), Reservation(A, 5))
    assert str(held) == (
        "0xdeb1, 0xdeb2 registered, held by 0xdeb1 (write exclusive, registrants only)"
    )
    assert held.others(B) == (A,) and held.others(STRANGER) == (A, B)
    assert not held.is_only(A) and held.is_held_by(A)
    assert not DiskState(1, (A,), Reservation(A, 1)).is_held_by(A)


def test_disk_without_paths_is_a_fault() -> None:
    """A map of a multipath disk that lost them all."""
    node = SimulatedNode("deb1", {}, paths=0)
    disk = SharedDisk(node.address("disk"), node.open)
    with pytest.raises(DiskFault, match="disk has no path"):
        disk.read()
    with pytest.raises(DiskFault, match="no path"):
        disk.register(A)
    disk.close()


def test_registration_is_kept_where_the_disk_can() -> None:
    """And made all the same where its promise to keep it does not hold."""
    pair = Pair(SimulatedUnit(knows_kept=True))
    assert pair.first.keeps_registrations()
    pair.first.register(A, is_kept=True)
    pair.unit.lose_power()
    assert pair.first.read().keys == (A,)
    plain = Pair()
    assert not plain.first.keeps_registrations()
    plain.first.register(A, is_kept=True)
    assert plain.unit.keys == {("deb1", "disk-0"): A}
    plain.unit.lose_power()
    assert plain.first.read().keys == ()


def test_simulated_path_is_a_port() -> None:
    """One path of a pair, used alone."""
    pair = Pair()
    path = ScsiDisk("disk-0", pair.nodes[0].open("disk-0"))
    path.register_anyway(A)
    path.close()
    assert pair.first.read().keys == (A,)


# What may go wrong between two commands ----------------------------------------------------------


def test_node_that_is_ejected_while_it_takes_a_disk_gives_up() -> None:
    """Its registration is gone before it looks: it has lost, and changes nothing more."""
    pair = Pair()

    def eject(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x06":
            pair.first.take(A)

    pair.nodes[1].open("disk-0").after = eject
    with pytest.raises(Ejected, match="own key 0xdeb2 is gone"):
        pair.second.take(B)
    assert pair.first.read().is_only(A)


def test_node_that_reserves_first_is_ejected_in_the_next_round() -> None:
    """A conflict of the reservation is no loss yet: what the disk shows is."""
    pair = Pair()

    def reserve(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x01" and pair.unit.holder is None:
            pair.unit.keys[("deb1", "disk-0")] = A
            pair.unit.holder = ("deb1", "disk-0")

    pair.nodes[1].open("disk-0").before = reserve
    assert pair.second.take(B).ejected == (A,)


def test_path_that_dies_before_the_reservation_is_left_for_the_next() -> None:
    """Both are registered."""
    pair = Pair(paths=2)
    port = pair.nodes[1].open("disk-0")

    def die(nexus: tuple[str, str], command: bytes) -> None:
        port.is_dead = command[:2] == b"\x5f\x01" or port.is_dead

    port.before = die
    assert pair.second.take(B).registered == 2
    assert pair.unit.holder == ("deb2", "disk-1")


def test_start_after_a_reboot_leaves_one_entry() -> None:
    """The old connection's entry goes: there is one path only that could lose its own."""
    pair = Pair()
    pair.first.take(A)
    pair.unit.reconnect(("deb1", "disk-0"))
    assert pair.first.refused_paths() == ("disk-0",)
    pair.first.take(A)
    assert pair.unit.keys == {("deb1", "disk-0"): A} and pair.first.refused_paths() == ()


def test_two_of_three_paths_come_back() -> None:
    """Each registration counts: the second one expects the counter of the first."""
    pair = Pair(paths=3)
    pair.first.take(A)
    generation = pair.first.read().generation
    for number in (0, 2):
        pair.unit.reconnect(("deb1", f"disk-{number}"))
    assert pair.first.refused_paths() == ("disk-0", "disk-2")
    assert pair.first.renew(A, generation) == ("disk-0", "disk-2")
    assert pair.first.refused_paths() == ()


def test_dead_path_is_not_refused() -> None:
    """It is not there: nothing is known of its registration."""
    pair = Pair(paths=2)
    pair.first.take(A)
    pair.nodes[0].ports["disk-1"].is_dead = True
    assert pair.first.refused_paths() == ()
    assert str(pair.first.unit()) == "beaf11"


def test_reservation_of_all_registered_nodes_is_refused() -> None:
    """Its holder has no key: there is nobody to eject."""
    pair = Pair()
    pair.first.take(A)
    pair.unit.type = 7
    for disk, key in ((pair.first, A), (pair.second, B)):
        with pytest.raises(RefusedError, match=r"by 0x0 \(write exclusive, all registrants\)"):
            disk.take(key)
    assert pair.first.read().others(A) == (B,)


def test_own_key_that_cannot_be_removed_is_no_success() -> None:
    """One path is dead: its registration stays."""
    pair = Pair(paths=2)
    pair.first.register(A)
    pair.nodes[0].ports["disk-0"].is_dead = True
    with pytest.raises(DiskFault, match="own key removed, but it shows 0xdeb1 registered, free"):
        pair.first.unregister(A)
    assert list(pair.unit.keys) == [("deb1", "disk-0")]


def test_registration_again_takes_the_first_path_that_works() -> None:
    """The others are dead."""
    pair = Pair(paths=3)
    pair.first.register(A)
    generation = pair.first.read().generation
    for number in range(3):
        pair.unit.reconnect(("deb1", f"disk-{number}"))
    pair.nodes[0].ports["disk-0"].is_dead = True
    pair.first.register_again(A, generation)
    assert ("deb1", "disk-1") in pair.unit.keys and ("deb1", "disk-2") not in pair.unit.keys


def test_registration_in_peace_needs_one_path() -> None:
    """One that refuses is left; where all do, the reason is reported."""
    pair = Pair(paths=2)
    state = pair.first.read()

    def die(nexus: tuple[str, str], command: bytes) -> None:
        if command[0] == 0x5F:
            raise DiskFault(f"{nexus[1]} hung")

    pair.nodes[0].open("disk-0").before = die
    pair.first.register_missing(A, state)
    assert list(pair.unit.keys) == [("deb1", "disk-1")]
    pair.nodes[0].open("disk-1").before = die
    with pytest.raises(DiskFault, match="no path can be registered: disk-0 hung; disk-1 hung"):
        pair.first.register_missing(A, state)


def test_some_arrays_count_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry for each adapter, whatever the number of paths through it."""
    pair = Pair(paths=4)
    assert pair.first.expected_registrations() == 4
    monkeypatch.setattr(SharedDisk, "vendor", lambda self: "3PARdata")
    monkeypatch.setattr(
        "opensvc_openha.fence_devices.shared_disk.host_of", lambda path: path[-1] in "01"
    )
    assert pair.first.expected_registrations() == 2
    assert Pair().first.expected_registrations() == 1


def test_vendor_is_that_of_the_disk() -> None:
    """Some are known for what they cannot do."""
    assert Pair().first.vendor() == "SIMUL"


def test_paths_are_released() -> None:
    """Each with its I/O process."""
    pair = Pair(paths=2)
    pair.first.close()
    assert all(port.is_closed for port in pair.nodes[0].ports.values())
