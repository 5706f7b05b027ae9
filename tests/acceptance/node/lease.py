#!/opt/openha/bin/python
"""The daemon's part of the lease: hands permits to the keeper of /dev/watchdog1, and says so.

lease.py daemon W I R        a permit each R seconds, for ever; all renewals succeed
lease.py keepers W I R       no permit, but a keeper again and again, by a daemon that has lost it
lease.py hold W I SECONDS    lets the keeper pet by itself so long, and ends, as for an upgrade
lease.py disarm W I          withdraws all
lease.py stopped W I PART    some permits; in the last one, stops the keeper: at 1 where it usually
                             pets, at 0 where that begins; lets it go on too late
lease.py beacon              reports each 50 ms that this kernel lives

Reports go by UDP to the machine that runs the kernels. Times are of the keeper's clock.
"""

import contextlib
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable

from opensvc_openha.errors import SystemFault
from opensvc_openha.watchdog.keeper_client import KeeperClient, KeeperSettings

DIRECTORY = "/run/keeper"
DEVICE = "/dev/watchdog1"
OUTSIDE = ("10.60.0.254", 7799)
BEACON_S = 0.05
Tell = Callable[..., None]
PERMITS = 6
PAUSE_S = 0.5
STOPPED_S = 2.5
"""Longer than an answer may take. Its watchdog does not bite yet then."""


def boot() -> str:
    """Return what tells one life of this kernel from the next."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stopper(pid: int, tell: Tell, after_s: float) -> int:
    """Return what the instant is written to after which the keeper is stopped.

    That is done by a process that goes before the keeper, and reports it.
    """
    begin, end = os.pipe()
    if os.fork():
        os.close(begin)
        return end
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(99))
    renewed_at = float(os.read(begin, 100))
    time.sleep(after_s)
    os.kill(pid, signal.SIGSTOP)
    tell(renewed_at, None, f"STOPPED {renewed_at} {after_s}")
    time.sleep(STOPPED_S)
    os.kill(pid, signal.SIGCONT)
    os._exit(0)


def stopped(keeper: KeeperClient, tell: Tell, part: float) -> None:
    """Let the keeper be stopped at some instruction of its work for a permit."""
    keeper.ensure_running()
    took = []
    for _ in range(PERMITS):
        time.sleep(PAUSE_S)
        renewed_at = time.monotonic()
        pets = keeper.grant(renewed_at)
        pid, petted_at = pets.status.pid, pets.status.last_pet_at or 0.0
        tell(renewed_at, petted_at, pets.outcome.value, pid, pets.status.holder_pid)
        took.append(petted_at - renewed_at)
    # The first pet opens the device, too.
    after_s = part * statistics.median(took[1:])
    end = stopper(pid, tell, after_s)
    time.sleep(PAUSE_S)
    renewed_at = time.monotonic()
    os.write(end, str(renewed_at).encode())
    try:
        said = keeper.grant(renewed_at).outcome.value
    except SystemFault as error:
        said = f"no answer: {error}"
    tell(renewed_at, None, f"ANSWER {said}")
    time.sleep(1000)


def main(what: str, *numbers: str) -> None:
    """Do what was asked."""
    life = boot()
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def tell(*words: object) -> None:
        out.sendto(" ".join(map(str, (what, life, *words))).encode(), OUTSIDE)

    if what == "beacon":
        while True:
            tell(time.monotonic())
            time.sleep(BEACON_S)
    os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
    settings = KeeperSettings(DEVICE, int(numbers[0]), float(numbers[1]))
    keeper = KeeperClient(DIRECTORY, settings)
    if what == "stopped":
        stopped(keeper, tell, float(numbers[2]))
    elif what == "hold":
        until = time.monotonic() + float(numbers[2])
        print(keeper.hold(until).text)
    elif what == "disarm":
        print(keeper.disarm().value)
    elif what == "daemon":
        keeper.ensure_running()
    while what in ("daemon", "keepers"):
        renewed_at = time.monotonic()
        if what == "keepers":
            with contextlib.suppress(SystemFault):
                tell(renewed_at, "-", "keeper", keeper.ensure_running().pid)
        else:
            try:
                grant = keeper.grant(renewed_at)
                status = grant.status
                tell(
                    renewed_at,
                    status.last_pet_at,
                    grant.outcome.value,
                    status.pid,
                    status.holder_pid,
                )
            except SystemFault as error:
                tell(renewed_at, None, f"fault {error}")
        time.sleep(float(numbers[2]))


main(*sys.argv[1:])
