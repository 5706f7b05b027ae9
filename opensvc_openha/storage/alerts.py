"""Select what of the history somebody has to know at once, and what each entry begins or ends.

Pure. An entry may end what an earlier one began: a link that is up again, a service that runs after
a failed start. ``AlertStream`` keeps what is open, so that nothing ends that never began, and what
is open already does not begin again.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.connectivity import ISOLATED
from opensvc_openha.core.states import PEER_OUT, UP, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.records import dataclass
from opensvc_openha.storage.fence_history import FENCE_PATH
from opensvc_openha.storage.history_entry import Entry, EntryKind

_UP = frozenset(state.name for state in UP)
_AT_REST = frozenset(state.name for state in UP | PEER_OUT)
_DUAL_RUN = "DUAL RUN"
_OPEN_MAX = 10_000


_OVER_AT_RESTART = frozenset(
    {
        AlertKind.DUAL_RUN,
        AlertKind.STANDBY_NOT_READY,
        AlertKind.FENCE_PATH_BROKEN,
        AlertKind.ISOLATED,
    }
)
"""A new daemon finds these again if they are still so, and does not record that they are not."""


@dataclass(frozen=True)
class Alert:
    """One thing to notify of: what, of what, and whether it is over now.

    ``service`` is empty for what concerns no single one; ``text`` is one line.
    """

    kind: AlertKind
    subject: str
    is_over: bool
    text: str
    entry: Entry
    service: str = ""

    @property
    def key(self) -> tuple[AlertKind, str]:
        """What its beginning and its end have in common."""
        return self.kind, self.subject


def alerts_in(entry: Entry) -> list[Alert]:
    """Return what an entry begins or ends, whether or not it was open."""
    match entry.kind:
        case EntryKind.SERVICE:
            found = _of_service(entry)
        case EntryKind.LINK if entry.new in ("UP", "DOWN"):
            # A peer that said goodbye takes its links down in order.
            is_over = entry.new == "UP"
            text = "up again" if is_over else f"down: {entry.reason}"
            is_news = is_over or entry.is_alarm
            found = [_alert(AlertKind.LINK_DOWN, entry, is_over, text)] if is_news else []
        case EntryKind.PEER if entry.new in (_SILENT, _LIVE):
            is_over = entry.new == _LIVE
            text = "heard again" if is_over else f"silent: {entry.reason}"
            found = [_alert(AlertKind.PEER_SILENT, entry, is_over, text)]
        case EntryKind.READINESS:
            is_over = not entry.is_alarm
            text = "could start here again" if is_over else f"could not start here: {entry.reason}"
            found = [_alert(AlertKind.STANDBY_NOT_READY, entry, is_over, text, entry.name)]
        case EntryKind.NODE if entry.new == FENCE_PATH:
            path, _, text = entry.reason.partition(": ")
            found = [
                Alert(
                    AlertKind.FENCE_PATH_BROKEN,
                    path,
                    not entry.is_alarm,
                    f"fence path {path}: {text}",
                    entry,
                )
            ]
        case EntryKind.NODE if ISOLATED in (entry.old, entry.new):
            is_over = entry.new != ISOLATED
            text = f"{'not isolated any more' if is_over else 'isolated'}: {entry.reason}"
            found = [_alert(AlertKind.ISOLATED, entry, is_over, text)]
        case EntryKind.DAEMON if entry.new == "STARTED":
            found = [_alert(AlertKind.DAEMON_RESTARTED, entry, False, entry.reason)]
        case _:
            found = []
    # The state that a failed script leads to is recorded next, and has its own words.
    if not found and entry.is_alarm and entry.kind is not EntryKind.SCRIPT:
        service = entry.name if entry.kind in _OF_SERVICES else ""
        what = f"{entry.new}: {entry.reason}" if entry.reason else entry.new
        return [_alert(AlertKind.ALARM, entry, False, what, service)]
    return found


_SILENT, _LIVE = PeerStanding.SILENT.word, PeerStanding.LIVE.word
_OF_SERVICES = (EntryKind.SERVICE, EntryKind.MONITOR, EntryKind.COMMAND)
_BESIDE_NOBODY = (PeerStanding.SILENT, PeerStanding.DEPARTED)


def _of_service(entry: Entry) -> list[Alert]:
    old, new = entry.old, entry.new
    found = []

    def add(kind: AlertKind, is_over: bool, text: str) -> None:
        found.append(_alert(kind, entry, is_over, text, entry.name))

    if new == _DUAL_RUN:
        add(AlertKind.DUAL_RUN, False, entry.reason)
    elif old == _DUAL_RUN:
        add(AlertKind.DUAL_RUN, True, entry.reason)
    elif new == ServiceState.START_FAILED.name and old != new:
        add(AlertKind.START_FAILED, False, f"not started: {entry.reason}")
    elif new == ServiceState.STOP_FAILED.name and old != new:
        add(AlertKind.STOP_FAILED, False, f"not stopped: {entry.reason}")
    elif new in _AT_REST or new == "REMOVED":
        for kind in (AlertKind.START_FAILED, AlertKind.STOP_FAILED):
            add(kind, True, f"{new}: {entry.reason}")
    is_taken = (
        old == ServiceState.STARTING.name
        and new in _UP
        and entry.sight is not None
        and entry.sight.standing in _BESIDE_NOBODY
    )
    if is_taken:
        assert entry.sight is not None
        text = f"taken over, {new} here: the peer is {entry.sight.standing.value}; {entry.reason}"
        add(AlertKind.TAKEOVER, False, text)
    return found


def _alert(kind: AlertKind, entry: Entry, is_over: bool, text: str, service: str = "") -> Alert:
    words = [word for word in (entry.kind.value, entry.name) if word]
    if entry.kind is EntryKind.READINESS:
        words[0] = EntryKind.SERVICE.value
    subject = entry.name or entry.kind.value
    if kind is AlertKind.ALARM:
        subject = " ".join([*words, entry.new])
    return Alert(kind, subject, is_over, f"{' '.join(words)}: {text}", entry, service)


class AlertStream:
    """The alerts of a history, entry by entry; knows what is open."""

    def __init__(self) -> None:
        self._open: dict[tuple[AlertKind, str], Alert] = {}

    def take(self, entry: Entry) -> list[Alert]:
        """Return the alerts of the next entry: beginnings that are new, ends of what was open."""
        found = []
        is_start = entry.kind is EntryKind.DAEMON and entry.new == "STARTED"
        if is_start:
            text = "the daemon was started again, and looks again"
            found += [
                Alert(kind, subject, True, f"{subject}: {text}", entry, alert.service)
                for (kind, subject), alert in self._open.items()
                if kind in _OVER_AT_RESTART
            ]
        found += alerts_in(entry)
        return [alert for alert in found if self._is_news(alert)]

    def _is_news(self, alert: Alert) -> bool:
        if not alert.kind.has_end:
            return True
        if alert.is_over:
            return self._open.pop(alert.key, None) is not None
        is_new = alert.key not in self._open
        if is_new and len(self._open) < _OPEN_MAX:
            self._open[alert.key] = alert
        return is_new

    @property
    def open(self) -> Iterable[Alert]:
        """What lasts at present."""
        return list(self._open.values())
