"""A node of several services, where what holds for one of them does not hold for the others."""

from __future__ import annotations

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import Command, LeaveRequested, Leaving, RecoveredState, Tick
from opensvc_openha.core.events import ScriptKind as K
from opensvc_openha.core.events import ScriptOutcome as End
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.timing import STOP_HOLD_S
from tests.core.bench import OWN, Bench, beats, evaluated, scripts, watch_evaluations
from tests.core.pair import CHECK_ALWAYS, TIMEOUT_S, links, services


class _Two(Bench):
    """The service of the bench, and beside it `zabbix`, which is frozen."""

    def __init__(self, state: S = S.STOPPED) -> None:
        super().__init__(state, is_begun=False)
        spec = ClusterSpec(
            "deb1", "deb2", links(count=1), services("registry", "zabbix"), fencing=CHECK_ALWAYS
        )
        self.engine = Engine(
            spec,
            OWN,
            {"registry": RecoveredState(state), "zabbix": RecoveredState(S.FROZEN_STOP)},
            self.now,
        )
        self.done += self.engine.step(Tick(), self.now)


def test_goodbye_waits_for_the_stop_of_one_service_beside_others_that_are_out() -> None:
    """`registry` is being stopped, `zabbix` is frozen as stopped: LEFT is reported when the stop
    script has ended, not before.
    """
    bench = _Two().started()
    assert scripts(bench.step(LeaveRequested(Leaving.STOP_SERVICES))) == [K.STOP]
    assert all(beat.goodbye is Goodbye.NONE for beat in beats(bench.run(3)))
    assert beats(bench.ends(K.STOP))[-1].goodbye is Goodbye.LEFT


def test_goodbye_waits_for_a_service_that_started_meanwhile_beside_others_that_are_out() -> None:
    """The start script of `registry` ends after the order to leave: it is stopped first, though
    `zabbix` could go.
    """
    bench = _Two()
    bench.run(0.6, S.STOPPED)
    bench.ends(K.CHECK)
    bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    done = bench.ends(K.START)
    assert scripts(done) == [K.STOP] and all(beat.goodbye is Goodbye.NONE for beat in beats(done))


def test_restart_waits_for_the_script_of_one_service_beside_others_that_have_none() -> None:
    """The daemon is to be restarted while `registry` is being stopped: RESTART is reported when the
    stop script has ended.
    """
    bench = _Two().started()
    bench.order(Command.STOP)
    bench.step(LeaveRequested(Leaving.KEEP_SERVICES))
    assert all(beat.goodbye is Goodbye.NONE for beat in beats(bench.run(3)))
    assert beats(bench.ends(K.STOP))[-1].goodbye is Goodbye.RESTART


@pytest.mark.parametrize("command", [Command.FORCE_START, Command.FREEZE_STOP])
def test_hold_that_an_operator_ended_wakes_no_thread_when_it_would_have_been_over(
    command: Command, mocker: MockerFixture
) -> None:
    """force-stop holds the service for 5 s, the next command moves it on: it is not looked at again
    by itself.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.order(Command.FORCE_STOP)
    bench.now += 0.5
    bench.order(command)
    bench.ends(K.PROBE, End.DOWN)
    spy = watch_evaluations(mocker)
    bench.run(STOP_HOLD_S + 2)
    assert evaluated(spy) == []


def test_end_of_a_stalls_doubt_wakes_no_thread_while_the_peer_is_heard(
    mocker: MockerFixture,
) -> None:
    """A goodbye would count again 10 s after a stall.

    There was none, so the services are left alone then.
    """
    bench = Bench(S.FROZEN_STOP)
    bench.run(2, S.STOPPED)
    bench.now += 5
    bench.step(Tick())
    bench.run(1, S.STOPPED)
    spy = watch_evaluations(mocker)
    bench.run(TIMEOUT_S + 1, S.STOPPED)
    assert evaluated(spy) == []


def test_services_that_are_up_are_settled_while_no_script_changes_them() -> None:
    """`registry` between its start and its stop; `zabbix`, which is frozen as stopped, never."""
    bench = _Two()
    assert bench.engine.settled_services == frozenset()
    bench.run(0.6, S.STOPPED)
    bench.ends(K.CHECK)
    assert bench.engine.settled_services == frozenset(), "its start script runs"
    bench.ends(K.START)
    assert bench.engine.settled_services == {"registry"}
    bench.step(LeaveRequested(Leaving.STOP_SERVICES))
    assert bench.engine.settled_services == frozenset()
