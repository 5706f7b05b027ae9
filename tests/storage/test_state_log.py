"""States are durable by the log: whatever a power cut leaves of the STATE files, the next boot
finds what was written last, and nothing older.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState as S
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState, decode, encode
from opensvc_openha.storage import state_log, state_store
from opensvc_openha.storage.state_store import StateStore, clean_up, next_boot, write_state

FROZEN, STOPPED, STARTED = (StoredState(state) for state in (S.FROZEN_STOP, S.STOPPED, S.STARTED))
NAMES = ("mail", "web", "zabbix")
SPECS = tuple(ServiceSpec(name, "/opt/it", "deb1", "deb2", "/bin/true") for name in NAMES)
KEPT = {True: "frozen before the machine was started", False: "the machine was started"}
"""What is concluded after a boot, by whether the service was frozen."""


class PowerCut(BaseException):
    """The machine loses its power before a call."""


class Machine:
    """A directory on a disk that loses what was not synced.

    Old versions of STATE files are kept under further names, so that each has its inode and time.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = tree_layout(str(root / "node"))
        self.boot = "boot-1"
        self.calls = 0
        self.cut_at = -1
        self.names: list[str] = []
        """The calls that were counted."""
        self._kept = root / "kept"
        self._kept.mkdir()
        self._numbers = itertools.count()
        self._durable_log = b""
        self._durable: dict[str, Path] = {}
        self._whole: set[int] = set()
        """The files whose content is on disk, under whatever name."""
        self.recovered: dict[str, RecoveredState] = {}
        self._daemons: list[StateStore] = []
        for module in (state_log, state_store):
            monkeypatch.setattr(module, "life", lambda: self.boot)
            monkeypatch.setattr(module, "sync_file_system", self._sync_all)
        for name in ("pwrite", "replace"):
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        monkeypatch.setattr(os, "fdatasync", self._watched("fdatasync", self._sync_log))
        monkeypatch.setattr(os, "fsync", lambda handle: None)
        for name in NAMES:
            write_state(self.layout, name, "deb1", FROZEN)
        self._note_all()

    def _watched(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def watched(*args: object) -> object:
            self._count(name)
            return call(*args)

        return watched

    def _count(self, name: str) -> None:
        self.calls += 1
        self.names.append(name)
        if self.calls == self.cut_at:
            raise PowerCut

    def _sync_log(self, _handle: int) -> None:
        self._durable_log = Path(self.layout.state_log_file).read_bytes()

    def _sync_all(self, _folder: str) -> None:
        self._count("syncfs")
        self._note_all()

    def _note_all(self) -> None:
        log = Path(self.layout.state_log_file)
        self._durable_log = log.read_bytes() if log.exists() else b""
        folders = [self.path(name).parent for name in NAMES if self.path(name).parent.exists()]
        self._whole = {file.stat().st_ino for folder in folders for file in folder.iterdir()}
        for name in NAMES:
            if self.path(name).exists():
                self._durable[name] = self._kept / str(next(self._numbers))
                os.link(self.path(name), self._durable[name])

    def path(self, service: str) -> Path:
        """The STATE file of deb1."""
        return Path(self.layout.state_file(service, "deb1"))

    def start(self) -> StateStore:
        """A daemon starts, as ``recover_engine`` does."""
        clean_up(self.layout)
        store = StateStore(self.layout, "deb1", "deb2")
        self._daemons.append(store)
        store.restore()
        _, is_same_life = next_boot(self.layout)
        self.recovered = store.recover(SPECS, is_same_life)
        store.begin_log()
        return store

    def end(self) -> None:
        """No daemon has a handle any more."""
        for store in self._daemons:
            store._log._close()
        self._daemons.clear()

    def lose(self, files: str, log: str) -> None:
        """Lose what was not synced: the old files are there again, or the new ones are empty; the
        newest records are not there, or a half of them is.
        """
        self.end()
        for name in NAMES:
            path, durable = self.path(name), self._durable[name]
            status = path.stat()
            if status.st_ino != durable.stat().st_ino and files == "old":
                path.unlink()
                os.link(durable, path)
            elif status.st_ino not in self._whole and files == "empty":
                os.truncate(path, 0)
                os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
        path = Path(self.layout.state_log_file)
        if path.exists() and log != "new":
            now, old = path.read_bytes(), self._durable_log
            old = old.ljust(len(now), b"\0")
            changed = [at for at in range(len(now)) if now[at] != old[at]]
            middle = changed[len(changed) // 2] if changed and log == "torn" else 0
            path.write_bytes(now[:middle] + old[middle:])

    def lose_and_boot(self, files: str) -> None:
        """Lose files that were not synced, and no record; a daemon starts in the next boot."""
        self.lose(files, "new")
        self.boot = "boot-2"
        self.start()


STORY = (
    {"mail": STOPPED, "web": STOPPED},
    {"mail": STARTED},
    {"web": FROZEN},
    {"mail": FROZEN, "zabbix": STOPPED},
    {"web": STOPPED, "zabbix": STARTED},
    {"zabbix": FROZEN},
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Its services are frozen."""
    machine = Machine(tmp_path, monkeypatch)
    yield machine
    machine.end()


def _play(machine: Machine, cut_at: int) -> list[set[bool]]:
    """Play the story until the power cut; return what may be found, for each service."""
    may_be = {name: {True} for name in NAMES}
    try:
        machine.cut_at = -1
        store = machine.start()
        machine.calls, machine.cut_at = 0, cut_at
        machine.names.clear()
        for states in STORY:
            for name, stored in states.items():
                may_be[name].add(stored is FROZEN)
            assert set(store.write_own(states).values()) == {""}
            for name, stored in states.items():
                may_be[name] = {stored is FROZEN}
    except PowerCut:
        pass
    return [may_be[name] for name in NAMES]


def _check(machine: Machine, may_be: list[set[bool]]) -> None:
    for name, possible in zip(NAMES, may_be, strict=True):
        known = machine.recovered[name]
        is_frozen = known.state is S.FROZEN_STOP
        assert is_frozen in possible, (name, known)
        assert known.reason == KEPT[is_frozen], (name, known)
        assert decode(machine.path(name).read_bytes()).state is known.state


@pytest.mark.parametrize("log", ["old", "torn", "new"])
@pytest.mark.parametrize("files", ["old", "empty", "new"])
@pytest.mark.exhaustive
@pytest.mark.parametrize("room", [16_384, 600], ids=["roomy", "tight"])
def test_power_cut_at_any_call_loses_nothing_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, files: str, log: str
) -> None:
    """What ``write_own`` returned is found after the boot, whatever is left of the files; also
    where the log is full on the way, and where the power is cut again at any call of that boot.
    """
    monkeypatch.setattr(state_log, "LOG_BYTES", room)
    for point in itertools.count(1):
        folder = tmp_path / f"cut{point}"
        folder.mkdir()
        with monkeypatch.context() as patch:
            machine = Machine(folder, patch)
            may_be = _play(machine, point)
            is_over = machine.calls < point
            machine.lose(files, log)
            machine.boot, machine.calls, machine.cut_at = "boot-2", 0, 1 + point % 4
            try:
                machine.start()
            except PowerCut:
                machine.lose(files, log)
                machine.boot, machine.cut_at = "boot-3", -1
                machine.start()
            _check(machine, may_be)
            machine.end()
        if is_over:
            return


def test_states_of_many_services_take_one_wait(machine: Machine) -> None:
    """No file and no directory is synced; and the files are there under their names."""
    store = machine.start()
    machine.names.clear()
    store.write_own({"mail": STARTED, "web": STOPPED, "zabbix": STARTED})
    assert machine.names == ["pwrite", "fdatasync", "replace", "replace", "replace"]
    assert machine.path("mail").read_bytes() == encode(STARTED)
    assert os.listdir(machine.path("mail").parent) == ["STATE.deb1"]


def test_within_a_boot_the_files_count(machine: Machine) -> None:
    """A daemon that was killed between the log and the file has announced nothing: the file is
    older, or what an operator wrote.
    """
    store = machine.start()
    machine.names.clear()
    machine.calls, machine.cut_at = 0, 3
    with pytest.raises(PowerCut):
        store.write_own({"mail": STARTED})
    assert machine.names == ["pwrite", "fdatasync", "replace"]
    machine.start()
    assert machine.recovered["mail"].state is S.FROZEN_STOP


def test_files_of_a_former_daemon_are_on_disk_before_its_records_go(machine: Machine) -> None:
    """It was killed, and the power is cut later: the next daemon has had no state to write."""
    machine.start().write_own({"mail": STOPPED})
    machine.start()
    machine.lose_and_boot("old")
    assert machine.recovered["mail"].reason == KEPT[False]


def test_file_that_the_log_did_not_make_counts_after_a_boot(machine: Machine) -> None:
    """An operator, or an older version, wrote it after the daemon was killed."""
    store = machine.start()
    store.write_own({"mail": STARTED, "web": STARTED})
    write_state(machine.layout, "mail", "deb1", FROZEN)
    path = machine.path("web")
    path.write_bytes(encode(FROZEN))
    os.utime(path, ns=(path.stat().st_mtime_ns + 5_000_000_000,) * 2)
    machine.boot = "boot-2"
    machine.start()
    assert {machine.recovered[name].state for name in ("mail", "web")} == {S.FROZEN_STOP}


def test_file_of_somebody_else_is_on_disk_before_the_log_speaks_of_it(machine: Machine) -> None:
    """An operator writes a file, and the daemon the next state; the power cut takes both files. The
    version before them is none that the log knows, and would count.
    """
    store = machine.start()
    write_state(machine.layout, "web", "deb1", STOPPED, is_durable=False)
    machine.names.clear()
    store.write_own({"web": STARTED})
    assert machine.names.count("syncfs") == 1
    store.write_own({"web": FROZEN})
    store.write_own({"web": STARTED, "mail": STARTED})
    assert machine.names.count("syncfs") == 1, "its own files are in the log"
    machine.lose_and_boot("old")
    assert machine.recovered["web"].reason == KEPT[False]


def test_file_that_was_removed_is_gone_before_the_log_speaks_of_the_next(machine: Machine) -> None:
    """Otherwise it may be there again after a power cut, and would count."""
    store = machine.start()
    machine.path("web").unlink()
    machine.names.clear()
    store.write_own({"web": STARTED})
    assert machine.names.count("syncfs") == 1


def test_files_that_a_daemon_finds_are_on_disk_before_it_logs(machine: Machine) -> None:
    """A start writes those of services that nobody manages without waiting: one may be added."""
    machine.start().close()
    write_state(machine.layout, "web", "deb1", STOPPED, is_durable=False)
    store = machine.start()
    store.write_own({"web": STARTED})
    machine.lose_and_boot("old")
    assert machine.recovered["web"].reason == KEPT[False]


def test_state_that_was_written_since_counts_more_than_what_could_not_be_restored(
    machine: Machine,
) -> None:
    """The file could not be written when the daemon began, and was later: it is read again when the
    service comes back.
    """
    store = machine.start()
    store.write_own({"web": FROZEN})
    store.write_own({"web": STARTED})
    folder = machine.path("web").parent
    shutil.rmtree(folder)
    folder.touch()
    machine.boot = "boot-2"
    store = machine.start()
    folder.unlink()
    assert store.write_own({"web": FROZEN}) == {"web": ""}
    (recovered,) = store.recover(SPECS[1:2], is_same_life=True).values()
    assert recovered.state is S.FROZEN_STOP


def test_file_that_is_written_while_a_log_begins_is_not_taken_for_one_on_disk(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator writes it once all files are on disk, and before the log is begun."""
    machine.start().close()

    def sync_and_write(folder: str) -> None:
        machine._sync_all(folder)
        monkeypatch.setattr(state_store, "sync_file_system", machine._sync_all)
        write_state(machine.layout, "web", "deb1", STOPPED, is_durable=False)

    monkeypatch.setattr(state_store, "sync_file_system", sync_and_write)
    store = machine.start()
    assert decode(machine.path("web").read_bytes()) == STOPPED
    store.write_own({"web": STARTED})
    machine.lose_and_boot("old")
    assert machine.recovered["web"].reason == KEPT[False]


def test_file_that_cannot_be_read_after_a_boot_is_what_the_log_has(machine: Machine) -> None:
    """A directory stands in its place: the newest record counts, and nothing older."""
    store = machine.start()
    store.write_own({"web": FROZEN})
    store.write_own({"web": STARTED})
    machine.path("web").unlink()
    machine.path("web").mkdir()
    machine.boot = "boot-2"
    machine.start()
    assert machine.recovered["web"].reason.startswith(KEPT[False])


def test_service_that_an_operator_removed_does_not_come_back(machine: Machine) -> None:
    """Its file was there before the log had it, and is gone."""
    store = machine.start()
    store.write_own({"mail": STARTED})
    machine.path("mail").unlink()
    machine.path("mail").parent.rmdir()
    machine.boot = "boot-2"
    StateStore(machine.layout, "deb1", "deb2").restore()
    assert not machine.path("mail").parent.exists()


def test_new_service_whose_directory_was_lost_is_restored(machine: Machine) -> None:
    """Nothing of it was synced but the record."""
    machine.path("mail").unlink()
    machine.path("mail").parent.rmdir()
    store = machine.start()
    machine.path("mail").unlink()
    machine.path("mail").parent.rmdir()
    store.write_own({"mail": FROZEN})
    machine.path("mail").unlink()
    machine.path("mail").parent.rmdir()
    machine.boot = "boot-2"
    machine.start()
    assert machine.recovered["mail"] == RecoveredState(
        S.FROZEN_STOP, must_probe=True, reason=KEPT[True]
    )


def test_records_of_an_old_generation_do_not_count(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log began again from its start: what lies behind its newest record is past."""
    store = machine.start()
    store.write_own({"mail": STARTED, "web": STOPPED})
    store._log.checkpoint()
    store.write_own({"zabbix": STARTED})
    log = store._log.read()
    assert log is not None and [record.service for record in log.records] == ["zabbix"]
    assert b" web " in Path(machine.layout.state_log_file).read_bytes()


def test_orderly_end_leaves_a_log_without_records(machine: Machine) -> None:
    """All files are on disk then: an older version reads them alone."""
    store = machine.start()
    store.write_own({"mail": STARTED})
    machine.names.clear()
    store.close(60)
    log = StateStore(machine.layout, "deb1", "deb2")._log.read()
    assert log is not None and not log.records and "syncfs" in machine.names


def test_former_daemon_that_hangs_writes_to_its_own_log(machine: Machine) -> None:
    """The next daemon has another file."""
    former = machine.start()
    former.write_own({"mail": STARTED})
    store = machine.start()
    store.write_own({"web": STARTED})
    former._log.append([])
    former._log._write(b"late" * 100, 0)
    log = store._log.read()
    assert log is not None and [record.service for record in log.records] == ["web"]


@pytest.mark.parametrize("name", ["pwrite", "fdatasync"])
def test_log_that_cannot_be_written_leaves_durable_files(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """From then on each state is written to disk itself, and no record counts any more."""
    store = machine.start()
    store.write_own({"mail": STARTED})
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    def fail(*_args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, name, fail)
    assert store.write_own({"mail": FROZEN}) == {"mail": ""}
    assert len(synced) == 2 and not Path(machine.layout.state_log_file).exists()
    assert store.write_own({"mail": STOPPED}) == {"mail": ""} and len(synced) == 4
    assert os.listdir(machine.path("mail").parent) == ["STATE.deb1"]


@pytest.mark.parametrize("files", ["old", "empty"])
@pytest.mark.parametrize("is_synced", [True, False])
def test_log_that_is_given_up_loses_no_state_that_it_alone_made_durable(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, is_synced: bool, files: str
) -> None:
    """It cannot be written, and the power is cut after that: a service that was frozen by it, and
    one that was not, are as they were. Where the files cannot be synced either, it stays.
    """
    store = machine.start()
    store.write_own({"web": STARTED})
    store._log.checkpoint()
    store.write_own({"web": FROZEN, "zabbix": STOPPED})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda _handle: _raise(errno.EIO))
        if not is_synced:
            patch.setattr(state_log, "sync_file_system", lambda _folder: _raise(errno.EIO))
        store.write_own({"mail": STARTED})
    machine.lose_and_boot(files)
    assert machine.recovered["web"].reason == KEPT[True]
    assert machine.recovered["zabbix"].reason == KEPT[False]


def test_state_that_the_log_cannot_have_is_written_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, or another file system; older records of it count no more."""
    store = machine.start()
    store.write_own({"mail": STARTED})
    monkeypatch.setattr(store._log, "device", -2)
    machine.names.clear()
    assert store.write_own({"mail": FROZEN}) == {"mail": ""}
    assert machine.names[-3:] == ["syncfs", "pwrite", "fdatasync"]
    log = store._log.read()
    assert log is not None and not log.records
    assert machine.path("mail").read_bytes() == encode(FROZEN)
    assert os.listdir(machine.path("mail").parent) == ["STATE.deb1"]


def test_each_state_that_cannot_be_placed_has_its_problem(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are written."""
    store = machine.start()
    replace = os.replace

    def refuse(old: str, new: str) -> None:
        if "/mail/" in new:
            raise OSError(errno.EIO, "Input/output error")
        replace(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    problems = store.write_own({"mail": STARTED, "web": STARTED})
    assert problems == {
        "mail": f"cannot write {machine.path('mail')}: Input/output error",
        "web": "",
    }
    assert os.listdir(machine.path("mail").parent) == ["STATE.deb1"]


def test_state_that_cannot_be_restored_is_known_all_the_same(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has it; the file is written as soon as it can be."""
    store = machine.start()
    store.write_own({"mail": STOPPED})
    store.write_own({"mail": FROZEN})
    machine.path("mail").write_bytes(b"")
    machine.boot = "boot-2"
    store = StateStore(machine.layout, "deb1", "deb2")
    with monkeypatch.context() as patch:
        patch.setattr(state_store, "write_record", lambda *_args, **_options: _raise(errno.EROFS))
        store.restore()
    recovered = store.recover(SPECS, is_same_life=False)
    assert recovered["mail"].reason == KEPT[True]
    assert machine.path("mail").read_bytes() == encode(FROZEN)


def _raise(number: int) -> None:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("count", [1, 2])
def test_without_a_log_several_states_take_one_wait(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """One is written to disk by itself; more with one wait after the last."""
    store = StateStore(machine.layout, "deb1", "deb2")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    noted: list[int] = []
    states = {f"svc{number}": STOPPED for number in range(count)}
    assert store.write_own(states, lambda: noted.append(1)) == dict.fromkeys(states, "")
    assert len(synced) == (2 if count == 1 else 0) and len(noted) == count
    assert machine.names.count("syncfs") == (count == 2)
