"""When a synchronisation is due, with the clock given."""

from __future__ import annotations

import datetime

import pytest

from opensvc_openha.agent.config.schedule import DEFAULT, is_due, parse_period, parse_schedule

SUNDAY = datetime.datetime(2014, 6, 22)


def at(text: str, day: int = 0) -> datetime.datetime:
    hour, minute = text.split(":")
    return SUNDAY + datetime.timedelta(days=day, hours=int(hour), minutes=int(minute))


def due(schedule: str, now: datetime.datetime, ago_minutes: int | None = None) -> bool:
    last = None if ago_minutes is None else now - datetime.timedelta(minutes=ago_minutes)
    return is_due(parse_schedule(schedule), now, last)


@pytest.mark.parametrize(
    "now, ago, expected",
    [
        ("03:59", None, False),
        ("04:00", None, True),
        ("06:00", None, True),
        ("06:01", None, False),
        ("05:00", 120, False),
        ("05:00", 121, True),
    ],
)
def test_default_is_once_a_night(now: str, ago: int | None, expected: bool) -> None:
    """Between four and six, borders included, unless it was done in the last two hours."""
    assert due(DEFAULT, at(now), ago) is expected


@pytest.mark.parametrize(
    "schedule, now, ago, expected",
    [
        ("02:00-04:00", at("03:00"), 120, False),
        ("02:00-04:00", at("03:00"), 121, True),
        ("@10", at("13:37"), 9, False),
        ("@10", at("13:37"), 10, True),
        ("*@10", at("13:37"), 10, True),
        ("22:00-02:00@60", at("01:00"), 60, True),
        ("22:00-02:00@60", at("03:00"), 600, False),
        ("00:00-23:59@1 mon-fri", at("12:00"), None, False),
        ("00:00-23:59@1 mon-fri", at("12:00", 1), None, True),
        ("00:00-23:59@1 saturday,0", at("12:00", 1), None, True),
        ("00:00-23:59@1 sat-mon", at("12:00"), None, True),
        ("00:00-23:59@1 * 26", at("12:00", 1), None, True),
        ("00:00-23:59@1 * 24-25 jun,jul", at("12:00"), None, True),
        ("00:00-23:59@1 * * january-may", at("12:00"), None, False),
        ('["01:00-02:00@9", "12:00-13:00@9 sun"]', at("12:30"), None, True),
        ('["@9", "! 12:00-13:00 sun"]', at("12:30"), None, False),
        ('["@9", "! 12:00-13:00 sun"]', at("13:30"), None, True),
        ("04:00-06:00@0", at("05:00"), None, False),
        ("@0", at("05:00"), None, False),
        ("01:00-02:00@9, 05:00-06:00@9", at("05:00"), None, True),
    ],
)
def test_schedule_of_an_agent_is_understood(
    schedule: str, now: datetime.datetime, ago: int | None, expected: bool
) -> None:
    """Hours across midnight, intervals, days, weeks, months, lists and exclusions."""
    assert due(schedule, now, ago) is expected


def test_clock_that_was_set_back_does_not_put_it_off_for_ever() -> None:
    """The last success lies in the future: due."""
    assert due(DEFAULT, at("05:00"), -100_000)


def test_older_spelling_is_the_same_schedule() -> None:
    """sync_period, sync_days and sync_interval, as lists or words.

    What is missing is as by default.
    """
    assert parse_period('["04:00", "06:00"]', "", "121") == parse_schedule(DEFAULT)
    assert parse_period("", '["monday", "tuesday"]', "") == parse_schedule("04:00-06:00 mon-tue")
    two = parse_schedule("01:00-02:00@5,03:00-04:00@5 sun")
    assert parse_period('[["01:00", "02:00"], ["03:00", "04:00"]]', "sun", "5") == two


@pytest.mark.parametrize(
    "text, message",
    [
        ("4am-6am", "'4am-6am' is no time of the day"),
        ("25:00-26:00", "up to 23:59"),
        ("@9 someday", "'someday' is not"),
        ("@9 sat:last", "'sat:last' is not understood"),
        ("@9 * * %2", "'%2' is not understood"),
        ("[1, 2]", "is no list"),
        ("", "is no schedule"),
        ("@9 * * * * *", "is no schedule"),
        ("@9 * 54", "from 1 to 53"),
    ],
)
def test_what_is_not_understood_is_reported(text: str, message: str) -> None:
    """The part of it, and what is expected."""
    with pytest.raises(ValueError, match=message.replace("(", ".")):
        parse_schedule(text)
    with pytest.raises(ValueError, match="is no period"):
        parse_period('["04:00"]', "", "")
