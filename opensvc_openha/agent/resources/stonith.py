"""What fences the peer: in no status tree; only the ``stonith`` action runs it."""

from __future__ import annotations

from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.resources.fence_plan import FenceStep, callout_step
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus


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
    def step(self) -> FenceStep:
        """What the fence runs; made when it is needed, for it may read secrets."""
        # Imported here: a status needs no device.
        from opensvc_openha.agent.resources.power_sections import device_step, is_power_device

        context = self._context
        if not is_power_device(self._section):
            return callout_step(self._section, context.svcname, context.node)
        return device_step(self._section, context.svcname, context.node, context.layout.etc_dir)

    def status(self) -> Finding:
        """Return n/a: there is nothing to check."""
        return Finding(ResourceStatus.NA)


build = Fence
