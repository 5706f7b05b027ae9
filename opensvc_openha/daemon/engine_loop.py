"""Run the engine in its thread: take an event from the inbox, decide, carry out, and again."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.events import BeatReceived, Event, ExpectedBeats, Tick
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.shared_step import ends_to_await
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.engine_ports import EnginePorts
from opensvc_openha.daemon.inbox import ANSWER_LIMIT_S, SILENT, Barrier, EngineInbox
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.daemon.lateness_meter import LatenessMeter
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.daemon.systemd import Systemd
from opensvc_openha.errors import NotAnsweringError, RefusedError
from opensvc_openha.heartbeat.stage_meter import StageMeter
from opensvc_openha.storage.state_writer import StateWriter
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_WRITER_PAUSE_S = 0.05
"""Longest wait, in seconds, of a status request while states are written."""
_HUNG_S = 0.5
"""Seconds of one step after which a reader gets the published status instead of waiting."""
_LOOK_S = 0.02
"""Seconds between looks whether a step takes too long, while one waits for an answer."""
_PUBLISH_EVERY_S = 5.0
"""One in which nothing has changed is as good as the one before, but for counters and ages."""
_PUBLISH_SHARE = 0.005
"""Largest part of the engine's time that is spent on publishing its status."""


class _Question:
    """A request for a snapshot."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.status: NodeStatus | None = None

    def answer(self, status: NodeStatus | None) -> None:
        """Give the snapshot to the waiting thread; None if there is none."""
        self.status = status
        self.answered.set()


class EngineLoop:
    """The only thread that touches core.

    Any thread may call ``status``, ``newest_status``, ``await_events``, ``await_records`` and
    ``displace``. ``peer_standing`` and ``is_deaf`` read one value of the engine each, for texts and
    looks alone; ``may_register``, ``wrong_paths`` and ``settled_services`` are read by the watches
    of arbiter, paths and disks, ``promised`` and ``renewing`` by what knows the media of promises.
    ``failure`` and ``displaced`` are final once ``is_over`` is set.
    """

    def __init__(
        self,
        executor: ActionExecutor,
        ports: EnginePorts,
        inbox: EngineInbox,
        writer: StateWriter,
        stall_detector: StallDetector,
        issues: ActiveIssues,
        systemd: Systemd,
        has_unread: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take everything; ``has_unread`` is True while links hold what is not in the inbox yet."""
        self.failure: BaseException | None = None
        self.displaced = ""
        """How another daemon has taken the place of this one; empty if none has."""
        self.is_over = threading.Event()
        self._executor = executor
        self._ports = ports
        self._inbox = inbox
        self._writer = writer
        self._stall_detector = stall_detector
        self._issues = issues
        self._systemd = systemd
        self._has_unread = has_unread
        self._questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._decided_at = clock.monotonic()
        self._busy_since: float | None = None
        """When the present step began; None while the engine waits for its next event."""
        self._published: tuple[NodeStatus, float] | None = None
        """The newest snapshot that nobody had to ask for, and its instant."""
        self._publish_at = -math.inf
        self._published_changes = 0
        self._lateness = LatenessMeter()
        self._taken = StageMeter("read -> engine")

    def start(self, enter: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Start the thread; it calls ``enter`` first and ``on_end`` last."""
        threading.Thread(
            target=self._main, args=(enter, on_end), name="engine", daemon=True
        ).start()

    # --- from other threads -----------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """Return the engine's snapshot, ahead of all events that wait; or NotAnsweringError.

        No longer than a healthy engine is waited for, and not at all for one that hangs already.
        """
        status = self._ask(ANSWER_LIMIT_S)
        if status is None:
            raise NotAnsweringError(SILENT)
        return status

    def newest_status(self) -> NodeStatus:
        """Return the engine's snapshot; of an engine that hangs the newest one, with its age.

        For readers alone: nothing may be decided by an old status. NotAnsweringError if there is
        none.
        """
        status = self._ask(_HUNG_S)
        if status is not None:
            return status
        if self._published is None:
            raise NotAnsweringError(SILENT)
        status, at = self._published
        return replace(status, age_s=max(0.001, clock.monotonic() - at))

    def await_events(self) -> None:
        """Wait until the engine has done all that was in the inbox before; NotAnsweringError."""
        barrier = Barrier()
        self._inbox.put(barrier)
        barrier.wait()

    def await_records(self) -> None:
        """Wait as ``await_events``, but for no engine that hangs: what it recorded is complete."""
        if not self._hangs(_HUNG_S):
            barrier = Barrier()
            self._inbox.put(barrier)
            self._await(barrier.reached, _HUNG_S)

    def _ask(self, hung_s: float) -> NodeStatus | None:
        """Return the engine's snapshot; None if it hangs in one step for so long."""
        if self._hangs(hung_s):
            return None
        question = _Question()
        self._questions.put(question)
        self._inbox.put(Tick())  # Wakes an engine that has nothing to do.
        self._await(question.answered, hung_s)
        return question.status

    def _await(self, reached: threading.Event, hung_s: float) -> None:
        """Wait for the engine to reach something, unless it hangs; within the limit of answers."""
        deadline = clock.monotonic() + ANSWER_LIMIT_S
        while clock.monotonic() < deadline and not self._hangs(hung_s):
            if reached.wait(_LOOK_S):
                return

    def _hangs(self, hung_s: float) -> bool:
        """Return True if the engine's present step has taken so long already."""
        since = self._busy_since
        return since is not None and clock.monotonic() >= since + hung_s

    def displace(self, why: str) -> None:
        """End the loop without another word to the peer: another daemon has this node's place."""
        self.displaced = why
        self.is_over.set()

    @property
    def peer_standing(self) -> PeerStanding:
        """Standing of the peer after the last step."""
        return self._executor.engine.peer_standing

    @property
    def is_deaf(self) -> bool:
        """True while no link was ever listened to."""
        return self._executor.engine.is_deaf

    @property
    def promised(self) -> PeerPromise | None:
        """What the peer promises now, and its incarnation."""
        return self._executor.engine.promised

    @property
    def renewing(self) -> frozenset[bytes] | None:
        """What each promise of this node names that may stand; None if none does."""
        return self._executor.engine.renewing

    @property
    def may_register(self) -> bool:
        """True if this node may register on the arbiter."""
        return self._executor.engine.may_register

    @property
    def wrong_paths(self) -> tuple[str, ...]:
        """The paths of the fence plan whose device is not the peer's."""
        return self._executor.engine.wrong_paths

    @property
    def settled_services(self) -> frozenset[str]:
        """The services that are up here and that no script changes."""
        return self._executor.engine.settled_services

    # --- the engine's thread ----------------------------------------------------------------------

    def _main(self, enter: Callable[[], None], on_end: Callable[[], None]) -> None:
        name_thread("engine")
        enter()
        try:
            while not self._executor.is_done and not self.displaced:
                if self._executor.is_writing:
                    self._await_states()
                else:
                    self._take_one()
        except RefusedError as error:
            self.displaced = str(error)
        # The only catch-all of this thread: a silent node is a safe node.
        except BaseException as error:
            self.failure = error
            self._ports.revoke()
        self._writer.close()
        self.is_over.set()
        on_end()

    def _take_one(self) -> None:
        engine, inbox = self._executor.engine, self._inbox
        deadline = engine.next_deadline()
        item = inbox.get(deadline - clock.monotonic()) or Tick()
        awaited = ends_to_await(item, self._executor.scripts_under_way)
        gather_s = min(timing.GATHER_S, deadline - clock.monotonic()) if awaited else 0.0
        more = inbox.take_more(item, awaited, gather_s)
        expected = inbox.take_expected()
        now = self._busy_since = clock.monotonic()
        if not expected:
            self._answer_questions(now)
        engine.record_unread(engine.is_verdict_due(now) and self._has_unread())
        # After the sockets: what was read meanwhile is here now.
        if inbox.has_beats:
            engine.beats_wait(now)
        self._decided_at = now
        self._ports.begin_step(now)
        events: tuple[Event, ...] = ()
        if expected:
            self._record_taken(expected, deadline, now)
            events = (ExpectedBeats(expected),)
            # Whoever asks, or waits for what came before, has each beat that came in earlier.
            if isinstance(item, Barrier) or not self._questions.empty():
                self._executor.handle_all((*events, Tick()), now)
                self._answer_questions(now)
                events = ()
        if isinstance(item, Barrier):
            item.reach()
            item = Tick()
        if isinstance(item, BeatReceived) and not item.link.is_disk:
            self._taken.record(now - item.waited_from, now)
        self._executor.handle_all((*events, item, *more), now)
        inbox.expect(None if self._executor.is_writing else engine.expected)
        self._lateness.record(engine.late_s, now)
        self._publish()
        if not self._executor.is_writing:
            self._excuse_work(now)
        self._systemd.alive()
        self._busy_since = None

    def _record_taken(self, beats: Iterable[BeatReceived], due_at: float, now: float) -> None:
        """Record how late beats are taken that had to wait for a step, which was due then."""
        if now >= due_at:
            for beat in beats:
                if not beat.link.is_disk:
                    self._taken.record(now - max(beat.waited_from, due_at), now)

    def _await_states(self) -> None:
        """Wait a moment for states that are being written.

        Nothing is decided meanwhile, but beats are sent.
        """
        executor, now = self._executor, clock.monotonic()
        problems = self._writer.wait(min(max(executor.speak_at - now, 0.001), _WRITER_PAUSE_S))
        now = self._busy_since = clock.monotonic()
        self._renew(now)
        self._answer_questions(now)
        if problems is not None:
            self._excuse_work(self._decided_at)
            executor.written(problems, now)
            self._systemd.alive()
        elif executor.speak_meanwhile(now):
            self._systemd.alive()
        self._publish()
        self._busy_since = None

    def _renew(self, now: float) -> None:
        """Hand out permits while states are written: the watchdog does not wait for a slow disk."""
        while (renewal := self._inbox.take_renewal()) is not None:
            self._executor.renew(renewal, now)

    def _excuse_work(self, began: float) -> None:
        """Exclude this thread's own work, mostly writing states, from stall detection.

        The listeners ran meanwhile.
        """
        ended = clock.monotonic()
        if ended - began >= timing.WORK_NOTED_S and not self._stall_detector.was_stopped(began):
            self._executor.engine.mark_busy_until(ended)

    def _answer_questions(self, now: float) -> None:
        """Answer all status requests that wait with one snapshot."""
        if self._questions.empty():
            return
        status = self._snapshot(now)
        while not self._questions.empty():
            self._questions.get().answer(status)

    def _publish(self) -> None:
        """Keep a snapshot for readers of an engine that hangs: after a change, or a while."""
        now, changes = clock.monotonic(), self._executor.changes
        last = -math.inf if self._published is None else self._published[1]
        is_due = changes != self._published_changes or now >= last + _PUBLISH_EVERY_S
        if now < self._publish_at or not is_due:
            return
        # One that fails is reported to who asks for it.
        with contextlib.suppress(Exception):
            self._published = self._measured_snapshot(now), now
            self._published_changes = changes
        ended = clock.monotonic()
        self._publish_at = ended + (ended - now) / _PUBLISH_SHARE

    def _snapshot(self, now: float) -> NodeStatus | None:
        """Return the engine's snapshot.

        None if it fails, since a status request must not end the engine.
        """
        try:
            return self._measured_snapshot(now)
        except Exception as error:
            self._issues.report(Issue.INTERNAL, f"no status: {type(error).__name__}: {error}")
            return None

    def _measured_snapshot(self, now: float) -> NodeStatus:
        """Return the engine's snapshot, with what this loop measured of it."""
        status = self._executor.engine.snapshot(now)
        taken = self._taken.figure(now)
        stages = () if taken is None else (taken,)
        return replace(status, activity=replace(self._lateness.activity(now), stages=stages))
