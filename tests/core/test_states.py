"""The numbers of the states, their groups, and what the groups decide."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import opensvc_openha
from opensvc_openha.core import states
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import ConfigChanged, RecoveredState, Tick
from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.core.states import FROZEN, MAY_RUN, PEER_OUT, state_name
from opensvc_openha.core.states import ServiceState as S
from tests.core.pair import links, services

DIGITS = {
    S.STOPPED: 0,
    S.STOPPING: 1,
    S.STARTED: 2,
    S.STARTING: 3,
    S.START_FAILED: 4,
    S.STOP_FAILED: 5,
    S.FROZEN_STOP: 6,
    S.START_READY: 7,
    S.UNKNOWN: 8,
    S.FORCE_STOP: 9,
    S.FROZEN_START: 7,
}
USES_SOMETHING = {
    S.STARTING,
    S.STARTED,
    S.FROZEN_START,
    S.STOPPING,
    S.START_FAILED,
    S.STOP_FAILED,
    S.UNKNOWN,
}


def test_every_state_has_the_digit_of_the_original() -> None:
    """Files and frames of the original hold them.

    FROZEN_START shares that of START_READY, which is what 7 is read as.
    """
    assert {state: state.digit for state in S} == DIGITS
    assert S.FROZEN_START.value == 10
    for digit in range(10):
        assert S.from_digit(digit).digit == digit and S.from_digit(digit) is not S.FROZEN_START


@pytest.mark.parametrize("digit", [-1, 10, 11, 255])
def test_any_other_digit_is_refused(digit: int) -> None:
    """10 is FROZEN_START inside, and nothing outside."""
    with pytest.raises(ValueError):
        S.from_digit(digit)


def test_groups_are_what_the_rules_speak_of() -> None:
    """Out is what never uses anything.

    Frozen is what only an operator leaves; all else but a wish to start may run.
    """
    assert {S.STOPPED, S.FROZEN_STOP} == PEER_OUT
    assert {S.FROZEN_STOP, S.FROZEN_START} == FROZEN
    assert MAY_RUN == USES_SOMETHING
    assert not MAY_RUN & PEER_OUT


def test_each_group_has_one_name() -> None:
    """Two names for the same states would drift apart."""
    groups = [group for group in vars(states).values() if isinstance(group, frozenset)]
    assert len(groups) > 10 and len(groups) == len(set(groups))


def test_groups_are_defined_in_one_module() -> None:
    """No other module of the package makes a set of states of its own."""
    package = Path(opensvc_openha.__file__).parent
    own = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in sorted(package.rglob("*.py"))
        if path != Path(states.__file__)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id in ("set", "frozenset")
        and all(isinstance(item, ast.Set) and _are_states(item) for item in node.value.args)
    ]
    assert not own


def _are_states(found: ast.Set) -> bool:
    """True for a set display of nothing but members of the enum, by the names it is known by."""
    return all(
        isinstance(item, ast.Attribute) and item.attr in S.__members__ for item in found.elts
    )


@pytest.mark.parametrize("state", list(S))
def test_service_taken_out_of_the_file_is_kept_while_it_may_run(state: S) -> None:
    """Removed from the services file in each state: forgotten only where nothing of it can be in
    use.
    """
    both = links()
    engine = Engine(
        ClusterSpec("deb1", "deb2", both, services()),
        BootId(1, 1),
        {"registry": RecoveredState(state)},
        0.0,
    )
    engine.step(Tick(), 0.0)
    assert engine.may_run("registry") is (state in USES_SOMETHING)
    engine.step(ConfigChanged(ClusterSpec("deb1", "deb2", both, ())), 1.0)
    assert (engine.snapshot(1.0).service("registry") is not None) is (state in USES_SOMETHING)
    assert engine.may_run("registry") is (state in USES_SOMETHING)


def test_state_that_is_not_known_has_a_name() -> None:
    """In messages about services that a node does not manage."""
    assert state_name(None) == "not known"
    assert [state_name(state) for state in S] == [state.name for state in S]
