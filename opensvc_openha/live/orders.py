"""Orders that a page may give: each is confirmed, then runs as ``openha service -A`` does.

What an order means depends on the state on this node: only these are offered.
"""

from __future__ import annotations

import enum

from opensvc_openha.core.events import Command
from opensvc_openha.core.states import ServiceState


class Order(enum.Enum):
    """Words of the page; the values are in requests."""

    START = "start"
    SWITCH = "switch"
    STOP = "stop"
    FREEZE = "freeze"
    THAW = "thaw"


_COMMANDS: dict[ServiceState, dict[Order, Command]] = {
    ServiceState.STARTED: {
        Order.SWITCH: Command.STOP,
        Order.STOP: Command.FREEZE_STOP,
        Order.FREEZE: Command.FREEZE_START,
    },
    ServiceState.STOPPED: {Order.START: Command.START, Order.FREEZE: Command.FREEZE_STOP},
    ServiceState.FROZEN_START: {Order.THAW: Command.UNFREEZE, Order.STOP: Command.FREEZE_STOP},
    ServiceState.FROZEN_STOP: {Order.THAW: Command.UNFREEZE},
    ServiceState.START_FAILED: {Order.START: Command.START, Order.STOP: Command.FREEZE_STOP},
    ServiceState.STOP_FAILED: {Order.STOP: Command.FREEZE_STOP},
}


def orders_for(state: ServiceState | None) -> tuple[Order, ...]:
    """Return the orders that a service in this state can be given on its node."""
    return () if state is None else tuple(_COMMANDS.get(state, ()))


def command_of(order: Order, state: ServiceState | None) -> Command | None:
    """Return the command of an order; None if it is not offered in this state."""
    return None if state is None else _COMMANDS.get(state, {}).get(order)


def consequence_of(order: Order, command: Command, service: str, node: str, peer: str) -> str:
    """Return in a sentence what happens."""
    if order is Order.SWITCH:
        return (
            f"{service} is stopped on {node}, and {peer} starts it. If {peer} is frozen or"
            f" cannot, it comes back to {node}."
        )
    if order is Order.STOP:
        return f"{service} is stopped on {node} and stays stopped, frozen, until it is thawed."
    if order is Order.START:
        return f"{service} is started on {node}, unless {peer} runs it."
    if order is Order.THAW:
        return f"{node} decides on {service} again: it may start or stop it at once."
    if command is Command.FREEZE_START:
        return (
            f"{service} keeps running on {node}, and {node} does not stop or restart it until"
            " it is thawed."
        )
    return f"{service} stays stopped on {node}: {node} does not take it over until it is thawed."
