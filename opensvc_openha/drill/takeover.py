"""The drill of a takeover: the other node plays dead, and this one takes over what it ran.

    1  this node holds its fences back, for longer than the other one plays dead
    2  the other node falls silent on all links, without a goodbye, and stops its services
    3  this node calls it silent, and the services START_READY: as in a real failure
    4  the other node has answered, over the peer link, that it has stopped everything and starts
       nothing: that word takes the place of the fence, and the services start here
    5  the other node speaks again, and is the standby

What is not measured is the fence: it is held back, since nobody is to be shot. Every part ends by
itself: a drill that dies leaves a node that speaks again after its time, and services that start
here as soon as that one is heard to have stopped them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from opensvc_openha.control import client
from opensvc_openha.core.events import DrillOrder
from opensvc_openha.core.model import REQUEST_SERVICES_MAX
from opensvc_openha.core.prediction import start_ready_s
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.core.timing import DRILL_DEAD_MAX_S, DRILL_WORD_PART, PACES
from opensvc_openha.core.wording import named
from opensvc_openha.drill.cluster import Cluster
from opensvc_openha.drill.peer_part import why_not_dead
from opensvc_openha.drill.refusals import why_no_switch
from opensvc_openha.drill.switch import START_LIMIT_S, in_words, states_by_node
from opensvc_openha.drill.trial import Trial, expect
from opensvc_openha.errors import ActionError, OpenhaError, RefusedError
from opensvc_openha.peer_link.protocol import DrillWord
from opensvc_openha.storage.configuration import read_options
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.system import clock

STOP_S = 60.0
"""The stop of the services may take so long."""
_SPARE_S = 20.0
"""For what else a busy machine takes its time."""
_BACK_LIMIT_S = 60.0
"""From the order to speak until the other node is heard."""
_MEASURED = ("silence", "START_READY", "start script")
"""Parts of a prediction that a drill measures."""
_STARTED, _READY = ServiceState.STARTED, ServiceState.START_READY
_AT_REST = frozenset((_STARTED, ServiceState.START_FAILED, ServiceState.STOP_FAILED))


def why_no_takeover(own: NodeStatus, peer: NodeStatus, services: Sequence[str]) -> list[str]:
    """Return what speaks against taking over these services from a peer that plays dead."""
    found = []
    for service in services:
        svc = own.service(service)
        if svc is not None and svc.own_state is _STARTED:
            found.append(f"{service} runs here: type it on {own.peer}, which would take it over")
        else:
            found += why_no_switch(own, peer, service)
    if len(services) > REQUEST_SERVICES_MAX:
        found.append(
            f"{len(services)} services are to be taken over: one order to the other node has at"
            f" most {REQUEST_SERVICES_MAX}; move some away first"
        )
    if own.lease is not None:
        found.append(
            "[[lease]] is configured: a watchdog would reset a node that is not heard; try it out"
            " by openha drill power --watchdog"
        )
    if not found:
        why = why_not_dead(peer, services)
        found += [why] if why else []
    return found


def seconds_of(own: NodeStatus, delay_s: float) -> float:
    """Return for how long the other node has to play dead."""
    timeout_s = max((link.spec.timeout_s for link in own.links if not link.is_sender), default=0.0)
    needed_s = max(STOP_S, timeout_s + delay_s) + _SPARE_S
    return min(DRILL_DEAD_MAX_S, math.ceil(needed_s / DRILL_WORD_PART))


def play_takeover(trial: Trial, services: Sequence[str]) -> None:
    """Take over the services of a node that plays dead, and measure each part."""
    own, peer = trial.expect_all_well()
    expect(why_no_takeover(own, peer, services))
    cluster = trial.cluster
    pace = PACES[read_options(cluster.layout).timing.profile]
    delay_s = max(start_ready_s(own.fencing, name, pace) for name in services)
    seconds, began_at = seconds_of(own, delay_s), clock.monotonic()
    word_until = began_at + seconds * DRILL_WORD_PART
    client.order_drill(cluster.layout, DrillOrder.HOLD_FENCES, seconds)
    trial.step(f"{own.node} holds its fences back")
    trial.step(f"{own.peer} falls silent, for {seconds:.0f} s at most, and stops {named(services)}")
    asked_at = clock.wall()
    cluster.close()
    with ThreadPoolExecutor(1, thread_name_prefix="peer") as pool:
        stopped = pool.submit(cluster.order_peer, DrillWord.PLAY_DEAD, services, seconds)
        try:
            _await_silence(trial, stopped, word_until)
            _await_ready(trial, services, delay_s, word_until)
            _await_stopped(trial, stopped, word_until)
            for line in client.order_drill(cluster.layout, DrillOrder.PEER_STOPPED):
                trial.step(line)
            _await_started(trial, services)
            _measure(trial, own, services, asked_at)
        except BaseException:
            # What ended the drill is its result, whatever the way back finds besides.
            try:
                _come_back(trial, services, stopped, began_at + seconds)
            except OpenhaError as error:
                trial.remark(f"not all of it is taken back: {error}")
            raise
        _come_back(trial, services, stopped, began_at + seconds)
    tested = [each.tested_s for each in own.fencing.paths if each.tested_s is not None]
    fence = f"it last took {max(tested):.1f} s (openha fence test)" if tested else "never tested"
    trial.remark(f"not measured: the fence, which was held back; {fence}")
    trial.remark(f"{named(services)}: on {own.node} now; openha drill switch moves it and back")


def _await_silence(trial: Trial, stopped: Future[None], word_until: float) -> None:
    """Wait until this node calls the other one silent."""
    while trial.cluster.own().peer_standing is not PeerStanding.SILENT:
        if stopped.done() and stopped.exception() is not None:
            stopped.result()
        if clock.monotonic() >= word_until:
            raise ActionError("the other node is heard still")
        clock.pause(0.1)
    trial.step("the other node is silent")


def _await_ready(trial: Trial, services: Sequence[str], delay_s: float, word_until: float) -> None:
    """Wait until the services are START_READY, and for the delay that a real takeover waits."""
    cluster = trial.cluster

    def are_ready() -> bool:
        own = cluster.own()
        return all(states_by_node(own, name)[own.node] is _READY for name in services)

    trial.wait(are_ready, max(1.0, word_until - clock.monotonic()), "START_READY on this node")
    trial.step(f"{named(services)}: START_READY, and no fence begins")
    clock.pause(delay_s)


def _await_stopped(trial: Trial, stopped: Future[None], word_until: float) -> None:
    """Wait for the other node's answer that it has stopped everything."""
    try:
        stopped.result(max(0.1, word_until - clock.monotonic()))
    except TimeoutError:
        raise ActionError("the other node has not stopped its services in time") from None
    trial.step("the other node answers: everything is stopped there, and nothing is started")
    own = trial.cluster.own()
    if own.peer_standing is not PeerStanding.SILENT:
        raise ActionError(f"{own.peer} is {own.peer_standing.value} again")


