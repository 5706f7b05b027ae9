"""A power switch on the network, like rack power strips: one line asks, one line answers.

When it answers off, the power is off, unless it was made to behave otherwise. Lines are `off NODE`,
`status NODE`; answers `on`, `off`, or `error REASON`.
"""

from __future__ import annotations

import enum
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

PORT = 9600
SLOW_S = 6.0


class Manner(enum.Enum):
    """How the switch treats a machine."""

    HONEST = "honest"
    SLOW = "slow"  # takes the order and cuts SLOW_S later; the status is the truth all the time
    DEAF = "deaf"  # takes the order and does nothing; the status is the truth
    LYING = "lying"  # takes the order, does nothing, and says off from then on


class Powered(Protocol):
    """What the switch needs of a machine."""

    @property
    def is_on(self) -> bool:
        """Return whether it has power."""
        ...

    def cut_power(self) -> None:
        """Return when it has none."""
        ...


class Outlets:
    """The switch itself: what it answers to a line, and what it does."""

    def __init__(self, machines: Mapping[str, Powered], tell: Callable[[str], None]) -> None:
        self._machines = machines
        self._tell = tell
        self._manners = dict.fromkeys(machines, Manner.HONEST)
        self._said_off: set[str] = set()
        self.cuts: list[tuple[float, str]] = []
        """Instants (monotonic) and names of the machines that lost power by an order."""

    def behave(self, name: str, manner: Manner) -> None:
        """Treat a machine like that from now on."""
        self._manners[name] = manner
        self._said_off.discard(name)

    def answer(self, line: str, client: str) -> str:
        """Return the answer to one line."""
        verb, _, name = line.partition(" ")
        machine = self._machines.get(name)
        if machine is None or verb not in ("off", "status"):
            return f"error cannot understand {line!r}"
        before = "on" if machine.is_on else "off"
        if verb == "status":
            return "off" if name in self._said_off else before
        after = self._cut(name, machine)
        self._tell(f"power switch: '{line}' from {client}: was {before}, is {after}")
        return after

    def _cut(self, name: str, machine: Powered) -> str:
        manner = self._manners[name]
        if manner is Manner.LYING:
            self._said_off.add(name)
            return "off, it says"
        if manner is Manner.SLOW:
            threading.Thread(target=self._cut_later, args=(name, machine), daemon=True).start()
        if manner is Manner.HONEST:
            self._cut_now(name, machine)
        return "on" if machine.is_on else "off"

    def _cut_later(self, name: str, machine: Powered) -> None:
        time.sleep(SLOW_S)
        self._cut_now(name, machine)

    def _cut_now(self, name: str, machine: Powered) -> None:
        was_on = machine.is_on
        machine.cut_power()
        if was_on:
            self.cuts.append((time.monotonic(), name))


class PowerSwitch(Outlets):
    """Serves the switch from a thread until the run ends."""

    def __init__(
        self, address: str, machines: Mapping[str, Powered], tell: Callable[[str], None]
    ) -> None:
        super().__init__(machines, tell)
        switch = self

        class Handler(socketserver.StreamRequestHandler):
            """One line, one answer."""

            def handle(self) -> None:
                answer = switch.answer(
                    self.rfile.readline(100).decode("ascii", "replace").strip(),
                    self.client_address[0],
                )
                self.wfile.write(f"{answer.partition(',')[0]}\n".encode())

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        socketserver.ThreadingTCPServer.daemon_threads = True
        self._server = socketserver.ThreadingTCPServer((address, PORT), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
