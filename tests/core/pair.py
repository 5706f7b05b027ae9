"""Two engines back to back under one simulated clock; each test chooses what goes wrong.

A thin driver of `verify.simulated_node`: beats are passed as values with the delay and the loss of
the test, scripts end with the outcome and after the time of the test. No sleeps and no mocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from opensvc_openha.core.actions import (
    Announce,
    Answer,
    FenceStep,
    Persist,
    Record,
    RunFenceStep,
    RunScript,
)
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    LeaveRequested,
    Leaving,
    RecoveredState,
    ScriptKind,
    ScriptOutcome,
    StepOutcome,
    Tick,
)
from opensvc_openha.core.model import (
    ClusterSpec,
    ConnectivityPolicy,
    FencingPolicy,
    LinkSpec,
    Policy,
    Profile,
    ServiceSpec,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import ServiceStatus
from opensvc_openha.verify.invariants import InvariantChecker, Observation
from opensvc_openha.verify.scheduler import Scheduler
from opensvc_openha.verify.simulated_node import NODES, Deferral, Script, SimulatedNode

CHECK_ALWAYS = FencingPolicy(is_check_always=True)
"""The check-up script is run before every start, as by the original; without it:
test_fencing.py."""
TIMEOUT_S = 10.0
StepEnd = tuple[StepOutcome, str, frozenset[str] | None]
"""How a step of the fence plan ends: outcome, text, and the services whose disks it took."""


def links(timeout_s: float = TIMEOUT_S, count: int = 2) -> tuple[LinkSpec, ...]:
    """Return `count` links in each direction."""
    return tuple(
        LinkSpec(
            node,
            "net",
            f"eth{number + 1}",
            f"239.131.50.1{number}{index}",
            5010,
            0,
            timeout_s,
        )
        for index, node in enumerate(NODES)
        for number in range(count)
    )


def services(*names: str, policy: Policy = Policy()) -> tuple[ServiceSpec, ...]:
    """Return services whose primary is deb1."""
    return tuple(
        ServiceSpec(name, f"/etc/{name}", "deb1", "deb2", "/bin/true", policy=policy)
        for name in names or ("registry",)
    )


class Host(SimulatedNode):
    """One node of the pair, and what a test looks at."""

    defer: Deferral | None = None
    """Writes states later, in place of at once."""

    def __init__(self, pair: Pair, index: int) -> None:
        super().__init__(index, pair)
        self.pair = pair
        self.life = 0
        """Counts the daemons, and what is meant for an earlier one is lost."""
        self.records: list[Record] = []
        self.answers: list[Answer] = []
        self.states: list[tuple[float, str, ServiceState]] = []
        self.commands = itertools.count(1)
        self.is_stalled = False

    def boot(
        self, recovered: dict[str, RecoveredState] | None = None, counter: int | None = None
    ) -> None:
        """Start the daemon of this node with chosen states, which its files hold, too."""
        self._begin_life()
        if not self.store.is_same_boot:
            self.store.fencing = self.store.fencing.after_boot()
        self.store.is_same_boot = True
        self.store.files.clear()
        for name, known in (recovered or {}).items():
            self.store.write_recovered(name, known)
        self._start(recovered or {}, counter)

    def boot_from_files(self) -> None:
        """Start the daemon of this node with what its STATE files state."""
        self._begin_life()
        recovered, _ = self.store.begin_daemon(self.pair.services)
        self._start(recovered)

    def _begin_life(self) -> None:
        self.life += 1
        if not self.is_powered:
            self.power_on()

    def _start(self, recovered: dict[str, RecoveredState], counter: int | None = None) -> None:
        pair = self.pair
        spec = ClusterSpec(
            self.name,
            NODES[1 - self.index],
            pair.links,
            pair.services,
            pair.profile,
            pair.fence_time_s,
            pair.fencing,
            pair.connectivity.get(self.name),
        )
        boot = BootId(self.life if counter is None else counter, 1000 * self.index + self.life)
        self.start_daemon(spec, boot, recovered, defer=self.defer)
        pair.schedule(0, self.handle, self.life, Tick())

    def crash(self) -> None:
        """Cut the power of the node, which may be off already."""
        self.life += 1
        self.power_off()

    def end_daemon(self, how: str = "kill -9") -> None:
        """End the daemon only: services and scripts continue."""
        self.life += 1
        super().end_daemon(how)

    kill_daemon = end_daemon

    def handle(self, life: int, event: Event) -> None:
        """Handle one event if this incarnation of the daemon still runs."""
        if life == self.life:
            self.give(event)

    def give(self, event: Event) -> None:
        """Pass an event to the daemon; a stalled one keeps it for later."""
        if self.executor is not None and self.is_stalled:
            self.pair.parked.append((self, self.life, event))
        else:
            super().give(event)

    def finish_step(self) -> None:
        """Check what follows of a step, and wait for the next deadline."""
        super().finish_step()
        if self.engine is not None:
            due = max(self.now, self.engine.next_deadline())
            self.pair.schedule_at(due, self.tick, self.life)

    def tick(self, life: int) -> None:
        """Let time pass; only the newest deadline matters, an early tick does no harm."""
        if self.engine is None or life != self.life:
            return
        if self.is_stalled or self.engine.next_deadline() <= self.now:
            self.give(Tick())

    def persist(self, action: Persist) -> None:
        """Write the STATE file, and keep the state for the test."""
        self.states.append((self.now, action.service, action.state))
        super().persist(action)

    def record(self, action: Record) -> None:
        """Keep a line of the log for the test."""
        self.records.append(action)

    def answer(self, action: Answer) -> None:
        """Keep an answer to an operator for the test."""
        self.answers.append(action)

    def command(self, command: Command, service: str = "registry") -> int:
        """Issue an operator's command; return its number."""
        number = next(self.commands)
        self.handle(self.life, CommandReceived(number, service, command))
        return number

    def leave(self, leaving: Leaving) -> None:
        """Ask the daemon to end."""
        self.handle(self.life, LeaveRequested(leaving))

    def last_answer(self, number: int) -> Answer | None:
        """Return the answer that ended a command, or None so far."""
        return next(
            (item for item in self.answers if item.command_id == number and item.is_last), None
        )

    def service(self, name: str = "registry") -> ServiceStatus:
        """Return the status of a service on this node."""
        assert self.engine is not None
        found = self.engine.snapshot(self.now).service(name)
        assert found is not None
        return found

    @property
    def shown(self) -> tuple[str, str]:
        """Return primary and secondary state as shown here."""
        svc = self.service()
        return svc.primary_state.name, svc.secondary_state.name

    @property
    def state(self) -> str:
        """Return the own state of the first service."""
        own = self.service().own_state
        assert own is not None
        return own.name


