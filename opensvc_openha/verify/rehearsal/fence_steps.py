"""Take the steps of the fence plans of a rehearsal: a path known as broken fails, others work.

Of the peer's paths nothing is known here: they are taken to work.
"""

from __future__ import annotations

from functools import partial

from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.events import (
    Ejected,
    FencePathsLooked,
    PathLook,
    PathState,
    StepOutcome,
)
from opensvc_openha.core.model import FencePath, PathKind
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.rehearsal.copied_node import CopiedNode
from opensvc_openha.verify.rehearsal.present import CLAIM_S, Lasting, Present
from opensvc_openha.verify.rehearsal.scripts import Scripts

_BROKEN = frozenset({PathState.WRONG.value, PathState.UNREACHABLE.value})
_EJECTED_S = 1.0
"""A node sees so soon that its registration on a data disk is gone."""
_EFFECT = 0.8
LOOK_S = 20.0
WATCH_S = 0.5


class FenceSteps:
    """The fence plans of both nodes."""

    def __init__(self, present: Present, scripts: Scripts, arbiter: SimulatedArbiter) -> None:
        self._present = present
        self._scripts = scripts
        self._arbiter = arbiter
        self.used: dict[str, Lasting] = {}
        """The paths that were used, with the time that they took."""

    def _why_broken(self, node: CopiedNode, path: FencePath) -> str:
        """Return why a path of a node does not work at present; empty if it is taken to work."""
        known = self._present.path_status(node.name, path.name)
        if known is None or known.state not in _BROKEN:
            return ""
        return f"{known.state}: {known.text}" if known.text else known.state

    def look(self, node: CopiedNode) -> None:
        """Have a node look at its power devices, as the standing check does."""
        looks = []
        for path in node.spec.fencing.paths:
            if path.kind is PathKind.POWER:
                why = self._why_broken(node, path)
                known = self._present.path_status(node.name, path.name)
                is_unseen = known is not None and not known.is_seen_on
                power = "on" if node.peer.is_powered else "off"
                state = PathState.UNREACHABLE if why else PathState.ARMED
                looks.append(PathLook(path.name, state, "" if why or is_unseen else power, why))
        if looks:
            node.give(FencePathsLooked(tuple(looks)))

    def watch(self, node: CopiedNode) -> None:
        """Look at the registration of a node on the arbiter."""
        if node.spec.fencing.has_arbiter:
            self._arbiter.watch(node)

    def run(self, node: CopiedNode, step: FenceStep) -> None:
        """Take a step."""
        node.begin_step(step)
        if step.kind is StepKind.CLAIM:
            node.soon(CLAIM_S, partial(self._claim, node, step))
            return
        path = node.spec.fencing.path(step.path)
        assert path is not None, step.path
        why = self._why_broken(node, path)
        lasting = self._present.path_s(path)
        seconds = min(lasting.seconds, step.limit_s)
        if why:
            node.soon(seconds, partial(self._fail, node, step, why))
            return
        self.used[step.path] = lasting
        if path.kind is PathKind.RESERVATION:
            node.soon(seconds, partial(self._take_disks, node, step))
        else:
            self._scripts.order_switch(node, seconds * _EFFECT, f"path {step.path}")
            node.soon(seconds, partial(self._prove, node, step, seconds))

    def _claim(self, node: CopiedNode, step: FenceStep) -> None:
        outcome, text = self._arbiter.claim(node)
        node.end_step(step, outcome, text, took_s=CLAIM_S)

    def _fail(self, node: CopiedNode, step: FenceStep, why: str) -> None:
        node.end_step(step, StepOutcome.FAILED, why)

    def _prove(self, node: CopiedNode, step: FenceStep, took_s: float) -> None:
        text = f"off, then OFF twice in {took_s:.1f} s"
        node.end_step(step, StepOutcome.DONE, text, took_s=took_s)

    def _take_disks(self, node: CopiedNode, step: FenceStep) -> None:
        covers = frozenset(
            svc.name
            for svc in node.spec.services
            if svc.name in step.services and svc.has_reserved_data
        )
        names = ", ".join(sorted(covers)) or "no service"
        if covers and node.peer.executor is not None:
            peer = node.peer
            assert isinstance(peer, CopiedNode)
            peer.later(_EJECTED_S, Ejected(node.name))
        node.end_step(step, StepOutcome.DONE, f"data disks of {names}", covers)
