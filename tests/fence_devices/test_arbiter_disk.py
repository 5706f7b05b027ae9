"""The arbiter: registered in peace, claimed by one of two, and what an ejected node sees."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensvc_openha.fence_devices import arbiter_disk
from opensvc_openha.fence_devices.arbiter_answers import Claim, ClaimOutcome
from opensvc_openha.fence_devices.arbiter_disk import (
    ArbiterDisk,
    address_of_arbiter,
    arbiter_key,
)
from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.fence_devices.scsi_disk import DiskFault
from opensvc_openha.fence_devices.shared_disk import Ejected
from opensvc_openha.links.disk_channel import ScsiAnswer
from tests.fence_devices.duel import duel
from tests.fence_devices.simulated_disk import SimulatedNode, SimulatedUnit

DEB1, DEB2 = arbiter_key("deb1"), arbiter_key("deb2")


class Cluster:
    """Two nodes and their arbiter."""

    def __init__(self, unit: SimulatedUnit | None = None, paths: int = 1) -> None:
        self.unit = unit or SimulatedUnit()
        self.nodes = tuple(
            SimulatedNode(name, {"/dev/hb": self.unit}, paths) for name in ("deb1", "deb2")
        )
        self.first, self.second = self.started("deb1"), self.started("deb2")

    def started(self, name: str, generation: int | None = None) -> ArbiterDisk:
        """The arbiter as a daemon sees it that has just started."""
        node = self.nodes[name == "deb2"]
        peer = "deb1" if name == "deb2" else "deb2"
        return ArbiterDisk(
            "/dev/hb",
            name,
            peer,
            node.open,
            node.address,
            lambda seconds: None,
            generation=generation,
        )

    def registered(self) -> Cluster:
        """Both, in peace."""
        self.first.register_in_peace()
        self.second.register_in_peace()
        return self

    def names(self, node: str) -> list[str]:
        """The commands of one node."""
        return [name for nexus, name in self.unit.log if nexus[0] == node]


def test_keys_are_made_from_the_names() -> None:
    """Known to both nodes, different, the same for other spellings of a name."""
    assert DEB1 == arbiter_key("DEB1") != DEB2 and 0 < DEB1 < 2**64


def test_both_nodes_register_in_peace() -> None:
    """Over each path, without a reservation: beats go on. Again and again, it stays so."""
    cluster = Cluster(paths=2).registered()
    assert cluster.unit.keys == {
        (node, f"/dev/hb-{number}"): arbiter_key(node)
        for node in ("deb1", "deb2")
        for number in (0, 1)
    }
    assert cluster.unit.holder is None
    for _ in range(3):
        assert cluster.first.register_in_peace() == "deb1 and deb2 registered on /dev/hb"
    assert len(cluster.unit.keys) == 4
    assert cluster.unit.may_write(("anybody", "at all"))


def test_registrations_are_kept_over_a_loss_of_power_where_the_disk_can() -> None:
    """As the disk reports itself that it can; another one is not asked to."""
    cluster = Cluster(SimulatedUnit(knows_kept=True)).registered()
    cluster.unit.lose_power()
    assert cluster.first.watch().is_registered
    other = Cluster().registered()
    other.unit.lose_power()
    assert not other.first.watch().is_registered


def test_claim_is_won_once() -> None:
    """The other one is ejected, and sees by whom; its own claim is lost, and ejects nobody."""
    cluster = Cluster(paths=2).registered()
    assert cluster.second.watch().is_peer_registered
    claim = cluster.first.claim()
    assert claim == Claim(ClaimOutcome.WON, "deb1 registered on /dev/hb")
    look = cluster.second.watch()
    assert (look.is_registered, look.by, look.is_peer_registered) == (False, "deb1", True)
    assert cluster.second.claim() == Claim(ClaimOutcome.LOST, "deb1 registered on /dev/hb", "deb1")
    assert set(cluster.unit.keys.values()) == {DEB1}
    assert cluster.first.claim().outcome is ClaimOutcome.WON
    assert not {"PREEMPT", "REGISTER"} & set(cluster.names("deb2")[-1:])


def test_claim_never_registers() -> None:
    """A node that registers in order to fence undoes what the other one has won."""
    for paths in (1, 2):
        cluster = Cluster(paths=paths).registered()
        cluster.first.claim()
        begin = len(cluster.unit.log)
        cluster.second.claim()
        cluster.second.claim(generation=cluster.first.watch().generation)
        assert not [name for _, name in cluster.unit.log[begin:] if name.startswith("REGISTER")]


@pytest.mark.parametrize("paths", [1, 2])
def test_duels_have_exactly_one_winner(paths: int) -> None:
    """100 orders of the commands of two claims."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for seed in range(100):
        cluster = Cluster(paths=paths).registered()
        first, second = duel(
            seed,
            (cluster.nodes[0], cluster.nodes[1]),
            (cluster.first.claim, cluster.second.claim),
        )
        outcomes[first.outcome.value, second.outcome.value] += 1
        winner = DEB1 if first.outcome is ClaimOutcome.WON else DEB2
        assert set(cluster.unit.keys.values()) == {winner}, seed
    assert set(outcomes) == {("won", "lost"), ("lost", "won")}


