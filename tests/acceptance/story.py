"""The acceptance run: the tutorial's set-up, power failure, failback, a hung owner is fenced."""

from __future__ import annotations

import re
import time

from tests.acceptance.bed import Bed
from tests.acceptance.player import Player

TITLE = "Two machines, LVM, docker, a power switch"
NAMES = "deb1.opensvc.com deb2.opensvc.com"
SERVICES = ("registry", "files")
URL = "http://10.60.0.71:5000/index.html"
LINK_TIMEOUT_S = 10
STONITH = "[stonith#1]\ntype = callout\ncmd = /usr/local/sbin/fence-peer"

REGISTRY = f"""\
[DEFAULT]
app = OSVCLAB
service_type = DEV
nodes = {NAMES}
docker_data_dir = /opt/registry.opensvc.com/dockerdata
docker_daemon_args = --ip 10.60.0.71

[container#1]
type = docker
run_image = busybox:date
run_args = -v /opt/registry.opensvc.com/registrydata:/registrydata -p 5000:5000
run_command = /bin/sh /registrydata/serve
start_timeout = 180

[ip#1]
ipdev = eth0
ipname = registry.opensvc.com

[vg#1]
vgname = vgregistry

[fs#1]
mnt_opt = rw
mnt = /opt/registry.opensvc.com
dev = /dev/mapper/vgregistry-lvregistryroot
type = ext4

[fs#2]
mnt_opts = rw
mnt = /opt/registry.opensvc.com/dockerdata
dev = /dev/mapper/vgregistry-lvdockerdata
type = ext4

[fs#3]
mnt_opts = rw
mnt = /opt/registry.opensvc.com/registrydata
dev = /dev/mapper/vgregistry-lvregistrydata
type = ext4

{STONITH}

[hb#0]
type = OpenHA
name = registry
"""

FILES = f"""\
[DEFAULT]
app = OSVCLAB
service_type = DEV
nodes = {NAMES}

[ip#1]
ipdev = eth0
ipname = files.opensvc.com

[vg#1]
vgname = vgfiles

[fs#1]
mnt = /opt/files.opensvc.com
dev = /dev/mapper/vgfiles-lvfiles
type = ext4

[app#1]
script = /usr/local/sbin/writer
start = 10
stop = 10
check = 10

{STONITH}

[hb#0]
type = OpenHA
name = files
"""

WRITER = """\
#!/bin/bash
# Appends a line that is on the disk before the next one is written.
case $1 in
start) setsid bash -c 'while :; do
           echo "$(date +%s) $(hostname -s)" >> /opt/files.opensvc.com/journal
           sync /opt/files.opensvc.com/journal; sleep 1; done' < /dev/null > /dev/null 2>&1 &
       echo $! > /run/writer.pid ;;
stop) kill $(cat /run/writer.pid); rm -f /run/writer.pid ;;
status) [ -s /run/writer.pid ] && kill -0 $(cat /run/writer.pid) 2>/dev/null ;;
esac
"""

SERVE = """\
# What the container runs: notes its start and serves what it noted.
echo "started in $(hostname)" >> /registrydata/index.html
httpd -p 5000 -h /registrydata
trap "exit 0" TERM
while :; do date +%s >> /registrydata/clock; sleep 1 & wait $!; done
"""

MONITOR = f"""\
deb1.opensvc.com\tnet\teth1\t239.131.50.10\t5010\t{LINK_TIMEOUT_S}
deb1.opensvc.com\tnet\teth2\t239.131.50.11\t5011\t{LINK_TIMEOUT_S}
deb2.opensvc.com\tnet\teth1\t239.131.50.12\t5012\t{LINK_TIMEOUT_S}
deb2.opensvc.com\tnet\teth2\t239.131.50.13\t5013\t{LINK_TIMEOUT_S}
deb1.opensvc.com\tdio\t/dev/ubdc\t0\t{LINK_TIMEOUT_S}
deb2.opensvc.com\tdio\t/dev/ubdc\t10\t{LINK_TIMEOUT_S}
"""

ACTIVE = r"(?m)^ *vg\S+ +active"
ALL_UP = (r"avail +up", r"vg#1 +\.\.\.\. up", r"container#1 +\.\.\.\. up", r"hb#0 +\.\.\.\. up")
PS = (
    "registry.opensvc.com docker ps --no-trunc --format '{{.ID}} {{.Names}} created"
    " {{.RunningFor}}, {{.Status}}'"
)
LOGS = "/var/log/opensvc/{registry,files}.opensvc.com.log"
TAKEOVER = f"sort -s -k 1,2 {LOGS} | tac | sed '/UNKNOWN: fencing with/q' | tac | cut -c 12-180"
"""What both services have logged since one of them began to fence for both."""
ALL_LISTEN = (r"(?s)(listener \S+ pid \d+ status UP.*){3}",)


