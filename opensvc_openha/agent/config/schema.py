"""Every keyword of a service file, declared once.

Drivers read typed values through these constants (``section.value(schema.IPDEV)``); validation, the
tables of docs/services.md and the schema for editors are generated from ``KINDS``. An unknown
keyword is an error in validation, but only a warning in actions: a service must not stay down
because of a word that changes nothing.
"""

from __future__ import annotations

from opensvc_openha.agent.config import value_types as types
from opensvc_openha.agent.config.keywords import REQUIRED, AnyKeyword, Keyword, Kind

IMPLICIT_SYNC = "sync#i0"
"""The sync of the service's own configuration; a section of this name only has differences."""


def _ignored(names: str) -> tuple[AnyKeyword, ...]:
    return tuple(Keyword(name, types.TEXT, "", is_ignored=True) for name in names.split())


# Every resource ---------------------------------------------------------------------------------

TYPE = Keyword("type", types.TEXT, "", "Type of the resource, where the group has several.")
DISABLE = Keyword("disable", types.FLAG, False, "Takes no part, shown as n/a.")
OPTIONAL = Keyword("optional", types.FLAG, False, "Its failure ends no action, nor is it counted.")
MONITOR = Keyword("monitor", types.FLAG, False, "Watched while the service runs.")
DISABLE_ON = Keyword("disable_on", types.NODES, (), "Nodes where it is disabled.")
OPTIONAL_ON = Keyword("optional_on", types.NODES, (), "Nodes where it is optional.")
MONITOR_ON = Keyword("monitor_on", types.NODES, (), "Nodes where it is monitored.")
ALWAYS_ON = Keyword(
    "always_on", types.NODES, (), "Nodes where it is always up; only `stop --force` stops it."
)
RESTART = Keyword("restart", types.INTEGER, 0, "Starts after a failure, before `monitor_action`.")
SUBSET = Keyword("subset", types.TEXT, "", "Those without one first, then by name.")
TAGS = Keyword(
    "tags", types.LIST, (), "For `--tags`; `noaction`: shown only, `encap`: that of a container."
)
COMMENT = Keyword("comment", types.COMMENT, "", "Remark of the operator.")
_TRIGGER = "Around the action; only with `blocking_` does its failure end the action."
TRIGGERS: tuple[Keyword[str], ...] = tuple(
    Keyword(f"{blocking}{when}_{action}", types.COMMAND, "", _TRIGGER)
    for action in (
        *("start", "stop", "syncnodes", "syncdrp", "sync_nodes", "sync_drp"),
        *("provision", "unprovision", "run"),
    )
    for blocking in ("", "blocking_")
    for when in ("pre", "post")
)
COMMON: tuple[AnyKeyword, ...] = (
    *(DISABLE, OPTIONAL, MONITOR, DISABLE_ON, OPTIONAL_ON, MONITOR_ON, ALWAYS_ON),
    *(RESTART, SUBSET, TAGS, COMMENT, *TRIGGERS),
)
"""Keywords of every resource."""

# Reservations of disks --------------------------------------------------------------------------

SCSIRESERV = Keyword(
    "scsireserv", types.FLAG, False, "Reserves the disks below it, see Reservations below."
)
SCSI_RESERVE = Keyword(
    "scsi_reserve", types.FLAG, False, "Like `scsireserv`, which is what OpenSVC agents read."
)
PRKEY = Keyword(
    "prkey",
    types.RESERVATION_KEY,
    None,
    "Key of this node for them; by default that of `node.conf`.",
)
NO_PREEMPT_ABORT = Keyword(
    "no_preempt_abort",
    types.FLAG,
    False,
    "Never aborts another node's writes: some targets fail at it. Then `drain` is waited.",
)
DRAIN = Keyword("drain", types.SECONDS, 10.0, "Time for writes that could not be aborted to land.")
_RESERVED: tuple[AnyKeyword, ...] = (SCSIRESERV, SCSI_RESERVE, PRKEY, NO_PREEMPT_ABORT, DRAIN)
RESERVATION_SECTION: tuple[AnyKeyword, ...] = (
    *(OPTIONAL, OPTIONAL_ON, DISABLE, DISABLE_ON, MONITOR, MONITOR_ON, RESTART, TAGS, COMMENT),
    *(PRKEY, NO_PREEMPT_ABORT, DRAIN, *TRIGGERS),
)
"""Keywords of [vg#1pr], in which the reservation of [vg#1] differs from it."""
FENCE_NEEDS = Keyword(
    "fence_needs",
    types.choice("node", "data"),
    "node",
    "What has to be proved before a silent peer's service starts here: that the node is out, or"
    " (`data`) that it cannot write the service's disks any more.",
    is_scoped=False,
)

