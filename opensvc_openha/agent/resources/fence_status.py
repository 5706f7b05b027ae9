"""What the fencing device itself says of the peer's power, by `status_cmd`, whose exit codes are
those of fence agents.

A device that accepts an order is no proof that it was carried out: after a fence its word is asked
for until it says off twice. Anything that is not clearly on or off is unknown, and unknown is not
off.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import SystemFault
from opensvc_openha.system.clock import monotonic, pause

ASK_LIMIT_S = 10.0
"""For one answer of a device: one that is lost must not take the time of the next."""

_OFF_TIMES = 2
_ASK_EVERY_S = 1.0


class Power(enum.Enum):
    """Word of a device, as it is printed."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


EXIT_CODES = {Power.ON: 0, Power.UNKNOWN: 1, Power.OFF: 2}
_POWERS = {code: power for power, code in EXIT_CODES.items()}


def ask_power(argv: Sequence[str], env: Mapping[str, str], limit_s: float) -> Power:
    """Ask once."""
    if not argv or limit_s <= 0:
        return Power.UNKNOWN
    try:
        result = run_command(argv, min(limit_s, ASK_LIMIT_S), env, ends_group=True)
    except SystemFault:
        return Power.UNKNOWN
    return Power.UNKNOWN if result.is_timed_out else _POWERS.get(result.exit_code, Power.UNKNOWN)


def why_not_off(ask: Callable[[float], Power], deadline: float, log: ActionLog) -> str:
    """Ask until it is off twice in a row.

    Why it is not known to be off at the deadline, or an empty text.
    """
    said: Power | None = None
    times_off = 0
    while True:
        left_s = deadline - monotonic()
        if left_s <= 0:
            return (
                "its status_cmd did not say off twice in time, at last"
                f" {said.value if said else 'nothing'}"
            )
        power = ask(left_s)
        if power is not said:
            log.info(f"status: {power.value}")
        said = power
        times_off = times_off + 1 if power is Power.OFF else 0
        if times_off == _OFF_TIMES:
            return ""
        pause(max(0.0, min(_ASK_EVERY_S, deadline - monotonic())))


def power_of_levels(levels: Sequence[Sequence[Power]]) -> Power:
    """What all sections say together: on if one says so, off if all of some level do, else
    unknown.
    """
    if any(Power.ON in level for level in levels):
        return Power.ON
    is_off = any(all(power is Power.OFF for power in level) for level in levels)
    return Power.OFF if is_off else Power.UNKNOWN
