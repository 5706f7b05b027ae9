"""Find services whose start takes long, and what it spends its time on, by history and log."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.storage.history_entry import Entry, EntryKind

SLOW_S = 10.0
"""A start that takes longer is called slow."""
_PART = 0.1
"""A pause counts if it is at least that part of the start, and a second."""
_PAUSES = 3
_DAY_S = 86_400
_LINE = re.compile(r"^(?:\d{4}-\d\d-\d\d )?(\d\d):(\d\d):(\d\d)(?:[,.]\d+)? +[A-Z]+ +(\S+) +(.*)$")
_TEXT_MAX = 100


@dataclass(frozen=True)
class Pause:
    """Time that passed after a line of the log of a start, before the next one."""

    seconds: float
    after: str


@dataclass(frozen=True)
class Starts:
    """The start scripts of one service that succeeded here, and the pauses of the newest one."""

    service: str
    number: int
    median_s: float
    longest_s: float
    last_s: float
    last_at: float
    pauses: tuple[Pause, ...] = ()

    @property
    def is_slow(self) -> bool:
        """True if it usually takes long."""
        return self.median_s >= SLOW_S


def starts_of(entries: Iterable[Entry]) -> tuple[Starts, ...]:
    """Return the starts of each service, the slowest service first."""
    found: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        is_start = entry.kind is EntryKind.SCRIPT and entry.old == ScriptKind.START.value
        if is_start and entry.new == ScriptOutcome.OK.value and entry.took_s is not None:
            found.setdefault(entry.name, []).append((entry.took_s, entry.at))
    starts = (
        Starts(
            name,
            len(each),
            statistics.median(took_s for took_s, _ in each),
            max(took_s for took_s, _ in each),
            *each[-1],
        )
        for name, each in found.items()
    )
    return tuple(sorted(starts, key=lambda one: (-one.median_s, one.service)))


def pauses_in(lines: Sequence[str], ended_at_s: int, took_s: float) -> tuple[Pause, ...]:
    """Return the longest pauses of a start in the log of its script, the longest first.

    ``ended_at_s`` is the second of the day at which it ended, as the log has it; only the newest
    lines within ``took_s`` before it belong to it.
    """
    own: list[tuple[int, str]] = []
    for line in reversed(lines):
        known = _LINE.match(line)
        if known is None:
            continue
        hour, minute, second, place, text = known.groups()
        ago_s = (ended_at_s - (3600 * int(hour) + 60 * int(minute) + int(second))) % _DAY_S
        if ago_s > took_s + 1 and ago_s < _DAY_S - 1:
            if own:
                break
            continue
        own.append((-(ago_s if ago_s < _DAY_S - 1 else 0), f"{place.lower()}: {text[:_TEXT_MAX]}"))
    own.reverse()
    ends = [at for at, _ in own[1:]] + [0]
    pauses = [Pause(float(end - at), text) for (at, text), end in zip(own, ends)]
    least_s = max(1.0, _PART * took_s)
    long = [pause for pause in pauses if pause.seconds >= least_s]
    return tuple(sorted(long, key=lambda pause: -pause.seconds)[:_PAUSES])
