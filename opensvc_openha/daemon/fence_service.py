"""Everything of the fence plan that surrounds the engine: steps, standing checks, operators' tests.

Without a plan nothing of it runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from opensvc_openha.core.events import Event, FenceStepEnded
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.core.status import FencingStatus, NodeStatus, PathStatus, PeerStanding
from opensvc_openha.core.wording import named
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.fence_runner import (
    FencePlan,
    FenceRunner,
    text_of,
    why_not_proved,
)
from opensvc_openha.daemon.fence_watch import FenceWatch
from opensvc_openha.daemon.live_configuration import LiveConfiguration
from opensvc_openha.errors import ActionError, RefusedError, SystemFault
from opensvc_openha.storage.fence_drills import FenceDrills
from opensvc_openha.storage.history_file import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.system import clock
from opensvc_openha.system.peer_credentials import Caller

_STILL_HEARD_S = 5.0
"""A node without power is called silent within the longest link timeout and this, in seconds."""
_DRILLED = frozenset({PathKind.POWER, PathKind.CALLOUT})


class FenceService:
    """The steps, looks and tests of one daemon's fence plan."""

    def __init__(
        self,
        program: FenceProgram,
        configuration: LiveConfiguration,
        put: Callable[[Event], None],
        standing: Callable[[], PeerStanding],
        drills: FenceDrills,
        history: History,
        logger: logging.Logger,
    ) -> None:
        """Start no thread. ``put`` gives the engine an event, ``standing`` is the peer's."""
        self._program = program
        self._configuration = configuration
        self._put = put
        self._standing = standing
        self._drills = drills
        self._history = history
        self._log = logger
        self._lock = threading.Lock()
        self._is_started = False
        self._has_begun = False
        peer = configuration.current.spec.peer
        self.runner = FenceRunner(program, self._plan, peer, self._step_ended)
        self._watch = FenceWatch(
            program,
            self._plan,
            peer,
            standing,
            lambda: self.runner.is_busy,
            put,
            configuration.problems,
            lambda: configuration.current.options.fence_plan.check_interval_s,
            self._patience_s,
        )

    def start(self) -> None:
        """Start to look at the paths, if there are any."""
        self._has_begun = True
        self.follow()

    def follow(self) -> None:
        """Follow the configuration that is in force now."""
        with self._lock:
            is_new = self._has_begun and not self._is_started and bool(self._policy.levels)
            self._is_started = self._is_started or is_new
        if is_new:
            self._watch.start()
        self._watch.check_soon()

    def stop(self) -> None:
        """End all of it without waiting for any device."""
        self.runner.close()
        self._watch.stop()
        self._program.close()

    # --- status -----------------------------------------------------------------------------------

    def complete(self, fencing: FencingStatus) -> FencingStatus:
        """Return the engine's part with what is known of each path, in wall-clock seconds."""
        if not fencing.plan:
            return fencing
        return replace(fencing, paths=tuple(map(self._complete, fencing.paths)))

    def _complete(self, status: PathStatus) -> PathStatus:
        path = self._path(status.name)
        known = self._watch.known.get(status.name)
        drill = None if path is None else self._drills.of(path)
        spec, plan = self._configuration.current.spec, self._plan()[1]
        status = replace(status, device=plan.address_of(status.name, spec.peer))
        if known is not None:
            status = replace(
                status,
                state=known.look.state.value,
                text=known.look.text,
                took_s=known.look.took_s,
                looked_at=None if known.looked_at is None else clock.wall_of(known.looked_at),
            )
        if drill is not None:
            status = replace(status, tested_at=drill.at, tested_s=drill.took_s)
        return status

    # --- for operators ----------------------------------------------------------------------------

    def look_at_path(self, name: str) -> PathStatus:
        """Look at a path now; return what is known of it then. Raises RefusedError."""
        path = self._expect_path(name)
        if path.kind in _DRILLED:
            self._watch.look_now(path)
        level = next(number for number, paths in enumerate(self._policy.levels) if path in paths)
        return self._complete(PathStatus(path.name, path.kind.value, level, limit_s=path.limit_s))

    def drill(
        self, ask: Callable[[], NodeStatus], name: str, node: str, caller: Caller
    ) -> list[str]:
        """Cut the power of the peer by a path, measure it, and record that it works.

        ``ask`` returns the present status. Raises RefusedError if nothing was done, ActionError if
        the power was not cut.
        """
        self._history.record(
            EntryKind.COMMAND, "", f"fence test --power {name}", f"by {caller.text}", is_alarm=True
        )
        path = self._expect_path(name)
        if path.kind not in _DRILLED:
            raise RefusedError(f"{name} cuts no power")
        status = ask()
        why = self._why_no_drill(status, node)
        if why:
            raise RefusedError(why)
        self._log.warning("node %s: drill: %s cuts the power of %s", status.node, name, node)
        with self.runner.pause():
            request = self._plan()[1].request("cut", name, node, path.limit_s)
            answer = self._program.ask(request, path.limit_s)
        problem = answer.problem or why_not_proved(path.kind, answer.values)
        if not problem and not self._falls_silent():
            problem = (
                f"{name} reports OFF, and {node} is still heard: it cuts the power of another"
                " machine. Correct the address"
            )
        text = problem or f"{text_of(answer.values.get('text'))}; {node} fell silent"
        self._history.record(
            EntryKind.NODE,
            status.node,
            "DRILL FAILED" if problem else "DRILL",
            f"{name}: {text}",
            took_s=answer.took_s,
            is_alarm=bool(problem),
        )
        if problem:
            raise ActionError(f"{name}: {problem}")
        lines = [f"{name}: {text}; it took {answer.took_s:.1f} s"]
        try:
            self._drills.record(path, clock.wall(), answer.took_s)
        except SystemFault as error:
            lines.append(f"not kept: {error}")
        return [*lines, f"{node} has no power now: switch it on again"]

    def release(self, status: NodeStatus, caller: Caller) -> list[str]:
        """Register this node, which was ejected, on the arbiter again. Raises RefusedError."""
        self._history.record(
            EntryKind.COMMAND, "", "fence release", f"by {caller.text}", is_alarm=True
        )
        raise RefusedError("this node is not ejected: there is nothing to release it from")

    def _why_no_drill(self, status: NodeStatus, node: str) -> str:
        if node != status.peer:
            return (
                f"{node} is not the peer of this node, which is {status.peer}: type its whole name"
            )
        if status.peer_standing is not PeerStanding.LIVE:
            return f"{node} is {status.peer_standing.value}: a drill is for a node that is heard"
        running = [
            f"{svc.name} ({'unknown' if svc.peer_state is None else svc.peer_state.name})"
            for svc in status.services
            if svc.peer_state not in PEER_OUT
        ]
        if running:
            return (
                f"{node} may run something: {named(running)}. Stop it there or move it here, and"
                " freeze it"
            )
        if self.runner.is_busy:
            return "this node is fencing already"
        return ""

    def _falls_silent(self) -> bool:
        return clock.wait_until(
            lambda: self._standing() is not PeerStanding.LIVE, self._patience_s() + _STILL_HEARD_S
        )

    # --- parts ------------------------------------------------------------------------------------

    @property
    def _policy(self) -> FencingPolicy:
        return self._configuration.current.spec.fencing

    def _plan(self) -> tuple[FencingPolicy, FencePlan]:
        current = self._configuration.current
        return current.spec.fencing, current.options.fence_plan

    def _path(self, name: str) -> FencePath | None:
        return next((path for path in self._policy.paths if path.name == name), None)

    def _expect_path(self, name: str) -> FencePath:
        path = self._path(name)
        if path is None:
            known = ", ".join(each.name for each in self._policy.paths)
            raise RefusedError(f"{name} is no path of [fencing] levels: {known or 'there is none'}")
        return path

    def _patience_s(self) -> float:
        """Seconds after which a peer that has fallen silent is called so."""
        spec = self._configuration.current.spec
        return max((link.timeout_s for link in spec.listeners), default=0.0) + 1.0

    def _step_ended(self, event: FenceStepEnded) -> None:
        self._put(event)
