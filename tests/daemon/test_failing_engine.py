"""An engine that meets an event it cannot handle, in a real daemon: reported, and it continues
deciding as after a crash.

The fault is planted from outside: Python loads ``sitecustomize`` of a directory that only this
daemon is given.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from opensvc_openha.core.beat import Goodbye
from opensvc_openha.core.states import ServiceState
from opensvc_openha.core.timing import ENGINE_FAILURES_MAX
from opensvc_openha.formats.beat_frame import Frame
from tests.cluster_dir import ClusterDir
from tests.peer_voice import PeerVoice

PLANTED = """
import os
if b"nmond" in open("/proc/self/cmdline", "rb").read():
    from opensvc_openha.core import engine
    from opensvc_openha.core.events import *
    genuine = {where}
    def planted(self, *args):
        order = "{order}"
        is_due = os.path.exists(order) and {condition}
        if is_due and not os.path.exists(order + ".always"):
            os.unlink(order)
        result = genuine(self, *args) if {is_late} or not is_due else None
        if is_due:
            raise TypeError("planted")
        return result
    {where} = planted
"""


class Fault:
    """Something in the engine that raises, once it is ordered to."""

    def __init__(
        self,
        cluster: ClusterDir,
        condition: str = "True",
        where: str = "engine.Engine.step_all",
        is_late: bool = True,
    ) -> None:
        self._order = cluster.root / "fault"
        folder = cluster.root / "planted"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            PLANTED.format(where=where, condition=condition, order=self._order, is_late=is_late)
        )
        cluster.env["PYTHONPATH"] = str(folder)
        launcher = cluster.root / "ezha"
        launcher.write_text(
            launcher.read_text().replace(" -I ", " ")
        )  # Which keeps such directories out.

    def order(self, is_for_ever: bool = False) -> None:
        """From now on it raises: once, or each time."""
        if is_for_ever:
            Path(f"{self._order}.always").touch()
        self._order.touch()

    def end(self) -> None:
        """Let one raise no more that was ordered for ever."""
        Path(f"{self._order}.always").unlink()
        self._order.unlink()

    @property
    def has_come(self) -> bool:
        """True once it has raised."""
        return not self._order.exists()


def begin(cluster: ClusterDir, body: str = "") -> int:
    """A daemon with a service that runs, whose script answers `status`; its pid."""
    cluster.add("registry", f'{body}\nif [ "$1" = status ]; then echo up; fi')
    cluster.ok("ezha start")
    cluster.ok("service -A registry force-start")
    cluster.path("registry.sh.calls").unlink(missing_ok=True)
    return cluster.pid()


@pytest.mark.parametrize("is_late", [False, True])
def test_failed_step_touches_no_service_and_deciding_continues(
    cluster_dir: ClusterDir, is_late: bool
) -> None:
    """Before or after a step was done: the same process, the service STARTED, its script only
    asked; and a command works.
    """
    fault = Fault(cluster_dir, is_late=is_late)
    pid = begin(cluster_dir)
    fault.order()
    cluster_dir.wait(lambda: "the engine begins again" in cluster_dir.log(), "it begins again")
    cluster_dir.wait(lambda: cluster_dir.run("service -s -c").returncode == 0, "it answers")
    cluster_dir.wait_state("registry", "STARTED")
    assert cluster_dir.pid() == pid and set(cluster_dir.calls("registry.sh")) <= {"status"}
    log = cluster_dir.log()
    assert log.count("engine failed: TypeError('planted')") == 1 and "Traceback" in log
    cluster_dir.wait(
        lambda: "the engine failed: TypeError('planted')" in cluster_dir.ok("openha history"),
        "the history has it",
    )
    cluster_dir.ok("service -A registry stop")
    assert cluster_dir.calls("registry.sh")[-1] == "stop"
    cluster_dir.wait_state("registry", "STOPPED")


def test_peer_hears_a_new_life_and_nothing_that_it_acknowledged_before_counts(
    cluster_dir: ClusterDir,
) -> None:
    """The peer is live: no goodbye, UNKNOWN under a new boot counter until it reports again that it
    is out, and STARTED then.
    """
    fault = Fault(cluster_dir)
    begin(cluster_dir)
    voice = PeerVoice(cluster_dir)
    try:
        voice.states = {"registry": ServiceState.STOPPED}
        voice.meet(cluster_dir)
        former = voice.listen()
        assert former is not None
        fault.order()
        cluster_dir.wait(lambda: "the engine begins again" in cluster_dir.log(), "it begins again")

        def frame() -> Frame:
            heard = voice.listen()
            assert heard is not None and heard.goodbye is Goodbye.NONE
            return heard

        cluster_dir.wait(lambda: frame().boot.counter > former.boot.counter, "a new life")
        assert cluster_dir.state("registry") == "STARTED" and set(frame().states) == {
            ServiceState.UNKNOWN
        }

        def is_sure() -> bool:
            voice.send()
            return set(frame().states) == {ServiceState.STARTED}

        cluster_dir.wait(is_sure, "the peer has confirmed it")
        assert set(cluster_dir.calls("registry.sh")) <= {"status"}
    finally:
        voice.close()


def _at_rest(pid: int) -> tuple[int, int]:
    """Count threads and open files, once both are the same for a second: links are opened by short
    threads.
    """
    seen: list[tuple[int, int]] = []
    while len(seen) < 100 and len(set(seen[-5:])) != 1 or len(seen) < 5:
        seen.append((len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd"))))
        time.sleep(0.2)
    return seen[-1]


def test_failures_leave_nothing_behind(cluster_dir: ClusterDir) -> None:
    """Three times over: as many threads and open files as after the first, and no second daemon can
    be started beside it.
    """
    fault = Fault(cluster_dir)
    pid = begin(cluster_dir)
    counts = []
    for number in range(1, 4):
        fault.order()
        cluster_dir.wait(
            lambda: cluster_dir.log().count("the engine begins again") == number, "it begins again"
        )
        cluster_dir.wait(lambda: cluster_dir.run("service -s -c").returncode == 0, "it answers")
        counts.append(_at_rest(pid))
    assert counts[-1][0] <= counts[0][0] + 1 and counts[-1][1] <= counts[0][1] + 1, counts
    assert "already running" in cluster_dir.fails("ezha start", 5)


def test_command_that_the_engine_cannot_handle_is_answered(cluster_dir: ClusterDir) -> None:
    """The step of `stop` raises when all of it was decided and nothing done: reported as that, not
    stopped; again, and it is.
    """
    fault = Fault(cluster_dir, "isinstance(args[0][0], CommandReceived)")
    begin(cluster_dir)
    fault.order()
    reported = cluster_dir.fails("service -A registry stop", 6)
    assert "the engine failed" in reported
    cluster_dir.wait(lambda: cluster_dir.run("service -s -c").returncode == 0, "it answers")
    cluster_dir.wait_state("registry", "STARTED")
    assert (
        "stop" not in cluster_dir.calls("registry.sh")
        and cluster_dir.state_file("registry").read_bytes() == b"2\0"
    )
    cluster_dir.ok("service -A registry stop")


def test_script_that_runs_when_the_engine_fails_is_waited_for(cluster_dir: ClusterDir) -> None:
    """A stop script is in its middle: nothing runs beside it, then `status` is asked, and the stop
    is finished.
    """
    fault = Fault(cluster_dir, "isinstance(args[0][0], Tick)")
    hold, up = cluster_dir.root / "hold", cluster_dir.root / "up"
    up.touch()
    body = f"""case $1 in
        stop) touch {hold}.seen; while [ -e {hold} ]; do sleep 0.05; done; rm -f {up};;
        status) [ -e {up} ] && echo up || echo down; exit;;
    esac"""
    begin(cluster_dir, body)
    hold.touch()
    command = subprocess.Popen(
        [str(cluster_dir.root / "bin/service"), "-A", "registry", "stop"],
        env=cluster_dir.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cluster_dir.wait(lambda: os.path.exists(f"{hold}.seen"), "the script runs")
    fault.order()
    assert command.wait(30) == 6
    cluster_dir.wait(lambda: cluster_dir.run("service -s -c").returncode == 0, "it answers")
    assert cluster_dir.calls("registry.sh") == ["stop"]
    hold.unlink()
    cluster_dir.wait_state("registry", "STOPPED")
    assert cluster_dir.calls("registry.sh") == ["stop", "stop"]
    lines = [
        line.split()[-1]
        for line in cluster_dir.path("log/registry.log").read_text().splitlines()
        if ".sh " in line
    ]
    assert lines[-3:] == ["stop", "status", "stop"], "asked once the script had ended"


def test_status_that_fails_ends_nothing(cluster_dir: ClusterDir) -> None:
    """The snapshot raises: who asks hears that the engine does not answer, and the engine has not
    even begun again.
    """
    fault = Fault(cluster_dir, where="engine.Engine.snapshot")
    begin(cluster_dir)
    fault.order(is_for_ever=True)
    assert cluster_dir.run("service -s -c").returncode == 4
    fault.end()
    assert cluster_dir.state("registry") == "STARTED"
    assert (
        "engine failed" not in cluster_dir.log()
        and "no status: TypeError: planted" in cluster_dir.log()
    )


def test_edit_with_a_mistake_at_that_moment_changes_nothing(cluster_dir: ClusterDir) -> None:
    """The services file is no longer right when the engine fails: it begins again with the
    configuration it had.
    """
    fault = Fault(cluster_dir, "isinstance(args[0][0], LeaveRequested) is False")
    begin(cluster_dir)
    services = cluster_dir.path("conf/services")
    right = services.read_text()
    services.write_text("what is this\n")
    fault.order()
    cluster_dir.wait(lambda: fault.has_come, "it failed")
    cluster_dir.wait(lambda: "the engine begins again" in cluster_dir.log(), "it begins again")
    services.write_text(right)
    cluster_dir.wait(lambda: cluster_dir.run("service -s -c").returncode == 0, "it answers")
    cluster_dir.wait_state("registry", "STARTED")


def test_order_to_stop_the_node_survives_the_failure(cluster_dir: ClusterDir) -> None:
    """The engine fails in the very step that took `ezha stop`: the service is stopped and the
    daemon ends all the same.
    """
    fault = Fault(cluster_dir, "isinstance(args[0][0], LeaveRequested)")
    pid = begin(cluster_dir)
    fault.order()
    cluster_dir.ok("ezha stop")
    assert (
        fault.has_come
        and cluster_dir.pid() != pid
        and cluster_dir.calls("registry.sh")[-1] == "stop"
    )
    assert cluster_dir.state_file("registry").read_bytes() in (b"0\0", b"1\0")


def test_engine_that_fails_each_time_falls_silent(cluster_dir: ClusterDir) -> None:
    """A fault that does not go away: so many tries, then the daemon ends, reports it, and no
    service was touched.
    """
    fault = Fault(cluster_dir)
    begin(cluster_dir)
    fault.order(is_for_ever=True)
    cluster_dir.wait(lambda: not cluster_dir.pid(), "it has ended")
    log = cluster_dir.log()
    assert (
        log.count("the engine begins again") == ENGINE_FAILURES_MAX
        and "failed too often: this node falls silent" in log
    )
    assert set(cluster_dir.calls("registry.sh")) <= {"status"}
