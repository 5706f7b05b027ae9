"""Decide whether the peer may ask for something: `[peer_link] allow` of this node's openha.conf."""

from __future__ import annotations

from collections.abc import Set

from opensvc_openha.errors import RefusedError
from opensvc_openha.formats.options_schema import Allowed
from opensvc_openha.peer_link.protocol import Request


def expect_allowed(request: Request, allow: Set[Allowed]) -> None:
    """Raise RefusedError unless this node's options allow the request.

    Status, history and outcome change nothing and show no secret: they are always allowed.
    """
    needed = request.allowed
    if needed is not None and needed not in allow:
        raise RefusedError(
            f"this node does not take {needed.value} from the other node: [peer_link] allow ="
            f" {' '.join(sorted(each.value for each in allow)) or 'none'} in its openha.conf"
        )
