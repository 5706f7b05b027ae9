"""Two nodes whose watchdogs are simulated: each kills its whole node when it is not petted in time.

The keeper is the real one, but for the opening and the ioctls of its device, which is a socket of
the tests (tests/watchdog). The nodes are virtual as far as this machine is; they are configured as
never paused.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from opensvc_openha.cli import json_views
from opensvc_openha.demo.nodes import Node, TwoNodes
from opensvc_openha.system import clock
from opensvc_openha.watchdog import keeper
from tests.e2e import from_outside
from tests.e2e.two_node_cluster import EZ, Cluster
from tests.watchdog import socket_keeper
from tests.watchdog.simulated_watchdog import CLOSE, OPEN, PET, SET, STOP, SimulatedWatchdog

DEVICE = "/run/watchdog"
OPTIONS = f"""[fencing]
levels = lease
[[lease]]
watchdog = {DEVICE}
timeout = {{}}
virtual_pause = never
"""


class BitingWatchdog(SimulatedWatchdog):
    """Kills its node once it was not petted for its timeout, as the kernel's would reset it."""

    def __init__(self, node: Node) -> None:
        self.bitten_at: float | None = None
        self._node = node
        super().__init__(Path(f"{node.root}{DEVICE}"))
        self._is_over = threading.Event()
        self._biter = threading.Thread(target=self._bite, daemon=True)
        self._biter.start()

    @property
    def left_s(self) -> float | None:
        """Time until it bites; None while it stands still."""
        seen = list(self.seen)
        if not seen or seen[-1].what == STOP:
            return None
        last = max(each.at for each in seen if each.what in (OPEN, SET, PET, CLOSE))
        return last + self.timeout_s - clock.monotonic()

    def _bite(self) -> None:
        while not self._is_over.wait(0.02):
            left_s = self.left_s
            if left_s is not None and left_s <= 0:
                self.bitten_at = clock.monotonic()
                self._node.kill()
                return

    def end(self) -> None:
        self._is_over.set()
        self._biter.join()
        super().end()


def keeper_text() -> str:
    """The keeper's program, with the device of socket_keeper."""
    source = Path(keeper.__file__).read_text()
    device = Path(socket_keeper.__file__).read_text()
    begin = device.index("IS_NOWAYOUT =")
    device = device[begin : device.index('if __name__ == "__main__":', begin)]
    head, mark, _ = source.rpartition('if __name__ == "__main__":')
    assert mark
    device = device.replace("keeper.Watchdog", "Watchdog")
    return f"{head}{device}{mark}\n    main(sys.argv, SocketWatchdog)\n"


class LeasedCluster(Cluster):
    """The service runs on the first node, whose watchdog is armed."""

    def __init__(self, nodes: TwoNodes, timeout_s: int, options: str = "") -> None:
        super().__init__(nodes, {"registry": f"{EZ}/bin/fence"})
        self.share_key()
        self.watchdogs: dict[str, BitingWatchdog] = {}
        for node in nodes:
            node.write(f"{EZ}/conf/openha.conf", OPTIONS.format(timeout_s) + options)
            node.write(keeper.__file__, keeper_text())
            self.watchdogs[node.short_name] = BitingWatchdog(node)

    def close(self) -> None:
        """End the watchdogs: they bite nobody any more."""
        for watchdog in self.watchdogs.values():
            watchdog.end()

    def promise(self, node: Node) -> dict[str, Any]:
        """What a node promises of itself, from `openha fence status`; empty while it is busy."""
        status = from_outside.status(node)
        if status is not None:
            return dict(json.loads(json_views.fence_status(status).text())["promise"] or {})
        done = node.run(f"{EZ}/bin/openha fence status --json")
        return dict(json.loads(done.stdout)["promise"]) if done.stdout else {}

    def until_promised(self, node: Node) -> dict[str, Any]:
        """Wait until a node has promised something that its peer knows."""
        return self.until(
            lambda: self.promise(node),
            lambda promise: promise.get("death_s") and promise["is_confirmed"],
            f"{node.name} promises",
        )

    def watchdog(self, node: Node) -> BitingWatchdog:
        """The watchdog of a node."""
        return self.watchdogs[node.short_name]
