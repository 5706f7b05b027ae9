"""Service files given to validation."""

from __future__ import annotations

import os

from tests.agent.embedded import Agent

NODE = os.uname().nodename


DEFAULT = f"[DEFAULT]\nnodes = {NODE} peer1\n"


def validate(agent: Agent, text: str) -> tuple[int, list[str]]:
    agent.write("a", text)
    outcome = agent.svcmgr("validate", "config", called_as="a")
    path = str(agent.etc / "a.env")
    return outcome.exit_code, [
        line.replace(path, "FILE") for line in (outcome.out + outcome.err).splitlines()
    ]
