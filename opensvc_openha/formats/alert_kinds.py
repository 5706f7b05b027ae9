"""The words for what somebody has to know at once: of openha.conf, notify.d and the journal."""

from __future__ import annotations

import enum

_NAMESPACE = "b2f6a3c4-5a0e-4d0b-9a53-6f3d7d1f4c11"


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
        import uuid  # Only where there is a journal, and something to write to it.

        phase = "end" if is_over else "begin"
        return uuid.uuid5(uuid.UUID(_NAMESPACE), f"{self.value} {phase}").hex


_MOMENTS = frozenset({AlertKind.TAKEOVER, AlertKind.DAEMON_RESTARTED, AlertKind.ALARM})
