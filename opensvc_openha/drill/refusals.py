"""Decide whether a drill may begin or continue: what speaks against it, why, what to do. Pure.

A drill is for a cluster in which all is well: whatever is not could turn it into the failure that
it plays. Each refusal is a sentence: what is wrong, what could come of it, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from opensvc_openha.core.facts import Reach
from opensvc_openha.core.states import PASSING, UP, ServiceState
from opensvc_openha.core.status import NodeStatus, PeerStanding, ServiceStatus
from opensvc_openha.drill.cables import Cable, cables_of, is_up

STALL_S = 600.0
"""A node that stalled within so many seconds may do so again, in the middle of a drill."""
_UNKNOWN = ServiceState.UNKNOWN


def why_not(own: NodeStatus, peer: NodeStatus, stalls_s: Sequence[float] = ()) -> list[str]:
    """Return what speaks against any drill now, as both nodes report it.

    ``stalls_s`` is how long ago each stall of either node was, in seconds.
    """
    found = []
    for node in (own, peer):
        other = node.peer
        if node.age_s:
            found.append(
                f"nmond on {node.node} does not answer: its status is {node.age_s:.0f} s old; see"
                " its log"
            )
        if node.peer_standing is not PeerStanding.LIVE:
            found.append(
                f"{node.node} does not hear {other}, which is {node.peer_standing.value}: what is"
                " left would be a real failure; see hb -s -v"
            )
        if node.drill:
            found.append(f"{node.node}: {node.drill}: wait for its end")
        fencing = node.fencing
        if fencing.step or fencing.flight:
            found.append(f"{node.node} fences {other} at the moment: see openha fence status")
        if fencing.is_ejected_by:
            found.append(f"{node.node} was ejected by the arbiter: see openha fence status")
        found += [text for svc in node.services for text in _why_not_service(node, svc)]
        reach = node.connectivity
        if reach is not None and reach.reach == Reach.ISOLATED.value:
            found.append(f"{node.node} is isolated: {reach.text}; see service -s -v there")
        if node.own_only or node.peer_only:
            found.append(f"{node.node}: the nodes do not have the same services; see openha check")
    if any(ago_s <= STALL_S for ago_s in stalls_s):
        found.append(
            f"a node stalled within the last {STALL_S / 60:.0f} minutes: a stall in the middle of a"
            " drill could cost a service; see openha history --both and openha advise"
        )
    return list(dict.fromkeys(found))


def _why_not_service(node: NodeStatus, svc: ServiceStatus) -> list[str]:
    found = []
    if svc.is_dual_run:
        found.append(f"both nodes run {svc.name}: see openha why {svc.name}")
    if svc.own_state in PASSING or svc.script:
        script = f", its {svc.script} script runs" if svc.script else ""
        state = "" if svc.own_state is None else svc.own_state.name
        found.append(f"{svc.name} is {state} on {node.node}{script}: wait until it has ended")
    if svc.own_state is _UNKNOWN or svc.has_parts_up:
        found.append(f"what {svc.name} is on {node.node} is not known: see openha why {svc.name}")
    return found


def why_no_cut(own: NodeStatus, peer: NodeStatus, cable: Cable) -> list[str]:
    """Return what speaks against cutting one link."""
    found = []
    for node, sends, hears in ((own, cable.sends, cable.hears), (peer, cable.hears, cable.sends)):
        down = [link for link in (sends, hears) if not is_up(node, link)]
        if down:
            found.append(
                f"{' and '.join(down)} is down already on {node.node}: repair it first, see hb -s"
                " -v"
            )
    others = [each for each in cables_of(own) if each.links != cable.links]
    if not any(_is_whole(own, peer, each) for each in others):
        found.append(
            f"no other link than {cable.name} is up in both directions: a cut would be a silence,"
            " in which a node takes over and may fence the other one; add a link, or repair one"
        )
    return found


def _is_whole(own: NodeStatus, peer: NodeStatus, cable: Cable) -> bool:
    return is_up(own, cable.hears) and is_up(peer, cable.sends)


def why_no_switch(own: NodeStatus, peer: NodeStatus, service: str) -> list[str]:
    """Return what speaks against a switch of a service to the node that does not run it."""
    here, there = own.service(service), peer.service(service)
    if here is None or there is None:
        return [f"{service} is not a service of both nodes: see openha check"]
    owner, standby = (own, peer) if here.own_state in UP else (peer, own)
    running, waiting = owner.service(service), standby.service(service)
    assert running is not None and waiting is not None
    states = f"{_word(here)} on {own.node}, {_word(there)} on {peer.node}"
    if running.own_state is not ServiceState.STARTED:
        return [
            f"{service} does not run, or is frozen ({states}): thaw it first, as svcmgr -s"
            f" {service} thaw does, or service -A {service} unfreeze on the node where it is frozen"
        ]
    if waiting.own_state is not ServiceState.STOPPED:
        return [
            f"{standby.node} would not start {service} ({states}): thaw it there first, as svcmgr"
            f" -s {service} thaw does, or service -A {service} unfreeze"
        ]
    return _why_not_ready(standby, waiting)


def _why_not_ready(standby: NodeStatus, svc: ServiceStatus) -> list[str]:
    if not svc.cannot_start:
        return []
    text = svc.unready or svc.ready_text or "see openha check"
    return [f"{svc.name} could not start on {standby.node}: {text}; see openha check {svc.name}"]


def _word(svc: ServiceStatus) -> str:
    return "unknown" if svc.own_state is None else svc.own_state.name


def owner_of(own: NodeStatus, peer: NodeStatus, service: str) -> str:
    """Return the node that runs a service; empty for none."""
    for node in (own, peer):
        svc = node.service(service)
        if svc is not None and svc.own_state in UP:
            return node.node
    return ""


def states_of(status: NodeStatus) -> dict[str, str]:
    """Return what a node reports of its own services: what a drill must not change."""
    return {svc.name: _word(svc) for svc in status.services}


def difference(before: dict[str, str], now: dict[str, str]) -> str:
    """Return which services changed, as a clause; empty for none."""
    changed = [
        f"{name} {before.get(name, 'not there')} -> {now.get(name, 'not there')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    return ", ".join(changed)
