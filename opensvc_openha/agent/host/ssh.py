"""Reach another node by ssh without a password, as the agent does, and explain failures."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from opensvc_openha.agent.host.commands import CommandResult, run_logged
from opensvc_openha.agent.values.action_log import ActionLog
from opensvc_openha.formats.layout import AgentLayout
from opensvc_openha.system.order_reason import VARIABLE, given_reason

CONNECT_TIMEOUT_S = 10
SSH_FAILED = 255
"""ssh's own exit code; any other is that of the command on the other node."""
REMOTE_USER = "root"
SSH = (
    *(
        "ssh",
        "-o",
        "BatchMode=yes",
        "-o",
        f"ConnectTimeout={CONNECT_TIMEOUT_S}",
        "-o",
        "StrictHostKeyChecking=accept-new",
    ),
    *("-o", "ForwardX11=no", "-o", "LogLevel=ERROR"),
)

_NOT_FOUND = 127
_REASONS = (
    (
        "permission denied",
        (
            "it does not accept our ssh key: run ssh-keygen if there is none, then ssh-copy-id"
            " {user}@{node}"
        ),
    ),
    (
        "host key verification failed",
        "its host key is not the one we know: look why, then ssh-keygen -R {node}",
    ),
    ("could not resolve", "its name is not known here: add it to /etc/hosts or to the DNS"),
    ("name or service not known", "its name is not known here: add it to /etc/hosts or to the DNS"),
    ("connection refused", "no sshd listens there: install openssh-server and start it"),
    ("timed out", "it does not answer"),
    ("no route to host", "there is no way to it"),
    ("network is unreachable", "there is no way to it"),
)


def remote_shell(node: str, command: Sequence[str]) -> list[str]:
    """Return the argv that runs a command on another node."""
    return [*SSH, f"{REMOTE_USER}@{node}", "--", shlex.join(command)]


def run_on(node: str, command: Sequence[str], log: ActionLog, timeout_s: float) -> CommandResult:
    """Run a command on another node and log it."""
    return run_logged(log, remote_shell(node, command), timeout_s)


def agent_command(layout: AgentLayout, svcname: str, words: Sequence[str]) -> list[str]:
    """Return the argv that runs an agent action on another node with this node's layout."""
    usual = AgentLayout().environment()
    moved = [f"{name}={path}" for name, path in layout.environment().items() if path != usual[name]]
    reason = given_reason()
    if reason:
        moved.append(f"{VARIABLE}={reason}")
    svcmgr = os.path.join(layout.bin_dir, "svcmgr")
    return [*(["env", *moved] if moved else []), svcmgr, "-s", svcname, *words]


def why_unreachable(node: str, result: CommandResult) -> str:
    """Return what the operator has to do after a failed ssh command.

    Empty if ssh is not the cause.
    """
    output = result.output.lower()
    if (
        "rsync: not found" in output
        or "rsync: command not found" in output
        or result.exit_code == _NOT_FOUND
    ):
        return f"{node}: a command was not found there: install rsync on it"
    for sign, advice in _REASONS:
        if sign in output:
            return f"{node}: {advice.format(user=REMOTE_USER, node=node)}"
    return (
        f"{node}: ssh {REMOTE_USER}@{node} does not work" if result.exit_code == SSH_FAILED else ""
    )
