"""Parse openha.conf: options beyond the original's files, declared in ``options_schema``.

Everything in it may be left out. A section or option that is not known is an error: a misspelt
safeguard must not be taken for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from opensvc_openha.core.model import (
    ConnectivityPolicy,
    FencingPolicy,
    LinkSpec,
    Policy,
    Profile,
    ScriptLimits,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.timing import FENCE_TIME_MAX_S
from opensvc_openha.core.wording import named
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats import options_schema as schema
from opensvc_openha.formats.alert_kinds import AlertKind
from opensvc_openha.formats.conf_sections import ConfSection, read_sections
from opensvc_openha.formats.fence_plan_config import FencePlanConfig, read_fence_plan
from opensvc_openha.formats.options_schema import Allowed, AuthMode
from opensvc_openha.formats.suggestion import did_you_mean
from opensvc_openha.records import dataclass


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
    parallel: int = schema.PARALLEL.default
    services: Mapping[str, ScriptLimits] = field(default_factory=dict)


@dataclass(frozen=True)
class PolicyOptions:
    """[policy]: that of all services, and of those that have their own."""

    policy: Policy = Policy()
    services: Mapping[str, Policy] = field(default_factory=dict)

    @property
    def given_up(self) -> tuple[str, ...]:
        """For which services `frozen_storage = give_up` is written, or `all services`."""
        own = tuple(name for name, policy in self.services.items() if policy.is_given_up)
        return (*own, "all services") if self.policy.is_given_up else own


@dataclass(frozen=True)
class PeerLinkOptions:
    """[peer_link]. ``is_enabled`` None is the default: it depends on the key."""

    is_enabled: bool | None = None
    port: int = schema.PEER_LINK_PORT.default
    listen: tuple[str, ...] = ()
    allow: frozenset[Allowed] = schema.PEER_LINK_ALLOW.default


@dataclass(frozen=True)
class ConnectivityOptions:
    """[connectivity], as written. ``policy`` None without it; ``doubled`` are named twice."""

    policy: ConnectivityPolicy | None = None
    doubled: tuple[str, ...] = ()


@dataclass(frozen=True)
class NotifyOptions:
    """[notify]."""

    events: frozenset[AlertKind] = schema.NOTIFY_EVENTS.default
    timeout_s: float = schema.NOTIFY_TIMEOUT.default
    attempts: int = schema.NOTIFY_ATTEMPTS.default
    most: int = schema.NOTIFY_MOST.default


@dataclass(frozen=True)
class Options:
    """openha.conf, checked. ``path`` and ``lines`` only serve messages."""

    heartbeat: HeartbeatOptions = HeartbeatOptions()
    realtime: bool = False
    timing: TimingOptions = TimingOptions()
    scripts: ScriptOptions = ScriptOptions()
    policy: PolicyOptions = PolicyOptions()
    fencing: FencingPolicy = FencingPolicy()
    fence_plan: FencePlanConfig = FencePlanConfig()
    monitor_interval_s: float = schema.MONITOR_INTERVAL.default
    check_every_s: float | None = schema.CHECK_EVERY.default
    """None for never."""
    connectivity: ConnectivityOptions = ConnectivityOptions()
    peer_link: PeerLinkOptions = PeerLinkOptions()
    notify: NotifyOptions = NotifyOptions()
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
        if own.peer_address and link.is_disk:
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
                    f"[[{name}]] is no link of the monitor file: {', '.join(sorted(known))}"
                    + did_you_mean(name, known),
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

    def frozen_storage_error(self, message: str, service: str) -> ConfigError:
        """Return an error about `frozen_storage` of a service, where it is written."""
        places = (("policy", service, "frozen_storage"), ("policy", "frozen_storage"))
        place = next((each for each in places if each in self.lines), places[0])
        return self.error(f"frozen_storage = give_up for {service}: {message}", *place)

    def check_services(self, services: tuple[ServiceSpec, ...]) -> None:
        """Raise ConfigError for a section that names no service."""
        known = {svc.name for svc in services}
        for section, names in (
            ("scripts", self.scripts.services),
            ("policy", self.policy.services),
        ):
            for name in names:
                if name not in known:
                    shown = named(sorted(known)) or "empty"
                    raise self.error(
                        f"[[{name}]] is no service of the services file ({shown}): correct or"
                        f" remove the section{did_you_mean(name, known)}",
                        section,
                        name,
                    )


def parse_options(text: str, path: str) -> Options:
    """Parse the options of a text; raise ConfigError with file and line."""
    whole = read_sections(text, path)
    whole.check(schema.SECTIONS)
    fencing = whole.inner("fencing")
    plan = read_fence_plan(fencing, whole.inner("timing").value(schema.PROFILE))
    return Options(
        heartbeat=_heartbeat(whole.inner("heartbeat")),
        realtime=whole.inner("node").value(schema.REALTIME),
        timing=_timing(whole.inner("timing"), plan.has_levels),
        scripts=_scripts(whole.inner("scripts")),
        fencing=FencingPolicy(
            fencing.value(schema.CHECK),
            fencing.value(schema.BOOT_ALONE),
            fencing.value(schema.RETRY),
            fencing.value(schema.SCOPE),
        ),
        fence_plan=plan,
        policy=_policies(whole.inner("policy")),
        monitor_interval_s=whole.inner("agent").value(schema.MONITOR_INTERVAL),
        check_every_s=whole.inner("check").value(schema.CHECK_EVERY),
        connectivity=_connectivity(whole.inner("connectivity")),
        peer_link=_peer_link(whole.inner("peer_link")),
        notify=_notify(whole.inner("notify")),
        path=path,
        lines=whole.lines,
    )


def _heartbeat(section: ConfSection) -> HeartbeatOptions:
    wire = section.value(schema.WIRE)
    links = {
        name: LinkOptions(
            section.inner(name).value(schema.WIRE, wire),
            section.inner(name).value(schema.PEER_ADDRESS),
        )
        for name in section.inner_names
    }
    return HeartbeatOptions(
        section.value(schema.AUTHENTICATION), section.value(schema.CLUSTER), wire, links
    )


def _timing(section: ConfSection, has_plan: bool) -> TimingOptions:
    """Read [timing]; a fence plan is measured, so that its time need not be declared."""
    profile, fence_time_s = section.value(schema.PROFILE), section.value(schema.FENCE_TIME)
    if profile is Profile.FAST and fence_time_s is None and not has_plan:
        raise section.error(
            "profile = fast takes over before a slow check-up script could have fenced the peer:"
            f" declare in [timing] fence_time = SECONDS, at most {FENCE_TIME_MAX_S:g}, or write"
            " profile = balanced or tutorial",
            "profile",
        )
    if profile is Profile.FAST and fence_time_s is not None and fence_time_s > FENCE_TIME_MAX_S:
        raise section.error(
            "fence_time: profile = fast needs a check-up script that fences within"
            f" {FENCE_TIME_MAX_S:g} s; found {fence_time_s:g}: use a quicker fence, or write"
            " profile = balanced or tutorial",
            "fence_time",
        )
    return TimingOptions(profile, fence_time_s)


def _scripts(section: ConfSection) -> ScriptOptions:
    limits = _limits(section, ScriptLimits())
    services = {name: _limits(section.inner(name), limits) for name in section.inner_names}
    return ScriptOptions(limits, section.value(schema.PARALLEL), services)


def _limits(section: ConfSection, default: ScriptLimits) -> ScriptLimits:
    return ScriptLimits(
        section.value(schema.START_TIMEOUT, default.start_s),
        section.value(schema.STOP_TIMEOUT, default.stop_s),
        section.value(schema.CHECK_TIMEOUT, default.check_s),
        section.value(schema.STATUS_TIMEOUT, default.probe_s),
    )


def _peer_link(section: ConfSection) -> PeerLinkOptions:
    return PeerLinkOptions(
        section.value(schema.PEER_LINK_ENABLED),
        section.value(schema.PEER_LINK_PORT),
        section.value(schema.PEER_LINK_LISTEN),
        section.value(schema.PEER_LINK_ALLOW),
    )


def _connectivity(section: ConfSection) -> ConnectivityOptions:
    if not section.names:
        return ConnectivityOptions()
    named_targets = section.value(schema.PING)
    if not named_targets:
        raise section.error(
            "[connectivity] has no ping: name the addresses that this node asks, or remove it"
        )
    policy = ConnectivityPolicy(
        tuple(dict.fromkeys(named_targets)),
        section.value(schema.PING_EVERY),
        section.value(schema.PING_TIMEOUT),
        section.value(schema.PING_INTERFACE),
    )
    twice = (address for address in policy.targets if named_targets.count(address) > 1)
    return ConnectivityOptions(policy, tuple(twice))


def _notify(section: ConfSection) -> NotifyOptions:
    return NotifyOptions(
        section.value(schema.NOTIFY_EVENTS),
        section.value(schema.NOTIFY_TIMEOUT),
        section.value(schema.NOTIFY_ATTEMPTS),
        section.value(schema.NOTIFY_MOST),
    )


def _policies(section: ConfSection) -> PolicyOptions:
    policy = _policy(section, Policy())
    services = {name: _policy(section.inner(name), policy) for name in section.inner_names}
    return PolicyOptions(policy, services)


def _policy(section: ConfSection, default: Policy) -> Policy:
    return Policy(
        section.value(schema.ON_DUAL_RUN, default.on_dual_run),
        section.value(schema.ON_START_FAILURE, default.on_start_failure),
        section.value(schema.PRIORITY, default.priority),
        section.value(schema.DEFEND, default.is_defended),
        section.value(schema.FROZEN_STORAGE, default.frozen_storage),
        section.value(schema.FROZEN_AFTER, default.frozen_after_s),
        section.value(schema.DATA_DISKS, default.data_disks),
        section.value(schema.FAILBACK, default.failback_after_s),
    )
