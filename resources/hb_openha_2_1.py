"""Resource of the OpenSVC agent 2.1: [hb#N] type = OpenHA, with the start-up hook.

The hook makes the agent read such sections.
"""

from core.keywords import KeywordStore
from core.objects.svcdict import KEYS

from site_opensvc.drivers.resource.app import openha

DRIVER_GROUP = "hb"
DRIVER_BASENAME = "openha"
DRIVER_BASENAME_ALIASES = ["OpenHA"]
KEYWORDS = openha.KEYWORDS

KEYS += KeywordStore(
    name="hb_openha_type",
    keywords=[{"section": "hb", "keyword": "type", "at": True, "candidates": ["openha", "OpenHA"],
               "text": "The cluster manager that decides about the service."}],
)
KEYS.register_driver(
    DRIVER_GROUP,
    DRIVER_BASENAME,
    name=__name__,
    keywords=KEYWORDS,
    driver_basename_aliases=DRIVER_BASENAME_ALIASES,
)


class HbOpenha(openha.AppOpenha):
    """The same resource in a group of its own."""

    resource_type = "hb.openha"
