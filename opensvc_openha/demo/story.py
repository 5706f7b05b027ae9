"""The demo as data: every command of the tutorial in its order, node and expected result.

Where docker can run, the services are those of the tutorial with their containers; elsewhere each
is an address, a file system that follows the service, and a small program that writes the time into
it. ``player`` runs the steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEB1, DEB2 = 0, 1
NAMES = ("deb1.opensvc.com", "deb2.opensvc.com")
SERVICES = ("registry", "busybox")
SERVICE_NAMES = tuple(f"{service}.opensvc.com" for service in SERVICES)

EZ = "/usr/local/cluster"
STARTS_FILE = "/shared/starts"
"""File to which each start of an application writes service, node and wall-clock time."""


@dataclass(frozen=True)
class Title:
    """A heading with a sentence on what happens next."""

    title: str
    text: str = ""


@dataclass(frozen=True)
class Run:
    """One command. Its output must match each ``expect`` pattern and no ``absent`` one.

    ``limit_s`` above 0: repeat it until it does, for at most so many seconds. ``is_story``: also
    show the outputs in between that differ from the one before, else only the last.
    """

    node: int
    command: str
    expect: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    limit_s: float = 0.0
    is_story: bool = False


@dataclass(frozen=True)
class PowerCutter:
    """Switch a node on."""

    node: int
    text: str


@dataclass(frozen=True)
class Takeover:
    """Cut the power of one node and watch a loop on the other until ``expect`` is found."""

    victim: int
    witness: int
    command: str
    every_s: float
    expect: tuple[str, ...]
    limit_s: float


Step = Title | Run | PowerCutter | Takeover


@dataclass(frozen=True)
class StoryPace:
    """Differences between the full and the fast demo."""

    link_timeout_s: int
    busybox_start_s: int
    watch_every_s: float


FULL = StoryPace(link_timeout_s=10, busybox_start_s=8, watch_every_s=5.0)
FAST = StoryPace(link_timeout_s=2, busybox_start_s=1, watch_every_s=1.0)

START_READY_S = 5
"""Seconds that the tutorial's rules wait before a takeover from a silent node."""
SLACK_S = 10
"""Seconds allowed on top of the nominal time of a step, for a busy machine."""
CONTAINERS_S = 60
"""The same for the start or stop of eight containers."""


def states(**wanted: str) -> tuple[str, ...]:
    """Return patterns for `service -s -c`: ``registry="STARTED/STOPPED"`` is primary/secondary."""
    patterns = []
    for service, pair in wanted.items():
        primary, secondary = pair.split("/")
        one, two = (re.escape(name) for name in NAMES)
        patterns.append(rf"(?m)^{service} +{one} +{primary} +{two} +{secondary}\s*$")
    return tuple(patterns)


def overall(word: str, hb: str) -> tuple[str, ...]:
    """Return patterns for svcmon: the hb and the overall column of both services."""
    return tuple(
        rf"(?m)^{service}\.opensvc\.com +\S+ +\S+( +\S+){{6}} +{hb} +\S+ +\S+ +{word} +False\s*$"
        for service in SERVICES
    )


def svcmon_line(service: str, word: str, hb: str) -> str:
    """Return the pattern for one line of svcmon."""
    return overall(word, hb)[SERVICES.index(service)]


@dataclass(frozen=True)
class Cast:
    """How the services run: what their files show, and how data is written and found again."""

    addresses: Mapping[str, str]
    text: str
    section: str
    """Pattern that a service file shows."""
    start_s: int
    """Seconds that starts and stops may take."""
    begin: tuple[Step, ...]
    """The services as they run before OpenHA."""
    to_peer: tuple[Step, ...]
    """Bring the changed service files to the other node, and stop the services."""
    write_data: tuple[Step, ...]
    read_data: tuple[Step, ...]


COUNT_BY_NODE = "cut -d' ' -f2 /opt/registry.opensvc.com/clock | uniq -c"
PAGE = "http://registry.opensvc.com:5000/page"
FETCH = f"/bin/busybox wget -q -O - {PAGE}"