def typed(path: str, text: str) -> str:
    """Return the command that writes a file."""
    return f"cat > {path} << 'EOF'\n{text}EOF"


def states(pair: str, *services: str) -> tuple[str, ...]:
    """Return patterns for `service -s -c`: primary/secondary."""
    first, second = pair.split("/")
    return tuple(rf"(?m)^{name} +\S+ +{first} +\S+ +{second}\s*$" for name in services or SERVICES)


def play(bed: Bed) -> None:
    """Play the whole story."""
    player = bed.player
    boot(player)
    volume_groups(player)
    cluster(player)
    before = first_start(player)
    power_failure(player, before)
    failback(player, before)
    hung_owner(player, before)


def boot(player: Player) -> None:
    """Boot two machines and print what this run is made of."""
    for machine in (player.deb1, player.deb2):
        player.note(f"{machine.name} takes commands {machine.power_on():.1f} s after power on")
    player.on(
        player.deb1,
        "uname -srm; cat /etc/debian_version; lvm version | head -2; docker --version; python3"
        " --version; pip list 2>/dev/null | grep -E 'openha|psutil|configobj'; e2fsck -V 2>&1 |"
        " head -1",
    )


def volume_groups(player: Player) -> None:
    """Create two volume groups on shared disks on one node; see them on the other."""
    player.title(
        "Volume groups on the shared disks",
        "vgregistry for the tutorial's registry, vgfiles for a plain application.",
    )
    make = {
        "vgregistry": (
            "/dev/ubdb",
            {"lvregistryroot": 32, "lvdockerdata": 640, "lvregistrydata": 64},
        )
    }
    make["vgfiles"] = ("/dev/ubdd", {"lvfiles": 200})
    for group, (disk, volumes) in make.items():
        player.on(player.deb1, f"vgcreate -q --addtag deb1.opensvc.com {group} {disk}")
        for name, size_mb in volumes.items():
            player.on(
                player.deb1,
                f"lvcreate -q -y -L {size_mb}M -n {name} {group} && mkfs.ext4 -q"
                f" /dev/{group}/{name}",
            )
        player.on(
            player.deb1,
            f"vgchange -q -a n {group} && vgchange -q --deltag deb1.opensvc.com {group}",
        )
    player.on(
        player.deb2,
        "vgs -o vg_name,lv_name,lv_size,vg_tags",
        ("vgfiles +lvfiles", "vgregistry +lvdockerdata"),
    )


def cluster(player: Player) -> None:
    """Set up OpenHA with the embedded agent on both, as in the README; prepare the image.

    The image is in the service's own docker.
    """
    player.title(
        "Install and configure",
        "The package with its embedded agent, two services, three heartbeat links each way.",
    )
    player.on_both("openha install --embedded-agent --no-key")
    player.on(player.deb1, "cat /etc/lvm/lvmlocal.conf /usr/local/sbin/fence-peer")
    player.on_both(typed("/etc/opensvc/registry.opensvc.com.env", REGISTRY))
    player.on_both(typed("/etc/opensvc/files.opensvc.com.env", FILES))
    player.on_both(typed("/usr/local/sbin/writer", WRITER) + "\nchmod 755 /usr/local/sbin/writer")
    player.on_both("svcmgr -s registry.opensvc.com,files.opensvc.com validate config; svcmon")
    bring_image(player)
    player.on_both(typed("$EZ/conf/nodes", NAMES.replace(" ", "\n") + "\n"))
    player.on_both(typed("$EZ/conf/monitor", MONITOR))
    for name in SERVICES:
        path = f"/etc/opensvc/{name}.opensvc.com"
        player.on_both(
            f"$EZ_BIN/service -a {name} {path}.cluster {NAMES} {path}.stonith", ("Done",)
        )
    player.on_both("$EZ/ezha start")
    player.until(player.deb1, "ez_svc_status", states("FROZEN_STOP/FROZEN_STOP"))
    for machine in (player.deb1, player.deb2):
        player.until(machine, "ez_hb_status", ALL_LISTEN)


