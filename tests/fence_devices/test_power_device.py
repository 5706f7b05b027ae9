"""A cut over simulated time: what devices that are slow, deaf, dead or lie make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from opensvc_openha.fence_devices.power_device import CutReport, PowerDevice, device_of
from opensvc_openha.fence_devices.power_readings import OrderAnswer, Power, Reading

ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


class ModelledDevice:
    """A power switch in simulated time: answers after ``answer_s``, switches after ``switch_s``.

    A question that has less time than its answer takes is not answered.
    """

    def __init__(
        self,
        is_on: bool = True,
        answer_s: float = 0.1,
        switch_s: float = 0.0,
        is_deaf: bool = False,
        refusals: int = 0,
        is_login_refused: bool = False,
        shows: Callable[[float, Power], Power] = lambda now, power: power,
    ) -> None:
        self.now = 1000.0
        self.orders: list[float] = []
        self.waits: list[float] = []
        self.limits: list[float] = []
        self._off_at: float | None = None if is_on else 0.0
        self._answer_s = answer_s
        self._switch_s = switch_s
        self._is_deaf = is_deaf
        self._refusals = refusals
        self._is_login_refused = is_login_refused
        self._shows = shows

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def status(self, limit_s: float) -> Reading:
        self.limits.append(limit_s)
        if limit_s < self._answer_s:
            self.now += limit_s
            return Reading(UNKNOWN, "no answer")
        self.now += self._answer_s
        is_off = self._off_at is not None and self._off_at <= self.now
        power = self._shows(self.now, OFF if is_off else ON)
        return Reading(power, power.name)

    def off(self, limit_s: float) -> OrderAnswer:
        self.limits.append(limit_s)
        if limit_s < self._answer_s:
            self.now += limit_s
            return OrderAnswer(False, "no answer")
        self.now += self._answer_s
        self.orders.append(self.now)
        if self._is_login_refused:
            return OrderAnswer(False, "wrong password", is_refused=True)
        if self._refusals:
            self._refusals -= 1
            return OrderAnswer(False, "busy")
        if not self._is_deaf and self._off_at is None:
            self._off_at = self.now + self._switch_s
        return OrderAnswer(True, "")


def cut(device: ModelledDevice, limit_s: float = 30.0, is_verified: bool = True) -> CutReport:
    """Cut by this device."""
    power = PowerDevice("ipmi", device, device.clock, device.wait, is_verified)
    return power.cut(limit_s)


def words(readings: Sequence[Power]) -> str:
    """Readings, in short."""
    return " ".join(power.value for power in readings)


def test_cut_is_off_then_off_read_twice() -> None:
    """The proof reports what was done and how long it took."""
    device = ModelledDevice()
    report = cut(device)
    assert report.is_proved and words(report.readings) == "on off off"
    assert report.text == "off, then OFF twice in 1.4 s"
    assert report.took_s == pytest.approx(1.4)
    assert (len(device.orders), report.hints) == (1, ())


def test_machine_that_goes_off_late_is_waited_for() -> None:
    """The order is accepted at once, and the power goes 6 s later."""
    report = cut(ModelledDevice(switch_s=6.0))
    assert report.is_proved and words(report.readings) == "on" + 6 * " on" + " off off"


def test_machine_that_goes_off_behind_the_limit_is_not_proved() -> None:
    """What happens behind the limit proves nothing any more."""
    device = ModelledDevice(switch_s=40.0)
    report = cut(device)
    assert not report.is_proved
    assert report.text.endswith("off was accepted, but not read twice in 29.9 s: it says ON")
    assert report.took_s <= 30.0


def test_off_read_once_before_the_limit_is_not_proved() -> None:
    """The second reading would come behind the limit."""
    report = cut(ModelledDevice(switch_s=1.5), limit_s=2.8)
    assert words(report.readings)[-6:] == "on off" and not report.is_proved


def test_deaf_device_is_not_believed() -> None:
    """It accepts and does nothing."""
    report = cut(ModelledDevice(is_deaf=True))
    assert not report.is_proved and OFF not in report.readings


def test_device_that_was_off_before_reports_it_as_a_hint() -> None:
    """A wrong address reads off as well: what it proves is decided with what was seen before."""
    device = ModelledDevice(is_on=False)
    report = cut(device)
    assert report.is_proved and words(report.readings) == "off off off"
    assert report.hints == ("ipmi said OFF before it was told to switch off",)
    assert len(device.orders) == 1, "the order is given all the same"


def test_lost_order_is_given_once_more() -> None:
    """A board refuses the first one."""
    device = ModelledDevice(refusals=1)
    report = cut(device)
    assert report.is_proved and len(device.orders) == 2
    assert device.waits[0] == pytest.approx(1.0), "with a pause between them"


def test_device_that_refuses_the_order_twice_is_given_up() -> None:
    """The next level must not wait for the limit."""
    device = ModelledDevice(refusals=9)
    report = cut(device)
    assert not report.is_proved and len(device.orders) == 2 and report.took_s < 2
    assert report.text == "not switched off in 1.3 s: busy"
    assert report.readings == (ON,)


def test_refused_login_is_not_tried_again() -> None:
    """Boards lock an account after some of them."""
    device = ModelledDevice(is_login_refused=True)
    assert not cut(device).is_proved and len(device.orders) == 1


def test_dead_device_is_given_up_after_a_look_and_an_order() -> None:
    """No answer to either: its limit is not used up."""
    device = ModelledDevice(answer_s=1000.0)
    report = cut(device)
    assert not report.is_proved and report.readings == (UNKNOWN,)
    assert len(device.limits) == 2
    assert report.took_s < 30.0
    assert "not switched off in" in report.text and "no answer" in report.text


def test_lost_look_does_not_keep_the_order_from_being_given() -> None:
    """The first question is lost; the board is well otherwise."""
    device = ModelledDevice(shows=lambda now, power: UNKNOWN if now < 1000.2 else power)
    report = cut(device)
    assert report.is_proved and words(report.readings) == "unknown off off"
    assert report.hints == ()


def test_one_off_between_other_answers_is_not_believed() -> None:
    """A board that restarts reports off once, and then on."""
    device = ModelledDevice(
        is_deaf=True, shows=lambda now, power: OFF if 1003 < now < 1004 else power
    )
    report = cut(device)
    assert OFF in report.readings and not report.is_proved


def test_no_question_lasts_longer_than_the_cut() -> None:
    """Limits of the questions, and all of them together."""
    device = ModelledDevice(answer_s=4.0, is_deaf=True)
    report = cut(device, limit_s=20.0)
    assert report.took_s <= 20.0 + 1e-6
    assert max(device.limits) <= 20.0 and device.limits[0] == 10.0


def test_order_that_hangs_leaves_time_for_another_one() -> None:
    """One order gets two thirds of what is left, and at least what an agent needs."""
    device = ModelledDevice()
    cut(device, limit_s=60.1)
    assert device.limits[1] == pytest.approx(40.0)
    device = ModelledDevice()
    cut(device, limit_s=18.1)
    assert device.limits[1] == pytest.approx(17.0)


def test_without_time_nothing_is_ordered() -> None:
    """The look took the whole limit."""
    device = ModelledDevice(answer_s=5.0)
    report = cut(device, limit_s=5.0)
    assert device.orders == [] and not report.is_proved
    assert report.text.endswith("no time was left for the order")


def test_order_is_given_even_with_little_time() -> None:
    """It may not be proved any more, but the next round finds the peer off."""
    device = ModelledDevice()
    assert not cut(device, limit_s=0.9).is_proved and len(device.orders) == 1


def test_each_question_has_the_limit_of_a_look() -> None:
    """A lost answer must not take the time of the next."""
    device = ModelledDevice()
    cut(device, limit_s=60.0)
    assert device.limits[0] == 10.0 and device.limits[2:] == [10.0, 10.0]


def test_device_that_cannot_be_asked_is_believed_by_its_success() -> None:
    """A command of the operator without status_cmd: neither look nor readings."""
    device = ModelledDevice()
    report = cut(device, is_verified=False)
    assert report.is_proved and report.readings == ()
    assert report.text == "ended with success in 0.1 s"
    assert not cut(ModelledDevice(refusals=9), is_verified=False).is_proved


def test_look_switches_nothing() -> None:
    """It asks once, with its limit."""
    device = ModelledDevice()
    look = PowerDevice("ipmi", device, device.clock, device.wait).look(4.0)
    assert (look.power, look.text, look.is_refused) == (ON, "ON", False)
    assert look.took_s == pytest.approx(0.1)
    assert (device.orders, device.limits) == ([], [4.0])


@pytest.mark.parametrize("status_cmd, readings", [("", ()), ("exit 2", (OFF, OFF, OFF))])
def test_callout_is_verified_if_it_can_be(status_cmd: str, readings: tuple[Power, ...]) -> None:
    """With a status_cmd the command's own success is not enough."""
    options = {"cmd": "test $OPENHA_PEER = deb1", "status_cmd": status_cmd}
    report = device_of("x", "callout", options, "deb1").cut(20.0)
    assert report.is_proved and report.readings == readings
    assert not device_of("x", "callout", options, "deb2").cut(20.0).is_proved
