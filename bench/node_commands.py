"""Run commands on a node of a bench."""

from __future__ import annotations

from opensvc_openha.demo.nodes import Node

LIMIT_S = 600.0
"""A thousand services take their time."""


def must(node: Node, command: str, limit_s: float = LIMIT_S) -> str:
    """Run a command that must succeed; return its output. Ends the bench where it fails."""
    done = node.run(command, limit_s)
    if done.returncode:
        raise SystemExit(f"{node.name}: {command}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return str(done.stdout)
