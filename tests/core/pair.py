"""Two engines back to back under a simulated clock: lossy, slow wires, scripts, a fence.

No sleeps and no mocks: beats are passed as values, scripts are entries in an event queue.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from opensvc_openha.core.actions import (
    Action,
    Announce,
    Answer,
    Exit,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunScript,
)
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    Command,
    CommandReceived,
    Event,
    LeaveRequested,
    Leaving,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    Tick,
)
from opensvc_openha.core.fencing_memory import FencingMemory
from opensvc_openha.core.model import (
    ClusterSpec,
    FencingPolicy,
    LinkKind,
    LinkSpec,
    Policy,
    Profile,
    ServiceSpec,
)
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import ServiceStatus
from opensvc_openha.verify.invariants import (
    DaemonBegan,
    DaemonEnded,
    Heard,
    InvariantChecker,
    Moved,
    NodeLost,
    Observation,
    Ordered,
    Said,
    ScriptBegan,
    ScriptEnded,
)

NAMES = ("deb1", "deb2")
CHECK_ALWAYS = FencingPolicy(is_check_always=True)
"""The check-up script is run before every start, as by the original; without it:
test_fencing.py."""
TIMEOUT_S = 10.0


def links(timeout_s: float = TIMEOUT_S, count: int = 2) -> tuple[LinkSpec, ...]:
    """Return `count` links in each direction."""
    return tuple(
        LinkSpec(
            node,
            LinkKind.NET,
            f"eth{number + 1}",
            f"239.131.50.1{number}{index}",
            5010,
            0,
            timeout_s,
        )
        for index, node in enumerate(NAMES)
        for number in range(count)
    )


def services(*names: str, policy: Policy = Policy()) -> tuple[ServiceSpec, ...]:
    """Return services whose primary is deb1."""
    return tuple(
        ServiceSpec(name, f"/etc/{name}", "deb1", "deb2", "/bin/true", policy=policy)
        for name in names or ("registry",)
    )


class Host:
    """One node of the pair: its engine while it is up, its disk, and what really runs on it."""

    def __init__(self, pair: Pair, index: int) -> None:
        self.pair = pair
        self.index = index
        self.name = NAMES[index]
        self.engine: Engine | None = None
        self.life = 0
        self.known_incarnations: dict[str, BootId] = {}
        self.fencing = FencingMemory()
        self.disk: dict[str, Persist] = {}
        self.running: set[str] = set()
        self.records: list[Record] = []
        self.answers: list[Answer] = []
        self.states: list[tuple[float, str, ServiceState]] = []
        self.commands = itertools.count(1)
        self.is_stalled = False

    def boot(
        self, recovered: dict[str, RecoveredState] | None = None, counter: int | None = None
    ) -> None:
        """Start the daemon of this node."""
        self.life += 1
        peer = NAMES[1 - self.index]
        spec = ClusterSpec(
            self.name,
            peer,
            self.pair.links,
            self.pair.services,
            self.pair.profile,
            self.pair.fence_time_s,
            self.pair.fencing,
        )
        boot = BootId(self.life if counter is None else counter, 1000 * self.index + self.life)
        self.engine = Engine(
            spec,
            boot,
            recovered or {},
            self.pair.now,
            self.known_incarnations,
            fencing=self.fencing,
        )
        states = {name: item.state for name, item in (recovered or {}).items()}
        self.pair.observe(DaemonBegan(self.pair.now, self.name, boot, states))
        self.pair.schedule(0, self.handle, self.life, Tick())

    def crash(self) -> None:
        """Crash the whole node: the daemon and everything that ran."""
        self.engine = None
        self.life += 1
        self.running.clear()
        self.fencing = self.fencing.after_boot()
        self.pair.observe(NodeLost(self.pair.now, self.name))

    def kill_daemon(self) -> None:
        """Kill the daemon only: services keep running, scripts run on unobserved."""
        self.engine = None
        self.life += 1
        self.pair.observe(DaemonEnded(self.pair.now, self.name))

    def handle(self, life: int, event: Event) -> None:
        """Handle one event if this incarnation of the daemon still runs."""
        if self.engine is None or life != self.life:
            return
        if self.is_stalled:
            self.pair.parked.append((self, life, event))
            return
        if isinstance(event, BeatReceived):
            self.pair.observe(Heard(self.pair.now, self.name, event.beat, bool(event.key_id)))
        elif isinstance(event, CommandReceived):
            self.pair.observe(Ordered(self.pair.now, self.name, event.service, event.command))
        for action in self.engine.step(event, self.pair.now):
            self.carry_out(action)
        if self.engine is not None:
            self.pair.schedule_at(
                max(self.pair.now, self.engine.next_deadline()),
                self.tick,
                self.life,
                self.engine.seq,
            )

    def tick(self, life: int, _seq: int) -> None:
        """Let time pass; only the newest deadline matters, an early tick does no harm."""
        if self.engine is None or life != self.life:
            return
        if self.is_stalled or self.engine.next_deadline() <= self.pair.now:
            self.handle(life, Tick())

    def carry_out(self, action: Action) -> None:
        """Carry out an action as the daemon's shell would."""
        if isinstance(action, Persist):
            self.disk[action.service] = action
            self.states.append((self.pair.now, action.service, action.state))
            self.pair.observe(Moved(self.pair.now, self.name, action.service, action.state))
        elif isinstance(action, RememberFencing):
            self.fencing = action.memory
            if self.engine is not None:
                self.engine.remembered_fencing(action.memory, True, self.pair.now)
        elif isinstance(action, RememberIncarnations):
            self.known_incarnations = dict(action.incarnations)
        elif isinstance(action, Announce):
            self.pair.observe(Said(self.pair.now, self.name, action.beat))
            self.pair.send(self, action)
        elif isinstance(action, RunScript):
            self.pair.run_script(self, action)
        elif isinstance(action, Record):
            self.records.append(action)
        elif isinstance(action, Answer):
            self.answers.append(action)
        elif isinstance(action, Exit):
            self.kill_daemon()

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
        found = self.engine.snapshot(self.pair.now).service(name)
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
        self.now = 100.0
        self.links = links(timeout_s, link_count)
        self.services = services(*names, policy=policy)
        self.profile = profile
        self.fencing = CHECK_ALWAYS
        self.fence_time_s: float | None = None
        self.cut: set[tuple[str, LinkSpec]] = set()
        self.delay_s: Callable[[], float] = lambda: 0.001
        self.is_lost: Callable[[], bool] = lambda: False
        self.script_s: Callable[[RunScript], float] = lambda action: (
            0.0 if action.kind is ScriptKind.CHECK else 1.0
        )
        self.script_ok: Callable[[Host, RunScript], bool] = lambda host, action: True
        self.on_check: Callable[[Host, RunScript], None] = lambda host, action: None
        self.scripts: list[tuple[float, str, str, str]] = []
        self.parked: list[tuple[Host, int, Event]] = []
        self._queue: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        self.deb1, self.deb2 = Host(self, 0), Host(self, 1)
        self.invariants: InvariantChecker | None = InvariantChecker(
            NAMES, timeout_s, timeout_s, ack_limit_s=None
        )

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
        """Boot both nodes with the service running on deb1 and deb2 as standby."""
        self.boot()
        self.run(2)
        self.deb1.command(Command.UNFREEZE)
        self.run(3)
        self.deb2.command(Command.UNFREEZE)
        self.run(2)
        assert self.deb1.shown == self.deb2.shown == ("STARTED", "STOPPED")
        return self.deb1, self.deb2

    def schedule(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call after a delay."""
        self.schedule_at(self.now + delay_s, call, *args)

    def schedule_at(self, instant: float, call: Callable[..., None], *args: object) -> None:
        """Schedule a call at an instant."""
        heapq.heappush(self._queue, (instant, next(self._order), call, args))

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            instant, _, call, args = heapq.heappop(self._queue)
            self.now = max(self.now, instant)
            call(*args)
        self.now = end

    def send(self, host: Host, action: Announce) -> None:
        """Send a beat on every intact wire of this node."""
        other = self.deb2 if host is self.deb1 else self.deb1
        for link in self.links:
            if link.node == host.name and (host.name, link) not in self.cut and not self.is_lost():
                event_at = self.now + self.delay_s()
                self.schedule_at(event_at, self._deliver, other, link, action, event_at)

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

    def run_script(self, host: Host, action: RunScript) -> None:
        """Run a script: its effect comes when it ends."""
        self.scripts.append((self.now, host.name, action.kind.value, action.service))
        self.observe(ScriptBegan(self.now, host.name, action.service, action.kind))
        if action.kind is ScriptKind.CHECK:
            self.on_check(host, action)
        self.schedule(self.script_s(action), self._script_ends, host, host.life, action)

    def _script_ends(self, host: Host, life: int, action: RunScript) -> None:
        # A crash of the node ends its scripts; the daemon's end alone does not.
        if life != host.life:
            return
        is_ok = self.script_ok(host, action)
        if action.kind is ScriptKind.PROBE:
            outcome = ScriptOutcome.UP if action.service in host.running else ScriptOutcome.DOWN
        else:
            outcome = ScriptOutcome.OK if is_ok else ScriptOutcome.FAILED
            if action.kind is ScriptKind.START and is_ok:
                host.running.add(action.service)
            elif action.kind is ScriptKind.STOP and is_ok:
                host.running.discard(action.service)
        is_running = self.invariants is not None and action.service in host.running
        other = self.deb2 if host is self.deb1 else self.deb1
        is_lie = action.kind is ScriptKind.CHECK and action.service in other.running
        self.observe(
            ScriptEnded(self.now, host.name, action.service, action.kind, is_ok, is_running, is_lie)
        )
        host.handle(
            life,
            ScriptExited(action.service, action.kind, outcome, "" if is_ok else "exited with 1"),
        )

    def resume(self, host: Host) -> None:
        """End a stall: handle what piled up, as a process does after SIGCONT."""
        host.is_stalled = False
        parked, self.parked = (
            [item for item in self.parked if item[0] is host],
            [item for item in self.parked if item[0] is not host],
        )
        for _, life, event in parked:
            host.handle(life, event)

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
