"""Two nodes with a fence plan and a service at home on each, small enough to be enumerated.

The nodes are those of `bounded_model`. The scripts of the second service end by themselves; steps
of the plan end, or act late, when the search decides it. Both nodes reach the arbiter at any time,
and find out at once what has become of their registration.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from opensvc_openha.core.actions import RunFenceStep, StepKind
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import (
    Command,
    CommandReceived,
    ConfigChanged,
    FencePathsLooked,
    PathLook,
    PathState,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
    Tick,
)
from opensvc_openha.core.model import (
    ClusterSpec,
    ConnectivityPolicy,
    FenceNeeds,
    FencePath,
    FencingPolicy,
    FrozenStorage,
    LeasePolicy,
    PathKind,
    Policy,
    ServiceSpec,
)
from opensvc_openha.core.timing import DISK_LOOK_S, FROZEN_AFTER_LEAST_S, PING_MISSES
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.exhaustive.bounded_model import (
    FENCE_S,
    SERVICE,
    BoundedModel,
    Fate,
)
from opensvc_openha.verify.simulated_node import NODES, SimulatedNode

OTHER = "files"
SWITCH = FencePath("switch", PathKind.POWER, FENCE_S)
SECOND = FencePath("second", PathKind.POWER, FENCE_S)
SLOW = FencePath("slow", PathKind.POWER, 12.0)
"""Takes longer than a link timeout and the start-ready delay together."""
DISKS = FencePath("reservation", PathKind.RESERVATION, FENCE_S)
GIVEN_UP = Policy(frozen_storage=FrozenStorage.GIVE_UP, frozen_after_s=FROZEN_AFTER_LEAST_S)
_PIECE_S = 0.5


TARGETS = ConnectivityPolicy(("192.0.2.1",))
_CUT_MAX = 4
"""Half seconds after which it makes no difference for how long an uplink has been cut."""
_FROZEN_MAX = 2 * round(FROZEN_AFTER_LEAST_S + 5)
"""Half seconds after which it makes no difference for how long a disk has been frozen."""


class StepFate(enum.Enum):
    """What becomes of a step that destroys."""

    WORKS = "works"
    FAILS = "fails"
    LATE = "fails, and acts later"
    DEAF = "says that it worked, and did nothing"
    NOT_BEGUN = "is not begun"


@dataclass(frozen=True)
class Fencing:
    """What the nodes have to fence with."""

    levels: tuple[tuple[FencePath, ...], ...] = ((SWITCH,),)
    has_arbiter: bool = False
    data: frozenset[str] = frozenset()
    """Services whose disks are reserved, and that need no more."""
    is_seen_on: bool = True
    """The standing check saw the switches on, the peer being heard."""
    lease: LeasePolicy | None = None
    """How both nodes promise to be dead, see `lease_model`."""
    has_frozen_disks: bool = False
    """The disks of the first service may freeze for either node, which gives it up then."""
    has_targets: bool = False
    """Both nodes ask a target whether they are isolated, and either may be cut from it."""
    times_known: tuple[bool, bool] = (True, True)
    """Nodes on which the times of the fences are declared."""
    can_be_edited: bool = False
    """Either node may be told another time, or none, at any moment, also in a cut."""
    are_both_cut_off: bool = False
    """Neither node can write any more, though each reads what the other one has written last."""


class PlanModel(BoundedModel):
    """Both nodes, the link between them, their switches, disks and arbiter."""

    def __init__(self, fencing: Fencing) -> None:
        super().__init__()
        self.fencing = fencing
        self.times_known = [*fencing.times_known]
        # What the peer reports of its disks must be authenticated.
        self.key_id = "k" if fencing.has_frozen_disks else ""
        self.arbiter = SimulatedArbiter()
        self._began_at = [0.0, 0.0]
        self._looks_at = self._asks_at = 0.0
        needs = {name: FenceNeeds.DATA for name in fencing.data}
        self.specs = tuple(
            ServiceSpec(
                name,
                f"/etc/{name}",
                NODES[index],
                NODES[1 - index],
                "/bin/true",
                fence_needs=needs.get(name, FenceNeeds.NODE),
                has_reserved_data=name in fencing.data,
                policy=GIVEN_UP if fencing.has_frozen_disks and name == SERVICE else Policy(),
            )
            for index, name in enumerate((SERVICE, OTHER))
        )
        self.checker.expect_plan(fencing.has_arbiter, fencing.data, fencing.data)

    # --- the nodes --------------------------------------------------------------------------------

    def boot(self, index: int) -> None:
        """Start the daemon, and the machine if it was down."""
        node = self.nodes[index]
        if not node.is_powered:
            node.power_on()
        spec = self._spec(index, self.times_known[index])
        recovered, kept = node.store.begin_daemon(spec.own_services)
        counter = node.store.boot_counter
        node.start_daemon(spec, BootId(counter, 1000 * (index + 1) + counter), recovered, kept)
        node.give(Tick())

    def _spec(self, index: int, is_declared: bool) -> ClusterSpec:
        fencing = self.fencing
        policy = FencingPolicy(
            levels=fencing.levels, has_arbiter=fencing.has_arbiter, lease=fencing.lease
        )
        return ClusterSpec(
            NODES[index],
            NODES[1 - index],
            self.links,
            self.specs,
            fence_time_s=FENCE_S if is_declared else None,
            fencing=policy,
            connectivity=TARGETS if fencing.has_targets else None,
        )

    def edit(self, index: int) -> None:
        """Declare the times of the fences on a node, or remove them."""
        self.times_known[index] = not self.times_known[index]
        self.nodes[index].give(ConfigChanged(self._spec(index, self.times_known[index]), {}))

    def is_out(self, index: int) -> bool:
        """Return True for a node that is off, or has no daemon and nothing of either service."""
        node = self.nodes[index]
        is_used = OTHER in node.running or OTHER in node.scripts
        return super().is_out(index) and not (node.is_powered and is_used)

    def start(self) -> None:
        """Start each service at home, with the other node as its standby."""
        super().start()
        for name, home in ((SERVICE, 0), (OTHER, 1), (SERVICE, 1), (OTHER, 0)):
            self.nodes[home].give(CommandReceived(1, name, Command.UNFREEZE))
            self.run(1.1)
            for index, node in enumerate(self.nodes):
                if node.script is not None:
                    self.end_script(index, ScriptOutcome.OK, leaves_running=True)
            self.run(1.1)
        if self.fencing.is_seen_on:
            looks = tuple(
                PathLook(path.name, PathState.ARMED, "on")
                for level in self.fencing.levels
                for path in level
                if path.kind is PathKind.POWER
            )
            for node in self.nodes:
                node.give(FencePathsLooked(looks))
        self.run(1.1)

    def run(self, seconds: float) -> None:
        """Let time pass; scripts of the second service end, and the arbiter is watched."""
        end = self.now + seconds
        while self.now < end:
            super().run(min(_PIECE_S, end - self.now))
            self._look_at_disks()
            self._ask_targets()
            for node in self.nodes:
                script = node.scripts.get(OTHER)
                if script is not None and not node.is_stalled:
                    kind, is_running = script.action.kind, OTHER in node.running
                    if kind is ScriptKind.PROBE:
                        outcome = ScriptOutcome.UP if is_running else ScriptOutcome.DOWN
                        node.end_script(script, outcome, is_running)
                    else:
                        node.end_script(script, ScriptOutcome.OK, kind is ScriptKind.START)
                self._kill_late_step(node.index)
                if self.fencing.has_arbiter and not node.is_stalled:
                    self.arbiter.watch(node)

    def _look_at_disks(self) -> None:
        """Report the disks from time to time, where they may freeze."""
        if not self.fencing.has_frozen_disks or self.now < self._looks_at:
            return
        self._looks_at = self.now + DISK_LOOK_S
        for node in self.nodes:
            if not node.is_stalled:
                node.look_at_disks()

    def _ask_targets(self) -> None:
        """Report a round of requests from time to time, where there are targets."""
        if not self.fencing.has_targets or self.now < self._asks_at:
            return
        self._asks_at = self.now + TARGETS.period_s
        for node in self.nodes:
            if not node.is_stalled:
                node.ask_targets()

    def isolate_first(self) -> None:
        """Cut the first node from its target, until it knows that."""
        self.nodes[0].cut_uplink()
        self.run((PING_MISSES + 1) * TARGETS.period_s)
        engine = self.nodes[0].engine
        assert engine is not None and engine.is_isolated, "nobody is isolated"

    def freeze(self, index: int, is_frozen: bool = True) -> None:
        """Freeze the disks of the first service for a node, or let them answer."""
        self.nodes[index].freeze(SERVICE, is_frozen)

    def freeze_until_given_up(self) -> None:
        """Freeze them for the owner alone, until it begins to stop the service."""
        self.freeze(0)
        self.await_script(0)

    def _kill_late_step(self, index: int) -> None:
        """End a step at its limit, as the daemon does."""
        node, began_at = self.nodes[index], self._began_at[index]
        step = node.step_in_air
        if step is not None and not node.is_stalled and self.now >= began_at + step.limit_s:
            node.end_step(step, StepOutcome.FAILED, "killed at its limit")

    # --- steps ------------------------------------------------------------------------------------

    def run_fence_step(self, node: SimulatedNode, action: RunFenceStep) -> None:
        """Begin a step; a switch that got its order may act without the node that gave it."""
        super().run_fence_step(node, action)
        self._began_at[node.index] = self.now
        path = self._path(action.step.path)
        if path is not None and path.kind is PathKind.POWER:
            self.nodes[node.index].ordered_at = self.now

    def _path(self, name: str) -> FencePath | None:
        paths = [path for level in self.fencing.levels for path in level]
        return next((path for path in paths if path.name == name), None)

    def end_claim(self, index: int, is_reached: bool) -> None:
        """End a claim by what the arbiter says, or without having reached it."""
        node = self.nodes[index]
        step = node.step_in_air
        assert step is not None and step.kind is StepKind.CLAIM, "only a claim"
        if is_reached:
            node.end_step(step, *self.arbiter.claim(node))
        else:
            node.end_step(step, StepOutcome.UNABLE, "the arbiter does not answer")

    def end_shot(self, index: int, fate: StepFate) -> None:
        """End a step that destroys."""
        node = self.nodes[index]
        step = node.step_in_air
        path = None if step is None else self._path(step.path)
        assert step is not None and path is not None, "only a step that destroys"
        node.ordered_at = self.now if fate is StepFate.LATE else None
        if fate is StepFate.NOT_BEGUN:
            node.end_step(step, StepOutcome.NOT_BEGUN, "it stood still")
        elif fate in (StepFate.FAILS, StepFate.LATE):
            node.end_step(step, StepOutcome.FAILED, "no answer")
        elif path.kind is PathKind.RESERVATION:
            node.end_step(step, StepOutcome.DONE, "disks", frozenset(step.services))
        else:
            is_lie = fate is StepFate.DEAF and node.peer.is_powered
            if fate is StepFate.WORKS:
                node.switch_off(node.peer)
            node.end_step(step, StepOutcome.DONE, "off, then OFF twice", is_lie=is_lie)

    def finish_step(self, index: int) -> None:
        """End the step that a node has in the air, as it should end.

        An operator starts the daemon of a node again whose peer was ejected, or has booted without
        hearing it: nobody else can help that one while services may run there.
        """
        self.freeze(index, is_frozen=False)
        self.nodes[index].cut_uplink(is_cut=False)
        node, peer = self.nodes[index], self.nodes[1 - index].engine
        is_needed = peer is not None and peer.is_helpless(self.now)
        if node.engine is None and node.is_powered and is_needed:
            self.boot(index)
        step = node.step_in_air
        if step is not None and step.kind is StepKind.CLAIM:
            self.end_claim(index, is_reached=True)
        elif step is not None:
            self.end_shot(index, StepFate.WORKS)

    # --- what is alike ----------------------------------------------------------------------------

    def _others(self) -> tuple[Any, ...]:
        return tuple(
            (
                OTHER in node.running,
                node.scripts[OTHER].action.kind if OTHER in node.scripts else None,
                node.store.files.get(OTHER),
                None
                if node.step_in_air is None
                else (node.step_in_air.kind, node.step_in_air.path),
                tuple(self.checker.is_barred(node.name, name) for name in (SERVICE, OTHER)),
            )
            for node in self.nodes
        )

    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for worlds in which the same follows from the same."""
        disks = tuple(
            tuple(min(_FROZEN_MAX, round(2 * (self.now - at))) for at in node.frozen.values())
            for node in self.nodes
        )
        looks = round(2 * (self._looks_at - self.now)) if self.fencing.has_frozen_disks else 0
        own = self._others(), self.arbiter.summary(), disks, looks, *self._uplinks()
        own = (*own, tuple(self.times_known)) if self.fencing.can_be_edited else own
        return *super().fingerprint(), *own

    def _uplinks(self) -> tuple[Any, ...]:
        """Return what differs of the uplinks; nothing where there are no targets."""
        if not self.fencing.has_targets:
            return ()
        cuts = (node.uplink_cut_since for node in self.nodes)
        ages = tuple(
            None if at is None else min(_CUT_MAX, round(2 * (self.now - at))) for at in cuts
        )
        return round(2 * (self._asks_at - self.now)), ages

    def pair(self) -> tuple[Any, ...]:
        """Return the states of both nodes, without time and messages."""
        states = tuple(
            None
            if node.engine is None
            else (node.engine.state_of(OTHER), node.engine.fencing_status(self.now).is_ejected_by)
            for node in self.nodes
        )
        return *super().pair(), states, self._others()

    def cut(self) -> None:
        """Cut both directions until the first node begins to fence."""
        self.fates = [Fate.LOST, Fate.LOST]
        while not any(node.step_in_air for node in self.nodes):
            self.run(0.5)
            assert self.now < 20_000.0, "nobody fences"
