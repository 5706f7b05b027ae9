"""Ask the fencing device for the peer's power by `status_cmd`, with fence agents' exit codes.

A device that accepts an order is no proof that the order was carried out: after a fence the device
is asked until it reports off twice. Any answer that is not clearly on or off is unknown, and
unknown is not off.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.errors import SystemFault
from opensvc_openha.system.clock import monotonic, pause

ASK_LIMIT_S = 10.0
"""Limit of one answer in seconds: a lost one must not take the time of the next."""

_OFF_TIMES = 2
_ASK_EVERY_S = 1.0


class Power(enum.Enum):
    """A device's answer, as printed."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


EXIT_CODES = {Power.ON: 0, Power.UNKNOWN: 1, Power.OFF: 2}
_POWERS = {code: power for power, code in EXIT_CODES.items()}


def ask_power(argv: Sequence[str], env: Mapping[str, str], limit_s: float) -> Power:
    """Ask the device once."""
    if not argv or limit_s <= 0:
        return Power.UNKNOWN
    try:
        result = run_command(argv, min(limit_s, ASK_LIMIT_S), env, ends_group=True)
    except SystemFault:
        return Power.UNKNOWN
    return Power.UNKNOWN if result.is_timed_out else _POWERS.get(result.exit_code, Power.UNKNOWN)


def why_not_off(ask: Callable[[float], Power], deadline: float, log: ActionLog) -> str:
    """Ask until the device reports off twice in a row.

    Return why the peer is not known to be off at the deadline; empty if it is.
    """
    newest: Power | None = None
    times_off = 0
    while True:
        left_s = deadline - monotonic()
        if left_s <= 0:
            return (
                "its status_cmd did not report off twice in time; last report:"
                f" {newest.value if newest else 'nothing'}"
            )
        power = ask(left_s)
        if power is not newest:
            log.info(f"status: {power.value}")
        newest = power
        times_off = times_off + 1 if power is Power.OFF else 0
        if times_off == _OFF_TIMES:
            return ""
        pause(max(0.0, min(_ASK_EVERY_S, deadline - monotonic())))


def power_of_levels(levels: Sequence[Sequence[Power]]) -> Power:
    """Combine all sections: on if one reports on, off if all of some level report off.

    Unknown in all other cases.
    """
    if any(Power.ON in level for level in levels):
        return Power.ON
    is_off = any(all(power is Power.OFF for power in level) for level in levels)
    return Power.OFF if is_off else Power.UNKNOWN
