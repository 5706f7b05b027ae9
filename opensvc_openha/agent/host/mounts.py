"""Read the mounts of this mount namespace from mountinfo, without access to the file systems.

psutil's partitions come from the same kernel table but lack the part of a file system that a bind
mount shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from opensvc_openha.errors import SystemFault
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.files import text_or_empty

_TABLE = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo.

    ``device`` is MAJOR:MINOR, ``root`` the part of the file system that is mounted.

    ``options`` are those of the mount and of the file system together.
    """

    device: str
    root: str
    point: str
    fstype: str
    source: str
    options: frozenset[str] = frozenset()


def read_mounts() -> tuple[Mount, ...]:
    """Return all mounts that this process sees, oldest first."""
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as file:
            return tuple(parse_mounts(file))
    except OSError as error:
        raise SystemFault(f"cannot read the mount table {_TABLE}: {error.strerror}") from error


def parse_mounts(lines: Iterable[str]) -> Iterable[Mount]:
    """Parse mountinfo lines; skip invalid ones."""
    for line in lines:
        left, separator, right = line.rstrip("\n").partition(" - ")
        head, tail = left.split(" "), right.split(" ")
        if separator and len(head) >= 6 and len(tail) >= 2:
            options = frozenset(head[5].split(",") + (tail[2].split(",") if len(tail) > 2 else []))
            yield Mount(
                head[2], _plain(head[3]), _plain(head[4]), tail[0], _plain(tail[1]), options
            )


def top_mount(point: str, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the visible mount at a mount point: the last one mounted there."""
    return next((mount for mount in reversed(mounts) if mount.point == point), None)


def backing_file(loop_device: str) -> str:
    """Return the file behind a loop device; empty if there is none."""
    name = os.path.basename(loop_device)
    return text_or_empty(f"/sys/class/block/{name}/loop/backing_file").rstrip("\n")


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), text)