# [ip#N] -----------------------------------------------------------------------------------------

IPNAME = Keyword("ipname", types.HOST, REQUIRED, "Address, or a name that resolves to it.")
IPDEV = Keyword("ipdev", types.TEXT, REQUIRED, "Interface; it may carry a label (`eth0:1`).")
NETMASK = Keyword("netmask", types.NETMASK, None, "By default that of the interface's network.")
DOCKER_DAEMON_IP = Keyword(
    "docker_daemon_ip", types.FLAG, False, "The docker daemon publishes ports on this address."
)

# [disk#N], [vg#N], [loop#N] ---------------------------------------------------------------------

VGNAME = Keyword("vgname", types.TEXT, REQUIRED, "Name of the volume group.", aliases=("name",))
LOOP_FILE = Keyword("file", types.PATH, REQUIRED, "File that becomes a block device.")
_VG = (VGNAME, *_RESERVED, *_ignored("dsf options pvs"))
_LOOP = (LOOP_FILE, *_ignored("size"))
LVM_TYPES = ("vg", "lvm")

# [fs#N] -----------------------------------------------------------------------------------------

DEV = Keyword("dev", types.TEXT, REQUIRED, "Device, image file, directory or server.")
MNT = Keyword("mnt", types.INNER_PATH, REQUIRED, "Mount point, created if it is missing.")
MNT_OPT = Keyword("mnt_opt", types.TEXT, "", "Options of the mount.", aliases=("mnt_opts",))
DIRECTORY = Keyword(
    "path", types.INNER_PATH, REQUIRED, "Directory that must exist.", aliases=("mnt", "dev")
)
DIRECTORY_USER = Keyword("user", types.TEXT, "", "Owner that a start sets.")
DIRECTORY_GROUP = Keyword("group", types.TEXT, "", "Group that a start sets.")
DIRECTORY_MODE = Keyword("perm", types.OCTAL_MODE, None, "Mode that a start sets.")
LOCAL_TYPES = (
    *("btrfs", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "ntfs", "reiserfs", "udf"),
    *("vfat", "xfs"),
)
NETWORK_TYPES = ("cifs", "nfs", "nfs4")
BIND_TYPES = ("bind", "none")
_MOUNT = (MNT, MNT_OPT, *_RESERVED, *_ignored("vg size snap_size zone"))
_FS_TYPES: dict[str, tuple[AnyKeyword, ...]] = {
    **dict.fromkeys(LOCAL_TYPES, (DEV._replace(type=types.DEVICE), *_MOUNT)),
    **{kind: (DEV._replace(type=types.server_path(kind)), *_MOUNT) for kind in NETWORK_TYPES},
    **dict.fromkeys(BIND_TYPES, (DEV._replace(type=types.BOUND_PATH), *_MOUNT)),
    "tmpfs": (DEV, *_MOUNT),
    "directory": (DIRECTORY, DIRECTORY_USER, DIRECTORY_GROUP, DIRECTORY_MODE),
}

# [share#N] --------------------------------------------------------------------------------------

SHARE_PATH = Keyword("path", types.PATH, REQUIRED, "Directory that is exported.")
SHARE_OPTS = Keyword("opts", types.EXPORTS, REQUIRED, "Clients and their options.")

# [container#N] ----------------------------------------------------------------------------------

RUN_IMAGE = Keyword("run_image", types.TEXT, REQUIRED, "Image, by name or id.", aliases=("image",))
RUN_ARGS = Keyword("run_args", types.WORDS, (), "Options of `docker run`.")
RUN_COMMAND = Keyword("run_command", types.WORDS, (), "Command in it.", aliases=("command",))
CONTAINER_START_TIMEOUT = Keyword("start_timeout", types.SECONDS, 120.0, "Limit of a start.")
CONTAINER_STOP_TIMEOUT = Keyword("stop_timeout", types.SECONDS, 10.0, "Then a stop kills it.")
HEALTHCHECK = Keyword(
    "healthcheck",
    types.choice("monitor", "ignore"),
    "monitor",
    "`ignore`: a container that its HEALTHCHECK calls unhealthy is up, with a note.",
)
_DOCKER = (
    *(RUN_IMAGE, RUN_ARGS, RUN_COMMAND, CONTAINER_START_TIMEOUT, CONTAINER_STOP_TIMEOUT),
    HEALTHCHECK,
    *_RESERVED,
    Keyword("docker_service", types.choice("false", "no", "off", "0"), "false", "No swarm."),
)

