"""Read and write STATE files.

The node's own files are replaced atomically, and are on disk before the state is announced: by a
log, where one wait is enough for many. A daemon that starts in the same boot of the machine finds
the files as they were replaced; after a boot, those that the log has made count as it has them
(``restore``), and any other one, of an operator or an older version, as it is. Where there is no
log, each file is written to disk itself.

What a starting daemon concludes from the files is in ``state_recovery``; the peer's files are a
mirror of their own, ``peer_mirror``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from opensvc_openha.core.beat import BootId
from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import Layout
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.formats.state_log import MISSING, FileMark, LogRecord
from opensvc_openha.storage.managed_list import kept_services, managed_names, record_managed
from opensvc_openha.storage.peer_mirror import PeerMirror
from opensvc_openha.storage.proc_files import write_proc_file
from opensvc_openha.storage.state_log import StateLog
from opensvc_openha.storage.state_recovery import content_due, recover
from opensvc_openha.storage.state_writer import write_each
from opensvc_openha.system import clock
from opensvc_openha.system.atomic_files import (
    PreparedFile,
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
        self.mirror = PeerMirror(self._write_peer)
        self._log = StateLog(layout.state_log_file, layout.services_dir)
        self._log_in_use = threading.Lock()
        self._known: dict[str, str] = {}
        """The marks of the STATE files that were on disk before the log, or that it speaks of."""
        self._unrestored: dict[str, StoredState] = {}
        """What the log of before the boot has of services whose STATE file cannot be written."""
        self._of_former_life: set[str] = set()
        """Unmanaged services whose STATE file of before the machine's boot could not be reset."""

    def restore(self) -> None:
        """Bring the STATE files up to what the log has, if that was written before a boot.

        To be called before anything else reads them, and before the new boot is noted.
        """
        log = self._log.read()
        if log is None or log.life == life():
            return  # What the files hold survived the daemon.
        for service, records in log.by_service.items():
            content = self._content_due(service, records)
            if content is None:
                continue
            try:
                stored = decode(content)
                self._unrestored[service] = stored
                write_state(self._layout, service, self._node, stored, is_durable=False)
                del self._unrestored[service]
            except (SystemFault, ValueError):
                continue  # It is written again with what follows from it.

    def _content_due(self, service: str, records: list[LogRecord]) -> bytes | None:
        """Return what the log has of a STATE file that may be older; None if the file counts."""
        try:
            with open(self._layout.state_file(service, self._node), "rb") as file:
                status = os.fstat(file.fileno())
                mark = FileMark(status.st_ino, status.st_mtime_ns)
                return content_due(records, mark, file.read(64))
        except FileNotFoundError:
            return content_due(records, None, b"")
        except OSError:
            return records[-1].content  # Lost with the power.

    def begin_log(self) -> None:
        """Begin the log of this daemon, once the states that it starts with are written.

        All STATE files are on disk then, whoever wrote them. Without a log, states are written to
        disk one by one.
        """
        try:
            # What is written after this look is not known, and brought to disk before it is logged.
            self._known = self._marks()
            self.sync()
            self._log.begin()
        except (OSError, SystemFault):
            self._log.give_up()

    def _marks(self) -> dict[str, str]:
        """Return the mark of each STATE file of this node. Raises OSError."""
        found = {}
        for service in os.listdir(self._layout.services_dir):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[service] = _mark_of(os.stat(self._layout.state_file(service, self._node)))
        return found

    def write_own(
        self, states: Mapping[str, StoredState], note: Callable[[], None] = lambda: None
    ) -> dict[str, str]:
        """Write this node's states of services, which are on disk on return.

        Returns the problem of each, empty where it was written. ``note`` is called after each.
        """
        self.mirror.wait_for_own()
        with self._log_in_use:
            problems = self._write_own(states, note)
        for service, problem in problems.items():
            if not problem:
                self._unrestored.pop(service, None)
        return problems

    def _write_own(
        self, states: Mapping[str, StoredState], note: Callable[[], None]
    ) -> dict[str, str]:
        if not self._log.is_open:
            return self._write_each(states, note)
        apart: dict[str, StoredState] = {}
        prepared: dict[str, tuple[PreparedFile, LogRecord]] = {}
        for service, stored in states.items():
            try:
                prepared[service] = self._prepare(service, stored)
                note()
            except (OSError, SystemFault):
                apart[service] = stored
        records = [record for _, record in prepared.values()]
        try:
            if any(self._known.get(each.service, MISSING) != each.replaced for each in records):
                # Somebody else wrote the file. The one before it, which the log does not know and
                # which a power cut may bring back, would count.
                self.sync()
            if records:
                self._log.append(records)
        except (OSError, SystemFault):
            for file, _ in prepared.values():
                file.drop()
            self._log.give_up()
            return self._write_each(states, note)

        problems = {}
        for service, (file, record) in prepared.items():
            try:
                file.place()
                self._known[service] = record.written
                problems[service] = ""
            except OSError as error:
                problems[service] = f"cannot write {file.path}: {error.strerror}"
            note()
        if apart:
            problems |= self._write_each(apart, note)
            try:
                # What the log has of these services is older than their files.
                self._log.checkpoint()
            except OSError:
                self._log.give_up()
        return problems

    def _prepare(self, service: str, stored: StoredState) -> tuple[PreparedFile, LogRecord]:
        path, content = self._layout.state_file(service, self._node), encode(stored)
        try:
            replaced = _mark_of(os.stat(path))
        except FileNotFoundError:
            replaced = MISSING
            make_dir(os.path.dirname(path))
        file = PreparedFile.beside(path, content)
        if file.status.st_dev != self._log.device:
            file.drop()
            raise SystemFault(f"{path} is on another file system")
        return file, LogRecord(service, content, replaced, _mark_of(file.status))

    def _write_each(
        self, states: Mapping[str, StoredState], note: Callable[[], None]
    ) -> dict[str, str]:
        """Write the files to disk; several of them with one wait for the whole file system.

        What follows of them is decided already: it must not wait for one after the other.
        """
        is_many = len(states) > 1

        def write(service: str, stored: StoredState) -> None:
            write_state(self._layout, service, self._node, stored, is_durable=not is_many)

        problems = write_each(states, write, note)
        if is_many:
            try:
                self.sync()
            except SystemFault as error:
                problems = {service: problem or str(error) for service, problem in problems.items()}
        return problems

    def sync(self) -> None:
        """Sync all states written so far to disk. Raises SystemFault."""
        try:
            sync_file_system(self._layout.services_dir)
        except OSError as error:
            raise SystemFault(
                f"cannot write {self._layout.services_dir} to disk: {error.strerror}"
            ) from error

    def _write_peer(self, service: str, state: ServiceState) -> None:
        write_state(self._layout, service, self._peer, StoredState(state), is_durable=False)

    def close(self, limit_s: float = 2.0) -> None:
        """End the mirror's thread after what it still has to write, and the log.

        A disk that hangs is waited for so long, each.
        """
        self.mirror.close(limit_s)
        ending = threading.Thread(target=self._close_log, name="log of states", daemon=True)
        # The next daemon finds the records, and what they made of the files.
        with contextlib.suppress(RuntimeError):
            ending.start()
            ending.join(limit_s)

    def _close_log(self) -> None:
        with self._log_in_use:
            self._log.close()

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
        due: list[PreparedFile] = []
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
            is_due = stored != wanted or svc.name in self._unrestored
            if is_due and svc.name not in unwritten:
                try:
                    due += self._prepared_or_written(svc.name, wanted)
                    self._unrestored.pop(svc.name, None)
                except SystemFault as error:
                    # A problem with one service's directory must not prevent the others from being
                    # managed.
                    known = replace(known, reason=f"{known.reason}; {error}")
            recovered[svc.name] = known
        if due:
            # The next state to be written reports the failure. The files are on disk before they
            # replace what is there, which would be lost with them.
            with contextlib.suppress(SystemFault):
                self.sync()
            for file in due:
                with contextlib.suppress(OSError):
                    file.place()
            with contextlib.suppress(SystemFault):
                self.sync()
        return recovered

    def _prepared_or_written(self, service: str, stored: StoredState) -> list[PreparedFile]:
        """Return the new STATE file, to be placed; none where a full disk has it written over."""
        path = self._layout.state_file(service, self._node)
        if not os.path.exists(path):
            make_dir(os.path.dirname(path))
        try:
            return [PreparedFile.beside(path, encode(stored))]
        except OSError:
            write_state(self._layout, service, self._node, stored)
            return []

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
        unrestored = self._unrestored.get(service)
        if unrestored is not None:
            return unrestored, ""
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


def _mark_of(status: os.stat_result) -> str:
    return str(FileMark(status.st_ino, status.st_mtime_ns))


def write_state(
    layout: Layout, service: str, node: str, stored: StoredState, is_durable: bool = True
) -> None:
    """Write one STATE file; raises SystemFault."""
    path = layout.state_file(service, node)
    try:
        try:
            write_record(path, encode(stored), is_durable=is_durable)
        except FileNotFoundError:
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
        int.from_bytes(os.urandom(8), "big"),
    )
    write_proc_file(layout, layout.boot_file, f"{boot.counter} {here}\n".encode("ascii"))
    # Without the identity of the last boot, assume that services may still run and query their
    # wrappers.
    return boot, known_life in ("", here)
