"""What operators see of a stage: its typical and its longest time, of the last minutes."""

from __future__ import annotations

import pytest

from opensvc_openha.heartbeat.stage_meter import StageMeter


def test_stage_that_was_never_met_has_no_figure() -> None:
    """Nor one that was met long ago."""
    meter = StageMeter("sent")
    assert meter.figure(0.0) is None and meter.figure(1000.0) is None
    meter.record(0.5, 1000.0)
    assert meter.figure(1119.0) is not None and meter.figure(1120.0) is None


def test_figure_has_the_middle_and_the_most() -> None:
    """To a fourth; a single one to the last digit, and so are those beyond all bounds."""
    meter = StageMeter("sent")
    meter.record(0.001, 1000.0)
    figure = meter.figure(1000.0)
    assert figure is not None
    assert (figure.stage, figure.typical_s, figure.most_s, figure.number) == (
        "sent",
        *[0.001] * 2,
        1,
    )
    for late_s in (0.002, 0.003, 0.004, 0.1):
        meter.record(late_s, 1000.5)
    figure = meter.figure(1001.0)
    assert figure is not None and (figure.most_s, figure.number) == (0.1, 5)
    assert 0.003 <= figure.typical_s < 0.003 * 1.25
    meter = StageMeter("sent")
    meter.record(100.0, 1000.0)
    figure = meter.figure(1000.0)
    assert figure is not None and figure.typical_s == figure.most_s == 100.0


@pytest.mark.parametrize(("later_s", "most_s", "number"), [
    (59.0, 0.5, 2), (60.0, 0.5, 2), (119.0, 0.5, 2), (121.0, 0.01, 1), (500.0, 0.01, 1),
])  # fmt: skip
def test_what_is_old_is_forgotten(later_s: float, most_s: float, number: int) -> None:
    """After a minute at the earliest, and two at the latest."""
    meter = StageMeter("sent")
    meter.record(0.5, 1000.0)
    meter.record(0.01, 1000.0 + later_s)
    figure = meter.figure(1000.0 + later_s)
    assert figure is not None and (figure.most_s, figure.number) == (most_s, number)


def test_nothing_is_recorded_for_a_while() -> None:
    """What a window left behind shows on until it is two minutes old."""
    meter = StageMeter("sent")
    meter.record(0.5, 1000.0)
    for now, is_known in ((1059.0, True), (1061.0, True), (1119.0, True), (1121.0, False)):
        assert (meter.figure(now) is not None) is is_known