def bring_image(player: Player) -> None:
    """Mount the file systems, load the image, unmount them.

    A volume that is open keeps its group active, and is named.
    """
    deb1 = player.deb1
    player.on(
        deb1,
        "registry.opensvc.com startvg --cluster && registry.opensvc.com startfs --cluster",
        limit_s=300,
    )
    player.on(
        deb1, "registry.opensvc.com docker import /root/busybox.tar busybox:date", limit_s=300
    )
    player.on(deb1, typed("/opt/registry.opensvc.com/registrydata/serve", SERVE))
    player.title(
        "A volume in use",
        "Somebody reads a volume: its group stays up and tagged, and the stop says which and who.",
    )
    reader = "setsid -f sh -c 'echo $$ > /run/reader.pid; exec sleep 1000'"
    player.on(
        deb1, f"{reader} < /dev/vgregistry/lvregistrydata > /dev/null 2>&1; sleep 1; pidof sleep"
    )
    refused = (r"cannot be deactivated, in use: lvregistrydata \(sleep\(\d+\)\)",)
    player.on(deb1, "registry.opensvc.com stop --cluster", refused, code=6, limit_s=300)
    player.on(
        deb1,
        "vgs -o vg_name,vg_tags,lv_name,lv_attr vgregistry",
        ("deb1.opensvc.com +lvregistrydata +-wi-ao",),
    )
    player.on(deb1, "kill $(cat /run/reader.pid); registry.opensvc.com stop --cluster", limit_s=300)
    player.on(
        deb1,
        "vgs -o vg_name,vg_tags; lvs -o lv_full_name,lv_active",
        absent=("deb1.opensvc.com", ACTIVE),
    )
    player.title(
        "The cluster", "Nodes, heartbeats, services with the fencing command of their service file."
    )


def first_start(player: Player) -> dict[str, str]:
    """Start both services on deb1; return the container, and check what deb2 must not do."""
    player.title(
        "First start",
        "Unfrozen on deb1, which starts both services; then on deb2, which stands by.",
    )
    for name in SERVICES:
        player.on(player.deb1, f"$EZ_BIN/service -A {name} unfreeze", (f"Service {name} UNFROZEN",))
    player.until(player.deb1, "ez_svc_status", states("STARTED/FROZEN_STOP"), 400)
    for name in SERVICES:
        player.on(player.deb2, f"$EZ_BIN/service -A {name} unfreeze", (f"Service {name} UNFROZEN",))
    player.until(player.deb2, "ez_svc_status", states("STARTED/STOPPED"))
    for name in SERVICES:
        player.on(player.deb1, f"{name}.opensvc.com syncnodes --force")
    player.on(player.deb1, "registry.opensvc.com print status", (*ALL_UP, r"overall +up"))
    player.on(
        player.deb1, "svcmon", (r"(?m)^registry.* up +up +False", r"(?m)^files.* up +up +False")
    )
    player.on(
        player.deb1,
        "vgs -o vg_name,vg_tags",
        (r"vgfiles +deb1\.opensvc\.com", r"vgregistry +deb1\.opensvc\.com"),
    )
    player.on(
        player.deb2,
        "vgchange -a y vgregistry vgfiles; lvs -o lv_full_name,lv_active; ls /dev/mapper",
        absent=(ACTIVE, "vgregistry-lv"),
    )
    player.check(True, "deb2 cannot activate a volume group that carries deb1's tag")
    container = player.on(player.deb1, PS).split()[0]
    page = player.fetch(URL)
    player.check(
        f"started in {container[:12]}" in page,
        f"the client is served by the container {container[:12]}",
    )
    return {"container": container}


def power_failure(player: Player, before: dict[str, str]) -> None:
    """Cut the owner's power while it writes."""
    player.title(
        "Power failure",
        "deb1 loses power while both services write. deb2 fences it and takes over.",
    )
    player.on(
        player.deb1,
        "cd /opt/files.opensvc.com; echo written before the power failure > kept; sync kept",
    )
    player.on(
        player.deb1,
        "dd if=/dev/urandom of=/opt/registry.opensvc.com/registrydata/blob bs=64k count=64"
        " status=none",
    )
    last = int(
        player.on(player.deb1, "tail -n 2 /opt/files.opensvc.com/journal | head -n 1").split()[0]
    )
    failed_at = time.monotonic()
    player.deb1.cut_power()
    player.note("the power of deb1 is cut: its kernel is gone")
    watch_takeover(player, failed_at, "UNKNOWN/STARTED")
    look_at_takeover(player, before)
    player.on(player.deb2, "cat /opt/files.opensvc.com/kept", ("written before the power failure",))
    lines = player.on(player.deb2, f"grep '^{last} deb1' /opt/files.opensvc.com/journal")
    player.check(
        f"{last} deb1" in lines, "the last line that deb1 was told to be on the disk is there"
    )


