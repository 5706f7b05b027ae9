"""Model-check the fence plan: two nodes, a service at home on each, cut from each other.

``python -m opensvc_openha.verify.exhaustive.plan_checker --depth N`` searches as `model_checker`
does, from the moment at which the first of two cut nodes begins to fence. Steps of the plan work,
fail, act late, say that they worked and did nothing, or are not begun; nodes lose power, daemons
die and come back, the cut heals and comes back in each direction, nodes stall. It is done for each
of several plans: one switch, two levels, an arbiter, reservations, a switch that was never seen on;
with times of the fences that both nodes know, or one, or none, or that are edited in the cut.

Plans with a lease are searched from two nodes that hear each other, and in each move either of them
may be unable to write, or to read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from opensvc_openha.core.actions import StepKind
from opensvc_openha.core.events import Leaving, ScriptKind, ScriptOutcome
from opensvc_openha.core.timing import FROZEN_STOP_S, START_READY_DELAY_S
from opensvc_openha.verify.exhaustive.bounded_model import (
    SERVICE,
    TIMEOUT_S,
    BoundedModel,
    Fate,
)
from opensvc_openha.verify.exhaustive.lease_model import LEASE, POLICY, STOPPING, LeaseModel
from opensvc_openha.verify.exhaustive.model_checker import Enumeration, Event, Found, Level, Way
from opensvc_openha.verify.exhaustive.plan_model import (
    DISKS,
    OTHER,
    SECOND,
    SLOW,
    SWITCH,
    Fencing,
    PlanModel,
    StepFate,
)
from opensvc_openha.verify.simulated_node import NODES

PLANS = {
    "switch": Fencing(),
    "switch, no times": Fencing(times_known=(False, False)),
    "switch, one time": Fencing(times_known=(True, False)),
    "switch, times edited": Fencing(can_be_edited=True),
    "arbiter, one time": Fencing(has_arbiter=True, times_known=(False, True)),
    "two levels": Fencing(levels=((SWITCH,), (SECOND,))),
    "arbiter": Fencing(has_arbiter=True),
    "arbiter, slow switch": Fencing(levels=((SLOW,),), has_arbiter=True),
    "arbiter, two levels": Fencing(levels=((SWITCH,), (SECOND,)), has_arbiter=True),
    "reservations": Fencing(
        levels=((DISKS,), (SWITCH,)), has_arbiter=True, data=frozenset({OTHER, "registry"})
    ),
    "one service reserved": Fencing(
        levels=((DISKS,), (SWITCH,)), has_arbiter=True, data=frozenset({"registry"})
    ),
    "switch and reservation": Fencing(levels=((SWITCH, DISKS),), data=frozenset({OTHER})),
    "never seen on": Fencing(is_seen_on=False),
    "lease": Fencing(levels=((LEASE,),), lease=POLICY),
    "switch, lease": Fencing(levels=((SWITCH,), (LEASE,)), lease=POLICY),
    "lease, switch": Fencing(levels=((LEASE,), (SWITCH,)), lease=POLICY),
    "lease and switch": Fencing(levels=((LEASE, SWITCH),), lease=POLICY),
    "lease, stopped": Fencing(levels=((LEASE,),), lease=STOPPING),
    "lease, switch, stopped": Fencing(levels=((LEASE,), (SWITCH,)), lease=STOPPING),
    "lease, both cut off": Fencing(levels=((LEASE,),), lease=STOPPING, are_both_cut_off=True),
    "frozen disks, lease": Fencing(levels=((LEASE,),), lease=POLICY, has_frozen_disks=True),
    "frozen disks, switch": Fencing(has_frozen_disks=True),
    "targets, switch": Fencing(has_targets=True),
    "targets, arbiter": Fencing(has_targets=True, has_arbiter=True),
}
_D, _L = Fate.DELIVERED, Fate.LOST
_FATES = ((_L, _L), (_D, _D), (_L, _D), (_D, _L))
_TURNS_S = 17.0


def events_of(world: PlanModel) -> Iterator[Event]:
    """Return every event that may happen next, except the passing of time."""
    move: Any
    for index, node in enumerate(world.nodes):
        name = node.name
        if node.has_shot:
            yield Event(f"the switch that {name} ordered acts", partial(_land, index=index))
        if node.engine is None:
            yield Event(f"{name} is started", partial(_boot, index=index))
            continue
        yield Event(f"{name} loses power", partial(_lose, index=index))
        yield Event(f"daemon of {name} dies", partial(_kill, index=index))
        if isinstance(world, LeaseModel):
            is_blind = not world.ends[index].is_blind
            text = "cannot read its disk" if is_blind else "can read its disk again"
            yield Event(f"{name} {text}", partial(_blind, index=index, is_blind=is_blind))
            yield Event(f"daemon of {name} is started again", partial(_restart, index=index))
            may_leave = world.fencing.lease is STOPPING and len(world.fencing.levels) == 1
            if may_leave and node.script is None:
                yield Event(f"{name} leaves in order", partial(_leave, index=index))
        if world.fencing.has_frozen_disks:
            is_frozen = SERVICE not in node.frozen
            text = "freeze" if is_frozen else "answer again"
            move = partial(_freeze, index=index, is_frozen=is_frozen)
            yield Event(f"disks {text} for {name}", move)
        if world.fencing.has_targets:
            is_cut = node.uplink_cut_since is None
            text = f"targets {'do not answer' if is_cut else 'answer'} {name}"
            yield Event(text, partial(_cut_uplink, index=index, is_cut=is_cut))
        if world.fencing.can_be_edited:
            text = "removed" if world.times_known[index] else "declared"
            yield Event(f"the fence time is {text} on {name}", partial(_edit, index=index))
        step = node.step_in_air
        if step is not None and step.kind is StepKind.CLAIM:
            for is_reached in (True, False):
                text = "is asked" if is_reached else "does not answer"
                move = partial(_claim, index=index, is_reached=is_reached)
                yield Event(f"the arbiter {text} by {name}", move)
        elif step is not None:
            for fate in StepFate:
                text = f"{step.path} of {name} {fate.value}"
                yield Event(text, partial(_shoot, index=index, fate=fate))
        if node.script is not None:
            kind = node.script.action.kind
            is_hung = SERVICE in node.frozen and kind in (ScriptKind.START, ScriptKind.STOP)
            if is_hung:
                yield Event(f"{kind.value} script on {name} is killed", partial(_hang, index=index))
            if not is_hung or kind is ScriptKind.STOP:
                text = "ends without its disks" if is_hung else "ends"
                move = partial(_end_script, index=index)
                yield Event(f"{kind.value} script on {name} {text}", move)


def _freeze(world: BoundedModel, index: int, is_frozen: bool) -> None:
    assert isinstance(world, PlanModel)
    world.freeze(index, is_frozen)


def _edit(world: BoundedModel, index: int) -> None:
    assert isinstance(world, PlanModel)
    world.edit(index)


def _cut_uplink(world: BoundedModel, index: int, is_cut: bool) -> None:
    world.nodes[index].cut_uplink(is_cut)


def _hang(world: BoundedModel, index: int) -> None:
    world.end_script(index, ScriptOutcome.FAILED, leaves_running=True)


def _land(world: BoundedModel, index: int) -> None:
    world.land_shot(index)


def _boot(world: BoundedModel, index: int) -> None:
    world.boot(index)


def _blind(world: BoundedModel, index: int, is_blind: bool) -> None:
    assert isinstance(world, LeaseModel)
    world.blind(index, is_blind)


def _restart(world: BoundedModel, index: int) -> None:
    world.leave(index, Leaving.KEEP_SERVICES)
    world.run(1.0)
    if world.nodes[index].engine is None:
        world.boot(index)


def _leave(world: BoundedModel, index: int) -> None:
    """Stop what runs on a node, and end its daemon for good."""
    world.leave(index, Leaving.STOP_SERVICES)
    world.run(0.5)
    if world.nodes[index].script is not None:
        world.end_script(index, ScriptOutcome.OK, leaves_running=False)
    world.run(1.0)


def _lose(world: BoundedModel, index: int) -> None:
    world.nodes[index].power_off()


def _kill(world: BoundedModel, index: int) -> None:
    world.nodes[index].kill_daemon()


def _claim(world: BoundedModel, index: int, is_reached: bool) -> None:
    assert isinstance(world, PlanModel)
    world.end_claim(index, is_reached)


def _shoot(world: BoundedModel, index: int, fate: StepFate) -> None:
    assert isinstance(world, PlanModel)
    world.end_shot(index, fate)


def _end_script(world: BoundedModel, index: int) -> None:
    node = world.nodes[index]
    assert node.script is not None
    kind = node.script.action.kind
    if kind is ScriptKind.PROBE:
        outcome = ScriptOutcome.UP if node.runs else ScriptOutcome.DOWN
        world.end_script(index, outcome, node.runs)
    else:
        # A stop that does not wait for its disks leaves writes on their way.
        is_up = kind is ScriptKind.START or SERVICE in node.frozen
        world.end_script(index, ScriptOutcome.OK, is_up)


def _wait(_world: BoundedModel) -> None:
    """Let time pass."""


def _stall(world: BoundedModel, index: int) -> None:
    world.nodes[index].is_stalled = True
    world.run(TIMEOUT_S + 0.6)
    world.resume(index, ticks_first=False)


class PlanEnumeration(Enumeration):
    """Search the worlds of one fence plan."""

    def begin(self, fencing: Fencing, depth: int) -> Found:
        """Search from the moment at which the first of two cut nodes begins to fence.

        With a lease, from two nodes that hear each other; with disks that may freeze, from an owner
        that has just given a service up; with targets, from an owner that is isolated; if services
        are stopped before a watchdog bites, from an owner that is cut off and has just begun to
        stop one, or from two that have done so.
        """
        world = PlanModel(fencing) if fencing.lease is None else LeaseModel(fencing)
        world.start()
        if fencing.has_frozen_disks:
            world.freeze_until_given_up()
        elif fencing.has_targets:
            world.isolate_first()
        elif isinstance(world, LeaseModel) and fencing.are_both_cut_off:
            world.cut_both_until_dead()
        elif isinstance(world, LeaseModel) and fencing.lease is STOPPING:
            world.cut_until_stopping()
        elif fencing.lease is None:
            world.cut()
        return self.run(depth, start=world)

    def _edges(
        self, world: BoundedModel, way: Way, level: Level
    ) -> Iterator[tuple[BoundedModel, str]]:
        assert isinstance(world, PlanModel)
        events = [(event, 2) for event in events_of(world)]
        events += [
            (Event("a beat passes", _wait, 1.05), len(_FATES)),
            (Event("a timeout passes", _wait, TIMEOUT_S + 0.6), 1),
            (Event("a delay passes", _wait, START_READY_DELAY_S + 0.1), 1),
            (Event("two turns to fence pass", _wait, _TURNS_S), 1),
        ]
        if world.fencing.has_targets:
            events += [(Event("rounds of requests pass", _wait, 4.1), len(_FATES))]
        if world.fencing.has_frozen_disks:
            events += [(Event("a hung stop is not waited for", _wait, FROZEN_STOP_S + 2.5), 2)]
        events += [
            (Event(f"{name} stalls", partial(_stall, index=index)), 1)
            for index, name in enumerate(NODES)
            if world.nodes[index].engine is not None
        ]
        for event, count in events:
            for fates in _FATES[:count]:
                text = f"{event.text}{'' if fates == (_L, _L) else f', {_describe(fates)}'}"
                yield self._try(world, event, fates, way, level), text


def _describe(fates: tuple[Fate, Fate]) -> str:
    heard = [name for name, fate in zip(NODES, fates) if fate is _D]
    return f"{' and '.join(heard)} heard"


def main(argv: list[str]) -> int:
    """Search each plan, or the named ones; return 1 if an invariant was broken."""
    about = str(__doc__).split("\n\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m opensvc_openha.verify.exhaustive.plan_checker", description=about
    )
    parser.add_argument("--depth", type=int, default=3, help="moves from the start (3)")
    parser.add_argument("plans", nargs="*", metavar="PLAN", help=f"of: {'; '.join(PLANS)}")
    asked = parser.parse_args(argv)
    is_broken = False
    for name in asked.plans or PLANS:
        found = PlanEnumeration().begin(PLANS[name], asked.depth)
        print(
            f"{name}: {found.worlds} worlds, {found.edges} edges, {found.pairs} pairs,"
            f" {found.broken or 'no invariant broken'}",
            flush=True,
        )
        is_broken = is_broken or bool(found.broken)
    return 1 if is_broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
