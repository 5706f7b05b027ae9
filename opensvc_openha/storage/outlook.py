"""Derive from a service's state what it waits for, and what an operator can do now.

Pure: the facts are collected by the caller, for a daemon that answers and for one that does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.core.model import ALWAYS_TRUE, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.storage.history_entry import Entry
from opensvc_openha.system.kernel_log import RefusedWrites

_PARTS = "parts of it may be in use there until it is frozen as stopped"


@dataclass(frozen=True)
class Circumstances:
    """Everything known at the time of the question.

    ``status`` is None if no daemon answers, and ``no_daemon`` is the reason.
    """

    service: str
    node: str
    peer: str
    spec: ServiceSpec | None
    entries: tuple[Entry, ...]
    context: tuple[Entry, ...]
    status: NodeStatus | None
    no_daemon: str
    stored: str
    running_script: str
    log_file: str
    delay_s: float
    """How long START_READY waits beside a silent peer, in seconds."""
    has_plan: bool = False
    """A fence plan is configured: check-up scripts need not fence."""
    refused: tuple[RefusedWrites, ...] = ()
    """Writes of this node that reserved disks have refused."""


def what_it_waits_for(facts: Circumstances, state: str, reason: str) -> str:
    """Return the event that a service in this state waits for, as a clause."""
    if facts.status is None:
        return "nothing is decided on this node until nmond runs"
    waits = {
        ServiceState.START_READY: f"{reason} ({facts.delay_s:g} s where the peer is silent)",
        ServiceState.STARTING: facts.running_script or "the end of its script",
        ServiceState.STOPPING: facts.running_script or "the end of its stop script",
        ServiceState.STARTED: "nothing: it runs here",
        ServiceState.FROZEN_STOP: "an operator: a frozen service is neither started nor stopped",
        ServiceState.FROZEN_START: (
            "an operator: it runs here and is frozen, so nothing is decided about it"
        ),
        ServiceState.START_FAILED: (
            "an operator, or a peer that is heard again after a failed check-up script"
        ),
        ServiceState.STOP_FAILED: "an operator: what the stop script left behind is not known",
        ServiceState.UNKNOWN: "an operator: what runs here is not known",
        ServiceState.STOPPED: _standby(facts),
    }
    return waits.get(ServiceState[state], "") if state in ServiceState.__members__ else ""


def _standby(facts: Circumstances) -> str:
    """Explain what a stopped, unfrozen service waits for."""
    assert facts.status is not None
    now = facts.status.service(facts.service)
    peer = ServiceState.UNKNOWN if now is None or now.peer_state is None else now.peer_state
    return {
        ServiceState.STARTED: "the peer: it runs there, and this node is the standby",
        ServiceState.FROZEN_START: "the peer: it runs there, frozen",
        ServiceState.STARTING: "the peer, which is starting it",
        ServiceState.START_READY: "the peer, which goes first",
        ServiceState.STOPPING: "the end of the stop script on the peer",
        ServiceState.START_FAILED: f"the peer, where the start failed: {_PARTS}",
        ServiceState.STOP_FAILED: f"the peer, where the stop failed: {_PARTS}",
        ServiceState.UNKNOWN: _verdict(facts.status),
    }.get(peer, "a moment: the peer is out, so it will be started where it may be")


def _verdict(status: NodeStatus) -> str:
    if status.peer_standing is PeerStanding.LIVE:
        return "the peer, which is heard but does not know this service: add it there"
    return f"a verdict on the peer ({status.peer_standing.value}: {status.peer_reason})"


def _of_a_standby(facts: Circumstances, act: str) -> tuple[str, ...]:
    if facts.status is None:
        return ()
    return _word_of_an_operator(facts) or (f"to have it here: {act} freeze-stop on {facts.peer}",)


def _word_of_an_operator(facts: Circumstances) -> tuple[str, ...]:
    """Return what an operator can do about a silent peer: nothing can be typed there."""
    if facts.status is None or facts.status.peer_standing is not PeerStanding.SILENT:
        return ()
    if facts.status.fencing.confirmed_by:
        return ()
    return (f"if you made sure that {facts.peer} runs nothing: openha fence confirm {facts.peer}",)


def what_to_do(facts: Circumstances, state: str) -> tuple[str, ...]:
    """Return what to do next: first about the daemon, then about the state."""
    act, here, peer = f"$EZ_BIN/service -A {facts.service}", facts.node, facts.peer
    found: list[str] = []
    if facts.status is None:
        found.append(
            "start the daemon: $EZ/ezha start (a service that runs is found running, and not"
            " started again)"
        )
    now = None if facts.status is None else facts.status.service(facts.service)
    if now is not None and now.is_dual_run:
        found.append(
            f"both nodes run it: stop it on the node whose changes you give up, now: {act}"
            " freeze-stop"
        )
    look = f"see the output of the script: {facts.log_file}"
    again = (
        f"then {act} freeze-stop (runs the stop script), and {act} unfreeze to have it started"
        " again"
    )
    advice = {
        ServiceState.STARTED: (
            f"to move it: {act} freeze-stop here; once {peer} runs it, {act} unfreeze",
        ),
        ServiceState.STOPPED: _of_a_standby(facts, act),
        ServiceState.START_FAILED: (
            look,
            again,
            *_word_of_an_operator(facts),
            f"or leave it frozen here: {peer} starts it if it is unfrozen there",
        ),
        ServiceState.STOP_FAILED: (
            look,
            f"end by hand what is left, then {act} freeze-stop (stops it once more)",
        ),
        ServiceState.FROZEN_STOP: (f"{act} unfreeze lets this node run it",),
        ServiceState.FROZEN_START: (
            f"{act} unfreeze lets the cluster decide again; it continues to run meanwhile",
        ),
        ServiceState.START_READY: (f"to prevent the start: {act} freeze-stop",),
        ServiceState.STARTING: (f"if it takes long, {look}",),
        ServiceState.STOPPING: (f"if it takes long, {look}",),
        ServiceState.UNKNOWN: (
            (
                f"check on {here} what runs, then declare it: {act} force-start or force-stop;"
                f" or stop it: {act} stop"
            ),
        ),
    }
    found += advice.get(ServiceState[state], ()) if state in ServiceState.__members__ else ()
    if facts.spec is not None and facts.spec.check in ALWAYS_TRUE and not facts.has_plan:
        found.append(
            f"configure fencing: the check-up script {facts.spec.check} lets this node start it"
            f" while {peer} may run it"
        )
    return tuple(found)
