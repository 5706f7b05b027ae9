"""Describe one entry of the history, and convert it to and from the values of its line and of JSON.

What is usual is left out of a line, and what the entries of one step share is in one of them only.
Texts are one line each, of limited length. Which line is written where: ``history_file``.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Sequence
from dataclasses import fields

from opensvc_openha.core.beat import BootId, Causality
from opensvc_openha.core.status import LinkSight, PeerStanding, Sight
from opensvc_openha.formats.one_line import one_line
from opensvc_openha.hints import Any
from opensvc_openha.records import dataclass

_TEXT_MAX = 500


class EntryKind(enum.Enum):
    """Subject of an entry. The first five are those of a record."""

    SERVICE = "service"
    LINK = "link"
    PEER = "peer"
    NODE = "node"
    READINESS = "readiness"
    """Whether a service could start on this node: ``new`` is ready, or not ready."""
    SCRIPT = "script"
    """``old`` is the kind of script, ``new`` its outcome."""
    COMMAND = "command"
    """``new`` is the command; ``name`` is empty if it was for all services."""
    DAEMON = "daemon"
    MONITOR = "monitor"
    """A failed resource of a service that runs here, and the reaction to it."""


@dataclass(frozen=True)
class Entry:
    """One entry; ``at`` is wall-clock time, for display.

    ``mono`` is only comparable within one boot of the ``machine``.
    """

    at: float
    mono: float
    kind: EntryKind
    name: str
    old: str
    new: str
    reason: str
    rule: str = ""
    is_alarm: bool = False
    took_s: float | None = None
    sight: Sight | None = None
    machine: str = ""
    number: int = 0
    """Counts all entries; 0 before it is written."""
    cause: Causality | None = None
    """What was sent and heard by then; None where that is not known."""

    def seconds_after(self, earlier: Entry) -> float:
        """Return the seconds between two entries.

        Exact within one boot of the machine; across a reboot as the wall clocks were.
        """
        if self.machine == earlier.machine:
            return self.mono - earlier.mono
        return self.at - earlier.at


KINDS_OF_SERVICE = ("service", "script", "command", "monitor", "readiness")
KINDS_OF_NODE = ("link", "peer", "node", "daemon")


def key_of(entry: Entry) -> tuple[object, ...]:
    """Return what distinguishes an entry, in the daemon and in the file, from all others."""
    # Not the reason: users who may not read the file get it without the output of scripts. The
    # file has texts cut and escaped, which makes them longer than the limit again.
    texts = (one_line(text)[:_TEXT_MAX] for text in (entry.name, entry.old, entry.new))
    return entry.mono, entry.kind, *texts


def is_of(entry: Entry, service: str, since: float, is_with_node: bool) -> bool:
    """Return True if an entry is of a service and not older than ``since``, in wall-clock seconds.

    Without a service that is every entry; optionally those of the node belong to each service.
    """
    is_own = entry.kind.value in KINDS_OF_SERVICE and entry.name in (service, "")
    return entry.at >= since and (
        not service or is_own or (is_with_node and entry.kind.value in KINDS_OF_NODE)
    )


def unwritten(written: Sequence[Entry], newest: Sequence[Entry]) -> list[Entry]:
    """Return those of a daemon's ``newest`` entries that come after the ``written`` ones.

    Both are of the same selection, oldest first, and may have been read in any order.
    """
    known = {key_of(entry) for entry in written}
    behind = len(newest)
    while behind and key_of(newest[behind - 1]) not in known:
        behind -= 1
    return [
        entry for entry in newest[behind:] if not written or entry.seconds_after(written[-1]) >= 0
    ]


def line_values(entry: Entry, number: int) -> dict[str, Any]:
    """Return what an entry has by itself; what is usual is left out.

    The order of the first four is part of the format: readers look for them as text.
    """
    name, old, new, reason, rule = (
        one_line(text[:_TEXT_MAX])
        for text in (entry.name, entry.old, entry.new, entry.reason, entry.rule)
    )
    values: dict[str, Any] = {
        "id": number,
        "at": entry.at,
        "kind": entry.kind.value,
        "name": name,
        "old": old,
        "new": new,
        "reason": reason,
        "mono": entry.mono,
    }
    if rule:
        values["rule"] = rule
    if entry.is_alarm:
        values["alarm"] = True
    if entry.took_s is not None:
        values["took_s"] = entry.took_s
    return values


def circumstance_values(entry: Entry, machine: str) -> dict[str, Any]:
    """Return what an entry shares with the others of its step: they refer to it by ``as``."""
    values: dict[str, Any] = {}
    if machine:
        values["machine"] = machine
    if entry.sight is not None:
        values["sight"] = _sight_values(entry.sight)
    if entry.cause is not None:
        values["cause"] = _dump_cause(entry.cause)
    return values


def entry_of_line(values: dict[str, Any], machine: str) -> Entry:
    """Return the entry of a line of a file that a boot has begun.

    Raises ValueError, KeyError or TypeError for what this version has not written.
    """
    number, took_s = values["id"], values.get("took_s")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"an entry has the number {number!r:.40}")
    if not isinstance(values.get("as", 1), int):
        raise ValueError("an entry refers to no number")
    shared = {"machine": machine, **load_circumstances(values)}
    return Entry(
        at=finite_number(values["at"]),
        mono=finite_number(values["mono"]),
        kind=EntryKind(values["kind"]),
        name=str(values["name"]),
        old=str(values["old"]),
        new=str(values["new"]),
        reason=str(values["reason"]),
        rule=str(values.get("rule", "")),
        is_alarm=bool(values.get("alarm", False)),
        took_s=None if took_s is None else finite_number(took_s),
        number=number,
        **shared,
    )


def load_circumstances(values: dict[str, Any]) -> dict[str, Any]:
    """Return those circumstances that a line has itself."""
    shared: dict[str, Any] = {}
    if "machine" in values:
        shared["machine"] = str(values["machine"])
    if "sight" in values:
        shared["sight"] = _sight_of(values["sight"])
    if "cause" in values:
        shared["cause"] = load_cause(values["cause"])
    return shared


def _dump_cause(cause: Causality) -> tuple[str, int, str | None, int]:
    heard_of = None if cause.heard_of is None else cause.heard_of.text
    return cause.own.text, cause.sent, heard_of, cause.heard


def load_cause(values: Sequence[object]) -> Causality:
    """Return a cause from its four values; raises ValueError."""
    own, sent, heard_of, heard = values
    if not isinstance(sent, int) or not isinstance(heard, int):
        raise ValueError("a cause has no numbers")
    return Causality(
        _load_boot(own), sent, None if heard_of is None else _load_boot(heard_of), heard
    )


def _load_boot(text: object) -> BootId:
    counter, _, nonce = str(text).partition(".")
    return BootId(int(counter), int(nonce, 16))


def finite_number(value: object) -> float:
    """Return a number that is one. Raises ValueError or OverflowError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {value!r:.40}")
    return float(value)


