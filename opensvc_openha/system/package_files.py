"""Locate the package's files that are not Python: templates and driver files.

A checkout has them beside the package; an installed wheel has them below ``share/opensvc-openha``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache

from opensvc_openha.errors import SystemFault

_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def shipped_path(folder: str, name: str) -> str:
    """Return the path of ``name`` in ``templates`` or ``resources``.

    Raises SystemFault if it is not installed.
    """
    looked_in = []
    for place in _places(folder, name):
        if os.path.isfile(place):
            return place
        looked_in.append(place)
    raise SystemFault(
        f"{folder}/{name} was not installed with the package (looked in {', '.join(looked_in)})"
    )


def _places(folder: str, name: str) -> Iterator[str]:
    yield os.path.join(os.path.dirname(_PACKAGE_DIR), folder, name)
    share = os.path.join("share", "opensvc-openha", folder, name)
    # PREFIX/lib/pythonX.Y/site-packages, also if Python was replaced, and Debian's.
    yield os.path.join(os.path.abspath(os.path.join(_PACKAGE_DIR, *[os.pardir] * 4)), share)
    yield os.path.join(sys.prefix, share)
    import sysconfig  # Takes longer than most commands.

    yield os.path.join(sysconfig.get_path("data"), share)
    yield os.path.join(os.path.expanduser("~/.local"), share)


@cache
def read_template(name: str) -> str:
    """Return the text of one file of ``templates``."""
    with open(shipped_path("templates", name), encoding="utf-8") as file:
        return file.read()
