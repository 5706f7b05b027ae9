"""Play operators' stories as text: commands begin with ``>``, other lines are output.

::

    > cluster services=registry timeout=10 fence=perfect
    > boot deb1
    > run 20
    > show

``render`` plays such a text and returns it with the lines as they are now: where nothing changed,
the very same text.
"""

from __future__ import annotations

from collections.abc import Callable

from opensvc_openha.core.events import Command, Leaving, ScriptKind
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import UsageError
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.random.plan import Fence, Plan
from opensvc_openha.verify.random.simulated_cluster import Cluster
from opensvc_openha.verify.random.trace import Trace

_INDENT = "    "


class Scenario:
    """Play the commands of one text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._cluster: Cluster | None = None
        self._verbs: dict[str, Callable[[list[str]], None]] = {
            "cluster": self._make,
            "boot": lambda words: self._world.node(words[0]).power_on(),
            "off": lambda words: self._world.node(words[0]).power_off("power lost"),
            "kill": lambda words: self._world.node(words[0]).end_daemon("kill -9"),
            "daemon": lambda words: self._world.node(words[0]).boot_daemon(),
            "leave": lambda words: self._world.node(words[0]).leave(Leaving(words[1])),
            "order": lambda words: self._world.node(words[0]).order(Command(words[1]), words[2]),
            "cut": self._cut,
            "down": (
                lambda words: self._world.node(words[0]).switch_interface(words[1], is_up=False)
            ),
            "up": lambda words: self._world.node(words[0]).switch_interface(words[1], is_up=True),
            "heal": lambda words: self._world.heal(),
            "stall": lambda words: self._world.stall(self._world.node(words[0]), float(words[1])),
            "fail": (
                lambda words: self._world.node(words[0]).outcomes.failing.add(ScriptKind(words[1]))
            ),
            "repair": lambda words: self._world.node(words[0]).outcomes.failing.clear(),
            "run": self._run,
            "confirm": lambda words: self._world.node(words[0]).confirm(),
            "show": self._show,
        }

    def play(self, line: str) -> list[str]:
        """Carry out one command; return the lines reported meanwhile."""
        self._lines = []
        verb, *words = line.split()
        if verb not in self._verbs:
            raise UsageError(
                f"unknown command {verb!r}: expected one of {', '.join(sorted(self._verbs))}"
            )
        try:
            self._verbs[verb](words)
        except (IndexError, ValueError) as error:
            raise UsageError(f"{line!r} cannot be understood: {error}") from None
        return self._lines

    @property
    def _world(self) -> Cluster:
        if self._cluster is None:
            self._make([])
        assert self._cluster is not None
        return self._cluster

    def _make(self, words: list[str]) -> None:
        options = dict(word.split("=", 1) for word in words)
        timeout_s = float(options.pop("timeout", "10"))
        plan = Plan(
            services=tuple(options.pop("services", "registry").split(",")),
            fence=Fence(options.pop("fence", Fence.PERFECT.value)),
            has_key=options.pop("key", "no") == "yes",
            has_disk=options.pop("disk", "no") == "yes",
            timeouts_s=(timeout_s,) * 3,
            fence_lag_s=(float(options.pop("lag", "0")),),
            reports_power=options.pop("status", "no") == "yes",
        )
        if options:
            raise UsageError(f"unknown option of a cluster: {', '.join(options)}")
        self._cluster = Cluster(plan, Trace(lambda line: self._lines.append(line.strip())))

    def _cut(self, words: list[str]) -> None:
        """Cut all links, those that a node sends on, or one device of them."""
        links = tuple(
            link
            for link in self._world.links
            if (not words or link.node == words[0]) and (len(words) < 2 or link.device == words[1])
        )
        self._world.cut(links)

    def _run(self, words: list[str]) -> None:
        scheduler = self._world.scheduler
        scheduler.run_until(scheduler.now + float(words[0]))

    def _show(self, _: list[str]) -> None:
        for node in self._world.nodes:
            if node.daemon is None:
                self._lines.append(
                    f"{node.name}:"
                    f" {'no daemon' if node.is_powered else 'off'}{self._running(node.name)}"
                )
                continue
            states = _states(node.daemon.engine.snapshot(node.now))
            self._lines.append(f"{node.name}: {states}{self._running(node.name)}")

    def _running(self, node: str) -> str:
        names = [
            name for name in self._world.plan.services if name in self._world.node(node).running
        ]
        return f"; runs {', '.join(names)}" if names else "; runs nothing"


def _states(status: NodeStatus) -> str:
    services = ", ".join(
        f"{svc.name} {svc.primary_state.name}/{svc.secondary_state.name}" for svc in status.services
    )
    return f"peer {status.peer_standing.value}; {services}"


def render(text: str) -> str:
    """Return the text with the simulator's present output; comments and empty lines stay."""
    scenario = Scenario()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(">"):
            lines.append(line.rstrip())
            try:
                lines += [_INDENT + said for said in scenario.play(line[1:].strip())]
            except InvariantBroken as error:
                lines.append(f"{_INDENT}BROKEN: {error}")
        elif not line.startswith(_INDENT):
            lines.append(line.rstrip())
    return "\n".join(lines) + "\n"
