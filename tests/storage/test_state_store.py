"""What a starting daemon makes of STATE files, on a real directory."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.errors import SystemFault
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.storage import state_store
from opensvc_openha.storage.state_store import StateStore, next_boot, write_state
from opensvc_openha.system.atomic_files import PreparedFile

_MAIL = ServiceSpec("mail", "/etc/mail", "deb1", "deb2", "/bin/true")
_WEB = ServiceSpec("web", "/etc/web", "deb1", "deb2", "/bin/true")


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """This process may write no byte to any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "left, is_same_life, expected",
    [
        (ServiceState.STARTED, False, ServiceState.STOPPED),
        (ServiceState.FROZEN_START, False, ServiceState.FROZEN_STOP),
        (ServiceState.FROZEN_STOP, False, ServiceState.FROZEN_STOP),
        (ServiceState.STARTED, True, ServiceState.STARTED),
    ],
)
def test_service_added_after_the_machine_was_started_is_not_believed_to_run(
    tmp_path: Path, left: ServiceState, is_same_life: bool, expected: ServiceState
) -> None:
    """web is not in the services file while the daemon starts, and is added later: a start of the
    machine ended it, too.
    """
    layout = tree_layout(str(tmp_path))
    write_state(layout, "web", "deb1", StoredState(left))
    StateStore(layout, "deb1", "deb2").recover((_MAIL,), is_same_life)
    added = StateStore(layout, "deb1", "deb2").recover((_WEB,), is_same_life=True)["web"]
    assert added.state is expected


def test_service_whose_state_could_not_be_ended_at_a_reboot_is_not_believed_to_run_either(
    tmp_path: Path,
) -> None:
    """Nothing can be written while the daemon starts after a reboot.

    Web is added later, when it can be again.
    """
    layout = tree_layout(str(tmp_path))
    write_state(layout, "web", "deb1", StoredState(ServiceState.STARTED))
    store = StateStore(layout, "deb1", "deb2")
    with full_disk():
        store.recover((_MAIL,), is_same_life=False)
    assert Path(layout.state_file("web", "deb1")).read_bytes() == b"2\0"
    assert store.recover((_WEB,), is_same_life=True)["web"].state is ServiceState.STOPPED
    # It was ended by that: what it does from now on is believed again, should it be taken out and
    # added once more.
    write_state(layout, "web", "deb1", StoredState(ServiceState.STARTED))
    assert store.recover((_WEB,), is_same_life=True)["web"].state is ServiceState.STARTED


@pytest.mark.parametrize(
    "left, least, most",
    [
        (None, 1_700_000_000, 0xFFFFFFFE),
        (b"\0\xff", 1_700_000_000, 0xFFFFFFFE),
        (b"4200000000 life\n", 4_200_000_001, 4_200_000_001),
        (b"7 life\n", 1_700_000_000, 0xFFFFFFFE),
        (b"4294967295 life\n", 1_700_000_000, 0xFFFFFFFE),
    ],
)
def test_life_after_a_lost_boot_file_is_no_older_one(
    tmp_path: Path, left: bytes | None, least: int, most: int
) -> None:
    """One more than the last, or the seconds since 1970: a file that is gone, damaged or of a
    restored node counts from those.
    """
    layout = tree_layout(str(tmp_path))
    path = Path(layout.boot_file)
    path.parent.mkdir(parents=True)
    if left is not None:
        path.write_bytes(left)
    first, _ = next_boot(layout)
    second, _ = next_boot(layout)
    assert least <= first.counter <= most and second.counter > first.counter


def test_file_without_a_state_is_left_as_it_is_at_a_reboot(tmp_path: Path) -> None:
    """Of services that are not managed now: a damaged file is there to be looked at, and one that
    never was is not made.
    """
    layout = tree_layout(str(tmp_path))
    store = StateStore(layout, "deb1", "deb2")
    assert store.recover((), is_same_life=False) == {}
    write_state(layout, "web", "deb1", StoredState(ServiceState.STARTED))
    Path(layout.state_file("web", "deb1")).write_bytes(b"damaged")
    os.mkdir(f"{layout.services_dir}/mail")
    store.recover((), is_same_life=False)
    assert Path(layout.state_file("web", "deb1")).read_bytes() == b"damaged"
    assert os.listdir(f"{layout.services_dir}/mail") == []


