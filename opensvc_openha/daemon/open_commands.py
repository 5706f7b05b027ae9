"""Keep the commands that wait for the engine, each with the connection that its answers go to."""

from __future__ import annotations

import queue
import threading

from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.events import Command, CommandReceived
from opensvc_openha.core.states import ServiceState

Answers = queue.SimpleQueue[Answer]


class OpenCommands:
    """Commands without a last answer yet.

    Threads of connections add them, the engine's thread answers, and the main thread fails the rest
    for an engine that failed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_number = 0
        self._answers: dict[int, Answers] = {}
        self._commands: dict[int, CommandReceived] = {}

    def add(self, service: str, command: Command, by: str, answers: Answers) -> CommandReceived:
        """Return the event of a command whose answers go to ``answers``."""
        with self._lock:
            number = self._next_number(answers)
            event = self._commands[number] = CommandReceived(number, service, command, by)
        return event

    def add_confirmation(self, answers: Answers) -> int:
        """Return the number of a confirmation, whose one answer goes to ``answers``."""
        with self._lock:
            return self._next_number(answers)

    def _next_number(self, answers: Answers) -> int:
        self._last_number += 1
        self._answers[self._last_number] = answers
        return self._last_number

    def drop(self, number: int) -> None:
        """Drop a command that is no longer waited for."""
        with self._lock:
            self._answers.pop(number, None)

    def answer(self, answer: Answer) -> None:
        """Pass an answer to the connection that waits for it, if one still does."""
        with self._lock:
            answers = self._answers.get(answer.command_id)
            if answer.is_last:
                self._answers.pop(answer.command_id, None)
                self._commands.pop(answer.command_id, None)
        if answers is not None:
            answers.put(answer)

    def fail_all(self, why: str) -> None:
        """Answer each command that waits with a failure: whether it was carried out is unknown."""
        with self._lock:
            waiting = [
                (self._answers.pop(number), event) for number, event in self._commands.items()
            ]
            self._commands.clear()
        for answers, event in waiting:
            answers.put(
                Answer(
                    event.command_id,
                    event.command.value,
                    event.service,
                    AnswerCode.FAILED,
                    ServiceState.UNKNOWN,
                    ServiceState.UNKNOWN,
                    f"{why}; look at `service -s` before you try again",
                    is_last=True,
                    is_ok=False,
                )
            )
