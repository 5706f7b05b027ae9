"""What `openha fence` shows of leases: this node's promise, that of its peer, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.cli.fence_output import fence_report
from opensvc_openha.cli.fence_plan_output import (
    ALL_ARMED,
    NO_PROOF,
    SOME_BROKEN,
    armament,
    armament_of,
    look_ahead,
)
from opensvc_openha.cli.lease_output import lease_lines
from opensvc_openha.control.protocol import status_from_json, status_to_json
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import (
    FencingStatus,
    LeaseStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.system import clock

NOW = 1_800_000_000.0
ARMED = LeaseStatus(
    "armed",
    "iTCO_wdt",
    4.0,
    1.0,
    12.3,
    is_confirmed=True,
    permit_at=NOW - 0.3,
    permit_by="acknowledged beat",
    margin_s=3.7,
    least_margin_s=2.1,
)
PROMISED = "deb1 promises: dead 12.3 s after its last sign"
LEASE = PathStatus("lease", "lease", 0, "armed", PROMISED, limit_s=12.3, device="/dev/sdb")
IPMI = PathStatus("ipmi", "power", 1, "armed", "ON", limit_s=30.0, tested_at=NOW, tested_s=2.5)
PDU = replace(IPMI, name="pdu")
WEB = ServiceStatus("web", "deb1", "deb2", S.STARTED, S.STOPPED, S.STOPPED, S.STARTED)
STATUS = NodeStatus(
    "deb2",
    "deb1",
    7,
    PeerStanding.LIVE,
    "heard",
    (),
    (WEB,),
    fencing=FencingStatus(plan=(("lease",), ("ipmi",)), paths=(LEASE, IPMI)),
)


@pytest.mark.parametrize(
    "lease, lines",
    [
        (None, []),
        (
            ARMED,
            [
                "this node promises: dead 12.3 s after its last sign (iTCO_wdt 4 s); last permit"
                " 0.3 s ago (acknowledged beat), margin 3.7 s, least today 2.1 s; watchdog never"
                " tested"
            ],
        ),
        (
            LeaseStatus("off", why_not="no service runs here"),
            ["this node promises nothing: no service runs here; watchdog never tested"],
        ),
        (
            LeaseStatus("being armed", death_s=11.4, name="softdog", timeout_s=4.0),
            [
                "this node promises: dead 11.4 s after its last sign (softdog 4 s, in software);"
                " not confirmed yet; watchdog never tested"
            ],
        ),
        (
            replace(ARMED, death_s=None, is_withdrawing=True, why_not="deb1 is out: power"),
            [
                "this node promises nothing: deb1 is out: power; last permit 0.3 s ago"
                " (acknowledged beat), margin 3.7 s, least today 2.1 s; watchdog never tested",
                "  what it promised before is being withdrawn: its watchdog runs until then",
            ],
        ),
        (
            LeaseStatus("armed", death_s=11.4, is_confirmed=True, why_no_inhibitor="no logind"),
            [
                "this node promises: dead 11.4 s after its last sign; watchdog never tested",
                "  nothing refuses to suspend this machine (no logind): mask the sleep targets",
            ],
        ),
        (
            LeaseStatus("armed", death_s=11.4, is_confirmed=True, is_virtual=True),
            [
                "this node promises: dead 11.4 s after its last sign; watchdog never tested",
                "  it is a virtual machine: believed only where virtual_pause = never says that it"
                " is never paused",
            ],
        ),
        (
            LeaseStatus("armed", death_s=61.7, is_confirmed=True, stops=True, cut_off="alone"),
            [
                "this node promises: dead, or without services, 61.7 s after its last sign;"
                " watchdog never tested",
                "  alone: it stops what it runs, and starts nothing until that ends",
            ],
        ),
        (
            LeaseStatus("off", why_not="no service runs here", stops=True, cut_off="alone"),
            [
                "this node promises nothing: no service runs here; watchdog never tested",
                "  alone: it stops what it runs, and starts nothing until that ends",
            ],
        ),
    ],
)
def test_own_promise_in_words(lease: LeaseStatus | None, lines: list[str]) -> None:
    """What is promised, or why nothing is; how the watchdog is fed."""
    assert lease_lines(lease, NOW) == lines


def test_promise_stands_below_the_paths_and_comes_through_the_socket() -> None:
    """Without a lease the answers of the daemon are as they were."""
    assert "lease" not in status_to_json(STATUS)
    leased = status_from_json(status_to_json(replace(STATUS, lease=ARMED)))
    assert leased.lease == ARMED
    lines = fence_report(leased, NOW).splitlines()
    assert lines[1] == f"  lease  /dev/sdb  armed        {PROMISED}"
    assert lines[3:4] == lease_lines(ARMED, NOW)
    day = clock.date_stamp(NOW)
    tested = replace(ARMED, tested_at=NOW, tested_s=4.2)
    assert lease_lines(tested, NOW)[0].endswith(f"; watchdog tested {day}: bit after 4.2 s")
    other = replace(ARMED, configured_s=2.0, death_s=30.5)
    assert lease_lines(other, NOW)[0].startswith(
        "this node promises: dead 30.5 s after its last sign (iTCO_wdt 4 s, which keeps to that in"
        " place of 2 s)"
    )
    late = replace(ARMED, tested_at=NOW, tested_s=8.1, was_late=True)
    assert lease_lines(late, NOW)[0].endswith(f"; watchdog tested {day}: bit after 8.1 s, LATE")


@pytest.mark.parametrize(
    "lease_state, peer_state, standing, code",
    [
        ("armed", S.STARTED, PeerStanding.LIVE, ALL_ARMED),
        ("untested", S.STOPPED, PeerStanding.LIVE, ALL_ARMED),
        ("untested", S.STARTED, PeerStanding.LIVE, SOME_BROKEN),
        ("untested", S.STOPPED, PeerStanding.SILENT, SOME_BROKEN),
        ("unreachable", S.STOPPED, PeerStanding.LIVE, SOME_BROKEN),
    ],
)
def test_peer_that_runs_nothing_need_not_promise_anything(
    lease_state: str, peer_state: S, standing: PeerStanding, code: int
) -> None:
    """It promises before its next start; a service that runs without a promise is a fault."""
    fencing = replace(STATUS.fencing, paths=(replace(LEASE, state=lease_state), IPMI))
    services = (replace(WEB, peer_state=peer_state),)
    status = replace(STATUS, peer_standing=standing, fencing=fencing, services=services)
    assert armament_of(status) == code
    alone = [replace(LEASE, state=lease_state)]
    assert armament_of(status, alone) == (ALL_ARMED if code == ALL_ARMED else NO_PROOF)


def test_a_promise_that_can_prove_nothing_is_no_broken_path() -> None:
    """A peer that is a virtual machine stays one: a script that waits for 0 would wait for ever."""
    barred = replace(LEASE, state="unusable", text="deb1 is a virtual machine")
    arbiter = PathStatus("arbiter", "arbiter", -1, "armed")
    assert armament([arbiter, IPMI, replace(barred, level=2)]) == ALL_ARMED
    assert armament([replace(IPMI, state="wrong"), replace(barred, level=2)]) == NO_PROOF
    assert armament([arbiter, barred]) == NO_PROOF
    assert armament([IPMI, replace(barred, level=1)]) == NO_PROOF
    # A level that needs the promise beside something else does not do what it was written for.
    assert armament([IPMI, replace(PDU, level=2), replace(barred, level=2)]) == SOME_BROKEN


def steps_of(
    plan: tuple[tuple[str, ...], ...], paths: tuple[PathStatus, ...] = (LEASE, IPMI)
) -> list[tuple[float, str, str]]:
    status = replace(STATUS, fencing=replace(STATUS.fencing, plan=plan, paths=paths))
    return [(step.at_s, step.what, step.path) for step in look_ahead(status, 5.0)]


def test_plan_shows_when_the_promise_ends() -> None:
    """Beside what is shot before it; what comes behind it waits for it."""
    after = "nothing is done: the promise ends"
    status = replace(STATUS, fencing=replace(STATUS.fencing, plan=(("lease",),)))
    assert [step.text for step in look_ahead(status, 5.0)][2] == f"level 1: lease: {after}"
    assert steps_of((("lease",), ("ipmi",)))[2:] == [
        (12.3, "shoot", "lease"),
        (12.3, "start", ""),
        (12.3, "shoot", "ipmi"),
        (14.8, "failed", ""),
    ]
    assert steps_of((("ipmi",), ("lease",)))[2:] == [
        (5.0, "shoot", "ipmi"),
        (7.5, "start", ""),
        (12.3, "shoot", "lease"),
        (12.3, "failed", ""),
    ]
    broken = replace(IPMI, state="unreachable")
    assert steps_of((("ipmi",), ("lease",)), paths=(LEASE, broken))[2:] == [
        (5.0, "shoot", "ipmi"),
        (12.3, "shoot", "lease"),
        (12.3, "start", ""),
        (12.3, "failed", ""),
    ]
    assert steps_of((("ipmi", "lease"),))[2:] == [
        (5.0, "shoot", "ipmi"),
        (12.3, "shoot", "lease"),
        (12.3, "start", ""),
        (12.3, "failed", ""),
    ]
