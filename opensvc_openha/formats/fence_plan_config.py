"""Read the fence plan of openha.conf: which paths cut the peer, in which order, and how.

    [fencing]
    levels = ipmi, pdu-a + pdu-b      alternatives in order; `a + b`: all of them must succeed
        [[ipmi deb1.opensvc.com]]     how path ipmi cuts that node
        agent = fence_ipmilan
        ...                           options of the agent
        [[lease]]                     this node's watchdog, see lease_config
        [[etcd]]                      the witness

Both nodes have the sections of both. What options an agent takes is not known here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from opensvc_openha.core.model import Profile
from opensvc_openha.core.timing import POWER_CUT_LIMIT_S
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_sections import (
    ConfSection,
    ConfValueType,
    Option,
    seconds,
)
from opensvc_openha.formats.lease_config import (
    ETCD,
    LEASE,
    PARTS,
    EtcdConfig,
    LeaseConfig,
    read_etcd,
    read_lease,
)
from opensvc_openha.formats.nodes_file import is_same_node
from opensvc_openha.formats.suggestion import did_you_mean
from opensvc_openha.records import dataclass

CALLOUT = "callout"
RESERVATION = "reservation"
"""A level that needs no section: the SCSI reservation of the services' data disks."""

Levels = tuple[tuple[str, ...], ...]
_NOT_AVAILABLE = ("sbd",)
_PARTS = tuple(part.name for part in PARTS)
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}\Z")
_AGENT = re.compile(r"(/[^\s]*/)?fence_[a-z0-9_]+\Z")


