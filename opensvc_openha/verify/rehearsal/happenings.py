"""Read the words of what is to happen: `peer-dies`, `link eth1 down`, `service -A web freeze-stop`.

Several are joined by `then`, optionally with the seconds between them: `link eth1 down then 30
peer-dies`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.core.events import Command
from opensvc_openha.errors import UsageError
from opensvc_openha.formats.suggestion import did_you_mean

SWITCH = "switch"
"""An agent's order beside those of the daemon: the owner stops the service, the other one starts
it."""


class Happening(enum.Enum):
    """What is to happen; the values are the words of the operator."""

    DIES = "dies"
    BOOTS = "boots"
    REBOOTS = "reboots"
    DAEMON_DIES = "daemon-dies"
    DAEMON_STOPS = "daemon-stops"
    DAEMON_STARTS = "daemon-starts"
    DAEMON_RESTARTS = "daemon-restarts"
    LINK = "link"
    ALL_LINKS = "all-links"
    INTERFACE = "interface"
    DISK = "disk"
    UPLINK = "uplink"
    """The targets do not answer this node."""
    GATEWAY = "gateway"
    """They answer neither."""
    ORDER = "service"
    CONFIRM = "fence confirm"


@dataclass(frozen=True)
class Planned:
    """One thing that is to happen ``after_s`` seconds after the one before.

    ``name`` is the link, interface or service that it concerns; ``is_peer`` if it happens to the
    peer; ``is_back`` if it ends what went wrong before.
    """

    happening: Happening
    text: str
    after_s: float = 0.0
    is_peer: bool = False
    name: str = ""
    is_back: bool = False
    command: Command | None = None
    """None for an order means a switch."""


_OF_NODES = {
    **{
        f"{prefix}{what.value}": (what, is_peer)
        for prefix, is_peer in (("peer-", True), ("this-node-", False))
        for what in (Happening.DIES, Happening.BOOTS, Happening.REBOOTS)
    },
    **{
        f"{prefix}{what.value}": (what, is_peer)
        for prefix, is_peer in (("peer-", True), ("", False))
        for what in (
            Happening.DAEMON_DIES,
            Happening.DAEMON_STOPS,
            Happening.DAEMON_STARTS,
            Happening.DAEMON_RESTARTS,
        )
    },
}
_UP_DOWN = {"down": False, "up": True}
_WITHOUT_NAME = tuple(
    each.value for each in (Happening.ALL_LINKS, Happening.UPLINK, Happening.GATEWAY)
)
_HANGS = {"hangs": False, "answers": True}
ORDERS = (*(command.value for command in Command), SWITCH)
THEN = "then"
GAP_S = 30.0
"""Time between two events that none is given for."""

EVENTS = (
    *_OF_NODES,
    "link NAME down|up",
    "all-links down|up",
    "interface NAME down|up",
    "disk SERVICE hangs|answers",
    "uplink down|up",
    "gateway down|up",
    "service -A NAME ORDER",
    "fence confirm",
)
"""All of them, for help and for errors."""


def read_happenings(words: Sequence[str]) -> tuple[Planned, ...]:
    """Return what is to happen; raises UsageError for words that mean nothing."""
    # One event may be one word of the shell, as in "link eth1 down".
    words = [part for word in words for part in word.split()]
    planned, after_s, rest = [], 0.0, list(words)
    while True:
        end = rest.index(THEN) if THEN in rest else len(rest)
        planned.append(_read_one(rest[:end], after_s))
        if end == len(rest):
            return tuple(planned)
        rest = rest[end + 1 :]
        after_s = GAP_S
        if rest and _is_number(rest[0]):
            after_s = float(rest.pop(0))


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdigit()


def _read_one(words: list[str], after_s: float) -> Planned:
    text = " ".join(words)
    if not words:
        raise UsageError(f"an event is missing: expected one of {'; '.join(EVENTS)}")
    known = _OF_NODES.get("-".join(words))
    if known is not None:
        return Planned(known[0], text, after_s, is_peer=known[1])
    kind, *others = words
    if kind in _WITHOUT_NAME:
        return Planned(Happening(kind), text, after_s, is_back=_end(text, others, _UP_DOWN))
    if kind in (Happening.LINK.value, Happening.INTERFACE.value, Happening.DISK.value):
        ends = _HANGS if kind == Happening.DISK.value else _UP_DOWN
        is_back = _end(text, others[-1:], ends)
        name = " ".join(others[:-1])
        if not name:
            raise UsageError(f"{text!r}: the name is missing, as in `{kind} NAME {others[-1]}`")
        return Planned(Happening(kind), text, after_s, name=name, is_back=is_back)
    if words == Happening.CONFIRM.value.split():
        return Planned(Happening.CONFIRM, text, after_s)
    if kind == Happening.ORDER.value:
        return _order(text, [word for word in others if word != "-A"], after_s)
    raise UsageError(
        f"unknown event {text!r}{did_you_mean('-'.join(words), _OF_NODES)}: expected one of"
        f" {'; '.join(EVENTS)}"
    )


def _end(text: str, words: list[str], ends: dict[str, bool]) -> bool:
    if len(words) != 1 or words[0] not in ends:
        raise UsageError(f"{text!r}: expected {' or '.join(ends)} at the end")
    return ends[words[0]]


def _order(text: str, words: list[str], after_s: float) -> Planned:
    if len(words) != 2 or words[1] not in ORDERS:
        raise UsageError(
            f"{text!r}: expected `service -A NAME ORDER`, with one of {', '.join(ORDERS)}"
        )
    command = None if words[1] == SWITCH else Command(words[1])
    return Planned(Happening.ORDER, text, after_s, name=words[0], command=command)
