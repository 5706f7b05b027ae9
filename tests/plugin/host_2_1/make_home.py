"""Lays out the minimal agent 2.1: the modules that a site driver imports, below opensvc/ as in the agent."""

FILES = {
    "opensvc/env.py": '''"""The node and its paths."""

import os


class Paths:
    """Where the agent keeps its service files."""

    pathetc = os.environ["HOST_ETC"]


class Env:
    """Attributes of the class."""

    nodename = os.uname().nodename.lower()
    paths = Paths
''',
    "opensvc/core/__init__.py": "",
    "opensvc/core/exceptions.py": '''"""The agent's errors."""


class Error(Exception):
    """The action failed."""
''',
    "opensvc/core/status.py": '''"""Numbers of the statuses."""

UP, DOWN, WARN, NA, UNDEF = 0, 1, 2, 3, 5
''',
    "opensvc/core/keywords.py": '''"""Keywords by section."""


class KeywordStore:
    """A list of keywords under a name."""

    def __init__(self, name="", keywords=()):
        self.keywords = list(keywords)

    def __iadd__(self, other):
        self.keywords += other.keywords
        return self

    def register_driver(self, group, basename, name="", keywords=(), driver_basename_aliases=()):
        """The keywords of a driver, under its name and its other names."""
        for rtype in (basename, *driver_basename_aliases):
            self.keywords += [dict(keyword, section=group, rtype=rtype) for keyword in keywords]
''',
    "opensvc/core/resource.py": '''"""The parent of all drivers."""

import json
import logging
import os


class Resource:
    """Keeps its status on disk without age limit."""

    default_optional = False

    def __init__(self, rid=None, type=None, **kwargs):
        self.rid = rid
        self.type = type
        self.label = type
        self.sort_key = rid
        self.optional = self.default_optional
        self.svc = None
        self.status_logs = []
        self.log = logging.getLogger(rid)

    def on_add(self):
        """The service is known."""

    def unset_optional(self):
        """Its errors end the action."""
        self.optional = False

    def status_log(self, text, level="warn"):
        """A line under the status."""
        self.status_logs.append(text)

    def load_status_last(self, refresh=False):
        """The kept status."""
        with open(os.environ["HOST_ETC"] + "/kept") as file:
            return json.load(file)

    def status(self):
        """The kept one, or else the present one."""
        self.status_logs = []
        found = self.load_status_last()
        return self._status() if found == 5 else found
''',
    "opensvc/core/objects/__init__.py": "",
    "opensvc/core/objects/svcdict.py": '''"""The keywords of services."""

from core.keywords import KeywordStore

KEYS = KeywordStore()
''',
    "opensvc/core/objects/builder.py": '''"""Makes the resources of a service from its sections."""

import importlib


def add_resource(svc, group, section):
    """The driver of a section's type: a site driver, since this host has none of its own."""
    basename = svc.cd[section]["type"].lower()
    module = importlib.import_module("site_opensvc.drivers.resource.%s.%s" % (group, basename))
    resource = getattr(module, group.capitalize() + basename.capitalize())(rid=section, name=svc.cd[section].get("name"))
    resource.svc = svc
    svc.resources.append(resource)
    resource.on_add()


def add_resources(svc):
    """Only the groups that the agent knows; hb is none of them."""
    for section in svc.cd:
        if section.split("#")[0] == "app":
            add_resource(svc, "app", section)
    return 0
''',
}


def make_home(home):
    """Writes the files below a directory."""
    for name, text in FILES.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
