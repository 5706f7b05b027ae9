"""The heartbeat resource: the node daemon's state of the service."""

from __future__ import annotations

from opensvc_openha.agent.config.keywords import Keyword
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import Driver, DriverContext, LocalResource, Resource
from opensvc_openha.agent.resources.unhandled import Unhandled
from opensvc_openha.agent.values.status import Finding, Group

LABEL = "hb.openha"


def build(section: Section, around: DriverContext) -> Resource:
    """Build the resource of one [hb#N] section."""
    kind = section.required("type").lower()
    if kind != "openha":
        return Unhandled(
            section,
            around,
            Group.HB,
            f"hb.{kind}",
            f"hb type {kind} is not handled by the embedded agent",
        )
    return OpenhaHb(section, around)


class OpenhaHb(LocalResource):
    """The service in the cluster, under ``name``.

    Nothing to start or stop: the node daemon decides.
    """

    def __init__(self, section: Section, around: DriverContext) -> None:
        super().__init__(section, around, Group.HB, LABEL, LABEL)
        self.cluster_name = section.text("name", around.svcname)
        self._cluster = around.cluster

    def status(self) -> Finding:
        """Return the status that corresponds to the node daemon's state."""
        return self._cluster.hb_finding(self.cluster_name)


DRIVER = Driver(
    build,
    {"openha": (Keyword("name"),)},
    shown_types=frozenset({"linuxha", "ovm", "sg", "rhcs", "vcs"}),
)
