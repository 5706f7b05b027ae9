"""Locate all files: the original's EZ_* variables, its two layouts, the agent's directories.

The tree layout is that of OpenHA 0.4 (everything below /usr/local/cluster), the FHS layout that of
0.5 (/etc/openha, /var/lib/openha). Every path can be changed by its variable. EZ_* names appear in
this module only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from opensvc_openha.named_tuples import NamedTuple

TREE_ROOT = "/usr/local/cluster"
STATE_PREFIX = "STATE."


class Layout(NamedTuple):
    """Directories and files of one OpenHA installation on one node."""

    ez: str
    bin_dir: str
    conf_dir: str
    var_dir: str
    log_dir: str
    proc_dir: str
    services_dir: str
    services_file: str
    nodes_file: str
    monitor_file: str

    @property
    def control_socket(self) -> str:
        """UNIX socket for the commands."""
        return f"{self.proc_dir}/nmond.sock"

    @property
    def lock_file(self) -> str:
        """Locked while a node daemon runs; holds its pid."""
        return f"{self.proc_dir}/nmond.lock"

    @property
    def key_mark_file(self) -> str:
        """Present once the peer was heard with a key.

        Kept beside the key, since the run-time directory may be lost.
        """
        return f"{self.key_file}.in-use"

    @property
    def boot_file(self) -> str:
        """Counter of daemon starts and the boot identity of the machine at the last one."""
        return f"{self.proc_dir}/boot"

    @property
    def state_log_file(self) -> str:
        """The newest states of this node, until their STATE files are on disk themselves."""
        return f"{self.proc_dir}/states.log"

    @property
    def options_file(self) -> str:
        """Options beyond the original's files."""
        return f"{self.conf_dir}/openha.conf"

    @property
    def agents_file(self) -> str:
        """Where the OpenSVC agents of this node keep what must be dropped when a state changes."""
        return f"{self.conf_dir}/agents"

    @property
    def fence_dir(self) -> str:
        """Generated check-up scripts of services that an OpenSVC agent runs.

        No agent writes here.
        """
        return f"{self.conf_dir}/fence.d"

    @property
    def notify_dir(self) -> str:
        """Programs that are run for what somebody has to know at once."""
        return f"{self.conf_dir}/notify.d"

    @property
    def notify_file(self) -> str:
        """Up to which entry of the history each of these programs was run."""
        return f"{self.proc_dir}/notify.json"

    @property
    def notify_log(self) -> str:
        """What became of each notification."""
        return f"{self.log_dir}/notify.log"

    @property
    def key_file(self) -> str:
        """The secret that authenticates heartbeats."""
        return f"{self.conf_dir}/openha.key"

    @property
    def peer_lives_file(self) -> str:
        """The newest incarnation of the peer heard under each key."""
        return f"{self.proc_dir}/peer-lives"

    @property
    def fencing_file(self) -> str:
        """What the next daemon must know of fencing."""
        return f"{self.proc_dir}/fencing"

    @property
    def evacuation_file(self) -> str:
        """That this node is evacuated; missing if it is not."""
        return f"{self.proc_dir}/evacuation"

    @property
    def arbiter_file(self) -> str:
        """When this node was last registered on the arbiter's disk."""
        return f"{self.proc_dir}/arbiter"

    @property
    def peer_requests_dir(self) -> str:
        """What became of the requests of the other node, by their ids."""
        return f"{self.proc_dir}/peer-requests"

    @property
    def peer_seen_file(self) -> str:
        """Which texts of the other node's files were seen on this one."""
        return f"{self.proc_dir}/peer-seen"

    @property
    def peer_log(self) -> str:
        """What the other node asked for."""
        return f"{self.log_dir}/peer-link.log"

    @property
    def fence_drills_file(self) -> str:
        """When each path of the fence plan was tried out."""
        return f"{self.proc_dir}/fence-drills"

    @property
    def drills_file(self) -> str:
        """What the drills of this node have measured."""
        return f"{self.proc_dir}/drills.json"

    @property
    def drill_lock(self) -> str:
        """Locked while a drill runs on this node."""
        return f"{self.proc_dir}/drill.lock"

    @property
    def outlook_file(self) -> str:
        """What the last check found that ran on this node by itself."""
        return f"{self.proc_dir}/outlook.json"

    @property
    def durations_file(self) -> str:
        """How long scripts and takeovers took, of each service."""
        return f"{self.proc_dir}/durations.json"

    @property
    def history_dir(self) -> str:
        """Every transition with its cause, across restarts and reboots."""
        return f"{self.proc_dir}/history"

    @property
    def former_history_file(self) -> str:
        """The history of versions before 0.2.0, until it is converted."""
        return f"{self.proc_dir}/history.sqlite"

    def service_dir(self, service: str) -> str:
        """Return the directory of one service's STATE files."""
        return f"{self.services_dir}/{service}"

    def state_file(self, service: str, node: str) -> str:
        """Return the STATE file of one service for one node."""
        return f"{self.services_dir}/{service}/{STATE_PREFIX}{node}"

    def script_file(self, service: str) -> str:
        """Return the file that names a running script, for which a restarted daemon waits."""
        return f"{self.proc_dir}/{service}.script"

    def script_log(self, service: str) -> str:
        """Return the log of a service's scripts."""
        return f"{self.log_dir}/{service}.log"

    def environment(self) -> dict[str, str]:
        """Return the EZ_* variables that describe this layout."""
        return {
            "EZ": self.ez,
            "EZ_BIN": self.bin_dir,
            "EZ_CONF": self.conf_dir,
            "EZ_VAR": self.var_dir,
            "EZ_LOG": self.log_dir,
            "EZ_SERVICES": self.services_file,
            "EZ_NODES": self.nodes_file,
            "EZ_MONITOR": self.monitor_file,
        }


