"""Show agents with their own driver the processes it expects: nmond, and one per link end.

The stock driver of the agents 1.5 to 1.8 takes a daemon for running if `ps -ef` has a line that
ends with each of them, as the original's processes did. This daemon has threads instead, so small
children stand for them: a shell that waits for the end of a pipe whose other end the daemon holds,
and so ends with it, however that ends. Without such a driver nothing runs.
"""

from __future__ import annotations

import os
import subprocess

from opensvc_openha.daemon.check_scripts import MARK
from opensvc_openha.errors import ConfigError
from opensvc_openha.formats.conf_lines import read_lines
from opensvc_openha.formats.layout import Layout, fhs_layout
from opensvc_openha.system.files import text_or_empty

STOCK_DRIVERS = ("/opt/opensvc/lib/resHbOpenHA.py", "/usr/share/opensvc/lib/resHbOpenHA.py")
"""Location of the driver of agents up to 1.8."""
_WAIT = "read line # for OpenSVC agents, in the place of"
_ASKS_PATH = 'which("openha")'
"""Agent 1.8 assumes the newer layout if `openha` is on its PATH, whatever the layout is."""
_COLUMNS_MIN = 4
_DRIVER_BYTES_MAX = 1_000_000


def shown_lines(driver: str, monitor: str, bin_dir: str, node: str) -> tuple[tuple[str, ...], ...]:
    """Return the words of each process that a stock driver of this text expects.

    ``monitor`` is the text of the monitor file.
    """
    found: list[tuple[str, ...]] = [(f"{bin_dir}/nmond",)]
    for line in read_lines(monitor, ""):
        if len(line.columns) < _COLUMNS_MIN:
            continue
        sender, kind, *place = line.columns
        suffix = _suffix(kind, driver)
        if sender.lower() == node.lower():
            found.append((f"{bin_dir}/heartd{suffix}", *place[:-1]))
        else:
            found.append((f"{bin_dir}/heartc{suffix}", *place))
    return tuple(dict.fromkeys(found))


def _suffix(kind: str, driver: str) -> str:
    """Return the process name that this driver's version expects."""
    if kind == "net":
        return ""
    if "'_raw'" not in driver:
        return f"_{kind}"  # The 1.5.
    if kind == "unicast" and "'_unicast'" in driver:
        return "_unicast"  # The 1.6 does not know it.
    return "_raw" if kind == "disk" else "_dio"


class ProcessNames:
    """The children of one daemon, used by its main thread alone, and never waited for."""

    def __init__(self, layout: Layout, node: str, drivers: tuple[str, ...] = STOCK_DRIVERS) -> None:
        self._layout = layout
        self._node = node
        self._drivers = drivers
        self._shown: tuple[tuple[str, ...], ...] = ()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._writer = -1

    @property
    def pids(self) -> tuple[int, ...]:
        """Pids of the running processes."""
        return tuple(process.pid for process in self._processes)

    def refresh(self) -> None:
        """Start, end or replace processes by the present drivers and monitor file.

        Return at once.
        """
        wanted = self._wanted()
        has_ended = any([process.poll() is not None for process in self._processes])
        if wanted == self._shown and not has_ended:
            return
        self.end()
        if wanted:
            self._show(wanted)

    def end(self) -> None:
        """Close their input, which ends them."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes, self._shown = [], ()

    def _wanted(self) -> tuple[tuple[str, ...], ...]:
        texts = (text_or_empty(path, _DRIVER_BYTES_MAX) for path in self._drivers)
        driver = next((text for text in texts if text and MARK.decode() not in text), "")
        if not driver:
            return ()
        try:
            monitor, folders = text_or_empty(self._layout.monitor_file), [self._layout.bin_dir]
            if _ASKS_PATH in driver:
                folders.append(fhs_layout().bin_dir)
            found = [
                words
                for folder in folders
                for words in shown_lines(driver, monitor, folder, self._node)
            ]
            return tuple(dict.fromkeys(found))
        except ConfigError:
            return self._shown  # A mistake in the file is reported elsewhere, and changes nothing.

    def _show(self, wanted: tuple[tuple[str, ...], ...]) -> None:
        reader, self._writer = os.pipe()
        try:
            for words in wanted:
                self._processes.append(
                    subprocess.Popen(
                        ["/bin/sh", "-c", _WAIT, *words],
                        stdin=reader,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        start_new_session=True,
                        cwd="/",
                        env={},
                    )
                )
            self._shown = wanted
        except OSError:
            self.end()  # No process can be started now: the next poll tries again.
        finally:
            os.close(reader)
