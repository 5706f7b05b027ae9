"""What a starting daemon makes of STATE files, on a real directory."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import Iterator

import pytest

from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState
from opensvc_openha.runtime.state_store import StateStore, next_boot, write_state

_MAIL = ServiceSpec("mail", "/etc/mail", "deb1", "deb2", "/bin/true")
_WEB = ServiceSpec("web", "/etc/web", "deb1", "deb2", "/bin/true")


@contextlib.contextmanager
def full_disk() -> "Iterator[None]":
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
    """web is not in the services file while the daemon starts, and is added later: a start of the machine ended it, too."""
    layout = tree_layout(str(tmp_path))
    write_state(layout, "web", "deb1", StoredState(left))
    StateStore(layout, "deb1", "deb2").learn((_MAIL,), is_same_life)
    added = StateStore(layout, "deb1", "deb2").learn((_WEB,), is_same_life=True)["web"]
    assert added.state is expected


def test_service_whose_state_could_not_be_ended_at_a_reboot_is_not_believed_to_run_either(tmp_path: Path) -> None:
    """Nothing can be written while the daemon starts after a reboot; web is added later, when it can be again."""
    layout = tree_layout(str(tmp_path))
    write_state(layout, "web", "deb1", StoredState(ServiceState.STARTED))
    store = StateStore(layout, "deb1", "deb2")
    with full_disk():
        store.learn((_MAIL,), is_same_life=False)
    assert Path(layout.state_file("web", "deb1")).read_bytes() == b"2\0"
    assert store.learn((_WEB,), is_same_life=True)["web"].state is ServiceState.STOPPED


@pytest.mark.parametrize(
    "left, least, most",
    [(None, 1_700_000_000, 0xFFFFFFFE), (b"\0\xff", 1_700_000_000, 0xFFFFFFFE),
     (b"4200000000 life\n", 4_200_000_001, 4_200_000_001),
     (b"7 life\n", 1_700_000_000, 0xFFFFFFFE), (b"4294967295 life\n", 1_700_000_000, 0xFFFFFFFE)],
)
def test_life_after_a_lost_boot_file_is_no_older_one(tmp_path: Path, left: "bytes | None", least: int, most: int) -> None:
    """One more than the last, or the seconds since 1970: a file that is gone, damaged or of a restored node counts from those."""
    layout = tree_layout(str(tmp_path))
    path = Path(layout.boot_file)
    path.parent.mkdir(parents=True)
    if left is not None:
        path.write_bytes(left)
    first, _ = next_boot(layout)
    second, _ = next_boot(layout)
    assert least <= first.counter <= most and second.counter > first.counter
