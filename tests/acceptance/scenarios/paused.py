"""A8: a virtual machine that runs a service is paused, and goes on.

It does not notice that: its clocks stood still, and so did its watchdog. So its promise proves
nothing, which its peer knows, and it is the reservation of the disk that keeps it from writing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.acceptance.bed import Bed
from tests.acceptance.blocks import Line
from tests.acceptance.clocks import Clock
from tests.acceptance.cluster import ARBITER
from tests.acceptance.leased import LIMIT_S, SERVICE, Leased

TITLE = "A virtual machine that is paused, and goes on where it stopped"
TIMEOUT_S = 10
FENCING = f"""levels = reservation, lease
arbiter = disk /dev/shared/{ARBITER}
check_interval = 5
    [[lease]]
    watchdog = /dev/watchdog1
    timeout = {TIMEOUT_S}
    answer = 1
"""
DEFAULT = "scsireserv = true\nfence_needs = data"
READY = "modprobe softdog"
SHORT_S = 4.0
LONG_S = 40.0
"""Longer than the promise."""
NO_PROOF = (r"lease .*is a virtual machine",)
ERROR = f"cat /run/writer-{SERVICE}.error"
REFUSED = "EBADE|EIO|EROFS"


def play(bed: Bed) -> None:
    """Pause the owner: shortly, then longer than its promise; with still clocks, with others."""
    for machine in bed.nodes:
        machine.clock = Clock(bed.work, machine.name)
    leased = Leased(bed, FENCING, has_boards=False, default=DEFAULT, ready=READY)
    short(leased)
    seen = paused(leased)
    unaware(leased)
    leased.check(leased.handover(seen()))
    one_writer_at_a_time(leased)
    leased.change()
    leased.until_peaceful()
    until_registered(leased)
    seen = paused(leased)
    aware(leased)
    leased.check(leased.handover(seen()))
    one_writer_at_a_time(leased)


def until_registered(leased: Leased) -> None:
    """Wait until either node may take the disk of the other one."""
    pattern = (r"reservation .*armed", r"registered on")
    for machine in (leased.owner, leased.other):
        leased.player.until(machine, "openha fence status || true", pattern, LIMIT_S)


def short(leased: Leased) -> None:
    """Pause it for less than anybody minds."""
    bed, owner, other = leased.bed, leased.owner, leased.other
    bed.player.title("A short pause", f"{owner.name} is paused for {SHORT_S:g} s.")
    bed.player.until(other, "openha fence status || true", NO_PROOF)
    owner.pause()
    time.sleep(SHORT_S)
    bed.note(f"{owner.name} was paused for {owner.resume():.1f} s")
    leased.until_peaceful()
    bed.player.check(owner.is_on, f"{owner.name} runs on, with its service")
    until_registered(leased)


def paused(leased: Leased) -> Callable[[], list[Line]]:
    """Pause it until the other node runs the service, and for longer than its promise.

    Return what gives all writes that the disk has seen.
    """
    bed, owner, other = leased.bed, leased.owner, leased.other
    bed.player.title("A long pause", f"{owner.name} is paused while it writes.")
    bed.player.until(other, "openha fence status || true", NO_PROOF)
    leased.watch()
    began = time.monotonic()
    owner.pause()
    started = (leased.cluster.line(SERVICE, other, "STARTED"),)
    bed.player.until(other, "ez_svc_status", started, LIMIT_S)
    bed.note(f"{SERVICE} is STARTED on {other.name} {time.monotonic() - began:.1f} s after that")
    while time.monotonic() - began < LONG_S:
        time.sleep(0.5)
    bed.player.on(other, f"openha why {SERVICE}", ("FENCE: reservation: done",), ("self-fenced",))
    return leased.watched


def unaware(leased: Leased) -> None:
    """Let it go on where it stopped: its write is refused, and it stops the service by itself."""
    bed, owner, other = leased.bed, leased.owner, leased.other
    bed.note(f"{owner.name} goes on after a pause of {owner.resume():.1f} s that it did not notice")
    refused = bed.player.until(owner, ERROR, (REFUSED,), LIMIT_S)
    bed.note(f"its write was refused: {refused.strip()}")
    line = leased.cluster.line(SERVICE, other, "STARTED", "(STOPPED|STOP_FAILED|FROZEN_STOP)")
    bed.player.until(other, "ez_svc_status", (line,), LIMIT_S)
    bed.player.on(owner, f"openha why {SERVICE}")


def aware(leased: Leased) -> None:
    """Let it go on with clocks that went on: its watchdog, in software, bites at once."""
    bed, owner = leased.bed, leased.owner
    before = leased.resets()
    began = time.monotonic()
    paused_s = owner.resume(did_clocks_stand=False)
    bed.note(f"{owner.name} goes on after a pause of {paused_s:.1f} s, and its clocks have gone on")
    reset_s = leased.until_reset(before) - began
    bed.note(f"its watchdog has reset it {reset_s:.1f} s after that")


def one_writer_at_a_time(leased: Leased) -> None:
    """Check that the journal has no line of the former owner after one of its successor."""
    journal = f"uniq -c -f 1 /opt/{SERVICE}/journal | tail -n 2"
    summary = leased.player.on(leased.other, journal)
    order = [line.split()[-1] for line in summary.strip().splitlines()]
    expected = [leased.owner.name, leased.other.name]
    leased.player.check(order == expected, f"one node wrote at a time: {', '.join(order)}")
