"""Read and write STATE files, and decide what a starting daemon may conclude from them.

The node's own files are replaced atomically and are on disk before the state is announced. The
peer's are a mirror for people and tools, written by an own thread and never read for a decision.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Collection
from dataclasses import replace

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import FROZEN, ServiceState
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.storage.managed_list import kept_services, managed_names, record_managed
from opensvc_openha.storage.proc_files import write_proc_file
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import (
    make_dir,
    remove_leftovers,
    sync_file_system,
    write_record,
)
from opensvc_openha.system.identity import life

_COUNTER_MAX = 0xFFFFFFFF


class StateStore:
    """STATE files of one node."""

    def __init__(self, layout: Layout, node: str, peer: str) -> None:
        self._layout = layout
        self._node = node
        self._peer = peer
        self._mirror: queue.SimpleQueue[tuple[str, ServiceState] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._of_former_life: set[str] = set()
        """Unmanaged services whose STATE file of before the machine's boot could not be reset."""

    def write_own(self, service: str, stored: StoredState, is_durable: bool = True) -> None:
        """Write this node's state; a durable one is on disk on return.

        Raises SystemFault.
        """
        write_state(self._layout, service, self._node, stored, is_durable)

    def sync(self) -> None:
        """Sync all states written so far to disk. Raises SystemFault."""
        try:
            sync_file_system(self._layout.services_dir)
        except OSError as error:
            raise SystemFault(
                f"cannot write {self._layout.services_dir} to disk: {error.strerror}"
            ) from error

    def mirror_peer(self, service: str, state: ServiceState) -> None:
        """Queue the peer's state, as seen here, for the mirror."""
        if self._thread is None:
            thread = threading.Thread(target=self._write_mirror, name="mirror", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # No thread can be had now; only the mirror suffers.
            self._thread = thread
        self._mirror.put((service, state))

    def close(self, limit_s: float = 2.0) -> None:
        """End the mirror's thread after what it still has to write."""
        if self._thread is not None:
            self._mirror.put(None)
            self._thread.join(limit_s)

    def _write_mirror(self) -> None:
        while True:
            item = self._mirror.get()
            if item is None:
                return
            # Only a mirror; a failure to write the own state is reported elsewhere.
            with contextlib.suppress(SystemFault):
                write_state(
                    self._layout, item[0], self._peer, StoredState(item[1]), is_durable=False
                )

    def recover(
        self,
        services: tuple[ServiceSpec, ...],
        is_same_life: bool,
        is_first_start: bool = False,
        unwritten: Collection[str] = (),
    ) -> dict[str, RecoveredState]:
        """Recover the states of this node's services at the start of the daemon.

        After a boot of the machine nothing runs any more; within the same boot a service may still
        run; in either case an operator or an agent may have started it by hand. So the wrapper is
        queried, whatever the file holds. At a first start the files are those of a C OpenHA that
        ran here before, if there are any. The files of ``unwritten`` are being written by another
        thread: the engine manages those services already.
        """
        if not is_same_life:
            self._end_former_life({svc.name for svc in services})
        recovered: dict[str, RecoveredState] = {}
        managed_before = managed_names(self._layout)
        has_written = False
        for svc in services:
            stored, problem = self._read_own(svc.name, svc.name in managed_before)
            known = recover(
                stored,
                problem,
                is_same_life and svc.name not in self._of_former_life,
                is_first_start,
            )
            self._of_former_life.discard(svc.name)
            frozen_target = known.frozen_target if known.state is not ServiceState.UNKNOWN else None
            wanted = StoredState(known.state, frozen_target, known.stay)
            if stored != wanted and svc.name not in unwritten:
                try:
                    write_state(self._layout, svc.name, self._node, wanted, is_durable=False)
                    has_written = True
                except SystemFault as error:
                    # A problem with one service's directory must not prevent the others from being
                    # managed.
                    known = replace(known, reason=f"{known.reason}; {error}")
            recovered[svc.name] = known
        if has_written:
            # The next state to be written reports the failure.
            with contextlib.suppress(SystemFault):
                self.sync()
        return recovered

    def _end_former_life(self, managed: set[str]) -> None:
        """Reset the STATE files of unmanaged services after a boot; they may be added again."""
        try:
            names = os.listdir(self._layout.services_dir)
        except OSError:
            return  # There is none.
        for name in sorted(set(names) - managed):
            stored, problem = self._read_own(name, was_managed=False)
            if stored is None:
                continue
            ended = StoredState(recover(stored, problem, is_same_life=False).state)
            if stored != ended:
                try:
                    write_state(self._layout, name, self._node, ended, is_durable=False)
                except SystemFault:
                    self._of_former_life.add(name)

    def record_managed(self, services: tuple[ServiceSpec, ...]) -> None:
        """Store which services this node manages, and those kept although no longer configured."""
        record_managed(self._layout, self._node, services)

    def kept(self, services: tuple[ServiceSpec, ...]) -> tuple[ServiceSpec, ...]:
        """Return formerly managed services that are not in ``services`` and may still run here."""
        return kept_services(self._layout, self._node, services)

    def _read_own(self, service: str, was_managed: bool) -> tuple[StoredState | None, str]:
        """Return the stored state, or why there is none; neither for a service that is new here."""
        path = self._layout.state_file(service, self._node)
        try:
            with open(path, "rb") as file:
                return decode(file.read(64)), ""
        except FileNotFoundError:
            is_lost = was_managed or os.path.isdir(os.path.dirname(path))
            return None, f"STATE file {path} is missing" if is_lost else ""
        except OSError as error:
            return None, f"STATE file {path}: {error.strerror}"
        except ValueError as error:
            return None, f"STATE file {path}: {error}"


def recover(
    stored: StoredState | None, problem: str, is_same_life: bool, is_first_start: bool = False
) -> RecoveredState:
    """Return what to assume at the start: pure, so that every case can be enumerated."""
    if stored is None:
        if not problem and is_same_life:
            return RecoveredState(
                ServiceState.UNKNOWN,
                ServiceState.FROZEN_STOP,
                must_probe=True,
                reason="new service",
            )
        if not is_same_life:
            return RecoveredState(
                ServiceState.FROZEN_STOP, must_probe=True, reason=problem or "new service"
            )
        return RecoveredState(ServiceState.UNKNOWN, must_probe=True, reason=problem)
    state, frozen_target = stored.state, stored.frozen_target
    if not is_same_life:
        if state in FROZEN or frozen_target is ServiceState.FROZEN_STOP:
            return RecoveredState(
                ServiceState.FROZEN_STOP,
                must_probe=True,
                reason="frozen before the machine was started",
            )
        return RecoveredState(
            ServiceState.STOPPED, must_probe=True, reason="the machine was started"
        )
    if state is ServiceState.START_READY and is_first_start:
        # The original writes the same digit for a service that runs frozen.
        return RecoveredState(
            ServiceState.UNKNOWN,
            must_probe=True,
            reason="left in START_READY, frozen and running or not",
        )
    if state in (ServiceState.START_READY, ServiceState.FORCE_STOP):
        return RecoveredState(
            ServiceState.STOPPED,
            must_probe=True,
            reason="the daemon was restarted before the start began",
            stay=stored.stay,
        )
    reason = "as before the daemon was restarted"
    return RecoveredState(state, frozen_target, must_probe=True, reason=reason, stay=stored.stay)


def write_state(
    layout: Layout, service: str, node: str, stored: StoredState, is_durable: bool = True
) -> None:
    """Write one STATE file; raises SystemFault."""
    path = layout.state_file(service, node)
    try:
        make_dir(os.path.dirname(path))
        write_record(path, encode(stored), is_durable=is_durable)
    except OSError as error:
        raise SystemFault(f"cannot write {path}: {error.strerror}") from error


def clean_up(layout: Layout) -> None:
    """Remove temporary files of killed processes beside states and configuration files."""
    files = (layout.nodes_file, layout.monitor_file, layout.services_file)
    folders = [layout.proc_dir, layout.conf_dir, *(os.path.dirname(path) for path in files)]
    with contextlib.suppress(OSError):
        folders += [f"{layout.services_dir}/{name}" for name in os.listdir(layout.services_dir)]
    for folder in dict.fromkeys(folders):
        remove_leftovers(folder)


def next_boot(layout: Layout) -> tuple[BootId, bool]:
    """Return the identity of this start, and whether it is in the same boot as the last one."""
    counter, known_life = 0, ""
    try:
        with open(layout.boot_file, encoding="ascii") as file:
            words = file.read().split()
        counter, known_life = int(words[0]), words[1]
    except (OSError, ValueError, IndexError):
        # After a first start, or a damaged file, the random part of the identity still separates
        # incarnations.
        pass
    here = life()
    # The seconds since 1970 replace a lost counter, so that the peer does not take this incarnation
    # for an old one.
    boot = BootId(
        max((counter + 1) & _COUNTER_MAX, min(int(clock.wall()), _COUNTER_MAX)),
        secrets.randbits(64),
    )
    write_proc_file(layout, layout.boot_file, f"{boot.counter} {here}\n".encode("ascii"))
    # Without the identity of the last boot, assume that services may still run and query their
    # wrappers.
    return boot, known_life in ("", here)
