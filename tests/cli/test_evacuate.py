"""What an evacuation hands over, and what stands against switching the node off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opensvc_openha.cli.evacuate import build_parser, main, plan_of, why_not_safe
from opensvc_openha.cli.peer_node import evacuation_words
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import LeaseStatus, NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.errors import UsageError
from opensvc_openha.peer_link.protocol import EvacuateRequest


def service(own: S | None, peer: S | None = S.STOPPED, name: str = "web") -> ServiceStatus:
    """Return a service whose primary is this node."""
    return ServiceStatus(name, "deb1", "deb2", own or S.UNKNOWN, peer or S.UNKNOWN, own, peer)


def node(*services: ServiceStatus, standing: PeerStanding = PeerStanding.LIVE) -> NodeStatus:
    """Return the status of this node."""
    return NodeStatus("deb1", "deb2", 1, standing, "why", (), services)


@pytest.mark.parametrize(
    ("svc", "moves", "why"),
    [
        (service(S.STARTED), True, ""),
        (service(S.STOPPED, S.STARTED), False, ""),
        (service(S.FROZEN_STOP, S.STOPPED), False, ""),
        (service(None), False, ""),
        (service(S.STARTED, S.FROZEN_STOP), False, "it is FROZEN_STOP on deb2"),
        (service(S.STARTED, None), False, "it is not known on deb2"),
        (
            replace(service(S.STARTED), is_peer_unready=True),
            False,
            "deb2 reports that it could not start it",
        ),
        (service(S.FROZEN_START), False, "frozen as started here: service -A web unfreeze"),
        (service(S.START_FAILED), False, "it is START_FAILED here: service -A web freeze-stop"),
        (service(S.STOP_FAILED), False, "it is STOP_FAILED here"),
        (service(S.UNKNOWN), False, "it is UNKNOWN here"),
        (replace(service(S.STOPPED), has_parts_up=True), False, "parts of it are up here"),
    ],
)
def test_what_the_peer_can_take_is_handed_over_and_the_rest_is_named(
    svc: ServiceStatus, moves: bool, why: str
) -> None:
    """With what to do about it."""
    plan = plan_of(node(svc))
    assert (plan.moves == ["web"]) is moves and not plan.waits
    assert why in plan.stays.get("web", "") and bool(plan.stays) is bool(why)


@pytest.mark.parametrize("state", [S.START_READY, S.STARTING, S.STOPPING])
def test_what_is_being_moved_is_waited_for(state: S) -> None:
    """It may end in any state."""
    plan = plan_of(node(service(state), replace(service(S.STOPPED, name="db"), script="status")))
    assert plan.waits == ["web", "db"] and not plan.moves and not plan.stays


def test_nothing_is_handed_to_a_peer_that_is_not_heard() -> None:
    """Nobody would take it."""
    plan = plan_of(node(service(S.STARTED), standing=PeerStanding.SILENT))
    assert plan.stays == {"web": "deb2 is silent"}


LEASE = LeaseStatus("armed", death_s=11.0)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (node(service(S.STOPPED, S.STARTED)), ""),
        (node(service(S.STOPPED, S.FROZEN_START)), ""),
        (node(service(S.FROZEN_STOP, S.FROZEN_STOP)), ""),
        (node(service(None, None)), ""),
        (node(standing=PeerStanding.SILENT), "deb2 is silent: why"),
        (node(service(S.STARTED)), "web is STARTED here"),
        (node(service(S.STOPPED, S.START_FAILED)), "web is START_FAILED on deb2"),
        (node(replace(service(S.STOPPED, S.STARTED), script="stop")), "web is STOPPED here"),
        (replace(node(), lease=LEASE), "may still believe in a promise"),
        (replace(node(), lease=replace(LEASE, death_s=None, is_withdrawing=True)), "may still"),
        (replace(node(), lease=replace(LEASE, death_s=None)), ""),
    ],
)
def test_it_is_safe_once_nothing_is_left_here_and_the_peer_runs_all(
    status: NodeStatus, why: str
) -> None:
    """And once the peer counts on nothing that this node has promised."""
    found = why_not_safe(status)
    assert bool(found) is bool(why) and why in "".join(found)


@pytest.mark.parametrize(
    "args",
    [["--wait", "0"], ["--wait", "86401"], ["--undo", "--force"], ["--undo", "--stop"], ["a", "b"]],
)
def test_words_that_mean_nothing_are_refused(args: list[str]) -> None:
    """Before anything is asked."""
    with pytest.raises((UsageError, SystemExit)):
        main(args)


def test_words_for_the_other_node_mean_the_same_there() -> None:
    """Without the name, which is its own."""
    for is_forced, is_off_limits, is_undo in (
        (False, False, True),
        (True, True, False),
        (False, False, False),
    ):
        request = EvacuateRequest("1", 5, is_forced, is_off_limits, is_undo)
        command, *words = evacuation_words(request)
        given = build_parser().read(words)
        assert (command, given.node) == ("evacuate", "")
        assert (given.force, given.off_limits) == (is_forced, is_off_limits)
        assert given.undo is is_undo and (is_undo or given.wait == 5)
