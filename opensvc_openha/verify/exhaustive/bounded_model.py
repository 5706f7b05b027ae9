"""Run two real engines back to back in a model small enough to be enumerated.

One service, one link each way, a fence. Nothing happens by chance or by itself except the delivery
of beats: a script ends, a node dies, an operator types when the explorer decides it, and each
direction of the link has a fate for as long as one move lasts. The invariant checker observes
everything that is sent, heard and run.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any

from opensvc_openha.core.actions import (
    Announce,
    Answer,
    MirrorPeer,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunScript,
)
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
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    SeemsUp,
    Tick,
)
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import ClusterSpec, LinkKind, LinkSpec, ServiceSpec
from opensvc_openha.core.states import PEER_OUT, ServiceState
from opensvc_openha.core.timing import NEWS_GAP_S
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage.state_store import recover
from opensvc_openha.verify.exhaustive.snapshot import copy_of
from opensvc_openha.verify.exhaustive.state_fingerprint import Outline
from opensvc_openha.verify.invariants import (
    Arrived,
    Confirmed,
    DaemonBegan,
    DaemonEnded,
    Disturbed,
    Fenced,
    Heard,
    InvariantBroken,
    InvariantChecker,
    Moved,
    NodeLost,
    Ordered,
    Said,
    ScriptBegan,
    ScriptEnded,
    StartedByHand,
    StateLost,
    ToldPower,
)

NODES = ("deb1", "deb2")
SERVICE = "registry"
TIMEOUT_S = 2.0
LATENCY_S = 0.001
FENCE_S = 1.0
"""A power switch acts within this time, in seconds, after its order, whatever happens to the node
that gave it.
"""
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


@dataclass
class Script:
    """A running script."""

    kind: ScriptKind
    is_fencing: bool
    """A check-up script with a silent peer: if it succeeds, that peer is down."""


class Forgery(enum.Enum):
    """Content of a beat forged without the key in the name of a living node."""

    NUMBER = "the highest number"
    LIFE = "the highest life"
    GOODBYE = "a goodbye"


class Host:
    """One node: its daemon while there is one, its disk, its scripts and services.

    Also the ports of that daemon.
    """

    def __init__(self, world: SmallWorld, index: int) -> None:
        self.world = world
        self.index = index
        self.name = NODES[index]
        self.daemon: ActionExecutor | None = None
        self.life = 0
        self.incarnations: dict[str, BootId] = {}
        self.fencing = FencingMemory()
        self.disk: StoredState | None = None
        self.is_disk_full = False
        self.is_behind = False
        """The disk holds an older state than the one that could not be written."""
        self.is_on = True
        self.is_known_life = False
        self.is_leaving = False
        self.script: Script | None = None
        self.told_at: float | None = None
        """When the peer's power switch got its order, while that may act after the script is gone.
        """
        self.is_asking = False
        """The fence is being asked for the peer's power."""
        self.is_stalled = False
        self.parked: list[Beat] = []
        self.at_once = 0
        self.stepped_at = 0.0
        self.announced: Beat | None = None
        self.announced_at = 0.0

    @property
    def engine(self) -> Engine | None:
        """The engine; fails without a daemon."""
        return None if self.daemon is None else self.daemon.engine

    def step(self, event: Event) -> None:
        """Pass one event to the daemon.

        Afterwards the disk, the last beat and the service must agree with its state.
        """
        now = self.world.now
        if self.daemon is None:
            return
        self.at_once = self.at_once + 1 if now <= self.stepped_at else 0
        self.stepped_at = now
        if self.at_once > _STEPS_AT_ONCE:
            raise InvariantBroken(
                f"L2 broken at {now:.3f} on {self.name}: {self.at_once} steps within one instant"
            )
        self.daemon.handle(event, now)
        if self.daemon.is_done:
            self.end_daemon()
        else:
            self._compare(self.daemon.engine)

    def end_daemon(self) -> None:
        """End the daemon, but not its scripts and services."""
        self.daemon, self.is_leaving, self.is_asking = None, False, False
        self.world.watch.observe(DaemonEnded(self.world.now, self.name))

    def _compare(self, engine: Engine) -> None:
        own, said = engine.state_of(SERVICE), engine.beat().states[SERVICE]
        problem = ""
        if self.disk is not None and self.disk.state is not own and not self.is_behind:
            problem = f"{self.disk.state.name} was written, but it is {own.name}"
        elif self._is_old_news(said):
            problem = f"{said.name} was not announced in time"
        elif (
            said in PEER_OUT
            and self.world.runs(self.index)
            and not self.world.is_excused(self.index)
        ):
            problem = f"{said.name} is said while the service runs there"
        if problem:
            raise InvariantBroken(f"state broken at {self.world.now:.3f} on {self.name}: {problem}")

    def _is_old_news(self, said: ServiceState) -> bool:
        """Return True if the last beat differs.

        A state that the node is not sure of may wait for the next one.
        """
        if (
            self.announced is None
            or self.is_leaving
            or self.world.now < self.announced_at + NEWS_GAP_S
        ):
            return False
        last = self.announced.states[SERVICE]
        return last is not said and ServiceState.UNKNOWN not in (last, said)

    # --- the daemon's ports -----------------------------------------------------------------------

    def persist(self, action: Persist, is_durable: bool = True) -> None:
        """Write the state if the disk has room."""
        self.world.watch.observe(Moved(self.world.now, self.name, SERVICE, action.state))
        self.is_behind = self.is_disk_full
        if self.is_disk_full:
            self.world.watch.observe(StateLost(self.world.now, self.name, SERVICE))
            raise SystemFault("no space left on device")
        self.disk = StoredState(action.state, action.frozen_target)

    def sync_states(self) -> None:
        """Do nothing: one service needs no batch."""

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the newest incarnations of the peer."""
        self.incarnations = dict(action.incarnations)

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store the fencing memory if the disk has room."""
        if self.is_disk_full:
            raise SystemFault("no space left on device")
        self.fencing = action.memory

    def announce(self, action: Announce) -> None:
        """Send a beat."""
        self.world.watch.observe(Said(self.world.now, self.name, action.beat))
        self.announced, self.announced_at = action.beat, self.world.now
        self.world.send(self.index, action.beat)

    def run_script(self, action: RunScript) -> None:
        """Begin a script; the explorer ends it."""
        if action.kind is ScriptKind.POWER:
            self.is_asking = True
            return
        if self.script is not None:
            text = f"{action.kind.value} script beside {self.script.kind.value} script"
            raise InvariantBroken(f"state broken at {self.world.now:.3f} on {self.name}: {text}")
        is_fencing = action.kind is ScriptKind.CHECK and action.peer_state is ServiceState.UNKNOWN
        self.world.watch.observe(
            ScriptBegan(self.world.now, self.name, SERVICE, action.kind, is_fencing)
        )
        self.script = Script(action.kind, is_fencing)
        self.told_at = self.world.now if is_fencing else self.told_at

    def mirror(self, action: MirrorPeer) -> None:
        """Do nothing: for display only."""

    def answer(self, action: Answer) -> None:
        """Do nothing: for the operator only."""

    def record(self, action: Record) -> None:
        """Do nothing: for the log only."""


