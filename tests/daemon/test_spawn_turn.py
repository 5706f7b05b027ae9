"""Scripts are begun one after the other.

One that hangs keeps no other from it, and none is begun on an old decision.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon import script_runner
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.daemon.spawn_turn import SpawnTurn
from opensvc_openha.formats.layout import tree_layout
from tests.waiting import LIMIT_S


def test_one_at_a_time() -> None:
    """Sixteen threads take fifty turns each: never are two of them in."""
    turn, inside, most = SpawnTurn(LIMIT_S), [], []

    def work() -> None:
        for _ in range(50):
            with turn:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 16 * 50 and set(most) == {1}


def test_turn_is_not_waited_for_without_end() -> None:
    """Another thread is in and does not come out: the waiting one goes ahead, and releases nothing
    that is not its own.
    """
    turn, may_go = SpawnTurn(0.05), threading.Event()
    is_in = threading.Event()

    def hang() -> None:
        with turn as has_waited:
            assert not has_waited
            is_in.set()
            may_go.wait(LIMIT_S)

    thread = threading.Thread(target=hang)
    thread.start()
    assert is_in.wait(LIMIT_S)
    for _ in range(2):
        with turn as has_waited:
            assert has_waited
    may_go.set()
    thread.join()
    with turn as has_waited:
        assert not has_waited


class LateTurn(SpawnTurn):
    """One that always had to be waited for."""

    def __enter__(self) -> bool:
        super().__enter__()
        return True


@pytest.mark.parametrize(
    "kind, is_begun",
    [(ScriptKind.START, False), (ScriptKind.CHECK, False), (ScriptKind.STOP, True)],
)
def test_decision_that_is_overtaken_while_it_waits_for_its_turn_is_put_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: ScriptKind, is_begun: bool
) -> None:
    """It was good when the script was taken up, and is over when its turn comes: only a stop is run
    all the same.
    """
    monkeypatch.setattr(script_runner, "SpawnTurn", LateTurn)
    layout, answers = tree_layout(str(tmp_path)), iter(["", "the peer is back"])
    ends: queue.SimpleQueue[ScriptExited] = queue.SimpleQueue()
    Path(layout.proc_dir).mkdir(parents=True, exist_ok=True)
    script = tmp_path / "web.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    runner = ScriptRunner(layout, "deb1", "deb2", ends.put)
    action = RunScript("web", kind, str(script), ServiceState.UNKNOWN, PeerStanding.SILENT)
    runner.run(action, lambda: next(answers))
    end = ends.get(timeout=LIMIT_S)
    assert (tmp_path / "ran").exists() is is_begun
    assert end.outcome is (ScriptOutcome.OK if is_begun else ScriptOutcome.POSTPONED), end
