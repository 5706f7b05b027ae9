"""The plan of a fence, level by level, on devices that take simulated time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from opensvc_openha.agent.config import schema
from opensvc_openha.agent.config.service_file import parse_service_text
from opensvc_openha.agent.host.commands import CommandResult
from opensvc_openha.agent.resources import fence_plan, fence_status
from opensvc_openha.agent.resources.fence_plan import (
    Failure,
    FenceReport,
    FenceStep,
    callout_step,
    carry_out,
    environment,
    outline,
    plan_time_s,
    read_power,
)
from opensvc_openha.agent.resources.fence_status import ask_power, why_not_off
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.power_device import PowerDevice
from opensvc_openha.fence_devices.power_readings import EXIT_CODES, OrderAnswer, Power, Reading

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


class Devices:
    """Answers to commands by their last word, and the time that each takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.answers: dict[str, list[tuple[float, int]]] = {}
        """Seconds and exit code of each call, the last one for ever; no entry: cannot be run."""
        self.calls: list[tuple[str, float]] = []
        """Command and its limit."""
        self.pauses: list[float] = []
        self.lines: list[str] = []
        self.log = ActionLog(self._note, "A")
        for module in (fence_plan, fence_status):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(fence_status, "pause", self._pause)
        monkeypatch.setattr(fence_plan, "run_logged", self._run_logged)
        monkeypatch.setattr(fence_status, "run_command", self._run)

    def _note(self, level: str, text: str, place: str) -> None:
        self.lines.append(f"{place} {level} {text}")

    def _pause(self, seconds: float) -> None:
        assert seconds >= 0
        self.pauses.append(seconds)
        self.now += seconds

    def _run_logged(
        self, log: ActionLog, argv: Sequence[str], limit_s: float, env: Mapping[str, str],
        ends_group: bool = False,
    ) -> CommandResult:  # fmt: skip
        log.info(f"runs {argv[-1]} as {env['OPENSVC_RID']}")
        return self._run(argv, limit_s, env, ends_group=ends_group)

    def _run(
        self, argv: Sequence[str], limit_s: float, env: Mapping[str, str], ends_group: bool = False
    ) -> CommandResult:
        assert ends_group and env["OPENSVC_NODENAME"] == "deb1"
        self.calls.append((argv[-1], limit_s))
        answers = self.answers.get(argv[-1])
        if answers is None:
            raise SystemFault(f"cannot run {argv[-1]}: no such file")
        took_s, code = answers.pop(0) if len(answers) > 1 else answers[0]
        self.now += min(took_s, limit_s)
        return CommandResult(code, "", took_s > limit_s)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    """None is there so far."""
    return Devices(monkeypatch)


def step(rid: str, level: int = 1, timeout_s: float = 50.0, status: str = "") -> FenceStep:
    """A section whose command is its name."""
    return FenceStep(
        rid, level, timeout_s, ("/bin/sh", rid), rid, environment_of(rid),
        status_argv=("/bin/sh", status) if status else (),
    )  # fmt: skip


def environment_of(rid: str) -> dict[str, str]:
    return {"OPENSVC_SVCNAME": "a", "OPENSVC_RID": rid, "OPENSVC_NODENAME": "deb1"}


def test_levels_are_outlined() -> None:
    """In their order; one alone is not numbered."""
    assert outline([step("x"), step("y")]) == "x, y"
    assert outline([step("x", 2), step("y"), step("z", 2)]) == "level 1: y; level 2: x, z"


def test_environment_names_the_service_the_section_and_this_node() -> None:
    """As a real agent's fencing commands read it."""
    file = parse_service_text("[stonith#1]\ntype = callout\ncmd = x\n", "a.env", "a", "deb1")
    (section,) = [each for each in file.sections if each.name == "stonith#1"]
    assert environment(section, "a", "deb1") == environment_of("stonith#1")
    made = callout_step(section, "a", "deb1")
    assert made == FenceStep(
        "stonith#1", 1, schema.FENCE_TIMEOUT_S, ("/bin/sh", "-c", "x"), "x",
        environment_of("stonith#1"),
    )  # fmt: skip


def test_status_command_is_part_of_the_step() -> None:
    """Level and timeout as they are written; a password is not shown."""
    text = (
        "[stonith#1]\ntype = callout\ncmd = fence --password=secret deb2\nlevel = 2\n"
        "timeout = 20\nstatus_cmd = ask deb2\n"
    )
    file = parse_service_text(text, "a.env", "a", "deb1")
    (section,) = [each for each in file.sections if each.name == "stonith#1"]
    made = callout_step(section, "a", "deb1")
    assert (made.level, made.timeout_s) == (2, 20.0)
    assert made.status_argv == ("/bin/sh", "-c", "ask deb2")
    assert made.argv[-1].endswith("secret deb2") and "secret" not in made.shown


