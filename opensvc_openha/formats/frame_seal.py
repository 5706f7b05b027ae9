"""What makes a heartbeat authentic: the cluster key, and the tag that a frame carries under it.

The tag is HMAC-SHA256 over the frame and over the link it is sent on, which is not in the frame: a
frame recorded on one link is no frame of another one. Two nodes name a link alike when their
monitor files do, whatever a device is called there.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from opensvc_openha.core.model import LinkSpec

SECRET_BYTES = 32
ID_BYTES = 4
TAG_BYTES = 32
CLUSTER_BYTES = 8

_CONTEXT = b"opensvc_openha heartbeat 1"
_BINDING_MAX = 255
"""Its length is one byte of what the tag is made of."""


@dataclass(frozen=True)
class Key:
    """One cluster key.

    Its id names it in frames, status and log, and tells nothing of the secret.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a key has {SECRET_BYTES} bytes; found {len(self.secret)}")

    @property
    def key_id(self) -> str:
        """Eight hexadecimal digits derived from the secret."""
        return hashlib.sha256(_CONTEXT + b" key id" + self.secret).hexdigest()[: 2 * ID_BYTES]


@dataclass(frozen=True)
class Seal:
    """What a sender needs to authenticate a frame: its key, the newest key it has, and the link."""

    key: Key
    newest_id: str
    binding: bytes


def link_binding(link: LinkSpec) -> bytes:
    """The link in a form that both its ends agree on.

    A host name that is too long for it is hashed.
    """
    name = link.shared_name.encode("ascii")
    return name if len(name) <= _BINDING_MAX else hashlib.sha256(name).digest()


def cluster_mark(name: str) -> bytes:
    """Eight bytes that stand for a cluster's name; none for no name."""
    return (
        hashlib.blake2b(name.encode("utf-8"), digest_size=CLUSTER_BYTES).digest() if name else b""
    )


def tag_of(key: Key, binding: bytes, data: bytes) -> bytes:
    """The tag of the bytes of a frame on a link."""
    return hmac.digest(key.secret, _CONTEXT + bytes([len(binding)]) + binding + data, "sha256")


def is_tag_right(key: Key, binding: bytes, data: bytes, tag: bytes) -> bool:
    """True if the tag is that of these bytes, found out in a time that tells nothing."""
    return hmac.compare_digest(tag_of(key, binding, data), tag)
