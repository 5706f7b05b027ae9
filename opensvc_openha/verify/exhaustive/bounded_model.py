"""Drive two simulated nodes in a model small enough to be enumerated.

One service, one link each way, a fence. Nothing happens by chance or by itself except the delivery
of beats: a script ends, a node dies, an operator types when the model checker decides it, and each
direction of the link has a fate for as long as one move lasts. The invariant checker observes
everything that is sent, heard and run.

The nodes are those of the random histories, without what multiplies states and proves nothing more
here: beats are values in place of frames, both clocks agree, a step takes no time, and the script
of a daemon that dies is gone with it (its effects stay). A model is copied before each move, so
there is nothing in it but what decides what happens next.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import Any

from opensvc_openha.core.actions import Announce, RunFenceStep, RunScript
from opensvc_openha.core.beat import Ack, Beat, BootId, Goodbye
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    LeaveRequested,
    Leaving,
    PeerConfirmedOut,
    ReadinessFound,
    ScriptKind,
    ScriptOutcome,
    SeemsUp,
    Tick,
)
from opensvc_openha.core.model import ClusterSpec, LinkSpec, Policy, ServiceSpec
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.timing import NEWS_GAP_S
from opensvc_openha.verify.exhaustive.snapshot import copy_of
from opensvc_openha.verify.exhaustive.state_fingerprint import StateFingerprint
from opensvc_openha.verify.invariants import (
    Arrived,
    Confirmed,
    Disturbed,
    InvariantBroken,
    InvariantChecker,
    Observation,
)
from opensvc_openha.verify.simulated_node import NODES, Script, SimulatedNode

SERVICE = "registry"
TIMEOUT_S = 2.0
LATENCY_S = 0.001
FENCE_S = 1.0
"""A power switch acts within this time, in seconds, after its order, whatever happens to the node
that gave it.
"""
_WAITS_MAX = 100
_STEPS_AT_ONCE = 60
"""More steps of one engine within one instant are an endless loop."""


class Fate(enum.Enum):
    """Fate of one node's beats while one move lasts."""

    DELIVERED = "delivered"
    LOST = "lost"
    DELAYED = "delayed"
    """The first beat is held back, the others overtake it."""
    DOUBLED = "doubled"
    """The first beat arrives at once and a second time later."""


class Forgery(enum.Enum):
    """Content of a beat forged without the key in the name of a living node."""

    NUMBER = "the highest number"
    INCARNATION = "the highest incarnation"
    GOODBYE = "a goodbye"


_FORGED_SEQ = 2**64 - 1
"""A number that no node reaches; a forged beat has it, and it proves nothing."""


