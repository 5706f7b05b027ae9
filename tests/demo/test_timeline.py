"""The takeover's stages, from STATE files and from changes, and their table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opensvc_openha.core.states import ServiceState
from opensvc_openha.demo.timeline import (
    StateChange,
    StateWatcher,
    TakeoverTimes,
    read_state,
    render_table,
    takeover_times,
)
from tests.waiting import until

NODES = ("deb1.opensvc.com", "deb2.opensvc.com")


def changes(*seen: Any) -> list[StateChange]:
    """Changes of registry as (time, node number, state)."""
    return [StateChange(at, "registry", NODES[node - 1], state) for at, node, state in seen]


def test_a_takeover_gives_every_stage_in_seconds_from_the_cut() -> None:
    """deb1 is cut at 100: each stage that deb2 saw counts from there, states from before the cut do
    not.
    """
    seen = changes(
        (99.0, 1, ServiceState.STARTED),
        (99.5, 2, ServiceState.STARTED),
        (110.0, 1, ServiceState.UNKNOWN),
        (110.1, 2, ServiceState.START_READY),
        (115.1, 2, ServiceState.STARTING),
        (116.0, 2, ServiceState.STARTED),
    )
    times = takeover_times("registry", 100.0, NODES[0], NODES[1], seen, {"registry": 115.5})
    assert [
        round(value or 0.0, 3) for value in (times.detected, times.decided, times.released)
    ] == [
        10.0,
        10.1,
        15.1,
    ]
    assert [
        round(value or 0.0, 3) for value in (times.start_ready, times.app_started, times.started)
    ] == [
        5.0,
        15.5,
        16.0,
    ]


def test_a_stage_that_was_not_seen_is_missing() -> None:
    """deb2 never got beyond START_READY, and the application's last start was before the cut: both
    are None.
    """
    seen = changes((110.0, 1, ServiceState.UNKNOWN), (110.1, 2, ServiceState.START_READY))
    times = takeover_times("registry", 100.0, NODES[0], NODES[1], seen, {"registry": 50.0})
    assert times.detected == 10.0
    assert (times.released, times.start_ready, times.app_started, times.started) == (
        None,
        None,
        None,
        None,
    )


def test_the_table_lines_up_and_shows_what_is_missing() -> None:
    """Two services, one without an end: the columns line up and the missing value is a dash."""
    rows = [
        TakeoverTimes("registry", 10.0, 10.104, 15.1, 15.5, 116.0),
        TakeoverTimes("busybox", 10.0, 10.1, 15.1, 15.5, None),
    ]
    assert render_table(rows) == (
        "service   peer UNKNOWN  START_READY  stays so for  script begins  application   STARTED\n"
        "registry       10.00 s      10.10 s        5.00 s        15.10 s      15.50 s  116.00 s\n"
        "busybox        10.00 s      10.10 s        5.00 s        15.10 s      15.50 s         -\n"
    )


def test_a_state_file_is_read_or_nothing(tmp_path: Path) -> None:
    """A STATE file holds a digit: its state; it is damaged or missing: None."""
    path = tmp_path / "STATE.deb1.opensvc.com"
    assert read_state(str(path)) is None
    path.write_bytes(b"7\0")
    assert read_state(str(path)) is ServiceState.START_READY
    path.write_bytes(b"?")
    assert read_state(str(path)) is None


def test_the_watcher_sees_each_change_once(tmp_path: Path) -> None:
    """A STATE file changes twice while watched: the start and both changes are reported, in their
    order.
    """
    folder = tmp_path / "registry"
    folder.mkdir()
    path = folder / "STATE.deb2.opensvc.com"
    path.write_bytes(b"0\0")
    wanted = [ServiceState.STOPPED, ServiceState.START_READY, ServiceState.STARTING]
    with StateWatcher(str(tmp_path), ["registry"], NODES) as watcher:
        for count, data in enumerate((b"7\0", b"3\0"), 1):
            until(lambda: len(watcher.changes) >= count)
            path.write_bytes(data)
        until(lambda: len(watcher.changes) >= 3)
    assert [change.state for change in watcher.changes] == wanted
    assert {change.node for change in watcher.changes} == {"deb2.opensvc.com"}
