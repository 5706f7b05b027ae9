"""Set up ssh between the two nodes as root with keys, as operators do for synchronisations.

Keys and configuration are created for these nodes and removed with them. Needs openssh's sshd and
root.
"""

from __future__ import annotations

import os
import shlex

from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.demo.sandbox_namespaces import TOOL_PATH
from opensvc_openha.errors import SystemFault

SSHD = "/usr/sbin/sshd"

_TOOLS = ("sshd", "ssh-keygen", "rsync")

_CONFIG = """\
HostKey /etc/ssh/node_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
AuthorizedKeysFile /root/.ssh/authorized_keys
StrictModes no
UsePAM no
"""


def missing_tools() -> str:
    """Return what is missing for this; empty if nothing."""
    places = [*TOOL_PATH.split(":"), os.path.dirname(SSHD)]
    missing = [
        name
        for name in _TOOLS
        if not any(os.access(f"{place}/{name}", os.X_OK) for place in places)
    ]
    return ", ".join(missing)


def connect(nodes: TwoNodes) -> None:
    """Create keys, authorise those of both nodes on each, and start sshd on both."""
    public = [_make_key(node, "/root/.ssh/id_ed25519") for node in nodes]
    for node in nodes:
        node.write("/root/.ssh/authorized_keys", "".join(public), 0o600)
        start_sshd(node)


def start_sshd(node: Node) -> None:
    """Start sshd on a node; needed after each boot."""
    _make_key(node, "/etc/ssh/node_key")
    node.write("/etc/ssh/node_config", _CONFIG)
    _must(node, f"mkdir -p /run/sshd && {SSHD} -f /etc/ssh/node_config")


def _make_key(node: Node, path: str) -> str:
    quoted = shlex.quote(path)
    folder = shlex.quote(os.path.dirname(path))
    _must(
        node,
        f"umask 077; mkdir -p {folder}; rm -f {quoted} {quoted}.pub; ssh-keygen -q -t ed25519 -N ''"
        f" -f {quoted}",
    )
    return node.read(f"{path}.pub")


def _must(node: Node, command: str) -> None:
    done = node.run(command)
    if done.returncode != 0:
        raise SystemFault(f"{node.name}: {command}: {done.stdout}{done.stderr}".strip())
