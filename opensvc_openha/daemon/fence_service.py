"""Everything of the fence plan that surrounds the engine: steps, standing checks, operators' tests.

Without a plan nothing of it runs. With one, each of these has a thread of its own, so that a device
that hangs delays none of the others:

    FenceRunner         the steps that the engine orders
    FenceWatch          looks at the paths from time to time
    ArbiterWatch        keeps this node registered on the arbiter, a disk or a witness
    ReservedDisks       finds the reserved disks of services
    ServiceFences       looks at the fences of service files
    ReservationWatch    looks whether this node holds those of what runs here
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from opensvc_openha.core import timing
from opensvc_openha.core.events import Event, FenceTried
from opensvc_openha.core.lease_view import PeerPromise
from opensvc_openha.core.model import FencePath, FencingPolicy, PathKind
from opensvc_openha.core.promise import WITNESS_MARK, media_of
from opensvc_openha.core.states import PEER_OUT
from opensvc_openha.core.status import FencingStatus, NodeStatus, PathStatus, PeerStanding
from opensvc_openha.core.wording import named
from opensvc_openha.daemon.arbiter_watch import KIND, ArbiterWatch
from opensvc_openha.daemon.fence_program import FenceProgram
from opensvc_openha.daemon.fence_runner import (
    CLAIM,
    CUT,
    PREEMPT,
    FencePlan,
    FenceRunner,
    text_of,
    why_not_proved,
)
from opensvc_openha.daemon.fence_watch import FenceWatch
from opensvc_openha.daemon.issues import Issue
from opensvc_openha.daemon.live_configuration import Configuration, LiveConfiguration
from opensvc_openha.daemon.reservation_watch import ReservationWatch
from opensvc_openha.daemon.reserved_disks import ReservedDisks
from opensvc_openha.daemon.service_fences import PROGRAM as ASK_SERVICES
from opensvc_openha.daemon.service_fences import ServiceFences
from opensvc_openha.errors import ActionError, RefusedError, SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.hints import TYPE_CHECKING, Protocol
from opensvc_openha.storage.arbiter_memory import ArbiterMemory
from opensvc_openha.storage.fence_drills import FenceDrills
from opensvc_openha.storage.fence_history import DRILL, DRILL_FAILED, FENCE_PATH, RESERVATION
from opensvc_openha.storage.history_entry import EntryKind
from opensvc_openha.storage.history_writer import History
from opensvc_openha.storage.journal_fields import path_fields
from opensvc_openha.system import clock
from opensvc_openha.system.peer_credentials import Caller
from opensvc_openha.system.self_command import self_command

if TYPE_CHECKING:
    from opensvc_openha.fence_devices.arbiter_disk import ArbiterDisk
    from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter
    from opensvc_openha.fence_devices.held_disks import HeldDisks

_STILL_HEARD_S = 5.0
"""A node without power is called silent within the longest link timeout and this, in seconds."""
_FIND_DISKS = "opensvc_openha.agent.service.reservation_facts"


class EngineValues(Protocol):
    """What the engine's loop reports to any thread."""

    @property
    def peer_standing(self) -> PeerStanding:
        """Standing of the peer after the last step."""

    @property
    def may_register(self) -> bool:
        """True if this node may register on the arbiter."""

    @property
    def wrong_paths(self) -> Collection[str]:
        """The paths whose device is not the peer's."""

    @property
    def settled_services(self) -> frozenset[str]:
        """The services that run here, without those that a script changes."""

    @property
    def promised(self) -> PeerPromise | None:
        """What the peer promises now, and its incarnation."""

    def status(self) -> NodeStatus:
        """Return the engine's snapshot; NotAnsweringError."""

    def await_events(self) -> None:
        """Return once all that was put has been handled; NotAnsweringError if that takes long."""