# [app#N] ----------------------------------------------------------------------------------------

SCRIPT = Keyword(
    "script",
    types.TEXT,
    "",
    "Script of the application; one without a directory lies in `NAME.d` or `NAME.dir`.",
    required_when="`start`, `stop` or `check` is a number or yes",
)
APP_START = Keyword(
    "start", types.STEP, None, "Place at which the script is called with `start`; or a command."
)
APP_STOP = Keyword("stop", types.STEP, None, "Like `start`, with `stop`.")
APP_CHECK = Keyword(
    "check", types.STEP, None, "Like `start`, with `status`: 0 is up, 1 down, others a warning."
)
APP_INFO = Keyword("info", types.STEP, None, is_ignored=True)
APP_TIMEOUT = Keyword("timeout", types.SECONDS, None, "Each step; default 600 s, `check` 30 s.")
APP_START_TIMEOUT = Keyword("start_timeout", types.SECONDS, None, "Limit of `start`.")
APP_STOP_TIMEOUT = Keyword("stop_timeout", types.SECONDS, None, "Limit of `stop`.")
APP_CHECK_TIMEOUT = Keyword("check_timeout", types.SECONDS, None, "Limit of `check`.")
RUN_AS = Keyword("run_as", types.TEXT, "", "User that runs it.")
APP_DIR = Keyword("dir", types.PATH, "", "In `[app]` without a number: directory of the launchers.")

# [sync#N] ---------------------------------------------------------------------------------------

SYNC_SRC = Keyword("src", types.PATHS, REQUIRED, "Files and directories, also as patterns.")
SYNC_DST = Keyword("dst", types.PATH, REQUIRED, "Directory on the receiving node.")
SYNC_TARGET = Keyword("target", types.TARGETS, ("nodes",), "Nodes that receive it.")
SYNC_OPTIONS = Keyword("options", types.WORDS, (), "Further options of rsync.")
SYNC_EXCLUDE = Keyword("exclude", types.WORDS, (), "Further options of rsync: `--exclude=...`.")
SYNC_DSTFS = Keyword("dstfs", types.PATH, "", "Must be mounted on the receiving node.")
SYNC_BWLIMIT = Keyword("bwlimit", types.INTEGER, None, "Limit of the transfer in KiB per second.")
SYNC_TIMEOUT = Keyword("timeout", types.SECONDS, 3600.0, "Limit of one transfer.")
SYNC_MAX_DELAY = Keyword("sync_max_delay", types.INTEGER, 1500, "Oldest good copy, in minutes.")
SCHEDULE = Keyword("schedule", types.TEXT, "", "When it is sent, see Synchronisation below.")
SYNC_SCHEDULE = Keyword("sync_schedule", types.TEXT, "", "The same for all syncs of a service.")
SYNC_PERIOD = Keyword("sync_period", types.TEXT, "", "Hours, as older agents write them.")
SYNC_DAYS = Keyword("sync_days", types.TEXT, "", "Days, as older agents write them.")
SYNC_INTERVAL = Keyword(
    "sync_interval", types.INTEGER, None, "Minutes, as older agents write them.", is_lenient=True
)
SYNC_MIN_DELAY = Keyword("sync_min_delay", types.TEXT, "", "Older name of `sync_interval`.")
_SCHEDULES: tuple[AnyKeyword, ...] = (
    *(SYNC_SCHEDULE, SYNC_INTERVAL, SYNC_MIN_DELAY, SYNC_PERIOD, SYNC_DAYS),
)
OF_IMPLICIT_SYNC = (SYNC_OPTIONS, SYNC_TIMEOUT, SYNC_MAX_DELAY)
"""Keywords of which a wrong value keeps the service's own configuration from being sent."""
_RSYNC: tuple[AnyKeyword, ...] = (
    *(SYNC_SRC, SYNC_DST, SYNC_TARGET, SYNC_OPTIONS, SYNC_EXCLUDE, SYNC_DSTFS, SYNC_BWLIMIT),
    *(*_ignored("snap"), SYNC_TIMEOUT, SYNC_MAX_DELAY, SCHEDULE, *_SCHEDULES),
)

# [hb#N], [stonith#N] ----------------------------------------------------------------------------

