"""How to run this very package with this very interpreter, from anywhere and whatever the
environment says.
"""

from __future__ import annotations

import os
import sys

_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def self_command(module: str = "opensvc_openha") -> list[str]:
    """The words before a subcommand, as in ``[..., "nmond", "-f"]``."""
    return [sys.executable, *(["-I"] if sys.flags.isolated else []), "-m", module]


def package_parent() -> str:
    """The directory that an interpreter must search to find the package."""
    return _PARENT
