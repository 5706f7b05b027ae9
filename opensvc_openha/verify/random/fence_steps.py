"""Draw what becomes of the steps of a node's fence plan: claims, power switches, reservations.

A step is a process of its own, and a switch that got its order acts without both: a daemon that
dies, or is stopped, leaves them behind. Switches work, fail, come late, say that they worked and
did nothing, or have lost their power with their node. The standing check sees what a switch says.
"""

from __future__ import annotations

from random import Random

from opensvc_openha.core.actions import FenceStep, StepKind
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import FencePathsLooked, PathLook, PathState, StepOutcome
from opensvc_openha.core.model import PathKind
from opensvc_openha.core.timing import CHECK_LIMIT_S
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.random.world import World
from opensvc_openha.verify.simulated_node import SimulatedNode

_LOOK_S, _WATCH_S = 20.0, 0.5
_CLAIMS_S = (0.01, 0.2, 3.0)


class FenceSteps:
    """Draws for the steps of one node, and reports what its standing checks see."""

    def __init__(self, node: SimulatedNode, world: World, arbiter: SimulatedArbiter) -> None:
        self._node = node
        self._world = world
        self._plan = world.plan
        self._arbiter = arbiter
        self._dice = Random(f"{world.plan.seed} steps {node.name}")
        self.is_calm = False
        self.is_failing = False
        """Every step that destroys fails."""
        self.shots = 0
        """Steps that began and destroy."""
        self._outcomes: dict[int, StepOutcome] = {}
        """What was drawn for the steps in the air."""
        if self._plan.fencing.levels:
            world.scheduler.after(_LOOK_S, self._look)
            world.scheduler.after(_WATCH_S, self._watch)

    def run(self, step: FenceStep) -> None:
        """Begin a step."""
        node = self._node
        node.note(f"fence step {step.number}: {step.path or 'claim'}")
        node.begin_step(step)
        owner = node.incarnation
        if step.kind is StepKind.CLAIM:
            delay_s = 0.01 if self.is_calm else self._dice.choice(_CLAIMS_S)
            self._later(delay_s, self._claim, step, owner)
        elif self._kind_of(step) is PathKind.RESERVATION:
            delay_s = 0.01 if self.is_calm else self._dice.choice((0.01, 1.0))
            self._later(delay_s, self._take_disks, step, owner)
        else:
            self.shots += 1
            self._cut(step, owner)

    def _kind_of(self, step: FenceStep) -> PathKind:
        path = self._plan.fencing.path(step.path)
        assert path is not None, step.path
        return path.kind

    def _later(self, delay_s: float, call: object, step: FenceStep, owner: BootId | None) -> None:
        assert callable(call)
        self._world.scheduler.after(delay_s, call, step, owner)

    def _end(
        self,
        step: FenceStep,
        owner: BootId | None,
        outcome: StepOutcome,
        text: str,
        covers: frozenset[str] | None = None,
        is_lie: bool = False,
    ) -> None:
        node = self._node
        # The machine that ran the step is down, or its daemon is another one.
        if node.incarnation == owner:
            node.note(f"fence step {step.number} ends: {outcome.value}, {text}")
            node.end_step(step, outcome, text, covers, is_lie)

    def _claim(self, step: FenceStep, owner: BootId | None) -> None:
        # The claim is made even if nobody waits for it any more, unless the machine is down.
        if self._node.is_powered:
            is_away = not self.is_calm and self._dice.random() < self._plan.fence_fails / 2
            if is_away:
                self._end(step, owner, StepOutcome.UNABLE, "the arbiter does not answer")
            else:
                self._end(step, owner, *self._arbiter.claim(self._node))

    def _take_disks(self, step: FenceStep, owner: BootId | None) -> None:
        if not self._node.is_powered:
            return
        if not self.is_calm and self._dice.random() < self._plan.fence_fails:
            self._end(step, owner, StepOutcome.FAILED, "conflict")
            return
        wait_s = self._world.disks.take(self._node, step.services, is_proof=True)
        if wait_s:
            self._later(wait_s, self._end_drain, step, owner)
        else:
            self._end_drain(step, owner)

    def _end_drain(self, step: FenceStep, owner: BootId | None) -> None:
        if not self._node.is_powered:
            return
        if self._world.disks.holds(self._node, step.services):
            self._end(step, owner, StepOutcome.DONE, "1 disk", frozenset(step.services))
        else:
            self._end(step, owner, StepOutcome.FAILED, "lost while writes had time to land")

    def _cut(self, step: FenceStep, owner: BootId | None) -> None:
        plan, dice, peer = self._plan, self._dice, self._node.peer
        drawn_s = dice.choice(plan.fence_s) * dice.uniform(0.2, 1.0)
        # No fence takes longer to have its effect than was declared, as with check-up scripts.
        duration_s = 0.5 if self.is_calm else min(CHECK_LIMIT_S, drawn_s)
        lag_s = 0.0 if self.is_calm else dice.choice(plan.fence_lag_s)
        is_dead = plan.is_switch_on_host and not peer.is_powered
        fails = self.is_failing or (not self.is_calm and dice.random() < plan.fence_fails)
        is_deaf = not self.is_calm and dice.random() < plan.fence_deaf
        took_s = duration_s + lag_s + 1.0
        if is_dead or is_deaf or fails:
            # One that failed may have got its order all the same.
            if not (is_dead or is_deaf or self.is_failing) and dice.random() < 0.3:
                self._later(duration_s + lag_s, self._act, step, owner)
            outcome = StepOutcome.DONE if is_deaf and not is_dead else StepOutcome.FAILED
            self._later(min(took_s, step.limit_s), self._report, step, owner)
            self._outcomes[step.number] = outcome
            return
        self._later(duration_s + lag_s, self._act, step, owner)
        is_in_time = took_s <= step.limit_s
        self._outcomes[step.number] = StepOutcome.DONE if is_in_time else StepOutcome.FAILED
        self._later(min(took_s, step.limit_s), self._report, step, owner)

    def _act(self, step: FenceStep, owner: BootId | None) -> None:
        self._node.switch_off(self._node.peer)

    def _report(self, step: FenceStep, owner: BootId | None) -> None:
        outcome = self._outcomes.pop(step.number, StepOutcome.FAILED)
        is_lie = outcome is StepOutcome.DONE and self._node.peer.is_powered
        self._end(
            step,
            owner,
            outcome,
            "OFF twice" if outcome is StepOutcome.DONE else "no answer",
            is_lie=is_lie,
        )

    # --- standing checks --------------------------------------------------------------------------

    def _look(self) -> None:
        self._world.scheduler.after(_LOOK_S, self._look)
        node, peer = self._node, self._node.peer
        is_dead = self._plan.is_switch_on_host and not peer.is_powered
        power = "" if is_dead else ("on" if peer.is_powered else "off")
        state = PathState.UNREACHABLE if is_dead else PathState.ARMED
        node.give(
            FencePathsLooked(
                tuple(
                    PathLook(path.name, state, power)
                    for path in self._plan.fencing.paths
                    if path.kind is PathKind.POWER
                )
            )
        )

    def _watch(self) -> None:
        self._world.scheduler.after(_WATCH_S, self._watch)
        if self._plan.fencing.has_arbiter:
            self._arbiter.watch(self._node)