class _Requests:
    """Requests to the fence program, by one configuration."""

    def __init__(
        self,
        current: Configuration,
        generation: int | None,
        disks_of: Callable[[Iterable[str]], Mapping[str, object]],
    ) -> None:
        self._current = current
        self._generation = generation
        self._disks_of = disks_of

    def request(
        self, do: str, path: str, peer: str, limit_s: float, services: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        """Return the request, complete for what it asks."""
        plan = self._current.options.fence_plan
        found = plan.request(do, path, peer, limit_s, services)
        found["node"] = self._current.spec.node
        if do == CLAIM:
            found["options"] = plan.arbiter_options
            found["generation"] = self._generation
        if do == PREEMPT:
            found.update(self._disks_of(services))
        return found


class FenceService:
    """The steps, looks and tests of one daemon's fence plan."""

    def __init__(
        self,
        layout: Layout,
        program: FenceProgram,
        configuration: LiveConfiguration,
        put: Callable[[Event], None],
        engine: Callable[[], EngineValues],
        history: History,
        logger: logging.Logger,
    ) -> None:
        """Start no thread. ``put`` gives the engine an event."""
        self._program = program
        self._put = put
        self._configuration = configuration
        self._engine = engine
        self._drills = FenceDrills(layout)
        self._history = history
        self._log = logger
        self._lock = threading.Lock()
        self._has_begun = False
        self._is_watching = False
        self._has_arbiter = False
        self._has_disks = False
        self._is_holding = False
        self._asks_services = False
        peer = configuration.current.spec.peer
        self.runner = FenceRunner(program, self._plan, peer, put, self._record_use)
        self._watch = FenceWatch(
            program,
            self._plan,
            peer,
            self._standing,
            lambda: self.runner.is_busy,
            put,
            configuration.problems,
            lambda: configuration.current.options.fence_plan.check_interval_s,
            lambda: engine().wrong_paths,
            lambda name: self._disks.look(name),
            self._record_path,
        )
        self._disks = ReservedDisks(
            lambda names: FenceProgram(
                layout.environment(), argv=[*self_command(_FIND_DISKS), *names]
            ),
            lambda: configuration.current.spec,
            lambda: configuration.current.options.fence_plan.check_interval_s,
            configuration.suspect,
        )
        configuration.complete_by(self._disks.complete)
        self._services = ServiceFences(
            FenceProgram(layout.environment(), argv=self_command(ASK_SERVICES)),
            lambda: configuration.current.spec.own_services,
            peer,
            self._standing,
            self._patience_s,
            lambda: configuration.current.options.fence_plan.check_interval_s,
            configuration.problems,
            self._record_path,
        )
        self._arbiter = ArbiterWatch(
            lambda: configuration.current.options.fence_plan.arbiter_address,
            self._open_arbiter,
            ArbiterMemory(layout),
            lambda: engine().may_register,
            lambda: engine().await_events(),
            put,
            configuration.problems,
            self._beat_s,
            peer,
            self._record_path,
        )
        self._reservations = ReservationWatch(
            _open_held_disks,
            self._disks.disks_of,
            lambda: engine().settled_services,
            lambda: not self._policy.has_arbiter or self._arbiter.is_registered,
            lambda: engine().may_register,
            put,
            self._record_renewal,
            configuration.problems,
        )

    def start(self) -> None:
        """Start to look at the paths and the arbiter, if there are any."""
        self._has_begun = True
        self.follow()

    def follow(self) -> None:
        """Follow the configuration that is in force now."""
        with self._lock:
            if not self._has_begun:
                return
            if self._policy.levels and not self._is_watching:
                self._is_watching = self._begin(self._watch.start)
            if self._policy.has_arbiter and not self._has_arbiter:
                self._has_arbiter = self._begin(self._arbiter.start)
            if self._policy.levels and not self._has_disks:
                self._has_disks = self._begin(self._disks.start)
            if self._has_disks and not self._is_holding:
                self._is_holding = self._begin(self._reservations.start)
            if not self._asks_services and self._services.has_work():
                self._asks_services = self._begin(self._services.start)
        self._watch.check_soon()
        self._disks.check_soon()
        self._services.check_soon()

    def _begin(self, start: Callable[[], None]) -> bool:
        """Start a thread; without one the daemon continues, and the next edit tries again."""
        try:
            start()
        except RuntimeError as error:
            self._configuration.problems.report(Issue.FENCE_WATCH, str(error))
            return False
        return True

    def stop(self) -> None:
        """End all of it without waiting for any device."""
        self.runner.close()
        self._watch.stop()
        self._arbiter.stop()
        self._disks.stop()
        self._reservations.stop()
        self._services.stop()
        self._program.close()

    # --- status -----------------------------------------------------------------------------------

    @property
    def is_measured(self) -> bool:
        """True if it is known how long a fence takes.

        The peer's watchdog has a time of its own; any other path was tried out or used.
        """
        return any(
            path.kind is PathKind.LEASE or self._drills.of(path) is not None
            for path in self._policy.paths
        )

    def complete(self, fencing: FencingStatus) -> FencingStatus:
        """Return the engine's part with what is known of each path, in wall-clock seconds."""
        fencing = replace(
            fencing,
            service_paths=tuple(
                replace(path, looked_at=clock.wall_if_known(path.looked_at))
                for path in self._services.known
            ),
        )
        if not fencing.plan:
            return fencing
        paths = list(map(self._complete, fencing.paths))
        arbiter = self._arbiter.status
        return replace(
            fencing,
            paths=tuple(paths if arbiter is None else [*paths, arbiter]),
            step_began_at=clock.wall_if_known(fencing.step_began_at),
            next_try_at=clock.wall_if_known(fencing.next_try_at),
            lease_ends_at=clock.wall_if_known(fencing.lease_ends_at),
            proofs=tuple(
                replace(proof, at=clock.wall_if_known(proof.at)) for proof in fencing.proofs
            ),
        )

    def _complete(self, status: PathStatus) -> PathStatus:
        current = self._configuration.current
        device = current.options.fence_plan.address_of(status.name, current.spec.peer)
        status = replace(status, device=device, looked_at=clock.wall_if_known(status.looked_at))
        path = self._policy.path(status.name)
        if path is not None and path.kind is PathKind.LEASE:
            status = self._complete_lease(status)
        drill = None if path is None else self._drills.of(path)
        if drill is not None:
            status = replace(status, tested_at=drill.at, tested_s=drill.took_s)
        return status

    def _complete_lease(self, status: PathStatus) -> PathStatus:
        """Add by which media the peer promises, and when that promise ends."""
        promised = self._engine().promised
        if promised is None:
            return replace(status, looked_at=None)
        media = promised.promise.media
        names = {
            mark: link.device
            for link, mark in media_of(self._configuration.current.spec.listeners).items()
        }
        names[WITNESS_MARK] = "witness"
        device = ", ".join(names[mark] for mark in sorted(media) if mark in names)
        return replace(status, looked_at=None, device=device, limit_s=promised.promise.death_s)

    # --- for operators ----------------------------------------------------------------------------

    def look_at_path(self, name: str) -> PathStatus:
        """Look at a path now; return what is known of it then. Raises RefusedError."""
        arbiter = self._arbiter.status
        if name == KIND and arbiter is not None:
            return arbiter
        path = self._expect_path(name)
        if path.kind.has_device:
            self._watch.look_now(path)
        # What the look means is the engine's to say.
        engine = self._engine()
        engine.await_events()
        known = [status for status in engine.status().fencing.paths if status.name == name]
        if not known:
            raise RefusedError(f"{name} was taken out of [fencing] levels just now")
        return self._complete(known[0])

    def drill(
        self, ask: Callable[[], NodeStatus], name: str, node: str, caller: Caller
    ) -> list[str]:
        """Cut the power of the peer by a path, measure it, and record that it works.

        ``ask`` returns the present status. Raises RefusedError if nothing was done, ActionError if
        the power was not cut.
        """
        self._record_command(f"fence test --power {name}", caller)
        path = self._expect_path(name)
        if not path.kind.has_device:
            raise RefusedError(f"{name} cuts no power")
        status = ask()
        why = self._why_no_drill(status, node)
        if why:
            raise RefusedError(why)
        self._log.warning("node %s: drill: %s cuts the power of %s", status.node, name, node)
        with self.runner.pause():
            request = self._plan()[1].request(CUT, name, node, path.limit_s)
            answer = self._program.ask(request, path.limit_s)
        problem = answer.problem or why_not_proved(path.kind, answer.values)
        if not problem and not self._falls_silent():
            problem = (
                f"it reports OFF, and {node} is still heard: it cuts the power of another machine."
                " Correct the address"
            )
        text = problem or f"{text_of(answer.values.get('text'))}; {node} fell silent"
        self._history.record(
            EntryKind.NODE,
            status.node,
            DRILL_FAILED if problem else DRILL,
            f"{name}: {text}",
            took_s=answer.took_s,
            is_alarm=bool(problem),
        )
        # What was on before is not any more, or never was this device's.
        self._watch.check_soon()
        if problem:
            self._log.warning("node %s: drill failed: %s: %s", status.node, name, problem)
            raise ActionError(f"{name}: {problem}")
        lines = [f"{name}: {text}; it took {answer.took_s:.1f} s"]
        self._put(FenceTried(name, answer.took_s))
        try:
            self._drills.record(path, clock.wall(), answer.took_s)
        except SystemFault as error:
            lines.append(f"not kept: {error}")
        return [*lines, f"{node} has no power now: switch it on again"]

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
        """Wait until the peer is not heard any more; False if it is heard for too long."""
        return clock.wait_until(
            lambda: self._standing() is not PeerStanding.LIVE, self._patience_s() + _STILL_HEARD_S
        )

    def release(self, status: NodeStatus, caller: Caller) -> list[str]:
        """Register this node, which was ejected, on the arbiter again. Raises RefusedError."""
        self._record_command("fence release", caller)
        why = self._why_no_release(status)
        if why:
            raise RefusedError(why)
        text = self._arbiter.release()
        return [f"registered again: {text}", "services may be started here again"]

    def _why_no_release(self, status: NodeStatus) -> str:
        fencing = status.fencing
        if not fencing.is_ejected_by or self._arbiter.status is None:
            return "this node is not ejected: there is nothing to release it from"
        running = [
            f"{svc.name} ({svc.own_state.name})"
            for svc in status.services
            if svc.own_state is not None and svc.own_state not in PEER_OUT
        ]
        if running:
            return f"not released: {named(running)} may run here. Stop it first"
        if status.peer_standing is PeerStanding.LIVE:
            if self._engine().may_register:
                return ""
            return f"not released: {status.peer} has not acknowledged yet that nothing runs here"
        if fencing.confirmed_by:
            return ""
        return (
            f"not released: {status.peer} is {status.peer_standing.value}, and has the right to"
            f" what runs. If it runs nothing, type openha fence confirm {status.peer} first"
        )

    def _record_command(self, command: str, caller: Caller) -> None:
        self._history.record(EntryKind.COMMAND, "", command, f"by {caller.text}", is_alarm=True)

    def _record_use(self, name: str, took_s: float) -> None:
        """Remember that a path worked, as a drill does; a disk that is full forgets it."""
        path = self._policy.path(name)
        if path is not None:
            with contextlib.suppress(SystemFault):
                self._drills.record(path, clock.wall(), took_s)

    def _record_renewal(self, text: str) -> None:
        node = self._configuration.current.spec.node
        self._log.info("node %s: reservation: %s", node, text)
        self._history.record(EntryKind.NODE, node, RESERVATION, text)

    def _record_path(self, name: str, problem: str) -> None:
        text = f"{name}: {problem or 'in order again'}"
        node = self._configuration.current.spec.node
        self._history.record(EntryKind.NODE, node, FENCE_PATH, text, is_alarm=bool(problem))
        self._log.log(
            logging.WARNING if problem else logging.INFO,
            "node %s: fence path %s",
            node,
            text,
            extra={"fields": path_fields(name, problem)},
        )

    # --- parts ------------------------------------------------------------------------------------

    @property
    def _policy(self) -> FencingPolicy:
        return self._configuration.current.spec.fencing

    def _plan(self) -> tuple[FencingPolicy, FencePlan]:
        current = self._configuration.current
        return current.spec.fencing, _Requests(current, self._arbiter.generation, self._disks.of)

    def _expect_path(self, name: str) -> FencePath:
        path = self._policy.path(name)
        if path is None:
            known = ", ".join(each.name for each in self._policy.paths)
            raise RefusedError(f"{name} is no path of [fencing] levels: {known or 'there is none'}")
        return path

    def _standing(self) -> PeerStanding:
        return self._engine().peer_standing

    def _patience_s(self) -> float:
        """Seconds within which a peer that has fallen silent is called so."""
        spec = self._configuration.current.spec
        return max((link.timeout_s for link in spec.listeners), default=0.0) + 1.0

    def _beat_s(self) -> float:
        return timing.PACES[self._configuration.current.spec.profile].beat_interval_s

    def _open_arbiter(self, address: str, generation: int | None) -> ArbiterDisk | EtcdArbiter:
        """Open the arbiter that is configured now; a disk needs the last counter."""
        current = self._configuration.current
        spec, plan = current.spec, current.options.fence_plan
        witness = plan.arbiter_witness
        # Imported here: most nodes have no arbiter.
        if witness is not None:
            from opensvc_openha.fence_devices.etcd_arbiter import EtcdArbiter

            return EtcdArbiter(witness, spec.node, spec.peer)
        from opensvc_openha.fence_devices.arbiter_disk import ArbiterDisk

        return ArbiterDisk(address, spec.node, spec.peer, generation=generation)


def _open_held_disks() -> HeldDisks:
    # Imported here: most nodes have no reserved disks.
    from opensvc_openha.fence_devices.held_disks import HeldDisks

    return HeldDisks()
