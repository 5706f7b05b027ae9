"""Each answer of a fence about the peer's power by itself: what it proves, whom to ask next."""

from __future__ import annotations

import pytest

from opensvc_openha.core.events import ScriptOutcome
from opensvc_openha.core.power_questions import PowerQuestions
from opensvc_openha.core.timing import POWER_AGAIN_S, POWER_GAP_S

OFF, ON = ScriptOutcome.DOWN, ScriptOutcome.UP


def asking(*services: str) -> PowerQuestions:
    """The fences of these services have a status."""
    made = PowerQuestions()
    made.answerable = frozenset(services)
    return made


def ask(questions: PowerQuestions, service: str, outcome: ScriptOutcome, now: float) -> bool:
    """Ask, and return whether the answer is a proof."""
    questions.record_question(service)
    return questions.answered(service, outcome, now)[0]


def test_off_twice_from_one_fence_is_a_proof_and_the_third_time_is_none_yet() -> None:
    """Each proof needs two answers of its own."""
    questions = asking("web")
    assert [ask(questions, "web", OFF, 100.0 + number) for number in range(4)] == [
        False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("between", [ON, ScriptOutcome.FAILED])
def test_any_other_answer_in_between_starts_over(between: ScriptOutcome) -> None:
    """It may be of a reset."""
    questions = asking("web")
    assert not ask(questions, "web", OFF, 100.0)
    assert not ask(questions, "web", between, 101.0)
    assert not ask(questions, "web", OFF, 102.0) and ask(questions, "web", OFF, 103.0)


def test_answers_of_two_fences_are_not_two_of_one() -> None:
    """Each may be of another board."""
    questions = asking("db", "web")
    assert not ask(questions, "web", OFF, 100.0) and not ask(questions, "db", OFF, 101.0)


def test_answer_to_a_question_before_the_peer_was_heard_is_void() -> None:
    """And so is the one before it; the next question is not."""
    questions = asking("web")
    questions.record_question("web")
    questions.void()
    assert questions.answered("web", OFF, 100.0) == (
        False,
        "the fence of web reports the peer's power: off",
    )
    assert questions.due_at == 100.0 + POWER_AGAIN_S
    assert not ask(questions, "web", OFF, 101.0)
    questions.void()
    assert not ask(questions, "web", OFF, 102.0) and ask(questions, "web", OFF, 103.0)


def test_answer_that_was_not_asked_for_is_none() -> None:
    """Of another service, or a second one."""
    questions = asking("web")
    assert questions.answered("web", OFF, 100.0) == (False, "")
    questions.record_question("web")
    assert questions.answered("db", OFF, 100.0) == (False, "") and questions.answer == ""
    assert questions.answered("web", OFF, 101.0)[1]
    assert (questions.answer, questions.answered_at, questions.answered_by) == ("off", 101.0, "web")


def test_next_question_is_due_after_each_answer() -> None:
    """At once at first, soon after an off, later after anything else; never while one waits."""
    questions = asking("web")
    assert questions.due_at is not None and questions.due_at < -1e9
    questions.record_question("web")
    assert questions.due_at is None
    questions.answered("web", OFF, 100.0)
    assert questions.due_at == 100.0 + POWER_GAP_S
    ask(questions, "web", ON, 200.0)
    assert questions.due_at == 200.0 + POWER_AGAIN_S
    questions.answerable = frozenset()
    assert questions.due_at is None


def test_fences_are_asked_one_after_the_other() -> None:
    """In the order of their names, among those that wait; again from the first after the last."""
    questions = asking("a", "b", "c", "not waiting")
    waiting = ["c", "b", "a", "cannot answer"]
    found = []
    for number in range(5):
        name = questions.choose(waiting)
        assert name is not None
        found.append(name)
        ask(questions, name, ON, 100.0 + number)
    assert found == ["a", "b", "c", "a", "b"]
    assert questions.choose(["cannot answer"]) is None


def test_fence_that_reported_off_is_asked_again() -> None:
    """Until it has done so twice, or its service does not wait any more."""
    questions = asking("a", "b", "c")
    ask(questions, "a", ON, 100.0)
    ask(questions, "b", OFF, 101.0)
    assert questions.choose(["a", "b", "c"]) == "b" and questions.choose(["a", "c"]) == "c"
    ask(questions, "b", OFF, 102.0)
    assert questions.choose(["a", "b", "c"]) == "c"
    questions = asking("a", "b")
    ask(questions, "a", OFF, 100.0)
    questions.void()
    assert questions.choose(["a", "b"]) == "b"


def test_answer_is_reported_when_it_is_news_or_proves_something() -> None:
    """Another word, or from another fence."""
    questions = asking("a", "b")
    texts = []
    for service, outcome in (
        ("a", ON), ("a", ON), ("b", ON), ("b", ScriptOutcome.FAILED), ("b", OFF), ("b", OFF)
    ):  # fmt: skip
        questions.record_question(service)
        texts.append(questions.answered(service, outcome, 100.0)[1])
    begins = "the fence of {} reports the peer's power: {}"
    assert texts == [
        begins.format("a", "on"), "", begins.format("b", "on"),
        begins.format("b", "nothing clear"), begins.format("b", "off"), begins.format("b", "off"),
    ]  # fmt: skip
