"""This node while a cluster is set up: its facts, its files, its key, and what must not be lost."""

from __future__ import annotations

import contextlib
import difflib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha import __version__
from opensvc_openha.control import client
from opensvc_openha.core.model import LinkSpec
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.errors import NotRunningError, RefusedError, SystemFault
from opensvc_openha.fence_devices.secret_files import check_secret_file
from opensvc_openha.formats.key_file import KeyRing, format_keys
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.nodes_file import check_node_name, parse_nodes
from opensvc_openha.formats.options_file import Options, parse_options
from opensvc_openha.links.monitor_file import parse_monitor
from opensvc_openha.setup.files import FileChanges, check_texts, has_lines, read_present
from opensvc_openha.setup.interfaces import own_addresses
from opensvc_openha.setup.messages import VERSION, Facts, Proposal, Report
from opensvc_openha.storage import configuration
from opensvc_openha.storage.key_store import (
    is_key_wanted,
    new_key,
    parse_key_data,
    read_keys,
)
from opensvc_openha.system import clock
from opensvc_openha.system.identity import node_name

LINKS_LIMIT_S = 60.0
"""Seconds in which two daemons that were started hear each other."""
_SECRET_CHARACTERS = 16_384
_NAME_LIMIT_S = 3.0
_DIFFERENCES_MAX = 12


@dataclass(frozen=True)
class Hooks:
    """What the commands do for the set-up: they know the installation and the terminal."""

    install: Callable[[], Layout]
    """Lay out the cluster directory unless it is there."""
    start: Callable[[Layout], list[str]]
    """Enable the unit and start the daemon; return the lines to print."""
    say: Callable[[str], None]
    ask: Callable[[str], bool]
    """Ask the operator; True without asking where that was ordered."""
    wait_line: Callable[[str], None]
    """Show a line that the next one replaces; empty ends it."""


def own_name() -> str:
    """Return the name of this node; RefusedError for one that no node may have."""
    name = node_name()
    try:
        check_node_name(name)
    except ValueError as error:
        raise RefusedError(
            f"this node's name cannot be used: {error}. Change it: hostnamectl set-hostname NAME"
        ) from None
    if name.lower().partition(".")[0] == "localhost":
        raise RefusedError(f"this node is named {name}: hostnamectl set-hostname NAME")
    return name


def facts(layout: Layout, way: str, agent: str, *, is_dry_run: bool = False) -> Facts:
    """Return what this node is and has."""
    ring = read_keys(layout)
    return Facts(
        conversation=VERSION,
        version=__version__,
        node=own_name(),
        way=way,
        wall_s=clock.wall(),
        addresses=tuple(own_addresses()),
        key_ids=tuple(key.key_id for key in ring.keys) if ring else (),
        is_key_used=is_key_used(layout),
        is_configured=read_present(layout).is_configured,
        is_running=client.running_pid(layout) != 0,
        is_dry_run=is_dry_run,
        agent=agent,
        conf_dir=layout.conf_dir,
    )


def is_private(path: str) -> bool:
    """Return True for a file that not everybody may read."""
    return os.path.exists(path) and not os.stat(path).st_mode & 0o004


def is_key_used(layout: Layout) -> bool:
    """Return True if a peer was ever heard with the key of this node."""
    return any(os.path.exists(path) for path in (layout.key_mark_file, layout.peer_lives_file))


