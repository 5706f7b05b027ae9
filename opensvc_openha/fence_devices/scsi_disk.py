"""Read and change the registrations and the reservation of one disk over one path.

The commands are executed by the disk's I/O process, so that a hung disk holds nobody longer than
the limit. A unit attention says that the command was not executed: it is taken, and the command
repeated, ten times at most. A conflict is the device's verdict and is never repeated: it is what
the loser of a duel gets. Decides nothing about other disks and paths.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from opensvc_openha.errors import SystemFault
from opensvc_openha.formats import scsi_pr
from opensvc_openha.formats.scsi_pr import (
    Capabilities,
    InAction,
    OutAction,
    Registrant,
    Registrations,
    Reservation,
    Status,
    UnitName,
)
from opensvc_openha.hints import Protocol, TypeVar
from opensvc_openha.links.disk_channel import ScsiAnswer, channel_for
from opensvc_openha.system.clock import pause

COMMAND_LIMIT_S = 5.0
"""Limit for one command that only concerns the device's own tables."""
ABORT_LIMIT_S = 30.0
"""Limit for a command that waits for writes in flight to be aborted or to end."""
ATTENTIONS_MAX = 10
ATTENTION_PAUSE_S = 0.1

_INQUIRY_BYTES = 252
_DRIVER_SENSE = 0x08
"""Driver status that only says that there is sense data."""

_Decoded = TypeVar("_Decoded")


class DiskFault(SystemFault):
    """The disk could not be asked, or refused for another reason than a conflict."""


class ReservationConflict(SystemFault):
    """The disk refused because of its registrations or reservation: another node came first."""


class NotSupported(SystemFault):
    """The disk does not know the command, or this action of it."""


