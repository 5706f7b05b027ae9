"""Find multipath maps for which multipathd keeps reservation keys of its own.

``reservation_key file`` in multipath.conf makes ``mpathpersist`` write the key of a map to a file
of multipathd, which then registers it over each path that comes back. Commands that go to the paths
directly, as those here do, are not written there: two parties would register keys, and this one
would not know of what the other one has changed. A key that is written in multipath.conf does no
harm where it is this node's.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence

from opensvc_openha.fence_devices.block_devices import SYS_DIR, DiskAddress
from opensvc_openha.system.files import text_or_empty

CONF, CONF_DIR = "/etc/multipath.conf", "/etc/multipath/conf.d"
_TOKEN = re.compile(r'"[^"\n]*"|[{}]|[#!].*|[^\s{}"#!]+')
_OPTION, _BY_FILE = "reservation_key", "file"
_UUID_PREFIX = "mpath-"


def problem_of(
    disks: Sequence[DiskAddress],
    conf: str = CONF,
    conf_dir: str = CONF_DIR,
    sys_dir: str = SYS_DIR,
) -> str:
    """Return which of these disks cannot be reserved for that, and why; empty if all can."""
    maps = [disk for disk in disks if disk.paths != (disk.name,)]
    if not maps:
        return ""
    keys = _keys_in([conf, *sorted(glob.glob(f"{glob.escape(conf_dir)}/*.conf"))])
    for disk in maps:
        value, place = keys.get(_wwid_of(disk.name, sys_dir)) or keys.get("") or ("", "")
        if value == _BY_FILE:
            return (
                f"{disk.name}: {place}: {_OPTION} {_BY_FILE}: multipathd would keep keys of its own"
                f" for it (mpathpersist), which is not supported: remove that line, or write the"
                f" key of this node (prkey) in place of {_BY_FILE}"
            )
    return ""


def _keys_in(paths: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the value and its file:line for each map by WWID; that of all others by ''."""
    found: dict[str, tuple[str, str]] = {}
    for path in paths:
        sections: list[str] = []
        wwid, key, last = "", ("", ""), ""
        for token, line in _tokens_of(text_or_empty(path)):
            if token == "{":
                sections.append(last)
                wwid, key = "", ("", "")
            elif token == "}":
                if sections[-1:] == ["multipath"] and wwid and key[0]:
                    found[wwid] = key
                del sections[-1:]
            elif last == _OPTION:
                key = token, f"{path}:{line}"
                if sections[-1:] != ["multipath"]:
                    found[""] = key
            elif last == "wwid":
                wwid = token
            last = token
    return found


def _tokens_of(text: str) -> Iterator[tuple[str, int]]:
    """Return words and braces with their line, without comments and quotation marks."""
    for number, line in enumerate(text.splitlines(), 1):
        for token in _TOKEN.findall(line):
            if token[0] not in "#!":
                yield token.strip('"'), number


def _wwid_of(name: str, sys_dir: str) -> str:
    """Return the WWID of a map; its name if it is not there."""
    try:
        number = os.stat(name).st_rdev
    except OSError:
        return name
    path = f"{sys_dir}/dev/block/{os.major(number)}:{os.minor(number)}/dm/uuid"
    return text_or_empty(path).strip().removeprefix(_UUID_PREFIX)
