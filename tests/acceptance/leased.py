"""What the scenarios on the lease share: one service on a disk, its owner with a watchdog."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.acceptance.bed import Bed
from tests.acceptance.blocks import Handover, Line, handover, lines
from tests.acceptance.cluster import ARBITER, STAMP_BLOCK, Cluster
from tests.acceptance.errors import NotAccepted
from tests.acceptance.machines import Machine

SERVICE = "alpha"
PORTAL = "10.60.0.3"
FENCING = """levels = ipmi, lease
check_interval = 30
    [[lease]]
    watchdog = /dev/watchdog1
    timeout = {timeout}
    answer = 1
    virtual_pause = never
"""
KEY = "$EZ/conf/openha.key"
LIMIT_S = 180.0
DAY_S = 86400.0
SCRIPT = rf"(\d\d):(\d\d):(\d\d\.\d+) +start script of {SERVICE}: ok after ([\d.]+) s"
DEATH = r"promises: dead ([\d.]+) s after its last sign"
SELF_FENCED = "self-fenced: promised to be dead"
RESET = "softdog: Initiating system reboot"
READY = f"/acceptance/disks.py wrap {ARBITER} {SERVICE}; modprobe softdog"
"""What a node needs before its daemon starts."""


class Leased:
    """The cluster; its owner changes with each takeover."""

    def __init__(
        self, bed: Bed, fencing: str, has_boards: bool = True, default: str = "", ready: str = READY
    ) -> None:
        self.bed = bed
        self.player = bed.player
        self.owner, self.other = bed.nodes
        bed.boot_nodes()
        bed.serve_disks(f"{ARBITER}=0", f"{SERVICE}=0")
        bed.log_in(PORTAL)
        self.player.on_both(ready)
        self.cluster = Cluster(bed, (SERVICE,), "/dev/shared/{name}", default)
        self.cluster.install(fencing, has_boards=has_boards)
        self.player.on(self.owner, "openha key generate")
        key = self.player.on(self.owner, f"cat {KEY}")
        self.player.on(self.other, f"umask 077; cat > {KEY} << 'EOF'\n{key}EOF")
        self.cluster.start(self.owner)
        self._ready = ready

    def promise_s(self) -> float:
        """Return after which time the owner promises to be dead, as soon as it does."""
        name = f"{self.owner.name}.opensvc.com"
        status = self.player.until(self.other, "openha fence status || true", (f"{name} {DEATH}",))
        return float(re.findall(DEATH, status)[-1])

    def watch(self) -> None:
        """Note from now on what its owners write on the disk."""
        self.player.on(self.bed.target, f"/acceptance/target watch {SERVICE} {STAMP_BLOCK}")

    def watched(self) -> list[Line]:
        """Return what was noted."""
        return lines(self.bed.target.run("/acceptance/target watched", LIMIT_S).output)

    def handover(self, seen: list[Line]) -> Handover:
        """Return what was noted of a takeover."""
        try:
            return handover(seen, self.owner.name, self.other.name)
        except ValueError as error:
            raise NotAccepted(str(error)) from error

    def check(self, found: Handover) -> None:
        """Check that the former owner wrote nothing after its successor began to."""
        self.player.check(
            not found.late,
            f"the last write of {self.owner.name} is {found.margin_s:.1f} s before the first of"
            f" {self.other.name}",
        )

    def taken_over(self, at: float, proof: str = SELF_FENCED) -> float:
        """Wait for the start elsewhere; return how long after ``at`` its script began."""
        started = (self.cluster.line(SERVICE, self.other, "STARTED"),)
        self.player.until(self.other, "ez_svc_status", started, LIMIT_S)
        # The history has the end of the script a moment later.
        why = self.player.until(self.other, f"openha why {SERVICE}", (proof, SCRIPT))
        hours, minutes, seconds, took = re.findall(SCRIPT, why)[-1]
        ended = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        rate = self.other.clock.rate if self.other.clock is not None else 1.0
        began = (ended - float(took) - at % DAY_S) % DAY_S / rate
        self.bed.note(f"the start script of {SERVICE} began {began:.1f} s after the failure")
        return began

    def change(self) -> None:
        """Note that the service has changed its owner."""
        self.owner, self.other = self.other, self.owner

    def swap(self) -> None:
        """Bring the former owner back: it is the one that could take over, from now on."""
        self.change()
        self.cluster.bring_back(self.other, PORTAL, before=self._ready)
        self.until_peaceful()

    def until_peaceful(self) -> None:
        """Wait until both nodes agree who runs the service."""
        line = (self.cluster.line(SERVICE, self.owner, "STARTED", "STOPPED"),)
        for machine in (self.other, self.owner):
            self.player.until(machine, "ez_svc_status", line, LIMIT_S)

    def console(self) -> Path:
        """Return what the owner's kernel writes."""
        return self.bed.work / f"console{self.owner.number}.log"

    def resets(self) -> int:
        """Return how often its watchdog has reset the owner."""
        text = self.console().read_text(encoding="utf-8", errors="replace")
        return text.count(RESET)

    def until_reset(self, before: int) -> float:
        """Return when the owner's kernel said that its watchdog resets it.

        This kernel has ended its processes then, and comes to no new life: what is left of it ends.
        """
        deadline = time.monotonic() + LIMIT_S
        while self.resets() == before:
            if time.monotonic() > deadline:
                raise NotAccepted(f"{self.owner.name} was not reset within {LIMIT_S:g} s")
            time.sleep(0.05)
        at = time.monotonic()
        self.owner.cut_power()
        return at


def clock(machine: Machine) -> float:
    """Return what the clock of a node shows; it is UTC there."""
    return float(machine.run("date +%s.%N", LIMIT_S).output)
