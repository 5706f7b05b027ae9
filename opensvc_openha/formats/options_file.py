"""Parse openha.conf: options beyond the original's files.

Everything in it may be left out.

::

    [heartbeat]
    authentication = enforced       # off, permissive or enforced
    cluster = paris                 # beats of a cluster of another name are refused
    wire = legacy                   # own or legacy: the frame of every link
    [[net eth1:239.131.50.12]]      # one link, named as in `hb -s`
    wire = own
    peer_address = 10.11.1.2        # the only address this network link listens to

    [node]
    realtime = yes                  # yes or no

    [timing]
    profile = fast                  # tutorial or fast
    fence_time = 0.8                # seconds within which the check-up script has surely fenced the
                                    peer

    [scripts]                       # limits in seconds, for all services or for one
    start_timeout = 600
    parallel = 64                   # scripts at once on this node
    [[registry]]
    stop_timeout = 60

    [agent]
    monitor_interval = 10           # seconds between two looks at the resources of services that
                                    run here

    [fencing]
    check = silence                 # silence or always: when check-up scripts are run
    boot_alone = never              # never, or seconds after which a booted node that never heard
                                    its peer may fence it
    retry = 10                      # seconds after a failed check-up, doubled up to 50
    scope = node                    # node or service: what one successful check-up is good for

    [policy]                        # for all services or for one
    on_dual_run = report            # report, stop-secondary or stop-youngest
    on_start_failure = stay         # stay or hand-over
    priority = 1                    # of two nodes cut from each other, the higher sum of what runs
                                    fences first
    defend = no                     # yes: the node that runs it fences a silent peer first

Left out, ``authentication`` is off without a key file. With one it is enforced as soon as the peer
was heard with a key, and permissive until then: giving a running cluster its key loses no beat,
whichever node gets it first. A section or option that is not known is an error: a misspelt
safeguard must not be taken for one.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from opensvc_openha.core.model import (
    FencingPolicy,
    LinkSpec,
    OnDualRun,
    OnStartFailure,
    Policy,
    Profile,
    ScriptLimits,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.timing import FENCE_RETRY_MAX_S, FENCE_TIME_MAX_S, SCRIPTS_AT_ONCE
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_sections import Section, listed, read_sections

PARALLEL_MAX = 1_000
PRIORITY_MAX = 1_000_000
MONITOR_INTERVAL_S = 10.0
_SECTIONS = ("heartbeat", "node", "timing", "scripts", "agent", "fencing", "policy")
_YES_NO = {"yes": True, "no": False}
_WIRES = {wire.value: wire for wire in Wire}
_PROFILES = {profile.value: profile for profile in Profile}
_ON_DUAL_RUN = {answer.value: answer for answer in OnDualRun}
_ON_START_FAILURE = {answer.value: answer for answer in OnStartFailure}
_LIMITS = {
    "start_timeout": "start_s",
    "stop_timeout": "stop_s",
    "check_timeout": "check_s",
    "status_timeout": "probe_s",
}
_CLUSTER_MAX = 63
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_NAMED = 5


class AuthMode(enum.Enum):
    """Treatment of a beat that no key authenticates."""

    OFF = "off"
    """Keys are not used."""
    PERMISSIVE = "permissive"
    """Accepted, counted and reported; own beats are authenticated."""
    ENFORCED = "enforced"
    """Refused."""


@dataclass(frozen=True)
class LinkOptions:
    """Section of one link."""

    wire: Wire
    peer_address: str = ""


@dataclass(frozen=True)
class HeartbeatOptions:
    """[heartbeat]. ``authentication`` None is the default: it depends on keys and peer."""

    authentication: AuthMode | None = None
    cluster: str = ""
    wire: Wire = Wire.OWN
    links: Mapping[str, LinkOptions] = field(default_factory=dict)

    @property
    def has_legacy(self) -> bool:
        """True if any link may speak the original's frame."""
        return Wire.LEGACY in (self.wire, *(link.wire for link in self.links.values()))


@dataclass(frozen=True)
class TimingOptions:
    """[timing]. ``fence_time_s`` None if it is not declared."""

    profile: Profile = Profile.TUTORIAL
    fence_time_s: float | None = None


@dataclass(frozen=True)
class ScriptOptions:
    """[scripts]: the limits of all services, and of those that have their own."""

    limits: ScriptLimits = ScriptLimits()
    parallel: int = SCRIPTS_AT_ONCE
    services: Mapping[str, ScriptLimits] = field(default_factory=dict)


