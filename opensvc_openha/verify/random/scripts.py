"""Simulate the scripts of one node: duration, outcome, and effect on services and the peer.

They are separate processes: a daemon that dies leaves them behind, and they finish unobserved. The
next daemon's status script waits for their end, as in production.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from opensvc_openha.agent.actions.fencing import PeerKnowledge, Verdict, decide
from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.timing import (
    CHECK_LIMIT_S,
    KILL_GRACE_S,
    PROBE_LIMIT_S,
    START_LIMIT_S,
    STOP_LIMIT_S,
)
from opensvc_openha.verify.invariants import (
    Fenced,
    InvariantBroken,
    ScriptBegan,
    ScriptEnded,
    StartedByHand,
    ToldPower,
)
from opensvc_openha.verify.random.plan import Fence
from opensvc_openha.verify.random.ports import DaemonPorts, NodePorts

_LIMIT_S = {
    ScriptKind.CHECK: CHECK_LIMIT_S,
    ScriptKind.START: START_LIMIT_S,
    ScriptKind.STOP: STOP_LIMIT_S,
    ScriptKind.PROBE: PROBE_LIMIT_S,
}


@dataclass(eq=False)
class _Process:
    """A running script."""

    action: RunScript
    life: DaemonPorts | None
    began_at: float
    is_ok: bool = True
    is_alive: bool = True
    has_fenced: bool = False


class Scripts:
    """Processes of one node, and the services they left running."""

    def __init__(self, machine: NodePorts) -> None:
        self._machine = machine
        self._clockwork = machine.clockwork
        self._dice = Random(f"{machine.plan.seed} scripts {machine.name}")
        self._processes: dict[str, _Process] = {}
        self.running: dict[str, bool] = {}
        self._began: dict[ScriptKind, int] = {}
        self.is_calm = False
        """Every script succeeds, and soon."""
        self.failing: set[ScriptKind] = set()
        """Scripts that fail whenever they run."""

    def runs(self, service: str) -> bool:
        """Return True if some of the service is in use here."""
        return self.running.get(service, False)

    @property
    def is_asked(self) -> bool:
        """True while a status script runs here."""
        return any(process.action.kind is ScriptKind.PROBE for process in self._processes.values())

    def uses(self, service: str) -> bool:
        """Return True if it is in use here, or a script of it runs."""
        return self.runs(service) or service in self._processes

    def start_by_hand(self, service: str) -> None:
        """Start the service outside the cluster."""
        machine = self._machine
        machine.note(f"{service} is started by hand")
        self.running[service] = True
        machine.observe(StartedByHand(machine.monotonic, machine.name, service))

    def count_of(self, kind: ScriptKind) -> int:
        """Return how many scripts of that kind began on this node."""
        return self._began.get(kind, 0)

    def lose_all(self) -> None:
        """Drop all scripts: the node went down."""
        for process in self._processes.values():
            process.is_alive = False
        self._processes.clear()
        self.running.clear()

    def orphan_all(self) -> None:
        """Orphan all scripts: the daemon went down."""
        for process in self._processes.values():
            process.life = None

    # --- begin ------------------------------------------------------------------------------------

    def run(self, action: RunScript) -> None:
        """Start a script of the present daemon."""
        if action.kind is ScriptKind.POWER:
            # It uses nothing of the service, and may run beside any script of it.
            self._clockwork.after(
                self._dice.choice(self._machine.plan.check_s),
                self._tell_power,
                action,
                self._machine.life,
            )
            return
        self._start(action, self._machine.life)

    def _start(self, action: RunScript, life: DaemonPorts | None) -> None:
        machine, service = self._machine, action.service
        before = self._processes.get(service)
        if before is not None and action.kind is ScriptKind.PROBE and before.life is None:
            self._await_orphan(action, life, before)
            return
        if before is not None:
            raise InvariantBroken(
                f"{machine.name} runs two scripts of {service} at once: {before.action.kind.value}"
                f" and {action.kind.value}"
            )
        machine.note(f"{action.kind.value} script of {service} begins")
        self._began[action.kind] = self.count_of(action.kind) + 1
        process = self._processes[service] = _Process(action, life, self._clockwork.now)
        if action.kind is ScriptKind.START:
            self.running[service] = True
        machine.observe(
            ScriptBegan(
                machine.monotonic, machine.name, service, action.kind, self._is_fence(action)
            )
        )
        if action.kind is not ScriptKind.PROBE:
            machine.announce_decisive()
        duration_s = self._draw(process)
        limit_s = _LIMIT_S[action.kind]
        if duration_s > limit_s:
            process.is_ok = False
            duration_s = limit_s + KILL_GRACE_S
        self._clockwork.after(duration_s, self._end, process)

    def _await_orphan(self, action: RunScript, life: DaemonPorts | None, before: _Process) -> None:
        """Wait for a dead daemon's script, and end it after the limit of the longest one."""
        if life is None or life.is_over or not before.is_alive:
            return
        if self._clockwork.now > before.began_at + 2 * START_LIMIT_S:
            before.is_alive = False
            self._finish(before, is_ok=False)
        if before.is_alive:
            self._clockwork.after(0.1, self._retry_probe, action, life)
        else:
            self._start(action, life)

    def _retry_probe(self, action: RunScript, life: DaemonPorts) -> None:
        if not life.is_over and self._machine.life is life:
            self._start(action, life)

    # --- duration and fate ------------------------------------------------------------------------

    def _draw(self, process: _Process) -> float:
        """Draw the outcome of a script; return its duration without a limit."""
        plan, dice, kind = self._machine.plan, self._dice, process.action.kind
        if kind is ScriptKind.CHECK:
            return self._draw_check(process)
        if self.is_calm:
            return min(plan.scripts_s[0], 1.0)
        if dice.random() < plan.script_hangs:
            process.is_ok = False
            return 10_000.0
        if kind is ScriptKind.PROBE:
            return min(dice.choice(plan.scripts_s), 2.0)
        process.is_ok = kind not in self.failing and dice.random() >= plan.script_fails
        return dice.choice(plan.scripts_s) * dice.uniform(0.5, 1.0)

    def _is_fence(self, action: RunScript) -> bool:
        if action.kind is not ScriptKind.CHECK or self._machine.plan.fence is Fence.TRUE:
            return False
        return decide(PeerKnowledge(action.peer_standing, action.peer_state)) is Verdict.FENCE

    def _draw_check(self, process: _Process) -> float:
        plan, dice, action = self._machine.plan, self._dice, process.action
        kind = action.kind
        if plan.fence is Fence.TRUE:
            return 0.002
        verdict = decide(PeerKnowledge(action.peer_standing, action.peer_state))
        if verdict is not Verdict.FENCE:
            process.is_ok = verdict is Verdict.PEER_IS_OUT
            return dice.choice(plan.check_s)
        if self.is_calm:
            process.is_ok = self._machine.peer.is_powered or not plan.is_switch_on_host
            self._clockwork.after(0.5, self._fence, process, 0.0)
            return 1.0
        duration_s = dice.choice(plan.fence_s)
        process.is_ok = kind not in self.failing and dice.random() >= plan.fence_fails
        if plan.is_switch_on_host and not self._machine.peer.is_powered:
            process.is_ok = False
            return duration_s
        lag_s = dice.choice(plan.fence_lag_s)
        # A failed fence may have switched the peer off all the same.
        if process.is_ok or dice.random() < 0.3:
            self._clockwork.after(duration_s * dice.random(), self._fence, process, lag_s)
        # It checks that the peer is off before it reports that.
        return duration_s + lag_s if process.is_ok else duration_s

    def _fence(self, process: _Process, lag_s: float) -> None:
        machine = self._machine
        # A script that was killed before that gives no order to the device.
        if not process.is_alive:
            return
        process.has_fenced = True
        if lag_s:
            machine.note(f"tells the power switch of {machine.peer.name}")
            self._clockwork.after(lag_s, self._switch_off)
        else:
            self._switch_off()

    def _switch_off(self) -> None:
        """Let the device carry out its order, even if the ordering node is dead by now."""
        machine = self._machine
        if not machine.peer.is_powered:
            return
        machine.note(f"fences {machine.peer.name}")
        machine.observe(Fenced(machine.peer.monotonic, machine.peer.name, machine.name))
        machine.peer.power_off("fenced")

    def _tell_power(self, action: RunScript, life: DaemonPorts | None) -> None:
        """Report the peer's power at this moment, if the asking daemon still runs."""
        machine, is_on = self._machine, self._machine.peer.is_powered
        if life is None or life.is_over:
            return
        is_dumb = (machine.plan.is_switch_on_host and not is_on) or (
            not self.is_calm and self._dice.random() < 0.2
        )
        outcome = (
            ScriptOutcome.UNSURE if is_dumb else ScriptOutcome.UP if is_on else ScriptOutcome.DOWN
        )
        machine.observe(ToldPower(machine.monotonic, machine.name, outcome is ScriptOutcome.DOWN))
        life.handle(ScriptExited(action.service, action.kind, outcome))

    # --- end --------------------------------------------------------------------------------------

    def _end(self, process: _Process) -> None:
        if process.is_alive:
            self._finish(process, process.is_ok)

    def _finish(self, process: _Process, is_ok: bool) -> None:
        machine, action = self._machine, process.action
        service, kind = action.service, action.kind
        process.is_alive = False
        self._processes.pop(service, None)
        outcome, detail = self._effect(action, is_ok)
        told = "" if process.life is not None else ", nobody is told"
        machine.note(f"{kind.value} script of {service} ends: {outcome.name}{told}")
        is_lie = kind is ScriptKind.CHECK and machine.plan.fence is Fence.TRUE
        is_unsure = outcome is ScriptOutcome.UNSURE
        machine.observe(
            ScriptEnded(
                machine.monotonic,
                machine.name,
                service,
                kind,
                is_ok,
                self.runs(service),
                is_lie,
                is_unsure,
            )
        )
        if process.life is not None and not process.life.is_over:
            process.life.handle(ScriptExited(service, kind, outcome, detail))

    def _effect(self, action: RunScript, is_ok: bool) -> tuple[ScriptOutcome, str]:
        """Apply the effect of a script that has ended."""
        service, dice = action.service, self._dice
        if action.kind is ScriptKind.PROBE:
            if not is_ok or (not self.is_calm and dice.random() < self._machine.plan.probe_unsure):
                return ScriptOutcome.UNSURE, "status: exit code 2"
            return (ScriptOutcome.UP if self.runs(service) else ScriptOutcome.DOWN), "status"
        if action.kind is ScriptKind.START and not is_ok:
            self.running[service] = dice.random() < 0.5
        if action.kind is ScriptKind.STOP and is_ok:
            self.running[service] = False
        return (
            (ScriptOutcome.OK, "took a while") if is_ok else (ScriptOutcome.FAILED, "exited with 1")
        )
