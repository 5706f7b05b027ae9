"""One disk over all its paths: what is registered there, and the steps that change it.

A registration belongs to one path. So a key is registered over each of them, and a step that needs
a registered path tries the next one only after the disk was read and shows that this node was not
ejected. Each step reads back what it did: the disk's tables are the verdict, not the exit of a
command.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opensvc_openha.errors import RefusedError, SystemFault
from opensvc_openha.fence_devices.block_devices import DiskAddress, host_of
from opensvc_openha.fence_devices.scsi_disk import (
    COMMAND_LIMIT_S,
    DiskFault,
    NotSupported,
    ReservationConflict,
    ScsiDisk,
    ScsiPort,
    open_port,
)
from opensvc_openha.formats.reservation_key import key_text
from opensvc_openha.formats.scsi_pr import (
    WRITE_EXCLUSIVE_REGISTRANTS,
    Reservation,
    UnitName,
)
from opensvc_openha.hints import TypeVar
from opensvc_openha.system.clock import pause

_ROUNDS_MAX = 4
"""Nodes come and go while a disk is taken; it is taken within so many rounds, or not at all."""

_COUNTS_HOSTS = "3PARdata"

_Result = TypeVar("_Result")


class Ejected(SystemFault):
    """Another node removed this node's registration: it has the right to the disk."""


@dataclass(frozen=True)
class DiskState:
    """What a disk shows: its counter of changes, registered keys, and the reservation."""

    generation: int
    keys: tuple[int, ...]
    reservation: Reservation | None

    def is_held_by(self, key: int) -> bool:
        """Return whether that node holds the reservation of the agents' type."""
        return self.reservation == Reservation(key, WRITE_EXCLUSIVE_REGISTRANTS)

    def is_only(self, key: int) -> bool:
        """Return whether that node alone is registered, and holds the reservation."""
        return self.is_held_by(key) and set(self.keys) == {key}

    def others(self, key: int) -> tuple[int, ...]:
        """Return the keys of other nodes, the holder's first."""
        held = (self.reservation.key,) if self.reservation else ()
        return tuple(
            other for other in dict.fromkeys((*held, *sorted(self.keys))) if other not in (0, key)
        )

    def __str__(self) -> str:
        keys = ", ".join(key_text(key) for key in dict.fromkeys(self.keys)) or "no key"
        return f"{keys} registered, {f'held by {self.reservation}' if self.reservation else 'free'}"


@dataclass(frozen=True)
class Taken:
    """A disk that this node alone may write now.

    ``was_aborted`` is False if writes of an ejected node may still be on their way.
    """

    name: str
    ejected: tuple[int, ...]
    was_aborted: bool
    registered: int
    paths: int
    failed_paths: tuple[str, ...] = ()

    @property
    def paths_text(self) -> str:
        """How many of its paths are registered."""
        return f"{self.registered}/{self.paths} paths registered"


