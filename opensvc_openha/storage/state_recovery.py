"""Decide what a starting daemon may conclude from its STATE files and the log of states.

Pure: production and simulator ask the same functions, and every case can be enumerated.
"""

from __future__ import annotations

from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.states import FROZEN, ServiceState
from opensvc_openha.formats.state_file import StoredState, decode
from opensvc_openha.formats.state_log import FileMark, LogRecord, explains


def content_due(records: list[LogRecord], found: FileMark | None, data: bytes) -> bytes | None:
    """Return what a STATE file has to hold after a boot, by the log; None if the file counts.

    ``records`` are those of its service, ``found`` identifies the file and is None without one,
    ``data`` is what it holds.
    """
    newest = records[-1].content
    if found is None:
        return newest if explains(records, None, b"") else None
    try:
        decode(data)
    except ValueError:
        return newest  # Lost with the power.
    return newest if data != newest and explains(records, found, data) else None


def recover(
    stored: StoredState | None, problem: str, is_same_life: bool, is_first_start: bool = False
) -> RecoveredState:
    """Return what to assume of a service at the start, from its file or why there is none."""
    if stored is None:
        if not problem and is_same_life:
            return RecoveredState(
                ServiceState.UNKNOWN,
                ServiceState.FROZEN_STOP,
                must_probe=True,
                reason="new service",
            )
        if not is_same_life:
            return RecoveredState(
                ServiceState.FROZEN_STOP, must_probe=True, reason=problem or "new service"
            )
        return RecoveredState(ServiceState.UNKNOWN, must_probe=True, reason=problem)
    state, frozen_target = stored.state, stored.frozen_target
    if not is_same_life:
        if state in FROZEN or frozen_target is ServiceState.FROZEN_STOP:
            return RecoveredState(
                ServiceState.FROZEN_STOP,
                must_probe=True,
                reason="frozen before the machine was started",
            )
        return RecoveredState(
            ServiceState.STOPPED, must_probe=True, reason="the machine was started"
        )
    if state is ServiceState.START_READY and is_first_start:
        # The original writes the same digit for a service that runs frozen.
        return RecoveredState(
            ServiceState.UNKNOWN,
            must_probe=True,
            reason="left in START_READY, frozen and running or not",
        )
    if state in (ServiceState.START_READY, ServiceState.FORCE_STOP):
        return RecoveredState(
            ServiceState.STOPPED,
            must_probe=True,
            reason="the daemon was restarted before the start began",
            stay=stored.stay,
        )
    reason = "as before the daemon was restarted"
    return RecoveredState(state, frozen_target, must_probe=True, reason=reason, stay=stored.stay)
