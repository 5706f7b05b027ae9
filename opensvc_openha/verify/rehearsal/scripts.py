"""Run the scripts of both nodes of a rehearsal: each takes the time that it took before.

A start of a service that could not start now fails, and so does a fence that failed the last time.
"""

from __future__ import annotations

from collections.abc import Callable

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptKind, ScriptOutcome
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import KILL_GRACE_S, STOP_LIMIT_S
from opensvc_openha.verify.rehearsal.copied_node import CopiedNode
from opensvc_openha.verify.rehearsal.present import Lasting, Present, script_word
from opensvc_openha.verify.rehearsal.timeline import MomentKind
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import Script, SimulatedNode

_ORPHAN_S = 0.1
_DISK_S = 1.0
_EFFECT = 0.9
"""Part of the duration of a fence after which the peer is off; the rest makes sure of that."""
Say = Callable[..., None]


class Scripts:
    """The scripts of both nodes."""

    def __init__(self, scheduler: Scheduler, present: Present, say: Say) -> None:
        self._scheduler = scheduler
        self._present = present
        self._say = say
        self.used: dict[tuple[str, ScriptKind], Lasting] = {}
        """The durations that mattered."""
        self.is_fence_used = False

    def run(self, node: CopiedNode, action: RunScript) -> None:
        """Run a script, or wait for one of a former daemon."""
        service, kind = action.service, action.kind
        lasting = self._present.script_s(service, kind)
        if kind is ScriptKind.POWER:
            node.soon(lasting.seconds, lambda: self._report_power(node, action))
            return
        before = node.scripts.get(service)
        if before is not None and before.owner != node.incarnation:
            node.soon(_ORPHAN_S, lambda: self.run(node, action))
            return
        seconds = lasting.seconds
        is_fence = kind is ScriptKind.CHECK and self._is_fence(node, action)
        if kind is ScriptKind.CHECK and not self._spec(node, service).is_fenced:
            seconds = 0.0
        elif kind is not ScriptKind.PROBE:
            self.used[service, kind] = lasting
        self.is_fence_used = self.is_fence_used or is_fence
        script = node.begin_script(action, is_fence)
        if kind is not ScriptKind.PROBE and seconds:
            how = " (fences)" if is_fence else ""
            text = f"{script_word(kind)} begins{how}"
            self._say(node.name, MomentKind.SCRIPT, text, service=service, is_begin=True)
        if is_fence and not self._fails(service):
            self._scheduler.after(seconds * _EFFECT, self._fence, node, script)
        self._scheduler.after(seconds, self._end, node, script)

    def _spec(self, node: CopiedNode, service: str) -> ServiceSpec:
        return next(svc for svc in node.spec.services if svc.name == service)

    def _is_fence(self, node: CopiedNode, action: RunScript) -> bool:
        # A generated check-up script fences nobody that is heard, and others should not.
        is_silent = action.peer_standing is PeerStanding.SILENT
        spec = self._spec(node, action.service)
        has_plan = bool(node.spec.fencing.levels)
        return is_silent and spec.is_fenced and not has_plan

    def _fails(self, service: str) -> bool:
        """Return True for a check-up script that failed the last time it ran."""
        for group in self._present.status.fencing.groups:
            if service in group.services:
                return bool(group.failures)
        return False

    def _fence(self, node: CopiedNode, script: Script) -> None:
        if self._is_alive(node, script):
            self.switch_off(node, f"check-up script of {script.action.service}")

    def order_switch(self, node: CopiedNode, delay_s: float, by: str) -> None:
        """Order a power switch, which acts whatever becomes of the node that ordered it."""
        self._scheduler.after(delay_s, self.switch_off, node, by)

    def switch_off(self, node: SimulatedNode, by: str) -> None:
        """Let a fence of a node act."""
        if node.peer.is_powered:
            text = f"fences {node.peer.name} by the {by}"
            cuts = node.peer.name
            self._say(node.name, MomentKind.FENCE, text, is_alarm=True, cuts=cuts)
            node.peer.power_off("is off: fenced")

    def _is_alive(self, node: CopiedNode, script: Script) -> bool:
        return node.scripts.get(script.action.service) is script

    def _report_power(self, node: CopiedNode, action: RunScript) -> None:
        is_on = node.peer.is_powered
        node.report_power(action, ScriptOutcome.UP if is_on else ScriptOutcome.DOWN)

    def _end(self, node: CopiedNode, script: Script) -> None:
        if not self._is_alive(node, script):
            return
        action = script.action
        service, kind = action.service, action.kind
        needs_disks = kind in (ScriptKind.START, ScriptKind.STOP)
        is_late = node.now > script.began_at + STOP_LIMIT_S + KILL_GRACE_S
        if needs_disks and service in node.frozen and not is_late:
            self._scheduler.after(_DISK_S, self._end, node, script)
            return
        is_running, problem = service in node.running, ""
        if kind is ScriptKind.PROBE:
            outcome = ScriptOutcome.UP if is_running else ScriptOutcome.DOWN
            node.end_script(script, outcome, is_running, "status")
            return
        if kind is ScriptKind.START:
            problem = node.unready.get(service, "")
            is_running = not problem
        elif kind is ScriptKind.STOP:
            problem = "its disks do not answer" if service in node.frozen else ""
            is_running = is_running and bool(problem)
        elif self._is_fence(node, action) and self._fails(service):
            problem = "as the last time"
        outcome = ScriptOutcome.FAILED if problem else ScriptOutcome.OK
        how = f"fails: {problem}" if problem else "ends"
        if node.now > script.began_at:
            text = f"{script_word(kind)} {how}"
            is_alarm = bool(problem)
            self._say(node.name, MomentKind.SCRIPT, text, service=service, is_alarm=is_alarm)
        node.end_script(script, outcome, is_running, problem)