def test_first_level_that_succeeds_ends_the_plan(devices: Devices) -> None:
    """Each section with its share of the time; the log reports each step."""
    devices.answers = {"x": [(2.0, 0)], "y": [(3.0, 0)]}
    report = carry_out([step("z", 2), step("x"), step("y", timeout_s=5.0)], 50.0, devices.log)
    assert (report, report.exit_code, report.story) == (FenceReport(1, ()), 0, "")
    assert devices.calls == [("x", 22.5), ("y", 5.0)]
    assert devices.lines == [
        "A.X INFO level 1: fencing with x, at most 22.5 s",
        "A.X INFO runs x as x",
        "A.X INFO level 1: succeeded after 2.0 s",
        "A.Y INFO level 1: fencing with y, at most 5.0 s",
        "A.Y INFO runs y as y",
        "A.Y INFO level 1: succeeded after 3.0 s",
        "A INFO level 1 succeeded: the peer is fenced",
    ]


def test_next_level_is_tried_after_a_failure_and_the_rest_of_this_one_is_not(
    devices: Devices,
) -> None:
    """What was not tried is named; the failures before a success are part of the report."""
    devices.answers = {"x": [(2.0, 7)], "z": [(1.0, 0)]}
    report = carry_out([step("x"), step("y"), step("z", 3)], 60.0, devices.log)
    assert report == FenceReport(3, (Failure("x", 1, "x exited with 7", 7),))
    assert (report.exit_code, report.story) == (0, "level 1: x: x exited with 7")
    assert devices.calls == [("x", 20.0), ("z", 50.0)]
    assert devices.lines[2:] == [
        "A.X ERROR level 1, after 2.0 s: fencing failed: x exited with 7",
        "A.Y INFO level 1: not tried, for this level has failed",
        "A.Z INFO level 3: fencing with z, at most 50.0 s",
        "A.Z INFO runs z as z",
        "A.Z INFO level 3: succeeded after 1.0 s",
        "A INFO level 3 succeeded: the peer is fenced",
    ]


def test_section_after_a_failure_gets_its_share_of_what_is_left(devices: Devices) -> None:
    """Of the sections behind it, whatever their level: what a failed level did not use is left."""
    devices.answers = {"y": [(0.0, 1)], "z": [(0.0, 1)], "u": [(0.0, 1)]}
    steps = [step("y"), step("x"), step("z", 2), step("v", 2, 2.0), step("u", 3)]
    report = carry_out(steps, 100.0, devices.log)
    assert [limit for _, limit in devices.calls] == [24.5, 49.0, 50.0]
    assert report.level is None and report.exit_code == 1


def test_plan_that_fails_ends_with_the_code_of_its_last_section(devices: Devices) -> None:
    """And with all reasons in one line."""
    devices.answers = {"x": [(1.0, 1)], "y": [(1.0, 8)]}
    report = carry_out([step("x"), step("y", 2)], 50.0, devices.log)
    assert (report.level, report.exit_code) == (None, 8)
    story = "level 1: x: x exited with 1; level 2: y: y exited with 8"
    assert report.story == story and devices.lines[-1] == f"A ERROR not fenced: {story}"


def test_level_with_a_section_that_cannot_be_run_is_not_begun(devices: Devices) -> None:
    """No half of it; the next level gets the time."""
    devices.answers = {"x": [(1.0, 0)], "z": [(1.0, 0)]}
    unable = replace(step("y"), why_not="ilo is not handled")
    other = replace(step("w"), why_not="neither is this")
    report = carry_out([step("x"), unable, other, step("z", 2)], 50.0, devices.log)
    assert report == FenceReport(2, (Failure("y", 1, "ilo is not handled", was_run=False),))
    assert devices.calls == [("z", 50.0)]
    assert devices.lines[:3] == [
        "A.Y ERROR level 1: not run: ilo is not handled",
        "A.X INFO level 1: not tried, for this level has failed",
        "A.W INFO level 1: not tried, for this level has failed",
    ]


def test_section_without_time_is_not_run(devices: Devices) -> None:
    """Nothing is begun that would be killed at once."""
    report = carry_out([step("x")], 0.0, devices.log)
    reason = "not run: no time is left"
    assert report == FenceReport(None, (Failure("x", 1, reason, was_run=False),))
    assert devices.lines[0] == f"A.X ERROR level 1: {reason}" and devices.calls == []
    devices.answers = {"x": [(0.25, 0)]}
    assert carry_out([step("x")], 0.5, devices.log).level == 1