HB_NAME = Keyword("name", types.TEXT, "", "Name of the service in the cluster, by default its own.")
FENCE_CMD = Keyword("cmd", types.COMMAND, REQUIRED, "Powers the peer off.")
FENCE_STATUS_CMD = Keyword("status_cmd", types.COMMAND, "", "Asks for the peer's power.")
FENCE_LEVEL = Keyword("level", types.COUNT, 1, "Is tried if those below have failed.")
FENCE_TIMEOUT_S = 50.0
FENCE_TIMEOUT = Keyword("timeout", types.SECONDS, FENCE_TIMEOUT_S, "Limit of the section.")
FENCE_PASSWORD_FILE = Keyword(
    "password_file", types.PATH, "", "File of mode 0600 with the value of the option `password`."
)
FENCE_CA_FILE = Keyword("ca_file", types.PATH, "", "Certificates that are trusted for the device.")
ILO_TARGET = Keyword(
    "target", types.HOST, REQUIRED, "Management processor of the peer.", aliases=("name",)
)
ILO_USERNAME = Keyword("username", types.TEXT, "", "By default that of `[TARGET]` in auth.conf.")
ILO_KEY = Keyword("key", types.PATH, "", "Private key for ssh, in place of a password.")

# [subset#GROUP:NAME] ----------------------------------------------------------------------------

PARALLEL = Keyword("parallel", types.FLAG, False, "Starts and stops its resources side by side.")
SUBSET_SECTION: tuple[AnyKeyword, ...] = (
    PARALLEL,
    COMMENT,
    *_ignored(
        "pg_cpus pg_mems pg_cpu_shares pg_cpu_quota pg_mem_limit pg_vmem_limit pg_blkio_weight"
    ),
)

# [DEFAULT] --------------------------------------------------------------------------------------

NODES = Keyword(
    "nodes",
    types.NODES,
    (),
    "Nodes that run the service; any other never starts it.",
    required_when="the service has a heartbeat",
    is_scoped=False,
)
DRPNODES = Keyword(
    "drpnodes",
    types.NODES,
    (),
    "Nodes for disaster recovery: they receive copies.",
    aliases=("drpnode",),
    is_scoped=False,
)
AUTOSTART_NODE = Keyword("autostart_node", types.NODES, (), "Start at boot, without a heartbeat.")
SERVICE_TYPE = Keyword("service_type", types.TEXT, "", "`PRD`, `DEV`...", aliases=("env",))
ROLLBACK = Keyword("rollback", types.FLAG, True, "A failed start takes back what it had begun.")
MONITOR_ACTION = Keyword(
    "monitor_action",
    types.choice("none", "freezestop", "reboot", "crash"),
    "none",
    "What is done when a monitored resource stays down.",
)
PRE_MONITOR_ACTION = Keyword("pre_monitor_action", types.COMMAND, "", "Is run before it.")
DOCKER_DATA_DIR = Keyword(
    "docker_data_dir",
    types.INNER_PATH,
    "",
    "Images and containers of the service's docker daemon, on a file system of the service.",
    required_when="the service has a container, and its docker daemon is private",
)
DOCKER_DAEMON_ARGS = Keyword("docker_daemon_args", types.WORDS, (), "Options of `dockerd`.")
DOCKER_DAEMON_PRIVATE = Keyword(
    "docker_daemon_private", types.FLAG, True, "False: containers run in the daemon of the system."
)
DOCKER_EXE = Keyword("docker_exe", types.TEXT, "docker", "The program `docker`.")
DOCKERD_EXE = Keyword("dockerd_exe", types.TEXT, "dockerd", "The program `dockerd`.")
DEFAULT_SECTION: tuple[AnyKeyword, ...] = (
    *(NODES, DRPNODES, AUTOSTART_NODE, SERVICE_TYPE, ROLLBACK),
    *(MONITOR_ACTION, PRE_MONITOR_ACTION, DOCKER_DATA_DIR, DOCKER_DAEMON_ARGS),
    *(DOCKER_DAEMON_PRIVATE, DOCKER_EXE, DOCKERD_EXE, SYNC_MAX_DELAY, *_SCHEDULES, SYNC_BWLIMIT),
    *(FENCE_NEEDS, *_RESERVED, DISABLE, COMMENT),
    *_ignored(
        "mode cluster_type topology app id pkg_name constraints mon_schedule comp_schedule "
        "push_schedule status_schedule resinfo_schedule monitor_schedule presnap_trigger "
        "postsnap_trigger containerize create_pg show_disabled anti_affinity affinity "
        "placement orchestrate encapnodes "
        "flex_primary drp_flex_primary flex_min_nodes flex_max_nodes flex_cpu_min_threshold "
        "flex_cpu_max_threshold docker_swarm_args docker_swarm_managers container_cpus "
        "container_mems container_cpu_share container_mem_limit container_vmem_limit pg_cpus "
        "pg_mems pg_cpu_shares pg_cpu_quota pg_mem_limit pg_vmem_limit pg_blkio_weight "
        "lock_timeout parents children priority stonith aws"
    ),
)
"""Keywords of [DEFAULT] besides those that resources inherit."""

