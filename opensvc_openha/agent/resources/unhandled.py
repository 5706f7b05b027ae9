"""Resources that the embedded agent can show but not act on yet: n/a, with the reason.

The start of a service that needs one is refused: it would report success for an incomplete start.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.agent.config.checks import kind_of
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import DriverContext, LocalResource
from opensvc_openha.agent.values.resource_status import Finding, Group, ResourceStatus
from opensvc_openha.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from opensvc_openha.agent.values.readiness import Remark, Surroundings

_LABELS = {
    "container": ("name", "run_image"),
    "disk": ("name", "dev"),
    "drbd": ("res",),
    "pool": ("poolname",),
    "sync": ("src",),
}
"""Keywords of each group of which the first that is set is the label."""
_ADVICE = {"hb": ""}


class Unhandled(LocalResource):
    """A resource that is only shown."""

    def __init__(self, section: Section, context: DriverContext) -> None:
        group = Group(kind_of(section).shown_in or section.group)
        type_ = section.text("type").lower()
        words = (section.text(word) for word in _LABELS.get(section.group, ()))
        label = next(filter(None, words), section.name)
        if group is Group.FS:
            label = f"{section.text('dev')}@{section.text('mnt')}"
        elif group is Group.HB:
            label = f"{section.group}.{type_}"
        kind = (
            group.value
            if (type_ or section.group) == group.value
            else f"{group.value}.{type_ or section.group}"
        )
        super().__init__(section, context, group, kind, label)
        of_type = f" type {type_}" if type_ else ""
        advice = _ADVICE.get(section.group, " yet")
        self._reason = f"{section.group}{of_type} is not handled by the embedded agent{advice}"

    def status(self) -> Finding:
        """Return n/a with the reason."""
        return Finding(ResourceStatus.NA, (self._reason,))

    def readiness(self, around: Surroundings) -> Iterable[Remark]:
        """Yield that a start is refused."""
        from opensvc_openha.agent.values.readiness import would_fail

        yield would_fail("drivers", self._reason)

    def why_unhandled(self) -> str:
        """Return why it cannot be started."""
        return self._reason
