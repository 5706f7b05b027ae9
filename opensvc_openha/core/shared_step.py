"""Choose the events that one step handles together: of different services, and of one kind.

These are ends of scripts, or one order that was given for many services. Their states are written
with one wait for the disk, and announced with one beat. Everything else has a step of its own: the
end of a fence, or of a question for the peer's power, concerns all services. Beats without news,
which move nothing, lead the next step.

While many such scripts are under way, the step of one waits a moment for the ends of others
(``ends_to_await``): each wait for the disk and each beat then serves several of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from opensvc_openha.core.events import (
    Command,
    CommandReceived,
    ExpectedBeats,
    ScriptExited,
    ScriptKind,
)
from opensvc_openha.hints import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing import TypeGuard

SHARED_STEP_MAX = 64
"""Events that one step handles at most: beats wait for it."""

GATHER_FROM = 16
"""Scripts under way from which on an end waits for others: with fewer of them it waits for none."""

SHARING = frozenset({ScriptKind.START, ScriptKind.STOP, ScriptKind.PROBE})
"""Scripts whose ends may share a step."""
Shared = ScriptExited | CommandReceived
"""The events that may share a step."""
_Waiting = TypeVar("_Waiting")


def shares_step(event: object) -> TypeGuard[ScriptExited]:
    """Return True for the end of a script that may share its step."""
    return isinstance(event, ScriptExited) and event.kind in SHARING


def ends_to_await(first: object, under_way: int, least: int = GATHER_FROM) -> int:
    """Return how many further ends complete the step of ``first``; 0 if it waits for none.

    ``under_way``: the scripts whose ends may share a step, that of ``first`` included. Nothing
    waits longer than ``timing.GATHER_S`` for them, nor past a deadline or behind anything else.
    """
    if not shares_step(first) or under_way < least:
        return 0
    return min(under_way, SHARED_STEP_MAX) - 1


def shared_step(waiting: Iterable[_Waiting]) -> list[_Waiting]:
    """Return the first of what waits, and what comes after it that its step may handle, too.

    At most one event of each service: what comes second for it is decided once the first is
    written and announced. None overtakes an event that is left.
    """
    taken: list[_Waiting] = []
    services: set[str] = set()
    shared: ScriptKind | Command | None = None
    for event in waiting:
        is_begun = bool(taken) and not isinstance(taken[-1], ExpectedBeats)
        kind, service = _kind_and_service(event)
        if is_begun and (kind is None or kind is not shared or service in services):
            break
        taken.append(event)
        if isinstance(event, ExpectedBeats):
            continue
        if kind is None or len(taken) == SHARED_STEP_MAX:
            break
        shared = kind
        services.add(service)
    return taken


def _kind_and_service(event: object) -> tuple[ScriptKind | Command | None, str]:
    """Return what an event shares its step with, None for nothing, and its service."""
    if isinstance(event, CommandReceived):
        return event.command, event.service
    # All of them share theirs with each other.
    return (ScriptKind.START, event.service) if shares_step(event) else (None, "")
