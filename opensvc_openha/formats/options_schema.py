"""Every option of openha.conf, declared once.

The parser reads typed values by these constants (``section.value(PROFILE)``); what is expected, the
table of docs/options.md and the sample that the installer puts beside the file come from
``SECTIONS``.
"""

from __future__ import annotations

import enum
import ipaddress
import re

from opensvc_openha.core.model import (
    ConnectivityPolicy,
    FencingPolicy,
    FrozenStorage,
    OnDualRun,
    OnStartFailure,
    Policy,
    Profile,
    Wire,
)
from opensvc_openha.core.timing import (
    CHECK_LIMIT_S,
    FAILBACK_SETTLE_S,
    FENCE_RETRY_MAX_S,
    FENCE_TIME_MAX_S,
    FROZEN_AFTER_LEAST_S,
    PING_EVERY_LEAST_S,
    PROBE_LIMIT_S,
    SCRIPTS_AT_ONCE,
    START_LIMIT_S,
    STOP_LIMIT_S,
)
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.formats.conf_sections import (
    SECONDS_MAX,
    ConfValueType,
    Option,
    SectionSchema,
    choice,
    seconds,
    whole,
    words_of,
)
from opensvc_openha.formats.fence_plan_config import (
    ARBITER,
    CHECK_INTERVAL,
    DEVICE_OPTIONS,
    LEVELS,
)
from opensvc_openha.formats.lease_config import PARTS
from opensvc_openha.formats.suggestion import did_you_mean

_CLUSTER_MAX = 63
_BROADCAST = "255.255.255.255"
_INTERFACE_MAX = 15
TARGETS_MAX = 8
"""Addresses that a node may ask whether it is isolated."""
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class AuthMode(enum.Enum):
    """Treatment of a beat that no key authenticates."""

    OFF = "off"
    """Keys are not used."""
    PERMISSIVE = "permissive"
    """Accepted, counted and reported; own beats are authenticated."""
    ENFORCED = "enforced"
    """Refused."""


def _cluster_name(text: str) -> str:
    if len(text) > _CLUSTER_MAX or not _CLUSTER.match(text):
        raise ValueError(
            f"expected a name of letters, digits, dot, underscore and hyphen; found {text!r}"
        )
    return text


class Allowed(enum.Enum):
    """What the peer may ask for over the peer link, beside the status."""

    ORDERS = "orders"
    """Start, stop, switch, freeze and thaw a service."""
    FILES = "files"
    """Read and replace files of the cluster, add and remove services."""


def _allowed(text: str) -> frozenset[Allowed]:
    words = text.replace(",", " ").split()
    if words == ["none"]:
        return frozenset()
    known = words_of(Allowed)
    wrong = [word for word in words if word not in known]
    if not words or wrong:
        raise ValueError(
            f"expected none, or one or more of {' '.join(known)}; found {text!r}"
            + (did_you_mean(wrong[0], ("none", *known)) if wrong else "")
        )
    return frozenset(known[word] for word in words)


def _addresses(text: str) -> tuple[str, ...]:
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("expected one or more IPv4 or IPv6 addresses; found none")
    return tuple(_address(word) for word in words)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"expected an IPv4 or IPv6 address; found {text!r}") from None


def _targets(text: str) -> tuple[str, ...]:
    words = _addresses(text)
    for word in words:
        address = ipaddress.ip_address(word)
        if address.is_loopback:
            raise ValueError(f"{word} is this node itself, which always answers")
        if address.is_multicast or address.is_unspecified or word == _BROADCAST:
            raise ValueError(f"{word} is not the address of one machine")
    if len(words) > TARGETS_MAX:
        raise ValueError(f"at most {TARGETS_MAX} addresses; found {len(words)}")
    return words


def _ping_every(text: str) -> float:
    value = seconds(60).read(text)
    if value < PING_EVERY_LEAST_S:
        raise ValueError(f"at least {PING_EVERY_LEAST_S:g} seconds; found {value:g}")
    return value


