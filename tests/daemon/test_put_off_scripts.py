"""Scripts whose turn comes late, with real scripts and a real daemon that is stopped: what was
decided may be over by then.
"""

from __future__ import annotations

import queue
import signal
import time
from pathlib import Path

import pytest

from opensvc_openha.core.actions import RunScript
from opensvc_openha.core.events import ScriptExited, ScriptKind, ScriptOutcome
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.status import PeerStanding
from opensvc_openha.daemon.script_runner import ScriptRunner
from opensvc_openha.formats.layout import tree_layout
from tests.cluster_dir import HERE, ClusterDir
from tests.waiting import LIMIT_S


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_script_whose_decision_is_over_is_not_begun(kind: ScriptKind, tmp_path: Path) -> None:
    """A check-up or a start is put off and nothing of it runs.

    A stop or a status is as good later as now.
    """
    script = tmp_path / "web.sh"
    script.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/calls\necho up\n")
    script.chmod(0o755)
    ends: queue.SimpleQueue[ScriptExited] = queue.SimpleQueue()
    runner = ScriptRunner(tree_layout(str(tmp_path)), "deb1", "deb2", ends.put)
    action = RunScript("web", kind, str(script), ServiceState.STOPPED, PeerStanding.LIVE)
    put_off = kind in (ScriptKind.CHECK, ScriptKind.START)
    runner.run(action, lambda: "the peer is back")
    assert (ends.get(timeout=LIMIT_S).outcome is ScriptOutcome.POSTPONED) is put_off
    assert (tmp_path / "calls").exists() is not put_off
    runner.run(action, lambda: "")
    assert ends.get(timeout=LIMIT_S).outcome is not ScriptOutcome.POSTPONED
    assert (tmp_path / "calls").exists()


def test_start_that_waits_for_its_turn_through_a_stall_is_decided_again(
    cluster_dir: ClusterDir,
) -> None:
    """One script at a time: web waits behind registry's slow start while the daemon is stopped for
    longer than the timeout.

    By then a peer might have taken web: it goes back to START_READY, is checked again, and started
    once.
    """
    cluster_dir.path("conf/openha.conf").write_text("[scripts]\nparallel = 1\n")
    for service in ("registry", "web"):
        cluster_dir.add(
            service, '[ "$1" = start ] && sleep 4; exit 0' if service == "registry" else "exit 0"
        )
    cluster_dir.ok("ezha start")
    for service in ("registry", "web"):
        cluster_dir.ok(f"service -A {service} unfreeze")
    cluster_dir.wait_state("web", "STARTING")
    cluster_dir.wait(
        lambda: "start" in cluster_dir.calls("registry.sh"), "registry is being started"
    )
    cluster_dir.kill(signal.SIGSTOP)
    time.sleep(3)
    cluster_dir.kill(signal.SIGCONT)
    cluster_dir.wait_state("web", "STARTED")
    assert "not begun: this node stood still before the" in cluster_dir.ok("openha history web")
    assert (
        cluster_dir.calls("web.sh").count("start") == 1
        and cluster_dir.state("registry") == "STARTED"
    )
    assert HERE in cluster_dir.ok("service -s -c")
