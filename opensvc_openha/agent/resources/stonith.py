"""Fencing commands: in no status tree; only the ``stonith`` action runs them."""

from __future__ import annotations

from opensvc_openha.agent.config.keywords import Form, Keyword
from opensvc_openha.agent.config.service_file import Section
from opensvc_openha.agent.resources.base import Driver, DriverContext, LocalResource, Resource
from opensvc_openha.agent.resources.fence_plan import KEYWORDS, callout_step, level_of
from opensvc_openha.agent.resources.unhandled import Unhandled
from opensvc_openha.agent.values.status import Finding, Group, ResourceStatus


def build(section: Section, around: DriverContext) -> Resource:
    """Build the resource of one [stonith#N] section."""
    kind = section.required("type").lower()
    if kind != "callout":
        reason = f"stonith type {kind} is not handled by the embedded agent yet, expected callout"
        level_of(section)
        return Unhandled(section, around, Group.STONITH, f"stonith.{kind}", reason)
    return Callout(section, around)


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


_CALLOUT = (
    Keyword("cmd", Form.COMMAND, is_required=True),
    Keyword("status_cmd", Form.COMMAND),
    *KEYWORDS,
)

DRIVER = Driver(build, {"callout": _CALLOUT}, shown_types=frozenset({"ilo"}))
