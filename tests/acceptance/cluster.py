"""A small cluster for the scenarios on fencing: services with an application that writes all the
time, on a file system of their own on a disk that is reserved by SCSI, or without a disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.acceptance.bed import Bed
from tests.acceptance.machines import Machine
from tests.acceptance.outside import IPMI_PORT, PASSWORD, USER
from tests.acceptance.story import typed

NODES = ("deb1.opensvc.com", "deb2.opensvc.com")
SECRET = "/etc/openha-board.secret"
TIMEOUT_S = 10
ARBITER = "arb"
"""Serial number of the heartbeat disk, which decides who may fence."""
FILE_SYSTEM_MB = 32
"""Half of a disk: what is behind is free for blocks of the scenarios."""
ALL_LISTEN = (r"(?s)(listener \S+ pid \d+ status UP.*){3}",)

SERVICE = """\
[DEFAULT]
app = LAB
service_type = DEV
nodes = {nodes}
{default}

[app#1]
script = /usr/local/sbin/write-{name}
start = 10
stop = 10
check = 10

[hb#0]
type = OpenHA
name = {name}
"""
DISK = """
[fs#1]
mnt = /opt/{name}
dev = {device}
type = ext4
"""
SCRIPT = '#!/bin/sh\nexec /acceptance/writer.py "$1" {name} {stamps}\n'
STAMP_BLOCK = 131071
"""The last one of a disk: there its owner leaves stamps, past all caches."""
MONITOR = """\
{0}\tnet\teth1\t239.131.50.10\t5010\t{t}
{0}\tnet\teth2\t239.131.50.11\t5011\t{t}
{0}\tdio\t/dev/shared/{arbiter}\t0\t{t}
{1}\tnet\teth1\t239.131.50.12\t5012\t{t}
{1}\tnet\teth2\t239.131.50.13\t5013\t{t}
{1}\tdio\t/dev/shared/{arbiter}\t10\t{t}
"""
BOARD = """\
    [[ipmi {node}]]
    agent = fence_ipmilan
    ip = {address}
    ipport = {port}
    username = {user}
    password_file = {secret}
    lanplus = 1
    cipher = 3
"""


class Cluster:
    """Services by name. With ``device``, which may hold {name}, each has its disk."""

    def __init__(
        self, bed: Bed, services: Sequence[str], device: str = "", default: str = ""
    ) -> None:
        self.bed = bed
        self.player = bed.player
        self.services = tuple(services)
        self._device = device
        self._default = default

    def install(self, fencing: str, has_boards: bool) -> None:
        """Install the package, make the file systems, write all configuration."""
        player = self.player
        player.title("Install and configure", "Services with a reserved disk each, and their plan.")
        text = f"[fencing]\n{fencing}"
        if has_boards:
            text += "".join(
                BOARD.format(
                    node=f"{board.node}.opensvc.com",
                    address=board.address,
                    port=IPMI_PORT,
                    user=USER,
                    secret=SECRET,
                )
                for board in self.bed.boards.values()
            )
        player.on_both("openha install --embedded-agent --no-key")
        player.on_both(typed(SECRET, PASSWORD + "\n") + f"\nchmod 600 {SECRET}")
        player.on_both(typed("$EZ/conf/openha.conf", text))
        player.on_both(typed("$EZ/conf/nodes", "\n".join(NODES) + "\n"))
        monitor = MONITOR.format(*NODES, arbiter=ARBITER, t=TIMEOUT_S)
        player.on_both(typed("$EZ/conf/monitor", monitor))
        for name in self.services:
            self._add(name)

    def _add(self, name: str) -> None:
        player = self.player
        text = SERVICE.format(name=name, nodes=" ".join(NODES), default=self._default)
        stamps = ""
        if self._device:
            device = self._device.format(name=name)
            stamps = f"{device} {STAMP_BLOCK}"
            player.on(player.deb1, f"mkfs.ext4 -q -F {device} {FILE_SYSTEM_MB}M")
            text += DISK.format(name=name, device=device)
        player.on_both(typed(f"/etc/opensvc/{name}.env", text))
        script = typed(f"/usr/local/sbin/write-{name}", SCRIPT.format(name=name, stamps=stamps))
        player.on_both(f"{script}\nchmod 755 /usr/local/sbin/write-{name}; mkdir -p /opt/{name}")
        player.on_both(f"svcmgr -s {name} validate config; svcmon")
        start = f"/etc/opensvc/{name}.cluster"
        player.on_both(f"$EZ_BIN/service -a {name} {start} {' '.join(NODES)} /bin/true", ("Done",))

    def start(self, *owners: Machine) -> None:
        """Start the daemons, and each service on its owner, in the order of the services."""
        player = self.player
        player.on_both("$EZ/ezha start")
        for machine in self.bed.nodes:
            player.until(machine, "ez_hb_status", ALL_LISTEN)
        for name, owner in zip(self.services, owners):
            other = next(machine for machine in self.bed.nodes if machine is not owner)
            player.on(owner, f"$EZ_BIN/service -A {name} unfreeze", (f"{name} UNFROZEN",))
            player.until(owner, "ez_svc_status", (self.line(name, owner, "STARTED"),), 200)
            player.on(other, f"$EZ_BIN/service -A {name} unfreeze", (f"{name} UNFROZEN",))
        for name, owner in zip(self.services, owners):
            player.until(owner, "ez_svc_status", (self.line(name, owner, "STARTED", "STOPPED"),))

    def line(self, name: str, owner: Machine, state: str, other: str = r"\S+") -> str:
        """Return the pattern of `service -s -c` for a service: its state there, and elsewhere."""
        first, second = (state, other) if owner.number == 1 else (other, state)
        return rf"(?m)^{name} +{NODES[0]} +{first} +{NODES[1]} +{second}\s*$"

    def until_armed(self) -> None:
        """Wait until each node could prove that its peer is out, by every path and the arbiter."""
        for machine in self.bed.nodes:
            self.player.until(machine, "openha fence status", ("armed",))

    def cut(self) -> None:
        """Cut the nodes from each other: both networks, and what the heartbeat disk stores.

        Its controller lives: both can still ask it who is registered.
        """
        self.bed.nodes[0].unplug(1, 2)
        self.player.on(self.bed.target, f"/acceptance/target fail {ARBITER}")
        self.bed.note("deb1 and deb2 are cut from each other: eth1, eth2, slots of the disk")

    def heal(self) -> None:
        """Undo the cut."""
        self.bed.nodes[0].plug(1, 2)
        self.player.on(self.bed.target, f"/acceptance/target delay {ARBITER} 0")
        self.bed.note("the cut is healed")

    def bring_back(self, machine: Machine, *portals: str, before: str = "true") -> None:
        """Give a node its power back, its disks, and its daemon, ``before`` which is a command."""
        if not machine.is_on:
            self.bed.note(
                f"{machine.name} takes commands {machine.power_on():.1f} s after power on"
            )
        self.player.on(machine, f"/acceptance/disks.py login {' '.join(portals)}")
        self.player.on(machine, before)
        self.player.on(machine, "$EZ/ezha start")