def tree_layout(ez: str = TREE_ROOT, env: Mapping[str, str] | None = None) -> Layout:
    """Return the layout of the tutorial: bin, conf, log and services below one directory."""
    return _build(ez, env or {}, f"{ez}/bin", f"{ez}/conf", ez, f"{ez}/log")


def fhs_layout(root: str = "", env: Mapping[str, str] | None = None) -> Layout:
    """Return the FHS layout below ``root``.

    /etc/openha, /var/lib/openha, /usr/lib/openha/bin, /var/log/openha.
    """
    return _build(
        f"{root}/usr/lib/openha",
        env or {},
        f"{root}/usr/lib/openha/bin",
        f"{root}/etc/openha",
        f"{root}/var/lib/openha",
        f"{root}/var/log/openha",
    )


def find_layout(env: Mapping[str, str], exists: Callable[[str], bool]) -> Layout:
    """Return the layout in force.

    As EZ or EZ_CONF define it, else the tree if it exists, else FHS if that exists, else the tree.
    """
    if env.get("EZ"):
        ez = env["EZ"].rstrip("/") or "/"
        if "EZ_CONF" in env and "EZ_VAR" in env and ez.endswith("/usr/lib/openha"):
            return fhs_layout(ez[: -len("/usr/lib/openha")], env)
        return tree_layout(ez, env)
    if exists(f"{TREE_ROOT}/conf"):
        return tree_layout(TREE_ROOT, env)
    if env.get("EZ_CONF") or exists("/etc/openha"):
        return fhs_layout("", env)
    return tree_layout(TREE_ROOT, env)


def _build(ez: str, env: Mapping[str, str], bin_dir: str, conf: str, var: str, log: str) -> Layout:
    conf = env.get("EZ_CONF") or conf
    var = env.get("EZ_VAR") or var
    log = env.get("EZ_LOG") or log
    return Layout(
        ez=ez,
        bin_dir=env.get("EZ_BIN") or bin_dir,
        conf_dir=conf,
        var_dir=var,
        log_dir=log,
        # In the tree layout `ls $EZ` must print the tutorial's output, so run-time files are hidden
        # beside the states.
        proc_dir=f"{var}/services/.proc" if var == ez else f"{var}/proc",
        services_dir=f"{var}/services",
        services_file=env.get("EZ_SERVICES") or f"{conf}/services",
        nodes_file=env.get("EZ_NODES") or f"{conf}/nodes",
        monitor_file=env.get("EZ_MONITOR") or f"{conf}/monitor",
    )


class AgentLayout(NamedTuple):
    """Directories of the embedded agent: service files, run-time data, commands."""

    etc_dir: str = "/etc/opensvc"
    var_dir: str = "/var/lib/opensvc"
    log_dir: str = "/var/log/opensvc"
    bin_dir: str = "/usr/share/opensvc/bin"

    def service_file(self, svcname: str) -> str:
        """Return the `.env` file of a service."""
        return f"{self.etc_dir}/{svcname}.env"

    def command_link(self, svcname: str) -> str:
        """Return the command named after the service."""
        return f"{self.etc_dir}/{svcname}"

    def cluster_wrapper(self, svcname: str) -> str:
        """Return the start and stop script for the node daemon."""
        return f"{self.etc_dir}/{svcname}.cluster"

    def stonith_wrapper(self, svcname: str) -> str:
        """Return the check-up script that fences the peer."""
        return f"{self.etc_dir}/{svcname}.stonith"

    def service_var_dir(self, svcname: str) -> str:
        """Return the directory for one service's run-time data: locks, flags, sockets."""
        return f"{self.var_dir}/{svcname}"

    def environment(self) -> dict[str, str]:
        """Return the variables that describe this layout."""
        return {
            "OSVC_ETC": self.etc_dir,
            "OSVC_VAR": self.var_dir,
            "OSVC_LOG": self.log_dir,
            "OSVC_BIN": self.bin_dir,
        }


def agent_layout(root: str = "", env: Mapping[str, str] | None = None) -> AgentLayout:
    """Return the embedded agent's directories below ``root``; an OSVC_* variable changes each."""
    env = env or {}
    plain = AgentLayout()
    return AgentLayout(
        etc_dir=env.get("OSVC_ETC") or root + plain.etc_dir,
        var_dir=env.get("OSVC_VAR") or root + plain.var_dir,
        log_dir=env.get("OSVC_LOG") or root + plain.log_dir,
        bin_dir=env.get("OSVC_BIN") or root + plain.bin_dir,
    )
