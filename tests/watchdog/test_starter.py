"""Processes that outlive the daemon: a unit of systemd's for each, or a session."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from opensvc_openha.errors import SystemFault
from opensvc_openha.system.processes import send_signal
from opensvc_openha.watchdog import starter
from opensvc_openha.watchdog.starter import SystemStarter
from tests.waiting import until


def test_without_systemd_it_has_a_session_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "_SYSTEMD_MARK", str(tmp_path / "missing"))
    report = tmp_path / "report"
    code = f"import os, time; open({str(report)!r}, 'w').write(str(os.getpid())); time.sleep(900)"
    SystemStarter().start("watchdog-keeper", [sys.executable, "-I", "-S", "-c", code])
    pid = int(until(lambda: report.read_text() if report.exists() else ""))
    try:
        assert os.getsid(pid) == pid != os.getsid(0)
    finally:
        send_signal(pid, signal.SIGKILL)


def test_with_systemd_it_has_a_unit_that_neither_a_stop_nor_a_shutdown_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend_systemd(tmp_path, monkeypatch, f'echo "$@" >> {tmp_path}/asked')
    made = SystemStarter()
    made.start("watchdog-keeper", ["/usr/bin/python3", "keeper.py"])
    made.start("watchdog-holder", ["/usr/bin/python3", "holder.py"])
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert f"--unit=openha-watchdog-keeper-{os.getpid()}-1 " in first
    assert f"--unit=openha-watchdog-holder-{os.getpid()}-2 " in second
    for each in ("DefaultDependencies=no", "RefuseManualStop=yes", "OOMScoreAdjust=-1000"):
        assert f"--property={each}" in first
    assert first.endswith("-- /usr/bin/python3 keeper.py")


def test_a_unit_that_cannot_be_made_is_an_error_and_not_a_process_of_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the daemon's unit would end it."""
    _pretend_systemd(tmp_path, monkeypatch, "echo Failed to connect to bus; exit 1")
    with pytest.raises(SystemFault, match="in a unit of its own.*Failed to connect to bus"):
        SystemStarter().start("watchdog-keeper", ["/usr/bin/python3", "keeper.py"])


@pytest.mark.parametrize(
    ("own", "other", "is_apart"),
    [
        ("0::/system.slice/nmond.service", "0::/system.slice/nmond.service", False),
        ("0::/system.slice/nmond.service", "0::/system.slice/openha-watchdog.service", True),
        ("0::/", "0::/", True),
        ("1:name=systemd:/a.service\n0::/", "1:name=systemd:/a.service\n0::/", False),
        ("1:name=systemd:/a.service\n0::/", "1:name=systemd:/b.service\n0::/", True),
        ("4:memory:/a\n0::/", "4:memory:/a\n0::/", True),
        ("0::/a.service", "", False),
    ],
)
def test_a_process_is_apart_if_no_unit_of_the_daemon_has_it(
    monkeypatch: pytest.MonkeyPatch, own: str, other: str, is_apart: bool
) -> None:
    texts = {os.getpid(): own, 4711: other}
    monkeypatch.setattr(starter, "text_of", lambda pid, name: texts[pid])
    assert SystemStarter().is_apart(4711) is is_apart


def _pretend_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a systemd-run before the real one that writes down what it is asked for."""
    program = tmp_path / "systemd-run"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(starter, "_SYSTEMD_MARK", str(tmp_path))
