"""What a resource says about a start of it on this node now, and what it may ask for that."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from opensvc_openha.core.outlook import Severity


@dataclass(frozen=True)
class Remark:
    """One thing about a start: an error if it would fail, a warning if it would not.

    ``check`` is the word of the check, as in docs/check.md; ``fix`` what to do.
    """

    severity: Severity
    check: str
    text: str
    fix: str = ""


def would_fail(check: str, text: str, fix: str = "") -> Remark:
    """Return a remark on what a start would fail for."""
    return Remark(Severity.ERROR, check, text, fix)


def beware(check: str, text: str, fix: str = "") -> Remark:
    """Return a remark on what is not as it should be, and fails no start."""
    return Remark(Severity.WARNING, check, text, fix)


def unclear(check: str, text: str, fix: str = "") -> Remark:
    """Return a remark on what cannot be looked at before a start."""
    return Remark(Severity.UNKNOWN, check, text, fix)


@dataclass(frozen=True)
class Surroundings:
    """What is known of the service around a resource, while it is stopped here.

    ``runs_on_peer``: it runs there, with its addresses and volume groups. ``peer_hardware`` are the
    hardware addresses of the peer's interfaces, None if they are not known. ``hidden`` are the
    mount points of the service that are not mounted now, ``later`` its devices that exist once the
    resources before are started: names of volume groups, files of loop devices.
    """

    runs_on_peer: bool = False
    peer_hardware: Collection[str] | None = None
    hidden: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    def is_hidden(self, path: str) -> bool:
        """Return whether a path is on a file system that the start itself mounts."""
        return any(path == point or path.startswith(f"{point}/") for point in self.hidden)

    def comes_later(self, device: str) -> bool:
        """Return whether a device appears when the service's volume groups are activated."""
        mapper = os.path.basename(device)
        return any(
            device.startswith(f"/dev/{name}/")
            or (device.startswith("/dev/mapper/") and mapper.startswith(f"{_escaped(name)}-"))
            for name in self.later
        )


def _escaped(name: str) -> str:
    # The device mapper doubles the hyphens within a name: vg-data/lv is vg--data-lv.
    return name.replace("-", "--")


def why_no_directory(path: str) -> str:
    """Return why a directory cannot be made at a path; empty if it can, or is there."""
    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above} is not a directory"
    if not os.access(above, os.W_OK):
        return f"{above} cannot be written"
    return ""