def _await_started(trial: Trial, services: Sequence[str]) -> None:
    """Wait until the services run here."""
    cluster, give_up = trial.cluster, clock.monotonic() + START_LIMIT_S
    while True:
        own = cluster.own()
        states = {name: states_by_node(own, name)[own.node] for name in services}
        if all(state is _STARTED for state in states.values()):
            return
        failed = [name for name, state in states.items() if state is ServiceState.START_FAILED]
        if failed:
            raise ActionError(f"{named(failed)}: START_FAILED here: see openha why {failed[0]}")
        if clock.monotonic() >= give_up:
            shown = ", ".join(f"{name} is {state.name}" for name, state in states.items())
            raise ActionError(f"not started here: {shown}")
        clock.pause(0.1)


def _measure(trial: Trial, before: NodeStatus, services: Sequence[str], asked_at: float) -> None:
    """Keep the parts of the takeover, by the history of this node."""
    cluster = trial.cluster
    entries = [entry for entry in cluster.history() if entry.at >= asked_at]
    silent = next(
        (each for each in entries if each.kind is EntryKind.PEER and each.new == "SILENT"), None
    )
    heard = (
        []
        if silent is None or silent.sight is None
        else [link.silence_s for link in silent.sight.links if link.silence_s is not None]
    )
    if silent is None or not heard:
        trial.remark("when the other node was called silent is not in the history")
        return
    timeout_s = max(link.spec.timeout_s for link in before.links if not link.is_sender)
    trial.measured("last beat until silent", min(heard), timeout_s)
    last_beat = silent.mono - min(heard)
    for name in services:
        svc = before.service(name)
        up = next(
            (
                each.mono
                for each in entries
                if (each.kind, each.name, each.new) == (EntryKind.SERVICE, name, _STARTED.name)
            ),
            None,
        )
        if up is not None:
            predicted = None if svc is None else _without_proof_s(svc)
            trial.measured(f"{name}: last beat until STARTED, no fence", up - last_beat, predicted)


def _without_proof_s(svc: ServiceStatus) -> float | None:
    """Return the predicted takeover without what proves the peer out; None if it is not known."""
    parts = [each for each in svc.predicted_parts if each.text.startswith(_MEASURED)]
    is_known = any(each.text.startswith(_MEASURED[-1]) for each in parts)
    return sum(each.seconds for each in parts) if is_known else None


def _come_back(
    trial: Trial, services: Sequence[str], stopped: Future[None], dead_until: float
) -> None:
    """Let the other node speak again, end the hold, and thaw there what runs here."""
    cluster = trial.cluster
    with contextlib.suppress(OpenhaError):
        stopped.result()
    limit_s = _BACK_LIMIT_S
    try:
        cluster.order_peer(DrillWord.SPEAK)
    except OpenhaError as error:
        limit_s += max(0.0, dead_until - clock.monotonic())
        trial.remark(
            f"the other node could not be asked to speak, which it does by itself: {error}"
        )
    trial.wait(
        lambda: cluster.own().peer_standing is PeerStanding.LIVE,
        limit_s,
        "the other node is heard again",
    )
    with contextlib.suppress(RefusedError):
        client.order_drill(cluster.layout, DrillOrder.END_HOLD)
    trial.step("the other node is heard again; fences are not held back any more")
    _thaw(trial, cluster, services)


def _thaw(trial: Trial, cluster: Cluster, services: Sequence[str]) -> None:
    """Wait until each service runs on one node, and make the other node its standby again.

    One whose start or stop failed is an operator's: it is not waited for, and stays as it is.
    """

    def is_at_rest(name: str) -> bool:
        return not _AT_REST.isdisjoint(states_by_node(cluster.own(), name).values())

    failed = []
    for name in services:
        trial.wait(partial(is_at_rest, name), START_LIMIT_S, f"{name} runs on a node")
        own = cluster.own()
        states = states_by_node(own, name)
        if _STARTED not in states.values():
            failed.append(f"{name} is {in_words(states)}: see openha why {name}")
        elif states[own.peer] is ServiceState.FROZEN_STOP:
            cluster.order_peer(DrillWord.UNFREEZE, [name])
    if failed:
        raise ActionError("; ".join(failed))
    trial.step(f"{own.peer} is the standby of {named(services)} again")
