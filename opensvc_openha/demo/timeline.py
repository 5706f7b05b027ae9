"""Poll the STATE files of a node every few milliseconds and time its states after a power cut.

Reading the files through the node's root costs microseconds; a status command would cost a process
start. All times are wall-clock seconds, since they are compared with those that the applications
recorded themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats import state_file
from opensvc_openha.system import clock

POLL_S = 0.005


@dataclass(frozen=True)
class StateChange:
    """A new state of a service on a node."""

    at: float
    service: str
    node: str
    state: ServiceState


class StateWatcher:
    """Poller of the STATE files below ``services_dir``, in a thread until stop()."""

    def __init__(self, services_dir: str, services: Sequence[str], nodes: Sequence[str]) -> None:
        self._paths = {
            (service, node): os.path.join(services_dir, service, f"STATE.{node}")
            for service in services
            for node in nodes
        }
        self._changes: list[StateChange] = []
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="state-watcher", daemon=True)

    def __enter__(self) -> StateWatcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def changes(self) -> tuple[StateChange, ...]:
        """Return all changes so far, including the initial states."""
        return tuple(self._changes)

    def _watch(self) -> None:
        last: dict[tuple[str, str], ServiceState] = {}
        while not self._is_stopping.wait(POLL_S):
            for key, path in self._paths.items():
                state = read_state(path)
                if state is not None and last.get(key) is not state:
                    last[key] = state
                    self._changes.append(StateChange(clock.wall(), key[0], key[1], state))


def read_state(path: str) -> ServiceState | None:
    """Return the state in a STATE file; None while it is not readable."""
    try:
        with open(path, "rb") as file:
            return state_file.decode(file.read()).state
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class TakeoverTimes:
    """Seconds from the power cut to each stage for one service; None if it was not seen."""

    service: str
    detected: float | None
    decided: float | None
    released: float | None
    app_started: float | None
    started: float | None

    @property
    def start_ready(self) -> float | None:
        """Seconds that the service was in START_READY."""
        if self.decided is None or self.released is None:
            return None
        return self.released - self.decided


def takeover_times(
    service: str,
    cut_at: float,
    victim: str,
    witness: str,
    changes: Sequence[StateChange],
    app_starts: Mapping[str, float],
) -> TakeoverTimes:
    """Return the stages of one takeover from the witness's STATE files after ``cut_at``."""

    def first(node: str, state: ServiceState) -> float | None:
        times = [
            change.at - cut_at
            for change in changes
            if change.at >= cut_at
            and (change.service, change.node, change.state) == (service, node, state)
        ]
        return times[0] if times else None

    app = app_starts.get(service)
    return TakeoverTimes(
        service,
        first(victim, ServiceState.UNKNOWN),
        first(witness, ServiceState.START_READY),
        first(witness, ServiceState.STARTING),
        None if app is None or app < cut_at else app - cut_at,
        first(witness, ServiceState.STARTED),
    )


COLUMNS = (
    "service",
    "peer UNKNOWN",
    "START_READY",
    "stays so for",
    "script begins",
    "application",
    "STARTED",
)


def render_table(rows: Sequence[TakeoverTimes]) -> str:
    """Render the table at the end of the demo."""
    lines: list[tuple[str, ...]] = [COLUMNS]
    for row in rows:
        values = (
            row.detected,
            row.decided,
            row.start_ready,
            row.released,
            row.app_started,
            row.started,
        )
        lines.append(
            (row.service, *("-" if value is None else f"{value:.2f} s" for value in values))
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(line[1:], widths[1:])
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text) + "\n"
