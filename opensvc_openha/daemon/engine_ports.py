"""Carry out what the engine decides: files, beats, scripts, answers, log and history."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.actions import (
    Announce,
    Answer,
    LeaseAction,
    MirrorPeer,
    Persist,
    Record,
    RememberFencing,
    RememberIncarnations,
    RunFenceStep,
    RunScript,
)
from opensvc_openha.core.engine import Engine
from opensvc_openha.core.events import ScriptKind
from opensvc_openha.core.peer_word import Doubt, PeerWord
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon.agent_cache_invalidation import AgentCaches
from opensvc_openha.daemon.fence_runner import FenceRunner
from opensvc_openha.daemon.inbox import EngineInbox
from opensvc_openha.daemon.lease_service import LeaseService
from opensvc_openha.daemon.lock import Place
from opensvc_openha.daemon.open_commands import OpenCommands
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.daemon.stall_detector import StallDetector
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.heartbeat.authentication import Authentication
from opensvc_openha.heartbeat.outbox import BeatOutbox
from opensvc_openha.storage.fencing_store import FencingStore
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.journal_fields import JournalFields
from opensvc_openha.storage.key_store import write_incarnations
from opensvc_openha.storage.state_store import StateStore
from opensvc_openha.system import clock
from opensvc_openha.system.logs import log_record

_DRAIN_LIMIT_S = 1.0
"""Seconds for taking the beats that wait before a check-up script for a silent peer.