PROGRAMS = Cast(
    {"registry.opensvc.com": "10.50.0.71", "busybox.opensvc.com": "10.50.0.72"},
    "Each has an address, a file system on the shared disk and an application.",
    r"\[app#1\]",
    SLACK_S,
    (),
    (
        Run(DEB1, "cp /etc/opensvc/*.env /shared"),
        Run(DEB2, "cp /shared/*.env /etc/opensvc"),
    ),
    (Run(DEB1, "tail -2 /opt/registry.opensvc.com/clock", (NAMES[DEB1],), limit_s=SLACK_S),),
    (
        Title(
            "Same data", "How many seconds the registry wrote on which node, from its file system."
        ),
        Run(DEB2, COUNT_BY_NODE, (rf"{NAMES[DEB1]}\n.*{NAMES[DEB2]}",), limit_s=SLACK_S),
    ),
)
CONTAINERS = Cast(
    {"registry.opensvc.com": "37.59.71.25", "busybox.opensvc.com": "37.59.71.24"},
    "Each has an address, file systems on the shared disk and containers: one, and seven in three"
    " subsets.",
    r"\[container#1\]",
    CONTAINERS_S,
    (
        *(Run(DEB1, f"{name} start 2> /dev/null", limit_s=CONTAINERS_S) for name in SERVICE_NAMES),
        Run(DEB1, "registry.opensvc.com print status", (r"container#1 +\.\.\.\. up",)),
        Run(DEB1, "registry.opensvc.com docker ps", ("registry.opensvc.com.container.1",)),
    ),
    (
        Run(DEB1, "allupservices syncnodes --force 2> /dev/null"),
        *(
            Run(DEB1, f"{name} stop --cluster 2> /dev/null", limit_s=CONTAINERS_S)
            for name in SERVICE_NAMES
        ),
    ),
    (
        Run(
            DEB1,
            "registry.opensvc.com docker exec registry.opensvc.com.container.1 /bin/sh -c"
            " 'echo written on deb1 > $STORAGE_PATH/page'",
        ),
        Run(DEB2, FETCH, ("written on deb1",), limit_s=SLACK_S),
    ),
    (
        Title("Same data", "What the registry serves, from its file system, on deb2 now."),
        Run(DEB2, FETCH, ("written on deb1",), limit_s=SLACK_S),
        Title("Same containers", "They keep their ids and what was written into them."),
        Run(
            DEB2,
            "busybox.opensvc.com docker ps --format '{{.ID}} {{.Names}}' | sort -k2",
            (r"(?s)(\w{12} busybox\.opensvc\.com\.container\.\d.*){7}",),
        ),
    ),
)


ALL_LISTEN = (r"(?s)(listener \S+ pid \d+ status UP.*){3}",)
NONE_LISTENS = (r"(?s)(listener \S+ status DOWN.*){3}",)

SVCMON = "svcmon --service=registry.opensvc.com,busybox.opensvc.com"
LOOP_BODY = 'echo "-----------------------------"; ez_svc_status; ez_hb_status; date'


def app_script(service: str, start_s: int) -> str:
    """Return the program of a demo service: start, stop and check."""
    ticking = """while :; do echo "$(date +%T) $(hostname)" >> '$clock'; sleep 1; done"""
    return f"""#!/bin/sh
# Writes the time into the file system of the service, once a second.
clock=/opt/{service}.opensvc.com/clock
pidfile=/run/{service}.clock.pid
is_running() {{ [ -s $pidfile ] && kill -0 $(cat $pidfile) 2>/dev/null; }}
case $1 in
start)
    echo "{service} $(hostname) $(date +%s.%N)" >> {STARTS_FILE}
    sleep {start_s}
    setsid sh -c '{ticking}' < /dev/null > /dev/null 2>&1 &
    echo $! > $pidfile
    ;;
stop)
    if is_running; then kill $(cat $pidfile); fi
    while is_running; do sleep 0.1; done
    rm -f $pidfile
    ;;
status)
    is_running || exit 1
    ;;
esac
"""


def service_file(service: str, has_block_devices: bool) -> str:
    """Return the `.env` file of a service before it is in the cluster."""
    fs = (
        f"dev = /shared/{service}.img\ntype = ext4"
        if has_block_devices
        else f"dev = /shared/{service}\ntype = bind"
    )
    return f"""[DEFAULT]
autostart_node = {NAMES[DEB1]}
app = OSVCLAB
service_type = DEV
nodes = {" ".join(NAMES)}

[ip#1]
ipdev = eth0
ipname = {service}.opensvc.com

[fs#1]
mnt_opt = rw
mnt = /opt/{service}.opensvc.com
{fs}

[app#1]
script = clock
start = 10
stop = 10
check = 10

[sync#i0]
disable = true
"""


