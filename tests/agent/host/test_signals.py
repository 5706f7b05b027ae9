"""Terminating signals in each of the three contexts, in this process."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

from opensvc_openha.agent.host.signals import (
    ENDING_SIGNALS,
    interruptible,
    postponed,
    uninterrupted,
)
from opensvc_openha.errors import InterruptedAction


def before() -> list[object]:
    return [signal.getsignal(number) for number in ENDING_SIGNALS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_interrupts_an_action_and_names_itself(number: signal.Signals) -> None:
    """The handlers of before are back afterwards."""
    handlers = before()
    with pytest.raises(InterruptedAction, match=f"interrupted by {number.name}") as caught:
        with interruptible():
            signal.raise_signal(number)
    assert caught.value.args[-1] == number or number in vars(caught.value).values()
    assert before() == handlers and number in ENDING_SIGNALS and len(ENDING_SIGNALS) == 3


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_signal_does_not_interrupt_a_rollback(number: signal.Signals) -> None:
    """It is lost: half a rollback is worse; children do not inherit that it is ignored."""
    handlers = before()
    with interruptible():
        with uninterrupted():
            signal.raise_signal(number)
            assert signal.SIG_IGN not in before()
        with pytest.raises(InterruptedAction):
            signal.raise_signal(number)
    assert before() == handlers


@pytest.mark.parametrize("is_failing", [False, True])
def test_signal_is_postponed_to_the_end_of_the_context(is_failing: bool) -> None:
    """Also to the end by an error; nothing comes where nothing came."""
    reached = []
    with interruptible():
        with postponed():
            reached.append("none came")
        with pytest.raises(InterruptedAction):
            with postponed():
                signal.raise_signal(signal.SIGTERM)
                reached.append("the end")
                if is_failing:
                    raise OSError
    assert reached == ["none came", "the end"]


def test_thread_beside_the_main_one_has_no_handlers() -> None:
    """It may not set any: the context is entered all the same."""
    seen: list[list[object]] = []

    def work() -> None:
        for context in (interruptible, uninterrupted, postponed):
            with context():
                seen.append(before())

    def handle(number: int, frame: FrameType | None) -> None:
        """Do nothing."""

    former = signal.signal(signal.SIGHUP, handle)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert seen == [before()] * 3
    finally:
        signal.signal(signal.SIGHUP, former)
