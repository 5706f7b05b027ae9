"""Heartbeat resource of the OpenSVC agent 1.8: [hb#N] type = OpenHA, through the node daemon's control socket.

This line's safety net has the resource do an action that is not the cluster's own.
"""

import rcExceptions
import rcStatus
import resHb
from rcGlobalEnv import rcEnv

import openha_driver


class Host(openha_driver.Host):
    """This line keeps what was asked for among the options of the service."""

    def is_cluster(self):
        return bool(self.svc.options.cluster)

    def is_remote(self):
        return bool(self.svc.options.remote)


class Hb(openha_driver.HbActions, resHb.Hb):
    """The service as the cluster knows it, under ``name``."""

    ex = rcExceptions
    rc_status = rcStatus

    def __init__(self, rid=None, name=None, **kwargs):
        resHb.Hb.__init__(self, rid, "hb.openha", **kwargs)
        self.name = name
        self.openha = openha_driver.Driver(Host(self, rcEnv.nodename, rcEnv.paths.pathetc), name)

    def __status(self, verbose=False):
        # resHb.Hb asks for its own private method, which this one replaces only because the classes share their name.
        return self.openha_status()

    def load_status_last(self):
        # A state of the cluster is never a matter of the agent's cache, which has no age limit.
        return rcStatus.UNDEF

    def on_add(self):
        # What svcmon and print status show of all resources is kept in one file more, that may be older than the state.
        openha_driver.drop_stale_summary(self.svc.status_data_dump, self.rid, self.openha)
