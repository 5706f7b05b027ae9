"""The other node for a command of a person, who may type before its peer server is up."""

from __future__ import annotations

from dataclasses import replace

from opensvc_openha.control import client
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.errors import NoPeerLinkError, OpenhaError, RefusedError
from opensvc_openha.formats.layout import Layout
from opensvc_openha.peer_link.client import Peer, find_peer


def patient_peer(layout: Layout) -> Peer:
    """Return how the other node is reached; its server is waited for while its daemon is heard.

    Raises as ``find_peer``.
    """

    def is_heard() -> bool:
        try:
            return client.fetch_status(layout).peer_standing is PeerStanding.LIVE
        except OpenhaError:
            return False

    return replace(find_peer(layout), is_heard=is_heard)


def expected_peer(layout: Layout, instead: str) -> Peer:
    """Return the other node for a command that has done nothing so far.

    ``instead`` is what the operator may do without it. Raises RefusedError.
    """
    try:
        return patient_peer(layout)
    except NoPeerLinkError as error:
        raise RefusedError(f"{error}. Nothing was done; {instead}") from error
