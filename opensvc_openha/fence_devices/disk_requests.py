"""Read what a request of the daemon says of disks, and of what else a word or a list is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opensvc_openha.errors import UsageError
from opensvc_openha.fence_devices.block_devices import DiskAddress
from opensvc_openha.formats.reservation_key import parse_key


def disks_in(request: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """Return the disks of a request, one at least; UsageError."""
    disks = request.get("disks")
    if not isinstance(disks, list) or not disks:
        raise UsageError("disks: expected the disks, with their paths and the key")
    if not all(isinstance(disk, Mapping) for disk in disks):
        raise UsageError("disks: expected objects")
    return disks


def address_of(disk: Mapping[str, object]) -> DiskAddress:
    """Return the names and paths of a disk; UsageError."""
    paths = tuple(texts_in(disk, "paths"))
    if not paths:
        raise UsageError("paths: expected one path to the disk at least")
    return DiskAddress(text_in(disk, "name"), paths)


def key_of(disk: Mapping[str, object]) -> int:
    """Return this node's key on a disk; UsageError."""
    try:
        return parse_key(text_in(disk, "key"))
    except ValueError as error:
        raise UsageError(f"key {error}") from None


def generation_of(given: Mapping[str, object]) -> int | None:
    """Return the counter of changes at the last look; None if there was none. UsageError."""
    generation = given.get("generation")
    if generation is not None and not isinstance(generation, int):
        raise UsageError(f"generation: expected a number; found {generation!r}")
    return generation


def text_in(given: Mapping[str, object], name: str) -> str:
    """Return a word that must be there; UsageError."""
    text = given.get(name)
    if not isinstance(text, str) or not text:
        raise UsageError(f"{name}: expected a word; found {text!r}")
    return text


def texts_in(given: Mapping[str, object], name: str) -> Sequence[str]:
    """Return a list of words, empty if there is none; UsageError."""
    texts = given.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{name}: expected a list of words; found {texts!r}")
    return texts