@dataclass(frozen=True)
class DeviceConfig:
    """How a path cuts one node: a section `[[PATH NODE]]`.

    ``options`` are those of the agent, and of a callout `cmd` and `status_cmd`. ``place`` and
    ``lines`` only serve messages.
    """

    path: str
    node: str
    agent: str
    options: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = POWER_CUT_LIMIT_S
    file: str = field(default="", compare=False)
    line: int | None = field(default=None, compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def is_callout(self) -> bool:
        """True if a command of the operator's own is run instead of an agent."""
        return self.agent == CALLOUT

    @property
    def address(self) -> str:
        """Where the device is, for display; empty if no option says so."""
        place = self.options.get("ip") or self.options.get("ipaddr", "")
        plug = self.options.get("plug") or self.options.get("port", "")
        return " ".join(part for part in (place, plug) if part)

    @property
    def mark(self) -> str:
        """What identifies its options: other options are another device."""
        text = json.dumps([self.node.lower(), self.agent, sorted(self.options.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def error(self, message: str, option: str = "") -> ConfigError:
        """Return an error about an option of the section, or about the whole section."""
        return ConfigError(message, self.file, self.lines.get(option, self.line))


@dataclass(frozen=True)
class FencePlanConfig:
    """[fencing] levels, arbiter and check_interval, with the sections of both nodes."""

    levels: Levels = ()
    arbiter: str = ""
    """Device of the disk that decides who may fence, or `etcd`; empty without one."""
    check_interval_s: float = 60.0
    devices: tuple[DeviceConfig, ...] = ()
    lease: LeaseConfig | None = None
    """This node's watchdog; None if it promises nothing."""
    etcd: EtcdConfig | None = None
    """The witness; None without one."""

    @property
    def has_levels(self) -> bool:
        """True if there is a plan; without one check-up scripts alone fence."""
        return bool(self.levels)

    @property
    def arbiter_disk(self) -> str:
        """Device of the arbiter; empty if it is none, or no disk."""
        return "" if self.arbiter == ETCD else self.arbiter

    @property
    def arbiter_witness(self) -> EtcdConfig | None:
        """The witness, if it is the arbiter."""
        return self.etcd if self.arbiter == ETCD else None

    @property
    def arbiter_address(self) -> str:
        """Where the arbiter is, for display; empty without one."""
        witness = self.arbiter_witness
        return self.arbiter if witness is None else witness.address

    @property
    def arbiter_options(self) -> dict[str, object]:
        """How the arbiter is reached, as it stands in the request to claim."""
        witness = self.arbiter_witness
        return {"disk": self.arbiter} if witness is None else {ETCD: witness.as_options()}

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of all paths, in the order of the levels."""
        return tuple(name for level in self.levels for name in level)

    def device(self, path: str, peer: str) -> DeviceConfig | None:
        """Return how a path cuts a node; None for a path that is no device."""
        return next(
            (each for each in self.devices if each.path == path and is_same_node(each.node, peer)),
            None,
        )

    def address_of(self, path: str, peer: str) -> str:
        """Return what to show beside the name of a path; empty if there is nothing."""
        device = self.device(path, peer)
        return "" if device is None else device.address

    def request(
        self, do: str, path: str, peer: str, limit_s: float, services: Sequence[str] = ()
    ) -> dict[str, object]:
        """Return the request to the program of ``fence_devices``, as it is written to it."""
        device = self.device(path, peer)
        options = {} if device is None else {"agent": device.agent, **device.options}
        return {
            "do": do,
            "path": path,
            "peer": peer,
            "limit_s": limit_s,
            "options": options,
            "services": list(services),
        }

    def check_nodes(self, nodes: Sequence[str]) -> None:
        """Raise ConfigError for a section of no node, and for a path without one for each node."""
        for device in self.devices:
            if not any(is_same_node(device.node, node) for node in nodes):
                hint = did_you_mean(device.node, nodes)
                raise device.error(
                    f"[[{device.path} {device.node}]] is of no node, the nodes are"
                    f" {' and '.join(nodes)}{hint}"
                )
        for device in self.devices:
            for node in nodes:
                found = [
                    each
                    for each in self.devices
                    if each.path == device.path and is_same_node(each.node, node)
                ]
                if not found:
                    raise device.error(
                        f"[[{device.path} {node}]] is missing: {device.path} needs a section for"
                        " each node, in the files of both"
                    )
                if len(found) > 1:
                    raise found[1].error(
                        f"[[{found[1].path} {found[1].node}]] and"
                        f" [[{found[0].path} {found[0].node}]] are of one node: keep one of them"
                    )


def _levels(text: str) -> Levels:
    levels = tuple(tuple(name.strip() for name in level.split("+")) for level in text.split(","))
    seen = set()
    for name in (name for level in levels for name in level):
        if name == ETCD:
            raise ValueError(
                "etcd proves nothing by itself: write arbiter = etcd, or name lease, which uses it"
            )
        if name in _NOT_AVAILABLE:
            raise ValueError(f"{name} is no path of this version: name sections [[{name} NODE]]")
        if not _PATH.match(name):
            raise ValueError(
                "expected names of sections [[NAME NODE]], separated by commas, or by + where all"
                f" must succeed; found {name!r}"
            )
        if name in seen:
            raise ValueError(f"{name} stands in it twice")
        seen.add(name)
    return levels


def _arbiter(text: str) -> str:
    if text == "none":
        return ""
    if text == ETCD:
        return ETCD
    word, _, device = text.partition(" ")
    if word != "disk" or not device.strip().startswith("/"):
        raise ValueError(
            f"expected none, etcd, or disk and a device, as disk /dev/sdb; found {text!r}"
        )
    return device.strip()


LEVELS = Option(
    "levels",
    ConfValueType(_levels, "names, separated by `,` or `+`", is_list=True),
    (),
    "How a silent peer is fenced: names of sections `[[NAME NODE]]`, tried in this order until one"
    " succeeds; `a + b`: both must. `reservation` needs no section: the SCSI reservation of the"
    " data disks. `lease`: the peer's own watchdog. Without this option check-up scripts alone"
    " fence; with `[[lease]]`, what has a section is used.",
    example="ipmi, lease",
    see="fencing",
)
ARBITER = Option(
    "arbiter",
    ConfValueType(
        _arbiter, "`none`, `etcd`, or `disk` and a device of a disk link", {"none": "", ETCD: ETCD}
    ),
    "",
    "What decides which of two nodes cut from each other may fence: their registrations on a"
    " heartbeat disk, or the witness of `[[etcd]]`. Without one, priorities and turns decide.",
    example="disk /dev/mapper/disk.hb.0",
    see="fencing",
)
CHECK_INTERVAL = Option(
    "check_interval",
    seconds(3600),
    60.0,
    "Time between two looks at each path of `levels`, which switch nothing.",
)
AGENT = Option(
    "agent",
    ConfValueType(str, "a fence agent, or `callout`"),
    "",
    "What cuts NODE: a fence agent, by its name or whole path, or `callout`.",
    example="fence_ipmilan",
)
CMD = Option(
    "cmd",
    ConfValueType(str, "a shell command"),
    "",
    "With `agent = callout`: cuts NODE; 0 means success.",
    example="/opt/cut deb1",
)
STATUS_CMD = Option(
    "status_cmd",
    ConfValueType(str, "a shell command"),
    "",
    "With `agent = callout`: asks for the power of NODE: 0 on, 2 off, anything else unknown. With"
    " it a cut counts only after two answers off.",
    example="/opt/cut --status deb1",
)
TIMEOUT = Option(
    "timeout",
    seconds(600),
    POWER_CUT_LIMIT_S,
    "Limit of a cut with all its readings, at which all its processes are killed.",
)
PASSWORD_FILE = Option(
    "password_file",
    ConfValueType(str, "an absolute path"),
    "",
    "File with the value of the agent's option `password`; any other secret of an agent has such an"
    " option, too. Its mode must be 0600.",
    example="/etc/openha/ipmi.secret",
)
CA_FILE = Option(
    "ca_file",
    ConfValueType(str, "an absolute path"),
    "",
    "Certificates that are trusted for the device, in place of those of the system.",
    example="/etc/openha/bmc.pem",
)
DEVICE_OPTIONS = (AGENT, CMD, STATUS_CMD, TIMEOUT, PASSWORD_FILE, CA_FILE)


def read_fence_plan(section: ConfSection, profile: Profile = Profile.TUTORIAL) -> FencePlanConfig:
    """Read the section [fencing]; ConfigError for a level without section, and the reverse."""
    devices = tuple(_devices(section))
    lease, etcd = read_lease(section, profile), read_etcd(section)
    levels = section.value(LEVELS)
    if not levels and lease is not None:
        levels = _levels_of(devices)
    _check_levels(section, levels, devices, lease)
    arbiter = section.value(ARBITER)
    if arbiter and not levels:
        raise section.error("arbiter: without levels there is nothing to decide about", "arbiter")
    if arbiter == ETCD and etcd is None:
        raise section.error("arbiter: etcd has no section [[etcd]]", "arbiter")
    if etcd is not None and arbiter != ETCD and lease is None:
        raise etcd.error(
            "would never be used: write arbiter = etcd, or add [[lease]], whose witness it is"
        )
    return FencePlanConfig(levels, arbiter, section.value(CHECK_INTERVAL), devices, lease, etcd)


def _levels_of(devices: Sequence[DeviceConfig]) -> Levels:
    """Return the levels of a plan with a lease that names none: all that is there, in its order."""
    names = dict.fromkeys(device.path for device in devices)
    return (*((name,) for name in names), (LEASE,))


def _check_levels(
    section: ConfSection,
    levels: Levels,
    devices: Sequence[DeviceConfig],
    lease: LeaseConfig | None,
) -> None:
    paths = {name for level in levels for name in level}
    known = {device.path for device in devices}
    for name in sorted(paths - known - {RESERVATION, LEASE}):
        raise section.error(
            f"levels: {name} has no section [[{name} NODE]]{did_you_mean(name, known)}", "levels"
        )
    for device in devices:
        if device.path not in paths:
            hint = did_you_mean(device.path, paths) or f": write levels = {device.path}"
            raise device.error(
                f"[[{device.path} {device.node}]] is in no level, and would never be used{hint}"
            )
    if lease is None and LEASE in paths:
        raise section.error(
            "levels: lease has no section [[lease]], with the watchdog of this node", "levels"
        )
    if lease is not None and LEASE not in paths:
        shown = ", ".join([*(" + ".join(level) for level in levels), LEASE])
        raise lease.error(f"is in no level, and would never be used: write levels = {shown}")


def _devices(section: ConfSection) -> Iterator[DeviceConfig]:
    for name in section.inner_names:
        if name in _PARTS:
            continue
        inner = section.inner(name)
        words = name.split()
        if words and words[0] in _PARTS:
            raise section.error(
                f"[[{name}]]: the section is [[{words[0]}]], without the name of a node: it is for"
                " the node that reads it",
                name,
            )
        if len(words) != 2 or not _PATH.match(words[0]):
            raise section.error(
                f"[[{name}]]: expected the name of a path and that of a node, as [[ipmi deb1]]",
                name,
            )
        if words[0] in (RESERVATION, *_NOT_AVAILABLE):
            raise section.error(f"[[{name}]]: {words[0]} is no name for a device", name)
        yield _device(inner, *words)


def _device(section: ConfSection, path: str, node: str) -> DeviceConfig:
    agent = section.value(AGENT)
    if not agent:
        raise section.error(
            f"agent is missing in [[{path} {node}]]: expected a fence agent, as fence_ipmilan, or"
            f" {CALLOUT}"
        )
    if agent != CALLOUT and not _AGENT.match(agent):
        raise section.error(
            f"agent: expected a fence agent, as fence_ipmilan, or {CALLOUT}; found {agent!r}",
            "agent",
        )
    if agent == CALLOUT:
        section.expect(DEVICE_OPTIONS[:4])
        if not section.value(CMD):
            raise section.error(f"cmd is missing in [[{path} {node}]]: the command that cuts it")
    options = {
        name: section.text(name) for name in section.names if name not in (AGENT.name, TIMEOUT.name)
    }
    return DeviceConfig(
        path,
        node,
        agent,
        options,
        section.value(TIMEOUT),
        section.path,
        section.line_of(),
        {name: line for name in section.names if (line := section.line_of(name)) is not None},
    )
