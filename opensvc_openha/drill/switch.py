"""The drill of a planned move: a service is switched to the other node, and back.

Each way is the order that `svcmgr -s SERVICE switch` gives: the owner stops the service, the other
node starts it once it has acknowledged that. If the start fails there, what is left of it is
stopped, and the service comes back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.drill.cluster import Cluster
from opensvc_openha.drill.refusals import owner_of, why_no_switch
from opensvc_openha.drill.trial import Trial, expect
from opensvc_openha.errors import ActionError, OpenhaError
from opensvc_openha.peer_link.protocol import DrillWord
from opensvc_openha.storage.durations import ServiceTimes, read_durations
from opensvc_openha.system import clock
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.rehearsal.happenings import read_happenings
from opensvc_openha.verify.rehearsal.rehearsal import Rehearsal
from opensvc_openha.whatif.main import read_present

START_LIMIT_S = 660.0
"""Longest wait for a start, in seconds: its script has its own limit."""
_SETTLE_LIMIT_S = 60.0
_UP, _FAILED = ServiceState.STARTED, ServiceState.START_FAILED


def play_switch(trial: Trial, service: str) -> None:
    """Move a service to the other node and back, and measure both ways."""
    own, peer = _expect_switchable(trial, service)
    first = owner_of(own, peer, service)
    second = own.peer if first == own.node else own.node
    # Whether that node takes orders at all is found out before the first one.
    trial.cluster.order_peer(DrillWord.SPEAK)
    try:
        _move(trial, service, first, second)
        _settle(trial, service)
        _expect_switchable(trial, service)
        _move(trial, service, second, first)
        _settle(trial, service)
    except OpenhaError as error:
        left = _what_is_left(trial.cluster, service, first)
        raise ActionError(f"{error}. {left}" if left else str(error)) from error
    except KeyboardInterrupt:
        left = _what_is_left(trial.cluster, service, first)
        if left:
            trial.remark(left)
        raise


def _what_is_left(cluster: Cluster, service: str, first: str) -> str:
    """Return where the service is now; empty if it runs where it was before the drill."""
    try:
        states = states_by_node(cluster.own(), service)
    except OpenhaError as error:
        return f"Where {service} runs now is not known: {error}"
    if states[first] is _UP:
        return ""
    up = [node for node, state in states.items() if state is _UP]
    if up:
        return f"{service} runs on {up[0]} now, and not on {first}: svcmgr -s {service} switch"
    return f"{service} is {in_words(states)} now: openha why {service}"


def _expect_switchable(trial: Trial, service: str) -> tuple[NodeStatus, NodeStatus]:
    own, peer = trial.expect_all_well()
    expect(why_no_switch(own, peer, service))
    return own, peer


def _move(trial: Trial, service: str, owner: str, target: str) -> None:
    cluster = trial.cluster
    is_own = cluster.own().node == owner
    expected_s = predicted_s(cluster, service, is_own)
    trial.step(f"{service}: {owner} stops it, {target} is to start it")
    asked_at = clock.wall()
    order(cluster, is_own, Command.STOP, service)
    try:
        _await_start(trial, service, owner, target)
    except ActionError as error:
        _bring_back(trial, service, is_own, owner, target, str(error))
    left_at = cluster.moment(service, is_own, ServiceState.STARTED.name, asked_at, is_old=True)
    back_at = cluster.moment(service, not is_own, ServiceState.STARTED.name, asked_at)
    if left_at is None or back_at is None:
        trial.remark(f"{service}: the history does not have when it left {owner}")
        left_at, back_at = asked_at, clock.wall()
    trial.measured(f"{service} away, {owner} to {target}", back_at - left_at, expected_s)


def order(cluster: Cluster, is_own: bool, command: Command, service: str) -> None:
    """Give an order for a service to the daemon of this node, or of the other one."""
    if is_own:
        cluster.act(command, [service])
    else:
        cluster.order_peer(DrillWord(command.value), [service])


def _await_start(trial: Trial, service: str, owner: str, target: str) -> None:
    """Wait until the target runs the service, as this node sees it."""
    give_up = clock.monotonic() + START_LIMIT_S
    while True:
        status = trial.cluster.own()
        states = states_by_node(status, service)
        if states[target] is _UP:
            return
        if states[target] is _FAILED:
            raise ActionError(f"{service} is START_FAILED on {target}: see openha why {service}")
        if states[owner] is _UP:
            raise ActionError(f"{service} came back to {owner}: {target} did not take it")
        if clock.monotonic() >= give_up:
            raise ActionError(f"{service} was not started on {target}: {in_words(states)}")
        clock.pause(0.05)


def _bring_back(
    trial: Trial, service: str, is_own: bool, owner: str, target: str, why: str
) -> None:
    """Stop on the target what a failed start may have left; the owner starts the service then."""
    states = states_by_node(trial.cluster.own(), service)
    if states[target] is not _FAILED:
        raise ActionError(why)
    trial.step(f"{why}; what is left of it is stopped there, and {owner} starts it again")
    try:
        order(trial.cluster, not is_own, Command.FREEZE_STOP, service)
        trial.wait(
            lambda: states_by_node(trial.cluster.own(), service)[owner] is _UP,
            START_LIMIT_S,
            f"{service} back on {owner}",
        )
    except OpenhaError as error:
        raise ActionError(f"{why}. It was not brought back: {error}") from error
    raise ActionError(
        f"{why}. {owner} runs it again, and {target} is frozen: once it is repaired there, thaw it"
    )


def _settle(trial: Trial, service: str) -> None:
    """Wait until both nodes are ready for the next move: a script or a hold may be under way."""

    def is_settled() -> bool:
        with contextlib.suppress(OpenhaError):
            own, peer = trial.cluster.own(), trial.cluster.peer().status
            return not why_no_switch(own, peer, service) and not _is_moving(own, peer, service)
        return False

    trial.wait(is_settled, _SETTLE_LIMIT_S, f"{service} at rest on both nodes", poll_s=0.5)


def _is_moving(own: NodeStatus, peer: NodeStatus, service: str) -> bool:
    return any(
        svc is not None and bool(svc.script)
        for svc in (own.service(service), peer.service(service))
    )


def states_by_node(status: NodeStatus, service: str) -> dict[str, ServiceState]:
    """Return the states of a service by node, as one node sees them."""
    svc = status.service(service)
    unknown = ServiceState.UNKNOWN
    if svc is None:
        return {status.node: unknown, status.peer: unknown}
    return {status.node: svc.own_state or unknown, status.peer: svc.peer_state or unknown}


def in_words(states: Mapping[str, ServiceState]) -> str:
    """Return the states of a service by node as a clause."""
    return ", ".join(f"{state.name} on {node}" for node, state in states.items())


def predicted_s(cluster: Cluster, service: str, is_own: bool) -> float | None:
    """Return how long a move should take; None if that is not known.

    Away from this node by a rehearsal; to this node by the starts that were measured here, which
    are the largest part of it.
    """
    if is_own:
        with contextlib.suppress(OpenhaError, InvariantBroken):
            planned = read_happenings(["service", service, "switch"])
            result = Rehearsal(read_present(cluster.layout)).play(planned)
            return next((svc.away_s for svc in result.services if svc.name == service), None)
        return None
    starts = sorted(read_durations(cluster.layout).get(service, ServiceTimes()).starts)
    return starts[len(starts) // 2] if starts else None
