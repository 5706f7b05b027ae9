"""Steps of the fence plan without a device: when each begins, and what an answer is worth."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.events import FenceStepEnded, StepOutcome
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.daemon import fence_runner as module
from opensvc_openha.daemon.fence_program import FenceAnswer
from opensvc_openha.daemon.fence_runner import FenceRunner, ended_of, hints_of, text_of
from tests.simulated_clock import SimulatedClock

SHOT = FenceStep(3, StepKind.SHOOT, "ipmi", 0, 30.0, ("web",))
DISKS = FenceStep(4, StepKind.SHOOT, "disks", 1, 20.0, ("web", "mail"))
CLAIM = FenceStep(5, StepKind.CLAIM, "", -1, 10.0, ())
OFF = {"is_proved": True, "readings": ["on", "off", "off"], "text": "off", "hints": ["ON before"]}
HELD = {"is_proved": True, "covers": ["web"], "text": "held"}


class Rig:
    """A runner whose program, plan and threads are this object."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = SimulatedClock(monkeypatch)
        self.time.now = 100.0
        self.answers: list[FenceAnswer | Exception] = []
        self.asked: list[tuple[object, ...]] = []
        self.ends: list[FenceStepEnded] = []
        self.done: list[tuple[str, float]] = []
        self.threads: list[Callable[[], None]] = []
        self.error: Exception | None = None
        self.during: Callable[[], None] = lambda: None
        monkeypatch.setattr(
            module, "threading", SimpleNamespace(Thread=self._thread, Lock=threading.Lock)
        )
        self.policy = FencingPolicy(
            levels=(
                (FencePath("ipmi", PathKind.POWER, 30.0),),
                (FencePath("disks", PathKind.RESERVATION, 20.0),),
            )
        )
        self.runner = FenceRunner(
            cast(Any, self),
            lambda: (self.policy, cast(Any, self)),
            "deb2",
            self.ends.append,
            lambda path, took_s: self.done.append((path, took_s)),
        )

    def _thread(self, target: Callable[[], None], name: str, daemon: bool) -> Any:
        assert daemon, "a device that hangs keeps no daemon from ending"

        def start() -> None:
            if self.error is not None:
                raise self.error
            self.threads.append(target)

        return SimpleNamespace(start=start)

    def request(
        self, do: str, path: str, peer: str, limit_s: float, services: tuple[str, ...]
    ) -> Mapping[str, object]:
        """The plan."""
        return {"do": do, "path": path, "peer": peer, "limit_s": limit_s, "services": services}

    def ask(self, request: Mapping[str, object], limit_s: float) -> FenceAnswer:
        """The program."""
        self.asked.append((*request.values(), limit_s))
        self.during()
        self.time.now += 2.0
        answer = self.answers.pop(0) if self.answers else FenceAnswer(OFF, "", 2.0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def begin(self, *steps: FenceStep) -> None:
        for step in steps:
            self.runner.run(step, lambda: False)

    def work(self) -> None:
        """The thread's work to its end."""
        self.threads.pop(0)()
        assert self.threads == []


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Nothing is ordered."""
    return Rig(monkeypatch)


def test_each_step_is_a_request_of_its_kind(rig: Rig) -> None:
    """One after the other, by one thread; only the use of a path is kept."""
    rig.answers = [
        FenceAnswer({"outcome": "won", "text": "ours"}, "", 1.0),
        FenceAnswer(OFF, "", 2.0),
        FenceAnswer(HELD, "", 3.0),
    ]
    assert not rig.runner.is_busy
    rig.begin(CLAIM, SHOT, DISKS)
    assert rig.runner.is_busy and len(rig.threads) == 1 and rig.asked == []
    busy = list[bool]()
    rig.during = lambda: busy.append(rig.runner.is_busy)
    rig.work()
    assert rig.asked == [
        ("claim", "", "deb2", 10.0, (), 10.0),
        ("cut", "ipmi", "deb2", 30.0, ("web",), 30.0),
        ("preempt", "disks", "deb2", 20.0, ("web", "mail"), 20.0),
    ]
    assert rig.ends == [
        FenceStepEnded(5, StepOutcome.DONE, "ours", took_s=1.0),
        FenceStepEnded(3, StepOutcome.DONE, "off", ("ON before",), None, 2.0),
        FenceStepEnded(4, StepOutcome.DONE, "held", (), frozenset({"web"}), 3.0),
    ]
    assert rig.done == [("ipmi", 2.0), ("disks", 3.0)]
    assert busy == [True] * 3 and not rig.runner.is_busy
    rig.begin(SHOT)
    assert len(rig.threads) == 1, "a new thread once the former has ended"


def test_step_that_is_overtaken_is_not_begun(rig: Rig) -> None:
    """It is asked when its turn comes."""
    is_overtaken = list[bool]([False])
    rig.runner.run(SHOT, lambda: is_overtaken[0])
    is_overtaken[0] = True
    rig.work()
    text = "this node stood still, or deb2 is heard: not begun"
    assert rig.ends == [FenceStepEnded(3, StepOutcome.NOT_BEGUN, text, took_s=0.0)]
    assert rig.asked == [] and rig.done == []


def test_path_that_an_edit_took_away_fails(rig: Rig) -> None:
    """Nothing is asked."""
    rig.policy = FencingPolicy()
    rig.begin(SHOT)
    rig.work()
    text = "ipmi is not in levels any more"
    assert rig.ends == [FenceStepEnded(3, StepOutcome.FAILED, text, took_s=0.0)]
    assert rig.asked == []


def test_error_of_the_runner_is_a_failure_with_its_time(rig: Rig) -> None:
    """The engine waits for it; a claim that gave no answer is not lost."""
    rig.answers = [ValueError("what now"), KeyError("ipmi")]
    rig.begin(SHOT, CLAIM)
    rig.work()
    assert rig.ends == [
        FenceStepEnded(3, StepOutcome.FAILED, "could not be run: ValueError: what now", took_s=2.0),
        FenceStepEnded(5, StepOutcome.UNABLE, "could not be run: KeyError: 'ipmi'", took_s=2.0),
    ]
    assert rig.done == []


def test_step_without_a_thread_fails(rig: Rig) -> None:
    """At once; the next one is tried again."""
    rig.error = RuntimeError("can't start new thread")
    rig.begin(SHOT)
    text = "not begun: can't start new thread"
    assert rig.ends == [FenceStepEnded(3, StepOutcome.FAILED, text, took_s=0.0)]
    assert not rig.runner.is_busy
    rig.error = None
    rig.begin(SHOT)
    rig.work()
    assert len(rig.ends) == 2 and rig.ends[1].outcome is StepOutcome.DONE


def test_closed_runner_begins_nothing(rig: Rig) -> None:
    """Neither what waits nor what comes."""
    rig.begin(SHOT)
    rig.runner.close()
    rig.work()
    rig.begin(SHOT)
    assert rig.threads == [] and rig.ends == [] and rig.asked == []


def test_devices_have_one_user(rig: Rig) -> None:
    """A step waits for another user of them, and that for the step."""
    turn = cast(Any, rig.runner)._turn
    with rig.runner.pause():
        assert turn.locked()
    assert not turn.locked()
    held = list[bool]()
    rig.during = lambda: held.append(turn.locked())
    rig.begin(SHOT)
    rig.work()
    assert held == [True] and not turn.locked()


# --- what an answer is worth ----------------------------------------------------------------------

POWER, RESERVATION = PathKind.POWER, PathKind.RESERVATION


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        (POWER, {**OFF, "is_proved": False}, "off"),
        (POWER, {**OFF, "is_proved": 1}, "off"),
        (POWER, {"readings": ["off", "off"]}, "not proved"),
        (
            POWER,
            {**OFF, "readings": ["on", "off"]},
            "not proved: read ['on', 'off'], not OFF twice",
        ),
        (POWER, {**OFF, "readings": ["off"]}, "not proved: read ['off'], not OFF twice"),
        (POWER, {**OFF, "readings": "off off"}, "not proved: read off off, not OFF twice"),
        (POWER, {"is_proved": True}, "not proved: read None, not OFF twice"),
        (RESERVATION, {"is_proved": True}, "not proved: the services whose disks are reserved are"),
        (
            RESERVATION,
            {**HELD, "covers": "web"},
            "not proved: the services whose disks are reserved",
        ),
        (RESERVATION, {**HELD, "covers": ["web", 7]}, "not proved: the services whose disks are"),
    ],
)
def test_answer_that_is_not_clearly_a_success_is_none(
    kind: PathKind, values: dict[str, object], text: str
) -> None:
    """With what it is, and its hints."""
    found = ended_of(SHOT, kind, FenceAnswer(values, "", 1.5))
    assert found.outcome is StepOutcome.FAILED and found.text.startswith(text)
    hints = ("ON before",) if "hints" in values else ()
    assert (found.hints, found.covers, found.took_s) == (hints, None, 1.5)


def test_reading_of_a_device_is_cut() -> None:
    """It may be anything."""
    answer = FenceAnswer({**OFF, "readings": "x" * 400}, "", 1.0)
    text = ended_of(SHOT, POWER, answer).text
    assert text == f"not proved: read {'x' * 300}, not OFF twice"


@pytest.mark.parametrize("kind", [PathKind.LEASE, None])
def test_other_paths_are_proved_by_their_word(kind: PathKind | None) -> None:
    """They have neither readings nor disks."""
    found = ended_of(SHOT, kind, FenceAnswer({"is_proved": True, "text": "t"}, "", 1.0))
    assert found == FenceStepEnded(3, StepOutcome.DONE, "t", (), None, 1.0)


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("won", StepOutcome.DONE),
        ("lost", StepOutcome.LOST),
        ("unable", StepOutcome.UNABLE),
        ("", StepOutcome.UNABLE),
        (None, StepOutcome.UNABLE),
        ("WON", StepOutcome.UNABLE),
    ],
)
def test_claim_has_the_outcome_that_it_reports(word: str | None, outcome: StepOutcome) -> None:
    """And none that it does not report; a problem is no loss either."""
    values = {"outcome": word, "text": "t", "hints": ["h"], "covers": ["web"]}
    found = ended_of(CLAIM, None, FenceAnswer(values, "", 1.0))
    assert found == FenceStepEnded(5, outcome, "t", ("h",), None, 1.0)
    failed = ended_of(CLAIM, None, FenceAnswer(values, "no answer", 1.0))
    assert failed == FenceStepEnded(5, StepOutcome.UNABLE, "no answer", took_s=1.0)
    shot = ended_of(SHOT, POWER, FenceAnswer(OFF, "no answer", 1.0))
    assert shot == FenceStepEnded(3, StepOutcome.FAILED, "no answer", took_s=1.0)


def test_texts_are_cut_and_few() -> None:
    """One line of 300 characters each, eight hints, and nothing that is no text."""
    assert text_of("a\nb") == "a\\nb" and text_of("x" * 301) == "x" * 300 and text_of(7) == ""
    assert hints_of([str(number) for number in range(9)]) == tuple("01234567")
    assert hints_of(["a", 7, "", "b"]) == ("a", "b") and hints_of("ab") == ()
