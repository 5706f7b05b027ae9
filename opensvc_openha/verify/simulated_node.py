"""One node of a simulated pair: its store, its daemon, its scripts and services, its power.

The engine, the executor of its actions, the STATE files and the recovery from them are those of
production. What is left to chance or to choice in reality is left to a `Driver` here:

    verify/random           draws it: a scheduler, lossy links, drifting clocks, a process that is
                            stopped or busy, scripts that hang, frames as bytes
    verify/exhaustive       tries every choice: it copies the node before each, so that there is
                            nothing in it but what decides what happens next
    tests/core/pair.py      sets it: two engines under one clock, each test chooses what goes wrong

Each event and effect is observed by the invariant checker, whatever the driver.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from opensvc_openha.core.actions import (
    Announce,
    Answer,
    FenceStep,
    LeaseAction,
    MirrorPeer,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunFenceStep,
    RunScript,
    StepKind,
)
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.evacuation import Evacuation
from opensvc_openha.core.events import (
    BeatFound,
    BeatReceived,
    CommandReceived,
    ConfigChanged,
    DisksLook,
    DisksLooked,
    Ejected,
    EvacuationSet,
    Event,
    FenceStepEnded,
    MediumQuiet,
    PingResult,
    Readmitted,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
    TargetLook,
    TargetsAsked,
)
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.model import ClusterSpec, ServiceSpec
from opensvc_openha.core.timing import DISK_ANSWER_S, DISK_LOOK_OLD_S
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage.state_writer import write_each
from opensvc_openha.verify.invariants import (
    Adopted,
    Announced,
    Asked,
    DaemonBegan,
    DaemonEnded,
    DrillNoted,
    FellSilent,
    Fenced,
    Found,
    Heard,
    InvariantBroken,
    Logged,
    MediumRead,
    Moved,
    NodeLost,
    Observation,
    Ordered,
    PowerReported,
    RightLost,
    ScriptBegan,
    ScriptEnded,
    StartedByHand,
    StateLost,
    StepBegan,
    StepEnded,
)
from opensvc_openha.verify.node_store import NodeStore

NODES = ("deb1", "deb2")

Deferral = Callable[[Callable[[], dict[str, str]]], None]
"""Writes states later; see `ActionExecutor`."""


@dataclass(eq=False)
class Script:
    """A script that runs on a node."""

    action: RunScript
    owner: BootId
    """The incarnation of the daemon that began it; another one does not hear of its end."""
    began_at: float
    is_fence: bool
    """If it succeeds, it has switched the peer off."""


class NodeDriver(Protocol):
    """Chooses what becomes of the beats and scripts of a node."""

    def clock(self, node: SimulatedNode) -> float:
        """Return the monotonic clock of a node."""

    def observe(self, seen: Observation) -> None:
        """Check an observation."""

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Carry a beat on the links of the node, or lose it."""

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Run a script: `begin_script`, and `end_script` with an outcome when its time has come.

        A question for the peer's power uses nothing of the service: `report_power` answers it.
        """

    def run_fence_step(self, node: SimulatedNode, action: RunFenceStep) -> None:
        """Run a step of the fence plan: `begin_step`, and `end_step` when its time has come."""


class SimulatedNode:
    """One node, and the ports of its daemon."""

    def __init__(self, index: int, driver: NodeDriver) -> None:
        self.index = index
        self.name = NODES[index]
        self.driver = driver
        self.peer: SimulatedNode = self
        """The other node, set by the driver."""
        self.store = NodeStore()
        self.is_powered = False
        self.executor: ActionExecutor | None = None
        """The present daemon; None without one."""
        self.scripts: dict[str, Script] = {}
        self.step_in_air: FenceStep | None = None
        """The step of the fence plan that the present daemon has begun."""
        self.running: set[str] = set()
        """Services of which some is in use here."""
        self.frozen: dict[str, float] = {}
        """Services whose disks do not answer this node, and since when by its clock."""
        self._thawed: dict[str, tuple[float, float]] = {}
        """Those that answer again: since when they did not, and until when."""
        self._was_silent = False
        self.uplink_cut_since: float | None = None
        """Since when no target is reached from here, by its clock; None while they are."""
        self._uplink_back_at = -math.inf
        self._drill_ends = (-math.inf, -math.inf)

    @property
    def engine(self) -> Engine | None:
        """The engine of the present daemon; None without one."""
        return None if self.executor is None else self.executor.engine

    @property
    def incarnation(self) -> BootId | None:
        """The incarnation of the present daemon; None without one."""
        return None if self.executor is None else self.executor.engine.boot

    @property
    def is_away(self) -> bool:
        """True while what happens is kept for a daemon that stands still."""
        return False

    @property
    def now(self) -> float:
        """The monotonic clock of this node."""
        return self.driver.clock(self)

    def observe(self, seen: Observation) -> None:
        """Pass an observation to the invariant checker."""
        self.driver.observe(seen)

    def note(self, text: str) -> None:
        """Add a line about this node to the trace, where one is kept."""

    # --- power and daemon -------------------------------------------------------------------------

    def power_on(self) -> None:
        """Boot the machine; its daemon is not started yet."""
        self.is_powered, self.store.is_same_boot = True, False

    def power_off(self, why: str = "power lost") -> None:
        """End everything on the node at once."""
        self.note(f"power off: {why}")
        self.executor, self.is_powered = None, False
        self.step_in_air = None
        self.scripts.clear()
        self.running.clear()
        self.store.lose_power()
        self.observe(NodeLost(self.now, self.name))

    def start_daemon(
        self,
        spec: ClusterSpec,
        boot: BootId,
        recovered: Mapping[str, RecoveredState],
        kept: tuple[ServiceSpec, ...] = (),
        defer: Deferral | None = None,
    ) -> None:
        """Start a daemon; what it starts with is of `NodeStore.begin_daemon`, or chosen."""
        store, now = self.store, self.now
        states = {name: item.state for name, item in recovered.items()}
        self.observe(DaemonBegan(now, self.name, boot, states))
        if store.is_full:
            for name in recovered:
                self.observe(StateLost(now, self.name, name))
        engine = Engine(
            spec,
            boot,
            recovered,
            now,
            store.incarnations,
            kept,
            store.fencing,
            store.evacuation,
        )
        self.executor = ActionExecutor(engine, self, defer)
        self._was_silent = False
        self._drill_ends = (-math.inf, -math.inf)

    def end_daemon(self, how: str = "kill -9") -> None:
        """End the daemon; services and scripts continue."""
        self.note(f"daemon ends: {how}")
        self.executor = self.step_in_air = None
        self.observe(DaemonEnded(self.now, self.name))

    def switch_off(self, victim: SimulatedNode) -> None:
        """Let the fence of this node act: the other one loses its power."""
        if victim.is_powered:
            self.note(f"fences {victim.name}")
            self.observe(Fenced(victim.now, victim.name, self.name))
            victim.power_off("fenced")

    # --- data disks -------------------------------------------------------------------------------

    def freeze(self, service: str, is_frozen: bool = True) -> None:
        """Let the disks of a service not answer this node, or answer again."""
        if is_frozen:
            self.frozen.setdefault(service, self.now)
        elif service in self.frozen:
            self._thawed[service] = self.frozen.pop(service), self.now

    def look_at_disks(self) -> None:
        """Report the disks to the daemon, as its probes see them."""
        services = () if self.engine is None else self.engine.spec.own_services
        looks = {svc.name: self._look(svc.name) for svc in services if svc.policy.is_given_up}
        if looks:
            self.give(DisksLooked(self.now, looks))

    def _look(self, service: str) -> DisksLook:
        since = self.frozen.get(service)
        # A read has to be overdue first.
        if since is None or self.now < since + DISK_ANSWER_S:
            return DisksLook(DiskAnswer.ANSWERS)
        return DisksLook(DiskAnswer.FROZEN, since, "/dev/sdb")

    # --- targets ----------------------------------------------------------------------------------

    def cut_uplink(self, is_cut: bool = True) -> None:
        """Let no target answer this node, or all again."""
        if is_cut and self.uplink_cut_since is None:
            self.uplink_cut_since = self.now
        elif not is_cut and self.uplink_cut_since is not None:
            self.uplink_cut_since, self._uplink_back_at = None, self.now

    def ask_targets(self) -> None:
        """Report a round of requests that ends now, if there are targets."""
        policy = None if self.engine is None else self.engine.spec.connectivity
        if policy is None:
            return
        began_at, since = self.now - policy.timeout_s, self.uplink_cut_since
        is_missed = since is not None and max(since, self._uplink_back_at) <= began_at
        result = PingResult.MISSED if is_missed else PingResult.ANSWERED
        # Where an answer comes, it comes at once; of an uplink that is cut by now it came before.
        began_at = began_at if since is not None else self.now
        self.observe(Asked(self.now, self.name, not is_missed))
        looks = tuple(TargetLook(address, result) for address in policy.targets)
        self.give(TargetsAsked(began_at, looks))

    # --- events -----------------------------------------------------------------------------------

    def give(self, event: Event) -> None:
        """Pass an event to the daemon; it is lost without one."""
        if self.executor is not None:
            self.step(event)

    def step(self, event: Event) -> None:
        """Let the engine handle an event, and check what follows."""
        self.step_all((event,))

    def step_all(self, events: Sequence[Event]) -> None:
        """Let the engine handle events that came together."""
        assert self.executor is not None
        for event in events:
            self.observe_event(event)
        self.executor.handle_all(events, self.now)
        self.finish_step()

    def _note_silence(self, engine: Engine) -> None:
        """Observe that the daemon has just fallen silent on purpose."""
        was_silent, self._was_silent = self._was_silent, engine.keeps_silent
        if was_silent or not engine.keeps_silent:
            return
        # That the disks answer again is known with the next look only.
        former = {
            name: since
            for name, (since, until) in self._thawed.items()
            if self.now <= until + DISK_LOOK_OLD_S
        }
        own = {name: self.now - at for name, at in (former | self.frozen).items()}
        peer = {name: self.peer.now - at for name, at in self.peer.frozen.items()}
        self.observe(FellSilent(self.now, self.name, own, peer))

    def _note_drill(self, engine: Engine) -> None:
        """Observe what a drill asks of the daemon now."""
        ends, self._drill_ends = self._drill_ends, engine.drill_ends
        if self._drill_ends != ends:
            self.observe(DrillNoted(self.now, self.name, *self._drill_ends))

    def observe_event(self, event: Event) -> None:
        """Pass what an event means to the invariant checker.

        Not of a forged beat: the invariants hold for what the nodes announce.
        """
        now = self.now
        if isinstance(event, BeatReceived):
            self.observe(Heard(now, self.name, event.beat, bool(event.key_id), event.received_at))
        elif isinstance(event, BeatFound):
            self.observe(Found(now, self.name, event.beat, event.read_at))
        elif isinstance(event, MediumQuiet):
            self.observe(MediumRead(now, self.name, event.medium, event.read_at, event.since))
        elif isinstance(event, CommandReceived):
            self.observe(Ordered(now, self.name, event.service, event.command))
        elif isinstance(event, (Ejected, Readmitted)):
            self.observe(RightLost(now, self.name, isinstance(event, Readmitted)))
        elif isinstance(event, FenceStepEnded):
            if event.outcome is StepOutcome.LOST:
                self.observe(RightLost(now, self.name))
        elif isinstance(event, ConfigChanged):
            assert self.engine is not None
            for name, item in event.recovered.items():
                # The engine kept services that may run here, whatever the file holds.
                if not self.engine.may_run(name):
                    state = self.engine.taken_for(name, item).state
                    self.observe(Adopted(now, self.name, name, state))

    def finish_step(self) -> None:
        """End a daemon that has left; otherwise check that a restart would find its states."""
        executor = self.executor
        assert executor is not None
        self._note_silence(executor.engine)
        self._note_drill(executor.engine)
        if executor.is_done:
            self.store.end_daemon()
            self.end_daemon("it has left")
            return
        problem = "" if executor.is_writing else self.find_mismatch(executor.engine)
        if problem:
            raise InvariantBroken(f"state broken at {self.now:.3f} on {self.name}: {problem}")

    def find_mismatch(self, engine: Engine) -> str:
        """Return what does not agree with the engine's states; empty if all does."""
        return self.store.mismatch(engine)

    def evacuate(self, is_on: bool, is_off_limits: bool = False) -> None:
        """Let an operator evacuate this node, or end that."""
        self.store.evacuation = Evacuation(is_on, is_on and is_off_limits)
        self.give(EvacuationSet(self.store.evacuation))

    # --- scripts ----------------------------------------------------------------------------------

    def begin_script(self, action: RunScript, is_fence: bool) -> Script:
        """Begin a script of the present daemon; a start makes its service run at once."""
        service, kind = action.service, action.kind
        assert self.incarnation is not None
        before = self.scripts.get(service)
        if before is not None:
            raise InvariantBroken(
                f"state broken at {self.now:.3f} on {self.name}: two scripts of {service} at once:"
                f" {before.action.kind.value} and {kind.value}"
            )
        script = self.scripts[service] = Script(action, self.incarnation, self.now, is_fence)
        if kind is ScriptKind.START:
            self.running.add(service)
        self.observe(ScriptBegan(self.now, self.name, service, kind, is_fence))
        return script

    def end_script(
        self,
        script: Script,
        outcome: ScriptOutcome,
        is_running: bool,
        detail: str = "",
        is_lie: bool = False,
    ) -> None:
        """End a script, with its service in use or not; the daemon that began it gets the outcome.

        ``is_lie`` marks a check-up that succeeded although the peer lives.
        """
        service, kind = script.action.service, script.action.kind
        self.scripts.pop(service, None)
        (self.running.add if is_running else self.running.discard)(service)
        is_ok = outcome in (ScriptOutcome.OK, ScriptOutcome.UP)
        is_unsure = outcome is ScriptOutcome.UNSURE
        self.observe(
            ScriptEnded(self.now, self.name, service, kind, is_ok, is_running, is_lie, is_unsure)
        )
        if script.owner == self.incarnation:
            self.give(ScriptExited(service, kind, outcome, detail))

    def report_power(self, action: RunScript, outcome: ScriptOutcome) -> None:
        """Report the peer's power, as its fence sees it."""
        self.observe(PowerReported(self.now, self.name, outcome is ScriptOutcome.DOWN))
        self.give(ScriptExited(action.service, action.kind, outcome))

    # --- the fence plan ---------------------------------------------------------------------------

    def begin_step(self, step: FenceStep) -> None:
        """Begin a step of the fence plan; one at a time."""
        if self.step_in_air is not None:
            raise InvariantBroken(f"state broken at {self.now:.3f} on {self.name}: two fence steps")
        self.step_in_air = step
        self.observe(StepBegan(self.now, self.name, step.kind is StepKind.CLAIM))

    def end_step(
        self,
        step: FenceStep,
        outcome: StepOutcome,
        text: str,
        covers: frozenset[str] | None = None,
        is_lie: bool = False,
        took_s: float = 0.0,
    ) -> None:
        """End a step; what its daemon has become of is the caller's to know."""
        if self.step_in_air is not step:
            return
        self.step_in_air = None
        is_done, is_claim = outcome is StepOutcome.DONE, step.kind is StepKind.CLAIM
        self.observe(StepEnded(self.now, self.name, is_done, is_claim, covers, is_lie))
        self.give(FenceStepEnded(step.number, outcome, text, covers=covers, took_s=took_s))

    def uses(self, service: str) -> bool:
        """Return True if a service is in use here, or a script of it runs."""
        return service in self.running or service in self.scripts

    def start_by_hand(self, service: str) -> None:
        """Start a service outside the cluster."""
        self.note(f"{service} is started by hand")
        self.running.add(service)
        self.observe(StartedByHand(self.now, self.name, service))

    # --- the daemon's ports -----------------------------------------------------------------------

    def persist(self, action: Persist) -> None:
        """Write the STATE file, or fail to."""
        self.observe(Moved(self.now, self.name, action.service, action.state))
        try:
            self.store.write_state(action.service, _stored(action))
        except SystemFault:
            self.observe(StateLost(self.now, self.name, action.service))
            raise

    def persist_all(self, actions: Sequence[Persist], note: Callable[[], None]) -> dict[str, str]:
        """Write STATE files, with one wait for all of them."""
        states = {action.service: action for action in actions}
        stored = {service: _stored(action) for service, action in states.items()}
        if self.store.log_states(stored):
            for service, each in stored.items():
                self.observe(Logged(self.now, self.name, service, each.state))
        return write_each(states, lambda _, action: self.persist(action), note)

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the newest incarnations of the peer."""
        self.store.remember_incarnations(dict(action.incarnations))

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store what the next daemon must know of fencing."""
        self.store.remember_fencing(action.memory)

    def announce(self, action: Announce) -> None:
        """Send a beat."""
        self.observe(Announced(self.now, self.name, action.beat))
        self.driver.send(self, action)

    def run_script(self, action: RunScript) -> None:
        """Run a script."""
        self.driver.run_script(self, action)

    def run_fence_step(self, action: RunFenceStep) -> None:
        """Run a step of the fence plan."""
        self.driver.run_fence_step(self, action)

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Do nothing: the nodes promise nothing."""

    def mirror(self, action: MirrorPeer) -> None:
        """Do nothing: for display only."""

    def answer(self, action: Answer) -> None:
        """Do nothing: for the operator only."""

    def record(self, action: Record) -> None:
        """Do nothing: for the log only."""


def _stored(action: Persist) -> StoredState:
    return StoredState(action.state, action.frozen_target, action.stay)
