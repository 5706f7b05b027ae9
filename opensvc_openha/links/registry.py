"""List the link types of the monitor file with the ends that implement them, one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opensvc_openha.core.model import LinkKind, LinkSpec
from opensvc_openha.links.base import BeatListener, BeatSender, Clock
from opensvc_openha.links.dio import DioListener, DioSender
from opensvc_openha.links.disk import DiskListener, DiskSender
from opensvc_openha.links.net import NetListener, NetSender
from opensvc_openha.links.unicast import UnicastListener, UnicastSender


@dataclass(frozen=True)
class _Ends:
    sender: Callable[[LinkSpec], BeatSender]
    listener: Callable[[LinkSpec, Clock], BeatListener]


_ENDS = {
    LinkKind.NET: _Ends(NetSender, NetListener),
    LinkKind.UNICAST: _Ends(UnicastSender, UnicastListener),
    LinkKind.DISK: _Ends(DiskSender, DiskListener),
    LinkKind.DIO: _Ends(DioSender, DioListener),
}


def make_sender(spec: LinkSpec, clock: Clock) -> BeatSender:
    """Return the sending end of a link, not yet open. No sender needs the clock so far."""
    return _ENDS[spec.kind].sender(spec)


def make_listener(spec: LinkSpec, clock: Clock) -> BeatListener:
    """Return the receiving end of a link, not yet open."""
    return _ENDS[spec.kind].listener(spec, clock)
