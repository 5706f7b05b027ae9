"""S3: what an operator froze stays as it is.

Exceptions:

* an operator ordered something since it was frozen
* it runs (it was started by hand), and becomes FROZEN_START
* the node lost the right to its data: what is frozen as started is stopped, and frozen as stopped
* the log of states has that it was unfrozen by order, and its STATE file not yet, when the daemon
  or the node ended: the next daemon may find either
* its STATE file was damaged or could not be written: the next daemon cannot know that it was frozen
"""

from __future__ import annotations

from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.states import FROZEN, ServiceState
from opensvc_openha.verify.invariants.observations import Adopted, Logged, Moved, ScriptBegan
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise

S3 = Promise("S3", "a frozen service is never started or stopped by the engine")


def check_move(seen: Moved | Logged, place: ServicePlace, has_lost_right: bool) -> None:
    """Check that a frozen state is left only by order."""
    is_left = place.state in FROZEN and seen.state is not place.state
    is_found_up = place.is_running and seen.state is ServiceState.FROZEN_START
    is_barred = has_lost_right and place.state is ServiceState.FROZEN_START
    if is_left and not (place.is_ordered or is_found_up or is_barred):
        assert place.state is not None
        text = f"left {place.state.name} for {seen.state.name} without an order"
        S3.fail(seen.at, seen.node, seen.service, text)


def check_script(seen: ScriptBegan, place: ServicePlace, has_lost_right: bool) -> None:
    """Check that no script starts or stops a frozen service."""
    is_barred = has_lost_right and seen.kind is ScriptKind.STOP
    if seen.kind in (ScriptKind.START, ScriptKind.STOP) and place.state in FROZEN and not is_barred:
        assert place.state is not None
        text = f"{seen.kind.value} script in {place.state.name}"
        S3.fail(seen.at, seen.node, seen.service, text)


def check_adoption(seen: Adopted, place: ServicePlace) -> None:
    """Check that a new daemon finds a frozen service frozen."""
    is_log_ahead = place.logged is not None and place.logged not in FROZEN
    if place.kept in FROZEN and seen.state not in FROZEN and not is_log_ahead:
        assert place.kept is not None
        text = f"was {place.kept.name}, and the daemon takes it for {seen.state.name}"
        S3.fail(seen.at, seen.node, seen.service, text)
