"""Read the peer's power: on, off, or unknown; off counts only when it was read twice.

A device that accepts an order is no proof that the order was carried out. Any answer that is not
clearly on or off is unknown, and unknown is not off.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from opensvc_openha.core.timing import POWER_OFF_GAP_S
from opensvc_openha.hints import Protocol


class Power(enum.Enum):
    """A device's answer, as printed."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


EXIT_CODES = {Power.ON: 0, Power.UNKNOWN: 1, Power.OFF: 2}
"""Exit codes of fence agents, and of our commands that ask for the power."""
_POWERS = {code: power for power, code in EXIT_CODES.items()}


def power_of_exit_code(exit_code: int) -> Power:
    """Return the power by the exit code of a fence agent or of a `status_cmd`."""
    return _POWERS.get(exit_code, Power.UNKNOWN)


@dataclass(frozen=True)
class Reading:
    """One answer about the power. ``is_refused``: the device refused the login."""

    power: Power
    text: str
    is_refused: bool = False


@dataclass(frozen=True)
class OrderAnswer:
    """The answer to an order to switch off: an accepted one is no proof yet."""

    is_accepted: bool
    text: str
    is_refused: bool = False


class PowerDriver(Protocol):
    """How one kind of device is asked and ordered; both return within their limit."""

    def status(self, limit_s: float) -> Reading:
        """Ask for the power once."""

    def off(self, limit_s: float) -> OrderAnswer:
        """Order to switch off, and return whether the device accepted that."""


class OffTwice:
    """Two readings "off" in a row, at least ``POWER_OFF_GAP_S`` apart.

    A board that restarts, or switches its relay, may give one wrong answer.
    """

    def __init__(self) -> None:
        self.readings: list[Power] = []
        self._off_since: float | None = None
        """When the first "off" of an unbroken row was read."""
        self.is_proved = False

    def take(self, power: Power, asked_at: float, answered_at: float) -> None:
        """Take a reading, with the instants of the question and of the answer."""
        self.readings.append(power)
        if power is not Power.OFF:
            self._off_since = None
        elif self._off_since is None:
            self._off_since = answered_at
        self.is_proved = (
            self._off_since is not None and asked_at - self._off_since >= POWER_OFF_GAP_S
        )
