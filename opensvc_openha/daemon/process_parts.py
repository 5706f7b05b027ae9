"""The parts of a daemon that belong to its process: they outlive an engine that failed."""

from __future__ import annotations

import logging

from opensvc_openha.core.model import ClusterSpec
from opensvc_openha.daemon.lock import Place
from opensvc_openha.daemon.memory_guard import MemoryGuard
from opensvc_openha.daemon.monitor_process import Children, MonitorProcess
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.formats.layout import Layout
from opensvc_openha.records import dataclass
from opensvc_openha.storage.history_writer import History


@dataclass(frozen=True)
class ProcessParts:
    """What the first daemon of the process has set up, and each successor uses."""

    place: Place
    memory: MemoryGuard
    history: History
    stall_detector: StallDetector
    children: tuple[MonitorProcess, ...]
    signals: list[int]
    """Signals that the main thread has still to obey."""

    def end_children(self) -> None:
        """End the resource monitor, the peer server and the notifier."""
        for child in self.children:
            child.end()


def set_up_process(
    layout: Layout,
    logger: logging.Logger,
    lock_handle: int,
    spec: ClusterSpec,
    children: Children,
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
        children=tuple(
            MonitorProcess(command, layout.environment(), logger, memory, name)
            for command, name in (
                (children.monitor, "resource monitor"),
                (children.peer_server, "peer server"),
                (children.notifier, "notifier"),
            )
        ),
        signals=[],
    )
