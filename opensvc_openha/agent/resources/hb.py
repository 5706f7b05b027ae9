"""The heartbeat resource: shows what the node daemon says of the service."""

from __future__ import annotations

from opensvc_openha.agent.resources.base import Resource, Surroundings, index_of, make_spec
from opensvc_openha.agent.resources.unhandled import Unhandled
from opensvc_openha.agent.service_file import Section
from opensvc_openha.agent.status import Finding, Group

LABEL = "hb.openha"


def build(section: Section, around: Surroundings) -> Resource:
    """The resource of one [hb#N] section."""
    kind = section.required("type").lower()
    if kind != "openha":
        return Unhandled(section, around, Group.HB, f"hb.{kind}", f"hb type {kind} is not handled by the embedded agent")
    return OpenhaHb(section, around)


class OpenhaHb:
    """The service as the cluster knows it, under ``name``."""

    def __init__(self, section: Section, around: Surroundings) -> None:
        self.spec = make_spec(section, Group.HB, LABEL, around.node)
        self.start_rank = self.stop_rank = (index_of(section), "")
        self.cluster_name = section.text("name", around.svcname)
        self._cluster = around.cluster

    def status(self) -> Finding:
        """The node daemon's word on it."""
        return self._cluster.hb_finding(self.cluster_name)

    def start(self) -> None:
        """The daemon decides, not we."""

    def stop(self) -> None:
        """The daemon decides, not we."""

    def why_unhandled(self) -> str:
        """Handled."""
        return ""
