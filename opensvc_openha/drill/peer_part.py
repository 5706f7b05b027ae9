"""The other node's part of a drill: what its peer server runs here.

To play dead, this node falls silent first, and stops its services then: to the other one it dies
with all that it runs. Only when everything is stopped, and it is silent still, it answers so; else
it speaks again at once, and the answer is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from opensvc_openha.control import client
from opensvc_openha.core.events import Command, DrillOrder
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.core.wording import named
from opensvc_openha.drill.cluster import obey
from opensvc_openha.errors import ActionError, OpenhaError, RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.protocol import DrillRequest, DrillWord
from opensvc_openha.system import clock

_HEARD_S = 5.0
"""After so long a beat has reported that the other node holds its fences back."""
_LOOK_S = 0.2
_COMMANDS = {
    DrillWord.STOP: Command.STOP,
    DrillWord.FREEZE_STOP: Command.FREEZE_STOP,
    DrillWord.UNFREEZE: Command.UNFREEZE,
}


def do_part(layout: Layout, request: DrillRequest) -> None:
    """Do what is asked for; raise an error if it was not done."""
    if request.word is DrillWord.PLAY_DEAD:
        play_dead(layout, request.services, request.seconds)
    elif request.word is DrillWord.SPEAK:
        client.order_drill(layout, DrillOrder.SPEAK)
    else:
        obey(layout, _COMMANDS[request.word], request.services)


def why_not_dead(status: NodeStatus, services: Sequence[str]) -> str:
    """Return why this node must not play dead and stop these services; empty if it may.

    What it runs besides would be taken over as well, and run twice.
    """
    if status.peer_standing is not PeerStanding.LIVE:
        return f"{status.peer} is {status.peer_standing.value}"
    if status.lease is not None:
        return "[[lease]] is configured: its watchdog would reset a node that is not heard"
    known = {svc.name for svc in status.services}
    missing = sorted(set(services) - known)
    if missing:
        return f"{named(missing)}: no service of {status.node}"
    more = [
        svc.name
        for svc in status.services
        if svc.name not in services and svc.own_state not in PEER_OUT
    ]
    if more:
        return f"{status.node} runs {named(more)} as well, or may: name it, or move it first"
    if any(svc.script for svc in status.services):
        return f"a script runs on {status.node}"
    not_up = [
        svc.name
        for svc in status.services
        if svc.name in services and svc.own_state is not ServiceState.STARTED
    ]
    return f"{named(not_up)}: not STARTED on {status.node}" if not_up else ""


def _begin_to_play_dead(layout: Layout, seconds: float) -> float:
    """Order it as soon as this node has heard of the other one's hold; return when it ends."""
    give_up = clock.monotonic() + _HEARD_S
    while True:
        ends_at = clock.monotonic() + seconds
        try:
            client.order_drill(layout, DrillOrder.PLAY_DEAD, seconds)
        except RefusedError:
            if clock.monotonic() >= give_up:
                raise
            clock.pause(_LOOK_S)
        else:
            return ends_at


def play_dead(layout: Layout, services: Sequence[str], seconds: float) -> None:
    """Fall silent for so many seconds, stop the services, and return once all are stopped."""
    why = why_not_dead(client.fetch_status(layout), services)
    if why:
        raise RefusedError(why)
    ends_at = _begin_to_play_dead(layout, seconds)
    print(f"silent, for {seconds:.0f} s at most", flush=True)
    try:
        obey(layout, Command.FREEZE_STOP, services)
        status = client.fetch_status(layout)
        up = [svc.name for svc in status.services if svc.own_state not in PEER_OUT or svc.script]
        if up:
            raise ActionError(f"{named(up)}: not stopped")
        if not status.drill or clock.monotonic() >= ends_at:
            raise ActionError("stopped too late: this node speaks again")
    except BaseException:
        with contextlib.suppress(OpenhaError):
            client.order_drill(layout, DrillOrder.SPEAK)
        raise
    print(f"stopped: {named(services)}; nothing runs here, and nothing is started", flush=True)
