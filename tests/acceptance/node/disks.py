#!/usr/bin/python3
"""The disks that iSCSI targets serve to a node.

disks login ADDRESS...   logs in to every target of these portals, then names what came
disks relogin ADDRESS    ends the sessions with a portal and begins new ones
disks where              one line for each path: device, serial number, portal
disks wrap SERIAL...     puts a map of dm-linear over the first path of a disk: it can be suspended
disks map SERIAL...      makes /dev/mapper/SERIAL of all paths of a disk, as multipathd would
disks reinstate SERIAL   uses all paths of such a map again, as multipathd would

/dev/shared/SERIAL is the first path of a disk, or what wraps it, /dev/shared/SERIAL.2 the next: no
udev is here.
"""

import glob
import os
import re
import subprocess
import sys
import time

SETTINGS = {
    # Errors come back after 5 s instead of 120. A silent portal is noticed after 10: LIO answers
    # nothing else on a connection while an abort waits for a write.
    "node.session.timeo.replacement_timeout": "5",
    "node.conn[0].timeo.noop_out_interval": "5",
    "node.conn[0].timeo.noop_out_timeout": "5",
}
LIMIT_S = 20.0


def run(*argv: str) -> str:
    """Run a command that must succeed."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}: {done.stdout.strip()}")
    return done.stdout


def paths() -> list[tuple[str, str, str]]:
    """Return serial number, portal and device of each path, in that order."""
    found = []
    for place in glob.glob("/sys/block/sd*"):
        session = re.search(r"session(\d+)", os.path.realpath(f"{place}/device"))
        if not session:
            continue
        connection = f"/sys/class/iscsi_connection/connection{session[1]}:0"
        try:
            with open(f"{place}/device/vpd_pg80", "rb") as file:
                serial = file.read()[4:].strip(b"\0 ").decode()
            with open(f"{connection}/persistent_address") as file:
                address = file.read().strip()
        except OSError:
            continue  # It comes or goes at this moment.
        found.append((serial, address, f"/dev/{os.path.basename(place)}"))
    return sorted(found)


def name_and_show() -> None:
    """Make the names anew and print what is where."""
    os.makedirs("/dev/shared", exist_ok=True)
    for old in glob.glob("/dev/shared/*"):
        os.unlink(old)
    seen: dict[str, int] = {}
    for serial, address, device in paths():
        seen[serial] = seen.get(serial, 0) + 1
        number = f".{seen[serial]}" if seen[serial] > 1 else ""
        wrapped = f"/dev/mapper/wrapped-{serial}"
        os.symlink(wrapped if os.path.exists(wrapped) else device, f"/dev/shared/{serial}{number}")
        print(device, f"{serial}{number}", address)


def wait_for(addresses: list[str], enough: int) -> None:
    """Wait until each portal shows so many disks, and as many as a moment before."""
    deadline = time.monotonic() + LIMIT_S
    before = -1
    while time.monotonic() < deadline:
        found = [address for _, address, _ in paths()]
        if all(found.count(address) >= enough for address in addresses) and len(found) == before:
            return
        before = len(found)
        time.sleep(0.5)
    sys.exit(f"no disks of {', '.join(addresses)} within {LIMIT_S:g} s")


def login(addresses: list[str]) -> None:
    """Log in to the portals that were named: a target answers with all that it has."""
    run("modprobe", "-a", "iscsi_tcp", "sd_mod", "sg")
    if subprocess.run(["pidof", "iscsid"], stdout=subprocess.DEVNULL).returncode != 0:
        with open("/etc/iscsi/iscsid.conf", "w") as file:
            file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
        run("iscsid")
    for address in addresses:
        for line in run("iscsiadm", "-m", "discovery", "-t", "st", "-p", address).splitlines():
            portal, target = line.split()
            if portal.startswith(f"{address}:"):
                place = portal.partition(",")[0]
                run("iscsiadm", "-m", "node", "-T", target, "-p", place, "-l")
    wait_for(addresses, 1)


def relogin(address: str) -> None:
    """Log out of a portal and in again: the disks come back by new sessions."""
    count = sum(1 for _, portal, _ in paths() if portal == address)
    run("iscsiadm", "-m", "node", "-p", address, "-u")
    run("iscsiadm", "-m", "node", "-p", address, "-l")
    wait_for([address], count)


def numbers(serial: str) -> list[str]:
    """Return the device numbers of a disk's paths."""
    found = []
    for name, _, device in paths():
        if name == serial:
            number = os.stat(device).st_rdev
            found.append(f"{os.major(number)}:{os.minor(number)}")
    return found


def make_map(serial: str) -> None:
    """Make a multipath map: the next path is used as soon as one fails."""
    run("modprobe", "-a", "dm-mod", "dm-multipath", "dm-round-robin")
    ways = numbers(serial)
    device = next(device for name, _, device in paths() if name == serial)
    size = run("blockdev", "--getsz", device).strip()
    groups = " ".join(f"round-robin 0 1 1 {way} 1" for way in ways)
    table = f"0 {size} multipath 0 0 {len(ways)} 1 {groups}"
    run("dmsetup", "create", serial, "--uuid", f"mpath-{serial}", "--table", table)


def wrap(serial: str) -> None:
    """Make a map of one path, by which a node can be kept from its disk."""
    device = next(device for name, _, device in paths() if name == serial)
    size = run("blockdev", "--getsz", device).strip()
    run("dmsetup", "create", f"wrapped-{serial}", "--table", f"0 {size} linear {device} 0")


if sys.argv[1] == "login":
    login(sys.argv[2:])
elif sys.argv[1] == "relogin":
    relogin(sys.argv[2])
elif sys.argv[1] == "wrap":
    for wanted in sys.argv[2:]:
        wrap(wanted)
elif sys.argv[1] == "map":
    for wanted in sys.argv[2:]:
        make_map(wanted)
elif sys.argv[1] == "reinstate":
    for way in numbers(sys.argv[2]):
        run("dmsetup", "message", sys.argv[2], "0", "reinstate_path", way)
elif sys.argv[1] != "where":
    sys.exit(__doc__)
name_and_show()
