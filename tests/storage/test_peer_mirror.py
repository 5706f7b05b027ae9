"""The mirror of the peer's states: when it is written, and that nothing waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from opensvc_openha.core.states import ServiceState
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.formats.state_file import StoredState, decode
from opensvc_openha.storage.state_store import StateStore
from opensvc_openha.system import clock
from tests.simulated_clock import SimulatedClock
from tests.waiting import LIMIT_S, until


def test_mirror_shows_what_could_be_written_of_the_peers_states(tmp_path: Path) -> None:
    """A file stands where the directory of one service was: the others are mirrored, up to the last
    before the end.
    """
    layout = tree_layout(str(tmp_path))
    store = StateStore(layout, "deb1", "deb2")
    os.makedirs(layout.services_dir)
    Path(layout.services_dir, "web").write_bytes(b"in the way")
    before = set(threading.enumerate())
    for service, state in (
        ("web", ServiceState.STARTED),
        ("mail", ServiceState.STARTED),
        ("mail", ServiceState.STOPPED),
    ):
        store.mirror.put(service, state)
    store.close()
    until(
        lambda: set(threading.enumerate()) - before,
        lambda left: not left,
        "the mirror's thread ends",
    )
    assert Path(layout.state_file("mail", "deb2")).read_bytes() == b"0\0"


def test_mirror_waits_until_a_thread_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has no thread to give: the daemon continues, and mirrors the next state once it
    has.
    """
    layout = tree_layout(str(tmp_path))
    store = StateStore(layout, "deb1", "deb2")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        store.mirror.put("web", ServiceState.STARTED)
        store.close()
    store.mirror.put("web", ServiceState.STOPPED)
    path = Path(layout.state_file("web", "deb2"))
    until(
        lambda: path.exists() and path.read_bytes(),
        lambda found: found == b"0\0",
        "web is mirrored",
    )
    store.close()


def test_mirror_keeps_no_daemon_from_ending(tmp_path: Path) -> None:
    """Its disk may hang for ever: the process ends without it."""
    program = (
        "import sys; from opensvc_openha.core.states import ServiceState; from"
        " opensvc_openha.formats.layout import tree_layout; from opensvc_openha.storage.state_store"
        " import StateStore; StateStore(tree_layout(sys.argv[1]), 'deb1',"
        " 'deb2').mirror.put('web', ServiceState.STARTED)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], timeout=LIMIT_S).returncode
        == 0
    )


def test_mirror_waits_for_a_takeover_and_has_the_newest_state(tmp_path: Path) -> None:
    """States of this node are being written; at the end of the daemon all is there."""
    layout = tree_layout(str(tmp_path))
    store = StateStore(layout, "deb1", "deb2")
    store.mirror._own_at = clock.monotonic() + 3600
    for state in (ServiceState.START_READY, ServiceState.STARTING, ServiceState.STARTED):
        store.mirror.put("web", state)
    store.mirror.put("mail", ServiceState.STOPPED)
    assert set(store.mirror._due) == {"web", "mail"}
    store.close(60)
    for name, state in (("web", ServiceState.STARTED), ("mail", ServiceState.STOPPED)):
        data = Path(layout.state_file(name, "deb2")).read_bytes()
        assert decode(data) == StoredState(state)


def test_mirror_is_written_at_once_beside_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a state of this node in between, it waits for nothing, and makes the directory."""
    layout = tree_layout(str(tmp_path))
    store = StateStore(layout, "deb1", "deb2")
    rests: list[bool] = []
    rest = store.mirror._await_rest
    monkeypatch.setattr(store.mirror, "_await_rest", lambda: (rests.append(True), rest()))
    store.mirror.put("web", ServiceState.STARTED)
    path = Path(layout.state_file("web", "deb2"))
    until(path.exists, bool, "the mirror")
    store.close(60)
    assert rests, "it asks before each state"


@pytest.mark.parametrize("wrote_at, expected", [(99.0, []), (99.5, [0.5]), (200.0, [30.0])])
def test_mirror_rests_after_each_own_state_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrote_at: float, expected: list[float]
) -> None:
    """A second after the last one, or half a minute."""
    simulated = SimulatedClock(monkeypatch)
    simulated.now = 100.0
    store = StateStore(tree_layout(str(tmp_path)), "deb1", "deb2")
    store.mirror._own_at = wrote_at
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        simulated.now += seconds

    monkeypatch.setattr(store.mirror._changed, "wait", wait)
    store.mirror._await_rest()
    assert waits == expected