class SharedDisk:
    """One disk. Methods raise DiskFault if no path answers."""

    def __init__(
        self,
        address: DiskAddress,
        open_path: Callable[[str], ScsiPort] = open_port,
        wait: Callable[[float], None] = pause,
        limit_s: float = COMMAND_LIMIT_S,
    ) -> None:
        self.address = address
        self._paths = tuple(
            ScsiDisk(path, open_path(path), wait, limit_s) for path in address.paths
        )
        self._unit: UnitName | None = None
        self.may_hold_writes = False
        """A node was ejected, or that was tried, and its writes are not known to be aborted."""

    @property
    def name(self) -> str:
        """Name of the disk on this node."""
        return self.address.name

    def close(self) -> None:
        """Release all paths."""
        for path in self._paths:
            path.close()

    def unit(self) -> UnitName:
        """Return what identifies the disk on every node; DiskFault if its paths disagree."""
        if self._unit is None:
            meet([self])
            found = {path.path: path.met for path in self._paths if path.met is not None}
            if len(set(found.values())) > 1:
                shown = ", ".join(f"{path} leads to {unit}" for path, unit in found.items())
                raise DiskFault(f"{self.name}: its paths lead to different disks: {shown}")
            self._unit = next(iter(found.values())) if found else self._on_any(ScsiDisk.name)
        return self._unit

    def paths_to_meet(self) -> list[ScsiDisk]:
        """Return the paths that were not yet asked who they lead to."""
        return [path for path in self._paths if path.met is None]

    def read(self) -> DiskState:
        """Return what the disk shows now."""

        def read(path: ScsiDisk) -> DiskState:
            reservation, registrations = path.reservation(), path.registrations()
            return DiskState(registrations.generation, registrations.keys, reservation)

        return self._on_any(read)

    def keeps_registrations(self) -> bool:
        """Return whether registrations can be kept over a loss of the disk's power."""
        try:
            return self._on_any(ScsiDisk.capabilities).keeps_over_power_loss
        except NotSupported:
            return False

    def vendor(self) -> str:
        """Return the vendor's name."""
        return self._on_any(ScsiDisk.vendor)[0]

    def expected_registrations(self) -> int:
        """Return how many entries this node has where all of its paths are registered.

        Some arrays list one for each host adapter, not for each path.
        """
        paths = self.address.paths
        if len(paths) == 1 or self.vendor() != _COUNTS_HOSTS:
            return len(paths)
        return len({host_of(path) for path in paths})

    def holders(self) -> str:
        """Return the names of registered initiators, where the disk lists them; else empty."""
        try:
            found = self._on_any(ScsiDisk.registrants)
        except (NotSupported, DiskFault):
            return ""
        return ", ".join(dict.fromkeys(registrant.initiator for registrant in found))

    # Steps --------------------------------------------------------------------------------------

    def register(self, key: int, is_kept: bool = False) -> tuple[ScsiDisk, ...]:
        """Register over each path, whatever was registered there; return those that took it.

        For times of peace, and for disks that another arbitration has decided about.
        """
        taken, problem = [], f"{self.name} has no path"
        for path in self._paths:
            try:
                self._register_one(path, key, is_kept)
                taken.append(path)
            except (DiskFault, NotSupported, ReservationConflict) as error:
                problem = str(error)
        if not taken:
            raise DiskFault(f"{self.name}: no path takes the key {key_text(key)}: {problem}")
        return tuple(taken)

    def register_missing(self, key: int, seen: DiskState, is_kept: bool = False) -> None:
        """Register over the paths that are not registered yet, in peace.

        A path that is registered takes its own key in place of itself, any other refuses that.
        Ejected if another node has removed the key since the disk was seen: this node must not let
        itself in again.
        """
        was_there = key in seen.keys
        problems = []
        for path in self._paths:
            try:
                self._register_missing_one(path, key, is_kept, was_there)
            except DiskFault as error:
                problems.append(str(error))
        if len(problems) == len(self._paths):
            raise DiskFault(f"{self.name}: no path can be registered: {'; '.join(problems)}")

    def take(self, key: int, may_abort: bool = True) -> Taken:
        """Become the only node that may write: register, eject each other node, reserve.

        Ejected if another node was faster. What the disk shows in the end is the verdict.
        """
        paths = self.register(key)
        failed = tuple(path.path for path in self._paths if path not in paths)
        ejected: list[int] = []
        was_aborted = True
        for _ in range(_ROUNDS_MAX):
            state = self.read()
            self._expect_registered(state, key)
            if state.is_only(key):
                if len(self._paths) == 1:
                    self._drop_old_connection(key)
                counts = len(paths), len(self._paths)
                return Taken(self.name, tuple(ejected), was_aborted, *counts, failed)
            self._expect_usual_type(state, key)
            for other in state.others(key):
                was_aborted &= self.eject(key, other, may_abort, paths)
                ejected.append(other)
            if state.reservation is None:
                self._reserve(key, paths)
        raise DiskFault(f"{self.name}: other nodes keep registering there: {self.read()}")

    def eject(
        self, key: int, victim: int, may_abort: bool, paths: tuple[ScsiDisk, ...] | None = None
    ) -> bool:
        """Remove a node's key with one test-and-set; return whether its writes were aborted.

        Ejected if this node's own key is gone: then nothing was changed.
        """
        problem = f"{self.name} has no registered path"
        held_before, self.may_hold_writes = self.may_hold_writes, True
        for path in self._paths if paths is None else paths:
            try:
                was_aborted = may_abort and _preempt_and_abort(path, key, victim)
                if not was_aborted:
                    path.preempt(key, victim)
            except (ReservationConflict, DiskFault, NotSupported) as error:
                was_aborted, problem = False, str(error)
            state = self.read()
            self._expect_registered(state, key)
            if victim not in state.keys and not _is_held(state, victim):
                self.may_hold_writes = held_before or not was_aborted
                return was_aborted
        raise DiskFault(f"{self.name}: {key_text(victim)} is still registered: {problem}")

    def clear(self, key: int) -> bool:
        """Remove reservation and all keys if this node holds it, else its own key alone.

        Return whether there was anything to do.
        """
        state = self.read()
        if state.is_held_by(key):
            problem = self._over_registered(lambda path: path.clear(key))
            after = self.read()
            if key in after.keys:
                raise DiskFault(f"{self.name} still shows {after} after a clear: {problem}")
            return True
        if key not in state.keys:
            return False
        self.unregister(key)
        return True

    def unregister(self, key: int) -> None:
        """Remove this node's own key from each path."""
        for path in self._paths:
            try:
                path.register(key, 0)
            except (DiskFault, ReservationConflict):
                continue
        after = self.read()
        if key in after.keys:
            raise DiskFault(f"{self.name}: own key removed, but it shows {after}")

    def refused_paths(self) -> tuple[str, ...]:
        """Return the paths that work, but over which writes are refused: not registered."""
        return tuple(path.path for path in self._paths if _is_refused(path))

    def renew(self, key: int, generation: int) -> tuple[str, ...]:
        """Register again over paths that came back without their registration; return them.

        Only if the disk still shows our key and nothing has changed since ``generation``: else
        this node might have been ejected, and would let itself in again. A change in between
        shows in the counter, and takes the registration back at once.
        """
        renewed = []
        for path in self._paths:
            if not _is_refused(path):
                continue
            state = self.read()
            self._expect_registered(state, key)
            if state.generation != generation:
                raise DiskFault(
                    f"{path.path} is not registered any more, and {self.name} was changed"
                    f" meanwhile (generation {state.generation}, known {generation}): left so"
                )
            self._register_between(path, key, generation)
            generation += 1
            renewed.append(path.path)
        if renewed and len(self._paths) == 1:
            self._drop_old_connection(key)
        return tuple(renewed)

    def register_again(self, key: int, generation: int) -> None:
        """Register over a path that lost it, by the same rule, where no write can show which."""
        for path in self._paths:
            try:
                self._register_between(path, key, generation)
                return
            except DiskFault:
                continue
        raise DiskFault(f"{self.name}: no path could be registered again")

    # --------------------------------------------------------------------------------------------

    def _register_one(self, path: ScsiDisk, key: int, is_kept: bool) -> None:
        if is_kept:
            try:
                path.register_anyway(key, is_kept=True)
                return
            except (DiskFault, NotSupported):
                # The device has no place to keep them: registered all the same.
                pass
        path.register_anyway(key)

    def _register_missing_one(
        self, path: ScsiDisk, key: int, is_kept: bool, was_there: bool
    ) -> None:
        try:
            path.register(key, key, is_kept)
        except (ReservationConflict, NotSupported):
            if was_there:
                self._register_between(path, key, self.read().generation, is_kept)
            else:
                self._register_one(path, key, is_kept)

    def _register_between(
        self, path: ScsiDisk, key: int, generation: int, is_kept: bool = False
    ) -> None:
        """Register if nothing has changed since ``generation``; take it back if something did."""
        state = self.read()
        self._expect_registered(state, key)
        if state.generation != generation:
            raise DiskFault(f"{self.name} was changed meanwhile")
        self._register_one(path, key, is_kept)
        after = self.read()
        if after.generation != generation + 1 or key not in after.keys:
            # A conflict says that the other node has removed this registration too.
            with contextlib.suppress(ReservationConflict):
                path.register(key, 0)
            raise Ejected(
                f"{self.name}: another node changed the registrations meanwhile: {self.read()}"
            )

    def _drop_old_connection(self, key: int) -> None:
        """Remove entries of connections that are gone, by preempting the own key.

        With several paths it would remove living ones, whose writes would fail.
        """
        if self.read().keys.count(key) < 2:
            return
        try:
            self._paths[0].preempt(key, key)
        except (ReservationConflict, NotSupported):
            return  # It counts as one path too many, and harms nobody.
        if not self.read().is_held_by(key):
            raise DiskFault(f"{self.name}: lost while entries of old connections were removed")

    def _reserve(self, key: int, paths: tuple[ScsiDisk, ...]) -> None:
        """Reserve; a conflict is left to the next look at the disk."""
        for path in paths:
            try:
                path.reserve(key)
                return
            except ReservationConflict:
                return
            except DiskFault:
                continue

    def _over_registered(self, step: Callable[[ScsiDisk], None]) -> str:
        """Take a step over the first path on which this node is registered; return the problem."""
        problem = "it has no path"
        for path in self._paths:
            try:
                step(path)
                return ""
            except (ReservationConflict, DiskFault) as error:
                problem = str(error)
        return problem

    def _expect_registered(self, state: DiskState, key: int) -> None:
        if key not in state.keys:
            raise Ejected(f"{self.name}: own key {key_text(key)} is gone: {state}")

    def _expect_usual_type(self, state: DiskState, key: int) -> None:
        """Raise RefusedError for a reservation of a kind that no agent makes."""
        held = state.reservation
        if held is not None and held.type != WRITE_EXCLUSIVE_REGISTRANTS and held.key in (0, key):
            raise RefusedError(
                f"{self.name} is reserved by {held}, which is no reservation of an OpenSVC agent:"
                f" remove it, for instance by sg_persist --out --clear --param-rk={key_text(key)}"
                f" {self.name}"
            )

    def _on_any(self, ask: Callable[[ScsiDisk], _Result]) -> _Result:
        """Return the answer of the first path that answers."""
        problem = DiskFault(f"{self.name} has no path")
        for path in self._paths:
            try:
                return ask(path)
            except DiskFault as error:
                problem = error
        raise problem


def meet(disks: Iterable[SharedDisk]) -> None:
    """Ask all paths of some disks for the name of their disk, at the same time.

    A path that hangs costs its limit once, however many there are: the next command over it fails
    at once. So half of a fabric may be gone and the rest is still used in time.
    """
    paths = [path for disk in disks for path in disk.paths_to_meet()]
    if len(paths) == 1:
        paths[0].meet()
        return
    threads = [threading.Thread(target=path.meet, daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _preempt_and_abort(path: ScsiDisk, key: int, victim: int) -> bool:
    try:
        path.preempt_and_abort(key, victim)
    except NotSupported:
        return False
    return True


def _is_held(state: DiskState, key: int) -> bool:
    return state.reservation is not None and state.reservation.key == key


def _is_refused(path: ScsiDisk) -> bool:
    """Return whether the path works, but its writes are refused."""
    try:
        return not path.may_write()
    except SystemFault:
        return False
