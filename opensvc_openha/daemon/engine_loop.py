"""Run the engine in its thread: take an event from the inbox, decide, carry out, and again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from opensvc_openha.core import timing
from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import Tick
from opensvc_openha.core.promise import Promise
from opensvc_openha.core.status import NodeStatus, PeerStanding
from opensvc_openha.daemon.action_executor import ActionExecutor
from opensvc_openha.daemon.engine_ports import EnginePorts
from opensvc_openha.daemon.inbox import ANSWER_LIMIT_S, SILENT, Barrier, EngineInbox
from opensvc_openha.daemon.issues import ActiveIssues, Issue
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.daemon.systemd import Systemd
from opensvc_openha.errors import NotAnsweringError, RefusedError
from opensvc_openha.storage.state_writer import StateWriter
from opensvc_openha.system import clock
from opensvc_openha.system.thread_names import name_thread

_WRITER_PAUSE_S = 0.05
"""Longest wait, in seconds, of a status request while states are written."""


class _Question:
    """A request for a snapshot."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._status: NodeStatus | None = None

    def answer(self, status: NodeStatus | None) -> None:
        """Give the snapshot to the waiting thread; None if there is none."""
        self._status = status
        self._answered.set()

    def wait(self) -> NodeStatus:
        """Return the snapshot; NotAnsweringError if none comes in time."""
        if not self._answered.wait(ANSWER_LIMIT_S) or self._status is None:
            raise NotAnsweringError(SILENT)
        return self._status


class EngineLoop:
    """The only thread that touches core.

    Any thread may call ``status``, ``await_events`` and ``displace``. ``peer_standing`` and
    ``is_deaf`` read one value of the engine each, for texts and looks alone; ``may_register``,
    ``wrong_paths`` and ``settled_services`` are read by the watches of arbiter, paths and disks,
    ``promised`` and ``renewing`` by what knows the media of promises. ``failure`` and ``displaced``
    are final once ``is_over`` is set.
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
    ) -> None:
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
        self._questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._decided_at = clock.monotonic()

    def start(self, enter: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Start the thread; it calls ``enter`` first and ``on_end`` last."""
        threading.Thread(
            target=self._main, args=(enter, on_end), name="engine", daemon=True
        ).start()

    # --- from other threads -----------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """Return the engine's snapshot, ahead of all events that wait; or NotAnsweringError."""
        question = _Question()
        self._questions.put(question)
        self._inbox.put(Tick())  # Wakes an engine that has nothing to do.
        return question.wait()

    def await_events(self) -> None:
        """Wait until the engine has done all that was in the inbox before; NotAnsweringError."""
        barrier = Barrier()
        self._inbox.put(barrier)
        barrier.wait()

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
    def promised(self) -> tuple[BootId, Promise] | None:
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
        engine = self._executor.engine
        item = self._inbox.get(engine.next_deadline() - clock.monotonic()) or Tick()
        now = clock.monotonic()
        self._answer_questions(now)
        if self._inbox.has_beats:
            engine.beats_wait(now)
        if isinstance(item, Barrier):
            item.reach()
            item = Tick()
        self._decided_at = now
        self._ports.begin_step(now)
        self._executor.handle(item, now)
        if not self._executor.is_writing:
            self._excuse_work(now)
        self._systemd.alive()

    def _await_states(self) -> None:
        """Wait a moment for states that are being written.

        Nothing is decided meanwhile, but beats are sent.
        """
        executor, now = self._executor, clock.monotonic()
        problems = self._writer.wait(min(max(executor.speak_at - now, 0.001), _WRITER_PAUSE_S))
        now = clock.monotonic()
        self._renew(now)
        self._answer_questions(now)
        if problems is not None:
            self._excuse_work(self._decided_at)
            executor.written(problems, now)
            self._systemd.alive()
        elif executor.speak_meanwhile(now):
            self._systemd.alive()

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

    def _snapshot(self, now: float) -> NodeStatus | None:
        """Return the engine's snapshot.

        None if it fails, since a status request must not end the engine.
        """
        try:
            return self._executor.engine.snapshot(now)
        except Exception as error:
            self._issues.report(Issue.INTERNAL, f"no status: {type(error).__name__}: {error}")
            return None
