"""Find the function of an action word and run it on one service."""

from __future__ import annotations

from collections.abc import Mapping

from opensvc_openha.agent.actions import queries
from opensvc_openha.agent.actions.action_options import Action, ActionOptions
from opensvc_openha.agent.service.action_lock import MONITOR
from opensvc_openha.agent.service.loaded_service import Service
from opensvc_openha.errors import ActionError, InterruptedAction, OpenhaError, UsageError
from opensvc_openha.formats.suggestion import what_to_write

_QUERIES: Mapping[str, Action] = {
    "frozen": queries.frozen,
    "json_status": queries.json_status,
    "print_config": queries.print_config,
    "print_status": queries.print_status,
    "status": queries.status,
    "stonith_status": queries.stonith_status,
}
"""Actions that need no more than a service that is loaded: the others are loaded when wanted."""

_NO_DRY_RUN = frozenset({"docker", "resource_monitor", "stonith"})

_READ_ONLY = frozenset(
    {
        *("docker", "frozen", "json_status", "print_config", "print_status", "prstatus", "status"),
        "stonith_status",
    }
)
"""Actions open to every user; a docker daemon checks permissions itself."""

_ALIASES = {"sync_all": "syncall", "sync_drp": "syncdrp", "sync_nodes": "syncnodes"}
"""Alternative spellings of the real agents."""

_MISSING = frozenset({"push"})
"""Actions of the real agent that are missing here, reported as such and not as a typing error."""


def perform(service: Service, action: str, options: ActionOptions) -> int:
    """Run one action and return its exit code.

    A failure is written to the service's log, which also goes to stderr.
    """
    action = _ALIASES.get(action, action)
    run = _QUERIES.get(action) or _change(action)
    words = action.replace("_", " ")
    if action in _MISSING:
        raise ActionError(f"{words} is not handled by the embedded agent yet: nothing was done")
    if options.is_dry_run and action in _NO_DRY_RUN:
        raise UsageError(f"--dry-run is not for {words}: nothing was done")
    if run is None:
        raise UsageError(
            f"{words} is no action of the embedded agent, {what_to_write(words, all_actions())}"
        )
    service.view.is_forced, service.view.is_cluster = options.is_forced, options.is_cluster
    try:
        return run(service, options)
    except UsageError:
        raise
    except OpenhaError as error:
        service.log.error(str(error))
        return error.exit_code
    except InterruptedAction as error:
        if action != MONITOR:  # The monitor yields to any other action on the service.
            service.log.error(str(error))
        raise


def _change(action: str) -> Action | None:
    from opensvc_openha.agent.actions import service_actions

    return (
        service_actions.ACTIONS.get(action)
        or service_actions.INTERNAL.get(action)
        or service_actions.GROUP_ACTIONS.get(action)
    )


def shown_actions() -> list[str]:
    """Return the action words that help and completion show."""
    from opensvc_openha.agent.actions import service_actions

    return [action.replace("_", " ") for action in sorted({**_QUERIES, **service_actions.ACTIONS})]


def group_actions() -> list[str]:
    """Return the actions on a group of resources."""
    from opensvc_openha.agent.actions import service_actions

    return list(service_actions.GROUP_ACTIONS)


def all_actions() -> list[str]:
    """Return all action words: also those on resource groups and on files that may be broken."""
    return sorted([*shown_actions(), *group_actions(), "validate config"])


def is_change(action: str) -> bool:
    """Return whether the action changes something, so that it needs privileges."""
    action = _ALIASES.get(action, action)
    return action not in _READ_ONLY and _change(action) is not None
