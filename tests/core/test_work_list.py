"""Which services a step evaluates, and what changes in what is announced."""

from __future__ import annotations

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.managed_services import ManagedServices
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import Moment
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.work_list import WorkList
from tests.core.pair import links, services

_VIEW = PeerView(BootId(1, 1))


def _at(now: float) -> Moment:
    return Moment(now, _VIEW, None, 1)


def _services(*states: S) -> ManagedServices:
    names = [f"svc{number}" for number in range(len(states))]
    spec = ClusterSpec("deb1", "deb2", links(), services(*names))
    recovered = {name: RecoveredState(state) for name, state in zip(names, states)}
    return ManagedServices(spec, (), recovered, Fencing(spec, FencingMemory(), 0.0), 0.0)


def _clean(managed: ManagedServices) -> WorkList:
    """A list after its first step, in which every service was evaluated."""
    work = WorkList()
    assert work.chosen(managed, 0.0) == list(managed)
    work.update_announced(list(managed), managed, _at(0.0))
    work.finish(set())
    return work


def test_only_marked_services_and_those_whose_time_has_come_are_chosen() -> None:
    """A mark lasts for one step; what is not managed is never chosen."""
    managed = _services(S.STOPPED, S.STOPPED, S.STOPPED)
    work = _clean(managed)
    assert work.chosen(managed, 5.0) == [] and not work.is_waiting
    work.deadlines = {"svc1": 5.0, "svc2": 5.1}
    work.mark(("svc0", "unknown"))
    assert work.chosen(managed, 5.0) == ["svc0", "svc1"] and work.is_waiting
    work.finish({"svc2"})
    assert work.chosen(managed, 4.0) == ["svc2"] and work.is_waiting
    work.mark_all()
    assert work.chosen(managed, 4.0) == ["svc0", "svc1", "svc2"]


def test_changed_state_is_news_once_and_the_first_question_is_new() -> None:
    """A service that is START_READY waits for the peer's acknowledgement."""
    managed = _services(S.STOPPED, S.STOPPED)
    work = _clean(managed)
    assert not work.update_announced(["svc0", "svc1"], managed, _at(1.0))
    for name, is_first in (("svc0", True), ("svc1", False)):
        managed[name].state = S.START_READY
        assert work.update_announced([name], managed, _at(1.0))
        assert work.is_question_new is is_first and work.announced[name] is S.START_READY
        assert not work.update_announced([name], managed, _at(1.0))
    assert work.unacknowledged == {"svc0", "svc1"}
    managed["svc0"].state = S.STOPPED
    assert work.update_announced(["svc0"], managed, _at(1.0))
    assert work.unacknowledged == {"svc1"}


def test_what_was_announced_is_replaced_and_never_changed() -> None:
    """Beats keep it, and may still be on their way; without news it is the same object."""
    managed = _services(S.STOPPED, S.STOPPED)
    work = _clean(managed)
    before = work.announced
    work.update_announced(["svc0", "svc1"], managed, _at(1.0))
    assert work.announced is before
    managed["svc1"].state = S.START_READY
    work.update_announced(["svc1"], managed, _at(1.0))
    assert before == {"svc0": S.STOPPED, "svc1": S.STOPPED}
    assert work.announced == {"svc0": S.STOPPED, "svc1": S.START_READY}


def test_service_that_is_gone_leaves_no_deadline_and_no_state() -> None:
    """It was removed in this step."""
    managed = _services(S.START_READY)
    work = _clean(managed)
    work.update_deadlines(["svc0"], managed, _at(0.0))
    assert set(work.deadlines) == set(work.announced) == work.unacknowledged == {"svc0"}
    nothing = _services()
    work.update_deadlines(["svc0"], nothing, _at(1.0))
    assert not work.update_announced(["svc0"], nothing, _at(1.0))
    assert not work.deadlines and not work.announced and not work.unacknowledged
