"""Read openha.conf and the nodes, monitor and services files into a ClusterSpec; edit them.

An error in a file is a ConfigError with file and line. An edit holds a lock and replaces the file
atomically; comments and blank lines are kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from opensvc_openha.core.model import (
    LEGACY_SERVICES_MAX,
    ClusterSpec,
    FencePath,
    FencingPolicy,
    LeasePolicy,
    LinkSpec,
    PathKind,
    Profile,
    ServiceSpec,
    Wire,
)
from opensvc_openha.core.promise import FAST_MARGIN_S, MARGIN_S, death_after_s
from opensvc_openha.core.timing import PACES, RESERVATION_LIMIT_S
from opensvc_openha.errors import ConfigError, OpenhaError, SystemFault
from opensvc_openha.formats.conf_lines import read_lines
from opensvc_openha.formats.fence_plan_config import DeviceConfig
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.lease_config import LEASE
from opensvc_openha.formats.nodes_file import parse_nodes
from opensvc_openha.formats.options_file import Options, parse_options
from opensvc_openha.formats.services_file import parse_services
from opensvc_openha.system.atomic_files import read_text, write_atomically
from opensvc_openha.system.clock import monotonic
from opensvc_openha.system.files import stamp_of
from opensvc_openha.system.hypervisor import is_virtual_machine
from opensvc_openha.system.identity import node_name
from opensvc_openha.system.lock_file import hold_lock

_EDIT_WAIT_S = 5.0
_FINE_S, _COARSE_S = 0.05, 1.0
"""How late a watchdog may act: one in software, and one in hardware that counts seconds."""
DEVICES_LIMIT_S = 30.0
"""Time in which all agents of a fence plan are asked what options they take."""


def read_options(layout: Layout) -> Options:
    """Return the options of openha.conf; all defaults without the file."""
    path = layout.options_file
    return parse_options(read_text(path), path) if os.path.exists(path) else Options(path=path)


def read_nodes(layout: Layout) -> tuple[str, ...]:
    """Return the names of the two nodes."""
    return parse_nodes(
        _text(layout.nodes_file, "list both nodes in it, one a line"), layout.nodes_file
    )


def read_services(layout: Layout) -> tuple[ServiceSpec, ...]:
    """Return the services as configured; none without the file."""
    if not os.path.exists(layout.services_file):
        return ()
    return parse_services(read_text(layout.services_file), layout.services_file)


def parse_links(
    text: str, layout: Layout, options: Options, *, need_both_ways: bool = True
) -> tuple[LinkSpec, ...]:
    """Parse the text of a monitor file; complete and check the links by openha.conf.

    Use ``need_both_ways`` False for a file that is still being written.
    """
    # Sockets and devices: commands that only need the other files are quicker without.
    from opensvc_openha.links.monitor_file import parse_monitor

    path = layout.monitor_file
    links = parse_monitor(
        text,
        path,
        read_nodes(layout),
        need_both_ways=need_both_ways,
        complete=options.complete_link,
    )
    if need_both_ways:
        options.check_links(links)
    profile = options.timing.profile
    if profile is not Profile.TUTORIAL:
        pace = PACES[profile]
        beats = {3: "three", 4: "four"}[round(pace.least_timeout_s / pace.beat_interval_s)]
        for link in links:
            if link.timeout_s < pace.least_timeout_s:
                raise ConfigError(
                    f"timeout {link.timeout_s:g} of {link.link_id} is too short: with profile ="
                    f" {profile.value} at least {pace.least_timeout_s:g} s, {beats} beats",
                    path,
                    link.line,
                )
            if link.wire is Wire.LEGACY:
                raise options.error(
                    f"profile = {profile.value}, and {link.link_id} has wire = legacy: a C OpenHA"
                    " sends one beat a second: write profile = tutorial",
                    "timing",
                    "profile",
                )
    return links


def has_links(layout: Layout) -> bool:
    """Return True if any heartbeat link is configured."""
    path = layout.monitor_file
    return os.path.exists(path) and bool(list(read_lines(read_text(path), path)))


def read_cluster(layout: Layout, options: Options | None = None) -> ClusterSpec:
    """Return the whole configuration as this node sees it.

    ``options`` if they were read already.
    """
    options = read_options(layout) if options is None else options
    nodes = read_nodes(layout)
    here = own_name(layout, nodes)
    peer = peer_of(here, nodes)
    links = parse_links(
        _text(layout.monitor_file, "describe the heartbeat links in it"), layout, options
    )
    services = read_services(layout)
    options.check_services(services)
    spelling = {name.lower(): name for name in nodes}
    services = tuple(
        replace(
            svc,
            primary=spelling.get(svc.primary.lower(), svc.primary),
            secondary=spelling.get(svc.secondary.lower(), svc.secondary),
        )
        for svc in options.complete_services(services)
    )
    spec = ClusterSpec(
        here,
        peer,
        links,
        services,
        options.timing.profile,
        options.timing.fence_time_s,
        _fencing(options, nodes, peer, links),
        options.connectivity.policy,
    )
    check_count(spec, layout.services_file)
    for svc in spec.own_services:
        check_fence(svc, layout.services_file, options)
        _check_frozen_storage(svc, spec, layout.services_file, options)
    return spec


def _fencing(
    options: Options, nodes: tuple[str, ...], peer: str, links: tuple[LinkSpec, ...]
) -> FencingPolicy:
    """Return the policy with the paths of the plan; ConfigError for a plan that does not fit."""
    plan = options.fence_plan
    if not plan.has_levels:
        return options.fencing
    plan.check_nodes(nodes)
    disks = sorted({link.device for link in links if link.is_disk})
    if plan.arbiter_disk and plan.arbiter_disk not in disks:
        known = f"it has {', '.join(disks)}" if disks else "it has none"
        raise options.error(
            f"arbiter: {plan.arbiter} is the disk of no heartbeat link ({known}): both"
            " nodes must reach it all the time",
            "fencing",
            "arbiter",
        )
    lease = _lease(options, links)
    levels = tuple(
        tuple(_path(name, plan.device(name, peer)) for name in level) for level in plan.levels
    )
    if lease is not None:
        limit_s = longest_death_s(lease, options.timing.profile)
        kind = PathKind.LEASE
        levels = tuple(
            tuple(FencePath(LEASE, kind, limit_s) if path.name == LEASE else path for path in level)
            for level in levels
        )
    return replace(options.fencing, levels=levels, has_arbiter=bool(plan.arbiter), lease=lease)


def _lease(options: Options, links: tuple[LinkSpec, ...]) -> LeasePolicy | None:
    """Return this node's lease.

    Raises ConfigError for one that would reset a node in good health, or that would prove nothing.
    """
    plan = options.fence_plan
    lease = plan.lease
    if lease is None:
        return None
    policy = LeasePolicy(
        lease.device,
        lease.timeout_s,
        lease.answer_s,
        on_lost=lease.on_lost,
        stop_s=lease.stop_s,
        is_pause_excluded=lease.is_pause_excluded,
        has_witness=plan.etcd is not None,
    )
    # Sockets and devices: commands that only need the other files are quicker without.
    from opensvc_openha.links.disk import DISK

    disks = [link for link in links if link.is_disk]
    own = [link for link in disks if link.wire is Wire.OWN]
    if plan.etcd is None and not own:
        which = "the disk links have wire = legacy" if disks else "there is no disk link"
        raise lease.error(
            f"{which}: a cut of the network would reset this node. Add a link of type dio to the"
            " monitor file, or a witness with [[etcd]]"
        )
    for link in own:
        if link.kind == DISK.word:
            raise lease.error(
                f"{link.link_id} is read through the page cache, which may show what is not on the"
                " device any more: write dio in place of disk in the monitor file"
            )
    timing = options.timing
    death_s = longest_death_s(policy, timing.profile)
    declared_s = timing.fence_time_s
    if timing.profile is Profile.FAST and declared_s is not None and declared_s < death_s:
        raise options.error(
            f"fence_time: {declared_s:g} s are declared, and the lease proves that the"
            f" peer is out after {death_s:g} s: remove fence_time, or [[lease]]",
            "timing",
            "fence_time",
        )
    is_alone = all(name == LEASE for name in plan.paths)
    if is_alone and not lease.is_pause_excluded and is_virtual_machine():
        raise lease.error(
            "is the only level, and this is a virtual machine: while it is paused its watchdog is"
            " paused, too, so that its promise proves nothing. Add the power switch of its"
            " hypervisor to levels (fence_virsh, fence_vmware_rest), or `reservation`; or write"
            " virtual_pause = never if that cannot happen"
        )
    return policy


def longest_death_s(lease: LeasePolicy, profile: Profile) -> float:
    """Return the seconds from its last sign to the death of a node with this lease.

    Before its watchdog is open: what that is like is counted as if it were the least exact kind.
    """
    margin_s = FAST_MARGIN_S if profile is Profile.FAST else MARGIN_S
    granularity_s = _FINE_S if profile is Profile.FAST else _COARSE_S
    return death_after_s(lease.answer_s, lease.timeout_s, lease.holders, granularity_s, margin_s)


def _path(name: str, device: DeviceConfig | None) -> FencePath:
    if device is None:
        return FencePath(name, PathKind.RESERVATION, RESERVATION_LIMIT_S)
    is_trusted = device.is_callout and not device.options.get("status_cmd")
    kind = PathKind.CALLOUT if is_trusted else PathKind.POWER
    return FencePath(name, kind, device.timeout_s, mark=device.mark)


def check_devices(options: Options, limit_s: float = DEVICES_LIMIT_S) -> list[str]:
    """Check the sections of the fence plan against what the agents themselves take.

    ``limit_s`` is for all agents together. Raises ConfigError for the first mistake. Returns what
    cannot be checked here, such as an agent that is not installed: that keeps no daemon from
    starting, but the path cannot be used.
    """
    if not options.fence_plan.has_levels:
        return []
    # Imported here: only the daemon, and commands about fencing, ask agents.
    from opensvc_openha.fence_devices.agent_metadata import mistakes_in
    from opensvc_openha.fence_devices.power_device import description_of

    deadline = monotonic() + limit_s
    problems: dict[str, str] = {}
    for device in options.fence_plan.devices:
        name = f"{device.path}: {device.agent}"
        if device.is_callout or name in problems:
            continue
        try:
            metadata = description_of(device.agent, max(0.0, deadline - monotonic()))
        except SystemFault as error:
            problems[name] = f"{device.path}: {error}"
            continue
        for mistake in mistakes_in(metadata, device.options):
            subject = f"{mistake.option}: " if mistake.option else ""
            raise device.error(
                f"[[{device.path} {device.node}]] {subject}{mistake.text}", mistake.option
            )
    return list(problems.values())


def check_count(spec: ClusterSpec, path: str) -> None:
    """Raise ConfigError if this node has more services than a legacy link of it can carry."""
    count = len(spec.own_services)
    legacy = [link.link_id for link in spec.senders if link.wire is Wire.LEGACY]
    if legacy and count > LEGACY_SERVICES_MAX:
        raise ConfigError(
            f"{count} services on this node, and the original's heartbeat holds"
            f" {LEGACY_SERVICES_MAX}: no more are possible while {', '.join(legacy)} has wire ="
            " legacy",
            path,
        )


def check_fence(svc: ServiceSpec, path: str, options: Options) -> None:
    """Raise ConfigError for a check-up script that proves nothing, if the profile relies on it."""
    if options.fence_plan.has_levels:
        return
    if options.timing.profile is Profile.FAST and not svc.is_fenced:
        place = f"{path}:{svc.line}" if svc.line else path
        raise options.error(
            "profile = fast needs a check-up script that fences the peer, and that of service"
            f" {svc.name} is {svc.check} ({place}): give the service one that fences, or write"
            " profile = balanced or tutorial",
            "timing",
            "profile",
        )


def _check_frozen_storage(svc: ServiceSpec, spec: ClusterSpec, path: str, options: Options) -> None:
    """Raise ConfigError if giving the service up could end in two copies, or cannot work."""
    if not svc.policy.is_given_up:
        return
    if not svc.is_fenced and not options.fence_plan.has_levels:
        place = f"{path}:{svc.line}" if svc.line else path
        raise options.frozen_storage_error(
            f"its check-up script is {svc.check} ({place}), so that the peer would start it while"
            " writes of this node are still on their way: give it one that fences, or configure"
            " [fencing] levels",
            svc.name,
        )
    if not any(link.wire is Wire.OWN for link in spec.listeners):
        raise options.frozen_storage_error(
            "all links have wire = legacy, and a C OpenHA does not report whether it reads the"
            " disks: remove it until both nodes run this version",
            svc.name,
        )


def own_name(layout: Layout, nodes: tuple[str, ...]) -> str:
    """Return this node's name as spelled in the nodes file; ConfigError if it is not there."""
    for name in nodes:
        if name.lower() == node_name().lower():
            return name
    raise ConfigError(
        f"this node is named {node_name()}, but the nodes are {' and '.join(nodes)}",
        layout.nodes_file,
    )