class ModelNode(SimulatedNode):
    """One node of the model, and what the invariants need beyond its store and its service."""

    def __init__(self, index: int, world: BoundedModel) -> None:
        super().__init__(index, world)
        self.world = world
        self.is_leaving = False
        self.ordered_at: float | None = None
        """When the peer's power switch got its order, while that may act after the script is gone.
        """
        self.power_asked: RunScript | None = None
        """The fence is being asked for the peer's power."""
        self.is_stalled = False
        self.parked: list[Beat] = []
        self.at_once = 0
        self.stepped_at = 0.0
        self.announced: Beat | None = None
        self.announced_at = 0.0

    @property
    def script(self) -> Script | None:
        """The script that runs, if any."""
        return self.scripts.get(SERVICE)

    @property
    def runs(self) -> bool:
        """True if some of the service is in use here."""
        return SERVICE in self.running

    def step(self, event: Event) -> None:
        """Pass one event to the engine, which must not loop within one instant."""
        now = self.world.now
        self.at_once = self.at_once + 1 if now <= self.stepped_at else 0
        self.stepped_at = now
        if self.at_once > _STEPS_AT_ONCE:
            raise InvariantBroken(
                f"L2 broken at {now:.3f} on {self.name}: {self.at_once} steps within one instant"
            )
        super().step(event)

    def observe_event(self, event: Event) -> None:
        """Pass what an event means to the invariant checker, unless it is a forged beat."""
        if not isinstance(event, BeatReceived) or event.beat.seq != _FORGED_SEQ:
            super().observe_event(event)

    def power_off(self, why: str = "power lost") -> None:
        """End everything on the node; an order to the peer's power switch stays."""
        self._keep_order()
        super().power_off(why)
        self.is_leaving, self.is_stalled, self.power_asked, self.parked = False, False, None, []

    def end_daemon(self, how: str = "kill -9") -> None:
        """End the daemon."""
        super().end_daemon(how)
        self.is_leaving, self.power_asked = False, None

    def kill_daemon(self) -> None:
        """Kill the daemon; effects of its script stay."""
        self._keep_order()
        self.end_daemon()
        self.scripts.clear()

    def _keep_order(self) -> None:
        """Keep the order of a script that is gone: only that acts by itself."""
        is_fence = self.script is not None and self.script.is_fence
        if not is_fence and self.step_in_air is None:
            self.ordered_at = None

    @property
    def has_shot(self) -> bool:
        """True while a switch that this node ordered may act without it."""
        at = self.ordered_at
        is_free = self.script is None and self.step_in_air is None
        return is_free and at is not None and self.world.now <= at + FENCE_S

    def find_mismatch(self, engine: Engine) -> str:
        """Return what does not agree: disk, last beat and service with the engine's state."""
        problem = super().find_mismatch(engine)
        if problem:
            return problem
        announced = engine.announced_state_of(SERVICE)
        if self._is_old_news(announced):
            return f"{announced.name} was not announced in time"
        if announced in PEER_OUT and self.runs and not self.world.is_excused(self.index):
            return f"{announced.name} is announced while the service runs there"
        return ""

    def _is_old_news(self, announced: ServiceState) -> bool:
        """Return True if the last beat differs.

        A state that the node is not sure of may wait for the next one.
        """
        if (
            self.announced is None
            or self.is_leaving
            or (self.engine is not None and self.engine.sends_nothing)
            or self.world.now < self.announced_at + NEWS_GAP_S
        ):
            return False
        last = self.announced.states[SERVICE]
        return last is not announced and ServiceState.UNKNOWN not in (last, announced)

    def announce(self, action: Announce) -> None:
        """Send a beat."""
        self.announced, self.announced_at = action.beat, self.world.now
        super().announce(action)


