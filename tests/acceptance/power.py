"""A power switch on the network, like rack power strips: one line asks, one line answers.

When it answers off, the power is off. Lines are `off NODE`, `status NODE`; answers `on`, `off`, or
`error REASON`.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable

from tests.acceptance.machines import Machine

PORT = 9600


class PowerSwitch:
    """Serves the switch from a thread until the run ends."""

    def __init__(
        self, address: str, machines: dict[str, Machine], tell: Callable[[str], None]
    ) -> None:
        switch = self
        self._machines = machines
        self._tell = tell

        class Handler(socketserver.StreamRequestHandler):
            """One line, one answer."""

            def handle(self) -> None:
                answer = switch.answer(
                    self.rfile.readline(100).decode("ascii", "replace").strip(),
                    self.client_address[0],
                )
                self.wfile.write(f"{answer}\n".encode())

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._server = socketserver.ThreadingTCPServer((address, PORT), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, line: str, client: str) -> str:
        """Return the answer to one line."""
        verb, _, name = line.partition(" ")
        machine = self._machines.get(name)
        if machine is None or verb not in ("off", "status"):
            return f"error cannot understand {line!r}"
        before = "on" if machine.is_on else "off"
        if verb == "off":
            machine.cut_power()
        after = "on" if machine.is_on else "off"
        self._tell(f"power switch: '{line}' from {client}: was {before}, is {after}")
        return after
