"""Fencing commands. Shown in no status tree; only the ``stonith`` action runs them."""

from __future__ import annotations

from opensvc_openha.agent.commands import run_logged
from opensvc_openha.agent.keywords import Form, Keyword
from opensvc_openha.agent.resources.base import Driver, LocalResource, Resource, Surroundings
from opensvc_openha.agent.resources.unhandled import Unhandled
from opensvc_openha.agent.service_file import Section
from opensvc_openha.agent.status import Finding, Group, ResourceStatus

FENCE_TIMEOUT_S = 50.0
"""Below the limit the node daemon sets to a check-up script, so that it is we who say what happened."""


def build(section: Section, around: Surroundings) -> Resource:
    """The resource of one [stonith#N] section."""
    kind = section.required("type").lower()
    if kind != "callout":
        reason = f"stonith type {kind} is not handled by the embedded agent yet, expected callout"
        return Unhandled(section, around, Group.STONITH, f"stonith.{kind}", reason)
    return Callout(section, around)


class Callout(LocalResource):
    """A command that makes sure the peer runs nothing any more; 0 is the only success. Not part of a start: see ``fence``."""

    def __init__(self, section: Section, around: Surroundings) -> None:
        super().__init__(section, around, Group.STONITH, "stonith.callout", "stonith.callout")
        self._command = section.required("cmd")
        self._timeout_s = section.seconds("timeout", FENCE_TIMEOUT_S)
        self._env = {"OPENSVC_SVCNAME": around.svcname, "OPENSVC_RID": section.name, "OPENSVC_NODENAME": around.node}

    def status(self) -> Finding:
        """There is nothing to look at."""
        return Finding(ResourceStatus.NA)

    def fence(self) -> int:
        """Run the command; its exit code, or 1 if it had to be killed."""
        result = run_logged(self._log, ["/bin/sh", "-c", self._command], self._timeout_s, self._env)
        if result.exit_code != 0:
            self._log.error(f"fencing failed: the command {result.verdict}")
        return result.exit_code if result.exit_code >= 0 and not result.is_timed_out else 1


_CALLOUT = (Keyword("cmd", Form.COMMAND, is_required=True), Keyword("timeout", Form.SECONDS))

DRIVER = Driver(build, {"callout": _CALLOUT}, shown_types=frozenset({"ilo"}))
