"""Each condition by itself under which a service with frozen disks is given up or is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opensvc_openha.core.beat import Ack, Beat, BootId
from opensvc_openha.core.data_disks import DataDisks
from opensvc_openha.core.events import DisksLook, DisksLooked
from opensvc_openha.core.facts import DiskAnswer, Facts
from opensvc_openha.core.giving_up import DisksSight, GivingUp, sight_of, warnings
from opensvc_openha.core.model import FrozenStorage, Policy, ServiceSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding, ServiceStatus
from opensvc_openha.core.timing import FROZEN_STOP_S, GIVE_UPS_MAX, GIVE_UPS_WINDOW_S

POLICY = Policy(frozen_storage=FrozenStorage.GIVE_UP)
WEB = ServiceSpec("web", "/web", "deb1", "deb2", "/true", policy=POLICY)
STARTED, STOPPED = ServiceState.STARTED, ServiceState.STOPPED
ANSWERS, FROZEN, UNKNOWN = DiskAnswer.ANSWERS, DiskAnswer.FROZEN, DiskAnswer.UNKNOWN
SIGHT = DisksSight(DisksLook(FROZEN, 1.0, "/dev/sda"), 30.0, ANSWERS, None, "")


def a_view(
    facts: Facts | None = Facts(answering=frozenset({"web"})),
    state: ServiceState = STOPPED,
    is_authentic: bool = True,
    is_up: bool = True,
) -> PeerView:
    """The peer as this node sees it at 100.0."""
    view = PeerView(BootId(1, 1))
    view.take(Beat("deb2", BootId(1, 2), 1, None, {"web": state}, facts=facts), 100.0, is_authentic)
    view.judge(is_up, None if is_up else 90.0, 100.0)
    return view


def frozen_here() -> DataDisks:
    """Since 60.0."""
    disks = DataDisks()
    disks.record(DisksLooked(100.0, {"web": DisksLook(FROZEN, 60.0, "/dev/sda")}), 100.0)
    return disks


# what both nodes see


def test_sight_is_of_both_nodes() -> None:
    """Here frozen for 40 s, on the peer for 3 s."""
    view = a_view(Facts(frozen={"web": 3}))
    found = sight_of("web", frozen_here(), view, 100.0)
    assert (found.is_frozen, found.is_read_here, found.frozen_s) == (True, False, 40.0)
    assert (found.peer, found.peer_frozen_s) == (FROZEN, 3)
    assert found.own_text == "no answer of /dev/sda for 40 s"
    assert found.peer_text == "no answer for 3 s"


def test_sight_without_facts_of_the_peer_and_without_a_look() -> None:
    """Nothing is known."""
    found = sight_of("web", DataDisks(), a_view(None), 100.0)
    assert (found.is_frozen, found.is_read_here, found.frozen_s) == (False, False, 0.0)
    assert (found.peer, found.peer_frozen_s, found.peer_text) == (UNKNOWN, None, "not known")
    assert found.own_text == "not known: its disks were not looked at"


def test_disks_that_are_read_on_both_nodes() -> None:
    """In words."""
    disks = DataDisks()
    disks.record(DisksLooked(100.0, {"web": DisksLook(ANSWERS)}), 100.0)
    found = sight_of("web", disks, a_view(), 100.0)
    assert (found.is_frozen, found.is_read_here) == (False, True)
    assert (found.own_text, found.peer_text) == ("answer", "answer")


@pytest.mark.parametrize(
    "view, why",
    [
        (a_view(), ""),
        (a_view(is_up=False), "the peer is not heard"),
        (a_view(Facts(frozen={"web": 3})), "they do not answer on the peer either"),
        (a_view(Facts()), "it is not known whether the peer reads them"),
        (a_view(is_authentic=False), "it is not known whether the peer reads them"),
        (
            a_view(Facts(answering=frozenset({"web"}), silent_s=1.0)),
            "the peer does not hear this node",
        ),
        (a_view(state=STARTED), "the peer is STARTED"),
        (a_view(state=ServiceState.FROZEN_STOP), "the peer is FROZEN_STOP"),
        (
            a_view(Facts(answering=frozenset({"web"}), unready=frozenset({"web"}))),
            "the peer reports that it could not start it",
        ),
    ],
)
def test_peer_would_start_it_only_if_it_reads_the_disks_and_is_stopped(
    view: PeerView, why: str
) -> None:
    """And is heard, hears this node, and could start it."""
    assert sight_of("web", frozen_here(), view, 100.0).why_not == why


# giving up


@pytest.mark.parametrize(
    "changes, is_due",
    [
        ({}, True),
        ({"frozen_s": 29.99}, False),
        ({"frozen_s": 31.0}, True),
        ({"own": DisksLook(ANSWERS)}, False),
        ({"own": DisksLook(UNKNOWN)}, False),
        ({"why_not": "the peer is not heard"}, False),
    ],
)
def test_service_is_due_when_its_disks_are_frozen_here_alone(
    changes: dict[str, Any], is_due: bool
) -> None:
    """For as long as the policy waits."""
    assert GivingUp().is_due(POLICY, replace(SIGHT, **changes), 100.0) is is_due


def test_service_is_given_up_twice_in_ten_minutes_at_most() -> None:
    """To give it up again while it goes on is the same time; an operator's action clears the
    count.
    """
    giving_up = GivingUp()
    for number in range(GIVE_UPS_MAX):
        assert giving_up.is_due(POLICY, SIGHT, 100.0)
        giving_up.begin(100.0 + number)
        giving_up.begin(150.0)
        assert giving_up.is_going_on
        giving_up.end()
        assert not giving_up.is_going_on
    ends = 100.0 + GIVE_UPS_WINDOW_S
    assert not giving_up.is_due(POLICY, SIGHT, ends - 0.01)
    assert giving_up.is_due(POLICY, SIGHT, ends)
    giving_up.begin(ends)
    giving_up.end()
    assert not giving_up.is_due(POLICY, SIGHT, ends)
    giving_up.forget()
    assert giving_up.is_due(POLICY, SIGHT, ends)


@pytest.mark.parametrize("is_going_on", [True, False])
@pytest.mark.parametrize("answer", list(DiskAnswer))
def test_stop_proves_something_where_the_disks_are_read(
    is_going_on: bool, answer: DiskAnswer
) -> None:
    """Or, for one that nobody gave up, where nothing is known of them."""
    giving_up = GivingUp()
    if is_going_on:
        giving_up.begin(100.0)
    sight = replace(SIGHT, own=DisksLook(answer))
    is_unproved = {ANSWERS: False, UNKNOWN: is_going_on, FROZEN: True}[answer]
    assert giving_up.is_stop_unproved(sight) is is_unproved


def test_stop_that_hung_is_tried_again_once_the_disks_answer() -> None:
    """One that failed by itself is not; nor is it twice."""
    giving_up, readable = GivingUp(), replace(SIGHT, own=DisksLook(ANSWERS))
    assert not giving_up.is_to_stop_again(readable)
    giving_up.begin(100.0)
    assert not giving_up.is_stop_hung
    giving_up.is_stop_hung = True
    assert giving_up.is_to_stop_again(readable)
    assert not giving_up.is_to_stop_again(SIGHT)
    giving_up.begin(110.0)
    assert not giving_up.is_to_stop_again(readable)
    giving_up.is_stop_hung = True
    giving_up.end()
    assert not giving_up.is_to_stop_again(readable)


def test_stop_that_overlapped_a_freeze_left_writes_that_may_land_later() -> None:
    """Whenever that was while it ran; the next stop is judged by itself."""
    giving_up = GivingUp()
    readable, unknown = (replace(SIGHT, own=DisksLook(answer)) for answer in (ANSWERS, UNKNOWN))
    for sights, was_frozen in (
        ((readable,), False),
        ((readable, SIGHT), True),
        ((SIGHT, readable), True),
        ((readable, unknown), False),
    ):
        giving_up.stop_begins(sights[0])
        for sight in sights[1:]:
            giving_up.stop_goes_on(sight)
        assert giving_up.is_flush_due(readable) is was_frozen
        assert not giving_up.is_flush_due(SIGHT)
        assert giving_up.is_stop_unproved(unknown) is was_frozen


def test_stop_that_failed_is_the_disks_or_an_operators() -> None:
    """Frozen as stopped, if that was ordered; tried again, given up or not, as it was."""
    giving_up, readable = GivingUp(), replace(SIGHT, own=DisksLook(ANSWERS))
    assert not giving_up.is_to_freeze
    giving_up.stop_failed(SIGHT, is_to_freeze=True)
    assert giving_up.is_stop_hung and giving_up.is_to_freeze
    giving_up.stop_again(110.0)
    assert not (giving_up.is_stop_hung or giving_up.is_to_freeze or giving_up.is_going_on)
    giving_up.begin(100.0)
    giving_up.stop_failed(SIGHT, is_to_freeze=False)
    assert giving_up.is_stop_hung and not giving_up.is_to_freeze
    giving_up.stop_again(120.0)
    assert giving_up.is_going_on and not giving_up.is_stop_hung
    at = 120.0 + FROZEN_STOP_S
    stopping = ServiceState.STOPPING
    for now, why in ((at - 0.01, "web is being stopped"), (at, "")):
        assert giving_up.why_not_needed(WEB, stopping, SIGHT, a_view(), now) == why
    giving_up.stop_failed(readable, is_to_freeze=True)
    assert not (giving_up.is_stop_hung or giving_up.is_to_freeze or giving_up.is_going_on)


# the proof


def why_not_needed(
    state: ServiceState = ServiceState.STOP_FAILED,
    view: PeerView | None = None,
    now: float = 100.0,
    **changes: Any,
) -> str:
    """Why this node need not be proved out for a service that it gave up at 80.0."""
    giving_up = GivingUp()
    giving_up.begin(80.0)
    return giving_up.why_not_needed(
        WEB, state, replace(SIGHT, **changes), a_view() if view is None else view, now
    )


@pytest.mark.parametrize(
    "values, why",
    [
        ({}, ""),
        ({"now": 80.0}, ""),
        (
            {"state": ServiceState.STOPPING, "now": 80.0 + FROZEN_STOP_S - 0.01},
            "web is being stopped",
        ),
        ({"state": ServiceState.STOPPING, "now": 80.0 + FROZEN_STOP_S}, ""),
        ({"own": DisksLook(ANSWERS)}, "here the disks of web answer"),
        ({"own": DisksLook(UNKNOWN)}, "here the disks of web are not known to answer"),
        ({"frozen_s": 29.99}, "the disks of web have answered here since"),
        ({"view": a_view(is_up=False)}, "the peer is not heard any more"),
        ({"view": a_view(state=STARTED)}, "the peer runs web"),
        ({"peer": UNKNOWN}, "on the peer the disks of web are not known to answer"),
        ({"peer": FROZEN}, "on the peer the disks of web do not answer"),
    ],
)
def test_node_is_to_be_proved_out_while_nothing_else_helps(
    values: dict[str, Any], why: str
) -> None:
    """Each reason by itself that it is not, or not yet."""
    assert why_not_needed(**values) == why


def test_service_that_was_not_given_up_needs_no_proof() -> None:
    """Whatever its state."""
    found = GivingUp().why_not_needed(WEB, ServiceState.STOP_FAILED, SIGHT, a_view(), 100.0)
    assert found == "web is STOP_FAILED"


# for the operator


def status(disks: str, peer_disks: str, peer_state: ServiceState | None) -> ServiceStatus:
    return ServiceStatus(
        "web", "deb1", "deb2", STARTED, STOPPED, STARTED, peer_state,
        disks=disks, peer_disks=peer_disks,
    )  # fmt: skip


@pytest.mark.parametrize(
    "found, count",
    [
        (status("", "not known", STOPPED), 0),
        (status("answer", "answer", STOPPED), 0),
        (status("answer", "not known", STOPPED), 1),
        (status("not known: none", "answer", STOPPED), 1),
        (status("not known: none", "not known", STOPPED), 1),
        (status("answer", "not known", None), 0),
        (status("answer", "not known", ServiceState.UNKNOWN), 0),
    ],
)
def test_option_without_effect_is_a_warning(found: ServiceStatus, count: int) -> None:
    """For what this node does not look at, and for a peer that is heard and reports nothing."""
    texts = warnings((found, status("answer", "answer", STOPPED)), "deb2")
    assert len(texts) == count
    assert all(text.startswith("frozen_storage = give_up of web has no effect: ") for text in texts)


def explained(
    state: ServiceState = STARTED,
    giving_up: GivingUp | None = None,
    silence: str = "",
    **changes: Any,
) -> str:
    return (giving_up or GivingUp()).explain(
        state, POLICY, replace(SIGHT, **changes), silence, 100.0
    )


def test_operator_reads_what_follows_of_frozen_disks() -> None:
    """In each case."""
    begins = "its disks do not answer here: no answer of /dev/sda for 30 s"
    going_on, often = GivingUp(), GivingUp()
    going_on.begin(90.0)
    for number in range(GIVE_UPS_MAX):
        often.begin(90.0 + number)
        often.end()
    assert explained(own=DisksLook(ANSWERS)) == ""
    assert explained(giving_up=going_on) == f"{begins}; given up; its stop is waited for"
    assert explained(giving_up=going_on, silence="silent") == f"{begins}; given up; silent"
    frozen = explained(ServiceState.FROZEN_START)
    assert frozen == f"{begins}; an operator froze it: not given up"
    assert explained(STOPPED) == f"{begins}; left to the peer, which reads them"
    assert explained(STOPPED, why_not="why") == begins
    assert explained(ServiceState.START_FAILED) == begins
    assert explained(why_not="why") == f"{begins}; not given up: why"
    assert explained(giving_up=often) == f"{begins}; not given up again: 2 times within 10 min"
    assert explained(frozen_s=8.0).endswith("for 8 s; the peer reads them: given up in 22 s")
    assert explained(frozen_s=31.0).endswith("the peer reads them: given up in 0 s")


def test_standing_of_the_views_is_as_meant() -> None:
    """What the other tests rely on."""
    assert a_view().standing is PeerStanding.LIVE
    assert a_view(is_up=False).standing is PeerStanding.SILENT


@pytest.mark.parametrize(
    "acked, facts, peer",
    [
        (6, Facts(answering=frozenset({"web"})), UNKNOWN),
        (7, Facts(answering=frozenset({"web"})), ANSWERS),
        (6, Facts(frozen={"web": 3}), FROZEN),
    ],
)
def test_peer_that_had_not_heard_of_the_freeze_may_speak_of_before(
    acked: int, facts: Facts, peer: DiskAnswer
) -> None:
    """That its disks answer, that is."""
    disks = DataDisks()
    disks.record(DisksLooked(100.0, {"web": DisksLook(FROZEN, 60.0, "/dev/sda")}), 100.0, 7)
    view = PeerView(BootId(1, 1))
    ack = Ack(BootId(1, 1), acked)
    view.take(Beat("deb2", BootId(1, 2), 1, ack, {"web": STOPPED}, facts=facts), 100.0, True)
    view.judge(True, None, 100.0)
    assert sight_of("web", disks, view, 100.0).peer is peer


def test_decision_starts_over() -> None:
    """What another stop was to lead to is forgotten."""
    giving = GivingUp()
    giving.is_to_freeze = giving.is_stop_hung = True
    giving.begin(100.0)
    assert not giving.is_to_freeze and not giving.is_stop_hung
