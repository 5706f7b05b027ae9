"""Run the process of one incarnation of a daemon: production executor, codecs and authentication.

A stalled process keeps what arrives: datagrams in the sockets' buffers, ends of scripts. A hung
engine thread is different: the listeners continue and stamp what they receive, and all of it waits
in the inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from opensvc_openha.core.actions import GrantPermit, RunFenceStep, RunScript
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    ConfigChanged,
    Event,
    ExpectedBeats,
    FenceStepEnded,
    RecoveredState,
    RenewalConfirmed,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    SendersMuted,
    StepOutcome,
    Tick,
)
from opensvc_openha.core.model import ClusterSpec, LinkSpec, ServiceSpec
from opensvc_openha.core.peer_word import Doubt, PeerWord
from opensvc_openha.core.shared_step import ends_to_await
from opensvc_openha.core.timing import GATHER_S, WORD_WAIT_S, WORK_NOTED_S
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.inbox import Inbox
from opensvc_openha.errors import FrameError
from opensvc_openha.formats.frame_seal import SECRET_BYTES, Key
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.heartbeat.repeat_filter import RepeatFilter
from opensvc_openha.links.base import Received
from opensvc_openha.verify.invariants import Arrived, Forged
from opensvc_openha.verify.random.simulated_network import Carried
from opensvc_openha.verify.random.world import World
from opensvc_openha.verify.simulated_node import SimulatedNode

SOCKET_FRAMES = 250
"""Frames that fit in a socket's buffer while the process does not read."""
_ROUNDING_S = 1e-6
"""A deadline in the time of a node with drift must not round to just before it."""
_GATHER_FROM = 2
"""Fewer scripts than of the daemon: few services gather the ends of theirs, too."""
_FLAGS = slice(6, 8)
"""Position of the flags in a frame."""
_RING = KeyRing(Key(bytes(range(SECRET_BYTES))))


_LOOK_S = 0.05
"""Seconds between checks whether a stopped process runs again."""
_WORD_LOOK_S = 0.1
"""Seconds between looks whether the peer has spoken again."""


def _count_nothing(reason: str, what: str, number: int) -> None:
    """Count no frame: only what reaches the engine matters here."""


class Killed(BaseException):
    """kill -9: raised by a port, caught by the owner of the daemon."""


