"""One node of a rehearsal: it begins with states that are known, and keeps what a reader asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Protocol

from opensvc_openha.core.actions import Answer, LeaseAction, Record, RecordKind, RunScript
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import (
    Event,
    ReadinessFound,
    RecoveredState,
    ScriptKind,
    ScriptOutcome,
    Tick,
)
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.verify.rehearsal.timeline import MomentKind
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import NodeDriver, Script, SimulatedNode

_ROUNDING_S = 1e-6
_FENCE = "FENCE"
"""Word of the log for a step of the fence plan."""
_KINDS = {
    RecordKind.SERVICE: MomentKind.SERVICE,
    RecordKind.LINK: MomentKind.LINK,
    RecordKind.PEER: MomentKind.PEER,
    RecordKind.NODE: MomentKind.NODE,
}


class Surroundings(NodeDriver, Protocol):
    """What a node is in: time, wires, and a reader."""

    scheduler: Scheduler

    def say(self, node: str, kind: MomentKind, text: str, **more: object) -> None:
        """Add a line to the timeline."""

    def look(self) -> None:
        """Note where services are up."""

    def carry_out_lease(self, node: CopiedNode, action: LeaseAction) -> None:
        """Do something for the promise of a node."""

    def begin_daemon(self, node: CopiedNode) -> None:
        """Report to a daemon that begins what its surroundings look like."""


class CopiedNode(SimulatedNode):
    """One node, as it is known at present."""

    def __init__(
        self,
        index: int,
        world: Surroundings,
        spec: ClusterSpec,
        unready: Mapping[str, str],
        reporting: frozenset[str],
    ) -> None:
        """``unready``: why services cannot start here; ``reporting``: whose fence reports power."""
        super().__init__(index, world)
        self.name = spec.node
        self.spec = spec
        self.unready = unready
        self._world = world
        self._reporting = reporting
        self._life = 0
        """Counts the daemons: what is meant for an earlier one is lost."""
        self._commands = itertools.count(1)
        self._tick_at = -1.0

    # --- power and daemon -------------------------------------------------------------------------

    def boot_copy(self, states: Mapping[str, RecoveredState], memory: FencingMemory) -> None:
        """Start with what is known of this node now: its machine was not booted just now."""
        super().power_on()
        self.store.is_same_boot = True
        self.store.fencing = memory
        self.store.record_managed(self.spec.own_services)
        for name, known in states.items():
            self.store.write_recovered(name, known)
        self._start(states)

    def boot_daemon(self) -> None:
        """Start a daemon from the files of this node."""
        if self.is_powered and self.executor is None:
            recovered, kept = self.store.begin_daemon(self.spec.own_services)
            self._start(recovered, kept)

    def _start(
        self, states: Mapping[str, RecoveredState], kept: tuple[ServiceSpec, ...] = ()
    ) -> None:
        self._life += 1
        boot = BootId(1000 + self._life, 1000 * self.index + self._life)
        self.start_daemon(self.spec, boot, states, kept)
        self.later(0.0, Tick())
        self.later(0.0, ReadinessFound(dict(self.unready), self._reporting))
        self._world.begin_daemon(self)

    def power_on(self) -> None:
        """Boot the machine, and with it the daemon."""
        if not self.is_powered:
            super().power_on()
            self.note("is up again")
            self.boot_daemon()

    def power_off(self, why: str = "loses its power") -> None:
        """End everything on the node at once."""
        if self.is_powered:
            self._life += 1
            super().power_off(why)
            self._world.look()

    def end_daemon(self, how: str = "killed") -> None:
        """End the daemon only: services and scripts continue."""
        self._life += 1
        super().end_daemon(how)

    def note(self, text: str) -> None:
        """Add a line about the node."""
        self._world.say(self.name, MomentKind.NODE, text.removeprefix("power off: "))

    # --- events -----------------------------------------------------------------------------------

    def later(self, delay_s: float, event: Event) -> None:
        """Give an event to the present daemon after some time, if it still runs then."""
        self._world.scheduler.after(delay_s, self._give_to, self._life, event)

    def _give_to(self, life: int, event: Event) -> None:
        if life == self._life:
            self.give(event)

    def soon(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call after some time, unless the daemon has ended by then."""
        self._world.scheduler.after(delay_s, self._call, self._life, call)

    def _call(self, life: int, call: Callable[[], None]) -> None:
        if life == self._life:
            call()

    def next_command(self) -> int:
        """Return the number of a new command."""
        return next(self._commands)

    def finish_step(self) -> None:
        """Check what follows of a step, and wait for the next deadline."""
        super().finish_step()
        engine = self.engine
        if engine is None:
            return
        due = max(self.now, engine.next_deadline())
        if due != self._tick_at:
            self._tick_at = due
            self._world.scheduler.at(due, self._tick, self._life, due)

    def _tick(self, life: int, due: float) -> None:
        if life != self._life or self.engine is None or due != self._tick_at:
            return
        self._tick_at = -1.0
        if self.engine.next_deadline() <= self.now + _ROUNDING_S:
            self.give(Tick())
        else:
            self.finish_step()

    # --- scripts ----------------------------------------------------------------------------------

    def begin_script(self, action: RunScript, is_fence: bool) -> Script:
        """Begin a script."""
        script = super().begin_script(action, is_fence)
        self._world.look()
        return script

    def end_script(
        self,
        script: Script,
        outcome: ScriptOutcome,
        is_running: bool,
        detail: str = "",
        is_lie: bool = False,
    ) -> None:
        """End a script; a service is up before its daemon hears of it."""
        super().end_script(script, outcome, is_running, detail, is_lie)
        self._world.look()

    def is_up(self, service: str) -> bool:
        """Return True if the service serves here: it runs, and no script starts or stops it."""
        script = self.scripts.get(service)
        is_changed = script is not None and script.action.kind in (
            ScriptKind.START,
            ScriptKind.STOP,
        )
        return service in self.running and not is_changed

    # --- the daemon's ports -----------------------------------------------------------------------

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Pass an order to the watchdog, or to the witness."""
        self._world.carry_out_lease(self, action)

    def answer(self, action: Answer) -> None:
        """Add an answer to an operator to the timeline."""
        if action.is_last:
            states = f"here {action.own.name}, on the peer {action.peer.name}"
            detail = f": {action.detail}" if action.detail else f" ({states})"
            word = action.code.name.lower().replace("_", " ")
            self._world.say(
                self.name,
                MomentKind.ANSWER,
                f"answer to {action.command}: {word}{detail}",
                service=action.service,
                is_alarm=not action.is_ok,
            )

    def record(self, action: Record) -> None:
        """Add what the daemon would log."""
        kind = (
            MomentKind.FENCE if action.new == _FENCE else _KINDS.get(action.kind, MomentKind.NODE)
        )
        what = "" if kind is MomentKind.SERVICE else f"{action.name} "
        change = f"{action.old} -> {action.new}" if action.old else action.new
        self._world.say(
            self.name,
            kind,
            f"{what}{change}: {action.reason}",
            service=action.name if kind is MomentKind.SERVICE else "",
            old=action.old,
            new=action.new,
            is_alarm=action.is_alarm,
        )