def _sight_values(sight: Sight) -> dict[str, Any]:
    return {
        "at": sight.at,
        "standing": sight.standing.value,
        "late_s": round(sight.late_s, 3),
        "stall_limit_s": sight.stall_limit_s,
        "links": [
            [
                link.link_id,
                link.is_up,
                None if link.silence_s is None else round(link.silence_s, 3),
                link.timeout_s,
                *([True] if link.is_mute else []),
            ]
            for link in sight.links
        ],
    }


def _dump_sight(sight: Sight) -> str:
    return json.dumps(_sight_values(sight), separators=(",", ":"))


def load_sight(text: str) -> Sight:
    """Return what was seen, from its text; raises ValueError."""
    return _sight_of(json.loads(text))


def _sight_of(data: object) -> Sight:
    if not isinstance(data, dict) or not isinstance(data.get("links"), list):
        raise ValueError("what was seen at an entry is no object with links")
    limit_s = data.get("stall_limit_s")
    return Sight(
        finite_number(data.get("at")),
        tuple(_load_link(link) for link in data["links"]),
        PeerStanding(data.get("standing")),
        finite_number(data.get("late_s")),
        None if limit_s is None else finite_number(limit_s),
    )


def _load_link(value: object) -> LinkSight:
    if not isinstance(value, list) or len(value) not in (4, 5) or not isinstance(value[0], str):
        raise ValueError("what was seen of a link is no list of its values")
    silence_s = None if value[2] is None else finite_number(value[2])
    return LinkSight(
        value[0],
        bool(value[1]),
        silence_s,
        finite_number(value[3]),
        *(bool(flag) for flag in value[4:]),
    )


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain values."""
    return {
        **vars(entry),
        "kind": entry.kind.value,
        "sight": None if entry.sight is None else _dump_sight(entry.sight),
        "cause": None if entry.cause is None else _dump_cause(entry.cause),
    }


def entry_from_json(data: dict[str, Any]) -> Entry:
    """Return the entry of these values.

    Raises KeyError, TypeError or ValueError if they are none.
    """
    seen, cause = data["sight"], data.get("cause")
    known = {field.name for field in fields(Entry)}
    return Entry(
        **{
            **{key: value for key, value in data.items() if key in known},
            "kind": EntryKind(data["kind"]),
            "sight": None if seen is None else load_sight(str(seen)),
            "cause": None if cause is None else load_cause(cause),
        }
    )
