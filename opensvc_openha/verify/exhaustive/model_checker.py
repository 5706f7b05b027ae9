"""Model-check two nodes: each state, event, and fate of beats and scripts, breadth first.

``python -m opensvc_openha.verify.exhaustive.model_checker --depth N`` runs the real engine. It
starts from two nodes that were switched on and tries, in each world that it reaches, every event
that may happen next; worlds that are alike are visited once. The invariants are checked at each
edge. From each pair of node states that is met for the first time, the world is run without further
events, with both nodes and with either one, to check that the service gets to run. The first broken
invariant ends the search, with the way that led there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opensvc_openha.core.events import Command, Leaving, ScriptKind, ScriptOutcome
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.core.timing import RESTART_HOLD_S, START_READY_DELAY_S, STUCK_S
from opensvc_openha.verify.exhaustive.bounded_model import (
    FENCE_S,
    SERVICE,
    TIMEOUT_S,
    BoundedModel,
    Fate,
    Forgery,
)
from opensvc_openha.verify.invariants import InvariantBroken, fence_wait_bound_s, liveness_bound_s
from opensvc_openha.verify.simulated_node import NODES

MOMENT_S = 0.06
_TURNS_S = 17.0
"""Seconds for the direct consequences of an event: beats, their acknowledgements, the next step."""

_COMMANDS = (
    Command.START,
    Command.STOP,
    Command.FREEZE_STOP,
    Command.FREEZE_START,
    Command.UNFREEZE,
)
_FORCES = (Command.FORCE_START, Command.FORCE_STOP)
_D, _L = Fate.DELIVERED, Fate.LOST
_FATES = (
    (_D, _D),
    (_L, _D),
    (_D, _L),
    (_L, _L),
    (Fate.DELAYED, _D),
    (_D, Fate.DELAYED),
    (Fate.DOUBLED, _D),
    (_D, Fate.DOUBLED),
)
_SCRIPT_S = 0.5
FAILBACK_S = 8.0
"""After this time of a settled cluster a service goes back to its primary."""

_ENDS = {
    # Outcomes of each script, and whether the service then runs; None for no change.
    ScriptKind.CHECK: (("ok", ScriptOutcome.OK, None), ("fails", ScriptOutcome.FAILED, None)),
    ScriptKind.START: (
        ("ok", ScriptOutcome.OK, True),
        ("fails", ScriptOutcome.FAILED, False),
        ("is killed half-way", ScriptOutcome.FAILED, True),
        ("is not begun", ScriptOutcome.POSTPONED, False),
    ),
    ScriptKind.STOP: (("ok", ScriptOutcome.OK, False), ("fails", ScriptOutcome.FAILED, None)),
    ScriptKind.PROBE: (("answers", None, None), ("is unsure", ScriptOutcome.UNSURE, None)),
}

_FINDS_PARTS = (("finds parts", ScriptOutcome.SOME, None),)

Move = Callable[[BoundedModel], None]


@dataclass(frozen=True)
class Event:
    """One possible event, and for how long the world is observed afterwards."""

    text: str
    move: Move
    seconds: float = MOMENT_S


@dataclass
class Level:
    """Counts at one depth."""

    worlds: int = 0
    edges: int = 0
    pairs: int = 0


@dataclass
class Found:
    """The result of an enumeration."""

    levels: list[Level] = field(default_factory=list)
    broken: str = ""
    is_complete: bool = False
    left_alone: int = 0

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(level.edges for level in self.levels)

    @property
    def worlds(self) -> int:
        """Number of worlds."""
        return sum(level.worlds for level in self.levels)

    @property
    def pairs(self) -> int:
        """Number of pairs of node states."""
        return sum(level.pairs for level in self.levels)


def events_of(world: BoundedModel, with_force: bool) -> Iterator[Event]:
    """Return every event that may happen next, except the passing of time."""
    for index in (0, 1):
        yield from _events_on(world, index, with_force)


def _events_on(world: BoundedModel, index: int, with_force: bool) -> Iterator[Event]:
    node = world.nodes[index]
    name, is_unused = node.name, not any(SERVICE in other.running for other in world.nodes)
    # On one node only: the roles cover the other one.
    if not index and node.is_powered and node.script is None and is_unused:
        yield Event(f"{name} runs it by hand", lambda w: w.nodes[index].start_by_hand(SERVICE))
    if world.held[index] is not None:
        yield Event(f"late beat of {name} comes in", lambda w: w.deliver_held(index))
    if node.has_shot:
        yield Event(f"the switch that {name} ordered acts", lambda w: w.land_shot(index))
    if world.is_out(1 - index) and _standing(world, index) is PeerStanding.SILENT:
        text = f"operator on {name}: the other node runs nothing"
        yield Event(text, lambda w: w.confirm(index))
    if node.engine is None:
        yield Event(f"{name} is started", lambda w: w.boot(index))
        if node.is_powered:
            yield Event(f"{name} loses power", lambda w: w.nodes[index].power_off())
        return
    if node.power_asked is not None:
        text = f"the fence that {name} asks about its peer reports"
        yield Event(f"{text} its power", lambda w: w.report_power(index, is_clear=True))
        yield Event(f"{text} nothing clear", lambda w: w.report_power(index, is_clear=False))
    if node.script is not None:
        yield from _ends_of(world, index)
    elif node.engine.state_of(SERVICE) in PEER_OUT:
        yield Event(f"{name} seems to run it", lambda w: w.seem_up(index))
    yield from _orders_on(world, index, (*_COMMANDS, *_FORCES) if with_force else _COMMANDS)
    yield Event(f"{name} loses power", lambda w: w.nodes[index].power_off())
    yield Event(f"daemon of {name} dies", lambda w: w.nodes[index].kill_daemon())
    is_full = not node.store.is_full
    text = f"disk of {name} {'is full' if is_full else 'has room again'}"
    yield Event(text, lambda w: w.fill_disk(index, is_full))
    if not world.key_id and world.nodes[1 - index].engine is not None:
        for forgery in Forgery:
            text = f"{name} hears {forgery.value} in its peer's name"
            yield Event(text, partial(BoundedModel.forge, index=index, forgery=forgery))
    for leaving in Leaving:
        text = f"daemon of {name} is asked to end ({leaving.value})"
        yield Event(text, partial(BoundedModel.leave, index=index, leaving=leaving))


def forces_of(world: BoundedModel) -> Iterator[Event]:
    """Return the orders that force a state."""
    for index, node in enumerate(world.nodes):
        if node.engine is not None:
            yield from _orders_on(world, index, _FORCES)


def _orders_on(world: BoundedModel, index: int, commands: tuple[Command, ...]) -> Iterator[Event]:
    for command in commands:
        move = partial(BoundedModel.command, index=index, command=command)
        yield Event(f"{command.value} on {world.nodes[index].name}", move)


def _ends_of(world: BoundedModel, index: int) -> Iterator[Event]:
    node = world.nodes[index]
    assert node.script is not None
    kind = node.script.action.kind
    finds_parts = _FINDS_PARTS if kind is ScriptKind.PROBE and node.runs else ()
    for text, outcome, leaves in _ENDS[kind] + finds_parts:
        runs = node.runs if leaves is None else leaves
        how = (ScriptOutcome.UP if runs else ScriptOutcome.DOWN) if outcome is None else outcome
        yield Event(
            f"{kind.value} script on {node.name} {text}",
            partial(BoundedModel.end_script, index=index, outcome=how, leaves_running=runs),
        )


def waits_of(world: BoundedModel) -> Iterator[Event]:
    """Return the times for which nothing happens."""
    yield Event("a beat passes", _nothing, 1.05)
    yield Event("a timeout passes", _nothing, TIMEOUT_S + 0.6)
    yield Event("a delay passes", _nothing, START_READY_DELAY_S + 0.1)
    standings = [_standing(world, index) for index in (0, 1)]
    if PeerStanding.SILENT in standings:
        yield Event("two turns to fence pass", _nothing, _TURNS_S)
    if world.services[0].policy.failback_after_s is not None:
        yield Event("the primary is ready for long enough", _nothing, FAILBACK_S + 1.0)
    if PeerStanding.DEPARTED in standings:
        yield Event("a restart hold passes", _nothing, RESTART_HOLD_S + 0.1)
    if all(_state(world, index) is ServiceState.START_READY for index in (0, 1)):
        yield Event("both are stuck", _nothing, STUCK_S + 0.1)


def stalls_of(world: BoundedModel) -> Iterator[Event]:
    """Return stalls of a node longer than its peer's timeout.

    Queued beats are handled before or after its timers.
    """
    for index, node in enumerate(world.nodes):
        if node.engine is not None:
            for ticks_first in (False, True):

                def move(w: BoundedModel, i: int = index, first: bool = ticks_first) -> None:
                    w.nodes[i].is_stalled = True
                    w.run(TIMEOUT_S + 0.6)
                    w.resume(i, first)

                yield Event(f"{node.name} stalls{', timers first' if ticks_first else ''}", move)


def _nothing(_world: BoundedModel) -> None:
    """Let time pass."""


def _standing(world: BoundedModel, index: int) -> PeerStanding | None:
    engine = world.nodes[index].engine
    return None if engine is None else engine.peer_standing


def _state(world: BoundedModel, index: int) -> ServiceState | None:
    engine = world.nodes[index].engine
    return None if engine is None else engine.state_of(SERVICE)


@dataclass
class Way:
    """The way to a world."""

    before: Way | None
    text: str

    def steps(self) -> list[str]:
        """Return the events that led there, in their order."""
        steps: list[str] = []
        way: Way | None = self
        while way is not None:
            steps.append(way.text)
            way = way.before
        return steps[::-1]


class Enumeration:
    """Search breadth first over worlds, distinguished by fingerprint.

    ``by_pair`` distinguishes them by the states of the two nodes only.
    """

    def __init__(
        self,
        with_force: bool = False,
        by_pair: bool = False,
        key_id: str = "",
        is_primary_swapped: bool = False,
        reports_power: bool = False,
        is_beside_plain: bool = False,
        is_away: bool = False,
    ) -> None:
        """Prepare a search.

        With ``reports_power`` it starts from a node that has booted alone, and asks its fence
        for the other one's power. ``is_beside_plain`` leaves out of the last depth of a search
        ``with_force`` what the search without force tries in the same worlds, at the same depth:
        everything but the forces, where nothing is forced yet. ``is_away``: it starts where the
        service runs on its secondary, and goes back to its primary by itself.
        """
        self.with_force = with_force
        self.by_pair = by_pair
        self.found = Found()
        self._key_id = key_id
        self._is_primary_swapped = is_primary_swapped
        self._reports_power = reports_power
        self._is_beside_plain = is_beside_plain
        self._is_away = is_away
        self._is_last = False
        self._seen: set[Any] = set()
        self._pairs: set[Any] = set()

    def run(
        self,
        depth: int,
        progress: Callable[[Level], None] = lambda level: None,
        start: BoundedModel | None = None,
    ) -> Found:
        """Search until the depth is reached, nothing new is found or an invariant is broken.

        From ``start``, or from two nodes that were switched on.
        """
        way = Way(None, "both nodes are off" if start is None else start.show())
        if start is None:
            start = BoundedModel(
                self._key_id,
                self._is_primary_swapped,
                self._reports_power,
                FAILBACK_S if self._is_away else None,
            )
            start.start()
            if self._is_away:
                start.fail_over()
                way = Way(way, f"deb2 took over from deb1, which is back: {start.show()}")
            if self._reports_power:
                start.lose_both()
                way = Way(way, "both ran, lost their power, and deb2 is back alone")
        frontier = [(start, way)]
        self._seen.add(self._key(start))
        try:
            for left in range(depth)[::-1]:
                self._is_last = not left
                level = Level(worlds=len(frontier))
                self.found.levels.append(level)
                frontier = [
                    reached
                    for world, way in frontier
                    for reached in self._expand(world, way, level)
                ]
                progress(level)
                if not frontier:
                    self.found.is_complete = True
                    break
        except _Broken as error:
            self.found.broken = "\n".join([*error.way.steps(), error.text])
        return self.found

    def _key(self, world: BoundedModel) -> Any:
        return hash(world.pair() if self.by_pair else world.fingerprint())

    def _expand(
        self, world: BoundedModel, way: Way, level: Level
    ) -> list[tuple[BoundedModel, Way]]:
        reached = []
        for made, text in self._edges(world, way, level):
            key = self._key(made)
            if key in self._seen:
                continue
            self._seen.add(key)
            after = Way(way, f"{text}: {made.show()}")
            reached.append((made, after))
            pair = made.pair()
            if pair not in self._pairs:
                self._pairs.add(pair)
                level.pairs += 1
                self._leave_alone(made, after)
        return reached

    def _edges(
        self, world: BoundedModel, way: Way, level: Level
    ) -> Iterator[tuple[BoundedModel, str]]:
        only_forces = self._is_beside_plain and self._is_last and not world.is_forced
        for event in forces_of(world) if only_forces else events_of(world, self.with_force):
            plain = self._try(world, event, _FATES[0], way, level)
            yield plain, event.text
            for fates in _FATES[1:]:
                if self._matters(world, fates, plain.sent):
                    yield (
                        self._try(world, event, fates, way, level),
                        f"{event.text}, {_describe(fates)}",
                    )
        if only_forces:
            return
        for event in waits_of(world):
            for fates in _FATES[:4]:
                yield (
                    self._try(world, event, fates, way, level),
                    f"{event.text}, {_describe(fates)}",
                )
        for event in stalls_of(world):
            yield self._try(world, event, _FATES[0], way, level), event.text

    @staticmethod
    def _matters(world: BoundedModel, fates: tuple[Fate, Fate], sent: list[int]) -> bool:
        """Return True if the fate has a beat to act on, and room for a held-back one."""
        for index, fate in enumerate(fates):
            if fate is not Fate.DELIVERED and not sent[index]:
                return False
            if fate in (Fate.DELAYED, Fate.DOUBLED) and world.held[index] is not None:
                return False
        return True

    def _try(
        self, world: BoundedModel, event: Event, fates: tuple[Fate, Fate], way: Way, level: Level
    ) -> BoundedModel:
        made = world.copy()
        level.edges += 1
        try:
            made.fates, made.sent = list(fates), [0, 0]
            made.disturb()
            event.move(made)
            made.run(event.seconds)
        except (InvariantBroken, AssertionError) as error:
            raise _Broken(Way(way, f"{event.text}, {_describe(fates)}"), str(error)) from error
        made.fates = [Fate.DELIVERED, Fate.DELIVERED]
        return made

    def _leave_alone(self, world: BoundedModel, way: Way) -> None:
        """Check liveness without further faults: with both nodes, and with each of them alone."""
        for lost in (None, 0, 1):
            if lost is not None and world.nodes[lost].engine is None:
                continue
            made = world.copy()
            self.found.left_alone += 1
            text = "left alone" if lost is None else f"{NODES[lost]} loses power, then left alone"
            try:
                made.disturb()
                for index in (0, 1):
                    made.fill_disk(index, False)
                if lost is not None:
                    made.nodes[lost].power_off()
                settle(made)
            except (InvariantBroken, AssertionError) as error:
                raise _Broken(Way(way, text), f"{error}\n{made.show()}") from error


class _Broken(Exception):
    def __init__(self, way: Way, text: str) -> None:
        super().__init__(text)
        self.way, self.text = way, text


def _describe(fates: tuple[Fate, Fate]) -> str:
    return (
        ", ".join(
            f"beats of {name} {fate.value}"
            for name, fate in zip(NODES, fates)
            if fate is not Fate.DELIVERED
        )
        or "heard"
    )


def settle(world: BoundedModel) -> None:
    """Let all scripts succeed and all beats arrive, until the service runs or need not run."""
    began = [node.store.fencing.silent_since for node in world.nodes]
    silent_s = max((world.now - at for at in began if at is not None), default=0.0)
    end = (
        world.now
        + liveness_bound_s(TIMEOUT_S, _SCRIPT_S)
        + fence_wait_bound_s(TIMEOUT_S, FENCE_S, silent_s)
    )
    while True:
        world.run(_SCRIPT_S)
        _confirm_where_blocked(world)
        for index, node in enumerate(world.nodes):
            if node.power_asked is not None:
                world.report_power(index, is_clear=True)
            if node.script is not None:
                next(_ends_of(world, index)).move(world)
            world.finish_step(index)
        if all(node.script is None and node.step_in_air is None for node in world.nodes):
            try:
                _check_runs(world)
                return
            except InvariantBroken:
                if world.now >= end:
                    raise
        if world.now >= end:
            raise InvariantBroken(f"L1 broken at {world.now:.3f}: scripts run again and again")


def _confirm_where_blocked(world: BoundedModel) -> None:
    """Confirm, as an operator does for a node that has not heard its peer since its boot."""
    for index, node in enumerate(world.nodes):
        if node.engine is None or not world.is_out(1 - index):
            continue
        is_silent = node.engine.peer_standing is PeerStanding.SILENT
        if is_silent and node.engine.is_helpless(world.now):
            world.confirm(index)


def _is_left_frozen(world: BoundedModel, index: int) -> bool:
    """Return True if an operator froze the running service and ended the daemon.

    No node takes it, however long that lasts.
    """
    stored, _ = world.nodes[index].store.read_state(SERVICE)
    return stored is not None and stored.state is ServiceState.FROZEN_START


def _check_runs(world: BoundedModel) -> None:
    if world.nodes[0].runs or world.nodes[1].runs:
        return
    healthy = []
    for node in world.nodes:
        is_left = _standing(world, node.index) is PeerStanding.DEPARTED
        is_kept = is_left and _is_left_frozen(world, 1 - node.index)
        if node.engine is not None and not node.is_leaving and not is_kept:
            healthy.append(node.name)
    if healthy:
        world.checker.check_liveness(SERVICE, healthy)


def _arguments(argv: list[str]) -> argparse.Namespace:
    about = str(__doc__).split("\n\n")[0]
    parser = argparse.ArgumentParser(
        prog="python -m opensvc_openha.verify.exhaustive.model_checker", description=about
    )
    parser.add_argument("--depth", type=int, default=3, help="moves from the start (3)")
    parser.add_argument(
        "--pairs", action="store_true", help="distinguish worlds by the states of the nodes only"
    )
    parser.add_argument("--force", action="store_true", help="operators force states, too")
    parser.add_argument("--key", action="store_true", help="beats are authenticated")
    parser.add_argument(
        "--power",
        action="store_true",
        help="fences have a status that reports whether the peer is off",
    )
    parser.add_argument(
        "--failback",
        action="store_true",
        help="from a service on its secondary, which goes back to its primary by itself",
    )
    parser.add_argument(
        "--both-primary",
        action="store_true",
        help="the files of the nodes disagree on who is primary",
    )
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Print one line for each depth; return 1 if an invariant was broken."""
    asked = _arguments(argv)
    search = Enumeration(
        asked.force,
        asked.pairs,
        "aabbccdd" if asked.key else "",
        asked.both_primary,
        asked.power,
        is_away=asked.failback,
    )
    print(f"{'depth':>5} {'worlds':>9} {'edges':>10} {'new pairs':>10}", flush=True)

    def progress(level: Level) -> None:
        print(
            f"{len(search.found.levels):>5} {level.worlds:>9} {level.edges:>10} {level.pairs:>10}",
            flush=True,
        )

    found = search.run(asked.depth, progress)
    print(
        f"{'sum':>5} {found.worlds:>9} {found.edges:>10} {found.pairs:>10}, {found.left_alone}"
        " times left alone"
    )
    print(
        "complete: nothing new is reached"
        if found.is_complete
        else f"stopped at depth {asked.depth}"
    )
    print(found.broken or "no invariant broken")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
