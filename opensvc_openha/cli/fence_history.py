"""``openha fence status --history``: what each path of the fence did, and when it last proved."""

from __future__ import annotations

import os
from collections.abc import Sequence

from opensvc_openha.cli.history import may_read, newest_of_daemon
from opensvc_openha.errors import OpenhaError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.configuration import read_options
from opensvc_openha.storage.fence_history import (
    ARBITER,
    KINDS,
    WORDS,
    PathHistory,
    by_path,
    fence_entries,
)
from opensvc_openha.storage.history_entry import unwritten
from opensvc_openha.storage.history_file import read_words
from opensvc_openha.system import clock

_SHOWN = 20


def collect(layout: Layout) -> tuple[PathHistory, ...]:
    """Return the history of each path that is configured, then of what else fenced."""
    newest = fence_entries(newest_of_daemon(layout))
    written = []
    if may_read(layout) and (os.path.exists(layout.history_dir) or not newest):
        written = fence_entries(read_words(layout.history_dir, KINDS, WORDS))
    return by_path([*written, *unwritten(written, newest)], _paths(layout))


def _paths(layout: Layout) -> list[str]:
    """Return the paths of the plan; none if the configuration cannot be read."""
    try:
        plan = read_options(layout).fence_plan
    except OpenhaError:
        return []
    names = [name for level in plan.levels for name in level]
    return list(dict.fromkeys([*names, ARBITER] if plan.arbiter else names))


def lines_of(paths: Sequence[PathHistory], shown: int = _SHOWN) -> list[str]:
    """Return the lines of each path, the newest events last."""
    lines = []
    for path in paths:
        last = path.last_proof
        head = ""
        if last is not None:
            head = f": last proved {clock.precise_stamp(last.at)}: {last.proof}"
        elif path.is_planned and path.name != ARBITER:
            head = ": never proved anything, as far as the history goes back"
        lines.append(f"{path.name}{head}")
        older = len(path.events) - shown
        if older > 0:
            lines.append(f"  ... {older} older (--json has them)")
        lines += [
            f"  {clock.precise_stamp(event.at)} {'!' if event.is_alarm else ' '} {event.text}"
            for event in path.events[-shown:]
        ]
    return lines or ["nothing was ever fenced or confirmed here, as far as the history goes back"]