def differences(layout: Layout, proposal: Proposal) -> list[str]:
    """Return where the configuration of this node differs from a proposed one, for the operator.

    A file without any line but comments differs from nothing: it is replaced.
    """
    present = read_present(layout)
    found = []
    for path, ours, theirs in (
        (layout.nodes_file, present.nodes, proposal.nodes),
        (layout.monitor_file, present.monitor, proposal.monitor),
        (layout.options_file, present.options, proposal.options),
    ):
        if not has_lines(ours) or _significant(ours) == _significant(theirs):
            continue
        changed = [
            line.rstrip()
            for line in difflib.unified_diff(
                ours.splitlines(), theirs.splitlines(), lineterm="", n=0
            )
            if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        shown = changed[:_DIFFERENCES_MAX]
        if len(changed) > len(shown):
            shown.append(f"... and {len(changed) - len(shown)} more lines")
        found += [f"{path} differs (- here, + proposed):", *(f"  {line}" for line in shown)]
    return found


def _significant(text: str) -> list[tuple[str, ...]]:
    from opensvc_openha.formats.conf_lines import columns_of

    return [columns for line in text.splitlines() if (columns := columns_of(line))]


def is_same_configuration(layout: Layout, proposal: Proposal) -> bool:
    """Return True if nothing of a proposal would have to be written here."""
    present = read_present(layout)
    return all(
        _significant(ours) == _significant(theirs)
        for ours, theirs in (
            (present.nodes, proposal.nodes),
            (present.monitor, proposal.monitor),
            (present.options, proposal.options),
        )
    )


def check_proposal(layout: Layout, proposal: Proposal) -> list[str]:
    """Read a proposal as the daemon of this node would; return remarks.

    Raises ConfigError, or RefusedError where it would replace what is configured here.
    """
    remarks = check_texts(layout, proposal.nodes, proposal.monitor, proposal.options)
    return [f"{node_name()}: {remark}" for remark in remarks]


def name_remarks(peer: str, address: str) -> list[str]:
    """Return what the operator should know of the peer's name, if it does not resolve here.

    Links use addresses, and so does the peer link if one is unicast; ssh and scripts use names.
    """
    found: list[object] = []

    def look() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(socket.getaddrinfo(peer, None, socket.AF_INET))

    # A name server that does not answer may take long.
    thread = threading.Thread(target=look, name="name of the peer", daemon=True)
    thread.start()
    thread.join(_NAME_LIMIT_S)
    if found:
        return []
    return [
        f"{node_name()} does not resolve the name {peer}, which ssh, scripts and a cluster"
        " of multicast links alone use: add"
        f" `{address} {peer}` to /etc/hosts"
    ]


def links_of(nodes: str, monitor: str) -> tuple[LinkSpec, ...]:
    """Return the links of a monitor file; ConfigError."""
    return parse_monitor(monitor, "monitor", parse_nodes(nodes, "nodes"))


def key_for(layout: Layout, options: str) -> KeyRing | None:
    """Return the key of the cluster: that of this node, or a new one; None if none is wanted."""
    ring = read_keys(layout)
    if ring is not None:
        return ring
    return (
        KeyRing(new_key())
        if is_key_wanted(layout, parse_options(options, layout.options_file))
        else None
    )


def secret_files(options: Options) -> tuple[str, ...]:
    """Return the files of a fence plan that only root may read, and that both nodes need."""
    plan = options.fence_plan
    found = [
        value
        for device in plan.devices
        for option, value in device.options.items()
        if option.endswith("_file") and option != "ca_file"
    ]
    if plan.etcd is not None:
        found += [plan.etcd.password_file, plan.etcd.key_file]
    return tuple(dict.fromkeys(path for path in found if path))


def read_secret_files(paths: tuple[str, ...]) -> dict[str, str]:
    """Return files with passwords of fencing devices; SystemFault for one that others may read."""
    found = {}
    for path in paths:
        check_secret_file(path)
        try:
            with open(path, encoding="utf-8") as file:
                found[path] = file.read(_SECRET_CHARACTERS + 1)
        except UnicodeDecodeError:
            raise SystemFault(f"the secret {path} is no text in UTF-8") from None
        if len(found[path]) > _SECRET_CHARACTERS:
            raise SystemFault(
                f"the secret {path} is longer than {_SECRET_CHARACTERS} characters: copy it to both"
                " nodes, and give its path in openha.conf after the set-up"
            )
    return found


def write_all(
    layout: Layout, proposal: Proposal, key: str, files: dict[str, str], changes: FileChanges
) -> None:
    """Write what differs; the caller undoes ``changes`` after an error."""
    present = read_present(layout)
    with configuration.edit_lock(layout):
        for path, ours, text in (
            (layout.nodes_file, present.nodes, proposal.nodes),
            (layout.monitor_file, present.monitor, proposal.monitor),
            (layout.options_file, present.options, proposal.options),
        ):
            if text and _significant(ours) != _significant(text):
                is_for_root = path == layout.options_file and proposal.is_private
                mode = 0o600 if is_for_root or is_private(path) else 0o644
                changes.write(path, text, mode)
        for path, text in files.items():
            if not os.path.exists(path):
                changes.write(path, text, 0o600)
        if key:
            ring = parse_key_data(key.encode("utf-8"), "the key of the other node")
            if read_keys(layout) != ring:
                changes.write(layout.key_file, format_keys(ring), 0o600)
    # Read again, with every rule of a daemon that starts.
    configuration.read_cluster(layout)


def wait_for_links(layout: Layout, limit_s: float = LINKS_LIMIT_S) -> Report:
    """Return which links are up, once all are, or after the limit."""
    seen: list[Report] = []

    def is_up() -> bool:
        seen[:] = [links_report(layout)]
        return not (seen[0].down or seen[0].problem)

    clock.wait_until(is_up, limit_s, poll_s=0.25)
    return seen[0]


def links_report(layout: Layout) -> Report:
    """Return which links are up now."""
    try:
        status = client.fetch_status(layout)
    except NotRunningError as error:
        return Report(problem=str(error))
    up = [_shown(each.spec, each.is_sender) for each in status.links if each.is_up]
    down = [
        _shown(each.spec, each.is_sender) + (f": {each.reason}" if each.reason else "")
        for each in status.links
        if not each.is_up
    ]
    return Report(
        tuple(up),
        tuple(down),
        "" if _hears(status) else "the peer is not heard",
    )


def _hears(status: NodeStatus) -> bool:
    return status.peer_standing is PeerStanding.LIVE


def _shown(spec: LinkSpec, is_sender: bool) -> str:
    return f"{spec.node} {'sender' if is_sender else 'listener'} {spec.link_id}"


def is_complete(layout: Layout) -> bool:
    """Return True if this node runs, and hears its peer on every link with a key."""
    try:
        status = client.fetch_status(layout)
    except NotRunningError:
        return False
    return _hears(status) and all(each.is_up for each in status.links)
