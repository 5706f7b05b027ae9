"""What is durable is so in the right order: content before the name, the name before anybody hears
of it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import ConfigError, SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage import state_store
from opensvc_openha.storage.state_store import StateStore, next_boot, write_state
from opensvc_openha.system import atomic_files
from opensvc_openha.system.atomic_files import (
    make_dir,
    read_text,
    sync_file_system,
    write_atomically,
)


class Disk:
    """Notes in which order files and directories reach the disk; every call is carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str]] = []
        self.lost: set[str] = set()
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self._sync)
        monkeypatch.setattr(os, "replace", self._rename)

    def _sync(self, handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        is_folder = stat.S_ISDIR(os.fstat(number).st_mode)
        path = os.readlink(f"/proc/self/fd/{number}")
        # What was written, but not handed to the kernel yet, is not on disk either.
        content = "" if is_folder else Path(path).read_bytes().decode("latin-1")
        self._fsync(number)
        self.done.append(("folder", path) if is_folder else ("content", content))

    def _rename(self, old: str, new: str) -> None:
        self.done.append(("name", new))
        self._replace(old, new)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The real disk, watched."""
    return Disk(monkeypatch)


def test_durable_file_has_its_content_then_its_name_then_its_place_on_disk(
    tmp_path: Path, disk: Disk
) -> None:
    """A power loss at any moment leaves the old file or the new one, and the new one for certain at
    the end.
    """
    path = tmp_path / "boot"
    path.write_bytes(b"old")
    write_atomically(str(path), b"new", 0o640)
    assert disk.done == [("content", "new"), ("name", str(path)), ("folder", str(tmp_path))]
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["boot"]


def test_file_that_need_not_be_durable_waits_for_no_disk(tmp_path: Path, disk: Disk) -> None:
    """The mirror of the peer's state, thousands of which may be written."""
    path = tmp_path / "mirror"
    write_atomically(str(path), b"new", is_durable=False)
    assert disk.done == [("name", str(path))] and path.read_bytes() == b"new"


def test_own_state_and_boot_counter_are_durable_and_the_mirror_is_not(
    tmp_path: Path, disk: Disk
) -> None:
    """Each of these must outlive a power loss: a state that was announced, and the number of this
    life.
    """
    layout = tree_layout(str(tmp_path))
    next_boot(layout)
    store = StateStore(layout, "deb1", "deb2")
    assert store.write_own({"web": StoredState(ServiceState.STARTED)}) == {"web": ""}
    for path in (layout.boot_file, layout.state_file("web", "deb1")):
        at = disk.done.index(("name", path))
        assert disk.done[at - 1][0] == "content" and disk.done[at + 1] == (
            "folder",
            os.path.dirname(path),
        )
    already = len(disk.done)
    store.mirror.put("web", ServiceState.STOPPED)
    store.close(60)
    assert disk.done[already:] == [("name", layout.state_file("web", "deb2"))]
    write_state(layout, "web", "deb1", StoredState(ServiceState.STOPPED), is_durable=False)
    assert disk.done[-1] == ("name", layout.state_file("web", "deb1"))


def test_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """The disk fails at the moment that the content is to be on it: an error, no new name, no
    litter.
    """
    path = tmp_path / "STATE.deb1"
    path.write_bytes(b"old")
    mocker.patch.object(os, "fsync", side_effect=OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["STATE.deb1"]


def test_name_that_may_not_be_on_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory cannot be written to disk after the rename: the caller that wanted it durable
    must learn of that.
    """
    fsync = os.fsync

    def fail_for_folders(handle: Any) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(str(tmp_path / "boot"), b"1")
    with pytest.raises(SystemFault, match="cannot write .*STATE.deb1: Input/output error"):
        write_state(tree_layout(str(tmp_path)), "web", "deb1", StoredState(ServiceState.STARTED))


def test_sync_of_a_file_system_reports_what_the_kernel_reports(tmp_path: Path) -> None:
    """One wait for many states: done on a real file system, an error where the kernel has one."""
    sync_file_system(str(tmp_path))
    with pytest.raises(OSError, match="No such file"):
        sync_file_system(str(tmp_path / "gone"))
    store = StateStore(tree_layout(str(tmp_path / "nothing")), "deb1", "deb2")
    with pytest.raises(SystemFault, match="cannot write .*services to disk: No such file"):
        store.sync()


def test_sync_that_fails_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """syncfs fails: the error names the reason and the folder."""
    import ctypes

    class Library:
        @staticmethod
        def syncfs(_handle: int) -> int:
            ctypes.set_errno(5)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: Library if use_errno else None)
    with pytest.raises(OSError, match="Input/output error") as caught:
        sync_file_system(str(tmp_path))
    assert (caught.value.errno, caught.value.filename) == (5, str(tmp_path))


def test_handles_are_given_back(tmp_path: Path) -> None:
    """Thousands of states later no file or directory is left open."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        write_atomically(str(tmp_path / "STATE.deb1"), b"%d" % number)
        sync_file_system(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_directory_that_is_there_is_no_error_and_one_that_cannot_be_is_one(tmp_path: Path) -> None:
    """Made with its parents, twice; a file in the way is reported with the path."""
    make_dir(str(tmp_path / "a" / "b"), 0o750)
    make_dir(str(tmp_path / "a" / "b"))
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemFault, match="cannot make directory .*file: File exists"):
        make_dir(str(tmp_path / "file" / "c"))


def test_text_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path) -> None:
    """A byte order mark is none of the text.

    A byte that is no UTF-8 is named with its line; a pipe is not waited for.
    """
    path = tmp_path / "nodes"
    path.write_bytes(b"\xef\xbb\xbfdeb1\ndeb2\n")
    assert read_text(str(path)) == "deb1\ndeb2\n"
    path.write_bytes(b"deb1\ndeb2\n\xff")
    with pytest.raises(ConfigError, match="nodes:3: expected UTF-8 text, found byte 0xff"):
        read_text(str(path))
    with pytest.raises(SystemFault, match="cannot read .*gone: No such file"):
        read_text(str(tmp_path / "gone"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe"):
        read_text(str(tmp_path / "pipe"))


def test_record_written_over_on_a_full_disk_is_durable_too(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing new can be made: the record that is there is written over, and that is on disk when
    it returns.
    """
    path = tmp_path / "STATE.deb1"
    path.write_bytes(b"2\0")

    def refuse(name: str) -> tuple[str, int]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    monkeypatch.setattr(atomic_files, "_open_beside", refuse)
    atomic_files.write_record(str(path), b"0\0")
    assert disk.done == [("content", "0\0")] and path.read_bytes() == b"0\0"
    atomic_files.write_record(str(path), b"2\0", is_durable=False)
    assert len(disk.done) == 1 and path.read_bytes() == b"2\0"
    monkeypatch.setattr(
        atomic_files,
        "_open_beside",
        lambda name: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")),
    )
    with pytest.raises(OSError, match="Input/output error"):
        atomic_files.write_record(str(path), b"0\0")
    assert path.read_bytes() == b"2\0"


def test_what_a_start_ends_is_on_disk_with_two_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reboot services that ran are STOPPED: written one by one, on disk together, before
    and after they have their names, and not again where nothing changed.
    """
    layout = tree_layout(str(tmp_path))
    waits: list[str] = []
    monkeypatch.setattr(state_store, "sync_file_system", waits.append)
    services = tuple(
        ServiceSpec(name, "/opt/svc", "deb1", "deb2", "/bin/true") for name in ("mail", "web")
    )
    for svc in services:
        write_state(layout, svc.name, "deb1", StoredState(ServiceState.STARTED))
    store = StateStore(layout, "deb1", "deb2")
    recovered = store.recover(services, is_same_life=False)
    assert {known.state for known in recovered.values()} == {ServiceState.STOPPED}
    assert waits == [layout.services_dir] * 2
    store.recover(services, is_same_life=True)
    assert len(waits) == 2


def test_life_of_the_machine_is_known_again_and_each_start_has_a_higher_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the daemon is the same life, a boot of the machine is another.

    A first start is no reboot.
    """
    layout = tree_layout(str(tmp_path))
    already = []
    for life in ("a", "a", "b", "b"):
        monkeypatch.setattr(state_store, "life", lambda life=life: life)
        already.append(next_boot(layout))
    assert [is_same for _, is_same in already] == [True, True, False, True]
    counters = [boot.counter for boot, _ in already]
    assert counters == sorted(set(counters)) and len({boot.nonce for boot, _ in already}) == 4