def monitor_file(timeout_s: float) -> str:
    """Return the tutorial's monitor file with a link timeout."""
    return (
        f"deb1.opensvc.com\tnet\teth1\t239.131.50.10\t5010\t{timeout_s:g}\n"
        f"deb1.opensvc.com\tnet\teth2\t239.131.50.11\t5011\t{timeout_s:g}\n"
        f"deb2.opensvc.com\tnet\teth1\t239.131.50.12\t5012\t{timeout_s:g}\n"
        f"deb2.opensvc.com\tnet\teth2\t239.131.50.13\t5013\t{timeout_s:g}\n"
        f"deb1.opensvc.com\tdio\t/dev/mapper/disk.hb.0\t0\t{timeout_s:g}\n"
        f"deb2.opensvc.com\tdio\t/dev/mapper/disk.hb.0\t10\t{timeout_s:g}\n"
    )


def write_file(path: str, text: str) -> str:
    """Return the command that writes a file."""
    return f"cat > {path} << EOF\n{text}EOF"


def hb_section(service: str) -> str:
    """Return the section that hands a service to OpenHA."""
    return (
        f"cat >> {service}.opensvc.com.env << EOF\n\n[hb#0]\ntype = OpenHA\nname = {service}\nEOF"
    )


def on_both(command: str, expect: tuple[str, ...] = (), limit_s: float = 0.0) -> list[Step]:
    """Return the same command for both nodes."""
    return [Run(node, command, expect, limit_s=limit_s) for node in (DEB1, DEB2)]


def configuration(pace: StoryPace, cast: Cast) -> list[Step]:
    """Return the steps from two service files to two nodes that hear each other."""
    steps: list[Step] = [
        Title(
            "Install OpenHA",
            "With the embedded agent, since there is no OpenSVC agent here. On both nodes.",
        ),
        *on_both("openha install --embedded-agent --no-key"),
        Run(DEB1, "ls /usr/local/cluster", (r"bin\s+conf\s+(doc\s+)?env\.sh",)),
        Title("Two services", cast.text),
        Run(DEB1, "cat /etc/opensvc/registry.opensvc.com.env", (cast.section,)),
        *cast.begin,
        Title(
            "Tell OpenSVC that OpenHA decides",
            "No autostart_node any more, and a heartbeat resource; then the same on deb2.",
        ),
    ]
    for service in SERVICES:
        name = f"{service}.opensvc.com"
        steps += [
            Run(DEB1, f"cd /etc/opensvc; cp {name}.env {name}.backup"),
            Run(DEB1, f"cd /etc/opensvc; cat {name}.backup | grep -v autostart_node > {name}.env"),
            Run(DEB1, f"cd /etc/opensvc; {hb_section(service)}"),
        ]
    steps += [
        *cast.to_peer,
        Run(
            DEB2,
            "tail -3 /etc/opensvc/busybox.opensvc.com.env",
            (r"type = OpenHA\nname = busybox",),
        ),
        Title(
            "Configure the cluster",
            "The nodes, and three heartbeat links each way: two networks, one disk. On both nodes.",
        ),
        *on_both(write_file(f"{EZ}/conf/nodes", "".join(f"{name}\n" for name in NAMES))),
        *on_both(write_file(f"{EZ}/conf/monitor", monitor_file(pace.link_timeout_s))),
    ]
    for service in SERVICES:
        script = f"/etc/opensvc/{service}.opensvc.com.cluster"
        command = f"$EZ_BIN/service -a {service} {script} {' '.join(NAMES)} /bin/true"
        done = (rf"Creating service {service}", "initial state FROZEN_STOP", "Done")
        steps += on_both(command, done)
    return steps


def start_of_openha() -> list[Step]:
    """Return the steps that start the daemons, one node after the other."""
    frozen = {service: "FROZEN_STOP/FROZEN_STOP" for service in SERVICES}
    alone = {service: "FROZEN_STOP/UNKNOWN" for service in SERVICES}
    return [
        Title("Start OpenHA on deb1", "It sends its heartbeats, and hears no peer yet."),
        Run(DEB1, "$EZ/ezha start"),
        Run(DEB1, "ez_ps", ("nmond",), limit_s=SLACK_S),
        Run(DEB1, "ez_svc_status", states(**alone), limit_s=SLACK_S),
        Run(DEB1, "ez_hb_status", NONE_LISTENS, limit_s=SLACK_S),
        Title(
            "Start OpenHA on deb2",
            "Both hear each other on all links. The services are frozen until we say so.",
        ),
        Run(DEB2, "$EZ/ezha start"),
        Run(DEB2, "ez_svc_status", states(**frozen), limit_s=SLACK_S),
        Run(DEB2, "ez_hb_status", ALL_LISTEN, limit_s=SLACK_S),
        Run(DEB1, "ez_hb_status", ALL_LISTEN, limit_s=SLACK_S),
        *on_both(SVCMON, overall("warn", "warn"), limit_s=SLACK_S),
    ]


