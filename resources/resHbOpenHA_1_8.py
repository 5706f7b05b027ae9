"""Heartbeat resource of the OpenSVC agent 1.8: [hb#N] type = OpenHA, over the control socket.

This line's safety net lets the resource run an action that is not the cluster's own.
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
        return rcStatus.UNDEF

    def need_stonith(self):
        raise rcExceptions.excError(MISSING)

    def freezestop(self):
        raise rcExceptions.excError(MISSING)

    def _refuse(self):
        if not self.svc.options.cluster:
            raise rcExceptions.excError(MISSING)

    start = stop = switch = freeze = thaw = _refuse


if openha_driver is None:
    Hb = Guard
else:

    class Host(openha_driver.Host):
        """This line keeps the command's options in the service."""

        def is_cluster(self):
            return bool(self.svc.options.cluster)

        def destination(self):
            return str(getattr(self.svc.options, "destination_node", None) or "")

        def is_remote(self):
            return bool(self.svc.options.remote)

    class Hb(openha_driver.HbActions, resHb.Hb):
        """The service as the cluster knows it, under ``name``."""

        ex = rcExceptions
        rc_status = rcStatus

        def __init__(self, rid=None, name=None, **kwargs):
            resHb.Hb.__init__(self, rid, "hb.openha", **kwargs)
            self.name = name
            host = Host(self, rcEnv.nodename, rcEnv.paths.pathetc)
            self.openha = openha_driver.Driver(host, name)

        def __status(self, verbose=False):
            # resHb.Hb calls its own private method; this one replaces it only because the classes
            # share their name.
            return self.openha_status()

        def load_status_last(self):
            # The state of the cluster must not come from the agent's cache, which has no age limit.
            return rcStatus.UNDEF

        def on_add(self):
            # A status from the agent's files creates no wrapper, and the cluster needs them.
            self.openha.ensure_wrappers()
            # svcmon and print status read all resources from another file, which may be older than
            # the state.
            openha_driver.drop_stale_summary(self.svc.status_data_dump, self.rid, self.openha)
