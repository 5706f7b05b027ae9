"""How this node reaches another one: ssh without a password, as the agent does, and what to do when that fails."""

from __future__ import annotations

import shlex
from typing import Sequence

from opensvc_openha.agent.action_log import ActionLog
from opensvc_openha.agent.commands import CommandResult, run_logged

CONNECT_TIMEOUT_S = 10
REMOTE_USER = "root"
SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}", "-o", "StrictHostKeyChecking=accept-new"),
    *("-o", "ForwardX11=no", "-o", "LogLevel=ERROR"),
)

_SSH_FAILED = 255
_NOT_FOUND = 127
_REASONS = (
    ("permission denied", "it does not accept our ssh key: run ssh-keygen if there is none, then ssh-copy-id {user}@{node}"),
    ("host key verification failed", "its host key is not the one we know: look why, then ssh-keygen -R {node}"),
    ("could not resolve", "its name is not known here: add it to /etc/hosts or to the DNS"),
    ("name or service not known", "its name is not known here: add it to /etc/hosts or to the DNS"),
    ("connection refused", "no sshd listens there: install openssh-server and start it"),
    ("timed out", "it does not answer"),
    ("no route to host", "there is no way to it"),
    ("network is unreachable", "there is no way to it"),
)


def run_on(node: str, command: Sequence[str], log: ActionLog, timeout_s: float) -> CommandResult:
    """Run a command on another node and log it."""
    return run_logged(log, [*SSH, f"{REMOTE_USER}@{node}", "--", shlex.join(command)], timeout_s)


def why_unreachable(node: str, result: CommandResult) -> str:
    """What the operator has to do where a command through ssh failed; empty where ssh is not the reason."""
    output = result.output.lower()
    if "rsync: not found" in output or "rsync: command not found" in output or result.exit_code == _NOT_FOUND:
        return f"{node}: a command was not found there: install rsync on it"
    for sign, advice in _REASONS:
        if sign in output:
            return f"{node}: {advice.format(user=REMOTE_USER, node=node)}"
    return f"{node}: ssh {REMOTE_USER}@{node} does not work" if result.exit_code == _SSH_FAILED else ""
