"""Heartbeat resource of the OpenSVC agent 1.6: [hb#N] type = OpenHA, through the node daemon's control socket.

This line runs an action that the resource offers as its own: the resource ends it.
"""

import rcExceptions
import rcStatus
import resHb
from rcGlobalEnv import rcEnv

MISSING = "lib/openha_driver.py cannot be loaded: run `openha agent install`"

try:
    import openha_driver
except Exception:  # Missing, torn or not readable: the agent would take a driver that fails for none, and ask nobody.
    openha_driver = None


class Guard(resHb.Hb):
    """Without the file that all drivers share: shows it, and lets nobody but the cluster itself start or stop the service."""

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
            self.openha = openha_driver.Driver(openha_driver.Host(self, rcEnv.nodename, rcEnv.pathetc), name)

        def __status(self, verbose=False):
            # resHb.Hb asks for its own private method, which this one replaces only because the classes share their name.
            return self.openha_status()

        def load_status_last(self):
            # A state of the cluster is never a matter of the agent's cache, which has no age limit.
            return None