class ScsiPort(Protocol):
    """Way to one path of a disk: that of ``DiskChannel``."""

    def scsi(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        """Execute one command; raise SystemFault if there is no answer within the limit."""

    def close(self) -> None:
        """Release it without waiting."""


def open_port(path: str) -> ScsiPort:
    """Return the way to a path through an I/O process."""
    return channel_for(path, True)


class ScsiDisk:
    """One path of a disk. Every method raises DiskFault if the disk cannot be asked."""

    def __init__(
        self,
        path: str,
        port: ScsiPort,
        wait: Callable[[float], None] = pause,
        limit_s: float = COMMAND_LIMIT_S,
    ) -> None:
        self.path = path
        self._port = port
        self._wait = wait
        self._limit_s = limit_s
        self.met: UnitName | None = None
        """Name of the disk that the path leads to; None until it was asked, and answered."""

    def meet(self) -> None:
        """Ask which disk the path leads to; one that does not answer is left unknown."""
        with contextlib.suppress(SystemFault):
            self.met = self.name()

    def close(self) -> None:
        """Release the path."""
        self._port.close()

    # What is there ------------------------------------------------------------------------------

    def registrations(self) -> Registrations:
        """Return all registered keys; an answer that was cut short is asked for again."""
        return self._decoded(scsi_pr.decode_registrations, self._list(InAction.READ_KEYS))

    def reservation(self) -> Reservation | None:
        """Return who holds the reservation; None if nobody does."""
        return self._decoded(scsi_pr.decode_reservation, self._list(InAction.READ_RESERVATION))

    def registrants(self) -> tuple[Registrant, ...]:
        """Return the registered connections; NotSupported where the disk does not list them."""
        data = self._list(InAction.READ_FULL_STATUS)
        return self._decoded(lambda answer: scsi_pr.decode_full_status(answer)[1], data)

    def capabilities(self) -> Capabilities:
        """Return what the disk offers; NotSupported where it does not say."""
        return self._decoded(
            scsi_pr.decode_capabilities,
            self._read(scsi_pr.encode_in(InAction.REPORT_CAPABILITIES, 8), 8),
        )

    def name(self) -> UnitName:
        """Return what identifies the disk on every node; empty words where it does not say."""
        return UnitName(
            self._page(scsi_pr.encode_serial_inquiry, scsi_pr.decode_serial),
            self._page(scsi_pr.encode_identification_inquiry, scsi_pr.decode_identifier),
        )

    def vendor(self) -> tuple[str, str]:
        """Return vendor and model."""
        return self._page_or_fault(scsi_pr.encode_inquiry, scsi_pr.decode_vendor)

    def may_write(self) -> bool:
        """Return whether this path's writes pass, by one that writes nothing."""
        try:
            self._execute(scsi_pr.encode_empty_write(), b"", 0, self._limit_s)
        except ReservationConflict:
            return False
        return True

    # Changes ------------------------------------------------------------------------------------

    def register(self, key: int, new_key: int, is_kept: bool = False) -> None:
        """Replace the own key; ReservationConflict if this path is not registered with it.

        From 0: ReservationConflict if it is registered. To 0: is registered no longer.
        """
        self._change(OutAction.REGISTER, key, new_key, is_kept)

    def register_anyway(self, new_key: int, is_kept: bool = False) -> None:
        """Register, whatever key this path had. For times of peace: it is no test.

        Two nodes that register in order to fence each other both win.
        """
        self._change(OutAction.REGISTER_AND_IGNORE, 0, new_key, is_kept)

    def reserve(self, key: int) -> None:
        """Reserve for the writes of registered nodes; ReservationConflict if another one did."""
        self._change(OutAction.RESERVE, key)

    def clear(self, key: int) -> None:
        """Remove the reservation and all registrations, those of other nodes too."""
        self._change(OutAction.CLEAR, key)

    def preempt(self, key: int, victim: int) -> None:
        """Remove a key, and take its reservation. Writes on their way may land later."""
        self._change(OutAction.PREEMPT, key, victim)

    def preempt_and_abort(self, key: int, victim: int) -> None:
        """Remove a key, take its reservation, and end its writes first; NotSupported."""
        self._change(OutAction.PREEMPT_AND_ABORT, key, victim, limit_s=ABORT_LIMIT_S)

    # --------------------------------------------------------------------------------------------

    def _change(
        self,
        action: OutAction,
        key: int,
        action_key: int = 0,
        is_kept: bool = False,
        limit_s: float | None = None,
    ) -> None:
        command, parameters = scsi_pr.encode_out(action, key, action_key, is_kept)
        self._execute(command, parameters, 0, limit_s or self._limit_s)

    def _list(self, action: InAction) -> bytes:
        data = self._read(scsi_pr.encode_in(action, scsi_pr.LIST_BYTES), scsi_pr.LIST_BYTES)
        whole = self._decoded(scsi_pr.list_bytes, data)
        if whole <= len(data) or whole > scsi_pr.LIST_BYTES_MAX:
            return data
        return self._read(scsi_pr.encode_in(action, scsi_pr.LIST_BYTES_MAX), scsi_pr.LIST_BYTES_MAX)

    def _page(self, encode: Callable[[int], bytes], decode: Callable[[bytes], str]) -> str:
        """Return one word of the disk's name; empty if it has none."""
        try:
            return self._page_or_fault(encode, decode)
        except NotSupported:
            return ""

    def _page_or_fault(
        self, encode: Callable[[int], bytes], decode: Callable[[bytes], _Decoded]
    ) -> _Decoded:
        return self._decoded(decode, self._read(encode(_INQUIRY_BYTES), _INQUIRY_BYTES))

    def _read(self, command: bytes, wanted: int) -> bytes:
        return self._execute(command, b"", wanted, self._limit_s)

    def _decoded(self, decode: Callable[[bytes], _Decoded], data: bytes) -> _Decoded:
        try:
            return decode(data)
        except ValueError as error:
            raise DiskFault(f"{self.path}: {error}") from None

    def _execute(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> bytes:
        """Return what the device sent; take unit attentions, and wait while it is busy."""
        for attempt in range(ATTENTIONS_MAX + 1):
            if attempt > 1:
                self._wait(ATTENTION_PAUSE_S)
            answer = self._answer(command, sent, wanted, limit_s)
            sense = scsi_pr.decode_sense(answer.sense)
            if answer.status == Status.RESERVATION_CONFLICT:
                raise ReservationConflict(f"{self.path}: reservation conflict")
            if answer.status == Status.CHECK_CONDITION and sense is not None:
                if sense.is_unit_attention:
                    problem = f"{sense}"
                    continue
                if sense.is_unsupported:
                    raise NotSupported(f"{self.path}: {sense}")
                if not sense.is_recovered:
                    raise DiskFault(f"{self.path}: {sense}")
            elif answer.status in (Status.BUSY, Status.TASK_SET_FULL):
                problem = "busy"
                continue
            elif answer.status != Status.GOOD:
                raise DiskFault(f"{self.path}: SCSI status {answer.status:#04x}")
            if answer.host_status or answer.driver_status & ~_DRIVER_SENSE:
                raise DiskFault(
                    f"{self.path}: the path failed (host status {answer.host_status:#x}, driver"
                    f" status {answer.driver_status:#x})"
                )
            return answer.data
        raise DiskFault(f"{self.path}: {problem} after {ATTENTIONS_MAX} more attempts")

    def _answer(self, command: bytes, sent: bytes, wanted: int, limit_s: float) -> ScsiAnswer:
        try:
            return self._port.scsi(command, sent, wanted, limit_s)
        except SystemFault as error:
            raise DiskFault(str(error)) from None
