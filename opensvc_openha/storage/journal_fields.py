"""The fields of a change in systemd's journal: what it is about, and its MESSAGE_ID.

MESSAGE_ID        of an event that somebody has to know at once, for the catalog
OPENHA_EVENT      its word, as in notify.d; OPENHA_IS_OVER is 1 if that has ended
OPENHA_SERVICE, OPENHA_LINK, OPENHA_PEER     what it is about
OPENHA_OLD, OPENHA_NEW, OPENHA_REASON, OPENHA_RULE     as in the history
"""

from __future__ import annotations

from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.storage.alerts import AlertStream
from opensvc_openha.storage.history_entry import Entry, EntryKind

_SUBJECTS = {
    EntryKind.SERVICE: "OPENHA_SERVICE",
    EntryKind.SCRIPT: "OPENHA_SERVICE",
    EntryKind.MONITOR: "OPENHA_SERVICE",
    EntryKind.READINESS: "OPENHA_SERVICE",
    EntryKind.LINK: "OPENHA_LINK",
    EntryKind.PEER: "OPENHA_PEER",
}


class JournalFields:
    """Makes the fields of one change after the other; for one thread."""

    def __init__(self) -> None:
        self._stream = AlertStream()

    def of(self, entry: Entry) -> dict[str, str]:
        """Return the fields of the line that is logged for an entry."""
        found = {
            "OPENHA_KIND": entry.kind.value,
            "OPENHA_OLD": entry.old,
            "OPENHA_NEW": entry.new,
            "OPENHA_REASON": entry.reason,
            "OPENHA_RULE": entry.rule,
        }
        subject = _SUBJECTS.get(entry.kind)
        if subject is not None:
            found[subject] = entry.name
        # What begins weighs more than what ends, and a takeover more than both.
        alerts = sorted(
            self._stream.take(entry), key=lambda alert: (alert.is_over, alert.kind.has_end)
        )
        if alerts:
            found |= event_fields(alerts[0].kind, alerts[0].is_over)
        return {name: value for name, value in found.items() if value}


def event_fields(kind: AlertKind, is_over: bool = False) -> dict[str, str]:
    """Return the fields of an event."""
    return {
        "MESSAGE_ID": kind.message_id(is_over),
        "OPENHA_EVENT": kind.value,
        "OPENHA_IS_OVER": str(int(is_over)),
    }


def path_fields(path: str, problem: str) -> dict[str, str]:
    """Return the fields of a path of the fence plan that is broken, or in order again."""
    return {
        **event_fields(AlertKind.FENCE_PATH_BROKEN, not problem),
        "OPENHA_FENCE_PATH": path,
        "OPENHA_REASON": problem or "in order again",
    }
