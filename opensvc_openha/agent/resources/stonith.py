"""Fencing commands: in no status tree; only the ``stonith`` action runs them."""

from __future__ import annotations

from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.resources.fence_plan import callout_step
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus


class Callout(LocalResource):
    """A command after which the peer must run nothing; 0 is the only success.

    Not part of a start: see ``fencing``.
    """

    def __init__(self, section: Section, around: DriverContext) -> None:
        super().__init__(section, around, Group.STONITH, "stonith.callout", "stonith.callout")
        self.step = callout_step(section, around.svcname, around.node)

    def status(self) -> Finding:
        """Return n/a: there is nothing to check."""
        return Finding(ResourceStatus.NA)


build = Callout