After them it is decided again.
"""
_DRAIN_PAUSE_S = 0.01


class EnginePorts:
    """The ports of the daemon's ActionExecutor.

    ``persist_all`` and ``remember_fencing`` are called by the thread that writes states, all other
    ports by the engine's thread; while the first one works, the engine decides nothing. Whether a
    decision is overtaken is asked by the threads of scripts: what they read here are single values,
    set before they are needed and never taken back.
    """

    def __init__(
        self,
        layout: Layout,
        logger: logging.Logger,
        engine: Engine,
        inbox: EngineInbox,
        place: Place,
        store: StateStore,
        fencing_store: FencingStore,
        authentication: Authentication,
        outbox: BeatOutbox,
        runner: ScriptRunner,
        fence_runner: FenceRunner,
        lease: LeaseService,
        stall_detector: StallDetector,
        commands: OpenCommands,
        history: History,
        agent_caches: AgentCaches,
        has_unread: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the engine for what only it knows at the moment of a record or a script.

        ``has_unread`` is True while links hold what is not in the inbox yet.
        """
        self.patience_s = math.inf
        """Seconds of silence after which the peer may take this node for dead."""
        self._layout = layout
        self._log = logger
        self._engine = engine
        self._inbox = inbox
        self._place = place
        self._store = store
        self._fencing_store = fencing_store
        self._authentication = authentication
        self._outbox = outbox
        self._runner = runner
        self._fence_runner = fence_runner
        self._lease = lease
        self._stall_detector = stall_detector
        self._commands = commands
        self._history = history
        self._agent_caches = agent_caches
        self._has_unread = has_unread
        self._fields = JournalFields()
        self._posted_at = self._mute_until = self._decided_at = clock.monotonic()
        self._is_revoked = False

    def begin_step(self, now: float) -> None:
        """Note when the event was taken whose actions come next: they are as old as that."""
        self._decided_at = now

    def revoke(self) -> None:
        """Begin no script any more that waits: the engine that decided on it has failed."""
        self._is_revoked = True

    # --- files ------------------------------------------------------------------------------------

    def persist_all(self, actions: Sequence[Persist], note: Callable[[], None]) -> dict[str, str]:
        """Write states of this node; RefusedError if another daemon has taken its place."""
        self._expect_place()
        states = {
            action.service: StoredState(action.state, action.frozen_target, action.stay)
            for action in actions
        }
        problems = self._store.write_own(states, note)
        for service, problem in problems.items():
            if not problem:
                self._agent_caches.invalidate(service)
        return problems

    def remember_fencing(self, action: RememberFencing) -> None:
        """Store what the next daemon must know of fencing; RefusedError as for ``persist``."""
        self._expect_place()
        self._fencing_store.write(action.memory)

    def _expect_place(self) -> None:
        # That the lock cannot be put back is the main thread's to report.
        with contextlib.suppress(SystemFault):
            self._place.expect()

    def remember_incarnations(self, action: RememberIncarnations) -> None:
        """Store the newest incarnations of the peer; a failure is logged, and stops nothing."""
        node, incarnations = (
            self._engine.spec.node,
            self._authentication.relevant(dict(action.incarnations)),
        )
        if self._authentication.learn(incarnations):
            self._log.info(
                "node %s: the peer has the key: beats without it are refused from now on", node
            )
        try:
            write_incarnations(self._layout, incarnations)
        except SystemFault as error:
            self._log.warning("node %s: %s", node, error)

    def mirror(self, action: MirrorPeer) -> None:
        """Mirror the peer's state to a file, for people and tools."""
        self._store.mirror.put(action.service, action.state)

    # --- beats and scripts ------------------------------------------------------------------------

    def announce(self, action: Announce) -> None:
        """Post a beat; the senders send it at once."""
        now = clock.monotonic()
        if now - self._posted_at >= self.patience_s:
            self._mute_until = now
        self._posted_at = now
        self._outbox.post(replace(action.beat, sent_at=clock.wall()), action.with_names)

    def run_script(self, action: RunScript) -> None:
        """Start a script in a thread of its own."""
        if action.kind is not ScriptKind.POWER:  # Asked again and again: only its news are kept.
            self._history.record_script_start(action)
        decided_at, announced_at = self._decided_at, clock.monotonic()
        is_in_silence = action.peer_standing is PeerStanding.SILENT
        is_fence = action.kind is ScriptKind.CHECK and is_in_silence
        # After a shot it fences nobody.
        is_fence = is_fence and not self._engine.is_proved_by_deed(action.service)

        # Nothing was taken since it was decided on.
        decided = self._engine.peer_word
        is_relied_on = decided.is_relied_on(action.service, action.peer_standing)
        is_on_word = action.kind is ScriptKind.START and is_relied_on

        def why_not() -> str:
            # The state was written meanwhile, or the script waited for its place.
            doubt = self._doubt_of_word(action.service, decided) if is_on_word else ""
            # The last moment at which a fence of a node that nothing answers can be left out.
            if is_fence and self._engine.is_isolated:
                doubt = "none of its targets answers this node"
            return doubt or self._why_overtaken(decided_at, announced_at, is_in_silence)

        self._runner.run(action, why_not)

    def run_fence_step(self, action: RunFenceStep) -> None:
        """Start a step of the fence plan in a thread of its own: the peer is silent."""
        decided_at, announced_at = self._decided_at, clock.monotonic()
        self._fence_runner.run(
            action.step,
            lambda: bool(self._why_overtaken(decided_at, announced_at, is_in_silence=True)),
        )

    def _why_overtaken(self, decided_at: float, announced_at: float, is_in_silence: bool) -> str:
        """Return that this node was stalled or mute for so long that the peer may have acted.

        Or that the peer was silent and is heard again; empty otherwise. Checked from the script's
        thread right before it begins: the engine may not have noticed anything yet, so it first
        gets the time to take the beats that wait.
        """
        is_silent = not is_in_silence or self._is_still_silent()
        is_mute = (
            self._mute_until > announced_at
            or clock.monotonic() - self._posted_at >= self.patience_s
        )
        if self._is_revoked or is_mute or self._stall_detector.was_stopped(decided_at):
            return "this node stood still before the script began"
        return "" if is_silent else "the peer is not taken for silent any more"

    def _doubt_of_word(self, service: str, decided: PeerWord) -> str:
        """Return why the peer's word does not hold any more; empty if it does.

        One that is only old, or not handled yet, may come within the time that it is waited for:
        where the engine writes, what came in meanwhile counts before it is taken.
        """
        doubts: list[Doubt | None] = []

        def is_settled() -> bool:
            # The inbox first: what the engine takes in between is part of the word then.
            waiting = self._inbox.unread()
            word = self._engine.peer_word
            doubt = word.doubt_since(decided, service, waiting, clock.monotonic())
            doubts[:] = [doubt]
            return doubt is None or doubt.is_final

        clock.wait_until(is_settled, timing.WORD_WAIT_S, _DRAIN_PAUSE_S)
        return "" if doubts[0] is None else doubts[0].text

    def _is_still_silent(self) -> bool:
        # No longer than a verdict would wait: a flood never ends.
        clock.wait_until(lambda: not self._has_unread(), timing.BACKLOG_S, _DRAIN_PAUSE_S)
        is_drained = clock.wait_until(
            lambda: self._inbox.are_beats_taken, _DRAIN_LIMIT_S, _DRAIN_PAUSE_S
        )
        return is_drained and self._engine.is_peer_silent

    def carry_out_lease(self, action: LeaseAction) -> None:
        """Pass an order to the thread of the watchdog, or of the witness."""
        self._lease.carry_out(action)

    # --- for people -------------------------------------------------------------------------------

    def answer(self, action: Answer) -> None:
        """Pass an answer to the connection that waits for it."""
        self._history.record_answer(action)
        self._commands.answer(action)

    def record(self, action: Record) -> None:
        """Log a change, and add it to the history with the evidence at that step."""
        entry = self._history.record_change(
            action, self._engine.sight, self._engine.causality_of_step
        )
        log_record(self._log, action, self._fields.of(entry))
