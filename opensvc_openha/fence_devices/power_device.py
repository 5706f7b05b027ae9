"""Look at the power of a node, and cut it: off, then off read twice; never reboot, never cycle.

    look     one question; switches nothing
    cut      1 look: OFF before anything was sent is a hint, for a wrong address reads OFF as well
             2 order off; a lost order is given once more
             3 ask until OFF was read twice, at least a second apart

Whether that is a proof, with what was seen while the node was heard, is decided in ``core``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opensvc_openha.core.timing import (
    AGENT_LOGIN_S,
    AGENT_POWER_S,
    AGENT_SHELL_S,
    POWER_LOOK_LIMIT_S,
    POWER_OFF_GAP_S,
)
from opensvc_openha.fence_devices.agent_metadata import (
    METADATA_LIMIT_S,
    AgentMetadata,
    metadata_of,
    why_absent,
)
from opensvc_openha.fence_devices.callout import Callout
from opensvc_openha.fence_devices.fence_agent import FenceAgent
from opensvc_openha.fence_devices.ipmi import AGENTS as IPMI_AGENTS
from opensvc_openha.fence_devices.ipmi import Ipmi, why_no_tool
from opensvc_openha.fence_devices.ipmi import metadata_of as ipmi_metadata_of
from opensvc_openha.fence_devices.power_readings import OffTwice, OrderAnswer, Power, PowerDriver
from opensvc_openha.formats.fence_plan_config import CALLOUT
from opensvc_openha.system.clock import monotonic, pause

_FAILURES_MAX = 2
"""Answers in a row that did not come, until the device is given up before it took the order."""
_ORDER_S, _ORDER_PART = AGENT_LOGIN_S + AGENT_SHELL_S + AGENT_POWER_S + 1.0, 2 / 3
"""Time of one order, and the least part of what is left."""
_QUESTION_S = 0.2
"""A question with less time than this would not be answered."""


@dataclass(frozen=True)
class PowerLook:
    """The result of a look. ``is_refused``: the device refused the login."""

    power: Power
    took_s: float
    text: str
    is_refused: bool = False


@dataclass(frozen=True)
class CutReport:
    """The result of a cut. ``readings`` begin with the one before the order.

    ``text`` is a clause without the name of the path; hints have it.
    """

    is_proved: bool
    readings: tuple[Power, ...]
    took_s: float
    text: str
    hints: tuple[str, ...] = ()


class PowerDevice:
    """One device for one node. ``name`` is that of the path, for hints."""

    def __init__(
        self,
        name: str,
        driver: PowerDriver,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], None] = pause,
        is_verified: bool = True,
    ) -> None:
        """``is_verified`` False: it cannot be asked, so that its own success must do."""
        self._name = name
        self._driver = driver
        self._clock = clock
        self._wait = wait
        self._is_verified = is_verified

    def look(self, limit_s: float = POWER_LOOK_LIMIT_S) -> PowerLook:
        """Ask for the power once."""
        began = self._clock()
        reading = self._driver.status(limit_s)
        return PowerLook(reading.power, self._clock() - began, reading.text, reading.is_refused)

    def cut(self, limit_s: float) -> CutReport:
        """Cut the power within this time, and return what was read of it."""
        began = self._clock()
        deadline = began + limit_s
        before = (
            self._driver.status(min(POWER_LOOK_LIMIT_S, limit_s)) if self._is_verified else None
        )
        first = () if before is None else (before.power,)
        hints: tuple[str, ...] = ()
        if before is not None and before.power is Power.OFF:
            hints = (f"{self._name} said OFF before it was told to switch off",)

        is_answering = before is None or before.power is not Power.UNKNOWN
        order = self._order(deadline, is_answering)
        if order is None or not order.is_accepted:
            why = order.text if order is not None else "no time was left for the order"
            text = f"not switched off in {self._clock() - began:.1f} s: {why}"
            return CutReport(False, first, self._clock() - began, text, hints)
        if not self._is_verified:
            text = f"ended with success in {self._clock() - began:.1f} s"
            return CutReport(True, first, self._clock() - began, text, hints)

        twice = OffTwice()
        answer = self._ask_until_off(twice, deadline)
        took_s = self._clock() - began
        if twice.is_proved:
            text = f"off, then OFF twice in {took_s:.1f} s"
        else:
            text = f"off was accepted, but not read twice in {took_s:.1f} s: {answer}"
        return CutReport(twice.is_proved, (*first, *twice.readings), took_s, text, hints)

    def _order(self, deadline: float, is_answering: bool) -> OrderAnswer | None:
        """Order off until the device takes it; None if there is no time for that."""
        failures = 0 if is_answering else 1
        answer: OrderAnswer | None = None
        while failures < _FAILURES_MAX:
            left_s = deadline - self._clock()
            if left_s <= 0:
                break
            # One that hangs leaves time for another one.
            answer = self._driver.off(min(left_s, max(_ORDER_S, left_s * _ORDER_PART)))
            if answer.is_accepted or answer.is_refused:
                break
            failures += 1
            if failures < _FAILURES_MAX:
                self._wait(max(0.0, min(POWER_OFF_GAP_S, deadline - self._clock())))
        return answer

    def _ask_until_off(self, twice: OffTwice, deadline: float) -> str:
        """Ask until off was read twice, or until the deadline; return the last answer."""
        text = "no time was left to ask"
        while not twice.is_proved:
            asked_at = self._clock()
            if deadline - asked_at < _QUESTION_S:
                break
            reading = self._driver.status(min(POWER_LOOK_LIMIT_S, deadline - asked_at))
            answered_at = self._clock()
            text = f"it says {reading.text}"
            twice.take(reading.power, asked_at, answered_at)
            if not twice.is_proved:
                self._wait(max(0.0, min(POWER_OFF_GAP_S, deadline - self._clock())))
        return text


def device_of(name: str, agent: str, options: Mapping[str, str], peer: str) -> PowerDevice:
    """Return the device that a section describes."""
    if agent == CALLOUT:
        callout = Callout(options, peer)
        return PowerDevice(name, callout, is_verified=callout.has_status)
    if is_board(agent):
        return PowerDevice(name, Ipmi(agent, options))
    return PowerDevice(name, FenceAgent(agent, options))


def description_of(agent: str, limit_s: float = METADATA_LIMIT_S) -> AgentMetadata:
    """Return what options an agent takes; SystemFault if it cannot be asked for them."""
    return ipmi_metadata_of(agent) if is_board(agent) else metadata_of(agent, limit_s)


def why_unusable(agent: str) -> str:
    """Return why an agent cannot be used here, with what to install; empty if it can."""
    return why_no_tool() if is_board(agent) else why_absent(agent)


def is_board(agent: str) -> bool:
    """Return whether an agent is an IPMI board's, which our own driver serves."""
    return agent.rpartition("/")[2] in IPMI_AGENTS
