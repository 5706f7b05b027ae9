"""Heartbeat resource of the OpenSVC agents 1.5, 1.6 and 1.7: [hb#N] type = OpenHA.

It uses the node daemon's control socket. The 1.5 refuses every action of the operator but those
with --cluster before it would ask a driver, and caches no status. The 1.6 lets the resource run an
action that it offers; so does the safety net of the 1.7 with actions that are not the cluster's
own.
"""

import rcExceptions
import rcStatus
import resHb
from rcGlobalEnv import rcEnv

MISSING = "lib/openha_driver.py cannot be loaded: run `openha agent install`"

try:
    import openha_driver
# Missing, truncated or unreadable: the agent would ignore a driver that fails to load, and ask
# nobody.
except Exception:
    openha_driver = None


class Guard(resHb.Hb):
    """Stand-in if the shared driver file is missing: reports it, and lets only the cluster act."""

    def __init__(self, rid=None, name=None, **kwargs):
        resHb.Hb.__init__(self, rid, "hb.openha", **kwargs)
        self.name = name

    def cluster_files(self):
        pass

    def _status(self, verbose=False):
        self.status_log(MISSING)
        return rcStatus.WARN

    def load_status_last(self):
        return None

    def need_stonith(self):
        raise rcExceptions.excError(MISSING)

    def freezestop(self):
        raise rcExceptions.excError(MISSING)

    def _refuse(self):
        if not self.svc.cluster:
            raise rcExceptions.excError(MISSING)

    start = stop = switch = freeze = thaw = _refuse


if openha_driver is None:
    Hb = Guard
else:

    class Hb(openha_driver.HbActions, resHb.Hb):
        """The service as the cluster knows it, under ``name``."""

        ex = rcExceptions
        rc_status = rcStatus

        def __init__(self, rid=None, name=None, **kwargs):
            resHb.Hb.__init__(self, rid, "hb.openha", **kwargs)
            self.name = name
            host = openha_driver.Host(self, rcEnv.nodename, rcEnv.pathetc)
            self.openha = openha_driver.Driver(host, name)

        def __status(self, verbose=False):
            # resHb.Hb calls its own private method; this one replaces it only because the classes
            # share their name.
            return self.openha_status()

        def load_status_last(self):
            # The state of the cluster must not come from the agent's cache, which has no age limit.
            return None
