"""Draw duration and outcome of the scripts of one node, and their effect on services and the peer.

They are separate processes: a daemon that dies leaves them behind, and they finish unobserved. The
next daemon's status script waits for their end, as in production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from opensvc_openha.agent.actions.peer_fencing import FencingVerdict, PeerKnowledge, decide
from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.timing import (
    CHECK_LIMIT_S,
    KILL_GRACE_S,
    PROBE_LIMIT_S,
    START_LIMIT_S,
    STOP_LIMIT_S,
)
from opensvc_openha.verify.random.plan import Fence
from opensvc_openha.verify.random.world import World
from opensvc_openha.verify.simulated_node import Script, SimulatedNode

_LIMIT_S = {
    ScriptKind.CHECK: CHECK_LIMIT_S,
    ScriptKind.START: START_LIMIT_S,
    ScriptKind.STOP: STOP_LIMIT_S,
    ScriptKind.PROBE: PROBE_LIMIT_S,
}


_NEEDS_DISKS = (ScriptKind.START, ScriptKind.STOP)
_DISK_S = 1.0
"""Time after which a script that waits for its disks is looked at again."""


@dataclass(eq=False)
class _Fate:
    """What was drawn for a running script."""

    script: Script
    is_ok: bool = True


class Scripts:
    """Draws for the scripts of one node."""

    def __init__(
        self, node: SimulatedNode, world: World, announce_decisive: Callable[[], None]
    ) -> None:
        self._node = node
        self._world = world
        self._plan = world.plan
        self._scheduler = world.scheduler
        self._announce_decisive = announce_decisive
        self._dice = Random(f"{world.plan.seed} scripts {node.name}")
        self._began: dict[ScriptKind, int] = {}
        self.is_calm = False
        """Every script succeeds, and soon."""
        self.failing: set[ScriptKind] = set()
        """Scripts that fail whenever they run."""

    @property
    def is_probing(self) -> bool:
        """True while a status script runs here."""
        return any(script.action.kind is ScriptKind.PROBE for script in self._node.scripts.values())

    def count_of(self, kind: ScriptKind) -> int:
        """Return how many scripts of that kind began on this node."""
        return self._began.get(kind, 0)

    # --- begin ------------------------------------------------------------------------------------

    def run(self, action: RunScript) -> None:
        """Begin a script of the present daemon."""
        owner = self._node.incarnation
        if action.kind is ScriptKind.POWER:
            # It uses nothing of the service, and may run beside any script of it.
            delay_s = self._dice.choice(self._plan.check_s)
            self._scheduler.after(delay_s, self._report_power, action, owner)
            return
        before = self._node.scripts.get(action.service)
        if before is not None and action.kind is ScriptKind.PROBE and before.owner != owner:
            self._await_orphan(action, owner, before)
            return
        self._begin(action)

    def _begin(self, action: RunScript) -> None:
        kind = action.kind
        self._node.note(f"{kind.value} script of {action.service} begins")
        self._began[kind] = self.count_of(kind) + 1
        fate = _Fate(self._node.begin_script(action, self._is_fence(action)))
        if kind is not ScriptKind.PROBE:
            self._announce_decisive()
        duration_s = self._draw(fate)
        if kind is ScriptKind.START:
            duration_s += self._take_disks(fate)
        limit_s = _LIMIT_S[kind]
        if duration_s > limit_s:
            fate.is_ok = False
            duration_s = limit_s + KILL_GRACE_S
        self._scheduler.after(duration_s, self._end, fate)

    def _take_disks(self, fate: _Fate) -> float:
        """Take the disks of a service, first of all; return how long the start waits then."""
        service = fate.script.action.service
        wait_s = self._world.disks.take(self._node, (service,), is_proof=False)
        if wait_s:
            self._scheduler.after(wait_s, self._use_disks, fate)
        else:
            self._use_disks(fate)
        return wait_s

    def _use_disks(self, fate: _Fate) -> None:
        node, service = self._node, fate.script.action.service
        if self._is_alive(fate.script):
            fate.is_ok = fate.is_ok and self._world.disks.holds(node, (service,))
            if fate.is_ok:
                self._world.disks.begin_use(node, service)

    def _await_orphan(self, action: RunScript, owner: BootId | None, before: Script) -> None:
        """Wait for a dead daemon's script, and end it after the limit of the longest one."""
        if self._scheduler.now > before.began_at + 2 * START_LIMIT_S:
            self._finish(before, is_ok=False)
        if self._is_alive(before):
            self._scheduler.after(0.1, self._retry_probe, action, owner)
        else:
            self._begin(action)

    def _retry_probe(self, action: RunScript, owner: BootId | None) -> None:
        if self._node.incarnation == owner:
            self.run(action)

    def _is_alive(self, script: Script) -> bool:
        return self._node.scripts.get(script.action.service) is script

    # --- duration and fate ------------------------------------------------------------------------

    def _draw(self, fate: _Fate) -> float:
        """Draw the outcome of a script; return its duration without a limit."""
        plan, dice, kind = self._plan, self._dice, fate.script.action.kind
        if kind is ScriptKind.CHECK:
            return self._draw_check(fate)
        if self.is_calm:
            return min(plan.scripts_s[0], 1.0)
        if dice.random() < plan.script_hangs:
            fate.is_ok = False
            return 10_000.0
        if kind is ScriptKind.PROBE:
            return min(dice.choice(plan.scripts_s), 2.0)
        fate.is_ok = kind not in self.failing and dice.random() >= plan.script_fails
        return dice.choice(plan.scripts_s) * dice.uniform(0.5, 1.0)

    def _is_fence(self, action: RunScript) -> bool:
        if action.kind is not ScriptKind.CHECK or self._plan.fence is Fence.TRUE:
            return False
        return (
            decide(PeerKnowledge(action.peer_standing, action.peer_state)) is FencingVerdict.FENCE
        )

    def _draw_check(self, fate: _Fate) -> float:
        plan, dice, action = self._plan, self._dice, fate.script.action
        kind = action.kind
        if plan.fence is Fence.TRUE:
            return 0.002
        verdict = decide(PeerKnowledge(action.peer_standing, action.peer_state))
        if verdict is not FencingVerdict.FENCE:
            fate.is_ok = verdict is FencingVerdict.PEER_IS_OUT
            return dice.choice(plan.check_s)
        if self.is_calm:
            fate.is_ok = self._node.peer.is_powered or not plan.is_switch_on_host
            self._scheduler.after(0.5, self._fence, fate.script, 0.0)
            return 1.0
        duration_s = dice.choice(plan.fence_s)
        fate.is_ok = kind not in self.failing and dice.random() >= plan.fence_fails
        if plan.is_switch_on_host and not self._node.peer.is_powered:
            fate.is_ok = False
            return duration_s
        lag_s = dice.choice(plan.fence_lag_s)
        # A failed fence may have switched the peer off all the same.
        if fate.is_ok or dice.random() < 0.3:
            self._scheduler.after(duration_s * dice.random(), self._fence, fate.script, lag_s)
        # It checks that the peer is off before it reports that.
        return duration_s + lag_s if fate.is_ok else duration_s

    def _fence(self, script: Script, lag_s: float) -> None:
        # A script that was killed before that gives no order to the device.
        if not self._is_alive(script):
            return
        node = self._node
        if not lag_s:
            node.switch_off(node.peer)
            return
        # The device carries out its order, even if the ordering node is dead by then.
        node.note(f"orders the power switch of {node.peer.name}")
        self._scheduler.after(lag_s, node.switch_off, node.peer)

    def _report_power(self, action: RunScript, owner: BootId | None) -> None:
        """Report the peer's power at this moment, if the asking daemon still runs."""
        node, is_on = self._node, self._node.peer.is_powered
        if node.incarnation != owner:
            return
        is_dumb = (self._plan.is_switch_on_host and not is_on) or (
            not self.is_calm and self._dice.random() < 0.2
        )
        outcome = ScriptOutcome.UP if is_on else ScriptOutcome.DOWN
        node.report_power(action, ScriptOutcome.UNSURE if is_dumb else outcome)

    # --- end --------------------------------------------------------------------------------------

    def _end(self, fate: _Fate) -> None:
        script = fate.script
        if not self._is_alive(script):
            return
        kind, node = script.action.kind, self._node
        if script.action.service not in node.frozen or kind not in _NEEDS_DISKS:
            self._finish(script, fate.is_ok)
        elif kind is ScriptKind.STOP and self._is_hasty(script) and self._dice.random() < 0.02:
            # It does not wait for its disks: writes are on their way.
            self._finish(script, is_ok=True, is_cut_short=True)
        elif self._scheduler.now > script.began_at + _LIMIT_S[kind]:
            self._finish(script, is_ok=False)
        else:
            self._scheduler.after(_DISK_S, self._end, fate)

    def _is_hasty(self, script: Script) -> bool:
        """Return True if a stop may end before its disks have what was written."""
        node, engine = self._node, self._node.engine
        if self._knows_frozen(script):
            return True
        # Nothing is known of them yet, but nobody waits for them either, and that is known.
        if script.action.flushes or engine is None or script.owner != node.incarnation:
            return False
        lease = engine.snapshot(node.now).lease
        return not node.is_away and lease is not None and bool(lease.cut_off)

    def _knows_frozen(self, script: Script) -> bool:
        """Return True if the daemon that waits for a script knows that its disks are frozen.

        It learns of the end at once: one that stands still meanwhile cannot tell what came first.
        """
        node, engine = self._node, self._node.engine
        if node.is_away:
            return False
        if engine is None or script.owner != node.incarnation:
            return False
        status = engine.snapshot(node.now).service(script.action.service)
        return status is not None and status.disks.startswith("no answer")

    def _finish(self, script: Script, is_ok: bool, is_cut_short: bool = False) -> None:
        node, service, kind = self._node, script.action.service, script.action.kind
        outcome, detail, is_running = self._effect(script.action, is_ok)
        is_running = is_running or is_cut_short
        recipient = "" if script.owner == node.incarnation else ", no daemon waits for it"
        node.note(f"{kind.value} script of {service} ends: {outcome.name}{recipient}")
        if kind is ScriptKind.STOP and not is_running:
            self._world.disks.end_use(node, service)
        is_lie = kind is ScriptKind.CHECK and self._plan.fence is Fence.TRUE
        node.end_script(script, outcome, is_running, detail, is_lie)

    def _effect(self, action: RunScript, is_ok: bool) -> tuple[ScriptOutcome, str, bool]:
        """Return outcome and detail of a script, and whether its service is in use afterwards."""
        is_running, dice = action.service in self._node.running, self._dice
        if action.kind is ScriptKind.PROBE:
            if not is_ok or (not self.is_calm and dice.random() < self._plan.probe_unsure):
                return ScriptOutcome.UNSURE, "status: exit code 2", is_running
            outcome = ScriptOutcome.UP if is_running else ScriptOutcome.DOWN
            return outcome, "status", is_running
        if action.kind is ScriptKind.START and not is_ok:
            is_running = dice.random() < 0.5
        if action.kind is ScriptKind.STOP and is_ok:
            is_running = False
        if is_ok:
            return ScriptOutcome.OK, "took a while", is_running
        return ScriptOutcome.FAILED, "exited with 1", is_running
