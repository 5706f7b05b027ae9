"""S1: one copy at most, and nothing reported out that runs.

Exceptions, each for one service:

* an operator forced its state on one of the nodes, and no stop script has ended it since
* it was started by hand: until that node's daemon has learned of it, or the peer has heard of it
* the wrapper of the service gave no clear answer, so that its daemon cannot know that it runs
* its disks were taken from the peer by a reservation, and the service needs no more: the peer's
  copy can do no harm, and is stopped once that node finds out (S7)
* the check-up script, or the fence plan, lied (it succeeded, and the peer lives), and the start
  relied on it: in silence, or on a goodbye that is as old as that
"""

from __future__ import annotations

from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.verify.invariants.observations import ScriptBegan
from opensvc_openha.verify.invariants.place import ServicePlace
from opensvc_openha.verify.invariants.promise import Promise

S1 = Promise(
    "S1",
    "at most one node runs a service, and none reports that it is out while it runs there",
)

_RELY_ON_CHECK = ("silence", "old goodbye", "plan")


def check_start(
    seen: ScriptBegan, own: ServicePlace, other: ServicePlace, peer: str, ground: str
) -> None:
    """Check that the service does not run on the peer when its start script begins."""
    is_secret = other.is_hidden or other.is_by_hand
    is_forced = own.is_forced or other.is_forced
    is_lied_to = own.is_check_lie and ground in _RELY_ON_CHECK
    # Two copies run, and only one of them can write: what the promise is for.
    is_barred = other.is_reserved and other.is_barred and ground == "reservation"
    if other.is_running and not (is_secret or is_forced or is_lied_to or is_barred):
        S1.fail(seen.at, seen.node, seen.service, f"started on {ground} while {peer} runs it")


def check_announced(
    at: float, node: str, service: str, state: ServiceState, place: ServicePlace
) -> None:
    """Check that a service which is announced as out does not run."""
    is_excused = place.is_forced or place.is_hidden
    if state in PEER_OUT and place.is_running and not is_excused:
        S1.fail(at, node, service, f"announced as {state.name} while it runs")
