"""Model the disk under the STATE files: a power cut takes what had not reached it.

A file that was replaced without waiting for the disk survives a power cut or not, each by itself:
as it was, as it is, or without its content. The log of states has what counts, in the bytes of
production, and after a boot the rule of production (`content_due`) decides between the two. It has
little room here, so that checkpoints are frequent.

Drawn are a daemon that dies between the log and the files, a power cut while states are written or
a daemon starts, a log that cannot be written, and one whose last line is torn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.formats.state_log import (
    MISSING,
    FileMark,
    LogRecord,
    decode_log,
    encode_beginning,
    encode_records,
)
from opensvc_openha.storage.state_recovery import content_due
from opensvc_openha.verify.invariants import InvariantBroken
from opensvc_openha.verify.node_store import NodeStore

_ROOM_BYTES = 1_500
_TICKS_NS = (4_000_000, 4_000_000, 1_000_000_000)
"""What the time of a file is rounded to, by the kernel or by the file system."""
_SECOND_NS = 1_000_000_000
_BOOT_S = 5.0
"""What a boot takes at least: no file of a boot has the time of one before."""


@dataclass(frozen=True)
class _Version:
    """A version of a STATE file, as a process finds it."""

    data: bytes
    mark: FileMark


class LoggedStore(NodeStore):
    """Files of one node with a log of states, on a disk; ``wall`` gives new files their time."""

    def __init__(self, dice: Random, wall: Callable[[], float]) -> None:
        super().__init__()
        self._dice, self._wall = dice, wall
        self._tick_ns = dice.choice(_TICKS_NS)
        self._versions: dict[str, list[_Version | None]] = {}
        """The version of each file that is on disk, and those that may be; None is no file."""
        self._promised: dict[str, bytes] = {}
        """What was announced of each service: no power cut may take it."""
        self._due: dict[str, bytes] = {}
        """What a daemon that died had on disk, and not announced yet."""
        self._prepared: dict[str, FileMark] = {}
        """The files of this batch, which the log has and whose names are the old ones still."""
        self._known: dict[str, FileMark | None] = {}
        """The files that were on disk when this daemon began, or that it wrote."""
        self._unrestored: dict[str, bytes] = {}
        """What the log has of services whose files cannot be written: this daemon knows it."""
        self._life = 0
        self._log = b""
        """The log as it is on disk: older lines follow the newest one."""
        self._generation, self._number, self._end = "", 0, 0
        self._appended_at = self._batch = 0
        self._is_open = self._is_starting = False

    # --- writing ----------------------------------------------------------------------------------

    def log_states(self, states: Mapping[str, StoredState]) -> bool:
        """Append states to the log, with which they are on disk; their files are replaced next.

        Returns False if there is no log.
        """
        self._prepared.clear()
        if not self._is_open or self.is_full:
            return False
        if self._dice.random() < 0.01:
            self._sync()  # The log cannot be written: from now on each file is on disk by itself.
            self._log, self._is_open = b"", False
            return False
        if any(self._known.get(name) != self._mark(name) for name in states):
            self._checkpoint()
        records = []
        for service, stored in states.items():
            before = self._mark(service)
            made = self._prepared[service] = self._new_mark()
            replaced = MISSING if before is None else str(before)
            records.append(LogRecord(service, encode(stored), replaced, str(made)))
        lines = encode_records(self._generation, self._number, records)
        if self._end + len(lines) > _ROOM_BYTES:
            self._checkpoint()
            lines = encode_records(self._generation, self._number, records)
        self._due |= {record.service: record.content for record in records}
        self._appended_at, self._batch = self._end, len(records)
        self._number += len(records)
        self._write(lines)
        return True

    def write_state(self, service: str, stored: StoredState) -> None:
        """Replace a STATE file, which is on disk by the log or by itself. Raises SystemFault."""
        if self._is_starting and self.files.get(service) == encode(stored):
            self.spoilt.discard(service)
            self._unrestored.pop(service, None)
            return  # As it was found, and left so.
        is_logged = service in self._prepared
        super().write_state(service, stored)
        self._unrestored.pop(service, None)
        if not is_logged:
            self._sync((service,))
            self._due[service] = self.files[service]
            if self._is_open and not self._is_starting:
                self._checkpoint()
        if not self._is_starting:
            self._promised[service] = self._due.pop(service)

    def read_state(self, service: str) -> tuple[StoredState | None, str]:
        """Return the stored state as the daemon does: of the log, where its file is older."""
        data = self._unrestored.get(service)
        return super().read_state(service) if data is None else (decode(data), "")

    def _put(self, service: str, data: bytes | None) -> None:
        super()._put(service, data)
        mark = self._prepared.pop(service, None)
        if mark is not None:
            self._known[service] = mark
        version = None if data is None else _Version(data, mark or self._new_mark())
        self._versions.setdefault(service, [None]).append(version)

    def _mark(self, service: str) -> FileMark | None:
        version = self._versions.get(service, [None])[-1]
        return None if version is None else version.mark

    def _new_mark(self) -> FileMark:
        """Return the mark of a new file: the number of one that is gone is soon used again."""
        marks = [*map(self._mark, self._versions), *self._prepared.values()]
        used = {mark.inode for mark in marks if mark is not None}
        wall_s = self._wall() + self._life * _BOOT_S
        time_ns = int(wall_s * _SECOND_NS) // self._tick_ns * self._tick_ns
        return FileMark(next(inode for inode in count(1) if inode not in used), time_ns)

    # --- the disk ---------------------------------------------------------------------------------

    def _sync(self, services: Collection[str] | None = None) -> None:
        """Have the files of these services on disk, or all."""
        for service in self._versions if services is None else services:
            del self._versions[service][:-1]

    def _checkpoint(self) -> None:
        self._sync()
        self._begin_generation()

    def _begin_generation(self) -> None:
        self._generation = f"{self._dice.getrandbits(64):016x}"
        self._number, self._end = 1, 0
        self._write(encode_beginning(self._generation, str(self._life)))

    def _write(self, lines: bytes) -> None:
        end = self._end + len(lines)
        self._log = self._log[: self._end] + lines + self._log[end:]
        self._end = end

    def tear_log(self) -> None:
        """Have only a part of the last batch on disk: the power is lost while it is written.

        Not where the first of its files is replaced already.
        """
        if len(self._prepared) == self._batch > 0:
            cut = self._dice.randrange(self._appended_at, self._end)
            self._log = self._log[:cut] + bytes(self._end - cut) + self._log[self._end :]

    def lose_power(self) -> None:
        """Let the machine end at once: of what was not on disk, some is."""
        dice = self._dice
        for service, versions in self._versions.items():
            found = dice.choice(versions)
            if found is not None and found is not versions[0]:
                mark = found.mark
                if dice.random() < 0.2:
                    mark = replace(mark, mtime_ns=mark.mtime_ns - dice.randrange(_SECOND_NS))
                found = _Version(b"" if dice.random() < 0.2 else found.data, mark)
            self._versions[service] = [found]
            super()._put(service, None if found is None else found.data)
        self._life += 1
        self._prepared.clear()
        self._is_open = False

    # --- start and end of a daemon ----------------------------------------------------------------

    def begin_daemon(
        self, services: tuple[ServiceSpec, ...]
    ) -> tuple[dict[str, RecoveredState], tuple[ServiceSpec, ...]]:
        """Restore what the log has, after a boot; return what the daemon starts with."""
        self._prepared.clear()
        self._unrestored.clear()
        if not self.is_same_boot:
            self._restore()
        self._is_starting = True
        begun = super().begin_daemon(services)
        self._is_starting = False
        # Of a service that was removed nothing is announced any more.
        for service in self._promised.keys() - self.managed.keys():
            del self._promised[service]
        if self._log and self._dice.random() < 0.1:
            self.is_same_boot = False
            self.lose_power()
            return self.begin_daemon(services)
        self._sync()
        self._known = {name: self._mark(name) for name in self._versions}
        self._log, self._is_open = b"", not self.is_full
        if self._is_open:
            self._begin_generation()
        self._promised = {name: self.files.get(name, b"") for name in self.managed}
        self._due.clear()
        return begun

    def end_daemon(self) -> None:
        """End in order: nothing is left to restore."""
        if self._is_open:
            self._checkpoint()
            self._is_open = False

    def _restore(self) -> None:
        log = decode_log(self._log)
        if log is not None and log.life != str(self._life):
            for service, records in log.by_service.items():
                data = self.files.get(service, b"")
                content = content_due(records, self._mark(service), data)
                if content is not None and self.is_full:
                    self.spoilt.add(service)
                    self._unrestored[service] = content
                elif content is not None:
                    self._put(service, content)
        for service, promised in self._promised.items():
            found = self.files.get(service, b"")
            if service not in self.spoilt and found not in (promised, self._due.get(service)):
                raise InvariantBroken(
                    f"disk broken: {service} was announced with {promised!r}, and after a power cut"
                    f" its STATE file holds {found!r}"
                )
