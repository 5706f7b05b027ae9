"""A2: services on both nodes, and the nodes are cut from each other. One may survive, and must."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable

from tests.acceptance.bed import Bed
from tests.acceptance.cluster import ARBITER, Cluster
from tests.acceptance.errors import NotAccepted
from tests.acceptance.machines import Machine

TITLE = "A duel: services on both nodes, a total cut, one survivor"
SERVICES = ("alpha", "beta")
PORTAL = "10.60.0.3"
FENCING = "levels = ipmi\narbiter = {arbiter}\ncheck_interval = 15\n"
DUEL_LIMIT_S = 180.0
SETTLE_S = 10.0


Act = Callable[[int], None]
"""Something that is done in a round of this number."""


def play(bed: Bed) -> None:
    """Let a disk decide."""
    duels(bed, FENCING.format(arbiter=f"disk /dev/shared/{ARBITER}"))


def duels(bed: Bed, fencing: str, at_cut: Act | None = None, healed: Act | None = None) -> None:
    """Cut, see who survives, heal, bring the other one back: round by round."""
    bed.boot_nodes()
    bed.serve_disks(f"{ARBITER}=0")
    bed.log_in(PORTAL)
    cluster = Cluster(bed, SERVICES)
    cluster.install(fencing, has_boards=True)
    cluster.start(*bed.nodes)
    survivors: Counter[str] = Counter()
    shots = []
    for number in range(1, bed.rounds + 1):
        bed.player.title(f"Round {number}", "alpha runs on deb1, beta on deb2; then the cut.")
        cluster.until_armed()
        if at_cut is not None:
            at_cut(number)
        survivor, shot_s = duel(bed, cluster)
        survivors[survivor.name] += 1
        shots.append(shot_s)
        if healed is not None:
            healed(number)
        if number < bed.rounds:
            reunite(bed, cluster, survivor)
    for name, count in sorted(survivors.items()):
        bed.note(f"{name} survived {count} of {bed.rounds} duels")
    bed.note(
        f"from the cut to the shot: median {statistics.median(shots):.1f} s, worst"
        f" {max(shots):.1f} s"
    )


def duel(bed: Bed, cluster: Cluster) -> tuple[Machine, float]:
    """Cut the nodes from each other; return who survived, and the time until the other was shot."""
    shots = len(bed.switch.cuts)
    began = time.monotonic()
    cluster.cut()
    while len(bed.switch.cuts) == shots:
        if time.monotonic() - began > DUEL_LIMIT_S:
            raise NotAccepted(f"no node was shot within {DUEL_LIMIT_S:g} s")
        time.sleep(0.1)
    at, name = bed.switch.cuts[-1]
    bed.note(f"{name} is shot {at - began:.1f} s after the cut")
    survivor = next(machine for machine in bed.nodes if machine.name != name)
    for service in SERVICES:
        line = cluster.line(service, survivor, "STARTED")
        bed.player.until(survivor, "ez_svc_status", (line,), DUEL_LIMIT_S)
    # A second shot would be on its way by now.
    time.sleep(SETTLE_S)
    is_on = [machine.name for machine in bed.nodes if machine.is_on]
    bed.player.check(
        is_on == [survivor.name] and len(bed.switch.cuts) == shots + 1,
        f"one shot, one survivor, which runs both services: {survivor.name}",
    )
    bed.player.on(survivor, f"openha why {SERVICES[2 - survivor.number]}")
    return survivor, at - began


def reunite(bed: Bed, cluster: Cluster, survivor: Machine) -> None:
    """Heal the cut, boot the victim, give it its service back."""
    victim = next(machine for machine in bed.nodes if machine is not survivor)
    cluster.heal()
    cluster.bring_back(victim, PORTAL)
    for service in SERVICES:
        line = cluster.line(service, survivor, "STARTED", "STOPPED")
        bed.player.until(survivor, "ez_svc_status", (line,))
    service = SERVICES[victim.number - 1]
    bed.player.on(survivor, f"svcmgr -s {service} switch", limit_s=300)
    line = cluster.line(service, victim, "STARTED", "STOPPED")
    bed.player.until(survivor, "ez_svc_status", (line,), 200)
