"""Find in the kernel's log the writes that a disk refused, since another node holds it reserved.

Applications get EBADE for such a write, and often do not log which disk it was. The kernel logs::

    critical nexus error, dev sda, sector 2048 op 0x1:(WRITE) ...           before 6.5
    reservation conflict error, dev sda, sector 2048 op 0x1:(WRITE) ...

The bare ``reservation conflict`` of the SCSI layer is not counted: each look at a reserved disk of
the other node causes one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opensvc_openha.system import clock

PATH = "/dev/kmsg"
_RECORD_BYTES = 8192
_READS_MAX = 200_000
"""The kernel's buffer holds far fewer records."""
_REFUSED = re.compile(
    rb"(?P<prefix>\d+),\d+,(?P<us>\d+),[^;]*;"
    rb".*\b(?:critical nexus|reservation conflict) error, dev (?P<device>[\w!.-]+)(?:,|$)"
)
_FACILITY = 8
"""Kernel messages have a number below it: what programs write there is not taken for one."""


@dataclass(frozen=True)
class RefusedWrites:
    """What one disk refused; ``last_at`` is wall-clock time."""

    device: str
    count: int
    last_at: float


def refused_writes(path: str = PATH) -> tuple[RefusedWrites, ...]:
    """Return the disks that refused writes; none for a user who may not read the kernel's log."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        return _refused_in(_lines_of(handle), clock.wall() - clock.monotonic())
    finally:
        os.close(handle)


def _lines_of(handle: int) -> Iterator[bytes]:
    for _ in range(_READS_MAX):
        try:
            data = os.read(handle, _RECORD_BYTES)
        except BrokenPipeError:
            continue  # The oldest ones were overwritten meanwhile.
        except OSError:
            return
        if not data:
            return
        yield from data.splitlines()


def _refused_in(lines: Iterable[bytes], boot_at: float) -> tuple[RefusedWrites, ...]:
    found: dict[str, RefusedWrites] = {}
    for line in lines:
        match = _REFUSED.match(line)
        if match is None or int(match["prefix"]) >= _FACILITY:
            continue
        device = match["device"].decode("ascii")
        count = found[device].count if device in found else 0
        found[device] = RefusedWrites(device, count + 1, boot_at + int(match["us"]) / 1e6)
    return tuple(found[device] for device in sorted(found))
