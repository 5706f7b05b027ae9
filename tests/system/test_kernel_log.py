"""Writes that a reserved disk refused, in the kernel's log."""

from __future__ import annotations

from pathlib import Path

import pytest

from opensvc_openha.system import clock
from opensvc_openha.system.kernel_log import refused_writes

# As kernels 5.10, 6.1 and 6.8 log it, and what is no refused write.
LOG = b"""6,339,5140900,-;NET: Registered PF_PACKET protocol family
6,340,6000000,-;sd 4:0:0:1: reservation conflict
 SUBSYSTEM=scsi
 DEVICE=+scsi:4:0:0:1
6,341,6000100,-;sd 4:0:0:1: [sda] tag#12 FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_OK
3,342,6000200,-;critical nexus error, dev sda, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1
3,343,7000000,-;blk_update_request: critical nexus error, dev sda, sector 2056
3,344,8500000,c;reservation conflict error, dev dm-1, sector 80 op 0x1:(WRITE) flags 0x0 phys_seg 1
12,345,9000000,-;critical nexus error, dev sdz, sector 1
3,346,9100000,-;I/O error, dev sdb, sector 80 op 0x1:(WRITE)
 garbage \xff;critical nexus error, dev sdq,
"""


def test_refused_writes_are_counted_by_disk(tmp_path: Path) -> None:
    """With the time of the last one; neither a look of ours at a reserved disk, nor what a program
    has written there, nor another error is one.
    """
    log = tmp_path / "kmsg"
    log.write_bytes(LOG)
    first, second = refused_writes(str(log))
    assert (first.device, first.count, second.device, second.count) == ("dm-1", 1, "sda", 2)
    assert first.last_at - second.last_at == pytest.approx(1.5, abs=0.001)
    assert second.last_at == pytest.approx(clock.wall() - clock.monotonic() + 7.0, abs=60.0)


def test_log_that_is_missing_or_may_not_be_read_has_none(tmp_path: Path) -> None:
    """In a container, or for a plain user."""
    assert refused_writes(str(tmp_path / "none")) == ()
    assert refused_writes(str(tmp_path)) == ()


def test_log_of_this_machine_can_be_read() -> None:
    """To its end, without waiting for what comes next."""
    assert isinstance(refused_writes(), tuple)


def test_records_that_were_overwritten_meanwhile_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The kernel's buffer is a ring: it reports the loss once, and continues."""
    answers: list[bytes | None] = [None, LOG.splitlines()[5]]

    def read(handle: int, length: int) -> bytes:
        if not answers:
            raise BlockingIOError
        answer = answers.pop(0)
        if answer is None:
            raise BrokenPipeError
        return answer

    (tmp_path / "kmsg").touch()
    monkeypatch.setattr("opensvc_openha.system.kernel_log.os.read", read)
    assert [found.device for found in refused_writes(str(tmp_path / "kmsg"))] == ["sda"]
