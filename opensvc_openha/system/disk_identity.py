"""Identify the disk that a path names now, whatever the path is called.

::

    device mapper, md    its UUID, which shows a multipath map's unit and a volume's own identity
    SCSI, NVMe           the identifier of the unit; one that may not be unique, with what follows
    loop device          its file
    any other            its number, and the number that the kernel gives each disk that it finds
    partition            its disk, with number and first sector
    file                 file system and inode

Only sysfs is read: a disk that hangs delays nothing. A disk keeps its number as long as somebody
has it open, so that what is read then is of that disk.
"""

from __future__ import annotations

import contextlib
import os
import stat

from opensvc_openha.system.files import text_or_empty

_UNIQUE = ("naa.", "eui.", "uuid.")
"""Identifiers of SCSI and NVMe that no two units have; others may be a model's default."""


def disk_identity(path: str, sys_dir: str = "/sys") -> str:
    """Return what all paths to one disk share, in one line; empty if that is not known."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    if not stat.S_ISBLK(found.st_mode):
        return f"file {found.st_dev}:{found.st_ino}"
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    directory = os.path.realpath(f"{sys_dir}/dev/block/{number}")
    part = _text(f"{directory}/partition")
    if part:
        part = f" part {part} at {_text(f'{directory}/start')}"
        directory = os.path.dirname(directory)
    return f"{_identity(directory, number, found)}{part}"


def _identity(directory: str, number: str, node: os.stat_result) -> str:
    for kind in ("dm", "md"):
        uuid = _text(f"{directory}/{kind}/uuid")
        if uuid:
            return f"{kind} {uuid}"
    unit = _text(f"{directory}/wwid") or _text(f"{directory}/device/wwid")
    if unit.startswith(_UNIQUE):
        return unit
    file = _text(f"{directory}/loop/backing_file")
    if file:
        # It may be of another name space, or deleted.
        with contextlib.suppress(OSError):
            behind = os.stat(file)
            offset = _text(f"{directory}/loop/offset")
            return f"loop {behind.st_dev}:{behind.st_ino} from {offset}"
    # Before Linux 5.15 the device file has to do, which is made for each disk that is found.
    sequence = _text(f"{directory}/diskseq") or f"{node.st_dev}:{node.st_ino}"
    return " ".join(filter(None, (unit, number, sequence)))


def _text(path: str) -> str:
    return " ".join(text_or_empty(path, 256).split())
