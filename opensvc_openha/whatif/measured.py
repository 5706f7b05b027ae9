"""Read how long the scripts of services took on this node: the one place that knows where from."""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.control import client
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.history_file import Entry, EntryKind, read_words

_KINDS = {kind.value: kind for kind in (ScriptKind.START, ScriptKind.STOP, ScriptKind.CHECK)}


def measured_scripts(layout: Layout) -> dict[tuple[str, ScriptKind], float]:
    """Return the newest duration of each script that succeeded, by service and kind."""
    try:
        entries = read_words(layout.history_file, (EntryKind.SCRIPT,), tuple(_KINDS))
    except OpenhaError:
        entries = _of_daemon(layout)
    return newest_durations(entries)


def _of_daemon(layout: Layout) -> list[Entry]:
    """Return what the daemon gives to users who may not read the history; nothing without one."""
    try:
        return client.fetch_history(layout)
    except OpenhaError:
        return []


def newest_durations(entries: Iterable[Entry]) -> dict[tuple[str, ScriptKind], float]:
    """Return the newest duration of each script that succeeded; the entries are oldest first."""
    return {
        (entry.name, _KINDS[entry.old]): entry.took_s
        for entry in entries
        if entry.kind is EntryKind.SCRIPT
        and entry.old in _KINDS
        and entry.new == ScriptOutcome.OK.value
        and entry.took_s is not None
    }
