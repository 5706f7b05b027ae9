"""Parse and format the key file: the current key, and during a rotation a second one.

::

    current  1a2b3c4d  <64 hexadecimal digits>
    next     99aabbcc  <64 hexadecimal digits>      or: previous ...

The id is derived from the secret, so a digit that was mistyped or lost is found here and not by the
peer. A rotation goes from ``current C, next N`` over ``current N, previous C`` to ``current N``.
"""

from __future__ import annotations

import re

from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import expect_columns, read_lines
from opensvc_openha.formats.frame_seal import SECRET_BYTES, Key
from opensvc_openha.records import dataclass

_ROLES = ("current", "next", "previous")
_NOT_TEXT = re.compile(r"[^\x20-\x7e\t\r\n]")
_SECRET = re.compile(rf"[0-9a-fA-F]{{{2 * SECRET_BYTES}}}\Z")
_HEADING = (
    "# Heartbeat key of this cluster: the same on both nodes, secret, mode 0600. See `openha key"
    " --help`.\n"
)


@dataclass(frozen=True)
class KeyRing:
    """The keys of one node: one to send with, and at most one more that is accepted."""

    current: Key
    next: Key | None = None
    previous: Key | None = None

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys that a beat may come with."""
        return tuple(key for key in (self.current, self.next, self.previous) if key is not None)

    @property
    def newest(self) -> Key:
        """The key to which a rotation leads."""
        return self.next or self.current

    def find(self, key_id: str) -> Key | None:
        """Return the key of that id; None if it is not here."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def merged_with(self, other: KeyRing) -> KeyRing:
        """Return this ring merged with another: beats under either current key are accepted.

        A ring that has our current key simply wins; otherwise its key becomes the next key and
        replaces none in use.
        """
        ours = {key.key_id for key in self.keys}
        if all(key.key_id in ours for key in other.keys):
            return self
        if other.find(self.current.key_id) is not None:
            return other
        return KeyRing(self.current, next=other.current)


def parse_keys(text: str, path: str) -> KeyRing:
    """Parse the keys of a file; raise ConfigError, which never shows a secret."""
    if _NOT_TEXT.search(text):
        raise ConfigError("not a key file: it is not plain text", path)
    found: dict[str, Key] = {}
    lines = list(read_lines(text, path))
    for line in lines:
        expect_columns(line, "role id secret", path)
        role, key_id, secret = line.columns
        if role not in _ROLES:
            raise ConfigError(
                f"expected one of {', '.join(_ROLES)} in the first column", path, line.number
            )
        if role in found:
            raise ConfigError(f"a second {role} key", path, line.number)
        if not _SECRET.match(secret):
            raise ConfigError(
                f"expected a secret of {2 * SECRET_BYTES} hexadecimal digits", path, line.number
            )
        key = Key(bytes.fromhex(secret))
        if key.key_id != key_id.lower():
            raise ConfigError(
                "secret and id do not belong together: a digit is wrong", path, line.number
            )
        if key in found.values():
            raise ConfigError(f"the {role} key is here twice", path, line.number)
        found[role] = key
    if "current" not in found:
        raise ConfigError("no current key (`openha key generate` makes one)", path)
    if len(found) == len(_ROLES):
        raise ConfigError(
            "a next and a previous key at the same time: a rotation has two keys",
            path,
            lines[-1].number,
        )
    return KeyRing(found["current"], found.get("next"), found.get("previous"))


def format_keys(ring: KeyRing) -> str:
    """Return the text of the file."""
    rows = [("current", ring.current), ("next", ring.next), ("previous", ring.previous)]
    return _HEADING + "".join(
        f"{role}\t{key.key_id}\t{key.secret.hex()}\n" for role, key in rows if key is not None
    )