@dataclass(frozen=True)
class PolicyOptions:
    """[policy]: that of all services, and of those that have their own."""

    policy: Policy = Policy()
    services: Mapping[str, Policy] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """openha.conf, checked. ``path`` and ``lines`` only serve messages."""

    heartbeat: HeartbeatOptions = HeartbeatOptions()
    realtime: bool = False
    timing: TimingOptions = TimingOptions()
    scripts: ScriptOptions = ScriptOptions()
    policy: PolicyOptions = PolicyOptions()
    fencing: FencingPolicy = FencingPolicy()
    monitor_interval_s: float = MONITOR_INTERVAL_S
    path: str = field(default="", compare=False)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, compare=False)

    def error(self, message: str, *place: str) -> ConfigError:
        """Return an error about a section or option; without line if it is not written."""
        return ConfigError(message, self.path, self.lines.get(place))

    def complete_link(self, link: LinkSpec) -> LinkSpec:
        """Return the link with its wire format.

        Raises ConfigError for a legacy link that the original could not have.
        """
        name = link.link_id
        own = self.heartbeat.links.get(name)
        place = ("heartbeat", "wire") if own is None else ("heartbeat", name)
        own = own or LinkOptions(self.heartbeat.wire)
        if own.wire is Wire.LEGACY and ":" in link.address:
            raise self.error(f"link {name}: wire = legacy knows IPv4 addresses only", *place)
        if own.peer_address and link.kind.is_disk:
            raise self.error(
                f"link {name}: peer_address is for network links; a disk has no addresses",
                *place,
                "peer_address",
            )
        if own.wire is Wire.LEGACY and ":" in own.peer_address:
            raise self.error(
                f"link {name}: wire = legacy knows IPv4 addresses only", *place, "peer_address"
            )
        return replace(link, wire=own.wire, peer_address=own.peer_address)

    def check_links(self, links: tuple[LinkSpec, ...]) -> None:
        """Raise ConfigError for a section that names no link.

        Its options would silently do nothing.
        """
        known = {link.link_id for link in links}
        for name in self.heartbeat.links:
            if name not in known:
                raise self.error(
                    f"[[{name}]] is no link of the monitor file: {', '.join(sorted(known))}",
                    "heartbeat",
                    name,
                )

    def complete_services(self, services: tuple[ServiceSpec, ...]) -> tuple[ServiceSpec, ...]:
        """Return the services with their limits and policies."""
        limits, policies = self.scripts, self.policy
        return tuple(
            replace(
                svc,
                limits=limits.services.get(svc.name, limits.limits),
                policy=policies.services.get(svc.name, policies.policy),
            )
            for svc in services
        )

    def check_services(self, services: tuple[ServiceSpec, ...]) -> None:
        """Raise ConfigError for a section that names no service."""
        known = {svc.name for svc in services}
        for section, names in (
            ("scripts", self.scripts.services),
            ("policy", self.policy.services),
        ):
            for name in names:
                if name not in known:
                    shown = listed(sorted(known), _NAMED) or "empty"
                    raise self.error(
                        f"[[{name}]] is no service of the services file ({shown}): correct or"
                        " remove the section",
                        section,
                        name,
                    )


def parse_options(text: str, path: str) -> Options:
    """Parse the options of a text; raise ConfigError with file and line."""
    whole = read_sections(text, path)
    whole.expect((), _SECTIONS)
    node = whole.inner("node")
    node.expect(("realtime",))
    agent = whole.inner("agent")
    agent.expect(("monitor_interval",))
    return Options(
        heartbeat=_heartbeat(whole.inner("heartbeat")),
        realtime=node.word("realtime", _YES_NO) or False,
        timing=_timing(whole.inner("timing")),
        scripts=_scripts(whole.inner("scripts")),
        fencing=_fencing(whole.inner("fencing")),
        policy=_policies(whole.inner("policy")),
        monitor_interval_s=agent.seconds("monitor_interval") or MONITOR_INTERVAL_S,
        path=path,
        lines=whole.lines,
    )


