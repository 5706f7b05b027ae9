"""The departure of a daemon: which goodbye it sends, and when."""

from __future__ import annotations

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.beat import BootId, Goodbye
from opensvc_openha.core.departure import Departure
from opensvc_openha.core.events import (
    LeaveRequested,
    Leaving,
    RecoveredState,
    ScriptKind,
    ScriptOutcome,
)
from opensvc_openha.core.fencing import Fencing
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.managed_services import ManagedServices
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.peer_view import PeerView
from opensvc_openha.core.service_machine import Moment
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import GOODBYE_REPEATS, LEAVE_SCRIPT_WAIT_S
from tests.core.bench import Bench
from tests.core.pair import links, services


def _services(state: S, is_busy: bool = False) -> ManagedServices:
    """One service in that state, with or without its status script under way."""
    spec = ClusterSpec("deb1", "deb2", links(), services())
    recovered = {svc.name: RecoveredState(state, must_probe=is_busy) for svc in spec.services}
    found = ManagedServices(spec, (), recovered, Fencing(spec, FencingMemory(), 0.0), 0.0)
    begun = found.begin(Moment(0.0, PeerView(BootId(1, 1)), None, 1))
    assert bool(begun) is is_busy and found.is_busy is is_busy
    return found


@pytest.mark.parametrize(
    "leaving, state, is_busy, waited_s, goodbye",
    [
        (None, S.STOPPED, False, 0.0, Goodbye.NONE),
        (Leaving.STOP_SERVICES, S.STOPPED, False, 0.0, Goodbye.LEFT),
        (Leaving.STOP_SERVICES, S.STARTED, False, 0.0, Goodbye.NONE),
        (Leaving.STOP_SERVICES, S.FROZEN_START, False, 0.0, Goodbye.LEFT),
        (Leaving.STOP_SERVICES, S.STOPPED, True, 1000.0, Goodbye.NONE),
        (Leaving.KEEP_SERVICES, S.STARTED, False, 0.0, Goodbye.RESTART),
        (Leaving.KEEP_SERVICES, S.STARTED, True, LEAVE_SCRIPT_WAIT_S - 0.1, Goodbye.NONE),
        (Leaving.KEEP_SERVICES, S.STARTED, True, LEAVE_SCRIPT_WAIT_S, Goodbye.RESTART),
    ],
)
def test_goodbye_waits_for_scripts_and_for_services_to_be_stopped(
    leaving: Leaving | None, state: S, is_busy: bool, waited_s: float, goodbye: Goodbye
) -> None:
    """A daemon that keeps its services waits for scripts only, and not for ever."""
    departure = Departure(0.0)
    if leaving is not None:
        departure.order(leaving, 100.0)
    assert departure.goodbye(_services(state, is_busy), 100.0 + waited_s) is goodbye
    is_timed = leaving is Leaving.KEEP_SERVICES
    assert departure.deadline == (100.0 + LEAVE_SCRIPT_WAIT_S if is_timed else None)


def test_order_to_stop_the_services_is_not_taken_back() -> None:
    """The other way round the stricter order counts, until the first goodbye was sent."""
    departure = Departure(0.0)
    departure.order(Leaving.KEEP_SERVICES, 1.0)
    departure.order(Leaving.STOP_SERVICES, 2.0)
    departure.order(Leaving.KEEP_SERVICES, 3.0)
    assert departure.leaving is Leaving.STOP_SERVICES

    kept = Departure(0.0)
    kept.order(Leaving.KEEP_SERVICES, 1.0)
    kept.record_goodbye()
    kept.order(Leaving.STOP_SERVICES, 2.0)
    assert kept.leaving is Leaving.KEEP_SERVICES
    assert kept.goodbye(_services(S.STARTED, is_busy=True), 2.0) is Goodbye.RESTART


def test_departure_is_over_after_the_last_goodbye() -> None:
    """It is announced by the first one."""
    departure, found = Departure(0.0), []
    for _ in range(GOODBYE_REPEATS):
        found.append((departure.is_announced, departure.is_over))
        departure.record_goodbye()
    assert found == [(False, False)] + [(True, False)] * (GOODBYE_REPEATS - 1)
    assert departure.is_over


@pytest.mark.parametrize("leaving", Leaving)
def test_check_up_that_ends_while_the_node_leaves_starts_nothing(leaving: Leaving) -> None:
    """The order came while the check-up script ran."""
    bench = Bench(S.STOPPED)
    bench.run(30.0)
    assert bench.engine.snapshot(bench.now).services[0].script == ScriptKind.CHECK.value
    bench.step(LeaveRequested(leaving))
    done = bench.ends(ScriptKind.CHECK, ScriptOutcome.OK)
    assert bench.state is S.STOPPED
    assert not [item for item in done if isinstance(item, RunScript)]


def test_busy_service_is_one_whose_script_runs() -> None:
    """The machine knows which one."""
    busy = _services(S.STOPPED, is_busy=True)
    assert busy["registry"].running is ScriptKind.PROBE and not busy.is_any_started
