"""Define what a check finds: would each service start on a node, if it had to now?"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from opensvc_openha.records import dataclass


class Severity(enum.Enum):
    """How much a finding weighs; the values are printed, and in JSON."""

    OK = "ok"
    WARNING = "warning"
    """A takeover succeeds in spite of it, or it is not certain that it would."""
    ERROR = "error"
    """Something does not work, or would not in a takeover."""
    UNKNOWN = "unknown"
    """It could not be looked at; for exit codes a warning."""


class Ready(enum.Enum):
    """Whether a service could start on a node now; the values are in JSON."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    NOT_CHECKED = ""


_RANK = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.OK)


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    ``node`` and ``service`` are empty for what concerns the cluster, or no service in particular.
    ``check`` is the fixed word of the check, as docs/check.md lists them, ``fix`` what to do.
    """

    severity: Severity
    node: str
    service: str
    check: str
    text: str
    fix: str = ""
    stops_start: bool = False
    """A start of the service here would fail for it."""

    @property
    def sentence(self) -> str:
        """The text, with what to do about it."""
        return f"{self.text}: {self.fix}" if self.fix else self.text

    @property
    def is_problem(self) -> bool:
        """False for what is in order."""
        return self.severity is not Severity.OK


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings once each, the heaviest first, otherwise in their order."""
    return sorted(dict.fromkeys(found), key=lambda each: _RANK.index(each.severity))


@dataclass(frozen=True)
class Outlook:
    """Whether one service could start on this node, as it was last checked.

    ``text`` is why it could not start, or why that is not known; of a ready one what may well be
    looked at, empty for nothing. ``is_sure``: a start would fail, whatever is done before it.
    """

    ready: Ready
    text: str = ""
    is_sure: bool = False


def outlook_of(service: str, found: Iterable[Finding]) -> Outlook:
    """Return the outlook of a service by what was found on its node."""
    own = [
        each
        for each in found
        if each.service == service or (not each.service and each.check in _OF_ALL)
    ]
    for severity, ready in _MEANING.items():
        problems = [each for each in own if each.severity is severity]
        if problems:
            more = f" (and {len(problems) - 1} more: openha check)" if problems[1:] else ""
            is_sure = any(each.stops_start for each in problems)
            first = next((each for each in problems if each.stops_start), problems[0])
            return Outlook(ready, f"{first.sentence}{more}", is_sure)
    return Outlook(Ready.YES)


_OF_ALL = frozenset({"room", "proof"})
"""Checks of a node that concern each of its services."""
_MEANING = {
    Severity.ERROR: Ready.NO,
    Severity.UNKNOWN: Ready.UNKNOWN,
    Severity.WARNING: Ready.YES,
}
