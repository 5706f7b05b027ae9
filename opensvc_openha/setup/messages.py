"""What both nodes tell each other while a cluster is set up, as JSON objects and back; pure.

::

    joining node                         waiting node
      Facts           ---->
                      <----  Trial        links to try, and the marks by which they are known
      Tried           ---->               which of them this node heard
                      <----  Proposal     the files
      Agreed          ---->
                      <----  Keys         the key, only now
      Written         ---->
                      <----  Go           written here as well
      Report          <--->  Report       links that are up

Either may say Problem in place of any of them, which ends the attempt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from opensvc_openha.errors import PeerError
from opensvc_openha.setup.networks import Address

VERSION = 1
"""Of this conversation; both nodes must have the same."""

_TEXT_MAX = 100_000
_ITEMS_MAX = 1_000
Message = TypeVar("Message")


@dataclass(frozen=True)
class Facts:
    """What the joining node is and has. ``way`` is the address to which it connected."""

    conversation: int
    version: str
    node: str
    way: str
    wall_s: float
    addresses: tuple[Address, ...]
    key_ids: tuple[str, ...]
    is_key_used: bool
    is_configured: bool
    is_running: bool
    is_dry_run: bool
    agent: str
    conf_dir: str


@dataclass(frozen=True)
class Trial:
    """Links to try, as a monitor file, and what each node sends on them."""

    nodes: str
    monitor: str
    own_mark: str
    peer_mark: str


@dataclass(frozen=True)
class Tried:
    """Links on which the joining node heard the other one, and what is wrong with its ends."""

    heard: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    """The files, empty for one that is not written, and what the operator should know."""

    nodes: str
    monitor: str
    options: str
    secret_files: tuple[str, ...]
    remarks: tuple[str, ...]
    is_private: bool = False
    """openha.conf is for root only where it came from: it may hold passwords."""


@dataclass(frozen=True)
class Agreed:
    """The joining node would write that."""

    is_nothing_to_do: bool


@dataclass(frozen=True)
class Keys:
    """The key file, and files with passwords of fencing devices, by path."""

    key: str = field(repr=False)
    files: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Written:
    """All is written on the joining node."""


@dataclass(frozen=True)
class Go:
    """All is written on both: start."""


@dataclass(frozen=True)
class Report:
    """What became of a node: links that are up and down there, and what is wrong."""

    up: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Problem:
    """The attempt ends here, and why, in words for the operator of the other node."""

    text: str


def to_message(value: Any) -> dict[str, Any]:
    """Return a value of one of these classes as a JSON object."""
    return {"kind": type(value).__name__, **dataclasses.asdict(value)}


def from_message(message: Mapping[str, Any] | None, wanted: type[Message]) -> Message | Problem:
    """Return the value in a message; raise PeerError for any other, or for none."""
    if message is None:
        raise PeerError("the other node ended the conversation")
    kind = message.get("kind")
    if kind == Problem.__name__:
        return _read(message, Problem)
    if kind != wanted.__name__:
        raise PeerError(
            f"the other node said {str(kind)[:40]!r} where {wanted.__name__} was expected"
        )
    return _read(message, wanted)


def _read(message: Mapping[str, Any], wanted: type[Message]) -> Message:
    hints = get_type_hints(wanted)
    try:
        return wanted(**{name: _value(message[name], hint) for name, hint in hints.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise PeerError(
            f"the other node sent a {wanted.__name__} that cannot be used ({type(error).__name__})"
        ) from None


def _value(value: Any, hint: Any) -> Any:
    """Return a value of the type; raise ValueError for one of another type."""
    if hint is float and type(value) is int:
        return float(value)
    if hint in (str, bool, int, float):
        if type(value) is not hint or (hint is str and len(value) > _TEXT_MAX):
            raise ValueError
        return value
    if hint == tuple[str, ...]:
        return tuple(_value(each, str) for each in _items(value, list))
    if hint == tuple[Address, ...]:
        return tuple(_address(each) for each in _items(value, list))
    if hint == dict[str, str]:
        items = _items(value, dict)
        return {_value(name, str): _value(text, str) for name, text in items.items()}
    raise TypeError(hint)


def _items(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind or len(value) > _ITEMS_MAX:
        raise ValueError
    return value


def _address(value: Any) -> Address:
    found = _read(_items(value, dict), Address)
    _ = found.network  # ValueError for what is no address.
    return found