class Pair:
    """Both nodes, the wires between them, and the event queue."""

    key_id = ""
    """Key that authenticates every beat; None for unauthenticated beats."""

    def __init__(
        self,
        *names: str,
        timeout_s: float = TIMEOUT_S,
        link_count: int = 2,
        policy: Policy = Policy(),
        profile: Profile = Profile.TUTORIAL,
    ) -> None:
        self.scheduler = Scheduler(100.0)
        self.links = links(timeout_s, link_count)
        self.services = services(*names, policy=policy)
        self.profile = profile
        self.fencing = CHECK_ALWAYS
        self.fence_time_s: float | None = None
        self.connectivity: dict[str, ConnectivityPolicy] = {}
        """What each node asks whether it is isolated."""
        self.cut: set[tuple[str, LinkSpec]] = set()
        self.delay_s: Callable[[], float] = lambda: 0.001
        self.is_lost: Callable[[], bool] = lambda: False
        self.script_s: Callable[[RunScript], float] = lambda action: (
            0.0 if action.kind is ScriptKind.CHECK else 1.0
        )
        self.script_ok: Callable[[Host, RunScript], bool] = lambda host, action: True
        self.on_check: Callable[[Host, RunScript], None] = lambda host, action: None
        self.scripts: list[tuple[float, str, str, str]] = []
        self.step_s: Callable[[FenceStep], float] = lambda step: 1.0
        self.step_end: Callable[[Host, FenceStep], StepEnd] = lambda host, step: (
            StepOutcome.FAILED,
            "no answer",
            None,
        )
        self.steps: list[tuple[float, str, FenceStep]] = []
        self.parked: list[tuple[Host, int, Event]] = []
        self.deb1, self.deb2 = Host(self, 0), Host(self, 1)
        self.invariants: InvariantChecker | None = InvariantChecker(NODES, timeout_s, timeout_s)

    def observe(self, seen: Observation) -> None:
        """Check the invariants: every test on a pair tests them, too."""
        if self.invariants is not None:
            self.invariants.observe(seen)

    def boot(self) -> tuple[Host, Host]:
        """Boot both nodes."""
        self.deb1.boot()
        self.deb2.boot()
        return self.deb1, self.deb2

    def start_on_deb1(self) -> tuple[Host, Host]:
        """Boot both nodes with the services running on deb1 and deb2 as standby."""
        self.boot()
        self.run(2)
        for svc in self.services:
            self.deb1.command(Command.UNFREEZE, svc.name)
        self.run(3)
        for svc in self.services:
            self.deb2.command(Command.UNFREEZE, svc.name)
        self.run(2)
        assert self.deb1.shown == self.deb2.shown == ("STARTED", "STOPPED")
        return self.deb1, self.deb2

    @property
    def now(self) -> float:
        """The clock of both nodes."""
        return self.scheduler.now

    def clock(self, node: SimulatedNode) -> float:
        """Return the clock of a node."""
        return self.scheduler.now

    def schedule(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call after a delay."""
        self.scheduler.after(delay_s, call, *args)

    def schedule_at(self, instant: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call at an instant."""
        self.scheduler.at(instant, call, *args)

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.scheduler.run_until(self.now + seconds)

    def other(self, node: SimulatedNode) -> Host:
        """Return the peer of a node, also of one that a test put in the place of another."""
        return self.deb1 if node.index else self.deb2

    def send(self, node: SimulatedNode, action: Announce) -> None:
        """Send a beat on every intact wire of this node."""
        for link in self.links:
            if link.node == node.name and (node.name, link) not in self.cut and not self.is_lost():
                event_at = self.now + self.delay_s()
                self.schedule_at(event_at, self._deliver, self.other(node), link, action, event_at)

    def _deliver(self, other: Host, link: LinkSpec, action: Announce, received_at: float) -> None:
        other.handle(other.life, BeatReceived(link, action.beat, received_at, key_id=self.key_id))

    def cut_all(self, *senders: str) -> None:
        """Cut every wire of these senders (both if none is named)."""
        self.cut |= {
            (link.node, link) for link in self.links if not senders or link.node in senders
        }

    def heal(self) -> None:
        """Restore all wires."""
        self.cut.clear()

    def run_script(self, node: SimulatedNode, action: RunScript) -> None:
        """Run a script: it ends after the time, and with the outcome, that the test chose."""
        assert isinstance(node, Host)
        before = node.scripts.get(action.service)
        is_orphaned = before is not None and before.owner != node.incarnation
        if is_orphaned and action.kind is ScriptKind.PROBE:
            # As in production, it waits for the script of the daemon that is gone.
            self.schedule(0.1, self._retry, node, action, node.life)
            return
        self.scripts.append((self.now, node.name, action.kind.value, action.service))
        script = node.begin_script(action, is_fence=False)
        if action.kind is ScriptKind.CHECK:
            self.on_check(node, action)
        self.schedule(self.script_s(action), self._end_script, node, script)

    def run_fence_step(self, node: SimulatedNode, action: RunFenceStep) -> None:
        """Run a step of the fence plan: it ends after the time, and as the test chose."""
        assert isinstance(node, Host)
        self.steps.append((self.now, node.name, action.step))
        node.begin_step(action.step)
        self.schedule(self.step_s(action.step), self._end_step, node, action.step)

    def _end_step(self, host: Host, step: FenceStep) -> None:
        # It acts on, whatever has become of the daemon that ordered it.
        host.end_step(step, *self.step_end(host, step), took_s=self.step_s(step))

    def _retry(self, host: Host, action: RunScript, life: int) -> None:
        if life == host.life:
            self.run_script(host, action)

    def _end_script(self, host: Host, script: Script) -> None:
        action = script.action
        if host.scripts.get(action.service) is not script:
            return  # It went down with its node.
        is_ok = self.script_ok(host, action)
        is_running = action.service in host.running
        outcome = ScriptOutcome.OK if is_ok else ScriptOutcome.FAILED
        if action.kind is ScriptKind.PROBE:
            outcome = ScriptOutcome.UP if is_running else ScriptOutcome.DOWN
        elif action.kind in (ScriptKind.START, ScriptKind.STOP):
            is_running = is_ok if action.kind is ScriptKind.START else is_running and not is_ok
        is_lie = action.kind is ScriptKind.CHECK and action.service in self.other(host).running
        detail = "" if is_ok else "exited with 1"
        host.end_script(script, outcome, is_running, detail, is_lie)

    def resume(self, host: Host) -> None:
        """End a stall: handle what piled up, as a process does after SIGCONT."""
        host.is_stalled = False
        parked, self.parked = (
            [item for item in self.parked if item[0] is host],
            [item for item in self.parked if item[0] is not host],
        )
        for _, life, event in parked:
            host.handle(life, event)

    def ran(self, node: str, kind: str) -> int:
        """Return how often scripts of a kind were run on a node."""
        return sum((name, what) == (node, kind) for _, name, what, _ in self.scripts)

    def starts(self, service: str = "registry") -> list[tuple[float, str]]:
        """Return when and where start scripts ran."""
        return [
            (when, node)
            for when, node, kind, svc in self.scripts
            if kind == "start" and svc == service
        ]

    def both_run(self, service: str = "registry") -> bool:
        """Return whether both nodes run the service: the harm this project must prevent."""
        return service in self.deb1.running and service in self.deb2.running
