#!/opt/openha/bin/python
"""The daemon's part of the lease: hands permits to the keeper of /dev/watchdog1, and says so.

lease.py daemon W I R        a permit each R seconds, for ever; all renewals succeed
lease.py keepers W I R       no permit, but a keeper again and again, by a daemon that has lost it
lease.py hold W I SECONDS    lets the keeper pet by itself so long, and ends, as for an upgrade
lease.py disarm W I          withdraws all
lease.py beacon              reports each 50 ms that this kernel lives

Reports go by UDP to the machine that runs the kernels. Times are of the keeper's clock.
"""

import contextlib
import os
import socket
import sys
import time

from opensvc_openha.errors import SystemFault
from opensvc_openha.watchdog.keeper_client import KeeperClient, KeeperSettings

DIRECTORY = "/run/keeper"
DEVICE = "/dev/watchdog1"
OUTSIDE = ("10.60.0.254", 7799)
BEACON_S = 0.05


def boot() -> str:
    """Return what tells one life of this kernel from the next."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


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
    if what == "hold":
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
