"""List what can be tried out: each step of it, what could go wrong, and what speaks against it.

Pure: it reads two statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from opensvc_openha.cli.drill_findings import Passed
from opensvc_openha.core.model import PathKind
from opensvc_openha.core.states import UP
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.core.timing import PACES, hold_s
from opensvc_openha.drill.cables import Cable, cables_of
from opensvc_openha.drill.links import limit_s
from opensvc_openha.drill.power import why_no_power, why_no_watchdog
from opensvc_openha.drill.refusals import owner_of, why_no_cut, why_no_switch
from opensvc_openha.drill.takeover import seconds_of, why_no_takeover
from opensvc_openha.storage.drills import DrillKind, drill_name

_CUTTING = (PathKind.POWER.value, PathKind.CALLOUT.value)


@dataclass(frozen=True)
class Offer:
    """One thing that can be tried out, as it is now.

    ``steps`` is what is done, in order; ``risks`` what could go wrong, and what happens then;
    ``refused`` what speaks against it now.
    """

    kind: DrillKind
    subject: str
    command: str
    steps: tuple[str, ...]
    risks: tuple[str, ...]
    refused: tuple[str, ...] = ()
    passed_at: float | None = None

    @property
    def name(self) -> str:
        """What is tried out: ``link net eth1``."""
        return drill_name(self.kind.value, self.subject)


def offers_of(
    own: NodeStatus, peer: NodeStatus, general: Sequence[str], passed: Iterable[Passed]
) -> list[Offer]:
    """Return everything that can be tried out here; ``general`` speaks against each drill."""
    at = {each.name: each.at for each in passed}
    offers = [offer_of_link(own, peer, cable) for cable in cables_of(own)]
    offers += [offer_of_switch(own, peer, svc.name) for svc in own.services]
    there = [svc.name for svc in peer.services if svc.own_state in UP]
    if there:
        offers.append(offer_of_takeover(own, peer, there))
    offers += [
        offer_of_power(own, peer, path.name) for path in own.fencing.paths if path.kind in _CUTTING
    ]
    if own.lease is not None:
        offers.append(offer_of_watchdog(own))
    return [
        replace(each, refused=(*general, *each.refused), passed_at=at.get(each.name))
        for each in offers
    ]


def offer_of_link(own: NodeStatus, peer: NodeStatus, cable: Cable) -> Offer:
    """Return the drill of one link."""
    most_s = limit_s(cable)
    return Offer(
        DrillKind.LINK,
        cable.name,
        f"openha drill links '{cable.name}'",
        (
            f"the daemon of {own.node} closes both ends of {cable.name}, for {most_s:.0f} s at"
            " most",
            f"both nodes are waited for to call it down: {cable.timeout_s:g} s here,"
            f" {cable.peer_timeout_s:g} s on {own.peer}; no service may move, no other link fail",
            "it is opened again, and both nodes are waited for to call it up",
        ),
        (
            "another link fails meanwhile: the link is opened at once, by the daemon itself if no"
            " other one is up",
            "this command is killed: the daemon opens the link at once",
            f"the daemon of {own.node} ends: the next one knows nothing of the cut",
        ),
        tuple(why_no_cut(own, peer, cable)),
    )


def offer_of_switch(own: NodeStatus, peer: NodeStatus, service: str) -> Offer:
    """Return the drill of a planned move."""
    owner = owner_of(own, peer, service) or "the node that runs it"
    other = own.peer if owner == own.node else own.node
    return Offer(
        DrillKind.SWITCH,
        service,
        f"openha drill switch {service}",
        (
            f"{owner} stops {service}, and {other} starts it: as svcmgr -s {service} switch does."
            " It is away meanwhile",
            "everything is looked at once more, as before the first step",
            f"{other} stops it, and {owner} starts it again. It is away once more",
        ),
        (
            f"{service} does not start on {other}: what is left of it is stopped there, frozen,"
            f" and {owner} starts it again",
            f"its stop fails on {owner}: it is STOP_FAILED, and nothing is started elsewhere; see"
            f" openha why {service}",
            "this command is killed: the service stays where it is then",
        ),
        tuple(why_no_switch(own, peer, service)),
    )


def offer_of_takeover(
    own: NodeStatus, peer: NodeStatus, services: Sequence[str], general: Sequence[str] = ()
) -> Offer:
    """Return the drill of a takeover of everything that the other node runs."""
    names = " ".join(services)
    # By the longest delay of a profile: the one of this node is not in its status.
    held_s = hold_s(seconds_of(own, max(pace.start_ready_delay_s for pace in PACES.values())))
    return Offer(
        DrillKind.TAKEOVER,
        names,
        f"openha drill takeover {names}",
        (
            f"{own.node} holds its fences back: nobody is shot, and nothing starts by a silence",
            f"{own.peer} sends nothing on any link, without a goodbye, and stops {names}",
            f"{own.node} calls it silent, and {names} START_READY: as if {own.peer} had died",
            f"{own.peer} answers over the peer link that everything is stopped: that word takes the"
            f" place of the fence, and {own.node} starts {names}",
            f"{own.peer} speaks again, and is the standby; {names} stays on {own.node}",
        ),
        (
            f"the stop fails or takes too long on {own.peer}: it speaks again, and is not taken"
            " over",
            f"{own.peer} really dies meanwhile: it is fenced once the hold is over, up to"
            f" {held_s:.0f} s later than without a drill",
            f"the daemon of {own.node} ends, or is not heard by {own.peer}: {own.peer} speaks"
            " again at once",
            f"this command is killed: {own.peer} speaks again after its time, and {names} starts"
            f" on {own.node} then; it is left frozen on {own.peer}: thaw it there",
        ),
        (*general, *why_no_takeover(own, peer, services)),
    )


def offer_of_power(own: NodeStatus, peer: NodeStatus, path: str) -> Offer:
    """Return the drill of a power cut of the other node."""
    return Offer(
        DrillKind.POWER,
        path,
        f"openha drill power {path}",
        (
            f"its name is asked for, then the power of {own.peer} is cut by {path}, as openha"
            f" fence test --power {path} does",
            f"{own.peer} must fall silent, and no service of {own.node} move",
            f"somebody switches {own.peer} on, and it is waited for",
        ),
        (
            f"{path} cuts the power of another machine: {own.peer} is still heard then, the drill"
            " fails, and the path is reported as wrong",
            f"{own.peer} does not boot: {own.node} is alone then",
        ),
        tuple(why_no_power(own, peer, path)),
    )


def offer_of_watchdog(own: NodeStatus) -> Offer:
    """Return the drill of this node's own watchdog."""
    return Offer(
        DrillKind.WATCHDOG,
        "" if own.lease is None else own.lease.name,
        "openha drill power --watchdog",
        (
            f"its name is asked for, then the watchdog of {own.node} is armed and left alone, as"
            " openha fence test --watchdog does",
            f"{own.node} is reset; after its boot openha drill report shows how long that took",
        ),
        (f"{own.node} is not reset: an alarm in the history, the watchdog keeps no promise",),
        tuple(why_no_watchdog(own)),
    )