def both_names(layout: Layout) -> tuple[str, str]:
    """Return the names of this node and of its peer; raises as ``read_nodes``, ``own_name``."""
    nodes = read_nodes(layout)
    own = own_name(layout, nodes)
    return own, peer_of(own, nodes)


def names_or(layout: Layout, stand_in: str) -> tuple[str, str]:
    """Return both names; without readable files the machine's, and ``stand_in`` for the peer."""
    try:
        return both_names(layout)
    except OpenhaError:
        return node_name(), stand_in


def peer_of(own: str, nodes: tuple[str, ...]) -> str:
    """Return the other one of both nodes."""
    return nodes[0] if nodes[1] == own else nodes[1]


def fingerprint(layout: Layout) -> tuple[object, ...]:
    """Return a value that changes whenever one of the files is edited or replaced."""
    paths = (
        layout.nodes_file,
        layout.monitor_file,
        layout.services_file,
        layout.options_file,
        layout.key_file,
    )
    return tuple(stamp_of(path) for path in paths)


def edit(layout: Layout, path: str, change: Callable[[str], str]) -> None:
    """Replace the text of a configuration file by ``change`` of it, one editor at a time."""
    with edit_lock(layout):
        old = read_text(path) if os.path.exists(path) else ""
        new = change(old)
        if new == old:
            return
        try:
            # A symbolic link stays one: its target is replaced.
            target = os.path.realpath(path)
            mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else 0o644
            write_atomically(target, new.encode("utf-8"), mode)
        except OSError as error:
            raise SystemFault(f"cannot write {path}: {error.strerror}") from error


def edit_lock(layout: Layout) -> AbstractContextManager[None]:
    """Hold the lock for editing the configuration.

    Raises SystemFault if another process holds it for too long.
    """
    path = f"{layout.proc_dir}/edit.lock"
    text = (
        f"another command edits the configuration for more than {_EDIT_WAIT_S:g} s and holds {path}"
    )
    return hold_lock(path, _EDIT_WAIT_S, lambda owner: SystemFault(text))


def _text(path: str, hint: str) -> str:
    if not os.path.exists(path):
        raise ConfigError(f"no such file: {hint}", path)
    return read_text(path)
