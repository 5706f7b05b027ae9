"""Steps of a fence with real processes: what is asked, what is a success, and what never is."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable
from pathlib import Path

import pytest

from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.events import FenceStepEnded, StepOutcome
from opensvc_openha.core.model import FencePath, PathKind
from opensvc_openha.daemon.fence_runner import HINTS_MAX, TEXT_CHARACTERS, FenceRunner
from tests.daemon.fence_devices import ON, PEER, PROVED, Device, policy
from tests.waiting import LIMIT_S, until


class Rig:
    """A runner with one device."""

    def __init__(self, root: Path) -> None:
        self.device = Device(root, PROVED)
        self.ends: queue.SimpleQueue[FenceStepEnded] = queue.SimpleQueue()
        self.done: list[str] = []
        self.runner = FenceRunner(
            self.device.program,
            self.device.plan,
            PEER,
            self.ends.put,
            lambda path, took_s: self.done.append(path),
        )
        self.number = 0

    def begin(
        self,
        kind: StepKind = StepKind.SHOOT,
        path: str = "ipmi",
        limit_s: float = LIMIT_S,
        is_overtaken: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin a step for two services."""
        self.number += 1
        step = FenceStep(self.number, kind, path, 0, limit_s, ("web", "files"))
        self.runner.run(step, is_overtaken)

    def end(self) -> FenceStepEnded:
        """The next end."""
        return self.ends.get(timeout=LIMIT_S)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """One level, one power device."""
    return Rig(tmp_path)


def test_step_on_a_power_device_is_a_proof_once_it_was_off_twice(rig: Rig) -> None:
    """What was asked, and all that the device reported, is passed on."""
    rig.begin(limit_s=77.0)
    end = rig.end()
    assert (end.number, end.outcome) == (1, StepOutcome.DONE)
    assert (end.text, end.hints) == ("off, then OFF twice in 3.3 s", ("ON before",))
    assert end.covers is None and end.took_s > 0
    until(lambda: rig.done == ["ipmi"])
    assert rig.device.requests == [
        {
            "do": "cut",
            "path": "ipmi",
            "peer": PEER,
            "limit_s": 77.0,
            "services": ["web", "files"],
        }
    ]


@pytest.mark.parametrize(
    "answer, text",
    [
        ({}, "not proved"),
        ({"is_proved": "true", "readings": ["off", "off"]}, "not proved"),
        ({"is_proved": 1, "readings": ["off", "off"], "text": "odd"}, "odd"),
        ({"is_proved": False, "text": "no answer in 5.3 s"}, "no answer in 5.3 s"),
        ({"is_proved": True}, "not proved: read None, not OFF twice"),
        (
            {"is_proved": True, "readings": ["off"]},
            "not proved: read ['off'], not OFF twice",
        ),
        (
            {"is_proved": True, "readings": ["off", "off", "on"]},
            "not proved: read ['off', 'off', 'on'], not OFF twice",
        ),
        (
            {"is_proved": True, "readings": ["off", "unknown", "off"]},
            "not proved: read ['off', 'unknown', 'off'], not OFF twice",
        ),
        ({"is_proved": True, "readings": "off off"}, "not proved: read off off, not OFF twice"),
    ],
)
def test_answer_that_is_not_clearly_a_success_is_a_failure(
    rig: Rig, answer: dict[str, object], text: str
) -> None:
    """Another type, or readings that are not OFF twice at the end."""
    rig.device.write(f"echo '{json.dumps(answer)}'" if "'" not in json.dumps(answer) else "")
    rig.begin()
    end = rig.end()
    assert (end.outcome, end.text) == (StepOutcome.FAILED, text)
    until(lambda: not rig.runner.is_busy)
    assert rig.done == []


@pytest.mark.parametrize("body", ["echo yes", f"{PROVED}; exit 1", f"{PROVED}; kill -9 $$", ""])
def test_answer_that_is_none_is_a_failure(rig: Rig, body: str) -> None:
    """No JSON, a bad exit code, a signal."""
    rig.device.write(body)
    rig.begin()
    end = rig.end()
    assert end.outcome is StepOutcome.FAILED
    assert end.text.startswith("the fence program ")


def test_success_that_comes_after_the_limit_is_a_failure(rig: Rig) -> None:
    """It is killed; the next step is carried out."""
    rig.device.write(f"{PROVED}; sleep 1000")
    rig.begin(limit_s=0.3)
    end = rig.end()
    assert (end.outcome, end.text) == (StepOutcome.FAILED, "no answer within 0.3 s: killed")
    rig.device.write(PROVED)
    rig.begin()
    assert rig.end().outcome is StepOutcome.DONE


def test_overtaken_step_is_not_begun(rig: Rig) -> None:
    """The peer is heard again, or this node stood still: nothing is asked of any device."""
    rig.begin(is_overtaken=lambda: True)
    end = rig.end()
    assert end.outcome is StepOutcome.NOT_BEGUN
    assert end.text == f"this node stood still, or {PEER} is heard: not begun"
    assert rig.device.requests == []


