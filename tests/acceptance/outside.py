"""What runs beside the machines, in the namespaces of the run.

A board with IPMI for each node, which cuts its power, and a witness. The programs (ipmi_sim, etcd)
are those of the nodes' own Debian, run by chroot.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.errors import NotAccepted
from tests.acceptance.machines import add_address

USER = "admin"
PASSWORD = "acceptance"
IPMI_PORT = 623
LIMIT_S = 60.0
MEMBERS = 3
LAN_CONF = """\
name "{node}"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcd{number:02d}
  endlan
  chassis_control "/acceptance/chassis {node} 0x20"
  user 1 true "" "" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
EMU = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"


class Outside:
    """A place to run programs of the nodes' Debian beside the nodes."""

    def __init__(self, work: Path) -> None:
        self.root = work / "root"
        self.logs = work
        for name in ("dev", "proc"):
            _checked(["mount", "--rbind", f"/{name}", str(self.root / name)])
        _checked(["mount", "-t", "tmpfs", "run", str(self.root / "run")])

    def start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program; its output goes to a file of its name in the work directory."""
        with open(self.logs / f"{Path(argv[0]).name}.log", "ab") as log:
            return subprocess.Popen(
                ["chroot", str(self.root), *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            ["chroot", str(self.root), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )


class Board:
    """The BMC of a node: power status and power off through its IPMI over LAN."""

    def __init__(self, outside: Outside, node: str, number: int) -> None:
        self.node = node
        self.address = f"10.60.0.{100 + number}"
        self._outside = outside
        self._process: subprocess.Popen[bytes] | None = None
        add_address(self.address)
        self._place = f"/run/{node}-board"
        place = outside.root / self._place.lstrip("/")
        (place / "state").mkdir(parents=True)
        text = LAN_CONF.format(
            node=node,
            number=number,
            address=self.address,
            port=IPMI_PORT,
            user=USER,
            password=PASSWORD,
        )
        (place / "lan.conf").write_text(text)
        (place / "emu").write_text(EMU)
        self.start()

    def start(self) -> None:
        """Give the board itself power."""
        files = ["-c", f"{self._place}/lan.conf", "-f", f"{self._place}/emu"]
        self._process = self._outside.start(
            ["/usr/bin/ipmi_sim", *files, "-s", f"{self._place}/state", "-n"]
        )
        deadline = time.monotonic() + LIMIT_S
        while self.ask("status") not in ("on", "off"):
            if time.monotonic() > deadline:
                raise NotAccepted(f"the board of {self.node} does not answer at {self.address}")
            time.sleep(0.2)

    def die(self) -> None:
        """Take the board's own power: it answers nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, order: str) -> str:
        """Return the answer to `power ORDER`: on, off, or what ipmitool said."""
        argv = ["/usr/bin/ipmitool", "-I", "lanplus", "-C", "3", "-N", "2", "-R", "3"]
        argv += ["-H", self.address, "-p", str(IPMI_PORT), "-U", USER, "-P", PASSWORD]
        with contextlib.suppress(subprocess.TimeoutExpired):
            said = self._outside.run([*argv, "power", order]).stdout.strip()
            return said.removeprefix("Chassis Power is ")
        return "no answer"


class Witness:
    """An etcd of three members, each of which can lose its power."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._addresses = [f"10.60.0.{120 + number}" for number in range(1, MEMBERS + 1)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for number, address in enumerate(self._addresses):
            add_address(address)
            self.start(number)
        deadline = time.monotonic() + LIMIT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise NotAccepted("the witness does not answer, see etcd.log")
            time.sleep(0.2)

    @property
    def urls(self) -> str:
        """Return where its members are asked, as openha.conf takes it."""
        return ", ".join(f"http://{address}:2379" for address in self._addresses)

    def start(self, number: int) -> None:
        """Give a member its power; its data is what it had."""
        address = self._addresses[number]
        client, peer = f"http://{address}:2379", f"http://{address}:2380"
        everyone = ",".join(
            f"m{each}=http://{place}:2380" for each, place in enumerate(self._addresses)
        )
        argv = ["/usr/bin/etcd", "--name", f"m{number}", "--data-dir", f"/run/witness{number}"]
        argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
        argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        argv += ["--initial-cluster", everyone, "--logger", "zap"]
        self._processes[number] = self._outside.start(argv)

    def die(self, number: int) -> None:
        """Take the power of a member."""
        process = self._processes.pop(number)
        process.kill()
        process.wait()

    def leader(self) -> int:
        """Return which member leads."""
        for number in self._processes:
            answer = self._ask(number, "maintenance/status", b"{}")
            if answer and answer.get("leader") == answer["header"]["member_id"]:
                return number
        raise NotAccepted("no member of the witness leads")

    def _answers(self) -> bool:
        key = base64.b64encode(b"none").decode()
        return bool(self._ask(0, "kv/range", json.dumps({"key": key}).encode()))

    def _ask(self, number: int, what: str, body: bytes) -> dict[str, Any]:
        url = f"http://{self._addresses[number]}:2379/v3/{what}"
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=2.0) as answer:
                return dict(json.load(answer))
        return {}


def _checked(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise NotAccepted(f"{' '.join(argv)}: {done.stdout.strip()}")
