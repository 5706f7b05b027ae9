"""The heartbeat resource: the node daemon's state of the service."""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.values.resource_status import Finding, Group
from opensvc_openha.errors import NotRunningError
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

LABEL = "hb.openha"


class OpenhaHb(LocalResource):
    """The service in the cluster, under ``name``.

    Nothing to start or stop: the node daemon decides.
    """

    def __init__(self, section: Section, context: DriverContext) -> None:
        super().__init__(section, context, Group.HB, LABEL, LABEL)
        self.cluster_name = section.value(schema.HB_NAME) or context.svcname
        self._cluster = context.cluster

    def status(self) -> Finding:
        """Return the status that corresponds to the node daemon's state."""
        return self._cluster.hb_finding(self.cluster_name)

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield a remark if the node daemon does not know the service."""
        from opensvc_openha.agent.values.readiness import would_fail

        try:
            status = self._cluster.node_status()
        except NotRunningError:
            return  # Said of the node as a whole.
        if status.service(self.cluster_name) is None:
            text = f"the cluster has no service {self.cluster_name}"
            yield would_fail("files", text, f"openha add {self.cluster_name}.env")


build = OpenhaHb
