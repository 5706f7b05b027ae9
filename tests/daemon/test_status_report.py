"""Warnings about what the time profile stands on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.model import ClusterSpec, FencePath, FencingPolicy, PathKind, Profile
from opensvc_openha.daemon.status_report import StatusReport

PLAN = FencingPolicy(levels=((FencePath("ipmi", PathKind.POWER, 30.0),),))
FAST = ClusterSpec("deb1", "deb2", (), (), Profile.FAST, fencing=PLAN)


@pytest.mark.parametrize(
    "spec, is_measured, is_warned",
    [
        (FAST, False, True),
        (FAST, True, False),
        (replace(FAST, fence_time_s=0.8), False, False),
        (replace(FAST, profile=Profile.TUTORIAL), False, False),
    ],
)
def test_fast_stands_on_what_was_measured_or_declared(
    mocker: MockerFixture, spec: ClusterSpec, is_measured: bool, is_warned: bool
) -> None:
    """A plan that was never tried out may be slower than the profile's takeover expects."""
    parts = {
        name: mocker.MagicMock(warnings=mocker.MagicMock(return_value=[]))
        for name in ("links", "authentication", "history", "fencing_store", "removed")
    }
    parts["history"].problem = ""
    parts["removed"].present.return_value = ()
    report = StatusReport(
        layout=mocker.Mock(),
        realtime=mocker.Mock(warnings=()),
        fence=mocker.Mock(is_measured=is_measured),
        lease=mocker.Mock(),
        issues=mocker.Mock(texts=()),
        **parts,
    )
    warned = [text for text in report.warnings(spec) if "was never measured" in text]
    assert len(warned) == is_warned