# ------------------------------------------------------------------------------------------------

_ALL_KINDS = (
    Kind(
        "ip",
        "An IPv4 or IPv6 address. A start is refused where another machine answers for it (ARP,"
        " neighbour solicitation), unless tagged `nonrouted`; the new owner is announced to the"
        " neighbours (ARP, NDP).",
        {"": (IPNAME, IPDEV, NETMASK, *_ignored("gateway"), DOCKER_DAEMON_IP)},
    ),
    Kind(
        "disk",
        "A volume group or a loop device, as in the sections `vg` and `loop`.",
        {"loop": _LOOP, **dict.fromkeys(LVM_TYPES, _VG)},
        shown="amazon disk drbd gandi gce lv md rados raw veritas vxdg zpool",
    ),
    Kind(
        "vg",
        "A volume group, activated on one node and tagged with its name; a tag of another node is"
        " replaced, and logged.",
        {"": _VG},
        shown_in="disk",
    ),
    Kind("loop", "A loop device on a file.", {"": _LOOP}, shown_in="disk"),
    Kind(
        "fs",
        "A file system, a bind mount or a directory. ext2 to ext4 are checked before the mount."
        " Processes that keep it busy at stop are named and killed, except the shell that asked"
        " for the stop.",
        _FS_TYPES,
        shown="9pfs fuse gfs2 glusterfs gpfs lofs ocfs2 smbfs zfs",
    ),
    Kind(
        "share",
        "A directory exported over NFS.",
        {"nfs": (SHARE_PATH, SHARE_OPTS)},
        default_type="nfs",
    ),
    Kind(
        "container",
        "A docker container, see Containers below.",
        {"docker": _DOCKER},
        shown="amazon esx hpvm jail kvm ldom lxc openstack ovm podman srp vbox vcloud vz xen zone",
    ),
    Kind(
        "app",
        "An application. Links `S10x`, `K10x`, `C10x` in `NAME.d` or `NAME.dir` are the same"
        " without a section; `[app]` without number holds `dir`, `optional`... for them.",
        {
            "": (
                *(SCRIPT, APP_START, APP_STOP, APP_CHECK, APP_INFO),
                *(APP_TIMEOUT, APP_START_TIMEOUT, APP_STOP_TIMEOUT, APP_CHECK_TIMEOUT),
                *(RUN_AS, APP_DIR),
            )
        },
    ),
    Kind(
        "sync",
        "A copy of files on other nodes, see Synchronisation below.",
        {"rsync": _RSYNC},
        default_type="rsync",
        shown="btrfs dds docker evasnap netapp nexenta s3 symclone symsrdfs zfs",
    ),
    Kind(
        "hb",
        "The service in the cluster; one per service.",
        {"openha": (HB_NAME,)},
        shown="linuxha ovm rhcs sg vcs",
    ),
    Kind(
        "stonith",
        "What fences the peer, see Fencing below. With `type = fence_*`, as fence_ipmilan, all"
        " other keywords are options of that fence agent.",
        {
            "callout": (FENCE_CMD, FENCE_STATUS_CMD, FENCE_LEVEL, FENCE_TIMEOUT),
            "fence_*": (FENCE_PASSWORD_FILE, FENCE_CA_FILE, FENCE_LEVEL, FENCE_TIMEOUT),
            "ilo": (
                *(ILO_TARGET, ILO_USERNAME, FENCE_PASSWORD_FILE, ILO_KEY),
                *(FENCE_LEVEL, FENCE_TIMEOUT),
            ),
        },
        open_type="fence_",
    ),
    Kind("drbd", "Only shown.", {}, shown_in="disk"),
    Kind("pool", "Only shown.", {}, shown_in="disk"),
)
KINDS = {kind.group: kind for kind in _ALL_KINDS}
OF_ALL_KINDS = tuple(
    keyword for kind in _ALL_KINDS for keywords in kind.types.values() for keyword in keywords
)
NO_RESOURCES = frozenset({"subset", "task", "env"})
"""Groups that are accepted, but are no resources of this agent."""
