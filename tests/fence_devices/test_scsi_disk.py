"""One path of a disk: what is repeated, what never is, what an answer is taken for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.scsi_disk import (
    ABORT_LIMIT_S,
    ATTENTIONS_MAX,
    COMMAND_LIMIT_S,
    DiskFault,
    NotSupported,
    ReservationConflict,
    ScsiDisk,
)
from opensvc_openha.formats.scsi_pr import Registrations, Reservation, Status
from opensvc_openha.links.disk_channel import ScsiAnswer
from tests.fence_devices.simulated_disk import (
    INVALID,
    PREEMPTED,
    RESET,
    SimulatedPort,
    SimulatedUnit,
)
from tests.formats.test_scsi_pr import A, B, exchanges

NODE = ("deb1", "disk-0")
PEER = ("deb2", "disk-0")


@dataclass
class Path:
    """A path of a simulated disk, and the pauses that were made."""

    unit: SimulatedUnit
    nexus: tuple[str, str] = NODE
    pauses: list[float] = field(default_factory=list)

    @property
    def disk(self) -> ScsiDisk:
        """As the program sees it."""
        return ScsiDisk("/dev/sda", SimulatedPort(self.unit, self.nexus), self.pauses.append)


@dataclass
class FixedPort:
    """Gives one answer to everything."""

    answer: ScsiAnswer
    asked: int = 0
    seen: list[tuple[bytes, bytes, int, float]] = field(default_factory=list)
    is_closed: bool = False

    def scsi(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        """Count, and answer."""
        self.asked += 1
        self.seen.append((command, sent, wanted, limit_s))
        return self.answer

    def close(self) -> None:
        """Released."""
        self.is_closed = True


def fixed(status: int, sense: bytes = b"", host: int = 0, driver: int = 0) -> FixedPort:
    """A path that always answers so."""
    return FixedPort(ScsiAnswer(status, host, driver, sense, b""))


def test_unit_attention_is_taken_and_the_command_repeated() -> None:
    """One reports that the command was not executed: the second attempt is at once, others
    later.
    """
    path = Path(SimulatedUnit())
    path.unit.attend(NODE, PREEMPTED)
    path.disk.register_anyway(A)
    assert path.unit.keys == {NODE: A} and path.pauses == []
    for _ in range(3):
        path.unit.attend(NODE, RESET)
    path.disk.reserve(A)
    assert path.unit.holder == NODE and path.pauses == [0.1, 0.1]


def test_unit_attention_that_does_not_end_is_reported() -> None:
    """After ten more attempts, 0.1 s apart: the disk cannot be asked."""
    port = fixed(Status.CHECK_CONDITION, RESET)
    pauses: list[float] = []
    with pytest.raises(DiskFault, match=r"/dev/sda: unit attention 29/00 \(power on or reset\)"):
        ScsiDisk("/dev/sda", port, pauses.append).registrations()
    assert port.asked == ATTENTIONS_MAX + 1 and pauses == [0.1] * (ATTENTIONS_MAX - 1)


def test_busy_disk_is_asked_again() -> None:
    """It reports itself that it did not execute the command."""
    for status in (Status.BUSY, Status.TASK_SET_FULL):
        port = fixed(status)
        with pytest.raises(DiskFault, match="busy after 10 more attempts"):
            ScsiDisk("/dev/sda", port, lambda seconds: None).clear(A)
        assert port.asked == ATTENTIONS_MAX + 1


CHANGES: list[Callable[[ScsiDisk], None]] = [
    lambda disk: disk.register(A, B),
    lambda disk: disk.register_anyway(A),
    lambda disk: disk.reserve(A),
    lambda disk: disk.clear(A),
    lambda disk: disk.preempt(A, B),
    lambda disk: disk.preempt_and_abort(A, B),
]


@pytest.mark.parametrize("change", CHANGES)
def test_conflict_is_never_retried(change: Callable[[ScsiDisk], None]) -> None:
    """It is the verdict of a duel: the second attempt would be made by another world."""
    port = fixed(Status.RESERVATION_CONFLICT)
    with pytest.raises(ReservationConflict, match="/dev/sda: reservation conflict"):
        change(ScsiDisk("/dev/sda", port, lambda seconds: None))
    assert port.asked == 1


@pytest.mark.parametrize(
    ("port", "text"),
    [
        (fixed(Status.TASK_ABORTED), "SCSI status 0x40"),
        (fixed(0x99), "SCSI status 0x99"),
        (fixed(Status.CHECK_CONDITION), "SCSI status 0x02"),
        (fixed(Status.CHECK_CONDITION, b"\x72\x04\x44\x00"), "hardware error 44/00"),
        (fixed(Status.GOOD, host=1), "the path failed .host status 0x1,"),
        (fixed(Status.GOOD, driver=6), "driver status 0x6"),
        (fixed(Status.GOOD, driver=1), "driver status 0x1"),
    ],
)
def test_any_other_end_of_a_command_is_a_fault(port: FixedPort, text: str) -> None:
    """Only GOOD, with a path that worked, is success; and it is not repeated."""
    with pytest.raises(DiskFault, match=text):
        ScsiDisk("/dev/sda", port).reserve(A)
    assert port.asked == 1


def test_recovered_error_is_success() -> None:
    """The device reports that it did what it was asked for; sense data alone are no failure."""
    ScsiDisk("/dev/sda", fixed(Status.CHECK_CONDITION, b"\x72\x01\x0b\x00", driver=8)).reserve(A)


def test_unknown_action_is_distinguished_from_other_faults() -> None:
    """So that a target without abort can be preempted without."""
    with pytest.raises(NotSupported, match="illegal request 24/00"):
        ScsiDisk("/dev/sda", fixed(Status.CHECK_CONDITION, INVALID)).preempt_and_abort(A, B)
    with pytest.raises(DiskFault, match="illegal request 25/00"):
        ScsiDisk("/dev/sda", fixed(Status.CHECK_CONDITION, b"\x72\x05\x25\x00")).reserve(A)


def test_disk_that_does_not_answer_is_a_fault() -> None:
    """The I/O process gave up after its limit."""
    port = SimulatedPort(SimulatedUnit(), NODE, is_dead=True)
    with pytest.raises(DiskFault, match="hung: no answer"):
        ScsiDisk("/dev/sda", port).registrations()


def test_answers_that_cannot_be_read_are_faults() -> None:
    """A device that answers nonsense proves nothing."""
    with pytest.raises(DiskFault, match="/dev/sda: the answer is cut short: 0 of 8 bytes"):
        ScsiDisk("/dev/sda", fixed(Status.GOOD)).registrations()


def test_long_list_is_asked_for_again() -> None:
    """More registrations than the first request has room for: none is left out."""
    unit = SimulatedUnit(generation=9)
    unit.keys = {("deb1", f"disk-{number}"): number + 1 for number in range(2000)}
    found = ScsiDisk("/dev/sda", SimulatedPort(unit, NODE)).registrations()
    assert found == Registrations(9, tuple(range(1, 2001)))
    assert [name for _, name in unit.log] == ["READ_KEYS"] * 2


def test_list_beyond_any_answer_is_a_fault() -> None:
    """More than the command can return: it is never taken for the whole."""
    unit = SimulatedUnit()
    unit.keys = {("deb1", f"disk-{number}"): number + 1 for number in range(9000)}
    with pytest.raises(DiskFault, match="cut short"):
        ScsiDisk("/dev/sda", SimulatedPort(unit, NODE)).registrations()


def test_life_of_a_reservation() -> None:
    """Two nodes: register, reserve, refuse, eject, clear, as the disk reports it."""
    unit = SimulatedUnit()
    ours, theirs = Path(unit).disk, Path(unit, PEER).disk
    ours.register_anyway(A)
    ours.reserve(A)
    assert ours.may_write() and not theirs.may_write()
    assert theirs.reservation() == Reservation(A, 5)
    with pytest.raises(ReservationConflict):
        theirs.reserve(B)
    theirs.register_anyway(B)
    theirs.preempt_and_abort(B, A)
    assert theirs.registrations().keys == (B,) and not ours.may_write()
    with pytest.raises(ReservationConflict):
        ours.preempt(A, B)
    assert [found.initiator for found in theirs.registrants()] == ["iqn.deb2"]
    theirs.clear(B)
    assert ours.reservation() is None and ours.registrations().keys == ()
    assert unit.generation == 4


def test_names_of_a_disk() -> None:
    """A disk without pages has no name; that is no fault."""
    unit = SimulatedUnit(serial="42")
    disk = Path(unit).disk
    assert (disk.name().serial, disk.name().identifier) == ("42", "6001405f" + "00" * 12)
    assert str(disk.name()) == "42" and disk.vendor() == ("SIMUL", "DISK")
    assert ScsiDisk("/dev/sda", fixed(Status.CHECK_CONDITION, INVALID)).name().is_empty
    assert not disk.capabilities().keeps_over_power_loss


@pytest.mark.parametrize("target", ["lio", "tgt"])
def test_simulated_disk_answers_as_the_real_ones(target: str) -> None:
    """The recording of each target, command by command, until they part for reasons of their own.

    tgt knows no abort; LIO lets writes of nothing pass, and reports "not ready" for some conflicts.
    """
    unit = SimulatedUnit(
        knows_abort=target == "lio",
        knows_kept=target == "lio",
        lists_connections=target == "lio",
        passes_empty_writes=target == "lio",
    )
    compared = 0
    for exchange in exchanges(target):
        if exchange.command[0] == 0x12 or exchange.command[:2] == b"\x5e\x02":
            continue
        nexus = NODE if exchange.by == "a" else PEER
        wanted = struct.unpack(">H", exchange.command[7:9])[0] if not exchange.sent else 0
        found = unit.execute(nexus, exchange.command, exchange.sent, wanted)
        if found.status == Status.CHECK_CONDITION and found.sense[2] == 6:
            # The real target reported it to another command before.
            found = unit.execute(nexus, exchange.command, exchange.sent, wanted)
        if exchange.status == Status.CHECK_CONDITION and exchange.sense[2] == 6:
            continue
        is_lio_conflict = exchange.sense[2:3] == b"\x02"
        expected = Status.RESERVATION_CONFLICT if is_lio_conflict else exchange.status
        assert found.status == expected, exchange.step
        if exchange.command[:2] == b"\x5e\x00" and exchange.by == "b":
            assert sorted(struct.iter_unpack(">Q", found.data[8:])) == sorted(
                struct.iter_unpack(">Q", exchange.data[8 : len(found.data)])
            ), exchange.step
        compared += 1
        if exchange.step == "b register aptpl":
            break
    assert compared > 40


def test_commands_have_limits() -> None:
    """That of the path; an abort waits for writes, and gets more. Changes read nothing."""
    port = fixed(Status.GOOD)
    assert (COMMAND_LIMIT_S, ABORT_LIMIT_S) == (5, 30)
    for disk, limit_s in (
        (ScsiDisk("/dev/sda", port), COMMAND_LIMIT_S),
        (ScsiDisk("/dev/sda", port, limit_s=2), 2),
    ):
        port.seen.clear()
        for change in CHANGES:
            change(disk)
        disk.may_write()
        assert [(wanted, limit) for _, _, wanted, limit in port.seen] == [
            *([(0, limit_s)] * 5),
            (0, ABORT_LIMIT_S),
            (0, limit_s),
        ]
        with pytest.raises(DiskFault):
            disk.registrations()
        assert port.seen[-1][2:] == (8192, limit_s)


def test_commands_carry_the_keys() -> None:
    """Own key, then that of the action; a registration that ignores what was there has none."""
    port = fixed(Status.GOOD)
    disk = ScsiDisk("/dev/sda", port)
    for change in CHANGES:
        change(disk)
    keys = [struct.unpack_from(">QQ", sent) for _, sent, _, _ in port.seen]
    assert keys == [(A, B), (0, A), (A, 0), (A, 0), (A, B), (A, B)]


def test_path_is_released() -> None:
    """And its I/O process with it."""
    port = fixed(Status.GOOD)
    ScsiDisk("/dev/sda", port).close()
    assert port.is_closed


def test_fault_is_a_system_fault() -> None:
    """So that commands end with its exit code, and the daemon takes it for an answer."""
    assert issubclass(DiskFault, SystemFault) and not issubclass(ReservationConflict, DiskFault)
