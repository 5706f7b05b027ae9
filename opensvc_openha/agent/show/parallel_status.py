"""Read the status of many services in parallel threads.

Most of the time of a status goes into waiting: for a check script, a socket, a file system. A
status that hangs delays its own row only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from opensvc_openha.agent.values.resource_status import ServiceReport
from opensvc_openha.errors import OpenhaError, SystemFault
from opensvc_openha.named_tuples import NamedTuple
from opensvc_openha.system.clock import monotonic

LOOK_LIMIT_S = 60.0
THREADS = 8


class Look(NamedTuple):
    """Result of one status read: a report, or the error."""

    name: str
    report: ServiceReport | None = None
    problem: OpenhaError | None = None


def status_of_all(
    names: Sequence[str], look: Callable[[str], ServiceReport], limit_s: float = LOOK_LIMIT_S
) -> list[Look]:
    """Read the status of each service; return the results in the order of ``names``.

    Gives up ``limit_s`` seconds after the last answer.
    """
    if len(names) < 2:
        return [_look(name, look) for name in names]
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    found: queue.SimpleQueue[Look] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    for _ in range(min(THREADS, len(names))):
        _begin(waiting, found, look)
    looks: dict[str, Look] = {}
    give_up = monotonic() + limit_s
    while len(looks) < len(names):
        try:
            seen = found.get(timeout=max(0.0, give_up - monotonic()))
        except queue.Empty:
            break
        looks[seen.name] = seen
        give_up = monotonic() + limit_s
    return [looks.get(name) or Look(name, problem=_no_answer(name, limit_s)) for name in names]


def _begin(
    waiting: queue.SimpleQueue[str],
    found: queue.SimpleQueue[Look],
    look: Callable[[str], ServiceReport],
) -> None:
    def work() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            found.put(_look(name, look))

    # A daemon thread: one that hangs must not prevent the command from ending.
    threading.Thread(target=work, name="look", daemon=True).start()


def _look(name: str, look: Callable[[str], ServiceReport]) -> Look:
    try:
        return Look(name, look(name))
    except OpenhaError as error:
        return Look(name, problem=error)
    except Exception as error:  # Any error becomes a result: the row is awaited.
        return Look(
            name, problem=SystemFault(f"{name}: unexpected {type(error).__name__}: {error}")
        )


def _no_answer(name: str, limit_s: float) -> SystemFault:
    return SystemFault(
        f"{name}: no status within {limit_s:g} s: one of its resources hangs, see {name} print"
        " status"
    )
