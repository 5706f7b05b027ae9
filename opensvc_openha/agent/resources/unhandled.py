"""Resources the embedded agent can show but not act on yet: they are n/a and say why.

Starting a service that needs one is refused, for it would claim success without having done it all.
"""

from __future__ import annotations

from opensvc_openha.agent.resources.base import Build, Resource, Surroundings, index_of, make_spec
from opensvc_openha.agent.service_file import Section
from opensvc_openha.agent.status import Finding, Group, ResourceStatus


class Unhandled:
    """A resource that is only shown."""

    def __init__(self, section: Section, around: Surroundings, group: Group, label: str, reason: str) -> None:
        self.spec = make_spec(section, group, label, around.node)
        self.start_rank = self.stop_rank = (index_of(section), "")
        self._reason = reason

    def status(self) -> Finding:
        """n/a, with the reason."""
        return Finding(ResourceStatus.NA, (self._reason,))

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def why_unhandled(self) -> str:
        """Reason why it cannot be started."""
        return self._reason


def builder_of(kind: str, group: Group, *label_keywords: str) -> Build:
    """A build function for sections of this kind, labelled by the first of these keywords that is set."""

    def build(section: Section, around: Surroundings) -> Resource:
        index_of(section)
        label = next((section.text(word) for word in label_keywords if section.text(word)), section.name)
        of_type = f" type {section.text('type').lower()}" if section.text("type") else ""
        return Unhandled(section, around, group, label, f"{kind}{of_type} is not handled by the embedded agent yet")

    return build
