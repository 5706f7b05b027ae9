"""Read the data disks of services from time to time: do they answer this node?

Each disk is read by a process of its own, which may hang for as long as the disk does: nothing
waits for it. Reads go around the page cache, at changing places, on the node that runs the service
and on its peer. With no service that has `frozen_storage = give_up` nothing of it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from opensvc_openha.core.events import DisksLook, DisksLooked
from opensvc_openha.core.facts import DiskAnswer
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.timing import (
    DATA_DISKS_FIND_S,
    DISK_ANSWER_S,
    DISK_LOOK_S,
    FROZEN_LOOK_S,
    RESERVED_FIND_LIMIT_S,
)
from opensvc_openha.core.wording import named
from opensvc_openha.daemon.fence_program import list_of
from opensvc_openha.daemon.reserved_disks import Program
from opensvc_openha.hints import Protocol
from opensvc_openha.links.base import LinkFault
from opensvc_openha.links.disk_channel import START_LIMIT_S, DiskChannel
from opensvc_openha.system import clock
from opensvc_openha.system.processes import stat_of
from opensvc_openha.system.thread_names import name_thread

PROGRAM = "opensvc_openha.agent.service.data_disks"
"""Prints the disks of the services whose names it gets."""
_READ_BYTES = 4096
_STRIDE = 7919
"""A prime: successive reads are far from each other, where no cache of the array holds them."""
_WAITS = "D"
"""State of a process that waits for a disk; one that gets no processor is runnable."""
_NOT_READ = DisksLook(DiskAnswer.UNKNOWN, text="it was not read yet")


class DiskProbe:
    """Read one disk again and again, in a thread of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._channel = DiskChannel(path, direct=True)
        self._channel.join_user()
        self._is_open = False
        self._pages = 1
        self._reads = 0
        self._is_over = threading.Event()
        self.look = _NOT_READ

    @property
    def worker_pid(self) -> int:
        """Pid of the process that reads; 0 if there is none."""
        return self._channel.worker_pid

    @property
    def is_hung(self) -> bool:
        """True while a read is overdue."""
        return self._channel.is_hung

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._run, name=f"data {self._path}", daemon=True).start()

    def stop(self) -> None:
        """Read no more, without waiting for the disk."""
        self._is_over.set()

    def _run(self) -> None:
        name_thread("data disk")
        is_frozen = False
        while not self._is_over.wait(FROZEN_LOOK_S if is_frozen else DISK_LOOK_S * self._is_open):
            is_frozen = self.look_again().answer is DiskAnswer.FROZEN
            if not self._is_open and self._is_over.wait(DISK_LOOK_S):
                break
        self.close()

    def close(self) -> None:
        """Leave the disk, without waiting for it."""
        self._channel.close()

    def look_again(self) -> DisksLook:
        """Read once; return what was seen."""
        self.look = look = self._read()
        return look

    def _read(self) -> DisksLook:
        try:
            if not self._is_open:
                info = self._channel.open(for_writing=False, limit_s=START_LIMIT_S)
                self._is_open, self._pages = True, max(1, info.size_bytes // _READ_BYTES)
            # Under the same name there may be another disk by now.
            self._channel.check_identity()
            self._reads += 1
            offset = self._reads * _STRIDE % self._pages * _READ_BYTES
            self._channel.read(offset, _READ_BYTES, DISK_ANSWER_S)
        except LinkFault as fault:
            return self._judge(fault)
        return DisksLook(DiskAnswer.ANSWERS)

    def _judge(self, fault: LinkFault) -> DisksLook:
        """Return what a read means that brought no data."""
        # Of this very read: where one before it was late as well, the disk has answered since.
        since = self._channel.overdue_since
        # The opening of a disk reads more than the disk, and where it hangs nothing is known of it.
        if not self._is_open or since is None:
            self._is_open = False
            return DisksLook(DiskAnswer.UNKNOWN, text=str(fault))
        process = stat_of(self.worker_pid)
        if process is None or not waits_for_disk(process.state):
            how = "is gone" if process is None else f"does not wait for it (state {process.state})"
            text = f"the process that reads {self._path} {how}"
            return DisksLook(DiskAnswer.UNKNOWN, text=text)
        return DisksLook(DiskAnswer.FROZEN, since, self._path)


def waits_for_disk(state: str) -> bool:
    """Return True if a process in that state waits for its disk.

    One that is stopped, or gets no processor beside others of a higher priority, does not read a
    disk in good health either.
    """
    return state == _WAITS


class Probe(Protocol):
    """Reads one disk: see ``DiskProbe``."""

    @property
    def look(self) -> DisksLook:
        """What it saw last."""

    def start(self) -> None:
        """Begin to read."""

    def stop(self) -> None:
        """Read no more."""


class DataDisks:
    """Report what this node sees of the disks of its services.

    ``check_soon`` is called by the thread that applies a configuration.
    """

    def __init__(
        self,
        services: Callable[[], tuple[ServiceSpec, ...]],
        find: Callable[[tuple[str, ...]], Program],
        put: Callable[[DisksLooked], None],
        probe: Callable[[str], Probe] = DiskProbe,
    ) -> None:
        """``find`` returns the program that finds the disks of these services."""
        self._services = services
        self._find = find
        self._put = put
        self._make_probe = probe
        self._probes: dict[str, Probe] = {}
        self._found: dict[str, tuple[tuple[str, ...], str]] = {}
        self._finder: Program | None = None
        self._reported: Mapping[str, DisksLook] = {}
        self._reported_at = 0.0
        self._lock = threading.Lock()
        self._has_threads = False
        self._has_begun = False
        self._is_over = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Start to look, if there is anything to look at."""
        self._has_begun = True
        self.check_soon()

    def check_soon(self) -> None:
        """Follow an edited configuration."""
        with self._lock:
            if self._has_begun and not self._has_threads and self._watched():
                threading.Thread(target=self._run, name="data disks", daemon=True).start()
                threading.Thread(target=self._search, name="find disks", daemon=True).start()
                self._has_threads = True
        self._wake.set()

    def stop(self) -> None:
        """End without waiting for a disk."""
        self._is_over.set()
        self._wake.set()
        finder = self._finder
        if finder is not None:
            finder.close()

    def _watched(self) -> tuple[ServiceSpec, ...]:
        return tuple(svc for svc in self._services() if svc.policy.is_given_up)

    # --- looking ----------------------------------------------------------------------------------

    def _run(self) -> None:
        name_thread("data disks")
        while not self._is_over.wait(FROZEN_LOOK_S):
            self._look()
        for probe in self._probes.values():
            probe.stop()

    def _look(self) -> None:
        watched = self._watched()
        disks = {svc.name: self._disks_of(svc) for svc in watched}
        self._read({path for paths, _ in disks.values() for path in paths})
        looks = {name: self._combine(paths, why) for name, (paths, why) in disks.items()}
        now = clock.monotonic()
        if looks != self._reported or (looks and now >= self._reported_at + DISK_LOOK_S):
            self._reported, self._reported_at = looks, now
            self._put(DisksLooked(now, looks))

    def _disks_of(self, svc: ServiceSpec) -> tuple[tuple[str, ...], str]:
        if svc.policy.data_disks:
            return svc.policy.data_disks, ""
        return self._found.get(svc.name, ((), "its disks are being looked for"))

    def _read(self, paths: set[str]) -> None:
        """Read these disks from now on, and no others."""
        for path in [path for path in self._probes if path not in paths]:
            self._probes.pop(path).stop()
        for path in paths - self._probes.keys():
            self._probes[path] = self._make_probe(path)
            self._probes[path].start()

    def _combine(self, paths: tuple[str, ...], why: str) -> DisksLook:
        """Return what is known of a service's disks together."""
        looks = {path: self._probes[path].look for path in paths}
        frozen = {path: at for path, at in looks.items() if at.answer is DiskAnswer.FROZEN}
        if frozen:
            since = min(at.since for at in frozen.values() if at.since is not None)
            return DisksLook(DiskAnswer.FROZEN, since, named(tuple(frozen), 3))
        unknown = [at.text for at in looks.values() if at.answer is DiskAnswer.UNKNOWN]
        if unknown or not paths:
            return DisksLook(DiskAnswer.UNKNOWN, text="; ".join(unknown[:3]) or why)
        return DisksLook(DiskAnswer.ANSWERS)

    # --- finding ----------------------------------------------------------------------------------

    def _search(self) -> None:
        name_thread("find disks")
        while not self._is_over.is_set():
            self._find_all()
            self._wake.wait(DATA_DISKS_FIND_S)
            self._wake.clear()

    def _find_all(self) -> None:
        """Find the disks of services that name none; not while one hangs: LVM would hang, too."""
        names = tuple(svc.name for svc in self._watched() if not svc.policy.data_disks)
        is_any_frozen = any(
            probe.look.answer is DiskAnswer.FROZEN for probe in list(self._probes.values())
        )
        if not names or is_any_frozen:
            return
        self._finder = self._find(names)
        answer = self._finder.ask({}, RESERVED_FIND_LIMIT_S)
        found = dict(self._found)
        for name in names:
            values = answer.values.get(name)
            if answer.problem or not isinstance(values, Mapping):
                # What was found before still holds: the disks of a service rarely change.
                text = f"its disks were not found: {answer.problem or 'no answer'}"
                found.setdefault(name, ((), text))
                continue
            paths = tuple(path for path in list_of(values.get("disks")) if isinstance(path, str))
            found[name] = paths, str(values.get("problem", ""))
        self._found = found