@given(seed=st.integers(0, 2**32), paths=st.integers(1, 2))
def test_node_that_registers_while_it_is_ejected_stays_out(seed: int, paths: int) -> None:
    """It believes in peace, the other one does not: the claim is won for good."""
    cluster = Cluster(paths=paths).registered()

    def register() -> str:
        try:
            return cluster.second.register_in_peace()
        except (DiskFault, Ejected):
            return ""

    nodes = cluster.nodes[0], cluster.nodes[1]
    claim, _ = duel(seed, nodes, (lambda: cluster.first.claim(), register))
    assert isinstance(claim, Claim)
    if claim.outcome is ClaimOutcome.UNABLE:
        # It saw a registration that was taken back in the next moment.
        claim = cluster.first.claim()
    assert claim.outcome is ClaimOutcome.WON
    assert set(cluster.unit.keys.values()) == {DEB1}
    with pytest.raises(Ejected, match="deb1 removed deb2, which stays out"):
        cluster.second.register_in_peace()
    assert "deb2 and deb1 registered" in cluster.second.register_in_peace(is_readmitted=True)


def test_nobody_may_fence_who_was_never_registered() -> None:
    """Both started with a disk that knows neither: one that claims must not register now."""
    cluster = Cluster()
    claim = cluster.first.claim()
    assert claim.outcome is ClaimOutcome.UNABLE and "only while they hear each other" in claim.text
    assert cluster.unit.keys == {}
    cluster.second.register_in_peace()
    assert cluster.first.claim() == Claim(ClaimOutcome.LOST, "deb2 registered on /dev/hb", "deb2")
    assert cluster.second.claim().outcome is ClaimOutcome.WON


def test_claim_over_a_path_that_reconnected() -> None:
    """The key is there, the connection may not use it: with the known counter it may register."""
    cluster = Cluster().registered()
    generation = cluster.first.watch().generation
    cluster.unit.reconnect(("deb1", "/dev/hb-0"))
    unable = cluster.first.claim()
    assert unable.outcome is ClaimOutcome.UNABLE and "reservation conflict" in unable.text
    assert cluster.first.claim(generation - 1).outcome is ClaimOutcome.UNABLE
    assert cluster.first.claim(generation).outcome is ClaimOutcome.WON
    assert DEB2 not in cluster.unit.keys.values()


@pytest.mark.parametrize("who", [0, 1])
def test_duels_of_a_node_that_reconnected_have_one_winner(who: int) -> None:
    """It may have to give up; never do both win, and never is the loser registered."""
    for seed in range(60):
        cluster = Cluster().registered()
        generation = cluster.first.watch().generation
        name = ("deb1", "deb2")[who]
        cluster.unit.reconnect((name, "/dev/hb-0"))
        claims = duel(
            seed,
            (cluster.nodes[0], cluster.nodes[1]),
            (lambda: cluster.first.claim(generation), lambda: cluster.second.claim(generation)),
        )
        won = [claim.outcome is ClaimOutcome.WON for claim in claims]
        assert won.count(True) <= 1, seed
        if any(won):
            assert set(cluster.unit.keys.values()) == {DEB1 if won[0] else DEB2}, seed


def test_array_that_restarts_ejects_nobody() -> None:
    """All registrations are gone, the peer registers first: that is no ejection."""
    cluster = Cluster().registered()
    cluster.first.watch()
    cluster.unit.lose_power()
    look = cluster.first.watch()
    assert (look.is_registered, look.by, look.text) == (False, "", "no node registered on /dev/hb")
    assert cluster.first.claim().outcome is ClaimOutcome.UNABLE
    cluster.second.register_in_peace()
    assert cluster.first.watch().by == ""
    cluster.first.register_in_peace()
    assert cluster.first.watch().is_registered
    cluster.second.claim()
    assert cluster.first.watch().by == "deb2"


def test_node_that_was_never_registered_was_not_ejected() -> None:
    """The arbiter was just configured, and the peer was first."""
    cluster = Cluster()
    cluster.second.register_in_peace()
    assert cluster.first.watch().by == ""


def test_ejection_is_seen_over_a_restart_of_the_daemon() -> None:
    """With the counter of the last look; without it nobody can know."""
    cluster = Cluster().registered()
    generation = cluster.first.watch().generation
    cluster.second.claim()
    assert cluster.started("deb1", generation).watch().by == "deb2"
    assert cluster.started("deb1").watch().by == ""
    assert cluster.started("deb2", generation).watch().by == ""


def test_disk_with_data_is_no_arbiter() -> None:
    """The stop of a service on it removes all keys."""
    cluster = Cluster()
    cluster.unit.keys[("deb1", "x")] = 0xDEB1
    cluster.unit.holder = ("deb1", "x")
    with pytest.raises(DiskFault, match="a disk with data cannot be the arbiter"):
        cluster.first.register_in_peace()
    assert list(cluster.unit.keys.values()) == [0xDEB1]