def unfreezing(pace: StoryPace, cast: Cast) -> list[Step]:
    """Return the steps that unfreeze both services on both nodes.

    deb1 is the first: it is the primary, so it starts them.
    """
    limit_s = START_READY_S + pace.busybox_start_s + cast.start_s
    steps: list[Step] = []
    other = {"registry": {}, "busybox": {"registry": "STARTED/STOPPED"}}
    for service in SERVICES:
        rest = other[service]
        steps += [
            Title(
                f"Unfreeze {service}",
                "First on deb1, which starts it; then on deb2, which is the standby.",
            ),
            Run(DEB1, f"$EZ_BIN/service -A {service} unfreeze", (f"Service {service} UNFROZEN",)),
            Run(
                DEB1,
                "ez_svc_status",
                states(**{service: "STARTED/FROZEN_STOP", **rest}),
                limit_s=limit_s,
                is_story=True,
            ),
            Run(DEB1, SVCMON, (svcmon_line(service, "up", "up"),), limit_s=SLACK_S),
            Run(
                DEB1,
                f"{service}.opensvc.com print status",
                (r"overall +up", r"hb#0 +\.\.\.\. up +hb.openha"),
            ),
            Run(DEB2, f"$EZ_BIN/service -A {service} unfreeze", (f"Service {service} UNFROZEN",)),
            Run(
                DEB2,
                "ez_svc_status",
                states(**{service: "STARTED/STOPPED", **rest}),
                limit_s=SLACK_S,
            ),
        ]
    steps += [
        *cast.write_data,
        Run(DEB2, SVCMON, overall("down", "down"), limit_s=SLACK_S),
    ]
    return steps


def failover(pace: StoryPace, cast: Cast) -> list[Step]:
    """Return the steps that cut the power of deb1 and wait for the takeover by deb2."""
    loop = f"while true; do {LOOP_BODY}; sleep {pace.watch_every_s:g}; done"
    limit_s = pace.link_timeout_s + START_READY_S + pace.busybox_start_s + cast.start_s
    return [
        Title("Failover", "The power of deb1 is cut. deb2 watches."),
        Takeover(
            DEB1,
            DEB2,
            loop,
            pace.watch_every_s,
            (*states(**{service: "UNKNOWN/STARTED" for service in SERVICES}), *NONE_LISTENS),
            limit_s,
        ),
        Run(DEB2, SVCMON, overall("up", "up"), limit_s=SLACK_S),
        *cast.read_data,
    ]


def failback(pace: StoryPace, cast: Cast) -> list[Step]:
    """Return the steps that boot deb1 and move its services back by hand."""
    limit_s = 2 * (START_READY_S + pace.busybox_start_s + cast.start_s)
    away = states(**{service: "STOPPED/STARTED" for service in SERVICES})
    steps: list[Step] = [
        Title("deb1 is back", "It finds that deb2 owns the services, and leaves them there."),
        PowerCutter(DEB1, "the power of deb1 is back, it boots with the disk it had"),
        Run(DEB1, "$EZ/ezha start"),
        Run(DEB1, "ez_svc_status", away, limit_s=SLACK_S),
        Run(DEB1, "ez_hb_status", ALL_LISTEN, limit_s=SLACK_S),
        Run(DEB1, SVCMON, overall("down", "down"), limit_s=SLACK_S),
        Title(
            "Failback by hand",
            "Frozen and stopped on deb2, the services start on deb1; then deb2 may stand by again.",
        ),
    ]
    for service in SERVICES:
        steps.append(Run(DEB2, f"$EZ_BIN/service -A {service} freeze-stop"))
    home = states(**{service: "STARTED/FROZEN_STOP" for service in SERVICES})
    steps.append(Run(DEB1, "ez_svc_status", home, limit_s=limit_s, is_story=True))
    for service in SERVICES:
        steps.append(
            Run(DEB2, f"$EZ_BIN/service -A {service} unfreeze", (f"Service {service} UNFROZEN",))
        )
    final = states(**{service: "STARTED/STOPPED" for service in SERVICES})
    return steps + [
        Run(DEB2, "ez_svc_status", final, limit_s=SLACK_S),
        Run(DEB1, SVCMON, overall("up", "up"), limit_s=SLACK_S),
    ]


def story_steps(pace: StoryPace, cast: Cast) -> Sequence[Step]:
    """Return all steps of the demo."""
    return [
        *configuration(pace, cast),
        *start_of_openha(),
        *unfreezing(pace, cast),
        *failover(pace, cast),
        *failback(pace, cast),
    ]
