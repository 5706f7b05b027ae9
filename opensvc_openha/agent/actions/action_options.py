"""What every action on a service is called with."""

from __future__ import annotations

from collections.abc import Callable

from opensvc_openha.agent.service.action_lock import DEFAULT_WAIT_S
from opensvc_openha.agent.service.loaded_service import ResourceSelector, Service
from opensvc_openha.named_tuples import NamedTuple


class ActionOptions(NamedTuple):
    """Options given with the action."""

    choice: ResourceSelector = ResourceSelector()
    is_cluster: bool = False
    is_forced: bool = False
    is_remote: bool = False
    """Requested by the agent of the other node, as its part of an action there."""
    to_node: str = ""
    has_rollback: bool = True
    is_dry_run: bool = False
    """Print the steps without running them."""
    wait_lock_s: float = DEFAULT_WAIT_S
    output_format: str = ""
    docker_words: tuple[str, ...] = ()
    """The words after docker."""


Action = Callable[[Service, ActionOptions], int]
"""Runs on one service; returns the exit code, or raises an OpenhaError."""
