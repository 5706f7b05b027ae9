"""Explain to the operator what a service waits for, and what a confirmation leads to."""

from __future__ import annotations

from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.peer_view import Evidence
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import RESTART_HOLD_S
from opensvc_openha.core.transitions import Situation

BOOT_BLOCKED = (
    "not started here: this node has not heard its peer since it booted, and does not fence it by"
    " itself"
)
BOOT_UNANSWERED = (
    "not started here: the peer was heard, but has not acknowledged this node since it booted,"
    " which does not fence it by itself"
)


def explain_wait(state: S, situation: Situation) -> str:
    """Explain what START_READY waits for; empty for any other state."""
    if state is not S.START_READY:
        return ""
    if situation.is_put_off:
        return "tried again within seconds"
    if situation.is_drain_due:
        return "its disks are being taken: what the peer had on its way may land until that is done"
    if situation.evidence is Evidence.SILENT:
        if situation.is_delay_over and situation.is_reach_open:
            return "peer is silent: waits for an answer of a target, or for none of them to answer"
        return (
            "peer is silent: start-ready delay"
            if not situation.is_delay_over
            else "peer is silent: waits to fence it"
        )
    if situation.is_promise_due and situation.evidence is not Evidence.OUT:
        return "waits until the watchdog is armed and this node's promise is confirmed"
    if situation.is_legacy:
        return f"peer is {situation.evidence.value} and cannot acknowledge: start-ready delay"
    return f"peer is {situation.evidence.value}: waits for its acknowledgement"


def explain_standby(situation: Situation, standing: PeerStanding) -> str:
    """Explain why a STOPPED service is not started here; empty if nothing is unusual about it."""
    if situation.evidence is Evidence.SILENT and situation.is_boot_blocked:
        return BOOT_BLOCKED
    if situation.evidence is Evidence.BUSY:
        return "not started here: some of it may be in use on the peer"
    if situation.evidence is Evidence.RUNS and standing is PeerStanding.DEPARTED:
        return "not started here: the peer's daemon left it running, frozen by an operator"
    if situation.evidence is Evidence.UNHEARD:
        if standing is PeerStanding.DEPARTED:
            return "not started here yet: the peer's daemon said goodbye, and may be back soon"
        return "not started here yet: the peer was neither heard nor listened to for a full timeout"
    return "held back for some seconds, so that the peer may go first" if situation.is_held else ""


_LEFT_FROZEN = (
    "not started: the peer's daemon left it running, frozen as started. If it does not run there:"
    " start it with its script, then service -A NAME force-start"
)
_CONFIRMED = {
    S.STOPPED: "is started here now",
    S.START_READY: "is started here now",
    S.STARTING: "is being started here",
    S.STARTED: "runs here already",
    S.FROZEN_START: "runs here already, frozen",
    S.FROZEN_STOP: "stays frozen: it is started here once you type service -A NAME unfreeze",
    S.START_FAILED: (
        "stays START_FAILED, for its start script failed here: service -A NAME freeze-stop, then"
        " unfreeze"
    ),
    S.STOP_FAILED: (
        "stays STOP_FAILED: some of it may be in use here; service -A NAME freeze-stop, then"
        " unfreeze"
    ),
    S.STOPPING: "is being stopped here",
    S.UNKNOWN: "its state here is not known: see service -s -v",
}
_RUNNING = {
    ScriptKind.CHECK: (
        "its check-up script runs: it is started here once that has ended, however it ends"
    ),
    ScriptKind.PROBE: "its status script runs: it is looked at again once that has ended",
}


def explain_confirmed(state: S, situation: Situation) -> str:
    """Describe what happens here once an operator has confirmed that the silent peer is out."""
    would_start = state in (S.STOPPED, S.START_READY) or (
        state is S.START_FAILED and situation.was_never_started
    )
    if situation.running in _RUNNING:
        return _RUNNING[situation.running]
    if not would_start:
        return _CONFIRMED.get(state, f"stays {state.name}")
    if situation.leaving is not None:
        return "not started: this node's daemon is leaving"
    if situation.evidence is Evidence.RUNS:
        return _LEFT_FROZEN
    if situation.evidence is Evidence.UNHEARD:
        return (
            "is started here unless the peer's daemon, which said goodbye, is back within"
            f" {RESTART_HOLD_S:g} s"
        )
    return (
        "is started here in some seconds"
        if situation.is_held and state is S.STOPPED
        else _CONFIRMED[S.STOPPED]
    )
