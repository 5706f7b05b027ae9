"""A management board simulated by OpenIPMI's ipmi_sim, whose power is a file."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import LIMIT_S, until

PASSWORD = "s3cr3t-word"
needs_board = pytest.mark.skipif(
    not (shutil.which("ipmi_sim") and shutil.which("ipmitool")) and os.environ.get("CI") != "true",
    reason="needs the packages openipmi and ipmitool",
)

# Without a guid ipmi_sim offers no IPMI 2.0 sessions.
_LAN = """\
name "board"
startlan 1
  addr 127.0.0.1 {port}
  priv_limit admin
  allowed_auths_admin none md5
  guid a123456789abcdefa123456789abcde0
endlan
chassis_control "{folder}/control"
user 2 true "admin" "{password}" admin 10 none md5
"""
_EMULATION = (
    "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
)
_CONTROL = """\
#!/bin/sh
# What the board does: "get power", "set power 0".
cd {folder} || exit 1
echo "$*" >> calls
case "$*" in
*"get power"*)
    [ -e lie ] && {{ cat lie; exit; }}
    [ -e off_at ] && [ "$(date +%s)" -ge "$(cat off_at)" ] && {{ rm off_at; echo 0 > power; }}
    echo "power:$(cat power)" ;;
*"set power 0"*)
    if [ -e late ]; then echo $(( $(date +%s) + $(cat late) )) > off_at
    elif [ ! -e deaf ]; then echo 0 > power; fi ;;
esac
"""


class IpmiBoard:
    """One board; files in its folder make it deaf, late or a liar."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        values = {"folder": folder, "port": self.port, "password": PASSWORD}
        (folder / "state").mkdir(parents=True)
        (folder / "power").write_text("1\n")
        (folder / "lan.conf").write_text(_LAN.format(**values))
        (folder / "emulation").write_text(_EMULATION)
        (folder / "control").write_text(_CONTROL.format(**values))
        (folder / "control").chmod(0o755)
        self._secret = folder / "secret"
        self._secret.write_text(f"{PASSWORD}\n")
        self._secret.chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None
        self.begin()

    @property
    def options(self) -> dict[str, str]:
        """How it is reached, as in a section."""
        return {
            "ip": "127.0.0.1",
            "ipport": str(self.port),
            "username": "admin",
            "password_file": str(self._secret),
            "lanplus": "1",
            "cipher": "3",
        }

    @property
    def is_on(self) -> bool:
        """Whether the power is on, whatever the board reports."""
        return (self.folder / "power").read_text().strip() == "1"

    @property
    def orders(self) -> list[str]:
        """What it was ordered to do, besides being asked."""
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if not line.startswith("get ") and " get " not in line]

    def misbehave(self, how: str, text: str = "") -> None:
        """Make it `deaf`, `late` by some seconds, or `lie`."""
        (self.folder / how).write_text(text)

    def begin(self) -> None:
        """Switch the board itself on."""
        self._process = subprocess.Popen(
            ["ipmi_sim", "-c", "lan.conf", "-f", "emulation", "-s", "state", "-n"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self._is_there, what="the board answers on its port")

    def end(self) -> None:
        """Take the board's own power away."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(LIMIT_S)
            self._process = None

    def _is_there(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return True
        return False
