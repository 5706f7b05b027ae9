"""Reads the nodes, monitor and services files into one ClusterSpec, and edits them under a lock.

A mistake in a file is a ConfigError with file and line. An edit replaces the file in one go; what it does not
understand (comments, blank lines) it keeps.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import replace
from typing import Callable, Iterator

from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.monitor_file import parse_monitor
from opensvc_openha.formats.nodes_file import parse_nodes
from opensvc_openha.formats.services_file import parse_services
from opensvc_openha.runtime.files import make_dir, read_text, write_atomically
from opensvc_openha.runtime.machine import node_name
from opensvc_openha.runtime.wire_options import check_services, read_wire_options


def read_nodes(layout: Layout) -> "tuple[str, ...]":
    """Names of the two nodes."""
    return parse_nodes(_text(layout.nodes_file, "list both nodes in it, one a line"), layout.nodes_file)


def read_services(layout: Layout) -> "tuple[ServiceSpec, ...]":
    """Services as configured; none if there is no such file yet."""
    if not os.path.exists(layout.services_file):
        return ()
    return parse_services(read_text(layout.services_file), layout.services_file)


def read_links(layout: Layout) -> "tuple[LinkSpec, ...]":
    """Heartbeat links as configured."""
    text = _text(layout.monitor_file, "describe the heartbeat links in it")
    options = read_wire_options(layout)
    links = parse_monitor(text, layout.monitor_file, read_nodes(layout), complete=options.complete)
    options.check_links(links)
    return links


def read_cluster(layout: Layout) -> ClusterSpec:
    """The whole configuration as this node sees it."""
    nodes = read_nodes(layout)
    here = own_name(layout, nodes)
    peer = nodes[0] if nodes[1] == here else nodes[1]
    spelling = {name.lower(): name for name in nodes}
    services = tuple(
        replace(svc, primary=spelling.get(svc.primary.lower(), svc.primary),
                secondary=spelling.get(svc.secondary.lower(), svc.secondary))
        for svc in read_services(layout)
    )
    spec = ClusterSpec(here, peer, read_links(layout), services)
    check_services(spec, layout.services_file)
    return spec


def own_name(layout: Layout, nodes: "tuple[str, ...]") -> str:
    """This node as the nodes file spells it; ConfigError if it is none of them."""
    for name in nodes:
        if name.lower() == node_name().lower():
            return name
    raise ConfigError(f"this node is named {node_name()}, but the nodes are {' and '.join(nodes)}", layout.nodes_file)


def fingerprint(layout: Layout) -> "tuple[object, ...]":
    """Changes whenever one of the files is edited or replaced."""
    paths = (layout.nodes_file, layout.monitor_file, layout.services_file, layout.options_file, layout.key_file)
    return tuple(_stat(path) for path in paths)


def edit(layout: Layout, path: str, change: Callable[[str], str]) -> None:
    """Replaces the text of a configuration file by what ``change`` makes of it, one editor at a time."""
    with edit_lock(layout):
        old = read_text(path) if os.path.exists(path) else ""
        new = change(old)
        if new == old:
            return
        try:
            # A link to the file stays a link: the file behind it is replaced.
            target = os.path.realpath(path)
            mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else 0o644
            write_atomically(target, new.encode("utf-8"), mode)
        except OSError as error:
            raise SystemFault(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def edit_lock(layout: Layout) -> Iterator[None]:
    """Held by whoever edits the configuration."""
    make_dir(layout.proc_dir)
    path = f"{layout.proc_dir}/edit.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SystemFault(f"cannot lock the configuration ({path}): {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _text(path: str, hint: str) -> str:
    if not os.path.exists(path):
        raise ConfigError(f"no such file: {hint}", path)
    return read_text(path)


def _stat(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid
