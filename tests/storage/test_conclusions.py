"""What a daemon that starts believes of its services: every STATE file in every life, and what
becomes of it on disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opensvc_openha.core.events import RecoveredState
from opensvc_openha.core.model import ServiceSpec
from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState, decode
from opensvc_openha.storage.state_recovery import recover
from opensvc_openha.storage.state_store import StateStore, next_boot, write_state

S = ServiceState
WEB = ServiceSpec("web", "/opt/web", "deb1", "deb2", "/bin/true")


@pytest.mark.parametrize("state", list(S))
def test_nothing_runs_after_the_machine_was_started(state: ServiceState) -> None:
    """Frozen stays frozen, as stopped; all else is STOPPED. The wrapper is asked in any case."""
    expected = S.FROZEN_STOP if state in (S.FROZEN_STOP, S.FROZEN_START) else S.STOPPED
    for is_first_start in (True, False):
        recovered = recover(
            StoredState(state), "", is_same_life=False, is_first_start=is_first_start
        )
        assert (recovered.state, recovered.frozen_target, recovered.must_probe) == (
            expected,
            None,
            True,
        )


def test_service_that_was_to_be_frozen_is_so_after_the_machine_was_started() -> None:
    """An operator's freeze-stop was under way."""
    assert (
        recover(StoredState(S.STOPPING, S.FROZEN_STOP), "", is_same_life=False).state
        is S.FROZEN_STOP
    )


@pytest.mark.parametrize("state", list(S))
def test_state_is_kept_through_a_restart_of_the_daemon_but_for_a_start_that_had_not_begun(
    state: ServiceState,
) -> None:
    """START_READY is a wish: it is stated again. What may run is asked of the wrapper."""
    recovered = recover(StoredState(state), "", is_same_life=True)
    expected = S.STOPPED if state in (S.START_READY, S.FORCE_STOP) else state
    assert (recovered.state, recovered.must_probe) == (expected, True)


@pytest.mark.parametrize(
    ("state", "frozen_target"), [(S.STOPPING, S.FROZEN_STOP), (S.STARTING, S.FROZEN_START)]
)
def test_what_was_to_follow_is_kept_with_the_state(
    state: ServiceState, frozen_target: ServiceState
) -> None:
    """The rest of an operator's command is not forgotten by a restart."""
    recovered = recover(StoredState(state, frozen_target), "", is_same_life=True)
    assert (recovered.state, recovered.frozen_target) == (state, frozen_target)


def test_file_of_a_c_openha_that_holds_ready_may_mean_a_service_that_runs_frozen() -> None:
    """The same digit stands for both there: only the wrapper knows."""
    recovered = recover(StoredState(S.START_READY), "", is_same_life=True, is_first_start=True)
    assert recovered.state is S.UNKNOWN and recovered.must_probe
    assert (
        recover(StoredState(S.STARTED), "", is_same_life=True, is_first_start=True).state
        is S.STARTED
    )


@pytest.mark.parametrize(
    "problem, is_same_life, state, frozen_target",
    [
        ("", True, S.UNKNOWN, S.FROZEN_STOP),
        ("", False, S.FROZEN_STOP, None),
        ("damaged", True, S.UNKNOWN, None),
        ("damaged", False, S.FROZEN_STOP, None),
    ],
)
def test_service_without_a_state_is_never_taken_for_stopped_or_started(
    problem: str, is_same_life: bool, state: ServiceState, frozen_target: ServiceState | None
) -> None:
    """New or lost: asked of the wrapper where it may run, frozen where it cannot."""
    recovered = recover(None, problem, is_same_life)
    assert (recovered.state, recovered.frozen_target, recovered.must_probe) == (
        state,
        frozen_target,
        True,
    )
    assert problem in recovered.reason and recovered.reason


def learn(
    root: Path, content: bytes | None, was_managed: bool = False, is_same_life: bool = True
) -> RecoveredState:
    """What a start makes of a STATE file with this content."""
    layout = tree_layout(str(root))
    path = Path(layout.state_file("web", "deb1"))
    os.makedirs(layout.proc_dir)
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    store = StateStore(layout, "deb1", "deb2")
    if was_managed:
        store.record_managed((WEB,))
    return store.recover((WEB,), is_same_life)["web"]


@pytest.mark.parametrize("content", [b"", b"x\n", b"99", b"-1", b" 2", b"\xff\xfe"])
def test_damaged_file_is_unknown_and_reports_it_with_its_path(
    tmp_path: Path, content: bytes
) -> None:
    """And is not written over before the wrapper has reported."""
    recovered = learn(tmp_path, content)
    assert recovered.state is S.UNKNOWN and f"STATE file {tmp_path}" in recovered.reason


def test_file_that_is_missing_is_a_loss_only_where_the_service_was_managed(tmp_path: Path) -> None:
    """Of a service that is new here there was none, unless its directory is there: it was managed
    before the list was lost.
    """
    assert learn(tmp_path / "new", None).reason == "new service"
    assert "is missing" in learn(tmp_path / "lost", None, was_managed=True).reason
    (tmp_path / "list-lost" / "services" / "web").mkdir(parents=True)
    assert "is missing" in learn(tmp_path / "list-lost", None).reason


def test_file_that_cannot_be_read_is_unknown_with_the_reason(tmp_path: Path) -> None:
    """A directory stands in its place."""
    layout = tree_layout(str(tmp_path))
    os.makedirs(layout.state_file("web", "deb1"))
    recovered = StateStore(layout, "deb1", "deb2").recover((WEB,), is_same_life=True)["web"]
    assert recovered.state is S.UNKNOWN and "Is a directory" in recovered.reason


def test_what_is_concluded_is_written_down(tmp_path: Path) -> None:
    """START_READY of the daemon before: STOPPED on disk too."""
    layout = tree_layout(str(tmp_path))
    write_state(layout, "web", "deb1", StoredState(S.START_READY))
    StateStore(layout, "deb1", "deb2").recover((WEB,), is_same_life=True)
    assert decode(Path(layout.state_file("web", "deb1")).read_bytes()) == StoredState(S.STOPPED)


def test_place_that_cannot_be_written_is_part_of_the_reason_and_keeps_no_other_service(
    tmp_path: Path,
) -> None:
    """A file stands where web's directory was: mail is learned as ever."""
    layout = tree_layout(str(tmp_path))
    mail = ServiceSpec("mail", "/opt/mail", "deb1", "deb2", "/bin/true")
    write_state(layout, "mail", "deb1", StoredState(S.STARTED))
    Path(os.path.dirname(layout.state_file("web", "deb1"))).write_text("in the way")
    recovered = StateStore(layout, "deb1", "deb2").recover((WEB, mail), is_same_life=True)
    assert recovered["mail"].state is S.STARTED
    assert (
        "cannot make directory" in recovered["web"].reason and recovered["web"].state is S.UNKNOWN
    )


@pytest.mark.parametrize("content", [None, b"", b"x y\n", b"7\n", b"\xff\n"])
def test_lost_or_damaged_memory_of_the_last_life_forgets_no_service(
    tmp_path: Path, content: bytes | None
) -> None:
    """It may be the same life: services are asked, not believed to be gone."""
    layout = tree_layout(str(tmp_path))
    os.makedirs(layout.proc_dir)
    if content is not None:
        Path(layout.boot_file).write_bytes(content)
    boot, is_same_life = next_boot(layout)
    assert is_same_life and boot.counter >= 1
    again, is_same_life = next_boot(layout)
    assert is_same_life and again.counter > boot.counter
