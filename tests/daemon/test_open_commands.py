"""Commands that wait for the engine: each answer goes to its connection, none waits for ever."""

from __future__ import annotations

import queue

from opensvc_openha.core.actions import Answer, AnswerCode
from opensvc_openha.core.events import BY_OPERATOR, Command, CommandReceived
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.daemon.open_commands import Answers, OpenCommands


def answer(command_id: int, is_last: bool) -> Answer:
    return Answer(
        command_id, "stop", "web", AnswerCode.STOPPED, S.STOPPED, S.STARTED, "", is_last, True
    )


def taken(answers: Answers) -> list[Answer]:
    """All that a connection has got."""
    return [answers.get_nowait() for _ in range(answers.qsize())]


def test_answers_go_to_their_connection_until_the_last_one() -> None:
    """Two services of one connection, one of another; a late answer goes nowhere."""
    commands = OpenCommands()
    first: Answers = queue.SimpleQueue()
    second: Answers = queue.SimpleQueue()
    web = commands.add("web", Command.STOP, BY_OPERATOR, first)
    mail = commands.add("mail", Command.STOP, BY_OPERATOR, first)
    other = commands.add("web", Command.START, BY_OPERATOR, second)
    assert web == CommandReceived(web.command_id, "web", Command.STOP, BY_OPERATOR)
    numbers = [event.command_id for event in (web, mail, other)]
    assert len(set(numbers)) == 3
    for number in numbers:
        for is_last in (False, True, True):
            commands.answer(answer(number, is_last))
    assert [one.command_id for one in taken(first)] == [numbers[0]] * 2 + [numbers[1]] * 2
    assert [one.command_id for one in taken(second)] == [numbers[2]] * 2


def test_commands_of_an_engine_that_failed_are_answered_once() -> None:
    """Those without a last answer: failed, states unknown, with the reason; and nothing later."""
    commands = OpenCommands()
    answers: Answers = queue.SimpleQueue()
    done = commands.add("mail", Command.STOP, BY_OPERATOR, answers)
    commands.answer(answer(done.command_id, is_last=True))
    waiting = commands.add("web", Command.STOP, BY_OPERATOR, answers)
    taken(answers)
    commands.fail_all("the engine failed: KeyError(1)")
    (failed,) = taken(answers)
    assert failed == Answer(
        waiting.command_id,
        "stop",
        "web",
        AnswerCode.FAILED,
        S.UNKNOWN,
        S.UNKNOWN,
        "the engine failed: KeyError(1); look at `service -s` before you try again",
        is_last=True,
        is_ok=False,
    )
    commands.fail_all("again")
    commands.answer(answer(waiting.command_id, is_last=True))
    assert taken(answers) == []


def test_confirmation_is_answered_or_dropped_and_never_failed() -> None:
    """Whether it was believed is not known after a failure: the command's own limit reports it."""
    commands = OpenCommands()
    answers: Answers = queue.SimpleQueue()
    first, second = (commands.add_confirmation(answers) for _ in range(2))
    commands.fail_all("the engine failed")
    assert taken(answers) == []
    commands.drop(second)
    for number in (first, second):
        commands.answer(answer(number, is_last=True))
    assert [one.command_id for one in taken(answers)] == [first]
