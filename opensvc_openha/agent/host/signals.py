"""Raise InterruptedAction on a terminating signal, so that an interrupted start is rolled back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from opensvc_openha.errors import InterruptedAction

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise InterruptedAction on SIGTERM, SIGINT and SIGHUP within the context."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise InterruptedAction(f"interrupted by {signal.Signals(number).name}", number)

    with _handlers(interrupt):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore these signals within the context: half a rollback is worse than none."""

    def go_on(number: int, frame: FrameType | None) -> None:
        # Not SIG_IGN: child processes would inherit it.
        return None

    with _handlers(go_on):
        yield


@contextmanager
def postponed() -> Iterator[None]:
    """Block these signals within the context.

    A child whose pid is not registered yet could not be terminated.
    """
    waiting: list[int] = []
    try:
        with _handlers(lambda number, frame: waiting.append(number)):
            yield
    finally:
        for number in waiting:
            signal.raise_signal(number)


@contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
