"""Authenticate heartbeats: the cluster key, and the tag of a frame under it.

The tag is HMAC-SHA256 over the frame and over the link it is sent on, which is not in the frame: a
frame recorded on one link is invalid on another one. Two nodes identify a link alike if their
monitor files do, whatever a device is called there.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import field
from functools import cached_property

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.records import dataclass

SECRET_BYTES = 32
ID_BYTES = 4
TAG_BYTES = 32
CLUSTER_BYTES = 8

_CONTEXT = b"opensvc_openha heartbeat 1"
_BINDING_MAX = 255
"""Its length is one byte of the tag's input."""


@dataclass(frozen=True)
class Key:
    """One cluster key.

    Its id identifies it in frames, status and log, and reveals nothing of the secret.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a key has {SECRET_BYTES} bytes; found {len(self.secret)}")

    @cached_property
    def key_id(self) -> str:
        """Eight hexadecimal digits derived from the secret."""
        return hashlib.sha256(_CONTEXT + b" key id" + self.secret).hexdigest()[: 2 * ID_BYTES]


@dataclass(frozen=True)
class Seal:
    """Input for authenticating a frame: the sender's key, the newest key it has, and the link."""

    key: Key
    newest_id: str
    binding: bytes


def link_binding(link: LinkSpec) -> bytes:
    """Return the link in a form that is equal at both its ends; a long host name is hashed."""
    name = link.shared_name.encode("ascii")
    return name if len(name) <= _BINDING_MAX else hashlib.sha256(name).digest()


def cluster_mark(name: str) -> bytes:
    """Return eight bytes that identify a cluster's name; none for no name."""
    return (
        hashlib.blake2b(name.encode("utf-8"), digest_size=CLUSTER_BYTES).digest() if name else b""
    )


def tag_of(key: Key, binding: bytes, data: bytes) -> bytes:
    """Return the tag of a frame's bytes on a link."""
    return hmac.digest(key.secret, _CONTEXT + bytes([len(binding)]) + binding + data, "sha256")


def is_tag_right(key: Key, binding: bytes, data: bytes, tag: bytes) -> bool:
    """Return True if the tag matches these bytes, compared in constant time."""
    return hmac.compare_digest(tag_of(key, binding, data), tag)
