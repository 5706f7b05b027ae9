"""Resource of the OpenSVC agent 2.1: [app#hb] type = openha, over the daemon's control socket.

It shows the cluster's state of the service, and refuses a start or stop that the cluster did not
request.
"""

import os

import core.exceptions as ex
import core.status
from core.objects.svcdict import KEYS
from core.resource import Resource
from env import Env

try:
    from site_opensvc import openha_driver
# Missing, truncated or unreadable: the agent would continue without this resource and ask nobody.
except Exception:
    openha_driver = None

MISSING = "site_opensvc/openha_driver.py cannot be loaded: run `openha agent install`"
DRIVER_GROUP = "app"
DRIVER_BASENAME = "openha"
DRIVER_BASENAME_ALIASES = ["OpenHA"]
KEYWORDS = [
    {
        "keyword": "name",
        "at": True,
        "text": "The service as the cluster names it. The default is the name of this service.",
        "example": "registry",
    },
]

KEYS.register_driver(
    DRIVER_GROUP,
    DRIVER_BASENAME,
    name=__name__,
    keywords=KEYWORDS,
    driver_basename_aliases=DRIVER_BASENAME_ALIASES,
)

STATUS = {"up": core.status.UP, "down": core.status.DOWN, "warn": core.status.WARN}


if openha_driver is not None:

    class Host(openha_driver.Host):
        """This line has namespaces and other attribute names; it acts on its own node only."""

        @property
        def svc(self):
            return self

        @property
        def svcname(self):
            return self.resource.svc.path

        @property
        def default_name(self):
            return self.resource.svc.name

        @property
        def script_base(self):
            return os.path.splitext(self.resource.svc.paths.cf)[0]

        @property
        def nodes(self):
            return self.resource.svc.nodes


class AppOpenha(Resource):
    """The service as the cluster knows it, under ``name``."""

    default_optional = True
    resource_type = "app.openha"

    def __init__(self, name=None, **kwargs):
        Resource.__init__(self, type=self.resource_type, **kwargs)
        self.label = "hb.openha"
        # The other resources of this group are sorted by a pair.
        self.sort_key = (self.rid, self.rid)
        self.cluster_name = name
        self.openha = None
        if openha_driver is not None:
            self.openha = openha_driver.Driver(Host(self, Env.nodename, Env.paths.pathetc), name)

    def on_add(self):
        # The agent may show cached statuses, and the cluster needs its scripts meanwhile.
        if self.openha is not None:
            self.openha.ensure_wrappers()

    def _status(self, verbose=False):
        conflict = self.conflict()
        if conflict:
            self.status_log(conflict)
            return core.status.WARN
        word, lines = self.openha.status()
        for line in lines:
            self.status_log(line)
        return STATUS[word]

    def load_status_last(self, refresh=False):
        # The state of the cluster must not come from the agent's cache, which has no age limit.
        return core.status.UNDEF

    def conflict(self):
        """Return why the cluster cannot decide about this service; empty if it can."""
        if self.openha is None:
            return MISSING
        if self.svc.orchestrate == "no":
            return ""
        return ("orchestrate = %s: the agent's own daemon would decide too. set orchestrate = no"
                % self.svc.orchestrate)

    def abort_start(self):
        """Return True to veto the start of the whole service."""
        is_wanted = os.environ.get("OPENHA_ACTION") == "start" or self.svc.options.force
        if self.conflict() and not (self.openha is None and is_wanted):
            self.log.error(self.conflict())
            return True
        if is_wanted:
            return False
        self.log.error("this service is managed by OpenHA, a direct start is disabled: "
                       "use `service -A %s unfreeze`, or --force to override",
                       self.cluster_name or self.svc.name)
        return True

    def start(self):
        """Do nothing: the cluster decides."""

    def stop(self):
        """Veto a stop; the first resource to stop, so that nothing has been stopped by then."""
        if os.environ.get("OPENHA_ACTION") == "stop" or self.svc.options.force:
            return
        # The error of an optional resource would not abort the action.
        self.unset_optional()
        raise ex.Error("this service is managed by OpenHA, a direct stop is disabled: "
                       "use `service -A %s freeze-stop`, or --force to override"
                       % (self.cluster_name or self.svc.name))