def test_section_that_hangs_ends_with_its_share(devices: Devices) -> None:
    """With its own timeout that is the reason, without it the share; the code is 1."""
    devices.answers = {"x": [(99.0, 0)], "y": [(99.0, 7)]}
    report = carry_out([step("x", timeout_s=10.0), step("y", 2)], 50.0, devices.log)
    hangs = "did not end within"
    assert [str(each) for each in report.failures] == [
        f"level 1: x: x {hangs} 10 s and was killed",
        f"level 2: y: y {hangs} 40 s and was killed (its timeout is 50 s, this was its share of"
        " the time for all)",
    ]
    assert [each.exit_code for each in report.failures] == [1, 1] and report.exit_code == 1
    assert devices.lines[2].startswith("A.X ERROR level 1, after 10.0 s: fencing failed: x did not")


def test_command_that_was_killed_or_cannot_be_run_is_a_failure(devices: Devices) -> None:
    """Code 1 for both."""
    devices.answers = {"x": [(1.0, -15)]}
    report = carry_out([step("x"), step("y", 2)], 50.0, devices.log)
    assert report.failures == (
        Failure("x", 1, "x was killed by signal 15"),
        Failure("y", 2, "cannot run y: no such file"),
    )
    assert "A.Y ERROR level 2: fencing failed: cannot run y: no such file" in devices.lines


def test_command_is_believed_once_its_device_reports_off_twice(devices: Devices) -> None:
    """Asked each second within its share, and the time of the answers counts."""
    devices.answers = {"x": [(2.0, 0)], "ask": [(0.5, 0), (0.5, 2), (0.5, 1), (0.5, 2)]}
    report = carry_out([step("x", status="ask")], 50.0, devices.log)
    assert report == FenceReport(1, ())
    assert [name for name, _ in devices.calls] == ["x"] + ["ask"] * 5
    assert devices.pauses == [1.0] * 4
    assert devices.lines[2:] == [
        "A.X INFO status: on",
        "A.X INFO status: off",
        "A.X INFO status: unknown",
        "A.X INFO status: off",
        "A.X INFO level 1: succeeded after 8.5 s",
        "A INFO level 1 succeeded: the peer is fenced",
    ]


def test_command_whose_device_never_reports_off_is_a_failure(devices: Devices) -> None:
    """The answers end with the share of the section, and the last one is named."""
    devices.answers = {"x": [(2.0, 0)], "ask": [(0.25, 0)]}
    report = carry_out([step("x", timeout_s=4.0, status="ask")], 50.0, devices.log)
    reason = "x exited with 0, but its status_cmd did not report off twice in time; last report: on"
    assert report == FenceReport(None, (Failure("x", 1, reason),))
    assert devices.calls == [("x", 4.0), ("ask", 2.0), ("ask", 0.75)]
    assert devices.pauses == [1.0, 0.5]
    assert devices.lines[3] == f"A.X ERROR level 1, after 4.0 s: fencing failed: {reason}"


