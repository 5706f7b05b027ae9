"""An engine that hangs in a step, in a real daemon: readers get the newest status and its age.

The hang is planted from outside, as the faults of test_failing_engine.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from opensvc_openha.control import client
from opensvc_openha.core.status import NodeStatus
from opensvc_openha.errors import NotAnsweringError
from opensvc_openha.formats.layout import tree_layout
from tests.cluster_dir import ClusterDir
from tests.waiting import until

PLANTED = """
import os
if b"nmond" in open("/proc/self/cmdline", "rb").read():
    import time
    from opensvc_openha.core import engine
    genuine = engine.Engine.step_all
    def planted(self, *args):
        while os.path.exists("{order}"):
            open("{order}.here", "w").close()
            time.sleep(0.02)
        return genuine(self, *args)
    engine.Engine.step_all = planted
"""


class Hang:
    """A step of the engine that does not end, from ``begin`` to ``end``."""

    def __init__(self, cluster: ClusterDir) -> None:
        self._cluster = cluster
        self._order = cluster.root / "hang"
        folder = cluster.root / "planted"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(PLANTED.format(order=self._order))
        cluster.env["PYTHONPATH"] = str(folder)
        launcher = cluster.root / "ezha"
        launcher.write_text(launcher.read_text().replace(" -I ", " "))

    def begin(self) -> None:
        """Return once the engine hangs, and readers are served without it."""
        self._order.touch()
        self._cluster.wait(self._order.with_name("hang.here").exists, "the engine hangs")
        until(lambda: newest(self._cluster).age_s, what="an old status")

    def end(self) -> None:
        """Let the step end."""
        self._order.unlink(missing_ok=True)


def newest(cluster: ClusterDir) -> NodeStatus:
    return client.fetch_status(tree_layout(str(cluster.root)), is_old_fine=True)


@pytest.fixture
def hang(cluster_dir: ClusterDir) -> Iterator[Hang]:
    """Its end lets the daemon end."""
    planted = Hang(cluster_dir)
    yield planted
    planted.end()


def test_readers_of_a_hung_engine_get_the_newest_status_and_its_age(
    cluster_dir: ClusterDir, hang: Hang
) -> None:
    """STARTED a moment before: each reading command shows it, and that it is old; `why` and
    `history` have the last entry; what decides by a status gets none.
    """
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    hang.begin()

    for command in ("service -s -c", "service -s -v", "service -i registry", "ezha status"):
        done = cluster_dir.quick(command if command[:2] != "ez" else "openha status")
        assert done.returncode == 4 and "STARTED" in done.stdout
        assert "s old: nmond (pid " in done.stderr and "does not answer" in done.stderr
    shown = json.loads(cluster_dir.quick("service -s --json").stdout)
    assert shown["age_s"] > 0 and shown["services"][0]["own_state"] == "STARTED"
    assert "the engine of nmond does not answer" in shown["warnings"][0]
    links = cluster_dir.quick("hb -s -v")
    assert links.returncode == 4 and "unicast sender" in links.stdout
    assert "s old: the engine of nmond does not answer" in links.stdout
    why = cluster_dir.quick("openha why registry")
    assert why.returncode == 0 and "the engine of nmond does not answer" in why.stdout
    assert "STARTED" in cluster_dir.quick("openha history registry").stdout

    with pytest.raises(NotAnsweringError, match="the engine does not answer"):
        client.fetch_status(tree_layout(str(cluster_dir.root)))

    hang.end()
    cluster_dir.wait(lambda: newest(cluster_dir).age_s == 0, "a status of now")
    assert json.loads(cluster_dir.ok("service -s --json"))["age_s"] == 0


def test_why_and_history_answer_beside_a_stopped_daemon(cluster_dir: ClusterDir) -> None:
    """SIGSTOP: from the files, and `why` reports that nmond does not answer."""
    cluster_dir.add("registry")
    cluster_dir.ok("ezha start")
    cluster_dir.ok("service -A registry force-start")
    cluster_dir.wait(
        lambda: "force-start" in cluster_dir.ok("openha history registry"), "it is in the file"
    )
    pid = cluster_dir.pid()
    cluster_dir.kill(signal.SIGSTOP)
    try:
        why = cluster_dir.quick("openha why registry")
        assert why.returncode == 0 and f"nmond (pid {pid}) does not answer" in why.stdout
        assert cluster_dir.quick("openha history registry").returncode == 0
        assert "does not answer" in cluster_dir.fails("hb -s", 4)
    finally:
        cluster_dir.kill(signal.SIGCONT)
