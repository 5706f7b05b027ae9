"""Find check-up scripts that prove nothing: they are not run, and their services are reported.

An OpenSVC agent makes `<svc>.stonith` a link to its own command, which drops the exit code of the
fencing command and ends with 0. An upgrade or a removal of the agent can restore that link at any
time, so it is checked before each use. A script that `openha agent install` generated is recognized
by its mark.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.formats.layout import Layout
from opensvc_openha.system import clock

_AGENT_COMMANDS = frozenset({"svcmgr", "opensvc", "om"})
"""Targets of an OpenSVC agent's links."""
MARK = b"Made by `openha agent install`"
_EMBEDDED_MARK = b"opensvc_openha"
_HEAD_BYTES = 4096
_SOURCE_BYTES = 1_000_000
_CHECK_INTERVAL_S = 10.0
_NAMED = 5
_REMEDY = "run `openha agent install`, or give the service another check-up script"


def find_doubt(path: str, layout: Layout) -> str:
    """Return why the exit code of this check-up script proves nothing; empty if it may."""
    if os.path.islink(path):
        target = os.path.realpath(path)
        names = {os.path.basename(target), os.path.basename(os.readlink(path))}
        # The command of the embedded agent has the same name, and returns the fencing command's
        # exit code.
        if names & _AGENT_COMMANDS and os.path.exists(target) and not holds(target, _EMBEDDED_MARK):
            return (
                f"{path} leads to {target} of the OpenSVC agent, which ends with 0 even if the"
                f" fencing fails: {_REMEDY}"
            )
    if os.path.dirname(path) == layout.fence_dir and os.path.exists(path) and not holds(path, MARK):
        return f"{path} is not the script that `openha agent install` wrote: {_REMEDY}"
    return ""


def reports_status(path: str) -> bool:
    """Return True for an agent's own link whose exit code after `status` is meaningful.

    Agent 1.5 exits with 0 whatever runs.
    """
    target = os.path.realpath(path)
    if not os.path.islink(path) or os.path.basename(target) not in _AGENT_COMMANDS:
        return False
    return holds(
        f"{os.path.dirname(os.path.dirname(target))}/lib/resources.py",
        b"load_status_last",
        _SOURCE_BYTES,
    )


def holds(path: str, mark: bytes, count: int = _HEAD_BYTES) -> bool:
    """Return True for a readable file with that text among its first ``count`` bytes."""
    try:
        with open(path, "rb") as file:
            return mark in file.read(count)
    except OSError:
        return False


class CheckScripts:
    """Report services whose check-up script proves nothing, for as long as that lasts."""

    def __init__(self, layout: Layout, problems: ActiveIssues) -> None:
        self._layout = layout
        self._problems = problems
        self._checked_at = -math.inf
        self._paths: list[str] = []

    def check(self, services: Iterable[ServiceSpec]) -> None:
        """Check all scripts if the last check is some seconds old, or the services changed."""
        named = {svc.name: svc.check for svc in services}
        paths = sorted(named.values())
        now = clock.monotonic()
        if paths == self._paths and now - self._checked_at < _CHECK_INTERVAL_S:
            return

        self._checked_at, self._paths = now, paths
        doubts = {name: find_doubt(path, self._layout) for name, path in named.items()}
        found = [f"{name}: {doubt}" for name, doubt in doubts.items() if doubt]
        if not found:
            self._problems.solve(Issue.CHECK_SCRIPT)
            return
        more = [f"and {len(found) - _NAMED} more services"] if len(found) > _NAMED else []
        self._problems.report(Issue.CHECK_SCRIPT, "; ".join(found[:_NAMED] + more))
