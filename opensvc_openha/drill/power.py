"""The drill of a power cut, guided: `openha fence test --power`, or `--watchdog`, and the return.

The node that is cut must run nothing: its services are moved first, by the drill of a switch or by
hand. The cut itself, its measuring and its record are those of `openha fence test`, which refuses
what it refuses. Nothing here switches a machine on.
"""

from __future__ import annotations

from opensvc_openha.control import client
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.drill.cluster import Cluster
from opensvc_openha.drill.refusals import difference, states_of
from opensvc_openha.drill.trial import Trial, expect
from opensvc_openha.errors import ActionError
from opensvc_openha.formats.lease_config import LEASE
from opensvc_openha.system import clock

RETURN_LIMIT_S = 1800.0
"""Longest wait for the node to be back, in seconds."""
_POLL_S = 1.0


def why_no_power(own: NodeStatus, peer: NodeStatus, path: str) -> list[str]:
    """Return what speaks against cutting the power of the other node."""
    paths = {each.name: each for each in own.fencing.paths}
    if not own.fencing.plan:
        return ["there is no fence plan: [fencing] levels of openha.conf; see openha fence status"]
    if path not in paths:
        return [f"{path} is no path of [fencing] levels: {', '.join(paths) or 'there is none'}"]
    found = []
    if paths[path].state != "armed":
        found.append(f"{path} is {paths[path].state}: {paths[path].text}; see openha fence test")
    return found + _why_runs(peer)


def why_no_watchdog(own: NodeStatus) -> list[str]:
    """Return what speaks against letting the watchdog of this node reset it."""
    if own.lease is None:
        return ["no [[lease]] is configured: there is no watchdog to try out"]
    return _why_runs(own)


def _why_runs(node: NodeStatus) -> list[str]:
    running = [svc.name for svc in node.services if svc.own_state not in PEER_OUT]
    if not running:
        return []
    return [
        f"{node.node} runs {', '.join(running)}: move it first, as openha drill switch does one"
        " way, or svcmgr -s SERVICE switch; then freeze it there"
    ]


def play_power(trial: Trial, path: str) -> None:
    """Cut the power of the other node by a path, and wait until it is back."""
    own, peer = trial.expect_all_well()
    expect(why_no_power(own, peer, path))
    cluster, before = trial.cluster, states_of(own)
    trial.announce(f"the power of {own.peer} is cut by {path}")
    cut_at = clock.monotonic()
    # Refused by the daemon as `openha fence test --power` is.
    for line in client.drill(cluster.layout, path, own.peer):
        trial.step(line)
    took_s = clock.monotonic() - cut_at
    expected_s = next((each.tested_s for each in own.fencing.paths if each.name == path), None)
    trial.measured(f"{path}: power off, and {own.peer} silent", took_s, expected_s)
    _expect_unmoved(cluster.own(), before)
    trial.step(f"switch {own.peer} on now; it is waited for, {RETURN_LIMIT_S / 60:.0f} minutes")
    trial.wait(
        lambda: cluster.own().peer_standing is PeerStanding.LIVE,
        RETURN_LIMIT_S,
        f"{own.peer} is heard again",
        _POLL_S,
    )
    trial.measured(f"{own.peer} heard again, after the cut", clock.monotonic() - cut_at)
    _expect_unmoved(cluster.own(), before)


def _expect_unmoved(own: NodeStatus, before: dict[str, str]) -> None:
    changed = difference(before, states_of(own))
    if changed:
        raise ActionError(f"{own.node}: {changed}, although the other node ran nothing")


def order_watchdog(cluster: Cluster) -> list[str]:
    """Let the watchdog of this node reset it; return what is to be known of that.

    What it measures is known after the boot: `openha fence status` and the report show it then.
    """
    own, _, problems = cluster.look()
    expect(problems + why_no_watchdog(own))
    return client.drill(cluster.layout, LEASE, own.node)
