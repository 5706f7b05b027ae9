"""How long a takeover would take, by settings, limits and what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.core.model import LinkSpec, Profile
from opensvc_openha.core.prediction import Measured, predict
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import (
    FenceGroup,
    FencingStatus,
    LinkStatus,
    NodeStatus,
    PathStatus,
    PeerStanding,
    ServiceStatus,
)
from opensvc_openha.core.timing import PACES

WEB = ServiceStatus("web", "n1", "n2", S.STARTED, S.STOPPED, S.STOPPED, S.STARTED)
PACE = PACES[Profile.TUTORIAL]
STARTS = Measured(starts=(1.0, 9.0, 2.0))
IPMI = PathStatus("ipmi", "power", 0, "armed", tested_s=3.0, limit_s=30.0)
PDU = PathStatus("pdu", "power", 1, "armed", limit_s=20.0)
LEASE = PathStatus("lease", "lease", 0, "armed", limit_s=12.0)


def link(timeout_s: float, is_up: bool = True, is_sender: bool = False) -> LinkStatus:
    """Return one end of a link."""
    return LinkStatus(LinkSpec("n1", "net", "eth1", "::1", 1, 0, timeout_s), is_sender, is_up)


def node(fencing: FencingStatus, *links: LinkStatus) -> NodeStatus:
    """Return the status of the standby."""
    found = links or (link(10.0), link(4.0), link(60.0, is_up=False), link(90.0, is_sender=True))
    return NodeStatus("n2", "n1", 1, PeerStanding.LIVE, "heard", found, (WEB,), fencing=fencing)


def plan(*paths: PathStatus, **others: object) -> FencingStatus:
    """Return a plan with a level for each path."""
    levels = tuple((path.name,) for path in paths)
    return replace(FencingStatus(plan=levels, paths=paths), **others)  # type: ignore[arg-type]


def group(check: str, **others: object) -> FencingStatus:
    """Return the fencing of a check-up script."""
    is_fence = "" if check == "/bin/true" else check
    made = FenceGroup(is_fence, check, ("web",), limit_s=60.0)
    return FencingStatus(groups=(replace(made, **others),))  # type: ignore[arg-type]


def parts(fencing: FencingStatus, measured: Measured = STARTS) -> list[tuple[str, float]] | None:
    """Return the parts beside silence and START_READY; None if there is no sum."""
    found = predict(node(fencing), WEB, measured, PACE)
    assert found is not None
    assert [part.seconds for part in found.parts[:2]] == [10.0, 5.0]
    if found.total_s is None:
        return None
    assert found.total_s == pytest.approx(sum(part.seconds for part in found.parts))
    return [(part.text, part.seconds) for part in found.parts[2:]]


START = ("start script", 2.0)


def test_links_start_ready_and_the_median_of_the_starts() -> None:
    """The slowest link that is up counts; a script that proves nothing takes no time."""
    assert parts(group("/bin/true")) == [START]
    found = predict(node(group("/bin/true"), link(0.3)), WEB, STARTS, PACES[Profile.TUTORIAL])
    assert found is not None and found.parts[0].seconds == 2.0, "two beats are always waited for"


def test_start_never_measured_here_is_taken_from_the_peer() -> None:
    """Without any there is no sum, but what is known is listed."""
    measured = Measured(peer_starts=(4.0,))
    assert parts(group("/bin/true"), measured) == [("start script, as on n1", 4.0)]
    assert parts(group("/bin/true"), Measured()) is None


def test_check_up_script_by_its_longest_run_else_measured_else_its_limit() -> None:
    """A part that is only a limit is marked so."""
    assert parts(group("/fence", took_s=3.5)) == [("check-up script", 3.5), START]
    checked = replace(STARTS, checks=(1.0, 3.0))
    assert parts(group("/fence"), checked) == [("check-up script", 2.0), START]
    assert parts(group("/fence")) == [("check-up script, at most", 60.0), START]


def test_node_whose_peer_fences_first_waits_for_its_turn() -> None:
    """Not with an arbiter, and not where nothing is fenced."""
    waits = replace(group("/fence", took_s=1.0), peer_turn="held", turn_s=19.0)
    check = ("check-up script", 1.0)
    assert parts(waits) == [("turn of n1 to fence first", 19.0), check, START]
    assert parts(replace(group("/bin/true"), peer_turn="held", turn_s=19.0)) == [START]
    armed = plan(IPMI, peer_turn="held", turn_s=19.0, has_arbiter=True)
    assert parts(armed) == [("fence ipmi", 3.0), START]


def test_first_level_that_is_armed_proves_and_those_before_take_their_time() -> None:
    """No level armed: no sum."""
    broken = replace(IPMI, state="unreachable")
    assert parts(plan(IPMI, PDU)) == [("fence ipmi", 3.0), START]
    assert parts(plan(broken, PDU)) == [("fence ipmi", 3.0), ("fence pdu, at most", 20.0), START]
    assert parts(plan(broken)) is None


def test_lease_ends_beside_the_rest() -> None:
    """Only what silence and START_READY leave of its time counts; the sooner proof wins."""
    assert parts(plan(LEASE)) == [START]
    longer = replace(LEASE, limit_s=25.0)
    rest = "rest of what the peer promised (lease)"
    assert parts(plan(longer)) == [(rest, 10.0), START]
    assert parts(plan(IPMI, replace(longer, level=1))) == [("fence ipmi", 3.0), START]
    slow = replace(IPMI, tested_s=15.0)
    assert parts(plan(slow, replace(longer, level=1))) == [(rest, 10.0), START]


@pytest.mark.parametrize(
    ("own", "peer"),
    [(S.STARTED, S.STOPPED), (S.FROZEN_STOP, S.STARTED), (S.STOPPED, S.STOPPED)],
)
def test_no_takeover_no_prediction(own: S, peer: S) -> None:
    """It runs here, is frozen here, or runs nowhere."""
    svc = replace(WEB, own_state=own, peer_state=peer)
    assert predict(node(group("/bin/true")), svc, STARTS, PACE) is None
    assert predict(node(group("/bin/true"), link(1.0, is_up=False)), WEB, STARTS, PACE) is None
