"""Run a fence agent: its options on its standard input, its answer by exit code and words.

Debian's agents read `key=value` lines and print "Status: OFF" with exit code 2. An interpreter that
cannot run an agent exits with 2 as well, so that neither is believed without the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from opensvc_openha.core.timing import AGENT_LOGIN_S, AGENT_POWER_S, AGENT_SHELL_S
from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.agent_metadata import (
    FILE_SUFFIX,
    REFUSED,
    is_secret,
    why_absent,
)
from opensvc_openha.fence_devices.device_answers import (
    is_login_refused,
    telling_line,
    why_no_answer,
)
from opensvc_openha.fence_devices.power_readings import (
    OrderAnswer,
    Power,
    Reading,
    power_of_exit_code,
)
from opensvc_openha.fence_devices.programs import ProgramEnd, find_program, run_program
from opensvc_openha.fence_devices.secret_files import read_secret

_STATUS = re.compile(r"^Status: (ON|OFF)\s*$", re.MULTILINE)
_IGNORED = re.compile(r"Ignoring (?:unknown )?option '([^'=]*)")
_OURS = {
    "login_timeout": AGENT_LOGIN_S,
    "shell_timeout": AGENT_SHELL_S,
    "power_timeout": AGENT_POWER_S,
}
"""Limits of the agent's own, where the section has none."""
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class FenceAgent:
    """One device, by a fence agent and its options, as in a section of the configuration."""

    def __init__(self, agent: str, options: Mapping[str, str]) -> None:
        self._agent = agent
        self._options = options

    def status(self, limit_s: float) -> Reading:
        """Ask for the power once."""
        try:
            end, secrets = self._run("status", limit_s)
        except SystemFault as error:
            return Reading(Power.UNKNOWN, str(error))
        power = Power.UNKNOWN if end.exit_code is None else power_of_exit_code(end.exit_code)
        words = _STATUS.findall(end.output)
        if power is not Power.UNKNOWN and words == [power.name] and not _ignored(end.output):
            return Reading(power, power.name)
        return Reading(Power.UNKNOWN, _why(end, secrets), is_login_refused(end.output))

    def off(self, limit_s: float) -> OrderAnswer:
        """Order to switch off."""
        try:
            end, secrets = self._run("off", limit_s)
        except SystemFault as error:
            return OrderAnswer(False, str(error))
        if end.exit_code == 0 and not _ignored(end.output):
            return OrderAnswer(True, telling_line(end.output, secrets))
        return OrderAnswer(False, _why(end, secrets), is_login_refused(end.output))

    def _run(self, action: str, limit_s: float) -> tuple[ProgramEnd, list[str]]:
        """Return how the agent ended, and the secrets that it was given."""
        path = find_program(self._agent)
        if not path:
            raise SystemFault(why_absent(self._agent))
        values, secrets = self._values()
        lines = [f"action={action}", *(f"{name}={_quoted(values[name])}" for name in values)]
        return run_program([path], limit_s, "\n".join([*lines, ""]), self._environment()), secrets

    def _values(self) -> tuple[dict[str, str], list[str]]:
        """Return the options for the agent, secrets read from their files, and these secrets."""
        values = {name: f"{limit_s:g}" for name, limit_s in _OURS.items()}
        secrets = []
        for name, value in self._options.items():
            plain = name.replace("-", "_")
            if plain == "ca_file":
                continue
            if plain in REFUSED:
                raise SystemFault(f"{name} is refused: {REFUSED[plain]}")
            secret = plain.removesuffix(FILE_SUFFIX)
            if secret != plain and is_secret(secret):
                name, value = secret, read_secret(value)
            if is_secret(name):
                secrets.append(value)
            values[name] = value
        return values, secrets

    def _environment(self) -> dict[str, str]:
        ca_file = self._options.get("ca_file", "")
        return dict.fromkeys(_CA_VARIABLES, ca_file) if ca_file else {}


def _quoted(value: str) -> str:
    """Return a value as agents read it: they strip blanks, and one pair of quotes."""
    is_changed = value != value.strip() or (value[:1] == value[-1:] == '"' and len(value) > 1)
    return f'"{value}"' if is_changed else value


def _ignored(output: str) -> str:
    """Return an option of the section that the agent did not understand; empty if it took all."""
    return next((name for name in _IGNORED.findall(output) if name not in _OURS), "")


def _why(end: ProgramEnd, secrets: list[str]) -> str:
    ignored = _ignored(end.output)
    if ignored:
        return f"the agent ignores the option {ignored}: correct it"
    return why_no_answer(end, secrets)
