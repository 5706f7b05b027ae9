"""The words for what somebody has to know at once: of openha.conf, notify.d and the journal."""

from __future__ import annotations

import enum
from hashlib import sha1

_NAMESPACE = bytes.fromhex("b2f6a3c45a0e4d0b9a536f3d7d1f4c11")


class AlertKind(enum.Enum):
    """What happened; the values are words of the interface to programs."""

    TAKEOVER = "takeover"
    """This node has started a service beside a peer that is silent or has left."""
    START_FAILED = "start-failed"
    STOP_FAILED = "stop-failed"
    DUAL_RUN = "dual-run"
    """Both nodes run a service."""
    LINK_DOWN = "link-down"
    PEER_SILENT = "peer-silent"
    """The peer is heard on no link."""
    STANDBY_NOT_READY = "standby-not-ready"
    """A service could not start on this node now."""
    FENCE_PATH_BROKEN = "fence-path-broken"
    ISOLATED = "isolated"
    """None of the targets of `[connectivity]` answers this node."""
    DAEMON_RESTARTED = "daemon-restarted"
    ALARM = "alarm"
    """Anything else that the history marks as an alarm."""

    @property
    def has_end(self) -> bool:
        """True if it lasts until something ends it."""
        return self not in _MOMENTS

    def message_id(self, is_over: bool) -> str:
        """Return the MESSAGE_ID of its beginning, or of its end, in the journal."""
        # A UUID of version 5 (RFC 9562). The library's module for them looks for the platform
        # first, and takes a third of a megabyte of the daemon for good.
        name = f"{self.value} {'end' if is_over else 'begin'}".encode("ascii")
        found = bytearray(sha1(_NAMESPACE + name, usedforsecurity=False).digest()[:16])
        found[6], found[8] = found[6] & 0x0F | 0x50, found[8] & 0x3F | 0x80
        return found.hex()


_MOMENTS = frozenset({AlertKind.TAKEOVER, AlertKind.DAEMON_RESTARTED, AlertKind.ALARM})
