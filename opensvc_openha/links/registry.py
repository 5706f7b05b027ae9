"""List the link types of the monitor file, one line each."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.core.model import LinkSpec
from opensvc_openha.links.base import BeatListener, BeatSender, Clock, LinkType
from opensvc_openha.links.dio import DIO
from opensvc_openha.links.disk import DISK
from opensvc_openha.links.net import NET
from opensvc_openha.links.udp import UdpListener, UdpSender
from opensvc_openha.links.unicast import UNICAST

LINK_TYPES: Mapping[str, LinkType] = {
    each.word: each
    for each in (
        NET,
        UNICAST,
        DISK,
        DIO,
    )
}


def make_sender(spec: LinkSpec, clock: Clock) -> BeatSender:
    """Return the sending end of a link, not yet open. No sender needs the clock so far."""
    return LINK_TYPES[spec.kind].sender(spec)


def make_listener(spec: LinkSpec, clock: Clock) -> BeatListener:
    """Return the receiving end of a link, not yet open."""
    return LINK_TYPES[spec.kind].listener(spec, clock)


def make_datagram_sender(spec: LinkSpec) -> UdpSender:
    """Return the sending end of a link on a network, not yet open."""
    made = LINK_TYPES[spec.kind].sender(spec)
    assert isinstance(made, UdpSender), "every link that is no disk sends datagrams"
    return made


def make_datagram_listener(spec: LinkSpec, clock: Clock, wall: Clock) -> UdpListener:
    """Return the receiving end of a link on a network, not yet open.

    ``wall`` is the wall clock, by which the kernel stamps what comes in.
    """
    made = make_listener(spec, clock)
    assert isinstance(made, UdpListener), "every link that is no disk receives datagrams"
    made.wall = wall
    return made