def test_device_that_was_never_asked_reported_nothing(devices: Devices) -> None:
    """The command took all of its time."""
    text = "its status_cmd did not report off twice in time; last report: nothing"
    assert why_not_off(lambda left_s: OFF, devices.now, devices.log) == text
    asked: list[float] = []

    def ask(left_s: float) -> Power:
        asked.append(left_s)
        return OFF

    assert why_not_off(ask, devices.now + 3, devices.log) == ""
    assert asked == [3.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "power"),
    [
        ((1.0, 0), ON),
        ((1.0, 2), OFF),
        ((1.0, 1), UNKNOWN),
        ((1.0, 3), UNKNOWN),
        ((1.0, -9), UNKNOWN),
        ((10.0, 2), OFF),
        ((10.5, 2), UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_answer_is_on_off_or_unknown(
    devices: Devices, answer: tuple[float, int] | None, power: Power
) -> None:
    """By its exit code, within ten seconds."""
    devices.answers = {"ask": [answer]} if answer else {}
    assert ask_power(("sh", "ask"), environment_of("x"), 50.0) is power
    assert devices.calls == [("ask", 10.0)]
    assert EXIT_CODES == {ON: 0, UNKNOWN: 1, OFF: 2}


def test_device_is_not_asked_without_a_command_or_without_time(devices: Devices) -> None:
    """Unknown, which is not off."""
    devices.answers = {"ask": [(0.1, 2)]}
    env = environment_of("x")
    assert ask_power((), env, 5.0) is UNKNOWN and ask_power(("sh", "ask"), env, 0.0) is UNKNOWN
    assert devices.calls == []
    assert ask_power(("sh", "ask"), env, 0.5) is OFF and devices.calls == [("ask", 0.5)]


def test_power_is_read_of_each_device_within_the_time_for_all(devices: Devices) -> None:
    """One line for each; those of one level together must report off."""
    devices.answers = {"a": [(4.0, 2)], "b": [(99.0, 2)], "c": [(0.0, 2)]}
    steps = [step("x", status="a"), step("y"), step("z", status="b"), step("u", 2, status="c")]
    message: list[str] = []
    assert read_power(steps, 20.0, message.append) is OFF
    assert message == [
        "level 1: x: off\n",
        "level 1: y: unknown, for it has no status_cmd\n",
        "level 1: z: unknown\n",
        "level 2: u: off\n",
    ]
    assert devices.calls == [("a", 5.0), ("b", 8.0), ("c", 8.0)]
    assert read_power(steps[:3], 20.0, message.append) is UNKNOWN
    devices.answers["c"] = [(0.0, 0)]
    assert read_power(steps, 20.0, message.append) is ON
    assert read_power([], 20.0, message.append) is UNKNOWN


class Board:
    """A power device whose answers are those of the test; each takes a second."""

    def __init__(self, devices: Devices, *powers: Power, is_deaf: bool = False) -> None:
        self._devices = devices
        self._powers = list(powers)
        self._is_deaf = is_deaf
        self.calls: list[tuple[str, float]] = []
        """Question or order, and its limit."""
        self.device = PowerDevice("ipmi", self, lambda: devices.now, devices._pause)

    def status(self, limit_s: float) -> Reading:
        self.calls.append(("status", limit_s))
        self._devices.now += 1
        power = self._powers.pop(0) if len(self._powers) > 1 else self._powers[0]
        return Reading(power, power.value)

    def off(self, limit_s: float) -> OrderAnswer:
        self.calls.append(("off", limit_s))
        self._devices.now += 1
        return OrderAnswer(not self._is_deaf, "no login" if self._is_deaf else "")

    def step(self, rid: str, level: int = 1) -> FenceStep:
        return FenceStep(rid, level, 50.0, shown="ipmi deb2", device=self.device)


def test_power_device_is_cut_off_and_believed_by_what_it_reports(devices: Devices) -> None:
    """Without a command of its own; off before the order is worth a warning."""
    board = Board(devices, OFF)
    report = carry_out([board.step("x"), step("y", 2)], 60.0, devices.log)
    assert report == FenceReport(1, ())
    assert devices.lines == [
        "A.X INFO level 1: fencing with x, at most 30.0 s",
        "A.X WARNING ipmi said OFF before it was told to switch off",
        "A.X INFO level 1: succeeded: ipmi deb2 off, then OFF twice in 5.0 s",
        "A INFO level 1 succeeded: the peer is fenced",
    ]
    assert devices.calls == []


def test_power_device_that_does_not_switch_off_fails_its_level(devices: Devices) -> None:
    """The next level has the time that is left."""
    board = Board(devices, ON, is_deaf=True)
    devices.answers = {"y": [(1.0, 0)]}
    report = carry_out([board.step("x"), step("y", 2)], 60.0, devices.log)
    reason = "ipmi deb2: not switched off in 4.0 s: no login"
    assert report == FenceReport(2, (Failure("x", 1, reason),))
    assert devices.lines[1] == f"A.X ERROR level 1: fencing failed: {reason}"
    assert [name for name, _ in board.calls] == ["status", "off", "off"]
    assert devices.calls == [("y", 50.0)]


def test_power_device_is_asked_ten_seconds_at_most_and_not_without_time(devices: Devices) -> None:
    """Its order is not given."""
    message: list[str] = []
    steps = [Board(devices, OFF).step("x"), replace(step("y"), why_not="no such agent")]
    assert read_power(steps[:1], 30.0, message.append) is OFF
    assert read_power(steps, 0.0, message.append) is UNKNOWN
    assert message == [
        "level 1: x: off\n",
        "level 1: x: unknown\n",
        "level 1: y: unknown, for no such agent\n",
    ]
    board = Board(devices, OFF)
    assert read_power([board.step("x")], 30.0, message.append) is OFF
    assert read_power([board.step("x")], 0.5, message.append) is OFF
    assert board.calls == [("status", 10.0), ("status", 0.5)]


@pytest.mark.parametrize(
    ("limit", "time_s"),
    [({}, 50.0), ({"OPENHA_LIMIT_S": "90"}, 80.0), ({"OPENHA_LIMIT_S": "6"}, 5.0)],
)
def test_plan_ends_before_the_script_that_it_is(limit: dict[str, str], time_s: float) -> None:
    """Ten seconds, or a sixth of a short one; without a word of the daemon 60 s."""
    assert plan_time_s(limit) == time_s
