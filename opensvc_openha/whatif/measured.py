"""Read how long the scripts of services take: the one place that knows where from.

Starts and check-up scripts are those of the prediction in the status: their median in the daemon's
small file, and of a start that was never measured here that of the peer. What that file lacks is
looked for in the history.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from opensvc_openha.cli.history import newest_if_any
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.durations import ServiceTimes, read_durations
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.storage.history_file import read_words
from opensvc_openha.verify.rehearsal.present import MEASURED, Lasting

_KINDS = {kind.value: kind for kind in (ScriptKind.START, ScriptKind.STOP, ScriptKind.CHECK)}
_AS_ON_PEER = "start script, as on "
Measured = dict[tuple[str, ScriptKind], Lasting]


def measured_scripts(layout: Layout, status: NodeStatus) -> Measured:
    """Return how long scripts take, by service and kind."""
    found = of_peer(status)
    found |= newest_durations(_entries(layout))
    for service, times in read_durations(layout).items():
        found |= of_file(service, times)
    return found


def of_peer(status: NodeStatus) -> Measured:
    """Return the starts that the prediction of the status takes from the peer."""
    return {
        (svc.name, ScriptKind.START): Lasting(
            part.seconds, f"as measured on {part.text.removeprefix(_AS_ON_PEER)}"
        )
        for svc in status.services
        for part in svc.predicted_parts
        if part.text.startswith(_AS_ON_PEER)
    }


def of_file(service: str, times: ServiceTimes) -> Measured:
    """Return what the daemon keeps of one service."""
    kept = {ScriptKind.START: times.starts, ScriptKind.CHECK: times.checks}
    return {
        (service, kind): Lasting(median(seconds), MEASURED)
        for kind, seconds in kept.items()
        if seconds
    }


def _entries(layout: Layout) -> list[Entry]:
    """Return the ends of scripts, oldest first, as far as this user may know them."""
    try:
        return read_words(layout.history_dir, (EntryKind.SCRIPT,), tuple(_KINDS))
    except OpenhaError:
        return newest_if_any(layout)


def newest_durations(entries: Iterable[Entry]) -> Measured:
    """Return the newest duration of each script that succeeded; the entries are oldest first."""
    return {
        (entry.name, _KINDS[entry.old]): Lasting(entry.took_s, MEASURED)
        for entry in entries
        if entry.kind is EntryKind.SCRIPT
        and entry.old in _KINDS
        and entry.new == ScriptOutcome.OK.value
        and entry.took_s is not None
    }
