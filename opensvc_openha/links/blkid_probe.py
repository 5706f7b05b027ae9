"""Ask `blkid -p` of util-linux about a device, as a second opinion beside our own table.

It gets a copy of the device's ends in memory, without the slots of heartbeats: their random bytes
must not be mistaken for a sign, and a process that reads a disk itself could hang with it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

BLKID_LIMIT_S = 10.0
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_FOUND, _NOTHING, _AMBIVALENT = 0, 2, 8
_USAGES = {
    "filesystem": "a {} file system",
    "raid": "a member of a volume or RAID ({})",
    "crypto": "an encrypted volume ({})",
}


def ask_blkid(parts: Sequence[tuple[int, bytes]]) -> str | None:
    """Return the use of the device by its content at these offsets; the last reaches its end.

    None if blkid finds nothing or is not installed.
    """
    try:
        copy = os.memfd_create("device")
    except (AttributeError, OSError):
        return None
    try:
        for offset, data in parts:
            os.pwrite(copy, data, offset)
        done = subprocess.run(
            ["blkid", "-p", "-o", "export", f"/proc/self/fd/{copy}"],
            pass_fds=(copy,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=BLKID_LIMIT_S,
            cwd="/",
            env={"PATH": f"{os.environ.get('PATH', '')}:{_PATH}", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    finally:
        os.close(copy)
    return read_answer(done.returncode, done.stdout.decode("utf-8", "replace"))


def read_answer(exit_code: int, text: str) -> str | None:
    """Convert the output of `blkid -p -o export` to words."""
    if exit_code == _AMBIVALENT:
        return "signs of several uses (blkid)"
    if exit_code != _FOUND:
        return None
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    kind = values.get("TYPE", "")
    if kind:
        return _USAGES.get(values.get("USAGE", ""), "{}").format(kind)
    table = values.get("PTTYPE", "")
    return f"a partition table ({table})" if table else None
