"""Directories exported over NFS: [share#N] type = nfs, with ``path`` and ``opts``.

``opts`` has the form ``client(options) client(options)``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.host.commands import run_command, run_or_fail
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.values.resource_status import HIDDEN, Finding, Group, ResourceStatus
from opensvc_openha.errors import ActionError
from opensvc_openha.hints import TYPE_CHECKING
from opensvc_openha.system.files import text_or_empty

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

NOT_INSTALLED = "exportfs is not installed: apt-get install nfs-kernel-server"
_LOOK_TIMEOUT_S = 30.0
_SERVER_THREADS = "/proc/fs/nfsd/threads"
_EXPORT = re.compile(r"(\S+)\s+(\S+)\(([^)]*)\)")


def parse_exports(text: str) -> dict[str, dict[str, frozenset[str]]]:
    """Parse the output of ``exportfs -v``: path to client to options.

    A long path is on a line of its own.
    """
    exports: dict[str, dict[str, frozenset[str]]] = {}
    for path, client, options in _EXPORT.findall(text):
        exports.setdefault(path, {})["*" if client == "<world>" else client] = frozenset(
            options.split(",")
        )
    return exports


class NfsShare(LocalResource):
    """One directory and the clients that may mount it."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        self._path = os.path.normpath(section.value(schema.SHARE_PATH))
        self._clients = section.value(schema.SHARE_OPTS)
        super().__init__(section, context, Group.SHARE, "share.nfs", f"nfs:{self._path}")

    def status(self) -> Finding:
        """Return up if every client has it with all its options; a warning if only some have."""
        if not _is_installed():
            return Finding(ResourceStatus.DOWN, (NOT_INSTALLED,))
        if not self._sees_all:
            return HIDDEN
        found = self._exported()
        if not found:
            return Finding(ResourceStatus.DOWN)
        issues = tuple(self._issues(found))
        return Finding(ResourceStatus.WARN, issues) if issues else Finding(ResourceStatus.UP)

    def start(self) -> None:
        """Export to each client that does not have it."""
        if not os.path.isdir(self._path):
            raise self.spec.error(ActionError, f"{self._path} does not exist or is no directory")
        if not _is_installed():
            raise self.spec.error(ActionError, f"{NOT_INSTALLED}")
        found = self._exported()
        if found and not list(self._issues(found)):
            self._log.info(f"{self._path} is already up")
            return
        for client, options in self._clients.items():
            if client in found and not options <= found[client]:
                run_or_fail(self._log, ["exportfs", "-u", f"{client}:{self._path}"])
            run_or_fail(
                self._log, ["exportfs", "-o", ",".join(sorted(options)), f"{client}:{self._path}"]
            )

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield what would keep it from being exported, or clients from mounting it."""
        from opensvc_openha.agent.values.readiness import beware, would_fail

        if not _is_installed():
            text, fix = NOT_INSTALLED.split(": ", 1)
            yield would_fail("shares", text, fix)
        elif not text_or_empty(_SERVER_THREADS).strip().strip("0"):
            text = "the NFS server of this node does not run: nobody could mount what is exported"
            yield beware("shares", text, "systemctl start nfs-server")
        if not os.path.isdir(self._path) and not around.is_hidden(self._path):
            yield would_fail("shares", f"{self._path} does not exist or is no directory")

    def stop(self) -> None:
        """Remove the exports to our clients."""
        if not _is_installed():
            self._log.info(f"{self._path} is already down: {NOT_INSTALLED}")
            return
        found = self._exported()
        ours = [client for client in self._clients if client in found]
        if not ours:
            self._log.info(f"{self._path} is already down")
        for client in ours:
            run_or_fail(self._log, ["exportfs", "-u", f"{client}:{self._path}"])

    def _exported(self) -> Mapping[str, frozenset[str]]:
        result = run_command(["exportfs", "-v"], _LOOK_TIMEOUT_S)
        if result.exit_code != 0:
            raise self.spec.error(
                ActionError, f"exportfs -v {result.verdict}: {result.output.strip()}"
            )
        return parse_exports(result.output).get(self._path, {})

    def _issues(self, found: Mapping[str, frozenset[str]]) -> list[str]:
        issues = []
        for client, options in self._clients.items():
            if client not in found:
                issues.append(f"{self._path} is not exported to {client}")
            elif not options <= found[client]:
                issues.append(
                    f"{self._path} is exported to {client} without"
                    f" {', '.join(sorted(options - found[client]))}"
                )
        return issues


def _is_installed() -> bool:
    return (
        shutil.which("exportfs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None
    )


build = NfsShare
