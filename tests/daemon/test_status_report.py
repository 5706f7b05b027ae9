"""Warnings about what the time profile stands on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.model import ClusterSpec, FencePath, FencingPolicy, PathKind, Profile
from opensvc_openha.daemon.status_report import StatusReport
from opensvc_openha.storage.fencing_store import FenceTimes

PLAN = FencingPolicy(levels=((FencePath("ipmi", PathKind.POWER, 30.0),),))
FAST = ClusterSpec("deb1", "deb2", (), (), Profile.FAST, fencing=PLAN)
DECLARED = replace(FAST, fence_time_s=0.8)
NEVER = "profile = fast stands on a fence that was never measured. "
ASSUMED = (
    "profile = fast stands on fence_time = 0.8, which is declared and was never measured: if a"
    " fence takes longer, two nodes that are cut from each other may fence at the same time. "
)
TRY = "Try it out (openha fence test --power ipmi), or add [[lease]]"
RESERVED = FencingPolicy(levels=((FencePath("disks", PathKind.RESERVATION, 9.0),),))


@pytest.mark.parametrize(
    "spec, drilled, used, warned",
    [
        (FAST, False, False, NEVER + TRY),
        (DECLARED, False, False, ASSUMED + TRY),
        (replace(FAST, fencing=RESERVED), False, False, NEVER + TRY.replace("ipmi", "PATH")),
        (
            replace(DECLARED, fencing=FencingPolicy()), False, False,
            f"{ASSUMED}It is measured when a check-up script has fenced the peer; a path of a fence"
            " plan (levels) can be tried out before that, and [[lease]] needs no fence",
        ),
        (FAST, True, False, ""),
        (DECLARED, True, False, ""),
        (DECLARED, False, True, ""),
        (replace(DECLARED, profile=Profile.TUTORIAL), False, False, ""),
    ],
)  # fmt: skip
def test_fast_stands_on_what_was_measured(
    mocker: MockerFixture, spec: ClusterSpec, drilled: bool, used: bool, warned: str
) -> None:
    """A fence that was never tried out may be slower than what is declared."""
    parts = {
        name: mocker.MagicMock(warnings=mocker.MagicMock(return_value=[]))
        for name in ("links", "authentication", "history", "removed", "outlook")
    }
    parts["history"].problem = ""
    parts["removed"].present.return_value = ()
    times = {"ipmi": FenceTimes(worked_at=5.0 if used else None)}
    report = StatusReport(
        layout=mocker.Mock(),
        realtime=mocker.Mock(warnings=()),
        fence=mocker.Mock(is_measured=drilled),
        lease=mocker.Mock(),
        issues=mocker.Mock(texts=()),
        fencing_store=mocker.Mock(times=times),
        **parts,
    )
    assert "".join(text for text in report.warnings(spec) if "fast" in text) == warned
