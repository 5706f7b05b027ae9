"""``openha history --both``: one timeline of both nodes, by way of the peer link."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from opensvc_openha.cli.patient_peer import patient_peer
from opensvc_openha.errors import NotAnsweringError, OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.protocol import ENTRIES_MAX
from opensvc_openha.storage import configuration
from opensvc_openha.storage.explanation import describe
from opensvc_openha.storage.history_entry import Entry, entry_from_json
from opensvc_openha.storage.timeline import ClockDifference, Timeline, merge
from opensvc_openha.system import clock

_NOTABLE_S = 0.5


def show_timeline(
    layout: Layout,
    own: Sequence[Entry],
    service: str,
    since: float,
    limit: int,
    is_json: bool,
) -> int:
    """Print the timeline; return the exit code.

    Without the other node's part this node's is shown alone, and the error is raised behind it.
    """
    node, peer = configuration.both_names(layout)
    problem: OpenhaError | None = None
    theirs: list[Entry] = []
    try:
        theirs = _history_of_peer(layout, service, limit)
    except OpenhaError as error:
        problem = error
    timeline = merge(node, own, peer, theirs)
    timeline = _newest(timeline, node, since, limit)
    if is_json:
        from opensvc_openha.cli import json_views

        sys.stdout.write(json_views.timeline(node, peer, timeline, problem is None).text())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(timeline, node, peer)))
    if problem is not None:
        raise type(problem)(f"only of this node: {problem}")
    return 0


def _history_of_peer(layout: Layout, service: str, limit: int) -> list[Entry]:
    answer = patient_peer(layout).history(
        service, min(limit, ENTRIES_MAX) if limit > 0 else ENTRIES_MAX
    )
    try:
        return [entry_from_json(entry) for entry in answer]
    except (KeyError, TypeError, ValueError) as error:
        raise NotAnsweringError(
            f"the other node gave a history of another version ({error!r}): upgrade both"
        ) from error


def _newest(timeline: Timeline, node: str, since: float, limit: int) -> Timeline:
    ahead_s = timeline.clocks.assumed_s
    kept = [
        each
        for each in timeline.entries
        if each.entry.at - (0.0 if each.node == node else ahead_s) >= since
    ]
    return Timeline(tuple(kept if limit <= 0 else kept[-limit:]), timeline.clocks)


def _lines(timeline: Timeline, node: str, peer: str) -> list[str]:
    """Return a line of each entry, with the time by its own node's clock."""
    width = max(len(node), len(peer))
    lines = [
        f"{clock.precise_stamp(each.entry.at)} {each.node:{width}}"
        f" {'!' if each.entry.is_alarm else ' '} {describe(each.entry)}"
        for each in timeline.entries
    ]
    difference = _difference(timeline.clocks, peer)
    return [*([difference] if difference else []), *lines]


def _difference(clocks: ClockDifference, peer: str) -> str:
    """Return a line on clocks whose times mislead; empty if they do not."""
    if abs(clocks.assumed_s) < _NOTABLE_S:
        return ""
    least, most = sorted((clocks.least_s, clocks.most_s))
    if least > 0:
        way, limits = "ahead", (least, most)
    else:
        way, limits = "behind", (-most, -least)
    finite = [f"{limit:.1f}" for limit in limits if math.isfinite(limit)]
    return (
        f"the clock of {peer} is {' to '.join(finite)} s {way}: entries are in the order of cause"
    )
