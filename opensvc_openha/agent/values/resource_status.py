"""Status of a service on this node: status values, how they merge, and the report.

avail merges everything the service needs to run here; hb, sync and stonith do not count in it.
overall is avail with hb and sync added: a sync that is up is neutral, any other sync status is a
warning. Disabled resources are n/a, n/a is neutral, and optional resources count nowhere. A
resource that is always on here is "stdby up": a service that is down with it is "stdby up", one
that is up stays up.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from opensvc_openha.named_tuples import NamedTuple


class ResourceStatus(enum.Enum):
    """Status of one or several resources; ``value`` is the word shown."""

    UP = "up"
    DOWN = "down"
    WARN = "warn"
    NA = "n/a"
    UNDEF = "undef"
    STDBY_UP = "stdby up"
    STDBY_DOWN = "stdby down"

    @property
    def exit_code(self) -> int:
        """Exit code of the ``status`` action."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    ResourceStatus.UP: 0,
    ResourceStatus.DOWN: 1,
    ResourceStatus.WARN: 2,
    ResourceStatus.NA: 3,
    ResourceStatus.UNDEF: 3,
    ResourceStatus.STDBY_UP: 6,
    ResourceStatus.STDBY_DOWN: 7,
}

NOT_RUNNING = frozenset({ResourceStatus.DOWN, ResourceStatus.STDBY_UP, ResourceStatus.STDBY_DOWN})
"""Values of avail of a stopped service: standby resources are up on purpose."""

_MERGED = {
    frozenset({ResourceStatus.UP, ResourceStatus.STDBY_UP}): ResourceStatus.UP,
    frozenset({ResourceStatus.DOWN, ResourceStatus.STDBY_UP}): ResourceStatus.STDBY_UP,
    frozenset({ResourceStatus.DOWN, ResourceStatus.STDBY_DOWN}): ResourceStatus.STDBY_DOWN,
}
"""Statuses that may be mixed; any other mixture is a warning."""


class Group(enum.Enum):
    """Kinds of resources, in the order of the status tree."""

    CONTAINER = "container"
    DISK = "disk"
    FS = "fs"
    SHARE = "share"
    IP = "ip"
    APP = "app"
    SYNC = "sync"
    HB = "hb"
    STONITH = "stonith"


OUTSIDE_AVAIL = frozenset({Group.SYNC, Group.HB, Group.STONITH})
"""Groups that do not decide whether the service is available on this node."""


class Finding(NamedTuple):
    """Result of the check of one resource: its status and explanatory lines."""

    status: ResourceStatus
    log: tuple[str, ...] = ()
    label: str = ""
    """Label that replaces the resource's, if it depends on the result."""
    is_hidden: bool = False
    """True if this user lacks the privileges for the check; ``status`` is then n/a."""


HIDDEN = Finding(ResourceStatus.NA, ("only root can check",), is_hidden=True)
"""Result for a user without the privileges: any other status could be wrong."""


class ResourceReport(NamedTuple):
    """One line of the status tree. ``log`` lines are without the leading ``#``."""

    rid: str
    group: Group
    label: str
    status: ResourceStatus
    log: tuple[str, ...] = ()
    is_monitored: bool = False
    is_disabled: bool = False
    is_optional: bool = False
    is_encap: bool = False
    is_hidden: bool = False


class ServiceReport(NamedTuple):
    """Everything the commands print about one service on this node.

    ``resources`` is in display order.
    """

    name: str
    service_type: str
    is_frozen: bool
    resources: tuple[ResourceReport, ...]
    container_type: str = "hosted"

    def in_group(self, *groups: Group) -> tuple[ResourceReport, ...]:
        """Return the resources of these groups."""
        return tuple(resource for resource in self.resources if resource.group in groups)

    def group_status(self, *groups: Group) -> ResourceStatus:
        """Return the merged status of these groups; n/a if there is nothing to merge."""
        return merge(res.status for res in self.in_group(*groups) if not res.is_optional)

    @property
    def avail(self) -> ResourceStatus:
        """Availability of the service here; n/a if it depends on what this user may not check."""
        status = self.group_status(*(group for group in Group if group not in OUTSIDE_AVAIL))
        return ResourceStatus.NA if self.is_hidden and status is not ResourceStatus.WARN else status

    @property
    def is_hidden(self) -> bool:
        """Return whether the availability depends on a resource that this user may not check."""
        return any(
            res.is_hidden and not res.is_optional and res.group not in OUTSIDE_AVAIL
            for res in self.resources
        )

    @property
    def sync(self) -> ResourceStatus:
        """Merged status of the synchronisations."""
        return self.group_status(Group.SYNC)

    @property
    def hb(self) -> ResourceStatus:
        """Status of the service in the cluster."""
        return self.group_status(Group.HB)

    @property
    def overall(self) -> ResourceStatus:
        """Merged status of avail, hb and sync."""
        status = merge([self.avail, self.hb, _weight_of_sync(self.sync)])
        return ResourceStatus.NA if self.is_hidden and status is not ResourceStatus.WARN else status


def merge(statuses: Iterable[ResourceStatus]) -> ResourceStatus:
    """Merge several statuses: n/a is neutral, up with down is warn, warn wins.

    "stdby up" combines with both up and down.
    """
    found = frozenset(statuses) - {ResourceStatus.NA, ResourceStatus.UNDEF}
    if len(found) < 2:
        return next(iter(found), ResourceStatus.NA)
    return _MERGED.get(found, ResourceStatus.WARN)


def _weight_of_sync(sync: ResourceStatus) -> ResourceStatus:
    if sync in (ResourceStatus.UP, ResourceStatus.NA):
        return ResourceStatus.UNDEF
    return ResourceStatus.WARN