def watch_takeover(player: Player, failed_at: float, pair: str) -> None:
    """Time the stages from the failure to both services STARTED on deb2."""
    player.until(player.deb2, "ez_svc_status", states(pair, "files"), 300)
    player.note(f"files is STARTED on deb2 {time.monotonic() - failed_at:.1f} s after the failure")
    player.fetch(URL, 400)
    player.note(
        f"registry answers its client from deb2 {time.monotonic() - failed_at:.1f} s after the"
        " failure"
    )
    player.until(player.deb2, "ez_svc_status", states(pair), 300)
    player.note(
        f"both services are STARTED on deb2 {time.monotonic() - failed_at:.1f} s after the failure"
    )


def look_at_takeover(player: Player, before: dict[str, str]) -> None:
    """Check the decision, the fencing, the journals, and that it is the same container."""
    deb2 = player.deb2
    player.on(deb2, "openha why files", ("STARTED",))
    log = player.on(deb2, TAKEOVER)
    fenced, _, started = log.partition("power switch: status deb1: off")
    player.check(
        bool(started) and not re.search(r"VG#1|FS#\d", fenced), "deb1 was fenced before the start"
    )
    player.check(
        len(re.findall(r"vgregistry-\S+: recovering journal", started)) == 3,
        "the journals of all three file systems of registry were recovered",
    )
    player.on(deb2, "registry.opensvc.com print status", ALL_UP)
    player.on(
        deb2,
        "vgs -o vg_name,vg_tags",
        (r"vgfiles +deb2\.opensvc\.com", r"vgregistry +deb2\.opensvc\.com"),
    )
    same = player.on(deb2, PS)
    player.check(same.split()[0] == before["container"], "it is the same container, with its data")


def failback(player: Player, before: dict[str, str]) -> None:
    """Boot deb1, and move its services back when the operator requests it."""
    deb1, deb2 = player.deb1, player.deb2
    player.title(
        "Failback",
        "The power of deb1 is back. It leaves the services where they are until they are switched.",
    )
    player.note(f"deb1 takes commands {deb1.power_on():.1f} s after power on")
    player.on(deb1, "vgs -o vg_name,vg_tags; lvs -o lv_full_name,lv_active", absent=(ACTIVE,))
    player.on(deb1, "$EZ/ezha start")
    player.until(deb1, "ez_svc_status", states("STOPPED/STARTED"))
    player.until(deb1, "ez_hb_status", ALL_LISTEN)
    began = time.monotonic()
    for name in ("files", "registry"):
        player.on(deb2, f"{name}.opensvc.com switch", limit_s=600)
        player.note(f"{name} was switched {time.monotonic() - began:.1f} s after the begin")
    player.until(deb1, "ez_svc_status", states("STARTED/STOPPED"), 400)
    player.fetch(URL)
    same = player.on(deb1, PS)
    player.check(same.split()[0] == before["container"], "it is the same container, back on deb1")
    player.on(deb1, "uniq -c -f 1 /opt/files.opensvc.com/journal", (r"(?s)deb1.*deb2.*deb1",))


def hung_owner(player: Player, before: dict[str, str]) -> None:
    """Hang the owner: it could write again when it resumes.

    The fence makes sure that it does not.
    """
    player.title(
        "A hung owner is fenced",
        "deb1 hangs with its file systems mounted: silent, not dead. The switch makes it so.",
    )
    failed_at = time.monotonic()
    player.deb1.hang()
    player.note("deb1 hangs: its kernel is stopped in whatever it did")
    player.check(player.deb1.is_on, "deb1 is on")
    watch_takeover(player, failed_at, "UNKNOWN/STARTED")
    player.check(not player.deb1.is_on, "the power switch cut deb1 before deb2 touched the disks")
    look_at_takeover(player, before)
    summary = player.on(player.deb2, "uniq -c -f 1 /opt/files.opensvc.com/journal")
    owners = re.findall(r"deb\d", summary)
    player.check(
        owners == ["deb1", "deb2", "deb1", "deb2"],
        "one node wrote at a time: deb1, deb2, deb1, deb2",
    )