class SimulatedDaemon:
    """One daemon of a node; its ports are the node's."""

    def __init__(
        self, node: SimulatedNode, world: World, dice: Random, spec: ClusterSpec, boot: BootId
    ) -> None:
        self._node = node
        self._world = world
        self._plan = world.plan
        self._scheduler = world.scheduler
        self._dice = dice
        self._boot = boot
        self.spec = spec
        self.is_over = False
        self.is_stalled = False
        self.is_hung = False
        self._sockets: dict[LinkSpec, list[tuple[Carried, float]]] = {}
        """What came in, and when, while the process does not read."""
        self._unread = 0
        """How much of that there is, and of what the thread of the links has not read yet."""
        self._parked: list[Event] = []
        self._inbox: list[Event] = []
        self._queue: Inbox[Event] = Inbox()
        """Events that wait while the engine's thread works, in the order of production."""
        self._gathering: Event | None = None
        """The end of a script that waits for others to share its step."""
        self.write: Callable[[], dict[str, str]] | None = None
        """What another thread writes now."""
        self._busy_until = 0.0
        self._was_stopped = False
        """The process stood still since the last step began."""
        self._standstills = 0
        self._tick_at = -1.0
        self._authentication = Authentication(node.name, boot)
        self._authentication.update(
            HeartbeatOptions(), _RING if self._plan.has_key else None, node.store.incarnations
        )
        self.senders: list[tuple[LinkSpec, Codec]] = [
            (link, self._codec(link)) for link in spec.senders
        ]
        self._listeners: dict[LinkSpec, Codec] = {
            link: self._codec(link) for link in spec.listeners
        }
        # Repetitions in our own format all reach the engine: a real listener spares it most.
        self._repeats = (
            {link: RepeatFilter(link) for link in spec.listeners} if self._plan.is_legacy else {}
        )

    def _codec(self, link: LinkSpec) -> Codec:
        if self._plan.is_legacy:
            return LegacyCodec(link, self._own_names)
        return OwnCodec(link, self._own_names, self._authentication, lambda: self._node.now)

    def _own_names(self) -> tuple[str, ...]:
        return tuple(svc.name for svc in self.spec.own_services)

    # --- the loop ---------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The engine of this daemon."""
        return self._executor.engine

    def begin(self, recovered: Mapping[str, RecoveredState], kept: tuple[ServiceSpec, ...]) -> None:
        """Make the engine, and schedule its thread's first step."""
        defer = self._write_later if self._plan.write_s else None
        self._node.start_daemon(self.spec, self._boot, recovered, kept, defer)
        assert self._node.executor is not None
        self._executor: ActionExecutor = self._node.executor
        self._scheduler.after(0.0, self._first)

    def _first(self) -> None:
        self.handle(Tick())

    def handle(self, event: Event) -> None:
        """Handle one event, by the present state of the process."""
        if self.is_over:
            return
        if isinstance(event, RenewalConfirmed) and self._takes_renewals:
            # The watchdog does not wait for a slow disk.
            for permit in self.engine.confirm_renewal(event, self._node.now):
                self._permit(permit)
            return
        if self.is_stalled:
            self._parked.append(event)
        elif self.is_hung:
            self._inbox.append(event)
        elif self._is_busy:
            self._queue.put(event)
            if self._is_incomplete(self._gathering):
                return
            if not self._executor.is_writing and self._scheduler.now >= self._busy_until:
                self._scheduler.after(0.0, self._turn)
        elif isinstance(event, BeatReceived):
            self._queue.put(event)
            if self._queue.is_due:
                self._step(self._queue.get(0.0) or Tick())
            else:
                # Without news: it waits for the next step.
                is_authentic = bool(event.key_id)
                arrived = Arrived(event.received_at, self._node.name, event.beat, is_authentic)
                self._node.observe(arrived)
        elif not self._gathers(event):
            self._step(event)

    def _step(
        self, *events: Event, expected: tuple[BeatReceived, ...] = (), is_forged: bool = False
    ) -> None:
        now = self._node.now
        self.engine.record_unread(self.engine.is_verdict_due(now) and self._unread > 0)
        expected = expected or self._queue.take_expected()
        for event in expected if is_forged else (*expected, *events):
            self._node.observe_event(event)
        if expected:
            events = (ExpectedBeats(expected), *events)
        self._was_stopped = False
        self._carry_on(lambda: self._executor.handle_all(events, now))

    def _carry_on(self, work: Callable[[], None]) -> None:
        """Run a piece of the engine thread's work, and schedule the next."""
        try:
            work()
        except Killed:
            if not self.is_over:
                self._node.end_daemon()
            return
        self._node.finish_step()
        if self.is_over:
            return
        is_writing = self._executor.is_writing
        self._queue.expect(None if is_writing else self.engine.expected)
        if is_writing:
            return
        if self._plan.step_s:
            self._busy_until = self._scheduler.now + self._plan.step_s
            self._scheduler.at(self._busy_until, self._turn)
        else:
            self._turn()

    def _permit(self, permit: GrantPermit) -> None:
        try:
            self._node.carry_out_lease(permit)
        except Killed:
            self._node.end_daemon()

    @property
    def _takes_renewals(self) -> bool:
        return self._executor.is_writing and not (self.is_stalled or self.is_hung)

    # --- work that takes time ---------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        """True while events wait: the process or its engine stands still, or works."""
        return self.is_stalled or self.is_hung or self._is_busy

    @property
    def _is_busy(self) -> bool:
        return (
            self._gathering is not None
            or self._executor.is_writing
            or self._scheduler.now < self._busy_until
            or self._queue.is_due
        )

    def _turn(self) -> None:
        """Take the next item, or wait: the engine's thread is free."""
        if (
            self.is_over
            or self.is_stalled
            or self.is_hung
            or self._executor.is_writing
            or self._scheduler.now < self._busy_until
        ):
            return
        now = self._node.now
        item, self._gathering = self._gathering, None
        if item is None:
            if self._plan.step_s >= WORK_NOTED_S and not self._was_stopped:
                self.engine.mark_busy_until(now)
            item = self._queue.get(0.0)
            if item is None:
                self._await_deadline()
                return
            if self._gathers(item):
                return
        more = self._queue.take_more(item)
        expected = self._queue.take_expected()
        if self._queue.has_beats:
            self.engine.beats_wait(now)
        self._step(item, *more, expected=expected)

    def _is_incomplete(self, first: Event | None) -> bool:
        """Return True if the step of ``first`` may wait for more ends of scripts."""
        awaited = ends_to_await(first, self._executor.scripts_under_way, _GATHER_FROM)
        return self._queue.is_incomplete(first, awaited)

    def _gathers(self, first: Event) -> bool:
        """Let the end of a script wait for others, as the daemon's loop does."""
        if not self._is_incomplete(first):
            return False
        limit_s = self._instant_after(self.engine.next_deadline()) - self._scheduler.now
        if limit_s <= 0:
            return False
        self._gathering = first
        self._scheduler.after(min(GATHER_S, limit_s), self._turn)
        return True

    def _write_later(self, job: Callable[[], dict[str, str]]) -> None:
        """Write states slowly, while beats are still sent."""
        took_s = self._executor.writes_held * self._plan.write_s
        if self._executor.is_start_held:
            took_s += self._world.start_hangs_s()
        self._scheduler.after(took_s, self._written, job)
        self.write = job
        self._scheduler.at(
            max(
                self._scheduler.now,
                self._instant_after(self._executor.speak_at),
            ),
            self._speak,
        )

    def _written(self, job: Callable[[], dict[str, str]]) -> None:
        if self.is_over:
            return
        if self.is_stalled or self.is_hung:
            self._scheduler.after(_LOOK_S, self._written, job)
            return
        now = self._node.now

        def finish() -> None:
            self.write = None
            problems = job()
            if not self._was_stopped:
                self.engine.mark_busy_until(now)
            self._executor.written(problems, now)

        self._carry_on(finish)

    def _speak(self) -> None:
        if self.is_over or not self._executor.is_writing:
            return
        is_away = self.is_stalled or self.is_hung
        try:
            is_heard = not is_away and self._executor.speak_meanwhile(self._node.now)
        except Killed:
            self._node.end_daemon()
            return
        if not is_heard:
            self._scheduler.after(_LOOK_S, self._speak)
            return
        self._scheduler.at(
            max(
                self._scheduler.now + _ROUNDING_S,
                self._instant_after(self._executor.speak_at),
            ),
            self._speak,
        )

    # --- time -------------------------------------------------------------------------------------

    def _instant_after(self, monotonic: float) -> float:
        return self._world.instant_of(self._node, monotonic) + _ROUNDING_S

    def _await_deadline(self) -> None:
        due = max(
            self._scheduler.now,
            self._instant_after(self.engine.next_deadline()),
        )
        if due != self._tick_at:
            self._tick_at = due
            self._scheduler.at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        if due != self._tick_at or self.is_over or self.is_stalled or self.is_hung:
            return
        self._tick_at = -1.0
        if self._is_busy:
            return
        if self.engine.next_deadline() <= self._node.now:
            self._step(Tick())
        else:
            self._await_deadline()

    # --- stalls -----------------------------------------------------------------------------------

    def stall(self) -> None:
        """Stop the process (SIGSTOP)."""
        self.is_stalled = self._was_stopped = True
        self._standstills += 1

    def resume(self) -> None:
        """Continue the process (SIGCONT).

        Threads run in any order, sockets are read, time has passed.
        """
        self.is_stalled = False
        dice = self._dice
        for event in self._parked:
            # One thread reads the configuration, one listens to the kernel: their news keep their
            # order.
            delay_s = (
                0.0
                if isinstance(event, (ConfigChanged, SendersMuted))
                else dice.choice((0.0, 0.002, 0.02))
            )
            self._scheduler.after(delay_s, self.handle, event)
        self._parked = []
        for link, frames in self._sockets.items():
            for number, waiting in enumerate(frames):
                self._scheduler.after(0.001 + 0.0002 * number, self._read, link, *waiting)
        self._sockets = {}
        self._scheduler.after(dice.choice((0.0, 0.001, 0.01)), self.handle, Tick())
        if not self._executor.is_writing:
            self._busy_until = 0.0

    def hang(self) -> None:
        """Block the engine's thread, as by a slow write; the others continue."""
        self.is_hung = True

    def unhang(self) -> None:
        """Unblock it: it handles what is queued, in order.

        Like the daemon, it knows that its listeners continued.
        """
        self.is_hung = False
        self.engine.mark_busy_until(self._node.now)
        waiting, self._inbox = self._inbox, []
        for event in waiting or [Tick()]:
            self.handle(event)
        if not self.is_over:
            self._await_deadline()

    # --- beats ------------------------------------------------------------------------------------

    def receive(self, link: LinkSpec, carried: Carried) -> None:
        """Receive a frame, which the kernel keeps until it is read."""
        if self.is_over:
            return
        if self.is_stalled:
            self._keep(link, carried, self._node.now)
        elif self._plan.read_s and not link.is_disk:
            self._unread += 1
            self._scheduler.after(self._plan.read_s, self._read, link, carried, self._node.now)
        else:
            self._unread += 1
            self._read(link, carried, self._node.now)

    def _keep(self, link: LinkSpec, carried: Carried, arrived_at: float) -> None:
        frames = self._sockets.setdefault(link, [])
        if len(frames) < SOCKET_FRAMES:
            frames.append((carried, arrived_at))
            self._unread += 1

    def _read(self, link: LinkSpec, carried: Carried, arrived_at: float) -> None:
        """Read a frame, stamped by the kernel: decoded by production."""
        self._unread -= 1
        if self.is_over:
            return
        if self.is_stalled:
            self._keep(link, carried, arrived_at)
            return
        node, data = self._node, carried.data
        try:
            self._refuse_unknown(data)
            received = Received(data, arrived_at, "", read_at=node.now)
            repeats = self._repeats.get(link)
            if repeats is not None and repeats.rejection(received):
                return
            event = self._listeners[link].decode(received, _count_nothing)
        except FrameError:
            return
        if self.is_hung or self._is_busy:
            node.observe(Arrived(event.received_at, node.name, carried.beat, bool(event.key_id)))
        self.handle(event)
        if repeats is not None:
            repeats.record(received, event)

    def hear_forged(self, link: LinkSpec, beat: Beat) -> None:
        """Receive one forged beat in the peer's name."""
        if not (self.is_over or self.is_stalled or self.is_hung):
            self._node.observe(Forged(self._node.now, self._node.name))
            self._step(BeatReceived(link, beat, self._node.now), is_forged=True)

    def _refuse_unknown(self, data: bytes) -> None:
        """Reject a frame with an unknown flag, as an older version does."""
        flag = self._plan.unknown_flag
        if flag and self._node.index and int.from_bytes(data[_FLAGS], "big") & flag:
            raise FrameError("malformed", "unknown flag")

    # --- for the ports of the node ----------------------------------------------------------------

    def learn_incarnations(self, known: dict[str, BootId]) -> dict[str, BootId]:
        """Take over newly seen incarnations; return those under keys in use."""
        relevant = self._authentication.relevant(known)
        self._authentication.learn(relevant)
        return relevant

    def puts_off(self, action: RunScript) -> bool:
        """Put off what may do harm if the process was stopped since that was decided.

        While the state was being written, for example. So is a start beside a peer that is heard,
        or has left, if the peer's word does not hold any more; it waits for the next one, as in the
        daemon.
        """
        if action.kind not in (ScriptKind.CHECK, ScriptKind.START):
            return False
        if self._was_stopped:
            self._scheduler.after(0.001, self._put_off, action, "this node stood still")
            return True
        decided = self.engine.peer_word
        is_relied_on = decided.is_relied_on(action.service, action.peer_standing)
        is_on_word = action.kind is ScriptKind.START and is_relied_on
        if not is_on_word or self._doubt(action, decided) is None:
            return False
        self._scheduler.after(
            _WORD_LOOK_S, self._begin_late, action, decided, self._node.now, self._standstills
        )
        return True

    def _doubt(self, action: RunScript, decided: PeerWord) -> Doubt | None:
        hung = [event for event in self._inbox if isinstance(event, BeatReceived)]
        waiting = (*hung, *self._queue.unread())
        word = self.engine.peer_word
        return word.doubt_since(decided, action.service, waiting, self._node.now)

    def _begin_late(
        self, action: RunScript, decided: PeerWord, since: float, standstills: int
    ) -> None:
        """Begin a start whose peer has spoken again, or put it off after a while."""
        if self.is_over:
            return
        doubt = self._doubt(action, decided)
        if self._standstills != standstills:
            self._put_off(action, "this node stood still")
        elif doubt is None:
            SimulatedNode.run_script(self._node, action)
        elif doubt.is_final or self._node.now >= since + WORD_WAIT_S:
            self._put_off(action, doubt.text)
        else:
            self._scheduler.after(
                _WORD_LOOK_S, self._begin_late, action, decided, since, standstills
            )

    def _put_off(self, action: RunScript, why: str) -> None:
        self.handle(ScriptExited(action.service, action.kind, ScriptOutcome.POSTPONED, why))

    def puts_off_step(self, action: RunFenceStep) -> bool:
        """Put off a step of the fence plan if the process was stopped since it was ordered."""
        if not self._was_stopped:
            return False
        text = "this node stood still"
        ended = FenceStepEnded(action.step.number, StepOutcome.NOT_BEGUN, text)
        self._scheduler.after(0.001, self.handle, ended)
        return True
