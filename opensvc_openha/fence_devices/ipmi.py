"""Drive an IPMI management board by ipmitool, in place of fence_ipmilan and its other names.

That agent puts the password on the command line of ipmitool, where every user of the machine can
read it; here it is in the environment. The options are named as the agent's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from opensvc_openha.core.timing import AGENT_LOGIN_S
from opensvc_openha.errors import SystemFault
from opensvc_openha.fence_devices.agent_metadata import AgentMetadata, AgentOption
from opensvc_openha.fence_devices.device_answers import (
    is_login_refused,
    telling_line,
    why_no_answer,
)
from opensvc_openha.fence_devices.power_readings import OrderAnswer, Power, Reading
from opensvc_openha.fence_devices.programs import ProgramEnd, find_program, run_program
from opensvc_openha.fence_devices.secret_files import read_secret

_TOOL = "ipmitool"
_PLUS_BY_DEFAULT = frozenset({"fence_ilo3", "fence_ilo4", "fence_ilo5", "fence_ipmilanplus"})
AGENTS = frozenset({"fence_ipmilan", "fence_idrac", "fence_imm"}) | _PLUS_BY_DEFAULT
"""Names under which fence-agents installs fence_ipmilan."""

_STATUS = re.compile(r"^Chassis Power is (on|off)\s*$", re.MULTILINE)
_ALREADY = "not supported in present state"
_ON_ITS_COMMAND_LINE = "ipmitool takes it on its command line only, where every user can read it"
_TRUE = frozenset({"1", "yes", "on", "true"})
_RENAMED = {"ipaddr": "ip", "login": "username", "passwd": "password"}
_OPTIONS = (
    AgentOption("ip", is_required=True),
    AgentOption("ipport", "integer"),
    AgentOption("username"),
    AgentOption("password"),
    AgentOption("lanplus", "boolean"),
    AgentOption("cipher", "integer"),
    AgentOption("privlvl", "select", ("callback", "user", "operator", "administrator")),
    AgentOption("auth", "select", ("md5", "password", "none")),
    AgentOption("target"),
    AgentOption("method", "select", ("onoff", "cycle")),
    *(AgentOption(f"{what}_timeout", "second") for what in ("login", "shell", "power")),
    AgentOption("power_wait", "second"),
)


def metadata_of(agent: str) -> AgentMetadata:
    """Return what this driver takes, for the name of an agent."""
    older = (AgentOption(name) for name in _RENAMED)
    return AgentMetadata(
        agent,
        {option.name: option for option in (*_OPTIONS, *older)},
        frozenset({"on", "off", "status"}),
        renamed=_RENAMED,
        refused={
            "hexadecimal_kg": _ON_ITS_COMMAND_LINE,
            "hexadecimal_kg_file": _ON_ITS_COMMAND_LINE,
            "password_script": "password_file names a file with the password",
            "passwd_script": "password_file names a file with the password",
            "ipmitool_path": f"{_TOOL} is looked for in the directories of the system",
            "use_sudo": "the node daemon runs as root",
        },
    )


def why_no_tool() -> str:
    """Return that ipmitool is missing, and what to do; empty if it is there."""
    return "" if find_program(_TOOL) else f"there is no program {_TOOL}: install that package"


class Ipmi:
    """One board, by the options of fence_ipmilan."""

    def __init__(self, agent: str, options: Mapping[str, str]) -> None:
        self._agent = agent.rpartition("/")[2]
        self._options = {_RENAMED.get(name, name): value for name, value in options.items()}

    def status(self, limit_s: float) -> Reading:
        """Ask for the power once."""
        try:
            end, secret = self._run("status", limit_s)
        except SystemFault as error:
            return Reading(Power.UNKNOWN, str(error))
        words = _STATUS.findall(end.output)
        if end.exit_code == 0 and len(words) == 1:
            power = Power(words[0])
            return Reading(power, power.name)
        return Reading(Power.UNKNOWN, why_no_answer(end, [secret]), is_login_refused(end.output))

    def off(self, limit_s: float) -> OrderAnswer:
        """Order to switch off; a board that is off already may refuse that, which is as good."""
        try:
            end, secret = self._run("off", limit_s)
        except SystemFault as error:
            return OrderAnswer(False, str(error))
        if end.exit_code == 0 or (end.exit_code is not None and _ALREADY in end.output):
            return OrderAnswer(True, telling_line(end.output, [secret]))
        return OrderAnswer(False, why_no_answer(end, [secret]), is_login_refused(end.output))

    def _run(self, action: str, limit_s: float) -> tuple[ProgramEnd, str]:
        """Return how ipmitool ended, and the password."""
        path = find_program(_TOOL)
        if not path:
            raise SystemFault(why_no_tool())
        options = self._options
        password = options.get("password", "")
        file = options.get("password_file") or options.get("passwd_file")
        if file:
            password = read_secret(file)
        is_plus = options.get("lanplus", str(int(self._agent in _PLUS_BY_DEFAULT))).lower() in _TRUE
        argv = [path, "-I", "lanplus" if is_plus else "lan", "-H", options.get("ip", "")]
        for name, letter in (
            ("ipport", "-p"),
            ("username", "-U"),
            ("auth", "-A"),
            ("cipher", "-C"),
            ("privlvl", "-L"),
            ("target", "-t"),
        ):
            if options.get(name):
                argv += [letter, options[name]]
        # A board that is dead is given up after six times this, which is one third of a login.
        wait_s = max(1, round(float(options.get("login_timeout", AGENT_LOGIN_S)) / 3))
        # Only with -v it says that the login was refused.
        argv += ["-N", str(wait_s), "-R", "2", "-v", "-E", "chassis", "power", action]
        return run_program(argv, limit_s, env={"IPMI_PASSWORD": password}), password