def test_services_are_learned_with_one_wait_for_the_disk(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """Thousands of them after a reboot, managed or not: not one fsync each."""
    layout = tree_layout(str(tmp_path))
    for name in ("mail", "web"):
        write_state(layout, name, "deb1", StoredState(ServiceState.STARTED))
    waits = mocker.spy(os, "fsync")
    recovered = StateStore(layout, "deb1", "deb2").recover((_MAIL,), is_same_life=False)
    assert recovered["mail"].state is ServiceState.STOPPED and not waits.called
    for name in ("mail", "web"):
        assert Path(layout.state_file(name, "deb1")).read_bytes() == b"0\0"


def test_state_that_another_thread_writes_is_left_to_it(tmp_path: Path) -> None:
    """The engine manages the service already: what was concluded is returned, and not written."""
    layout = tree_layout(str(tmp_path))
    write_state(layout, "mail", "deb1", StoredState(ServiceState.STARTED))
    path = Path(layout.state_file("mail", "deb1"))
    before = path.read_bytes()
    store = StateStore(layout, "deb1", "deb2")
    found = store.recover((_MAIL,), is_same_life=False, unwritten=("mail",))
    assert found["mail"].state is ServiceState.STOPPED and path.read_bytes() == before
    assert store.recover((_MAIL,), is_same_life=False)["mail"] == found["mail"]
    assert path.read_bytes() != before


def test_life_that_cannot_be_remembered_is_none(tmp_path: Path) -> None:
    """A daemon that counted on without writing the number down would use it twice."""
    layout = tree_layout(str(tmp_path))
    os.makedirs(layout.boot_file)
    with pytest.raises(SystemFault, match=f"cannot write {layout.boot_file}: Is a directory"):
        next_boot(layout)


def test_random_part_of_a_life_fits_into_a_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 bits on the wire: none may be drawn that cannot be sent."""
    monkeypatch.setattr(os, "urandom", lambda count: b"\xff" * count)
    assert next_boot(tree_layout(str(tmp_path)))[0].nonce == 0xFFFF_FFFF_FFFF_FFFF


@pytest.mark.parametrize("is_same_life", [True, False])
def test_state_that_changes_at_the_start_is_on_disk_before_anything_is_decided(
    tmp_path: Path, mocker: MockerFixture, is_same_life: bool
) -> None:
    """One wait for all files and one for their names; none, and no write, where all is as it was.

    A failure of it is reported with the next state.
    """
    layout = tree_layout(str(tmp_path))
    write_state(layout, "mail", "deb1", StoredState(ServiceState.STARTED))
    write_state(layout, "web", "deb1", StoredState(ServiceState.STOPPED))
    before = os.stat(layout.state_file("web", "deb1")).st_ino
    store = StateStore(layout, "deb1", "deb2")
    sync = mocker.patch.object(store, "sync", side_effect=SystemFault("no space left"))
    found = store.recover((_MAIL, _WEB), is_same_life)
    assert sync.call_count == (0 if is_same_life else 2)
    assert os.stat(layout.state_file("web", "deb1")).st_ino == before
    expected = ServiceState.STARTED if is_same_life else ServiceState.STOPPED
    assert found["mail"].state is expected and found["mail"].must_probe


def test_service_whose_state_cannot_be_written_is_managed_all_the_same(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """With the reason; nothing was written, so nothing is waited for."""
    layout = tree_layout(str(tmp_path))
    write_state(layout, "mail", "deb1", StoredState(ServiceState.STARTED))
    store = StateStore(layout, "deb1", "deb2")
    sync = mocker.patch.object(store, "sync")
    mocker.patch.object(PreparedFile, "beside", side_effect=OSError(28, "full"))
    mocker.patch.object(state_store, "write_state", side_effect=SystemFault("no space left"))
    found = store.recover((_MAIL,), is_same_life=False)["mail"]
    assert found.state is ServiceState.STOPPED and not sync.called
    assert found.reason == "the machine was started; no space left"


def test_service_that_was_managed_before_misses_its_state(tmp_path: Path) -> None:
    """Its directory is gone as well; one that is new here misses nothing."""
    layout = tree_layout(str(tmp_path))
    os.makedirs(layout.proc_dir)
    write_state(layout, "mail", "deb1", StoredState(ServiceState.STARTED))
    store = StateStore(layout, "deb1", "deb2")
    store.record_managed((_MAIL,))
    shutil.rmtree(os.path.dirname(layout.state_file("mail", "deb1")))
    found = store.recover((_MAIL, _WEB), is_same_life=True)
    assert "mail" in found["mail"].reason and found["mail"].reason.endswith("is missing")
    assert found["web"].reason == "new service"


def test_start_that_a_restart_interrupts_is_begun_again(tmp_path: Path) -> None:
    """Unless it is the first start of all: a C OpenHA writes the same digit for something else."""
    layout = tree_layout(str(tmp_path))
    write_state(layout, "mail", "deb1", StoredState(ServiceState.START_READY))
    write_state(layout, "web", "deb1", StoredState(ServiceState.START_READY))
    store = StateStore(layout, "deb1", "deb2")
    assert store.recover((_MAIL,), True)["mail"].state is ServiceState.STOPPED
    assert store.recover((_WEB,), True, True)["web"].state is ServiceState.UNKNOWN
