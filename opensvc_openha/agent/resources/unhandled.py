"""Resources that the embedded agent can show but not act on yet: n/a, with the reason.

The start of a service that needs one is refused: it would report success for an incomplete start.
"""

from __future__ import annotations

from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import Driver, DriverContext, LocalResource, Resource
from opensvc_openha.agent.values.status import Finding, Group, ResourceStatus


class Unhandled(LocalResource):
    """A resource that is only shown."""

    def __init__(
        self, section: Section, around: DriverContext, group: Group, label: str, reason: str
    ) -> None:
        super().__init__(section, around, group, _kind_of(section, group), label)
        self._reason = reason

    def status(self) -> Finding:
        """Return n/a with the reason."""
        return Finding(ResourceStatus.NA, (self._reason,))

    def why_unhandled(self) -> str:
        """Return why it cannot be started."""
        return self._reason


def shown_driver(kind: str, group: Group, *label_keywords: str) -> Driver:
    """Return a driver of sections that are only shown.

    The label is the first of these keywords that is set.
    """

    def build(section: Section, around: DriverContext) -> Resource:
        label = next(
            (section.text(word) for word in label_keywords if section.text(word)), section.name
        )
        of_type = f" type {section.text('type').lower()}" if section.text("type") else ""
        return Unhandled(
            section,
            around,
            group,
            label,
            f"{kind}{of_type} is not handled by the embedded agent yet",
        )

    return Driver(build, {}, is_shown_only=True)


def _kind_of(section: Section, group: Group) -> str:
    kind = section.text("type").lower() or section.group
    return group.value if kind == group.value else f"{group.value}.{kind}"


DRBD_DRIVER = shown_driver("drbd", Group.DISK, "res")
POOL_DRIVER = shown_driver("pool", Group.DISK, "poolname")
