"""The parts of a daemon that belong to its process: they outlive an engine that failed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.daemon.lock import Place
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.monitor_process import MonitorCommand, MonitorProcess
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.formats.layout import Layout
from opensvc_openha.storage.history_writer import History


@dataclass(frozen=True)
class ProcessParts:
    """What the first daemon of the process has set up, and each successor uses."""

    place: Place
    memory: MemoryGuard
    history: History
    stall_detector: StallDetector
    monitor: MonitorProcess
    peer_server: MonitorProcess
    signals: list[int]
    """Signals that the main thread has still to obey."""


def set_up_process(
    layout: Layout,
    logger: logging.Logger,
    lock_handle: int,
    monitor: MonitorCommand | None,
    spec: ClusterSpec,
    peer_server: MonitorCommand | None = None,
) -> ProcessParts:
    """Return the parts for the first daemon of this process, all of them idle."""

    def report_history(is_fault: bool, text: str) -> None:
        logger.log(logging.WARNING if is_fault else logging.INFO, "node %s: %s", spec.node, text)

    memory = MemoryGuard()
    return ProcessParts(
        place=Place(layout, lock_handle, spec.node, logger),
        memory=memory,
        history=History(layout, len(spec.own_services), report_history),
        stall_detector=StallDetector(),
        monitor=MonitorProcess(monitor, layout.environment(), logger, memory),
        peer_server=MonitorProcess(
            peer_server, layout.environment(), logger, memory, "peer server"
        ),
        signals=[],
    )
