"""One action at a time: who holds the lock is named, and the resource monitor gives way."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from opensvc_openha.agent.service import action_lock as module
from opensvc_openha.agent.service.action_lock import MONITOR, action_lock
from opensvc_openha.errors import RefusedError
from tests.waiting import LIMIT_S


def test_second_action_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    """And how long it waited; afterwards the lock is free."""
    with action_lock(str(tmp_path), "start"):
        text = (
            f"pid {os.getpid()} (start) is acting on this service: waited 0 s for the action lock"
            f" {tmp_path}/action.lock"
        )
        with pytest.raises(RefusedError, match=re.escape(text)):
            with action_lock(str(tmp_path), "stop", 0.0):
                pass
        with action_lock(str(tmp_path), "sync", 0.0, "sync.lock"):
            pass
    with action_lock(str(tmp_path), "stop", 0.0):
        pass
    assert inspect.signature(action_lock).parameters["wait_s"].default == 30.0


def test_holder_without_a_name_is_another_process(tmp_path: Path) -> None:
    """The file states nothing, or was emptied."""
    with action_lock(str(tmp_path), "start"):
        (tmp_path / "action.lock").write_text("")
        with pytest.raises(RefusedError, match="another process is acting on this service"):
            with action_lock(str(tmp_path), "stop", 0.5):
                pass


@pytest.mark.parametrize(
    ("owner", "is_asked"),
    [("{pid} " + MONITOR, True), ("{pid} start", False), (f"x {MONITOR}", False), ("", False)],
)
def test_resource_monitor_alone_is_asked_to_give_way(owner: str, is_asked: bool) -> None:
    """By SIGTERM; nothing else is ended, and no word is taken for a pid."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        module._ask_monitor_to_give_way(owner.format(pid=process.pid))
        if is_asked:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LIMIT_S)
        process.kill()
        assert process.wait() == (-15 if is_asked else -9)
