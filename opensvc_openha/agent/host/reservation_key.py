"""The key of this node for reservations, as OpenSVC agents keep it: ``prkey`` in node.conf.

Where there is none, they make it of the MAC address: its decimal digits behind ``0x``. It is
written down at the first start of a service that needs it: the address may change, the key must
not.
"""

from __future__ import annotations

import os
import re

from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.reservation_key import KEY_PROBLEM, parse_key
from opensvc_openha.system.atomic_files import write_atomically

_SECTION = re.compile(r"^[ \t]*\[[ \t]*node[ \t]*\][ \t]*$", re.MULTILINE)
_ANY_SECTION = re.compile(r"^[ \t]*\[", re.MULTILINE)
_KEY_LINE = re.compile(r"^[ \t]*prkey[ \t]*[=:][ \t]*(\S*)[ \t]*$", re.MULTILINE)
_LOCAL_BIT = 1 << 40
"""Set in a random address, which is used where there is no real one."""


def node_conf(etc_dir: str) -> str:
    """Return the path of the agents' node.conf."""
    return os.path.join(etc_dir, "node.conf")


def read_node_key(etc_dir: str) -> int | None:
    """Return the key in node.conf; None if there is none. ConfigError for one that is no key."""
    path = node_conf(etc_dir)
    text = _read(path)
    match = _KEY_LINE.search(_node_section(text))
    if match is None or not match.group(1):
        return None
    try:
        return parse_key(match.group(1))
    except ValueError:
        # The agents' own message, which their documentation has.
        raise ConfigError(f"prkey in node.conf {KEY_PROBLEM}", path) from None


def key_of_machine() -> int:
    """Return the key that agents make of the MAC address; SystemFault if there is no address."""
    import uuid  # Only needed where no key is written down yet.

    address = uuid.getnode()
    if address & _LOCAL_BIT:
        raise SystemFault("this node has no MAC address to make a prkey of: set it in node.conf")
    return parse_key(f"0x{address}")


def write_node_key(etc_dir: str, key_words: str) -> None:
    """Add the key to the section [node] of node.conf; SystemFault."""
    path = node_conf(etc_dir)
    text = _read(path)
    match = _SECTION.search(text)
    line = f"prkey = {key_words}\n"
    if match is None:
        separator = "" if not text or text.endswith("\n") else "\n"
        changed = f"{text}{separator}[node]\n{line}"
    else:
        changed = f"{text[: match.end()]}\n{line}{text[match.end() :].lstrip(chr(10))}"
    write_atomically(path, changed.encode())


def _node_section(text: str) -> str:
    match = _SECTION.search(text)
    if match is None:
        return ""
    rest = text[match.end() :]
    end = _ANY_SECTION.search(rest)
    return rest[: end.start()] if end else rest


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1_000_000)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SystemFault(f"{path}: {error.strerror}") from None