def _interface(text: str) -> str:
    if len(text.encode()) > _INTERFACE_MAX or not text or "/" in text or len(text.split()) != 1:
        raise ValueError(f"expected the name of a network interface; found {text!r}")
    return text


def _seconds_or_never(text: str) -> float | None:
    if text.lower() == "never":
        return None
    try:
        return seconds().read(text)
    except ValueError:
        raise ValueError(
            f"expected never, or a number of seconds above 0; found {text!r}"
        ) from None


def _frozen_after(text: str) -> float:
    value = seconds().read(text)
    if value < FROZEN_AFTER_LEAST_S:
        raise ValueError(
            f"at least {FROZEN_AFTER_LEAST_S:g} seconds, since what the peer last saw of the disks"
            f" must be older by then; found {value:g}"
        )
    return value


_TIME = re.compile(r"(\d{1,6})\s*(s|m|h|)\Z")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def _failback(text: str) -> float | None:
    words = text.split(maxsplit=1)
    if words in (["no"], ["yes"]):
        return FAILBACK_SETTLE_S if words == ["yes"] else None
    found = _TIME.match(words[1]) if len(words) == 2 and words[0] == "after" else None
    if found is None:
        raise ValueError(
            f"expected no, yes, or after and a time, such as after 300 or after 5m; found {text!r}"
        )
    value = int(found.group(1)) * _UNITS_S[found.group(2)]
    if not 0 < value <= SECONDS_MAX:
        raise ValueError(f"expected after a time from 1 s to {SECONDS_MAX} s; found {text!r}")
    return float(value)


