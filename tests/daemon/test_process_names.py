"""The processes that the stock drivers of OpenSVC agents look for in `ps -ef`: shown where there is
one, gone with the daemon.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from opensvc_openha.daemon.process_names import ProcessNames, shown_lines
from opensvc_openha.formats.layout import Layout, tree_layout
from tests import waiting

MONITOR = """# deb1 net eth9 239.131.50.9 5009 10
deb1.opensvc.com\tnet\teth1\t239.131.50.10\t5010\t10
deb2.opensvc.com net   eth1 239.131.50.12 5012 10
deb1.opensvc.com unicast eth2 10.0.0.2 5020 2.50
deb2.opensvc.com disk /dev/sdb 10 10
deb1.opensvc.com dio /dev/sdc 0 10
"""
STOCK = {
    "1.5": "class Hb: heartd + '_' + l[1]",
    "1.6": "if l[1] == 'disk': suffix = '_raw' else: suffix = '_dio'",
    "1.7": "suffix = '_unicast' ... suffix = '_raw' ... suffix = '_dio'",
}
OURS = "# Made by `openha agent install`, which writes it again: changes here are lost.\n"
SHOWN = {
    "1.5": ["heartd_unicast eth2 10.0.0.2 5020", "heartc_disk /dev/sdb 10 10"],
    "1.6": ["heartd_dio eth2 10.0.0.2 5020", "heartc_raw /dev/sdb 10 10"],
    "1.7": ["heartd_unicast eth2 10.0.0.2 5020", "heartc_raw /dev/sdb 10 10"],
}


@pytest.mark.parametrize("line", STOCK)
def test_each_line_looks_for_names_of_its_own(line: str) -> None:
    """The words of the monitor file as they stand there.

    A sender without the timeout; no comment; nmond.
    """
    found = {
        " ".join(words)
        for words in shown_lines(STOCK[line], MONITOR, "/ez/bin", "DEB1.opensvc.com")
    }
    wanted = [
        "nmond",
        "heartd eth1 239.131.50.10 5010",
        "heartc eth1 239.131.50.12 5012 10",
        "heartd_dio /dev/sdc 0",
    ]
    assert found == {f"/ez/bin/{words}" for words in [*wanted, *SHOWN[line]]}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A cluster directory with the links above."""
    found = tree_layout(str(tmp_path / "ez"))
    os.makedirs(found.conf_dir)
    Path(found.monitor_file).write_text(MONITOR)
    return found


def lines_of(names: ProcessNames) -> list[str]:
    """How `ps -ef` shows the processes."""
    pids = ",".join(map(str, names.pids)) or "0"
    return subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", pids], capture_output=True, text=True
    ).stdout.splitlines()


def test_they_are_shown_while_an_agent_has_its_own_driver(layout: Layout, tmp_path: Path) -> None:
    """No driver, a stock one, ours, the stock one again, another link, a broken file: what runs
    follows at each look.
    """
    driver = tmp_path / "resHbOpenHA.py"
    names = ProcessNames(layout, "deb1.opensvc.com", (str(tmp_path / "none"), str(driver)))
    try:
        names.refresh()
        assert names.pids == ()
        driver.write_text(STOCK["1.7"])
        names.refresh()
        shown = waiting.until(lambda: lines_of(names), lambda lines: len(lines) == 6)
        for words in shown_lines(STOCK["1.7"], MONITOR, layout.bin_dir, "deb1.opensvc.com"):
            assert any(line.endswith(" ".join(words)) for line in shown), shown
        before: list[int] = list(names.pids)
        names.refresh()
        assert list(names.pids) == before
        driver.write_text(OURS)
        names.refresh()
        assert names.pids == () and not any(psutil.pid_exists(pid) for pid in before)
        driver.write_text(STOCK["1.7"])
        Path(layout.monitor_file).write_text("deb1.opensvc.com net eth1 239.131.50.10 5010 10\n")
        names.refresh()
        assert len(names.pids) == 2
        Path(layout.monitor_file).write_text("deb1.opensvc.com net \x01 239.131.50.10 5010 10\n")
        names.refresh()
        assert len(names.pids) == 2
    finally:
        names.end()
    assert names.pids == ()


def test_one_that_was_killed_is_there_again_at_the_next_look(
    layout: Layout, tmp_path: Path
) -> None:
    """Somebody ends one of them: the agent would take the daemon for dead."""
    driver = tmp_path / "resHbOpenHA.py"
    driver.write_text(STOCK["1.7"])
    names = ProcessNames(layout, "deb1.opensvc.com", (str(driver),))
    try:
        names.refresh()
        os.kill(names.pids[0], signal.SIGKILL)
        waiting.until(lambda: psutil.Process(names.pids[0]).status() == psutil.STATUS_ZOMBIE)
        names.refresh()
        assert len(names.pids) == 6 and all(
            psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in names.pids
        )
    finally:
        names.end()


def test_they_end_with_a_daemon_that_is_killed(layout: Layout, tmp_path: Path) -> None:
    """SIGKILL: no line of a daemon that is no more."""
    driver = tmp_path / "resHbOpenHA.py"
    driver.write_text(STOCK["1.7"])
    text = f"""import time
from opensvc_openha.formats.layout import tree_layout
from opensvc_openha.daemon.process_names import ProcessNames
names = ProcessNames(tree_layout({layout.ez!r}), "deb1.opensvc.com", ({str(driver)!r},))
names.refresh()
print(*names.pids, flush=True)
time.sleep(3600)
"""
    daemon = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    pids = [int(word) for word in daemon.stdout.readline().split()]
    assert len(pids) == 6 and all(psutil.pid_exists(pid) for pid in pids)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()

    def left() -> list[int]:
        return [
            pid
            for pid in pids
            if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        ]

    waiting.until(left, lambda found: not found, "the processes end")


def test_driver_that_goes_by_the_path_finds_the_processes_of_either_layout(
    layout: Layout, tmp_path: Path
) -> None:
    """The 1.8 looks below /usr/lib/openha where `openha` is on its PATH, and it is there in both
    layouts.
    """
    driver = tmp_path / "resHbOpenHA.py"
    driver.write_text(STOCK["1.7"] + ' if which("openha"): ')
    names = ProcessNames(layout, "deb1.opensvc.com", (str(driver),))
    names.refresh()
    try:
        nmonds = [line.split()[-1] for line in lines_of(names) if line.endswith("/nmond")]
        assert sorted(nmonds) == sorted([f"{layout.bin_dir}/nmond", "/usr/lib/openha/bin/nmond"])
    finally:
        names.end()
