"""The drill of one heartbeat link: cut in both directions, seen by both nodes, and taken back.

The daemon of this node closes both ends of the link, as if the cable were drawn. It opens them
again when this process ends, after a limit, and as soon as no other link is up.
"""

from __future__ import annotations

from dataclasses import dataclass

from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.drill.cables import Cable, cables_of, end_of, is_up
from opensvc_openha.drill.refusals import difference, states_of, why_no_cut
from opensvc_openha.drill.trial import Trial, expect
from opensvc_openha.errors import ActionError
from opensvc_openha.storage.history_entry import Entry, EntryKind
from opensvc_openha.system import clock

PEER_POLL_S = 0.5
"""Seconds between two questions to the other node."""
SLACK_S, SLACK_PART = 1.0, 0.25
"""A link that is down later than its timeout by more than that is worth a remark."""
_UP_LIMIT_S = 30.0
_DOWN = "DOWN"


def limit_s(cable: Cable) -> float:
    """Return for how long a link is cut at most."""
    return 3.0 * max(cable.timeout_s, cable.peer_timeout_s) + 15.0


@dataclass(frozen=True)
class _Before:
    """What must stay as it was."""

    own: dict[str, str]
    peer: dict[str, str]
    others: tuple[Cable, ...]


def play_link(trial: Trial, cable: Cable) -> None:
    """Cut a link, wait until both nodes report it as down, open it, and wait until it is up."""
    cluster = trial.cluster
    own, peer = trial.expect_all_well()
    expect(why_no_cut(own, peer, cable))
    before = _Before(
        states_of(own),
        states_of(peer),
        tuple(
            each
            for each in cables_of(own)
            if each.links != cable.links and is_up(own, each.hears) and is_up(peer, each.sends)
        ),
    )
    with client.cut_links(cluster.layout, cable.links, limit_s(cable)):
        trial.step(f"{cable.name} is cut, for {limit_s(cable):.0f} s at most")
        _await(trial, cable, before, is_down=True, limit=limit_s(cable) - 5.0)
        _measure(trial, cable)
    opened_at = clock.monotonic()
    trial.step(f"{cable.name} is open again")
    _await(trial, cable, before, is_down=False, limit=_UP_LIMIT_S + 3.0 * cable.timeout_s)
    trial.measured(f"{cable.name} up again on both nodes", clock.monotonic() - opened_at)


def _await(trial: Trial, cable: Cable, before: _Before, is_down: bool, limit: float) -> None:
    """Wait until both nodes report the link as down, or as up, and nothing else has changed."""
    cluster, give_up, asked_at = trial.cluster, clock.monotonic() + limit, 0.0
    while True:
        own = cluster.own()
        _expect_as_before(own, before.own, before.others, is_own=True)
        is_done = is_up(own, cable.hears) is not is_down
        if clock.monotonic() >= asked_at + PEER_POLL_S:
            asked_at = clock.monotonic()
            peer = cluster.peer().status
            _expect_as_before(peer, before.peer, before.others, is_own=False)
            if is_done and is_up(peer, cable.sends) is not is_down:
                return
        if clock.monotonic() >= give_up:
            where = own.peer if is_done else own.node
            state = "up still" if is_down else "down still"
            raise ActionError(f"{cable.name} is {state} on {where} after {limit:.0f} s")
        clock.pause(0.1)


def _expect_as_before(
    status: NodeStatus, states: dict[str, str], others: tuple[Cable, ...], is_own: bool
) -> None:
    if status.peer_standing is not PeerStanding.LIVE:
        raise ActionError(f"{status.node} does not hear {status.peer} any more")
    changed = difference(states, states_of(status))
    if changed:
        raise ActionError(f"{status.node}: {changed}, which a link that fails must not do")
    down = [each.name for each in others if not is_up(status, each.hears if is_own else each.sends)]
    if down:
        raise ActionError(
            f"{status.node}: {' and '.join(down)} went down as well: do they share a path?"
        )


def _measure(trial: Trial, cable: Cable) -> None:
    """Keep how long each node heard nothing until it called the link down, by its own clock."""
    cluster = trial.cluster
    own, peer = cluster.own(), cluster.peer().status
    for status, entries, link, timeout_s in (
        (own, cluster.history(), cable.hears, cable.timeout_s),
        (peer, cluster.peer_history(), cable.sends, cable.peer_timeout_s),
    ):
        end = end_of(status, link)
        took_s = None if end is None else _silence_s(entries, link, end.updated_at)
        if took_s is None:
            trial.remark(f"{link}: when {status.node} called it down is not in its history")
            continue
        trial.measured(f"{link}: last beat until down on {status.node}", took_s, timeout_s)
        if took_s > timeout_s * (1.0 + SLACK_PART) + SLACK_S:
            trial.remark(
                f"{link}: later than its timeout of {timeout_s:g} s: is a node overloaded?"
            )


def _silence_s(entries: list[Entry], link: str, heard_at: float | None) -> float | None:
    """Return the time from the last beat to the verdict; both by the clock of one node."""
    found = [
        entry.at
        for entry in entries
        if entry.kind is EntryKind.LINK and entry.name == link and entry.new == _DOWN
    ]
    return None if heard_at is None or not found or found[-1] < heard_at else found[-1] - heard_at