class SmallWorld:
    """Both nodes and the link between them."""

    def __init__(
        self, key_id: str = "", is_primary_swapped: bool = False, reports_power: bool = False
    ) -> None:
        self.now = 10_000.0
        self.reports_power = reports_power
        """The fences have a status that reports the other node's power."""
        self.key_id = key_id
        self.links = tuple(
            LinkSpec(name, LinkKind.NET, "eth1", f"239.131.50.{10 + index}", 5010, 0, TIMEOUT_S)
            for index, name in enumerate(NODES)
        )
        straight = ServiceSpec(SERVICE, "/etc/registry", "deb1", "deb2", "/etc/registry.check")
        swapped = ServiceSpec(SERVICE, "/etc/registry", "deb2", "deb1", "/etc/registry.check")
        self.services = (straight, swapped if is_primary_swapped else straight)
        self.nodes = [Host(self, 0), Host(self, 1)]
        self.watch = InvariantChecker(NODES, TIMEOUT_S, TIMEOUT_S)
        self.transit: list[tuple[float, int, Beat]] = []
        self.held: list[Beat | None] = [None, None]
        self.fates = [Fate.DELIVERED, Fate.DELIVERED]
        self.said = [0, 0]
        self.is_forced = False

    def copy(self) -> SmallWorld:
        """Return a copy, to explore another move from the same world."""
        return copy_of(self)

    # --- what may happen --------------------------------------------------------------------------

    def boot(self, index: int) -> None:
        """Start the daemon, and the machine if it was down."""
        node = self.nodes[index]
        node.life += 1
        node.is_on = True
        recovered = self._learn(node)
        if not node.is_known_life:
            node.fencing = node.fencing.after_boot()
        spec = ClusterSpec(
            node.name, NODES[1 - index], self.links, (self.services[index],), fence_time_s=FENCE_S
        )
        boot = BootId(node.life, 1000 * (index + 1) + node.life)
        node.daemon = ActionExecutor(
            Engine(
                spec, boot, {SERVICE: recovered}, self.now, node.incarnations, fencing=node.fencing
            ),
            node,
        )
        node.is_known_life = True
        node.is_behind = False
        node.disk = StoredState(
            recovered.state,
            recovered.frozen_target if recovered.state is not ServiceState.UNKNOWN else None,
        )
        self.watch.observe(DaemonBegan(self.now, node.name, boot, {SERVICE: recovered.state}))
        node.step(Tick())
        if self.reports_power:
            node.step(ReadinessFound({}, frozenset({SERVICE})))

    def _learn(self, node: Host) -> RecoveredState:
        return recover(node.disk, "", node.is_known_life)

    def crash(self, index: int) -> None:
        """Cut the power: daemon, scripts and service are gone."""
        node = self.nodes[index]
        self.watch.observe(NodeLost(self.now, node.name))
        self._leave_shot(node)
        node.daemon, node.script, node.is_on, node.is_known_life = None, None, False, False
        node.is_leaving, node.is_stalled, node.is_asking, node.parked = False, False, False, []

    def kill(self, index: int) -> None:
        """Kill only the daemon; effects of its script stay."""
        node = self.nodes[index]
        node.end_daemon()
        self._leave_shot(node)
        node.script = None

    def _leave_shot(self, node: Host) -> None:
        """Keep the order of a script that is gone: only that acts by itself."""
        if node.script is None or not node.script.is_fencing:
            node.told_at = None

    def has_shot(self, index: int) -> bool:
        """Return True while a switch that this node ordered may act without it."""
        node = self.nodes[index]
        return (
            node.script is None and node.told_at is not None and self.now <= node.told_at + FENCE_S
        )

    def land_shot(self, index: int) -> None:
        """Let the switch act."""
        self.nodes[index].told_at = None
        self._fence(self.nodes[1 - index], self.nodes[index])

    def _fence(self, victim: Host, by: Host) -> None:
        if victim.is_on:
            self.watch.observe(Fenced(self.now, victim.name, by.name))
            self.crash(victim.index)

    def is_out(self, index: int) -> bool:
        """Return True for a node that is off, or has no daemon and nothing of the service."""
        node = self.nodes[index]
        return not node.is_on or (
            node.engine is None and not self.runs(index) and not self.has_shot(index)
        )

    def confirm(self, index: int) -> None:
        """Confirm truthfully, as operator, that the other node runs nothing."""
        node = self.nodes[index]
        assert self.is_out(1 - index), "only of a node that runs nothing"
        self.watch.observe(Confirmed(self.now, node.name))
        node.step(PeerConfirmedOut(1, "operator"))

    def tell_power(self, index: int, is_clear: bool) -> None:
        """Let this node's fence report the other one's power, or nothing clear."""
        node, is_on = self.nodes[index], self.nodes[1 - index].is_on
        assert node.is_asking, "only a fence that is asked answers"
        node.is_asking = False
        outcome = (
            ScriptOutcome.UNSURE
            if not is_clear
            else ScriptOutcome.UP
            if is_on
            else ScriptOutcome.DOWN
        )
        self.watch.observe(ToldPower(self.now, node.name, outcome is ScriptOutcome.DOWN))
        node.step(ScriptExited(SERVICE, ScriptKind.POWER, outcome))

    def command(self, index: int, command: Command) -> None:
        """Give an operator's command."""
        node = self.nodes[index]
        if command in (Command.FORCE_START, Command.FORCE_STOP):
            self.is_forced = True
        self.watch.observe(Ordered(self.now, node.name, SERVICE, command))
        node.step(CommandReceived(1, SERVICE, command))

    def leave(self, index: int, leaving: Leaving) -> None:
        """Order the daemon to leave."""
        self.nodes[index].is_leaving = True
        self.nodes[index].step(LeaveRequested(leaving))

    def fill_disk(self, index: int, is_full: bool) -> None:
        """Fill the disk, so that no state can be written, or free it."""
        self.nodes[index].is_disk_full = is_full

    def end_script(self, index: int, outcome: ScriptOutcome, leaves_running: bool) -> None:
        """End this node's script with that outcome, with or without the service running."""
        node = self.nodes[index]
        script, node.script = node.script, None
        assert script is not None, "only a script that runs can end"
        other = self.nodes[1 - index]
        node.told_at = None
        if script.is_fencing and outcome is ScriptOutcome.OK:
            self._fence(other, node)
        is_ok = outcome in (ScriptOutcome.OK, ScriptOutcome.UP)
        is_unsure = outcome is ScriptOutcome.UNSURE
        self.watch.observe(
            ScriptEnded(
                self.now,
                node.name,
                SERVICE,
                script.kind,
                is_ok,
                leaves_running,
                is_unsure=is_unsure,
            )
        )
        node.step(ScriptExited(SERVICE, script.kind, outcome))

    def start_by_hand(self, index: int) -> None:
        """Start the service with the wrapper, outside the cluster."""
        self.watch.observe(StartedByHand(self.now, NODES[index], SERVICE))

    def seem_up(self, index: int) -> None:
        """Report a sighting of the service up, which may be over by now."""
        self.nodes[index].step(SeemsUp(SERVICE))

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
        beat = replace(speaker.beat(), ack=None, seq=2**64 - 1)
        if forgery is Forgery.LIFE:
            beat = replace(beat, boot=BootId(2**32 - 1, 1))
        elif forgery is Forgery.GOODBYE:
            # It allows no start: a forger who may send more than that may start services.
            states = dict.fromkeys(beat.states, ServiceState.STOP_FAILED)
            ack = None if node.engine is None else Ack(node.engine.boot, 0)
            beat = replace(beat, goodbye=Goodbye.RESTART, states=states, ack=ack)
        node.step(BeatReceived(self.links[1 - index], beat, self.now))

    def disturb(self) -> None:
        """Mark a fault or a command: transitions are counted from here."""
        self.watch.observe(Disturbed())

    def runs(self, index: int) -> bool:
        """Return True if some of the service is really in use on the node."""
        return self.watch.runs(NODES[index], SERVICE)

    def is_excused(self, index: int) -> bool:
        """Return True if the service may run although it is called out there.

        By an operator's force, or because the daemon cannot know.
        """
        return self.is_forced or self.watch.is_untold(NODES[index], SERVICE)

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
            self.crash(index)
        self.boot(1)
        self.run(0.5)
        self.end_script(1, ScriptOutcome.DOWN, leaves_running=False)
        self.run(TIMEOUT_S)

    # --- time -------------------------------------------------------------------------------------

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
                turn.step(Tick())
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
            node.step(Tick())
        for beat in parked:
            self._hear(node, beat)

    def _hear(self, node: Host, beat: Beat) -> None:
        if node.engine is None:
            return
        if node.is_stalled:
            self.watch.observe(Arrived(self.now, node.name, beat, bool(self.key_id)))
            node.parked.append(beat)
            return
        self.watch.observe(Heard(self.now, node.name, beat, bool(self.key_id)))
        node.step(BeatReceived(self.links[1 - node.index], beat, self.now, key_id=self.key_id))

    def send(self, index: int, beat: Beat) -> None:
        """Apply the fate of this node's beats to one of them."""
        fate, is_first = self.fates[index], not self.said[index]
        self.said[index] += 1
        if fate is Fate.LOST:
            return
        if is_first and fate in (Fate.DELAYED, Fate.DOUBLED):
            self.held[index] = beat
            if fate is Fate.DELAYED:
                return
        self.transit.append((self.now + LATENCY_S, 1 - index, beat))

    # --- what is alike ----------------------------------------------------------------------------

    def outline(self) -> tuple[Any, ...]:
        """Equal for worlds in which the same follows from the same."""
        newest = {}
        for node in self.nodes:
            last = node.announced
            newest[node.name] = (BootId(0, 0), 0) if last is None else (last.boot, last.seq)
        outline = Outline(self.now, newest)
        nodes = tuple(
            [
                (
                    None if node.engine is None else outline.engine(node.engine),
                    node.is_on,
                    node.is_known_life,
                    node.is_disk_full,
                    self.runs(node.index),
                    self._secrets(node),
                    node.disk,
                    None if node.script is None else (node.script.kind, node.script.is_fencing),
                    self.has_shot(node.index),
                    node.is_asking,
                )
                for node in self.nodes
            ]
        )
        held = tuple([None if beat is None else outline.beat(beat) for beat in self.held])
        return nodes, held, self.is_forced

    def pair(self) -> tuple[Any, ...]:
        """Return the states of both nodes, without time and messages.

        All pairs must be explored.
        """
        return tuple([self._standing(node) for node in self.nodes]) + (self.is_forced,)

    def _standing(self, node: Host) -> tuple[Any, ...]:
        script = None if node.script is None else (node.script.kind, node.script.is_fencing)
        if node.engine is None:
            return node.is_on, node.disk, script, self.runs(node.index), self._secrets(node)
        status = node.engine.snapshot(self.now)
        service = status.services[0]
        power = node.is_asking, status.fencing.power_said, bool(status.fencing.proof)
        return (
            service.own_state,
            service.peer_state,
            status.peer_standing,
            script,
            self.runs(node.index),
            self._secrets(node),
            power,
        )

    def _secrets(self, node: Host) -> tuple[bool, bool]:
        """Return facts that the node's own daemon, or its peer, cannot know."""
        return self.watch.is_untold(node.name, SERVICE), self.watch.is_by_hand(node.name, SERVICE)

    def show(self) -> str:
        """Describe both nodes briefly."""
        words = []
        for node in self.nodes:
            if node.engine is None:
                words.append("down" if not node.is_on else "no daemon")
            else:
                state, standing = (
                    node.engine.state_of(SERVICE),
                    node.engine.snapshot(self.now).peer_standing,
                )
                script = f"+{node.script.kind.value}" if node.script else ""
                is_untold = self.watch.is_untold(node.name, SERVICE)
                runs = f" runs{', untold' if is_untold else ''}" if self.runs(node.index) else ""
                words.append(f"{state.name}{script} (peer {standing.value}){runs}")
        return " | ".join(words)
