"""Directories of the system and of this installation that a service must not mount over."""

from __future__ import annotations

import os

from opensvc_openha.formats.layout import AgentLayout, find_layout

_SYSTEM = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
        "/tmp",
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/usr/local",
        "/usr/local/bin",
        "/usr/local/lib",
        "/usr/local/sbin",
        "/usr/sbin",
        "/usr/share",
        "/var",
        "/var/lib",
        "/var/log",
        "/var/run",
        "/var/tmp",
    ]
)


def why_not_mounted_over(point: str, agent: AgentLayout) -> str:
    """Return what a mount on this directory would hide; empty if nothing."""
    # normpath keeps two leading slashes, which mean the same as one.
    point = "/" + os.path.normpath(point).lstrip("/")
    if point in _SYSTEM:
        return f"would hide {point} of this node from everything that runs on it"
    cluster = find_layout(os.environ, os.path.exists)
    own = (
        *(agent.etc_dir, agent.var_dir, agent.log_dir, agent.bin_dir),
        *(
            cluster.ez,
            cluster.bin_dir,
            cluster.conf_dir,
            cluster.services_dir,
            cluster.proc_dir,
            cluster.log_dir,
        ),
    )
    hidden = next((path for path in own if path == point or path.startswith(f"{point}/")), "")
    return (
        f"would hide {hidden}, which this cluster or its agent needs while the service is stopped"
        if hidden
        else ""
    )