class BoundedModel:
    """Both nodes and the link between them."""

    def __init__(
        self,
        key_id: str = "",
        is_primary_swapped: bool = False,
        reports_power: bool = False,
        failback_after_s: float | None = None,
    ) -> None:
        self.now = 10_000.0
        self.reports_power = reports_power
        """The fences have a status that reports the other node's power."""
        self.key_id = key_id
        self.links = tuple(
            LinkSpec(name, "net", "eth1", f"239.131.50.{10 + index}", 5010, 0, TIMEOUT_S)
            for index, name in enumerate(NODES)
        )
        straight = ServiceSpec(
            SERVICE,
            "/etc/registry",
            "deb1",
            "deb2",
            "/etc/registry.check",
            policy=Policy(failback_after_s=failback_after_s),
        )
        swapped = replace(straight, primary="deb2", secondary="deb1")
        self.services = (straight, swapped if is_primary_swapped else straight)
        self.checker = InvariantChecker(NODES, TIMEOUT_S, TIMEOUT_S)
        self.nodes = [ModelNode(0, self), ModelNode(1, self)]
        for node, peer in zip(self.nodes, self.nodes[::-1]):
            node.peer = peer
        self.transit: list[tuple[float, int, Beat]] = []
        self.held: list[Beat | None] = [None, None]
        self.fates = [Fate.DELIVERED, Fate.DELIVERED]
        self.sent = [0, 0]
        self.is_forced = False

    def copy(self) -> BoundedModel:
        """Return a copy, to explore another move from the same world."""
        return copy_of(self)

    # --- the driver of both nodes -----------------------------------------------------------------

    def clock(self, node: SimulatedNode) -> float:
        """Return the clock of both nodes."""
        return self.now

    def observe(self, seen: Observation) -> None:
        """Check an observation."""
        self.checker.observe(seen)

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Begin a script; the model checker ends it."""
        own = self.nodes[node.index]
        if action.kind is ScriptKind.POWER:
            own.power_asked = action
            return
        is_fence = action.kind is ScriptKind.CHECK and action.peer_state is ServiceState.UNKNOWN
        own.begin_script(action, is_fence)
        own.ordered_at = self.now if is_fence else own.ordered_at

    def run_fence_step(self, node: SimulatedNode, action: RunFenceStep) -> None:
        """Begin a step of the fence plan; the model checker ends it."""
        node.begin_step(action.step)

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Apply the fate of this node's beats to one of them."""
        index = node.index
        fate, is_first = self.fates[index], not self.sent[index]
        self.sent[index] += 1
        if fate is Fate.LOST:
            return
        if is_first and fate in (Fate.DELAYED, Fate.DOUBLED):
            self.held[index] = action.beat
            if fate is Fate.DELAYED:
                return
        self.transit.append((self.now + LATENCY_S, 1 - index, action.beat))

    # --- what may happen --------------------------------------------------------------------------

    def boot(self, index: int) -> None:
        """Start the daemon, and the machine if it was down."""
        node = self.nodes[index]
        if not node.is_powered:
            node.power_on()
        spec = ClusterSpec(
            node.name, NODES[1 - index], self.links, (self.services[index],), fence_time_s=FENCE_S
        )
        recovered, kept = node.store.begin_daemon(spec.own_services)
        counter = node.store.boot_counter
        node.start_daemon(spec, BootId(counter, 1000 * (index + 1) + counter), recovered, kept)
        node.give(Tick())
        if self.reports_power:
            node.give(ReadinessFound({}, frozenset({SERVICE})))

    def land_shot(self, index: int) -> None:
        """Let the switch act that a node ordered."""
        self.nodes[index].ordered_at = None
        self.nodes[index].switch_off(self.nodes[1 - index])

    def is_out(self, index: int) -> bool:
        """Return True for a node that is off, or has no daemon and nothing of the service."""
        node = self.nodes[index]
        return not node.is_powered or (node.engine is None and not node.runs and not node.has_shot)

    def confirm(self, index: int) -> None:
        """Confirm truthfully, as operator, that the other node runs nothing."""
        node = self.nodes[index]
        assert self.is_out(1 - index), "only of a node that runs nothing"
        self.observe(Confirmed(self.now, node.name))
        node.give(PeerConfirmedOut(1, "operator"))

    def report_power(self, index: int, is_clear: bool) -> None:
        """Let this node's fence report the other one's power, or nothing clear."""
        node = self.nodes[index]
        asked, node.power_asked = node.power_asked, None
        assert asked is not None, "only a fence that is asked answers"
        outcome = ScriptOutcome.UP if node.peer.is_powered else ScriptOutcome.DOWN
        node.report_power(asked, outcome if is_clear else ScriptOutcome.UNSURE)

    def command(self, index: int, command: Command) -> None:
        """Give an operator's command."""
        if command in (Command.FORCE_START, Command.FORCE_STOP):
            self.is_forced = True
        self.nodes[index].give(CommandReceived(1, SERVICE, command))

    def leave(self, index: int, leaving: Leaving) -> None:
        """Order the daemon to leave."""
        self.nodes[index].is_leaving = True
        self.nodes[index].give(LeaveRequested(leaving))

    def end_script(self, index: int, outcome: ScriptOutcome, leaves_running: bool) -> None:
        """End this node's script with that outcome, with or without the service running."""
        node = self.nodes[index]
        script = node.script
        assert script is not None, "only a script that runs can end"
        node.ordered_at = None
        if script.is_fence and outcome is ScriptOutcome.OK:
            node.switch_off(node.peer)
        node.end_script(script, outcome, leaves_running)

    def finish_step(self, index: int) -> None:
        """End the step of the fence plan that a node has in the air, as it should end."""
        assert self.nodes[index].step_in_air is None, "these nodes have no fence plan"

    def fill_disk(self, index: int, is_full: bool) -> None:
        """Fill the disk, so that no state can be written, or free it."""
        self.nodes[index].store.is_full = is_full

    def seem_up(self, index: int) -> None:
        """Report a sighting of the service up, which may be over by now."""
        self.nodes[index].give(SeemsUp(SERVICE))

    def deliver_held(self, index: int) -> None:
        """Deliver the held-back beat of this node, or its copy."""
        beat, self.held[index] = self.held[index], None
        assert beat is not None, "nothing was held back"
        self._hear(self.nodes[1 - index], beat)

    def forge(self, index: int, forgery: Forgery) -> None:
        """Deliver one forged beat with the peer's state, under numbers the peer never reaches."""
        node, speaker = self.nodes[index], self.nodes[1 - index].engine
        assert speaker is not None and not self.key_id, (
            "without a key, in the name of a node that lives"
        )
        beat = replace(speaker.beat(), ack=None, seq=_FORGED_SEQ)
        if forgery is Forgery.INCARNATION:
            beat = replace(beat, boot=BootId(2**32 - 1, 1))
        elif forgery is Forgery.GOODBYE:
            # It allows no start: a forger who may send more than that may start services.
            states = dict.fromkeys(beat.states, ServiceState.STOP_FAILED)
            ack = None if node.engine is None else Ack(node.engine.boot, 0)
            beat = replace(beat, goodbye=Goodbye.RESTART, states=states, ack=ack)
        node.give(BeatReceived(self.links[1 - index], beat, self.now))

    def disturb(self) -> None:
        """Mark a fault or a command: transitions are counted from here."""
        self.observe(Disturbed())

    def is_excused(self, index: int) -> bool:
        """Return True if the service may run although it is called out there.

        By an operator's force, or because the daemon cannot know.
        """
        return self.is_forced or self.checker.is_hidden(NODES[index], SERVICE)

    def start(self) -> None:
        """Switch both nodes on; their wrappers report that nothing runs."""
        for index in (0, 1):
            self.boot(index)
        self.run(1.0)
        for index in (0, 1):
            self.end_script(index, ScriptOutcome.DOWN, leaves_running=False)
        self.run(0.5)

    def lose_both(self) -> None:
        """Unfreeze the service on both nodes, cut both, and boot one, which asks its fence."""
        for index in (0, 1):
            self.command(index, Command.UNFREEZE)
        self.run(0.5)
        for index in (0, 1):
            self.nodes[index].power_off()
        self.boot(1)
        self.run(0.5)
        self.end_script(1, ScriptOutcome.DOWN, leaves_running=False)
        self.run(TIMEOUT_S)

    def fail_over(self) -> None:
        """Let deb1 run the service and lose its power, deb2 take it over, and deb1 come back."""
        self.command(0, Command.UNFREEZE)
        self._end_next(0, ScriptOutcome.OK, leaves_running=True)
        self.command(1, Command.UNFREEZE)
        self.run(0.5)
        self.nodes[0].power_off()
        self._end_next(1, ScriptOutcome.OK, leaves_running=False)
        self._end_next(1, ScriptOutcome.OK, leaves_running=True)
        self.boot(0)
        self._end_next(0, ScriptOutcome.DOWN, leaves_running=False)

    def _end_next(self, index: int, outcome: ScriptOutcome, leaves_running: bool) -> None:
        """Wait for the next script of a node, and end it."""
        self.run(0.5)
        self.await_script(index)
        self.end_script(index, outcome, leaves_running)
        self.run(0.5)

    # --- time -------------------------------------------------------------------------------------

    def await_script(self, index: int) -> None:
        """Let time pass until a node runs a script."""
        for _ in range(_WAITS_MAX):
            if self.nodes[index].script is not None:
                return
            self.run(0.5)
        raise AssertionError("no script runs")

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass: beats arrive, engines are called at their deadlines."""
        end = self.now + seconds
        while True:
            due = self.transit[0][0] if self.transit else end + 1.0
            turn = None
            for node in self.nodes:
                if node.engine is not None and not node.is_stalled:
                    at = node.engine.next_deadline()
                    if at < due:
                        due, turn = at, node
            if due > end:
                break
            self.now = max(self.now, due)
            if turn is not None:
                turn.give(Tick())
            else:
                _, index, beat = self.transit.pop(0)
                self._hear(self.nodes[index], beat)
        self.now = end

    def resume(self, index: int, ticks_first: bool) -> None:
        """End a stall: queued beats are handled now, after or before the overdue timers."""
        node = self.nodes[index]
        node.is_stalled = False
        parked, node.parked = node.parked, []
        if ticks_first:
            node.give(Tick())
        for beat in parked:
            self._hear(node, beat)

    def _hear(self, node: ModelNode, beat: Beat) -> None:
        if node.engine is None:
            return
        if node.is_stalled:
            self.observe(Arrived(self.now, node.name, beat, bool(self.key_id)))
            node.parked.append(beat)
            return
        node.give(BeatReceived(self.links[1 - node.index], beat, self.now, key_id=self.key_id))

    # --- what is alike ----------------------------------------------------------------------------

    def fingerprint(self) -> tuple[Any, ...]:
        """Equal for worlds in which the same follows from the same."""
        newest = {}
        for node in self.nodes:
            last = node.announced
            newest[node.name] = (BootId(0, 0), 0) if last is None else (last.boot, last.seq)
        prints = StateFingerprint(self.now, newest)
        nodes = tuple(
            [
                (
                    None if node.engine is None else prints.engine(node.engine),
                    node.is_powered,
                    node.store.is_same_boot,
                    node.store.is_full,
                    node.runs,
                    self._secrets(node),
                    node.store.files.get(SERVICE),
                    self._script(node),
                    node.has_shot,
                    node.power_asked is not None,
                )
                for node in self.nodes
            ]
        )
        held = tuple([None if beat is None else prints.beat(beat) for beat in self.held])
        return nodes, held, self.is_forced

    @staticmethod
    def _script(node: ModelNode) -> tuple[ScriptKind, bool] | None:
        script = node.script
        return None if script is None else (script.action.kind, script.is_fence)

    def pair(self) -> tuple[Any, ...]:
        """Return the states of both nodes, without time and messages.

        All pairs must be explored.
        """
        return tuple([self._standing(node) for node in self.nodes]) + (self.is_forced,)

    def _standing(self, node: ModelNode) -> tuple[Any, ...]:
        script = self._script(node)
        if node.engine is None:
            return (
                node.is_powered,
                node.store.files.get(SERVICE),
                script,
                node.runs,
                self._secrets(node),
            )
        fencing = node.engine.fencing_status(self.now)
        power = node.power_asked is not None, fencing.power_said, bool(fencing.proof)
        return (
            node.engine.state_of(SERVICE),
            node.engine.peer_state_of(SERVICE),
            node.engine.peer_standing,
            script,
            node.runs,
            self._secrets(node),
            power,
        )

    def _secrets(self, node: ModelNode) -> tuple[bool, bool]:
        """Return facts that the node's own daemon, or its peer, cannot know."""
        return self.checker.is_hidden(node.name, SERVICE), self.checker.is_by_hand(
            node.name, SERVICE
        )

    def show(self) -> str:
        """Describe both nodes briefly."""
        words = []
        for node in self.nodes:
            if node.engine is None:
                words.append("down" if not node.is_powered else "no daemon")
            else:
                state, standing = node.engine.state_of(SERVICE), node.engine.peer_standing
                script = f"+{node.script.action.kind.value}" if node.script else ""
                is_hidden = self.checker.is_hidden(node.name, SERVICE)
                runs = f" runs{', hidden' if is_hidden else ''}" if node.runs else ""
                words.append(f"{state.name}{script} (peer {standing.value}){runs}")
        return " | ".join(words)
