"""By how much the engine's steps came too late, as operators see it."""

from __future__ import annotations

import pytest

from opensvc_openha.core.status import Activity
from opensvc_openha.daemon.lateness_meter import LatenessMeter

pytestmark = pytest.mark.fast


def test_peak_is_shown_for_minutes_and_not_for_ever() -> None:
    """A scrape each minute sees it; a day later it is over."""
    meter = LatenessMeter()
    for at, late_s in ((1000.0, 0.0), (1001.0, 0.75), (1002.0, 0.25)):
        meter.record(late_s, at)
    assert meter.activity(1002.0) == Activity(steps=3, late_s=0.25, most_late_s=0.75)
    meter.record(0.125, 1121.0)
    assert meter.activity(1121.0).most_late_s == 0.75
    assert meter.activity(1245.0).most_late_s == 0.125
    assert meter.activity(90_000.0) == Activity(steps=4, late_s=0.125, most_late_s=0.0)
