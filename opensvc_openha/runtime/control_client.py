"""Talks to the node daemon's control socket: one JSON object per line each way."""

from __future__ import annotations

from opensvc_openha.core.status import NodeStatus
from opensvc_openha.formats.layout import Layout


def fetch_status(layout: Layout, timeout_s: float = 2.0) -> NodeStatus:
    """Status of the node daemon of this layout.

    Raises NotRunningError if none runs, NotAnsweringError if it does not answer within ``timeout_s`` seconds.
    """
    raise NotImplementedError
