"""Know which disk each mark of this node's media stands for, since its daemon began.

A mark names no disk: a peer that believes in the promise goes on to read the one that this daemon
has written by that mark. A beat on any other one renews nothing, though that has the same mark, and
may have the same path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.promise import media_of


class PromisedDisks:
    """The disks of the links on which this node sends."""

    def __init__(self, links: Iterable[LinkSpec]) -> None:
        self._media: dict[LinkSpec, bytes] = {}
        self._bound: dict[bytes, str] = {}
        self._open: dict[LinkSpec, str] = {}
        self.follow(links)

    def follow(self, links: Iterable[LinkSpec]) -> None:
        """Apply a configuration: the links on which this node sends."""
        self._media = media_of(links)
        self._open = {link: disk for link, disk in self._open.items() if link in self._media}
        for link, disk in self._open.items():
            self._bind(link, disk)

    def opened(self, link: LinkSpec, disk: str) -> None:
        """Record the disk that a link writes to from now on; empty if that is not known."""
        if link in self._media:
            self._open[link] = disk
            self._bind(link, disk)

    def expect(self, disks: Mapping[bytes, str]) -> None:
        """Let marks stand for these disks, though none was opened yet."""
        for mark, disk in disks.items():
            self._bound.setdefault(mark, disk)

    def _bind(self, link: LinkSpec, disk: str) -> None:
        if disk:
            self._bound.setdefault(self._media[link], disk)

    def medium_of(self, link: LinkSpec, disk: str) -> bytes | None:
        """Return the mark that a beat on this disk renews; None if it renews nothing."""
        mark = self._media.get(link)
        return mark if mark is not None and disk and self._bound.get(mark) == disk else None

    @property
    def known(self) -> dict[bytes, str]:
        """The disk of each mark that is configured now."""
        marks = self._media.values()
        return {mark: self._bound[mark] for mark in marks if mark in self._bound}

    @property
    def replaced(self) -> frozenset[bytes]:
        """Marks whose link writes to another disk than the one that they stand for."""
        return frozenset(
            self._media[link]
            for link, disk in self._open.items()
            if self.medium_of(link, disk) is None
        )
