"""Keep what the last check of this node found: written by the check, read by the node daemon."""

from __future__ import annotations

import json

from opensvc_openha.core.outlook import Finding
from opensvc_openha.formats.findings import finding_to_json, findings_from_json
from opensvc_openha.formats.layout import Layout
from opensvc_openha.records import dataclass
from opensvc_openha.storage.proc_files import write_proc_file

_VERSION = 1
_FILE_BYTES = 16_000_000
_MODE = 0o640


@dataclass(frozen=True)
class NodeOutlook:
    """The findings of one check, and the services that it was about; ``at`` is wall-clock time.

    ``peer_starts`` are how long the other node's starts of each service took.
    """

    at: float
    services: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    peer_starts: tuple[tuple[str, tuple[float, ...]], ...] = ()


def write_outlook(layout: Layout, outlook: NodeOutlook) -> None:
    """Replace the file. Raises SystemFault."""
    found = {
        "version": _VERSION,
        "at": outlook.at,
        "services": list(outlook.services),
        "findings": [finding_to_json(each) for each in outlook.findings],
        "peer_starts": {name: list(starts) for name, starts in outlook.peer_starts},
    }
    write_proc_file(layout, layout.outlook_file, json.dumps(found).encode("ascii"), _MODE)


def read_outlook(layout: Layout) -> NodeOutlook | None:
    """Return what the file has; None if there is none of this version, or it is damaged."""
    try:
        with open(layout.outlook_file, encoding="ascii") as file:
            found = json.loads(file.read(_FILE_BYTES))
        if found["version"] != _VERSION:
            return None
        return NodeOutlook(
            float(found["at"]),
            tuple(map(str, found["services"])),
            findings_from_json(found["findings"]),
            tuple(
                (str(name), tuple(map(float, starts)))
                for name, starts in found.get("peer_starts", {}).items()
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
