"""Detect a stop that is requested from within a file system that it unmounts.

The stop of a file system kills the processes that keep it busy. The operator's own shell must not
be one of them, and a stop that spares it fails half way: such a stop is refused before it changes
anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from opensvc_openha.agent.config.service_file import Section, read_service_file
from opensvc_openha.agent.host.mount_users import Holder, ancestors_within
from opensvc_openha.agent.host.mounts import read_mounts
from opensvc_openha.errors import OpenhaError, RefusedError
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.system.identity import node_name


def refuse_from_within(svcname: str, sections: Iterable[Section]) -> None:
    """Raise RefusedError when the caller keeps a mount point of these sections busy.

    The caller is this process and each of its ancestors.
    """
    mounted = {mount.point for mount in read_mounts()}
    for section in sections:
        point = _real_point(section.text("mnt"))
        if section.group != "fs" or point not in mounted:
            continue
        holder = ancestors_within(point)
        if holder is not None:
            raise RefusedError(
                f"{svcname}: {_described(holder)} uses {point}, which the stop unmounts, ending"
                " the processes in it: nothing was done, `cd /` first and try again"
            )


def refuse_stop_from_within(layout: AgentLayout, script: str) -> None:
    """Apply ``refuse_from_within`` to a service that the cluster knows by its wrapper script.

    Scripts without a service file beside them are not checked.
    """
    svcname, _, kind = os.path.basename(script).rpartition(".")
    if os.path.dirname(script) != layout.etc_dir or kind != "cluster":
        return
    try:
        file = read_service_file(layout.service_file(svcname), svcname, node_name().lower())
    except OpenhaError:
        return  # A broken service file is reported by the wrapper itself.
    refuse_from_within(svcname, file.sections)


def _real_point(path: str) -> str:
    # The mount point itself is not accessed: its file system may hang.
    folder, name = os.path.split(os.path.normpath(path)) if path.startswith("/") else ("", "")
    return os.path.join(os.path.realpath(folder), name) if name else ""


def _described(holder: Holder) -> str:
    return (
        "this command"
        if holder.pid == os.getpid()
        else f"{holder}, from which this command was started,"
    )
