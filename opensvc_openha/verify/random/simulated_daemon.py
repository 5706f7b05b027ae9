"""Run one incarnation of a daemon: production executor, codecs and authentication, and ports.

A stalled process keeps what arrives: datagrams in the sockets' buffers, ends of scripts. A hung
engine thread is different: the listeners continue and stamp what they receive, and all of it waits
in the inbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

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
from opensvc_openha.core.beat import Beat, BootId
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import (
    BeatReceived,
    CommandReceived,
    ConfigChanged,
    Event,
    RecoveredState,
    ScriptExited,
    ScriptKind,
    ScriptOutcome,
    SendersMuted,
    Tick,
)
from opensvc_openha.core.model import LinkSpec, ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import WORK_NOTED_S
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.inbox import Inbox
from opensvc_openha.errors import FrameError, SystemFault
from opensvc_openha.formats.frame_seal import SECRET_BYTES, Key
from opensvc_openha.formats.key_file import KeyRing
from opensvc_openha.formats.options_file import HeartbeatOptions
from opensvc_openha.formats.state_file import StoredState, encode
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.codec.base import Codec
from opensvc_openha.heartbeat.codec.legacy import LegacyCodec
from opensvc_openha.heartbeat.codec.own import OwnCodec
from opensvc_openha.verify.invariants import (
    Adopted,
    Arrived,
    Heard,
    Moved,
    Ordered,
    Said,
    StateLost,
)
from opensvc_openha.verify.random.ports import NodePorts
from opensvc_openha.verify.random.simulated_network import Carried

SOCKET_FRAMES = 250
"""Frames that fit in a socket's buffer while the process does not read."""
_ROUNDING_S = 1e-6
"""A deadline in the time of a node with drift must not round to just before it."""
_FLAGS = slice(6, 8)
"""Position of the flags in a frame."""
_RING = KeyRing(Key(bytes(range(SECRET_BYTES))))


_LOOK_S = 0.05
"""Seconds between checks whether a stopped process runs again."""


class Killed(BaseException):
    """kill -9: raised by a port, caught by the owner of the daemon."""


