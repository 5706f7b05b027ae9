"""Read the state of volume groups from LVM: of one, or of all with a single command.

LVM reads the headers of all disks for each command: one command per service would cost more than
the rest of a status.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.named_tuples import NamedTuple

QUIET = {"LVM_SUPPRESS_FD_WARNINGS": "1"}
_LOOK_TIMEOUT_S = 30.0
_COLUMNS = "vg_attr,vg_tags,lv_name,lv_attr"
_EXPORTED, _PARTIAL, _ACTIVE, _OPEN, _SKIPPED = 2, 3, 4, 5, 9
"""Places in the attribute words of vgs and lvs; a skipped volume is one that is not activated with
its group."""


class VolumeGroup(NamedTuple):
    """State of one group as reported by LVM."""

    is_partial: bool
    tags: tuple[str, ...]
    active: tuple[str, ...]
    inactive: tuple[str, ...]
    opened: tuple[str, ...]
    is_exported: bool = False

    @property
    def is_up(self) -> bool:
        """Return whether one of its volumes is active; True for a group without volumes."""
        return bool(self.active) or not self.inactive


def parse_report(text: str) -> VolumeGroup | None:
    """Parse the lines that ``vgs`` printed for one group, one per volume, separated by ``|``.

    Return None for an empty report.
    """
    rows = [
        [cell.strip() for cell in line.split("|")]
        for line in text.splitlines()
        if line.count("|") == 3
    ]
    if not rows:
        return None
    volumes = [(name, attributes) for _, _, name, attributes in rows if name]
    active = tuple(name for name, attributes in volumes if attributes[_ACTIVE : _ACTIVE + 1] == "a")
    skipped = {name for name, attributes in volumes if attributes[_SKIPPED : _SKIPPED + 1] == "k"}
    return VolumeGroup(
        is_partial=rows[0][0][_PARTIAL : _PARTIAL + 1] == "p",
        tags=tuple(tag for tag in rows[0][1].split(",") if tag),
        active=active,
        inactive=tuple(name for name, _ in volumes if name not in active and name not in skipped),
        opened=tuple(name for name, attributes in volumes if attributes[_OPEN : _OPEN + 1] == "o"),
        is_exported=rows[0][0][_EXPORTED : _EXPORTED + 1] == "x",
    )


def parse_reports(text: str) -> dict[str, VolumeGroup]:
    """Parse a report of all groups, whose lines begin with the name of the group."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, rest = line.partition("|")
        if separator:
            lines.setdefault(name.strip(), []).append(rest)
    found = {name: parse_report("\n".join(rows)) for name, rows in lines.items()}
    return {name: group for name, group in found.items() if group is not None}


def ask_lvm(name: str) -> tuple[VolumeGroup | None, str]:
    """Return the current state of one group; None and LVM's error text if it does not exist."""
    result = run_command(_vgs(_COLUMNS, name), _LOOK_TIMEOUT_S, QUIET, is_tied=False)
    group = parse_report(result.output) if result.exit_code == 0 else None
    return group, (result.output.strip().splitlines() or [result.verdict])[-1].strip()


def parse_physical_volumes(text: str) -> tuple[str, ...]:
    """Parse the devices that ``vgs`` printed, one a line; a missing one has a word for a name."""
    return tuple(line.strip() for line in text.splitlines() if line.strip().startswith("/"))


def parse_devices(text: str) -> dict[str, tuple[str, ...]]:
    """Parse a report of the devices of all groups, ``name|device`` on each line."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        name, _, device = line.partition("|")
        found[name.strip()] = found.get(name.strip(), ()) + parse_physical_volumes(device)
    return found


def ask_physical_volumes(name: str) -> tuple[str, ...]:
    """Return the devices of one group; empty if it does not exist."""
    result = run_command(_vgs("pv_name", name), _LOOK_TIMEOUT_S, QUIET, is_tied=False)
    return parse_physical_volumes(result.output) if result.exit_code == 0 else ()


class AllVolumeGroups:
    """All groups as of the first call; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Mapping[str, VolumeGroup] | None = None
        self._devices: Mapping[str, tuple[str, ...]] | None = None

    def group(self, name: str) -> VolumeGroup | None:
        """Return one group; None if it does not exist."""
        with self._lock:
            if self._known is None:
                # The exit code is not 0 if a single group cannot be read; the others are reported
                # all the same.
                result = run_command(
                    _vgs(f"vg_name,{_COLUMNS}"), _LOOK_TIMEOUT_S, QUIET, is_tied=False
                )
                self._known = parse_reports(result.output)
            return self._known.get(name)

    def devices(self, name: str) -> tuple[str, ...]:
        """Return the devices of one group; empty if it does not exist."""
        with self._lock:
            if self._devices is None:
                result = run_command(_vgs("vg_name,pv_name"), _LOOK_TIMEOUT_S, QUIET, is_tied=False)
                self._devices = parse_devices(result.output)
            return self._devices.get(name, ())


def _vgs(columns: str, *names: str) -> list[str]:
    return ["vgs", "--noheadings", "--separator", "|", "-o", columns, *names]