def test_steps_run_one_at_a_time_and_each_is_looked_at_when_its_turn_comes(rig: Rig) -> None:
    """The second one waits for the first, and is overtaken meanwhile."""
    is_released = rig.device.root / "released"
    rig.device.write(f"while [ ! -e {is_released} ]; do sleep 0.02; done; {PROVED}")
    rig.begin()
    until(lambda: len(rig.device.requests) == 1)
    rig.begin(is_overtaken=is_released.exists)
    assert rig.runner.is_busy and len(rig.device.requests) == 1
    is_released.touch()
    assert [rig.end().outcome, rig.end().outcome] == [StepOutcome.DONE, StepOutcome.NOT_BEGUN]
    until(lambda: not rig.runner.is_busy)
    assert len(rig.device.requests) == 1


@pytest.mark.parametrize(
    "answer, outcome",
    [
        ({"outcome": "won", "text": "won"}, StepOutcome.DONE),
        ({"outcome": "lost", "text": "deb1 has the right"}, StepOutcome.LOST),
        ({"outcome": "unable", "text": "no answer"}, StepOutcome.UNABLE),
        ({"outcome": "WON"}, StepOutcome.UNABLE),
        ({"outcome": ["won"]}, StepOutcome.UNABLE),
        ({"is_proved": True, "readings": ["off", "off"]}, StepOutcome.UNABLE),
        ("no JSON", StepOutcome.UNABLE),
    ],
)
def test_claim_is_won_or_lost_only_if_the_arbiter_reports_it(
    rig: Rig, answer: object, outcome: StepOutcome
) -> None:
    """Whatever else it answers, the arbiter could not be asked."""
    rig.device.write(f"echo '{json.dumps(answer)}'")
    rig.begin(StepKind.CLAIM, "")
    assert rig.end().outcome is outcome
    assert rig.device.requests[0]["do"] == "claim"


@pytest.mark.parametrize(
    "answer, outcome, covers",
    [
        ({"is_proved": True, "covers": ["web"]}, StepOutcome.DONE, frozenset({"web"})),
        ({"is_proved": True}, StepOutcome.FAILED, None),
        ({"is_proved": True, "covers": [1]}, StepOutcome.FAILED, None),
        ({"is_proved": False, "covers": ["web"]}, StepOutcome.FAILED, None),
    ],
)
def test_reservation_names_the_services_that_it_covers(
    rig: Rig, answer: object, outcome: StepOutcome, covers: frozenset[str] | None
) -> None:
    """One that names none covers none: it is no proof."""
    rig.device.policy = policy(FencePath("reservation", PathKind.RESERVATION, 30.0))
    rig.device.write(f"echo '{json.dumps(answer)}'")
    rig.begin(path="reservation")
    end = rig.end()
    assert (end.outcome, end.covers) == (outcome, covers)
    assert rig.device.requests[0]["do"] == "preempt"


def test_path_that_an_edit_has_removed_fails(rig: Rig) -> None:
    """Nothing is asked."""
    rig.begin(path="other")
    end = rig.end()
    assert (end.outcome, end.text) == (StepOutcome.FAILED, "other is not in levels any more")
    assert rig.device.requests == []


def test_texts_are_single_lines_of_limited_length_and_number(rig: Rig) -> None:
    """A device may report anything."""
    answer = {
        "is_proved": True,
        "readings": ["off", "off"],
        "text": "a\\nb" + "x" * 1000,
        "hints": ["one\\ntwo", 3, "", *["more"] * 20],
    }
    rig.device.write(f"cat << 'END'\n{json.dumps(answer)}\nEND")
    rig.begin()
    end = rig.end()
    assert end.outcome is StepOutcome.DONE
    assert len(end.text) <= TEXT_CHARACTERS and "\n" not in end.text
    assert len(end.hints) <= HINTS_MAX and not any("\n" in hint for hint in end.hints)


def test_closed_runner_begins_nothing(rig: Rig) -> None:
    """What waits is dropped, what runs is the program's to end."""
    rig.device.write(f"sleep 1000; {ON}")
    rig.begin()
    until(lambda: len(rig.device.requests) == 1)
    rig.begin()
    rig.runner.close()
    rig.device.program.close()
    assert rig.end().outcome is StepOutcome.FAILED
    until(lambda: not rig.runner.is_busy)
    rig.begin()
    assert not rig.runner.is_busy and len(rig.device.requests) == 1


def test_no_step_begins_while_the_devices_are_in_use_otherwise(rig: Rig) -> None:
    """By a drill; it waits, and is looked at again when its turn comes."""
    looked: list[int] = []
    with rig.runner.pause():
        rig.begin(is_overtaken=lambda: bool(looked.append(1)))
        until(lambda: rig.runner.is_busy)
        with pytest.raises(queue.Empty):
            rig.ends.get(timeout=0.3)
        assert rig.device.requests == [] and looked == []
    assert rig.end().outcome is StepOutcome.DONE and looked == [1]


def test_step_that_cannot_be_run_is_reported_as_a_failure(rig: Rig) -> None:
    """Whatever the reason: the engine waits for its end. The next one is carried out."""
    policy_before = rig.device.policy
    del rig.device.policy
    rig.begin()
    end = rig.end()
    assert end.outcome is StepOutcome.FAILED
    assert end.text.startswith("could not be run: AttributeError: ")
    rig.device.policy = policy_before
    rig.begin()
    assert rig.end().outcome is StepOutcome.DONE