class SimulatedDaemon:
    """One daemon and its ports."""

    def __init__(
        self,
        machine: NodePorts,
        boot: BootId,
        recovered: Mapping[str, RecoveredState],
        kept: tuple[ServiceSpec, ...],
    ) -> None:
        self._machine = machine
        self._clockwork = machine.clockwork
        self.is_over = False
        self.is_stalled = False
        self.is_hung = False
        self._sockets: dict[LinkSpec, list[Carried]] = {}
        self._parked: list[Event] = []
        self._inbox: list[Event] = []
        self._queue: Inbox[Event] = Inbox()
        """Events that wait while the engine's thread works, in the order of production."""
        self._busy_until = 0.0
        self._was_stopped = False
        """The process stood still since the last step began."""
        self._tick_at = -1.0
        self._authentication = Authentication(machine.name, boot)
        self._authentication.update(
            HeartbeatOptions(), _RING if machine.plan.has_key else None, machine.incarnations
        )
        spec = machine.spec
        self._senders: list[tuple[LinkSpec, Codec]] = [
            (link, self._codec(link)) for link in spec.senders
        ]
        self._listeners: dict[LinkSpec, Codec] = {
            link: self._codec(link) for link in spec.listeners
        }
        self.engine = Engine(
            spec, boot, recovered, machine.monotonic, machine.incarnations, kept, machine.fencing
        )
        self._node = ActionExecutor(
            self.engine, self, self._write_later if machine.plan.write_s else None
        )

    def _codec(self, link: LinkSpec) -> Codec:
        if self._machine.plan.is_legacy:
            return LegacyCodec(link, self._own_names)
        return OwnCodec(
            link, self._own_names, self._authentication, lambda: self._machine.monotonic
        )

    def _own_names(self) -> tuple[str, ...]:
        return tuple(svc.name for svc in self._machine.spec.own_services)

    # --- the loop ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the engine thread's first step."""
        self._clockwork.after(0.0, self._first)

    def _first(self) -> None:
        self.handle(Tick())

    def handle(self, event: Event) -> None:
        """Handle one event, by the present state of the process."""
        if self.is_over:
            return
        if self.is_stalled:
            self._parked.append(event)
        elif self.is_hung:
            self._inbox.append(event)
        elif self._is_busy:
            self._queue.put(event)
            if not self._node.is_writing and self._clockwork.now >= self._busy_until:
                self._clockwork.after(0.0, self._turn)
        else:
            self._step(event)

    def _step(self, event: Event, is_forged: bool = False) -> None:
        machine = self._machine
        now = machine.monotonic
        if is_forged:
            pass  # The invariants are only told what the nodes say: a forged beat proves nothing.
        elif isinstance(event, BeatReceived):
            machine.observe(Heard(now, machine.name, event.beat, bool(event.key_id)))
        elif isinstance(event, CommandReceived):
            machine.observe(Ordered(now, machine.name, event.service, event.command))
        elif isinstance(event, ConfigChanged):
            # The engine kept services that may run here, whatever the file holds.
            for name, item in event.recovered.items():
                if self.engine.may_run(name):
                    continue
                machine.observe(Adopted(now, machine.name, name, item.state))
        self._was_stopped = False
        self._carry_on(lambda: self._node.handle(event, now))

    def _carry_on(self, work: Callable[[], None]) -> None:
        """Run a piece of the engine thread's work, and schedule the next."""
        machine = self._machine
        try:
            work()
        except Killed:
            if not self.is_over:
                machine.daemon_died("kill -9")
            return
        if self._node.is_done:
            machine.daemon_died("it has left")
        elif self._node.is_writing:
            return
        elif machine.plan.step_s:
            self._busy_until = self._clockwork.now + machine.plan.step_s
            self._clockwork.at(self._busy_until, self._turn)
        else:
            machine.expect_agreement(self.engine)
            self._turn()

    # --- work that takes time ---------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        return (
            self._node.is_writing
            or self._clockwork.now < self._busy_until
            or self._queue.qsize() > 0
        )

    def _turn(self) -> None:
        """Take the next item, or wait: the engine's thread is free."""
        if (
            self.is_over
            or self.is_stalled
            or self.is_hung
            or self._node.is_writing
            or self._clockwork.now < self._busy_until
        ):
            return
        now = self._machine.monotonic
        if self._machine.plan.step_s >= WORK_NOTED_S and not self._was_stopped:
            self.engine.mark_busy_until(now)
        item = self._queue.get(0.0)
        if item is None:
            self._await_deadline()
            return
        if self._queue.has_beats:
            self.engine.beats_wait(now)
        self._step(item)

    def _write_later(self, job: Callable[[], dict[str, str]]) -> None:
        """Write states slowly, while beats are still sent."""
        self._clockwork.after(
            self._node.writes_held * self._machine.plan.write_s, self._written, job
        )
        self._clockwork.at(
            max(self._clockwork.now, self._machine.instant_of(self._node.speak_at) + _ROUNDING_S),
            self._speak,
        )

    def _written(self, job: Callable[[], dict[str, str]]) -> None:
        if self.is_over:
            return
        if self.is_stalled or self.is_hung:
            self._clockwork.after(_LOOK_S, self._written, job)
            return
        now = self._machine.monotonic

        def finish() -> None:
            problems = job()
            if not self._was_stopped:
                self.engine.mark_busy_until(now)
            self._node.written(problems, now)

        self._carry_on(finish)

    def _speak(self) -> None:
        if self.is_over or not self._node.is_writing:
            return
        is_away = self.is_stalled or self.is_hung
        try:
            is_heard = not is_away and self._node.speak_meanwhile(self._machine.monotonic)
        except Killed:
            self._machine.daemon_died("kill -9")
            return
        if not is_heard:
            self._clockwork.after(_LOOK_S, self._speak)
            return
        self._clockwork.at(
            max(
                self._clockwork.now + _ROUNDING_S,
                self._machine.instant_of(self._node.speak_at) + _ROUNDING_S,
            ),
            self._speak,
        )

    # --- time -------------------------------------------------------------------------------------

    def _await_deadline(self) -> None:
        due = max(
            self._clockwork.now, self._machine.instant_of(self.engine.next_deadline()) + _ROUNDING_S
        )
        if due != self._tick_at:
            self._tick_at = due
            self._clockwork.at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        if due != self._tick_at or self.is_over or self.is_stalled or self.is_hung:
            return
        self._tick_at = -1.0
        if self._is_busy:
            return
        if self.engine.next_deadline() <= self._machine.monotonic:
            self._step(Tick())
        else:
            self._await_deadline()

    # --- stalls -----------------------------------------------------------------------------------

    def stall(self) -> None:
        """Stop the process (SIGSTOP)."""
        self.is_stalled = self._was_stopped = True
        if self._machine.reader is not None:
            self._machine.reader.is_stopped = True

    def resume(self) -> None:
        """Continue the process (SIGCONT).

        Threads run in any order, sockets are read, time has passed.
        """
        self.is_stalled = False
        machine, dice = self._machine, self._machine.dice
        if machine.reader is not None:
            machine.reader.is_stopped = False
            machine.reader.expect()
        for event in self._parked:
            # One thread reads the configuration, one listens to the kernel: their news keep their
            # order.
            delay_s = (
                0.0
                if isinstance(event, (ConfigChanged, SendersMuted))
                else dice.choice((0.0, 0.002, 0.02))
            )
            self._clockwork.after(delay_s, self.handle, event)
        self._parked = []
        for link, frames in self._sockets.items():
            for number, carried in enumerate(frames):
                self._clockwork.after(0.001 + 0.0002 * number, self.receive, link, carried)
        self._sockets = {}
        self._clockwork.after(dice.choice((0.0, 0.001, 0.01)), self.handle, Tick())
        if not self._node.is_writing:
            self._busy_until = 0.0

    def hang(self) -> None:
        """Block the engine's thread, as by a slow write; the others continue."""
        self.is_hung = True

    def unhang(self) -> None:
        """Unblock it: it handles what is queued, in order.

        Like the daemon, it knows that its listeners continued.
        """
        self.is_hung = False
        self.engine.mark_busy_until(self._machine.monotonic)
        waiting, self._inbox = self._inbox, []
        for event in waiting or [Tick()]:
            self.handle(event)
        if not self.is_over:
            self._await_deadline()

    # --- beats ------------------------------------------------------------------------------------

    def receive(self, link: LinkSpec, carried: Carried) -> None:
        """Receive a frame: decoded by production, or buffered while the process is stopped."""
        if self.is_over:
            return
        if self.is_stalled:
            frames = self._sockets.setdefault(link, [])
            if len(frames) < SOCKET_FRAMES:
                frames.append(carried)
            return
        machine, data = self._machine, carried.data
        try:
            self._refuse_unknown(data)
            decoded = self._listeners[link].decode(data)
        except FrameError:
            return
        now = machine.monotonic
        if self.is_hung or self._is_busy:
            machine.observe(Arrived(now, machine.name, carried.beat, bool(decoded.key_id)))
        self.handle(BeatReceived(link, decoded.beat, now, decoded.pid, decoded.key_id))
        self._listeners[link].keep(data)

    def hear_forged(self, link: LinkSpec, beat: Beat) -> None:
        """Receive one forged beat in the peer's name."""
        if not (self.is_over or self.is_stalled or self.is_hung):
            self._step(BeatReceived(link, beat, self._machine.monotonic), is_forged=True)

    def _refuse_unknown(self, data: bytes) -> None:
        """Reject a frame with an unknown flag, as an older version does."""
        flag = self._machine.plan.unknown_flag
        if flag and self._machine.index and int.from_bytes(data[_FLAGS], "big") & flag:
            raise FrameError("malformed", "unknown flag")

    # --- ports ------------------------------------------------------------------------------------

    def _may_be_killed(self) -> None:
        """Kill the daemon (kill -9) between any two actions."""
        machine = self._machine
        if machine.kill_in is not None:
            machine.kill_in -= 1
            if machine.kill_in <= 0:
                raise Killed

    def persist(self, action: Persist, is_durable: bool = True) -> None:
        """Write the STATE file, or fail to."""
        self._may_be_killed()
        machine = self._machine
        machine.observe(Moved(machine.monotonic, machine.name, action.service, action.state))
        target = f" then {action.frozen_target.name}" if action.frozen_target else ""
        machine.note(f"{action.service} {action.state.name}{target}")
        if action.state is ServiceState.START_READY:
            machine.announce_decisive()
        data = encode(StoredState(action.state, action.frozen_target))
        if machine.is_store_broken:
            machine.observe(StateLost(machine.monotonic, machine.name, action.service))
            machine.spoilt.add(action.service)
            raise SystemFault("no space left on device")
        machine.files[action.service] = data
        machine.spoilt.discard(action.service)

    def sync_states(self) -> None:
        """Do nothing: a history never ends between a write and its disk."""

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the incarnations under keys in use, as the daemon does."""
        self._may_be_killed()
        incarnations = self._authentication.relevant(dict(action.incarnations))
        self._authentication.learn(incarnations)
        if not self._machine.is_store_broken:
            self._machine.incarnations = incarnations

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store the fencing memory in the machine, as its disk would."""
        self._may_be_killed()
        if self._machine.is_store_broken:
            raise SystemFault("no space left on device")
        self._machine.fencing = action.memory

    def mirror(self, action: MirrorPeer) -> None:
        """Do nothing: for display only."""

    def announce(self, action: Announce) -> None:
        """Encode and send the beat on each link."""
        self._may_be_killed()
        machine = self._machine
        beat = replace(action.beat, sent_at=machine.wall)
        if machine.index and machine.plan.is_older:
            beat = replace(beat, facts=None)
        machine.observe(Said(machine.monotonic, machine.name, beat))
        for link, codec in self._senders:
            if machine.kill_in is not None:
                self._may_be_killed()
            carried = Carried(codec.encode(beat, 100 + machine.index, action.with_names), beat)
            if link.kind.is_disk:
                machine.disk.write(link, carried)
            else:
                machine.network.send(link, carried)

    def run_script(self, action: RunScript) -> None:
        """Start a script of the machine.

        As in the daemon, what may do harm is not begun if the process was stopped since that was
        decided: while the state was being written, for example.
        """
        self._may_be_killed()
        if self._was_stopped and action.kind in (ScriptKind.CHECK, ScriptKind.START):
            put_off = ScriptExited(
                action.service, action.kind, ScriptOutcome.POSTPONED, "this node stood still"
            )
            self._clockwork.after(0.001, self.handle, put_off)
            return
        self._machine.scripts.run(action)

    def answer(self, action: Answer) -> None:
        """Trace an operator's answer."""
        text = f" ({action.detail})" if action.detail else ""
        self._machine.note(f"answer: {action.service} {action.command}: {action.word.name}{text}")

    def record(self, action: Record) -> None:
        """Trace a line of the log."""
        self._machine.note(
            f"log: {action.name} {action.old or '-'} -> {action.new}: {action.reason}"
        )
