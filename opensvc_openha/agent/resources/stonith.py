"""What fences the peer: in no status tree; only the ``stonith`` action runs it."""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.resources.fence_plan import FenceStep, callout_step
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus
from opensvc_openha.core.events import PathState
from opensvc_openha.core.status import PathStatus, service_path
from opensvc_openha.errors import NotRunningError
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

_BROKEN = (PathState.WRONG.value, PathState.UNREACHABLE.value)


class Fence(LocalResource):
    """A command or a power device, after whose success the peer runs nothing.

    Not part of a start: see ``peer_fencing``.
    """

    def __init__(self, section: Section, context: DriverContext) -> None:
        kind = f"stonith.{section.text('type').lower()}"
        super().__init__(section, context, Group.STONITH, kind, kind)
        self._section = section
        self._context = context

    @property
    def section(self) -> Section:
        """The section of the service file."""
        return self._section

    @property
    def is_device(self) -> bool:
        """True for a power device, False for a command."""
        # Imported here: a status needs no device.
        from opensvc_openha.agent.resources.power_sections import is_power_device

        return is_power_device(self._section)

    @property
    def step(self) -> FenceStep:
        """What the fence runs; made when it is needed, for it may read secrets."""
        from opensvc_openha.agent.resources.power_sections import device_step

        context = self._context
        if not self.is_device:
            return callout_step(self._section, context.svcname, context.node)
        return device_step(self._section, context.svcname, context.node, context.layout.etc_dir)

    def status(self) -> Finding:
        """Return a warning if the node daemon's last look found the fence broken; else n/a.

        The device is not asked here: a status must be quick.
        """
        path = self._seen_by_daemon()
        if path is None or path.state not in _BROKEN:
            return Finding(ResourceStatus.NA)
        return Finding(ResourceStatus.WARN, (f"{path.state}: {path.text}",))

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield a remark if the node daemon's last look found the fence broken."""
        from opensvc_openha.agent.values.readiness import Remark
        from opensvc_openha.core.outlook import Severity

        path = self._seen_by_daemon()
        if path is not None and path.state in _BROKEN:
            text = f"the fence is {path.state}: {path.text}"
            # A move beside a peer that is heard needs no fence.
            yield Remark(Severity.ERROR, "fences", text, "openha fence test")

    def _seen_by_daemon(self) -> PathStatus | None:
        """Return what the daemon knows of this section; None if it knows nothing."""
        names = [
            each.value(schema.HB_NAME) or self._context.svcname
            for each in self._context.file.sections
            if each.group == Group.HB.value
        ]
        if not names:
            return None
        try:
            paths = self._context.cluster.node_status().fencing.service_paths
        except NotRunningError:
            return None
        wanted = {service_path(name, self.spec.rid) for name in names}
        return next((path for path in paths if path.name in wanted), None)


build = Fence