def _disks(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [path for path in found if not path.startswith("/") or len(path.split()) > 1]
    if wrong or not found:
        raise ValueError(f"expected paths of devices, separated by commas; found {text!r}")
    if len(found) > _DISKS_MAX:
        raise ValueError(f"at most {_DISKS_MAX} devices; found {len(found)}")
    return found


_DISKS_MAX = 32
_YES_NO = choice({"yes": True, "no": False})

# [heartbeat] ------------------------------------------------------------------------------------

AUTHENTICATION = Option(
    "authentication",
    choice(words_of(AuthMode)),
    None,
    "Beats without a valid key: `off` uses no keys, `permissive` accepts and reports such beats,"
    " `enforced` refuses them. Without this option `off` if there is no key file; with one,"
    " `enforced` from the first beat of the peer that has the key.",
    example="enforced",
    see="heartbeats",
)
CLUSTER = Option(
    "cluster",
    ConfValueType(_cluster_name, "a name"),
    "",
    "Name of the cluster: beats of a cluster of another name are refused.",
    example="production",
)
WIRE = Option(
    "wire",
    choice(words_of(Wire)),
    Wire.OWN,
    "Frame of the links: `own`, or `legacy`, the 9,384-byte frame of a C OpenHA, for a migration.",
    see="migration",
)
PEER_ADDRESS = Option(
    "peer_address",
    ConfValueType(_address, "an IPv4 or IPv6 address"),
    "",
    "The only address from which a network link takes anything.",
    example="10.50.1.2",
)

# [node] -----------------------------------------------------------------------------------------

REALTIME = Option(
    "realtime",
    _YES_NO,
    False,
    "Real-time class for the threads of heartbeats and decisions, and memory that is not swapped"
    " out; read at start. With `no`, these threads run at nice -10 where permitted.",
)

# [timing] ---------------------------------------------------------------------------------------

PROFILE = Option(
    "profile",
    choice(words_of(Profile)),
    Profile.TUTORIAL,
    "`tutorial`: beats each second. `balanced`: beats each 250 ms and link timeouts from 1 s."
    " `fast`: beats each 100 ms and link timeouts from 0.3 s, only with a `fence_time`, and if"
    " every service of this node has a check-up script that fences.",
)
FENCE_TIME = Option(
    "fence_time",
    seconds(),
    None,
    "Time within which the check-up script has surely fenced the peer, at most"
    f" {FENCE_TIME_MAX_S:g} for `profile = fast`.",
    example="0.8",
)

# [scripts] --------------------------------------------------------------------------------------


def _limit(name: str, default_s: float, text: str) -> Option[float | None]:
    return Option(name, seconds(), None, text, default_text=f"{default_s:g}")


_KILLED = ", at which it is killed with all its children"
START_TIMEOUT = _limit("start_timeout", START_LIMIT_S, f"Limit of `SCRIPT start`{_KILLED}.")
STOP_TIMEOUT = _limit("stop_timeout", STOP_LIMIT_S, f"Limit of `SCRIPT stop`{_KILLED}.")
CHECK_TIMEOUT = _limit("check_timeout", CHECK_LIMIT_S, f"Limit of the check-up script{_KILLED}.")
STATUS_TIMEOUT = _limit("status_timeout", PROBE_LIMIT_S, f"Limit of `SCRIPT status`{_KILLED}.")
PARALLEL = Option(
    "parallel", whole(1_000), SCRIPTS_AT_ONCE, "Scripts that may run at once on this node."
)

# [agent] ----------------------------------------------------------------------------------------

MONITOR_INTERVAL = Option(
    "monitor_interval",
    seconds(),
    10.0,
    "Time between two checks by the embedded agent of the resources with `monitor = true` or"
    " `restart = N`.",
    see="actions",
)

# [check] ----------------------------------------------------------------------------------------

CHECK_EVERY = Option(
    "every",
    ConfValueType(_seconds_or_never, "`never` or seconds", {"never": None}),
    300.0,
    "Time between two checks of whether the services that this node does not run could start on it"
    " now; with `never` only `openha check` looks.",
    see="check",
)

# [fencing] --------------------------------------------------------------------------------------

_FENCING = FencingPolicy()
CHECK = Option(
    "check",
    choice({"silence": False, "always": True}),
    _FENCING.is_check_always,
    "When check-up scripts are run: `silence`, when the peer is silent, or `always`, before every"
    " start, like the original.",
    see="takeover",
)
BOOT_ALONE = Option(
    "boot_alone",
    ConfValueType(_seconds_or_never, "`never` or seconds", {"never": None}),
    _FENCING.boot_alone_s,
    "Time after which a node that has not heard its peer since it booted may fence it. Until then,"
    " and with `never`, it starts no service with a real check-up script before `openha fence"
    " confirm PEER`.",
)
RETRY = Option(
    "retry",
    seconds(FENCE_RETRY_MAX_S),
    _FENCING.retry_s,
    "Time after a failed check-up script until the next one; doubled each time, up to"
    f" {FENCE_RETRY_MAX_S:g}.",
)
SCOPE = Option(
    "scope",
    choice({"node": True, "service": False}),
    _FENCING.is_shared,
    "`node`: one successful check-up serves all services with the same check-up script;"
    " `service`: each service has its own.",
)

# [policy] ---------------------------------------------------------------------------------------

_POLICY = Policy()
ON_DUAL_RUN = Option(
    "on_dual_run",
    choice(words_of(OnDualRun)),
    _POLICY.on_dual_run,
    "A service found running on both nodes: `report` it, stop it on its secondary"
    " (`stop-secondary`), or where it was started last (`stop-youngest`).",
)
ON_START_FAILURE = Option(
    "on_start_failure",
    choice(words_of(OnStartFailure)),
    _POLICY.on_start_failure,
    "A service that could not be started: `stay` in START_FAILED until an operator acts, or"
    " `hand-over`, stop here, and the peer may start it.",
)
PRIORITY = Option(
    "priority",
    whole(1_000_000),
    _POLICY.priority,
    "Of two nodes cut from each other, the one with the higher sum of what it runs fences first.",
)
DEFEND = Option(
    "defend",
    _YES_NO,
    _POLICY.is_defended,
    "With `yes`, the node that runs the service fences a silent peer first, although it has"
    " nothing to start.",
)

FROZEN_STORAGE = Option(
    "frozen_storage",
    choice(words_of(FrozenStorage)),
    _POLICY.frozen_storage,
    "A running service whose disks do not answer here, while the peer reads them: `ignore` waits"
    " for the disks; `give_up` stops the service, or, if the stop hangs as well, falls silent, so"
    " that a lease resets this node, or the peer fences it. Needs a key, and a fence.",
    see="frozen-storage",
)
FROZEN_AFTER = Option(
    "frozen_after",
    ConfValueType(_frozen_after, f"seconds, at least {FROZEN_AFTER_LEAST_S:g}"),
    _POLICY.frozen_after_s,
    "Time without an answer of a disk after which that is done.",
)
DATA_DISKS = Option(
    "data_disks",
    ConfValueType(_disks, "paths, separated by commas", is_list=True),
    _POLICY.data_disks,
    "The disks that are read for this. Without it those below the volume groups, disks and file"
    " systems of the service's file, where the embedded agent has one.",
    example="/dev/mapper/data.0, /dev/mapper/data.1",
)

FAILBACK = Option(
    "failback",
    ConfValueType(_failback, "`no`, `yes`, or `after` and a time", {"no": None}),
    _POLICY.failback_after_s,
    "Whether a service goes back to its primary by itself after a takeover: `no`; `yes`, once the"
    f" cluster has been settled for {FAILBACK_SETTLE_S:g} s; `after 300`, `after 5m` or `after 1h`,"
    " once it has been for so long. Not if an operator moved it.",
    see="maintenance",
)

# [connectivity] ---------------------------------------------------------------------------------

_REACH = ConnectivityPolicy(())
PING = Option(
    "ping",
    ConfValueType(_targets, "IPv4 or IPv6 addresses", is_list=True),
    _REACH.targets,
    "What this node asks for an answer (ICMP echo), such as its gateway: if none of these addresses"
    " answers, the node is isolated. It takes over nothing from a silent peer then, and hands its"
    " services over to a peer that is not isolated.",
    example="192.0.2.1 192.0.2.2",
    see="connectivity",
)
PING_EVERY = Option(
    "every",
    ConfValueType(_ping_every, f"seconds, from {PING_EVERY_LEAST_S:g} to 60"),
    _REACH.every_s,
    "Time from the beginning of one round of requests to that of the next.",
)
PING_TIMEOUT = Option(
    "timeout",
    seconds(30),
    _REACH.timeout_s,
    "Time that an answer may take.",
)
PING_INTERFACE = Option(
    "interface",
    ConfValueType(_interface, "the name of an interface"),
    _REACH.interface,
    "The only interface over which they are asked; without it, whichever leads there.",
    example="eth0",
)

# [peer_link] ------------------------------------------------------------------------------------

PEER_LINK_ENABLED: Option[bool | None] = Option(
    "enabled",
    choice({"yes": True, "no": False}),
    None,
    "Whether this node serves the other one's requests over TCP, and asks the other one so. Without"
    " this option it does if it has a key and `authentication` is not `off`.",
    example="yes",
    see="peer-link",
)
PEER_LINK_PORT = Option("port", whole(65_535), 5_430, "Its port, the same on both nodes.")
PEER_LINK_LISTEN = Option(
    "listen",
    ConfValueType(_addresses, "IPv4 and IPv6 addresses", is_list=True),
    (),
    "Addresses of this node on which it is served; all of them without this option.",
    example="10.50.1.1",
)
PEER_LINK_ALLOW = Option(
    "allow",
    ConfValueType(_allowed, "`none`, or one or more of `orders`, `files`", is_list=True),
    frozenset(Allowed),
    "What the other node may ask for beside the status: `orders` are start, stop, switch, freeze"
    " and thaw of a service, to evacuate the node, and to have it play dead in a drill; `files` are"
    " the cluster's files, and to add and remove services.",
    default_text="orders files",
    see="rights",
)

# [notify] ---------------------------------------------------------------------------------------


def _events(text: str) -> frozenset[AlertKind]:
    words, known = text.replace(",", " ").split(), words_of(AlertKind)
    if words == ["all"]:
        return frozenset(AlertKind)
    wrong = [word for word in words if word not in known]
    if not words or wrong:
        raise ValueError(
            f"expected all, or one or more of {' '.join(known)}; found {text!r}"
            + (did_you_mean(wrong[0], ("all", *known)) if wrong else "")
        )
    return frozenset(known[word] for word in words)


NOTIFY_EVENTS = Option(
    "events",
    ConfValueType(_events, "`all`, or events", is_list=True),
    frozenset(AlertKind),
    "Events for which the programs in `notify.d` are run, such as `takeover, start-failed`.",
    default_text="all",
    see="alerts",
)
NOTIFY_TIMEOUT = Option(
    "timeout",
    seconds(600),
    30.0,
    "Limit of such a program, at which it is killed with all its children.",
)
NOTIFY_ATTEMPTS = Option(
    "attempts",
    whole(100),
    6,
    "How often it is tried, with growing delays, before a notification is given up.",
)
NOTIFY_MOST = Option(
    "most",
    whole(1_000),
    10,
    "Notifications about one thing, such as a link that flaps, within ten minutes; ten times as"
    " many about all together. The newest of those held back comes when there is room again.",
)

_LIMITS = (START_TIMEOUT, STOP_TIMEOUT, CHECK_TIMEOUT, STATUS_TIMEOUT)
_POLICIES = (
    ON_DUAL_RUN,
    ON_START_FAILURE,
    PRIORITY,
    DEFEND,
    FROZEN_STORAGE,
    FROZEN_AFTER,
    DATA_DISKS,
    FAILBACK,
)
SECTIONS = (
    SectionSchema(
        "heartbeat",
        (AUTHENTICATION, CLUSTER, WIRE),
        inner="LINK",
        inner_options=(WIRE, PEER_ADDRESS),
        inner_text="One link, named as in `hb -s`.",
        inner_example="net eth1:239.131.50.12",
    ),
    SectionSchema("node", (REALTIME,)),
    SectionSchema("timing", (PROFILE, FENCE_TIME)),
    SectionSchema(
        "scripts",
        (*_LIMITS, PARALLEL),
        inner="SERVICE",
        inner_options=_LIMITS,
        inner_text="One service: its limits, by default those of the section around it.",
        inner_example="registry",
    ),
    SectionSchema("agent", (MONITOR_INTERVAL,)),
    SectionSchema("check", (CHECK_EVERY,)),
    SectionSchema("notify", (NOTIFY_EVENTS, NOTIFY_TIMEOUT, NOTIFY_ATTEMPTS, NOTIFY_MOST)),
    SectionSchema(
        "peer_link", (PEER_LINK_ENABLED, PEER_LINK_PORT, PEER_LINK_LISTEN, PEER_LINK_ALLOW)
    ),
    SectionSchema("connectivity", (PING, PING_EVERY, PING_TIMEOUT, PING_INTERFACE)),
    SectionSchema(
        "fencing",
        (LEVELS, ARBITER, CHECK_INTERVAL, CHECK, BOOT_ALONE, RETRY, SCOPE),
        inner="NAME NODE",
        inner_options=DEVICE_OPTIONS,
        has_free_options=True,
        inner_text="How a path of `levels` cuts one node, with the options of its agent: `ip`,"
        " `username`... Sections of both nodes stand in the files of both.",
        inner_example="ipmi deb1.opensvc.com",
        parts=PARTS,
    ),
    SectionSchema(
        "policy",
        _POLICIES,
        inner="SERVICE",
        inner_options=_POLICIES,
        inner_text="One service: its policies, by default those of the section around it.",
        inner_example="registry",
    ),
)
