"""Cut the peer by a command of the operator, and ask by another one, if there is one."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.fence_devices.device_answers import telling_line, why_no_answer
from opensvc_openha.fence_devices.power_readings import (
    OrderAnswer,
    Power,
    Reading,
    power_of_exit_code,
)
from opensvc_openha.fence_devices.programs import ProgramEnd, run_program
from opensvc_openha.formats.secrets import mask_script

PEER_VARIABLE = "OPENHA_PEER"
"""Variable in which a command finds the name of the node that it is about."""


class Callout:
    """The commands of a section with `agent = callout`."""

    def __init__(self, options: Mapping[str, str], peer: str) -> None:
        self._cmd = options.get("cmd", "")
        self._status_cmd = options.get("status_cmd", "")
        self._env = {PEER_VARIABLE: peer}

    @property
    def has_status(self) -> bool:
        """True if the power can be asked for."""
        return bool(self._status_cmd)

    def status(self, limit_s: float) -> Reading:
        """Ask for the power once; unknown without a status_cmd."""
        if not self._status_cmd:
            return Reading(Power.UNKNOWN, "it has no status_cmd")
        end = self._run(self._status_cmd, limit_s)
        power = Power.UNKNOWN if end.exit_code is None else power_of_exit_code(end.exit_code)
        return Reading(power, power.name if power is not Power.UNKNOWN else why_no_answer(end))

    def off(self, limit_s: float) -> OrderAnswer:
        """Run the command that cuts the peer."""
        end = self._run(self._cmd, limit_s)
        if end.exit_code == 0:
            return OrderAnswer(True, telling_line(end.output, ()))
        return OrderAnswer(False, f"{mask_script(self._cmd)}: {why_no_answer(end)}")

    def _run(self, command: str, limit_s: float) -> ProgramEnd:
        return run_program(["/bin/sh", "-c", command], limit_s, env=self._env)
