"""Ask the fencing device for the peer's power by `status_cmd`, with fence agents' exit codes.

A device that accepts an order is no proof that the order was carried out: after a fence the device
is asked until it reports off twice, see ``fence_devices.power_readings``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from opensvc_openha.agent.host.commands import run_command
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.core.timing import POWER_LOOK_LIMIT_S, POWER_OFF_GAP_S
from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.power_readings import OffTwice, Power, power_of_exit_code
from opensvc_openha.system.clock import monotonic, pause


def ask_power(argv: Sequence[str], env: Mapping[str, str], limit_s: float) -> Power:
    """Ask the device once."""
    if not argv or limit_s <= 0:
        return Power.UNKNOWN
    try:
        result = run_command(argv, min(limit_s, POWER_LOOK_LIMIT_S), env, ends_group=True)
    except SystemFault:
        return Power.UNKNOWN
    return Power.UNKNOWN if result.is_timed_out else power_of_exit_code(result.exit_code)


def why_not_off(ask: Callable[[float], Power], deadline: float, log: ActionLog) -> str:
    """Ask until the device reports off twice in a row.

    Return why the peer is not known to be off at the deadline; empty if it is.
    """
    newest: Power | None = None
    twice = OffTwice()
    while True:
        asked_at = monotonic()
        if asked_at >= deadline:
            return (
                "its status_cmd did not report off twice in time; last report:"
                f" {newest.value if newest else 'nothing'}"
            )
        power = ask(deadline - asked_at)
        if power is not newest:
            log.info(f"status: {power.value}")
        newest = power
        twice.take(power, asked_at, monotonic())
        if twice.is_proved:
            return ""
        pause(max(0.0, min(POWER_OFF_GAP_S, deadline - monotonic())))


def power_of_levels(levels: Sequence[Sequence[Power]]) -> Power:
    """Combine all sections: on if one reports on, off if all of some level report off.

    Unknown in all other cases.
    """
    if any(Power.ON in level for level in levels):
        return Power.ON
    is_off = any(all(power is Power.OFF for power in level) for level in levels)
    return Power.OFF if is_off else Power.UNKNOWN
