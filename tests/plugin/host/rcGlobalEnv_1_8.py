"""Where the agent 1.8 keeps its files."""

import os


class Storage(object):
    """Attributes."""


def get_osvc_paths():
    """The paths of this agent."""
    paths = Storage()
    paths.pathetc = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "etc")
    return paths


class rcEnv(object):
    """Paths in an attribute of their own."""

    nodename = os.uname()[1].lower()
    paths = get_osvc_paths()
