"""Merge the histories of both nodes by cause: what a node had heard of comes before.

Beats carry it: each entry knows the newest beat that its node had sent and heard. Only entries of
which neither node had heard are put in order by the clocks, less their difference. That, too,
follows from the beats: nothing is heard before it is sent. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from opensvc_openha.core.beat import Causality
from opensvc_openha.storage.history_entry import Entry


@dataclass(frozen=True)
class NodeEntry:
    """One entry of the timeline."""

    node: str
    entry: Entry


@dataclass(frozen=True)
class ClockDifference:
    """By how many seconds the peer's clock is ahead: at least, and at most.

    Infinite where no beat limits it.
    """

    least_s: float = -math.inf
    most_s: float = math.inf

    @property
    def assumed_s(self) -> float:
        """What the order of unrelated entries is based on: none, if that is possible."""
        if self.least_s <= 0.0 <= self.most_s:
            return 0.0
        known = [limit for limit in (self.least_s, self.most_s) if math.isfinite(limit)]
        return sum(known) / len(known)


@dataclass(frozen=True)
class Timeline:
    """Entries of both nodes, causes first, and the difference of the clocks."""

    entries: tuple[NodeEntry, ...]
    clocks: ClockDifference


class _Track:
    """The entries of one node, in its own order."""

    def __init__(self, node: str, entries: Sequence[Entry]) -> None:
        self.node, self.entries = node, entries
        self.sent = _filled([entry.cause for entry in reversed(entries)])[::-1]
        """For each entry a moment of this node that is not before it."""
        self.heard = _filled([_hearing(entry.cause) for entry in entries])
        """For each entry a moment of this node that is not after it."""

    def is_known(self, index: int, other: _Track, at: int) -> bool:
        """Return True if the other node had heard of an entry by one of its own."""
        sent, heard = self.sent[index], other.heard[at]
        return sent is not None and heard is not None and sent.is_known_at(heard)


def merge(node: str, own: Sequence[Entry], peer: str, theirs: Sequence[Entry]) -> Timeline:
    """Return one timeline; the entries of each node, oldest first, keep their order."""
    here, there = _Track(node, own), _Track(peer, theirs)
    clocks = ClockDifference(
        least_s=-_least_gap(there, here),
        most_s=_least_gap(here, there),
    )
    merged: list[NodeEntry] = []
    at_own = at_theirs = 0
    while at_own < len(own) and at_theirs < len(theirs):
        if here.is_known(at_own, there, at_theirs):
            is_own = True
        elif there.is_known(at_theirs, here, at_own):
            is_own = False
        else:
            is_own = own[at_own].at + clocks.assumed_s <= theirs[at_theirs].at
        if is_own:
            merged.append(NodeEntry(node, own[at_own]))
            at_own += 1
        else:
            merged.append(NodeEntry(peer, theirs[at_theirs]))
            at_theirs += 1
    merged += [NodeEntry(node, entry) for entry in own[at_own:]]
    merged += [NodeEntry(peer, entry) for entry in theirs[at_theirs:]]
    return Timeline(tuple(merged), clocks)


def _least_gap(senders: _Track, hearers: _Track) -> float:
    """Return the least time, by the clocks, from an entry to one by which it was heard of."""
    least = math.inf
    known = 0
    for at, entry in enumerate(hearers.entries):
        while known < len(senders.entries) and senders.is_known(known, hearers, at):
            known += 1
        if known and entry.cause is not None:
            least = min(least, entry.at - senders.entries[known - 1].at)
    return least


def _hearing(cause: Causality | None) -> Causality | None:
    """Return None for a daemon that was just started: what its predecessor heard still holds."""
    return None if cause is None or cause.heard_of is None else cause


def _filled(causes: list[Causality | None]) -> list[Causality | None]:
    """Return each cause, or where there is none the one before it."""
    found: list[Causality | None] = []
    for cause in causes:
        found.append(cause if cause is not None or not found else found[-1])
    return found
