"""Keep the problems of a running daemon's environment, each logged at its beginning and its end.

A problem is shown for as long as it lasts. Each subject has its own, so that none hides or clears
another.
"""

from __future__ import annotations

import enum
import logging
import threading


class Issue(enum.Enum):
    """Subject of a problem, as it is shown."""

    CONFIGURATION = "configuration not taken over"
    PLACE = "lock or control socket not put back"
    KEY_ROTATION = "key rotation does not continue"
    INTERNAL = "internal error of the daemon, which continues"
    CHECK_SCRIPT = "check-up script not believed, so a silent peer is not taken over"
    FENCE_PATH = "fence path broken"
    SERVICE_FENCE = "fence of a service broken"
    SERVICE_FENCES = "fences of services not looked at"
    ARBITER = "arbiter not usable, so this node cannot win the right to fence"
    ARBITER_MEMORY = "the registration on the arbiter is not remembered"
    RESERVED_DISK = "reserved disk of a service that runs here"
    FENCE_WATCH = "fence paths not looked at"
    WATCHDOG = "watchdog not kept"
    PROMISED_MEDIA = "the disks of this node's promise are not remembered"
    WITNESS = "witness not usable"
    STATE_ROOM = "little room for states"
    LOG_ROOM = "little room for logs"
    LOG = "log not written"
    LOG_BOUND = "log of a service not bounded"


class ActiveIssues:
    """The present problems of one daemon; any thread may report them."""

    def __init__(self, node: str, logger: logging.Logger) -> None:
        self._node = node
        self._log = logger
        self._lock = threading.Lock()
        self._texts: dict[Issue, str] = {}

    def report(self, subject: Issue, text: str) -> None:
        """Record a problem; log it if it is new."""
        with self._lock:
            if self._texts.get(subject) == text:
                return
            self._texts[subject] = text
        self._log.warning("node %s: %s: %s", self._node, subject.value, text)

    def solve(self, subject: Issue) -> None:
        """Clear a problem; log that if there was one."""
        with self._lock:
            if self._texts.pop(subject, None) is None:
                return
        self._log.info("node %s: %s: no longer so", self._node, subject.value)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the present problems, in a fixed order."""
        with self._lock:
            return tuple(
                f"{subject.value}: {self._texts[subject]}"
                for subject in Issue
                if subject in self._texts
            )
