"""Rehearse what would happen: both nodes as they are now, then the event, until nothing moves.

The nodes begin with the states that are known, hear each other for a while as they do in reality,
and are compared with reality before anything happens to them. Nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Announce,
    LeaseAction,
    RenewWitness,
    RunFenceStep,
    RunScript,
    WithdrawWitness,
)
from opensvc_openha.core.events import (
    Command,
    CommandReceived,
    LeaveRequested,
    Leaving,
    PeerConfirmedOut,
    RecoveredState,
)
from opensvc_openha.core.facts import Reach
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import LinkSpec, Wire
from opensvc_openha.core.outlook import Ready
from opensvc_openha.core.promise import death_after_s
from opensvc_openha.core.states import AWAITS_PROOF, PASSING, RUNS_SOMETHING, ServiceState
from opensvc_openha.core.status import PeerStanding, ServiceStatus
from opensvc_openha.core.stay import FREE, ORDERED
from opensvc_openha.core.wording import named
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.suggestion import did_you_mean, which_service
from opensvc_openha.verify.arbiter import SimulatedArbiter
from opensvc_openha.verify.invariants import Observation
from opensvc_openha.verify.rehearsal.copied_node import CopiedNode
from opensvc_openha.verify.rehearsal.fence_steps import LOOK_S, WATCH_S, FenceSteps
from opensvc_openha.verify.rehearsal.happenings import Happening, Planned
from opensvc_openha.verify.rehearsal.present import Present, script_word
from opensvc_openha.verify.rehearsal.promises import GRANULARITY_S, Keeper, Witness
from opensvc_openha.verify.rehearsal.scripts import Scripts
from opensvc_openha.verify.rehearsal.timeline import Moment, MomentKind, Timeline
from opensvc_openha.verify.rehearsal.wires import Wires
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import SimulatedNode

BOOT_S = 60.0
"""Time from the loss of power, or a shutdown, until the daemon is started again."""
LIMIT_S = 600.0
"""Longest time that is looked at after the last event."""
_BEGIN_S = 1000.0
_SETTLE_S = 5.0
_RESTART_S = 1.0
_GONE_S = 0.2
_QUIET_S = 5.0
_BEAT_STEP_S, _BEAT_LIMIT_S = 0.002, 2.0
_STEP_S = 1.0
_FAILURES_MAX = 3
"""After so many failures of a service on one node its next attempt is not waited for."""
_NOT_SURE = (Ready.NO.value, Ready.UNKNOWN.value)
_OFF, _NO_DAEMON = "no power", "no daemon"
_ENDED = {
    ServiceState.STARTING: ServiceState.STARTED,
    ServiceState.STOPPING: ServiceState.STOPPED,
    ServiceState.START_READY: ServiceState.STOPPED,
    ServiceState.FORCE_STOP: ServiceState.STOPPED,
    ServiceState.UNKNOWN: ServiceState.STOPPED,
}
"""What a state on its way, or one that is not known, is taken for."""
_RUNS = RUNS_SOMETHING - PASSING
States = Mapping[str, ServiceState | None]
Work = Callable[[CopiedNode], None]


@dataclass(frozen=True)
class NodeOutcome:
    """One service on one node: its state at the event and at the end, and why it is not up."""

    node: str
    before: str
    after: str
    is_up: bool
    why_not: str


@dataclass(frozen=True)
class ServiceOutcome:
    """What becomes of one service.

    ``away_s`` is for how long it runs nowhere, None if it ran nowhere all the time; ``is_away`` if
    it still does at the end. ``twice_s`` is for how long both nodes run it.
    """

    name: str
    nodes: tuple[NodeOutcome, ...]
    away_s: float | None
    is_away: bool
    twice_s: float


@dataclass(frozen=True)
class Rehearsed:
    """The result. ``unlike`` is where the copy differs from reality, before anything happened."""

    moments: tuple[Moment, ...]
    fenced: tuple[Moment, ...]
    """When which node is fenced, and by what."""
    services: tuple[ServiceOutcome, ...]
    assumed: tuple[str, ...]
    unlike: tuple[str, ...]
    lasted_s: float
    is_settled: bool


class Rehearsal:
    """Two copied nodes, and all between them; the driver of both."""

    def __init__(self, present: Present, boot_s: float = BOOT_S) -> None:
        self.present = present
        self.scheduler = Scheduler(_BEGIN_S)
        self._boot_s = boot_s
        self._timeline = Timeline()
        self._unlike: list[str] = []
        self._booting: set[str] = set()
        """Machines that boot by themselves."""
        self._failures: dict[tuple[str, str], int] = {}
        spec, status = present.spec, present.status
        self._lease = spec.fencing.lease
        key_id = status.authentication.sends
        self._wires = Wires(self.scheduler, key_id, self._lease is not None)
        self._wires.cut |= present.dead_links
        self._scripts = Scripts(self.scheduler, present, self.say)
        self._arbiter = SimulatedArbiter()
        self._steps = FenceSteps(present, self._scripts, self._arbiter)
        self._witness = Witness()
        reporting = frozenset(status.fencing.power_tellers)
        self.own = CopiedNode(0, self, spec, _unready_here(status.services), reporting)
        self.peer = CopiedNode(
            1, self, present.peer_spec, _unready_there(status.services, spec.peer), reporting
        )
        self.own.peer, self.peer.peer = self.peer, self.own
        self._keepers = (
            {}
            if self._lease is None
            else {
                node.name: Keeper(
                    self.scheduler, node, self._lease, present.is_virtual, self._boot_later
                )
                for node in (self.own, self.peer)
            }
        )
        self._services = tuple(svc.name for svc in spec.own_services)

    @property
    def nodes(self) -> tuple[CopiedNode, CopiedNode]:
        """This node, and its peer."""
        return self.own, self.peer

    # --- what drives the nodes --------------------------------------------------------------------

    def clock(self, node: SimulatedNode) -> float:
        """Return the clock of a node: both run alike."""
        return self.scheduler.now

    def observe(self, seen: Observation) -> None:
        """Take no notice: this history is read, not judged."""

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Send a beat.

        The peer's reports that it knows how long its fences take, if it does at present.
        """
        beat = action.beat
        if node is self.peer and beat.facts is not None and self.present.status.fencing.why_delay:
            beat = replace(beat, facts=replace(beat.facts, knows_fence_time=False))
            action = replace(action, beat=beat)
        self._wires.send(self._copied(node), action)

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Run a script."""
        self._scripts.run(self._copied(node), action)

    def run_fence_step(self, node: SimulatedNode, action: RunFenceStep) -> None:
        """Take a step of the fence plan."""
        self._steps.run(self._copied(node), action.step)

    def carry_out_lease(self, node: CopiedNode, action: LeaseAction) -> None:
        """Do something for the promise of a node."""
        if isinstance(action, (RenewWitness, WithdrawWitness)):
            self._witness.order(node, action)
        elif node.name in self._keepers:
            self._keepers[node.name].carry_out(action)

    def begin_daemon(self, node: CopiedNode) -> None:
        """Report to a daemon that begins what its surroundings look like."""
        if node.name in self._keepers:
            self._keepers[node.name].take_over()

    def _copied(self, node: SimulatedNode) -> CopiedNode:
        return self.nodes[node.index]

    def say(self, node: str, kind: MomentKind, text: str, **more: object) -> None:
        """Add a line to the timeline."""
        if kind is MomentKind.SERVICE and str(more.get("new", "")).endswith("FAILED"):
            key = str(more["service"]), node
            self._failures[key] = self._failures.get(key, 0) + 1
        self._timeline.add(self.scheduler.now, node, kind, text, **more)

    def look(self) -> None:
        """Note where services are up."""
        self._timeline.update(self.scheduler.now, self._up())

    def _up(self) -> dict[str, frozenset[str]]:
        return {
            name: frozenset(node.name for node in self.nodes if node.is_up(name))
            for name in self._services
        }

    # --- the present ------------------------------------------------------------------------------

    def _copy(self) -> None:
        """Bring both nodes to where they are now."""
        present, status = self.present, self.present.status
        standing = status.peer_standing
        has_daemon = standing in (PeerStanding.LIVE, PeerStanding.DEPARTED)
        own = {svc.name: svc.own_state for svc in status.services}
        there = {svc.name: svc.peer_state for svc in status.services}

        self._boot(self.own, own, present.own_memory)
        if has_daemon:
            self._boot(self.peer, there, present.peer_memory)
        else:
            self._keep_off(self.peer)
        for node in self.nodes:
            node.cut_uplink(present.reach_of(node.name) is Reach.ISOLATED)
        self._work_regularly()
        longest_s = max((link.timeout_s for link in present.spec.links), default=0.0)
        settle_s = _SETTLE_S + longest_s
        if standing is PeerStanding.DEPARTED:
            self.scheduler.run_until(self.scheduler.now + settle_s)
            runs = any(state in RUNS_SOMETHING for state in there.values())
            self.peer.give(LeaveRequested(Leaving.KEEP_SERVICES if runs else Leaving.STOP_SERVICES))
        self.scheduler.run_until(self.scheduler.now + settle_s)
        self._compare(self.own, own)
        if standing is PeerStanding.LIVE:
            self._compare(self.peer, there)
        found = self._states(self.own)
        if found is not None and self.own.engine is not None:
            seen = self.own.engine.peer_standing
            if seen is not standing:
                self._unlike.append(
                    f"{self.peer.name} is {standing.value} for {self.own.name}, and"
                    f" {seen.value} in the copy"
                )

    def _boot(self, node: CopiedNode, states: States, memory: FencingMemory) -> None:
        status, known = self.present.status, dict[str, RecoveredState]()
        for svc in node.spec.own_services:
            state = states.get(svc.name)
            state = ServiceState.UNKNOWN if state is None else state
            taken = _ENDED.get(state, state)
            is_gone = node is self.peer and not self.present.is_peer_live
            if taken is not state and not is_gone:
                self._unlike.append(
                    f"{svc.name} is {state.name} on {node.name}: taken to have become"
                    f" {taken.name} when the event happens"
                )
            found = status.service(svc.name) if node is self.own else None
            reason = "as it is now" if found is None else found.reason
            stay = ORDERED if found is not None and found.is_kept_here else FREE
            known[svc.name] = RecoveredState(taken, reason=reason, stay=stay)
            if taken in _RUNS:
                node.running.add(svc.name)
        node.boot_copy(known, memory)

    def _keep_off(self, node: CopiedNode) -> None:
        """Let the files of a node that is not heard be those of a node that ran services."""
        node.store.record_managed(node.spec.own_services)
        for svc in node.spec.own_services:
            node.store.write_recovered(svc.name, RecoveredState(ServiceState.STOPPED))

    def _work_regularly(self) -> None:
        """Do what the daemons do beside their engines, again and again."""
        spec = self.present.spec
        has_disks = any(svc.policy.is_given_up for svc in spec.services)
        if spec.fencing.levels:
            self._every(LOOK_S, self._steps.look)
            self._every(WATCH_S, self._steps.watch)
        if spec.connectivity is not None:
            self._every(spec.connectivity.period_s, self._ask_targets)
        if has_disks:
            self._every(timing.DISK_LOOK_S, lambda node: node.look_at_disks())
        if self._lease is not None:
            pauses = [timing.slot_read_s(link.timeout_s) for link in spec.links if link.is_disk]
            self._every(min(pauses, default=timing.SLOT_READ_S), self._wires.read_quiet)
            if self._lease.has_witness:
                self._every(1.0, self._witness.look)

    @property
    def _asks_targets(self) -> bool:
        return self.present.spec.connectivity is not None

    def _ask_targets(self, node: CopiedNode) -> None:
        """Ask the targets, on a node of which it is known at present whether they answer it."""
        if self.present.reach_of(node.name) is not Reach.UNKNOWN:
            node.ask_targets()

    def _every(self, pause_s: float, work: Work, is_first: bool = True) -> None:
        if not is_first:
            for node in self.nodes:
                work(node)
        pause = 0.5 if is_first else pause_s
        self.scheduler.after(min(pause, pause_s), self._every, pause_s, work, False)

    def _compare(self, node: CopiedNode, states: States) -> None:
        """Note what the copy did not come to rest in as in reality."""
        found = self._states(node) or {}
        for svc in node.spec.own_services:
            wanted = states.get(svc.name)
            if wanted is None or wanted in _ENDED or svc.name not in found:
                continue
            if found[svc.name] is not wanted:
                self._unlike.append(
                    f"{svc.name} is {wanted.name} on {node.name}, and"
                    f" {found[svc.name].name} in the copy"
                )

    def _states(self, node: CopiedNode) -> dict[str, ServiceState] | None:
        engine = node.engine
        if engine is None:
            return None
        return {
            svc.name: engine.state_of(svc.name)
            for svc in node.spec.own_services
            if engine.manages(svc.name)
        }

    # --- the events -------------------------------------------------------------------------------

    def play(self, planned: Sequence[Planned], limit_s: float = LIMIT_S) -> Rehearsed:
        """Let the events happen, and return what follows. Raises ConfigError for wrong names."""
        for event in planned:
            self._expect_known(event)
        self._copy()
        self._await_beat()
        before = {node.name: self._words(node) for node in self.nodes}
        self._timeline.begin(self.scheduler.now, self._up())
        for event in planned:
            self.scheduler.run_until(self.scheduler.now + event.after_s)
            self.say("", MomentKind.EVENT, event.text)
            self._happen(event)
            self.look()
        is_settled = self._await_rest(self.scheduler.now + limit_s)
        self._timeline.end(self.scheduler.now)
        assert self._timeline.began_at is not None
        return Rehearsed(
            self._timeline.in_order(),
            self._timeline.fenced(),
            tuple(self._outcome(name, before) for name in self._services),
            tuple(self._assumed(planned)),
            tuple(self._unlike),
            self.scheduler.now - self._timeline.began_at,
            is_settled,
        )

    def _await_beat(self) -> None:
        """Wait until the peer has just been heard: the longest silence is rehearsed."""
        engine = self.peer.engine
        if engine is not None:
            seq, end = engine.seq, self.scheduler.now + _BEAT_LIMIT_S
            while engine.seq == seq and self.scheduler.now < end:
                self.scheduler.run_until(self.scheduler.now + _BEAT_STEP_S)

    def _expect_known(self, event: Planned) -> None:
        happening, name = event.happening, event.name
        if happening in (Happening.ORDER, Happening.DISK) and name not in self._services:
            raise ConfigError(
                f"service {name} does not exist on this node: {which_service(name, self._services)}"
            )
        if happening in (Happening.UPLINK, Happening.GATEWAY) and not self._asks_targets:
            raise ConfigError("no targets are configured: [connectivity] ping in openha.conf")
        if happening is Happening.LINK:
            self._links_named(name)
        if happening is Happening.INTERFACE:
            self._links_of_interface(name)

    def _links_named(self, name: str) -> frozenset[LinkSpec]:
        links = self.present.spec.links
        for words in ("device", "label", "link_id"):
            found = frozenset(link for link in links if getattr(link, words) == name)
            if found:
                return self.present.whole(found)
        known = sorted({link.device for link in links})
        hint = did_you_mean(name, known) or f": there is {named(known)}"
        raise ConfigError(f"no heartbeat link is named {name!r}{hint}")

    def _links_of_interface(self, name: str) -> frozenset[LinkSpec]:
        links = [link for link in self.present.spec.senders if not link.is_disk]
        found = frozenset(link for link in links if link.device == name)
        if found:
            return self.present.whole(found)
        known = sorted({link.device for link in links})
        hint = did_you_mean(name, known) or f": there is {named(known) or 'none'}"
        raise ConfigError(f"no heartbeat link of this node uses the interface {name!r}{hint}")

    def _happen(self, event: Planned) -> None:
        node = self.peer if event.is_peer else self.own
        match event.happening:
            case Happening.DIES:
                self._lose_power(node)
            case Happening.BOOTS:
                node.power_on()
            case Happening.REBOOTS:
                self._leave(node, Leaving.STOP_SERVICES)
                self._when_gone(node, self._go_down)
            case Happening.DAEMON_DIES:
                if node.executor is not None:
                    node.end_daemon()
            case Happening.DAEMON_STOPS:
                self._leave(node, Leaving.STOP_SERVICES)
            case Happening.DAEMON_STARTS:
                node.boot_daemon()
            case Happening.DAEMON_RESTARTS:
                self._leave(node, Leaving.KEEP_SERVICES)
                self._when_gone(node, self._start_later)
            case Happening.LINK:
                self._cut(self._links_named(event.name), event.is_back)
            case Happening.ALL_LINKS:
                self._cut(frozenset(self.present.spec.links), event.is_back)
            case Happening.INTERFACE:
                self._wires.mute(self.own, self._links_of_interface(event.name), event.is_back)
            case Happening.DISK:
                self.own.freeze(event.name, is_frozen=not event.is_back)
            case Happening.UPLINK:
                self.own.cut_uplink(is_cut=not event.is_back)
            case Happening.GATEWAY:
                for node in self.nodes:
                    node.cut_uplink(is_cut=not event.is_back)
            case Happening.ORDER:
                self._order(event.name, event.command)
            case Happening.CONFIRM:
                self.own.give(PeerConfirmedOut(self.own.next_command(), "operator"))

    def _lose_power(self, node: CopiedNode) -> None:
        if node.name in self._keepers:
            self._keepers[node.name].lose_power()
        node.power_off()

    def _leave(self, node: CopiedNode, leaving: Leaving) -> None:
        node.give(LeaveRequested(leaving))

    def _when_gone(self, node: CopiedNode, then: Work) -> None:
        if node.is_powered and node.executor is not None:
            self.scheduler.after(_GONE_S, self._when_gone, node, then)
        else:
            then(node)

    def _go_down(self, node: CopiedNode) -> None:
        self._lose_power(node)
        self._boot_later(node)

    def _boot_later(self, node: CopiedNode) -> None:
        self._booting.add(node.name)
        self.scheduler.after(self._boot_s, node.power_on)

    def _start_later(self, node: CopiedNode) -> None:
        self.scheduler.after(_RESTART_S, node.boot_daemon)

    def _cut(self, links: frozenset[LinkSpec], is_back: bool) -> None:
        (self._wires.cut.difference_update if is_back else self._wires.cut.update)(links)
        disk = self.present.arbiter_disk
        if disk and any(link.device == disk for link in links):
            away = self._arbiter.away
            (away.difference_update if is_back else away.update)(node.name for node in self.nodes)

    def _order(self, service: str, command: Command | None) -> None:
        node = self.own
        if command is None:
            owner = next((each for each in self.nodes if each.is_up(service)), None)
            if owner is None:
                self.say("", MomentKind.ANSWER, f"{service} runs nowhere", service=service)
                return
            node, command = owner, Command.STOP
        node.give(CommandReceived(node.next_command(), service, command))

    # --- until nothing moves ----------------------------------------------------------------------

    def _await_rest(self, end: float) -> bool:
        """Return False if something may still happen at the limit."""
        while self.scheduler.now < end:
            self.scheduler.run_until(min(end, self.scheduler.now + _STEP_S))
            if self._is_at_rest():
                return True
        return False

    def _is_at_rest(self) -> bool:
        now, timeline = self.scheduler.now, self._timeline
        if any(node.scripts or node.step_in_air for node in self.nodes):
            return False
        longest_s = max((link.timeout_s for link in self.present.spec.links), default=0.0)
        quiet_s = longest_s + _QUIET_S + timing.START_READY_DELAY_S
        if any(self._is_held_back(node) for node in self.nodes):
            quiet_s += timing.RESTART_HOLD_S
        if any(self._is_off(node) for node in self.nodes):
            quiet_s = max(quiet_s, self._boot_s + 1.0)
        if now - timeline.changed_at < quiet_s:
            return False
        return not any(self._has_more(node, now) for node in self.nodes)

    def _is_held_back(self, node: CopiedNode) -> bool:
        """Return True if a node waits for the return of its peer's daemon, or for its boot."""
        engine = node.engine
        if engine is None:
            return False
        return engine.peer_standing is PeerStanding.DEPARTED or bool(self._waiting(node))

    def _is_off(self, node: CopiedNode) -> bool:
        """Return True for a machine that its watchdog has reset, or that is rebooting."""
        return not node.is_powered and node.name in self._booting

    def _waiting(self, node: CopiedNode) -> list[str]:
        """Return the services that wait for a proof on a node, and have not failed for long."""
        return [
            name
            for name, state in (self._states(node) or {}).items()
            if state in AWAITS_PROOF and self._failures.get((name, node.name), 0) < _FAILURES_MAX
        ]

    def _has_more(self, node: CopiedNode, now: float) -> bool:
        """Return True if a node is known to try something later."""
        if node.engine is None:
            return False
        is_waiting = bool(self._waiting(node))
        may_go_back = any(svc.policy.failback_after_s is not None for svc in node.spec.services)
        if not is_waiting and not may_go_back:
            return False
        status = node.engine.snapshot(now)
        if any(svc.fails_back_at is not None for svc in status.services):
            return True
        fencing = status.fencing
        instants = (
            fencing.next_try_at,
            fencing.opens_at,
            fencing.alone_at,
            fencing.lease_ends_at,
            *(group.retry_at for group in fencing.groups),
        )
        return is_waiting and any(at is not None and at > now for at in instants)

    # --- what came of it --------------------------------------------------------------------------

    def _words(self, node: CopiedNode) -> dict[str, str]:
        states = self._states(node)
        if states is None:
            return dict.fromkeys(self._services, _NO_DAEMON if node.is_powered else _OFF)
        return {name: state.name for name, state in states.items()}

    def _outcome(self, name: str, before: dict[str, dict[str, str]]) -> ServiceOutcome:
        nodes = []
        for node in self.nodes:
            is_up = node.is_up(name)
            after = self._words(node).get(name, "")
            why_not = "" if is_up else self._why_not(node, name)
            was = before[node.name].get(name, "")
            nodes.append(NodeOutcome(node.name, was, after, is_up, why_not))
        timeline = self._timeline
        return ServiceOutcome(
            name,
            tuple(nodes),
            timeline.away_s(name),
            not timeline.up_on(name),
            round(timeline.twice_s(name), 3),
        )

    def _why_not(self, node: CopiedNode, name: str) -> str:
        if node.engine is None:
            return _NO_DAEMON if node.is_powered else _OFF
        status = node.engine.snapshot(self.scheduler.now).service(name)
        if status is None:
            return ""
        unready = node.unready.get(name, "")
        return f"{status.reason}; could not start here: {unready}" if unready else status.reason

    def _left_out(self) -> list[str]:
        """Return what of the present is not copied."""
        peer, status, lines = self.peer.name, self.present.status, []
        if status.peer_only:
            lines.append(f"{named(status.peer_only)}, which {peer} alone has, is left out")
        if any(link.wire is Wire.LEGACY for link in self.present.spec.links):
            lines.append(f"{peer} decides as a node of this version does, not as a C OpenHA")
        if status.fencing.confirmed_by:
            lines.append(
                f"the confirmation of {status.fencing.confirmed_by} does not hold any more"
            )
        return lines

    def _assumed(self, planned: Sequence[Planned]) -> list[str]:
        """Return what this rests on."""
        peer, lines = self.peer.name, []
        if self.present.status.peer_standing in (PeerStanding.SILENT, PeerStanding.UNKNOWN):
            lines.append(f"{peer}, which is not heard, has no power and runs nothing")
        else:
            lines.append(
                f"configuration, scripts and fencing of {peer} are like those here; what it"
                " reports in its beats is taken from them"
            )
        why_delay = self.present.status.fencing.why_delay
        if why_delay:
            lines.append(f"a fence waits for the whole start-ready delay: {why_delay}")
        lines += self._left_out()
        for svc in self.present.status.services:
            if svc.ready in _NOT_SURE and not svc.unready:
                lines.append(
                    f"{svc.name} can be started on {self.own.name}, though the check has found:"
                    f" takeover ready: {svc.ready}: {svc.ready_text}"
                )
        dead = sorted({link.device for link in self.present.dead_links})
        if dead:
            lines.append(f"{named(dead)}: down now, in both directions")
        if self._scripts.used:
            lines.append("each script succeeds, unless the timeline has another reason")
        for (service, kind), lasting in sorted(
            self._scripts.used.items(), key=lambda item: (item[0][0], item[0][1].value)
        ):
            how = f"{lasting.seconds:.1f} s ({lasting.how})"
            lines.append(f"{script_word(kind)} of {service}: {how}")
        for path, lasting in sorted(self._steps.used.items()):
            how = f"{lasting.seconds:.1f} s ({lasting.how})"
            lines.append(f"fencing by {path} works, and takes {how}")
        kinds = {event.happening for event in planned}
        if Happening.DIES in kinds and (self._steps.used or self._scripts.is_fence_used):
            lines.append("the device that fences answers although its node has lost its power")
        if Happening.DAEMON_DIES in kinds:
            lines.append("nobody starts the daemon again (a service manager may)")
        if Happening.REBOOTS in kinds or self._keepers:
            lines.append(f"a machine that boots is back after {self._boot_s:g} s")
        if self._lease is not None:
            death_s = death_after_s(
                self._lease.answer_s, self._lease.timeout_s, self._lease.holders, GRANULARITY_S, 0.5
            )
            lines.append(
                f"a promise is over {death_s:.1f} s after the last sign of life, about; the"
                " witness answers"
                if self._lease.has_witness
                else f"a promise is over {death_s:.1f} s after the last sign of life, about"
            )
        if self.present.arbiter_disk and self._arbiter.away:
            lines.append("the arbiter's disk is out of reach together with its heartbeat link")
        return lines


def _unready_here(services: Sequence[ServiceStatus]) -> dict[str, str]:
    return {svc.name: svc.unready for svc in services if svc.unready}


def _unready_there(services: Sequence[ServiceStatus], peer: str) -> dict[str, str]:
    return {
        svc.name: f"{peer} reports that it could not start it"
        for svc in services
        if svc.is_peer_unready
    }