def test_disk_with_registrations_of_others_is_no_arbiter() -> None:
    """Another cluster, or an agent: its keys would be in the way of ours, and ours of its."""
    cluster = Cluster()
    cluster.unit.keys[("deb9", "x")] = 0x99
    with pytest.raises(DiskFault, match="registrations of others than deb1 and deb2: 0x99"):
        cluster.first.register_in_peace()


def test_disk_that_does_not_answer_leaves_the_claim_open() -> None:
    """Neither won nor lost: it is tried again."""
    cluster = Cluster().registered()
    cluster.nodes[0].ports["/dev/hb-0"].is_dead = True
    claim = cluster.first.claim()
    assert claim.outcome is ClaimOutcome.UNABLE and "hung" in claim.text
    with pytest.raises(DiskFault, match="hung"):
        cluster.first.watch()
    with pytest.raises(DiskFault, match="hung"):
        cluster.first.register_in_peace()
    cluster.first.close()


def test_claim_whose_command_got_no_answer_is_judged_by_the_disk() -> None:
    """The command arrived, its answer did not: the other path shows who is registered."""
    cluster = Cluster(paths=2).registered()
    port = cluster.nodes[0].ports["/dev/hb-0"]

    def die(nexus: tuple[str, str], command: bytes) -> None:
        if command[:2] == b"\x5f\x04":
            port.is_dead = True
            raise DiskFault("hung")

    port.after = die
    assert cluster.first.claim().outcome is ClaimOutcome.WON
    assert cluster.second.watch().by == "deb1"


def test_one_path_is_enough() -> None:
    """To register, to look, to claim."""
    cluster = Cluster(paths=2).registered()
    cluster.nodes[0].ports["/dev/hb-0"].is_dead = True
    cluster.first.register_in_peace()
    assert cluster.first.watch().is_registered
    assert cluster.first.claim().outcome is ClaimOutcome.WON


def test_disk_that_was_cleared_ejected_nobody() -> None:
    """Nobody is registered: nobody has won anything. So it is where the counter did not move."""
    cluster = Cluster().registered()
    cluster.first.watch()
    cluster.unit.keys.clear()
    cluster.unit.generation += 1
    assert cluster.first.watch().by == ""
    other = Cluster().registered()
    other.second.watch()
    other.first.watch()
    del other.unit.keys[("deb1", "/dev/hb-0")]
    assert other.first.watch().by == ""


def test_registration_that_is_not_there_afterwards_is_no_success() -> None:
    """The peer removed it at once: it is read back."""
    cluster = Cluster()

    def forget(nexus: tuple[str, str], command: bytes) -> None:
        if command[0] == 0x5F:
            cluster.unit.keys.clear()

    cluster.nodes[0].open("/dev/hb-0").after = forget
    with pytest.raises(DiskFault, match="registered, but no node registered on /dev/hb"):
        cluster.first.register_in_peace()


def test_claim_waits_for_no_write() -> None:
    """A heartbeat disk holds no data: nothing has to be aborted, and a hung write holds nobody."""
    cluster = Cluster().registered()
    cluster.first.claim()
    assert "PREEMPT" in cluster.names("deb1")
    assert "PREEMPT_AND_ABORT" not in cluster.names("deb1")


def test_path_that_reconnected_is_registered_again_in_peace() -> None:
    """The key is there, so that nothing seems to be missing; a claim would fail."""
    cluster = Cluster().registered()
    cluster.unit.reconnect(("deb1", "/dev/hb-0"))
    cluster.first.register_in_peace()
    assert ("deb1", "/dev/hb-0") in cluster.unit.keys
    assert cluster.first.claim().outcome is ClaimOutcome.WON


def test_arbiter_is_asked_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread must not hang; and it is released."""
    cluster = Cluster().registered()
    seen: set[float] = set()
    port = cluster.nodes[0].ports["/dev/hb-0"]
    execute = port.scsi

    def scsi(command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        seen.add(limit_s)
        return execute(command, sent, wanted, limit_s)

    monkeypatch.setattr(port, "scsi", scsi)
    cluster.first.register_in_peace()
    cluster.first.claim()
    assert seen == {2.0}
    cluster.first.close()
    assert port.is_closed


def test_arbiter_is_one_whole_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on no disk, or on several, cannot be one."""
    with pytest.raises(DiskFault, match="is on no disk: an arbiter needs one SCSI disk"):
        address_of_arbiter("/dev/null")
    found = [DiskAddress("/dev/sda", ("/dev/sda",)), DiskAddress("/dev/sdb", ("/dev/sdb",))]
    monkeypatch.setattr(arbiter_disk, "disks_under", lambda path: tuple(found))
    with pytest.raises(DiskFault, match="/dev/hb is on /dev/sda, /dev/sdb: an arbiter needs one"):
        address_of_arbiter("/dev/hb")
    del found[1]
    assert address_of_arbiter("/dev/hb") is found[0]
