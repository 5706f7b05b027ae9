"""Decide when a synchronisation is due: the agents' schedules, ``04:00-06:00@121 mon-fri``.

    [!] BEGIN-END@MINUTES[,...] [DAYS [WEEKS [MONTHS]]]
    several of them as ["...", "..."]; ! excludes what fits

A synchronisation is due within the hours, and if MINUTES have passed since the last success. The
older spelling is accepted too. Pure: the time is an argument. Days of the month and every other
month (``sat:last``, ``%2``) are not supported and raise an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.named_tuples import NamedTuple

if TYPE_CHECKING:
    import datetime

DEFAULT = "04:00-06:00@121"
DAY_MINUTES = 1440

_RANGE = re.compile(r"(?:(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d))?(?:@(\d{1,7}))?", re.ASCII)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Hours(NamedTuple):
    """Minutes of a day from ``begin`` to ``end``; crosses midnight if ``end`` is smaller.

    An interval of 0 means never.
    """

    begin: int
    end: int
    interval: int

    def holds(self, minute: int) -> bool:
        """Return whether this minute of the day lies within the hours."""
        if self.begin <= self.end:
            return self.begin <= minute <= self.end
        return minute >= self.begin or minute <= self.end


class Rule(NamedTuple):
    """One line of a schedule."""

    hours: tuple[Hours, ...]
    days: frozenset[int]
    weeks: frozenset[int]
    months: frozenset[int]
    is_exclusion: bool = False

    def fitting(self, now: datetime.datetime) -> list[Hours]:
        """Return the rule's hours that contain ``now``."""
        is_day = (
            now.weekday() in self.days
            and now.isocalendar()[1] in self.weeks
            and now.month in self.months
        )
        return [hours for hours in self.hours if is_day and hours.holds(now.hour * 60 + now.minute)]


def is_due(rules: Iterable[Rule], now: datetime.datetime, last: datetime.datetime | None) -> bool:
    """Return whether the action is due now, ``last`` being the time of the last success.

    A last time in the future, from a clock set back, does not count.
    """
    rules = tuple(rules)
    if any(rule.is_exclusion and rule.fitting(now) for rule in rules):
        return False
    waited = None if last is None or last > now else (now - last).total_seconds() / 60
    hours = (hours for rule in rules if not rule.is_exclusion for hours in rule.fitting(now))
    return any(
        found.interval > 0 and (waited is None or waited >= found.interval) for found in hours
    )


def parse_schedule(text: str) -> tuple[Rule, ...]:
    """Parse the rules of a schedule; ValueError names the part that is invalid."""
    if text.strip().lower() in ("none", "@0"):
        return ()
    lines = _json_words(text) if text.lstrip().startswith("[") else [text]
    return tuple(_rule(line) for line in lines)


def parse_period(period: str, days: str, interval: str) -> tuple[Rule, ...]:
    """Parse sync_period = ["04:00", "06:00"], sync_days = ["monday"] and sync_interval = 121.

    These are keywords of older agents.
    """
    words = _json_words(period or '["04:00", "06:00"]')
    if len(words) % 2:
        raise ValueError(f'{period!r} is no period, expected ["04:00", "06:00"]')
    minutes = f"@{interval}" if interval else ""
    ranges = ",".join(f"{begin}-{end}{minutes}" for begin, end in zip(words[::2], words[1::2]))
    chosen = (
        ",".join(_json_words(days))
        if days.startswith("[")
        else ",".join(days.replace(",", " ").split())
    )
    return (_rule(f"{ranges} {chosen}"),)


def _json_words(text: str) -> list[str]:
    import json

    try:
        found = json.loads(text)
    except ValueError:
        found = None
    flat = (
        [word for item in found for word in (item if isinstance(item, list) else [item])]
        if isinstance(found, list)
        else []
    )
    if not flat or not all(isinstance(word, str) for word in flat):
        raise ValueError(f'{text!r} is no list, expected ["...", "..."]')
    return flat


def _rule(line: str) -> Rule:
    is_exclusion = line.lstrip().startswith("!")
    words = re.sub(r"\s*,\s*", ",", line.lstrip(" !").strip()).split()
    if not 1 <= len(words) <= 4:
        raise ValueError(
            f"{line!r} is no schedule, expected 04:00-06:00@121, then days, weeks and months if"
            " need be"
        )
    ranges, days, weeks, months = (*words, *["*"] * (4 - len(words)))
    hours = tuple(_hours(word) for word in ranges.split(","))
    in_days = _numbers(days, (_DAYS, _LONG_DAYS), 0, 6)
    in_months = _numbers(months, (_MONTHS, _LONG_MONTHS), 1, 12)
    return Rule(hours, in_days, _numbers(weeks, (), 1, 53), in_months, is_exclusion)


def _hours(word: str) -> Hours:
    match = _RANGE.fullmatch(word.lstrip("*"))
    if match is None:
        raise ValueError(f"{word!r} is no time of the day, expected 04:00-06:00@121")
    begin_hour, begin_minute, end_hour, end_minute = (int(part or 0) for part in match.groups()[:4])
    if max(begin_hour, end_hour) > 23 or max(begin_minute, end_minute) > 59:
        raise ValueError(f"{word!r} is no time of the day, expected hours up to 23:59")
    if match.group(1) is None:
        return Hours(0, DAY_MINUTES - 1, int(match.group(5) or DAY_MINUTES + 1))
    begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
    length = (end - begin) % DAY_MINUTES
    return Hours(begin, end, length + 1 if match.group(5) is None else int(match.group(5)))


def _numbers(
    text: str, names: tuple[tuple[str, ...], ...], first: int, last: int
) -> frozenset[int]:
    if text in ("", "*"):
        return frozenset(range(first, last + 1))
    found: set[int] = set()
    for part in text.lower().split(","):
        begin, dash, end = part.partition("-")
        low = _number(begin, names, first, last)
        high = _number(end, names, first, last) if dash else low
        found.update(
            range(low, high + 1)
            if low <= high
            else (*range(low, last + 1), *range(first, high + 1))
        )
    return frozenset(found)


def _number(word: str, names: tuple[tuple[str, ...], ...], first: int, last: int) -> int:
    for known in names:
        if word in known:
            return known.index(word) + first
    if word.isascii() and word.isdigit() and first <= int(word) <= last:
        return int(word)
    example = names[0][0] if names else str(first)
    raise ValueError(
        f"{word!r} is not understood in a schedule, expected {example} or a number from {first} to"
        f" {last}"
    )
