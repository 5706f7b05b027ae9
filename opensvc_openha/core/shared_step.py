"""Choose the events that one step handles together: the ends of scripts of different services.

Their states are written with one wait for the disk, and announced with one beat. Everything else
has a step of its own: an order has an answer, and the end of a fence, or of a question for the
peer's power, concerns all services.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.events import ScriptExited, ScriptKind
from opensvc_openha.hints import TypeVar

SHARED_STEP_MAX = 64
"""Events that one step handles at most: beats wait for it."""

_SHARING = frozenset({ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE})
_Waiting = TypeVar("_Waiting")


def shared_step(waiting: Iterable[_Waiting]) -> list[_Waiting]:
    """Return the first of what waits, and what comes after it that its step may handle, too.

    At most one event of each service: what comes second for it is decided once the first is
    written and announced. None overtakes an event that is left.
    """
    taken: list[_Waiting] = []
    services: set[str] = set()
    for event in waiting:
        is_shared = isinstance(event, ScriptExited) and event.kind in _SHARING
        service = event.service if isinstance(event, ScriptExited) and is_shared else ""
        if taken and (not service or service in services):
            break
        taken.append(event)
        if not service or len(taken) == SHARED_STEP_MAX:
            break
        services.add(service)
    return taken
