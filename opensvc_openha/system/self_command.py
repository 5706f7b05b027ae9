"""How to run this package with this interpreter, from anywhere and in any environment."""

from __future__ import annotations

import os
import sys

_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def self_command(module: str = "opensvc_openha") -> list[str]:
    """Return the words before a subcommand, as in ``[..., "nmond", "-f"]``."""
    # Isolated, or at least without modules of the current directory.
    how = "-I" if sys.flags.isolated else "-P"
    return [sys.executable, how, "-m", module]


def start_script() -> str:
    """Return the script that runs this package by the lean client first."""
    return f"{_PARENT}/opensvc_openha/lean/start.py"


def package_parent() -> str:
    """Return the directory that an interpreter must search to find the package."""
    return _PARENT