def _heartbeat(section: Section) -> HeartbeatOptions:
    section.expect(("authentication", "cluster", "wire"), None)
    cluster = section.text("cluster")
    if cluster is not None and (len(cluster) > _CLUSTER_MAX or not _CLUSTER.match(cluster)):
        raise section.error(
            "cluster: expected a name of letters, digits, dot, underscore and hyphen; found"
            f" {cluster!r}",
            "cluster",
        )
    wire = section.word("wire", _WIRES) or Wire.OWN
    mode = section.word("authentication", {mode.value: mode for mode in AuthMode})
    links = {name: _link(section.inner(name), wire) for name in section.inner_names}
    return HeartbeatOptions(mode, cluster or "", wire, links)


def _link(section: Section, default: Wire) -> LinkOptions:
    section.expect(("wire", "peer_address"))
    address = section.text("peer_address")
    if address is not None:
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            raise section.error(
                f"peer_address: expected an IPv4 or IPv6 address; found {address!r}", "peer_address"
            ) from None
    return LinkOptions(section.word("wire", _WIRES) or default, address or "")


def _timing(section: Section) -> TimingOptions:
    section.expect(("profile", "fence_time"))
    profile = section.word("profile", _PROFILES) or Profile.TUTORIAL
    fence_time_s = section.seconds("fence_time")
    if profile is Profile.FAST and fence_time_s is None:
        raise section.error(
            "profile = fast takes over before a slow check-up script could have fenced the peer:"
            f" declare in [timing] fence_time = SECONDS, at most {FENCE_TIME_MAX_S:g}, or write"
            " profile = tutorial",
            "profile",
        )
    if profile is Profile.FAST and fence_time_s is not None and fence_time_s > FENCE_TIME_MAX_S:
        raise section.error(
            "fence_time: profile = fast needs a check-up script that fences within"
            f" {FENCE_TIME_MAX_S:g} s; found {fence_time_s:g}: use a quicker fence, or write"
            " profile = tutorial",
            "fence_time",
        )
    return TimingOptions(profile, fence_time_s)


def _scripts(section: Section) -> ScriptOptions:
    section.expect((*_LIMITS, "parallel"), None)
    limits = _limits(section, ScriptLimits())
    services = {}
    for name in section.inner_names:
        section.inner(name).expect(_LIMITS)
        services[name] = _limits(section.inner(name), limits)
    return ScriptOptions(
        limits, section.whole("parallel", PARALLEL_MAX) or SCRIPTS_AT_ONCE, services
    )


def _limits(section: Section, default: ScriptLimits) -> ScriptLimits:
    given = {name: section.seconds(option) for option, name in _LIMITS.items()}
    return replace(default, **{name: value for name, value in given.items() if value is not None})


def _fencing(section: Section) -> FencingPolicy:
    section.expect(("check", "boot_alone", "retry", "scope"))
    usual = FencingPolicy()
    retry_s = section.seconds("retry")
    if retry_s is not None and retry_s > FENCE_RETRY_MAX_S:
        raise section.error(
            f"retry: at most {FENCE_RETRY_MAX_S:g} seconds; found {retry_s:g}", "retry"
        )
    return FencingPolicy(
        is_check_always=section.word("check", {"silence": False, "always": True}) or False,
        boot_alone_s=_boot_alone_s(section),
        retry_s=usual.retry_s if retry_s is None else retry_s,
        is_shared=section.word("scope", {"node": True, "service": False}) is not False,
    )


def _boot_alone_s(section: Section) -> float | None:
    text = section.text("boot_alone")
    if text is None or text.lower() == "never":
        return None
    try:
        return section.seconds("boot_alone")
    except ConfigError:
        raise section.error(
            f"boot_alone: expected never, or a number of seconds above 0; found {text!r}",
            "boot_alone",
        ) from None


def _policies(section: Section) -> PolicyOptions:
    options = ("on_dual_run", "on_start_failure", "priority", "defend")
    section.expect(options, None)
    policy = _policy(section, Policy())
    services = {}
    for name in section.inner_names:
        section.inner(name).expect(options)
        services[name] = _policy(section.inner(name), policy)
    return PolicyOptions(policy, services)


def _policy(section: Section, default: Policy) -> Policy:
    priority, is_defended = section.whole("priority", PRIORITY_MAX), section.word("defend", _YES_NO)
    return Policy(
        section.word("on_dual_run", _ON_DUAL_RUN) or default.on_dual_run,
        section.word("on_start_failure", _ON_START_FAILURE) or default.on_start_failure,
        default.priority if priority is None else priority,
        default.is_defended if is_defended is None else is_defended,
    )
